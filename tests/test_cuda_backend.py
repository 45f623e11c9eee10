"""The backend cuda without a device: where there is none, where it fails, and when `auto` would use it.

That its kernels are right is shown in tests/cuda, on an emulated machine. Here the compiled module is a
stand-in, for what that machine can't be made to do.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clusterimg as ci
from capsules import Capsuled
from clusterimg import (
    BackendUnavailable,
    DeviceError,
    DeviceWarning,
    Ragged,
    UsageError,
    _core,
    _device_arrays,
    backends,
    cli,
    kernels,
)
from clusterimg.backends import _crossover, cuda, select
from clusterimg.backends._crossover import MODELLED, Work, choose, work_of
from pictures import groups, save

H100 = {"number": 0, "name": "H100", "capability": "9.0", "multiprocessors": 132, "clock_mhz": 1755}
FACTS = {"memory": 80 << 30, "free": 79 << 30}


class StandIn:
    """What the compiled module is to Python, the core in place of a device."""

    class DeviceFailure(RuntimeError):
        """Like the one of the module."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.options: dict[str, Any] = {}
        self.reason: str | None = None
        self.fails: str | None = None
        self.asked = 0

    def why(self) -> str | None:
        self.asked += 1
        return self.reason

    def devices(self) -> list[dict[str, Any]]:
        self.asked += 1
        return [{**H100, **FACTS}, {**H100, **FACTS, "number": 1}]

    def versions(self) -> dict[str, Any]:
        return {"runtime": "13.0", "driver": "13.0", "architectures": "75 90"}

    def last_run(self) -> list[dict[str, Any]]:
        return [{"name": "H100", "number": 0, "bytes": 1000 * len(self.calls), "pairs": 1}]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(_core, name)

        def call(*sets: Any, devices: Any, memory: int, **options: Any) -> Any:
            self.calls.append(name)
            self.options = {"devices": devices, "memory": memory}
            if self.fails is not None:
                raise self.DeviceFailure(self.fails)
            return function(*sets, **options)

        return call


@pytest.fixture(autouse=True)
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a kernel as if it had been tried: tests/cuda/test_driver.py has the trials."""
    monkeypatch.setattr(cuda, "_try", lambda kernel, chosen: None)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """A device that works."""
    core = StandIn()
    monkeypatch.setattr(cuda, "_core_cuda", core, raising=False)
    monkeypatch.setattr(cuda, "_missing", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CLUSTERIMG_BACKEND", "CLUSTERIMG_CUDA_DEVICES", "CLUSTERIMG_CUDA_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    cuda.held()
    cuda._warm.clear()
    cuda._told.clear()
    yield core
    cuda._warm.clear()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `auto` take the device for everything."""
    monkeypatch.setattr(_crossover, "MODELLED", _free(MODELLED))


def _free(figures: _crossover.Figures) -> _crossover.Figures:
    cycles = dict.fromkeys(figures.cycles, 1e-9)
    return _crossover.Figures(start=0.0, call=-1.0, transfer=1e30, cycles=cycles)


def codes(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    made = rng.integers(0, 1 << 63, size=(n, 1), dtype=np.uint64)
    made[1::2] = made[: n // 2 * 2 : 2] ^ np.uint64(1)
    return made


# --- where there is none ---


def in_new_process(script: str, *path: Path) -> str:
    """Return what a script prints; `path` is searched first for modules of the package."""
    head = f"import clusterimg\nclusterimg.__path__[:0] = {[str(folder) for folder in path]}\n"
    environment = {name: value for name, value in os.environ.items() if name != "CLUSTERIMG_BACKEND"}
    command = [sys.executable, "-c", head + script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ABSENT = "import sys; sys.modules['clusterimg._core_cuda'] = None\n"


def test_build_without_cuda_says_how_to_have_it() -> None:
    script = ABSENT + (
        "from clusterimg.backends import report, select, cuda_facts\n"
        "print(report()['cuda'])\n"
        "print(cuda_facts()['devices'], dict(select().report.passed_over), select().report.name)\n"
    )
    reason, facts = in_new_process(script).splitlines()
    assert "built without CUDA" in reason
    assert "CLUSTERIMG_CUDA=ON" in reason
    assert facts == "[] {} cpp"


def test_broken_module_says_so(tmp_path: Path) -> None:
    (tmp_path / "_core_cuda.py").write_text("raise ImportError('libcuda.so.7: no such file')")
    script = "from clusterimg.backends import report; print(report()['cuda'])"
    assert in_new_process(script, tmp_path) == "its compiled module is broken: libcuda.so.7: no such file\n"


def test_nothing_of_cuda_is_imported_for_small_work() -> None:
    script = (
        "import sys, numpy as np\n"
        "clusterimg.kernels.hamming_edges(np.zeros((99, 1), np.uint64), threshold=0.9)\n"
        "clusterimg.kernels.ssim_matrix(np.zeros((9, 64, 64), np.uint8))\n"
        "print('clusterimg._core_cuda' in sys.modules)\n"
    )
    assert in_new_process(script) == "False\n"


def test_driver_that_is_too_old_is_told(stand_in: StandIn) -> None:
    stand_in.reason = "the NVIDIA driver is for CUDA 11.4, this build needs one for 13.0 or later"
    assert backends.report()["cuda"] == stand_in.reason
    with pytest.raises(BackendUnavailable, match=r"cuda: the NVIDIA driver is for CUDA 11\.4"):
        select("cuda")


def test_auto_notes_a_device_that_can_not_run_where_it_would_serve(stand_in: StandIn, eager: None) -> None:
    stand_in.reason = "this machine has no NVIDIA driver"
    engine = select()
    assert not stand_in.asked
    assert not engine.report.passed_over
    engine.edges("hamming", codes(9), threshold=0.9)
    assert engine.report.passed_over == {"cuda": stand_in.reason}
    assert not engine.report.kernels
    engine.edges("hamming", codes(9), threshold=0.9)
    assert stand_in.asked == 1


def test_core_must_be_there_too(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.cpp, "_missing", "gone")
    assert cuda.why_unavailable() == "gone"


# --- a named backend ---


def test_named_backend_uses_the_device_for_joins_and_matrices(stand_in: StandIn) -> None:
    engine = select("cuda", n_threads=2)
    assert engine.report.name == "cuda"
    assert engine.report.isa == "CUDA on 2 x H100 (compute 9.0), driver for CUDA 13.0"
    assert engine.reads_with == "cpp"
    images = np.random.default_rng(0).integers(0, 256, size=(6, 9, 9), dtype=np.uint8)
    sizes = Ragged.from_images([images[0], images[1], images[2][:8], images[3][:8]])
    points = Ragged.from_arrays([images[0, :, :8].repeat(4, 1)] * 3, empty=np.empty((0, 32), np.uint8))
    rule = {"rule": "ratio", "max_distance": 40}
    cpp = select("cpp")
    for kernel, values, options in (
        ("hamming", codes(9), {}),
        ("signature", codes(9).view(np.uint32), {}),
        ("ssim", images, {}),
        ("ssim", sizes, {}),
        ("template", images, {}),
        ("template", sizes, {}),
        ("descriptor", points, rule),
    ):
        for others in (None, values):
            edges = engine.edges(kernel, values, others, threshold=0.1, **options)
            np.testing.assert_array_equal(edges, cpp.edges(kernel, values, others, threshold=0.1, **options))
            matrix = engine.matrix(kernel, values, others, **options)
            np.testing.assert_array_equal(matrix, cpp.matrix(kernel, values, others, **options))
        labels = engine.clusters(kernel, values, threshold=0.1, **options)
        np.testing.assert_array_equal(labels, cpp.clusters(kernel, values, threshold=0.1, **options))
        pair = {"i": np.array([0], np.int32), "j": np.array([1], np.int32)}
        before = len(stand_in.calls)
        scores = engine.scores(kernel, values, **pair, **options)
        np.testing.assert_array_equal(scores, cpp.scores(kernel, values, **pair, **options))
        assert len(stand_in.calls) == before
        assert engine.report.kernels[kernel].backend == "cuda"
        assert engine.report.kernels[kernel].why == "asked for by name"
    assert not engine.tells_plan("hamming")
    assert engine.report.kernels["descriptor"].device_bytes == {"H100 (0)": 1000 * len(stand_in.calls)}


def test_named_backend_that_fails_says_how_to_go_on(stand_in: StandIn) -> None:
    stand_in.fails = "a kernel could not be launched: device lost"
    with pytest.raises(
        DeviceError, match=r"on H100 \(0\), H100 \(1\): .*device lost.*--backend cpp.*--resume keeps"
    ) as raised:
        kernels.hamming_edges(codes(9), threshold=0.9, backend="cuda")
    assert isinstance(raised.value, ci.ClusterimgError)
    assert not isinstance(raised.value, UsageError)


def test_environment_limits_devices_and_memory(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    select("cuda").edges("hamming", codes(9), threshold=0.9)
    assert stand_in.options == {"devices": None, "memory": 0}
    monkeypatch.setenv("CLUSTERIMG_CUDA_DEVICES", " 1, 1")
    monkeypatch.setenv("CLUSTERIMG_CUDA_MEMORY", "2G")
    engine = select("cuda")
    engine.edges("hamming", codes(9), threshold=0.9)
    assert stand_in.options == {"devices": [1], "memory": 2 << 30}
    assert engine.report.isa.startswith("CUDA on H100 (compute 9.0)")
    for name, bad in (("DEVICES", "2"), ("DEVICES", "gpu"), ("DEVICES", "0,,1"), ("MEMORY", "lots")):
        monkeypatch.setenv("CLUSTERIMG_CUDA_DEVICES", "0")
        monkeypatch.setenv("CLUSTERIMG_CUDA_MEMORY", "2G")
        monkeypatch.setenv(f"CLUSTERIMG_CUDA_{name}", bad)
        with pytest.raises(UsageError, match=f"CLUSTERIMG_CUDA_{name}"):
            select("cuda").edges("hamming", codes(9), threshold=0.9)


# --- auto ---


def test_auto_asks_no_device_for_little(stand_in: StandIn) -> None:
    engine = select()
    assert engine.report.name == "cpp"
    engine.edges("hamming", codes(99), threshold=0.9)
    engine.clusters("ssim", np.zeros((10, 64, 64), np.uint8), threshold=0.9)
    assert not stand_in.asked
    assert not stand_in.calls
    assert not engine.report.kernels


def test_auto_uses_the_device_where_it_is_faster_and_says_so(stand_in: StandIn, eager: None) -> None:
    engine = select(n_threads=2)
    values = codes(99)
    assert engine.plan("hamming", values, threshold=0.9) == "all pairs, on cuda"
    edges = engine.edges("hamming", values, threshold=0.9)
    np.testing.assert_array_equal(edges, select("cpp").edges("hamming", values, threshold=0.9))
    assert stand_in.calls == ["hamming_edges"]
    use = engine.report.kernels["hamming"]
    assert use.backend == "cuda"
    assert use.why.startswith("modelled ")
    assert use.why.endswith(" s on 2 threads")
    assert use.device_bytes == {"H100 (0)": 1000}
    engine.matrix("hamming", values)
    assert engine.report.kernels["hamming"].device_bytes == {"H100 (0)": 2000}
    assert engine.report.name == engine.reads_with == "cpp"


def test_auto_leaves_to_the_core_what_it_does_faster(stand_in: StandIn, monkeypatch: Any) -> None:
    monkeypatch.setattr(_crossover, "core_seconds", lambda work, n_threads: 0.7)
    engine = select(n_threads=1)
    engine.edges("hamming", codes(9), threshold=0.9)
    assert not stand_in.calls
    use = engine.report.kernels["hamming"]
    assert use.calls == {"cpp": 1}
    assert (use.backend, use.why) == ("cpp", "modelled 1 s on the device, 0.7 s on 1 thread")


def test_device_that_fails_under_auto_is_left_alone(stand_in: StandIn, eager: None) -> None:
    engine = select()
    values, done = codes(99), list[int]()
    stand_in.fails = "device lost"
    with pytest.warns(DeviceWarning, match=r"failed at hamming \(device lost\): backend cpp"):
        edges = engine.edges("hamming", values, threshold=0.9, progress=done.append)
    np.testing.assert_array_equal(edges, select("cpp").edges("hamming", values, threshold=0.9))
    assert len(stand_in.calls) == 1
    engine.edges("hamming", values, threshold=0.9)
    engine.clusters("ssim", np.zeros((9, 9, 9), np.uint8), threshold=0.9)
    assert len(stand_in.calls) == 1
    assert [text.partition(" (")[0] for text in engine.report.fallbacks] == ["CUDA failed at hamming"]
    assert engine.report.kernels["hamming"].backend == "cpp"
    assert engine.report.kernels["hamming"].calls == {"cpp": 1}


def test_device_that_can_not_be_asked_is_passed_over(
    stand_in: StandIn, eager: None, monkeypatch: Any, capsys: Any
) -> None:
    def fails() -> None:
        raise stand_in.DeviceFailure("the device's memory can't be told: busy")

    monkeypatch.setattr(stand_in, "devices", fails)
    engine = select()
    engine.edges("hamming", codes(9), threshold=0.9)
    assert "memory can't be told: busy" in engine.report.passed_over["cuda"]
    with pytest.raises(DeviceError, match="busy"):
        select("cuda")
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cuda"]["reason"].endswith("busy")
    with pytest.raises(DeviceError, match="in hamming_edges on a device: lost"):
        stand_in.fails = "lost"
        kernels.hamming_edges(OnDevice(codes(9)), threshold=0.5)


@pytest.mark.parametrize("error", [ValueError("shape"), KeyboardInterrupt()])
def test_other_errors_are_passed_on(
    stand_in: StandIn, eager: None, error: BaseException, monkeypatch: Any
) -> None:
    def fails(*sets: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(stand_in, "hamming_edges", fails, raising=False)
    with pytest.raises(type(error)):
        select().edges("hamming", codes(9), threshold=0.9)


# --- in a run ---


def run(tmp_path: Path, *arguments: str) -> int:
    if not (tmp_path / "photos").exists():
        save(tmp_path / "photos", groups(3, 3, 3))
    words = ["run", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--transfer", "none"]
    return cli.main([*words, *arguments])


def test_run_tells_what_the_device_did(
    stand_in: StandIn, eager: None, tmp_path: Path, read_here: None, capsys: Any
) -> None:
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "backend cpp, " in out
    assert "hamming on cuda (1 call): modelled " in out
    assert "; held 1e-06 GB of H100 (0)" in out
    backend = json.loads((tmp_path / "out" / "run.json").read_text())["backend"]
    assert backend["name"] == "cpp"
    assert backend["kernels"]["hamming"]["backend"] == "cuda"
    assert backend["kernels"]["hamming"]["device_bytes"] == {"H100 (0)": 1000}
    assert backend["fallbacks"] == []


def test_run_warns_of_a_device_that_failed(
    stand_in: StandIn, eager: None, tmp_path: Path, read_here: None, capsys: Any
) -> None:
    stand_in.fails = "device lost"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(tmp_path) == 0
    text = "CUDA failed at hamming (device lost): backend cpp takes over"
    shown = capsys.readouterr()
    assert f"clusterimg: warning: {text}\n" in shown.err
    assert text in shown.out
    assert json.loads((tmp_path / "out" / "run.json").read_text())["backend"]["fallbacks"] == [text]


def test_run_with_a_named_device_that_failed_ends(
    stand_in: StandIn, tmp_path: Path, read_here: None, capsys: Any
) -> None:
    stand_in.fails = "device lost"
    assert run(tmp_path, "--backend", "cuda") == 3
    assert "error: CUDA failed in hamming_edges on H100 (0), H100 (1): device lost" in capsys.readouterr().err
    stand_in.fails = None
    assert run(tmp_path, "--backend", "cuda", "--resume") == 0
    assert "used from before: the features of " in capsys.readouterr().out


def test_run_reads_in_a_process_without_a_device(stand_in: StandIn, tmp_path: Path) -> None:
    assert run(tmp_path, "--backend", "cuda") == 0
    assert stand_in.calls == ["hamming_edges"]


def test_info_shows_devices_and_versions(stand_in: StandIn, capsys: Any) -> None:
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert "auto uses cpp, and cuda where it is likely to be faster: " in out
    assert "CUDA: runtime 13.0, driver for CUDA 13.0, built for compute 75 90" in out
    assert "H100: compute 9.0, 132 multiprocessors at 1,755 MHz, 84.8 of 85.9 GB free" in out
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["backends"]["cuda"] == "can run"
    assert [device["number"] for device in facts["cuda"]["devices"]] == [0, 1]
    stand_in.reason = "the NVIDIA driver sees no device"
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["backends"]["cuda"] == facts["cuda"]["reason"] == stand_in.reason
    assert facts["cuda"]["devices"] == []


# --- the crossover ---

ITEMS = {
    "ssim": 4096.0,
    "hamming": 4.0,
    "template": 4096.0,
    "sliding": 665_856.0,
    "descriptor": 250_000.0,
    "signature": 128.0,
}


def made(kernel: str, n: int, **options: Any) -> Work:
    options.setdefault("threshold", 0.7)
    return Work(kernel=kernel, n_rows=n, elements=ITEMS[kernel], larger=4096, n_bytes=4096 * n, **options)


def chosen(work: Work, *, n_threads: int = 16, is_warm: bool = False) -> bool:
    return choose(work, [H100], n_threads=n_threads, is_warm=is_warm, figures=MODELLED).on_device


@pytest.mark.parametrize("kernel", ITEMS)
@pytest.mark.parametrize("threshold", [None, -1.0, 0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("n_threads", [1, 16, 128])
def test_crossover_is_monotone_in_the_number_of_images(
    kernel: str, threshold: float | None, n_threads: int
) -> None:
    sizes = [0, 1, 2, *(10**k for k in range(1, 8))]
    works = [made(kernel, n, threshold=threshold) for n in sizes]
    on_device = [_crossover.device_seconds(work, [H100], is_warm=False, figures=MODELLED) for work in works]
    on_core = [_crossover.core_seconds(work, n_threads) for work in works]
    assert sorted(on_device) == on_device
    assert sorted(on_core) == on_core
    choices = [chosen(work, n_threads=n_threads) for work in works]
    assert sorted(choices) == choices


@pytest.mark.parametrize("kernel", KERNELS := _crossover.KERNELS)
@pytest.mark.parametrize("is_warm", [False, True])
def test_ten_images_never_go_to_a_device(kernel: str, is_warm: bool) -> None:
    assert set(ITEMS) == set(KERNELS) == set(MODELLED.cycles)
    if kernel != "descriptor" or not is_warm:  # whose pairs are dear
        assert not chosen(made(kernel, 10), is_warm=is_warm)


def test_a_million_images_go_to_a_device() -> None:
    for threshold in (None, 0.5, 0.63, 0.9):
        assert chosen(made("ssim", 1_000_000, threshold=threshold), n_threads=64)
    assert chosen(made("descriptor", 10_000), n_threads=64)


def test_index_of_codes_is_weighed_as_what_it_is() -> None:
    values = codes(20_000)
    near = 1 - 4.5 / 64
    plan = _core.hamming_plan(values, None, threshold=near)
    assert plan.startswith("index of ")
    work = work_of("hamming", values, threshold=near, plan=plan)
    looked = work_of("hamming", values, threshold=near)
    assert _crossover.core_seconds(work, 1) < _crossover.core_seconds(looked, 1) / 20
    million = Work(kernel="hamming", n_rows=1_000_000, elements=1, threshold=near, plan=plan)
    assert not chosen(million)
    folded = "all pairs, bit-sliced, groups of 5 bits folded to 1"
    assert chosen(Work(kernel="hamming", n_rows=3_000_000, elements=1, threshold=0.7, plan=folded))
    assert _crossover.core_seconds(made("hamming", 9, plan="no pairs: no score can be above"), 1) == 0


def test_work_is_that_of_the_values() -> None:
    images = np.zeros((5, 8, 9), np.uint8)
    assert work_of("ssim", images, threshold=0.5) == Work(
        kernel="ssim", n_rows=5, elements=72.0, n_bytes=360, threshold=0.5
    )
    both = work_of("hamming", codes(4), codes(6))
    assert (both.pairs, both.elements, both.n_bytes, both.bytes_out) == (24, 1.0, 80, 96)
    assert work_of("hamming", codes(5)).pairs == 10
    points = Ragged.from_arrays(
        [np.zeros((2, 32), np.uint8), np.zeros((4, 32), np.uint8)], empty=np.empty((0, 32), np.uint8)
    )
    assert work_of("descriptor", points).elements == 9.0
    pair = Ragged.from_images([np.zeros((4, 6), np.uint8)]), Ragged.from_images([np.zeros((3, 5), np.uint8)])
    sliding = work_of("template", *pair)
    assert (sliding.kernel, sliding.elements, sliding.larger) == ("sliding", 15 * 4, 24.0)
    crossed = Ragged.from_images([np.zeros((3, 7), np.uint8)])
    assert work_of("template", pair[0], crossed).elements == 0
    assert work_of("ssim", *pair).elements == 0
    assert work_of("ssim", pair[0], pair[0]).elements == 24


def test_devices_without_tensor_cores_are_slower_at_template() -> None:
    old = {**H100, "capability": "7.5"}
    for kernel, is_slower in (("template", True), ("ssim", False)):
        seconds = [
            _crossover.device_seconds(made(kernel, 10**6), [device], is_warm=True, figures=MODELLED)
            for device in (H100, old)
        ]
        assert (seconds[1] > 2 * seconds[0]) == is_slower


def test_measured_figures_take_the_place_of_the_modelled(stand_in: StandIn) -> None:
    name = "NVIDIA H100 80GB HBM3"
    assert _crossover.read_measured(name) is MODELLED
    figures = _crossover.Figures(start=0.2, call=0.001, transfer=2e10, cycles=dict(MODELLED.cycles))
    path = _crossover.write_measured(name, figures)
    assert path.name == "cuda_nvidia_h100_80gb_hbm3.json"
    read = _crossover.read_measured(name)
    assert (read.start, read.transfer, read.source) == (0.2, 2e10, "measured")
    why = choose(made("ssim", 10**6), [H100], n_threads=1, is_warm=False, figures=read).why
    assert why.startswith("measured ")
    assert _crossover.read_measured("Tesla T4") is MODELLED
    told = json.loads(path.read_text())
    for change in (
        {"device": "Tesla T4"},
        {"start": -1},
        {"start": "soon"},
        {"cycles": {"ssim": 1}},
        {"cycles": None},
        {"transfer": float("nan")},
    ):
        path.write_text(json.dumps({**told, **change}))
        assert _crossover.read_measured(name) is MODELLED
    path.write_text("{")
    assert _crossover.read_measured(name) is MODELLED


# --- arrays on a device ---


class OnDevice:
    """An array that says it is on a device; its memory is the host's."""

    def __init__(self, values: np.ndarray, **facts: Any) -> None:
        self.values = values
        self.facts = facts

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        told = dict(self.values.__array_interface__)
        return {"version": 3, "stream": None, **told, **self.facts}


WAYS = (OnDevice, Capsuled)


@pytest.fixture
def sees(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A device whose memory is the host's: what reaches it is an array on a device, and nothing else."""

    def on_host(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(on_host, value))
        if value is None or isinstance(value, np.ndarray):
            return value
        told = value.__cuda_array_interface__
        assert told["strides"] is None
        size = int(np.prod(told["shape"])) * np.dtype(told["typestr"]).itemsize
        raw = (ctypes.c_uint8 * size).from_address(told["data"][0])
        return np.frombuffer(raw, told["typestr"]).reshape(told["shape"])

    plain = cuda._call
    monkeypatch.setattr(
        cuda, "_call", lambda name, *sets, **options: plain(name, *map(on_host, sets), **options)
    )
    return stand_in


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["auto", "cuda"])
def test_arrays_on_a_device_are_compared_there(sees: StandIn, way: Any, backend: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(6, 9, 9), dtype=np.uint8)
    images[3] = images[1]
    sizes = Ragged.from_images([images[0], images[1], images[2][:8], images[1]])
    points = Ragged.from_arrays(
        [rng.integers(0, 256, size=(n, 32), dtype=np.uint8) for n in (3, 4, 5)],
        empty=np.empty((0, 32), np.uint8),
    )
    for kernel, values in (
        ("hamming", codes(9)),
        ("signature", codes(9).view(np.uint32)),
        ("ssim", images),
        ("template", images),
        ("template", sizes),
        ("descriptor", points),
    ):
        edges, matrix = (getattr(kernels, f"{kernel}_{what}") for what in ("edges", "matrix"))
        if isinstance(values, Ragged):
            there: Any = Ragged(way(values.values), values.offsets, values.shapes)
        else:
            there = way(values)
        wanted = edges(values, threshold=0.2, backend="cpp")
        np.testing.assert_array_equal(edges(there, threshold=0.2, backend=backend), wanted)
        np.testing.assert_array_equal(matrix(there, there, backend=backend), matrix(values, backend="cpp"))
        between = edges(values, values, threshold=0.2, backend="cpp")
        np.testing.assert_array_equal(edges(values, there, threshold=0.2, backend=backend), between)
    assert len(sees.calls) == 18
    if way is Capsuled:
        capsuled = Capsuled(codes(9))
        kernels.hamming_edges(capsuled, threshold=0.2)
        assert capsuled.streams == [1]


@pytest.mark.parametrize("way", WAYS)
def test_features_may_be_on_a_device(sees: StandIn, way: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(9, 64, 64), dtype=np.uint8)
    features = ci.extract(images, method="imagehash")
    there = ci.Features(
        features.method,
        features.params,
        way(features.values),
        features.shapes,
        features.featureless,
        features.near_flat,
        features.digests,
    )
    for function in (ci.similar_pairs, ci.similarity_matrix, ci.cluster):
        options = {} if function is ci.similarity_matrix else {"threshold": 0.5}
        before = len(sees.calls)
        np.testing.assert_array_equal(function(there, **options), function(features, **options))
        assert len(sees.calls) == before + 1


@pytest.mark.parametrize("way", WAYS)
def test_backends_of_the_host_say_how_to_move_arrays(way: Any) -> None:
    for backend in ("cpp", "reference"):
        with pytest.raises(UsageError, match=rf"where backend {backend} can't reach them.*cpu\(\)\.numpy"):
            kernels.hamming_edges(way(codes(9)), threshold=0.5, backend=backend)


def test_auto_without_a_device_says_why_it_can_not_reach_one(stand_in: StandIn) -> None:
    stand_in.reason = "the NVIDIA driver sees no device"
    with pytest.raises(UsageError, match=r"cuda can't run: the NVIDIA driver sees no device; move them"):
        kernels.hamming_edges(OnDevice(codes(9)), threshold=0.5)


def test_failure_with_arrays_on_the_device_is_an_error_under_auto(sees: StandIn) -> None:
    sees.fails = "device lost"
    with pytest.raises(DeviceError, match="device lost"):
        kernels.hamming_edges(OnDevice(codes(9)), threshold=0.5)


@pytest.mark.parametrize("way", WAYS)
def test_wrong_arrays_on_a_device_are_usage_errors(stand_in: StandIn, way: Any) -> None:
    values = np.zeros((8, 8), np.uint64)
    for bad, text in (
        (values.astype(np.uint32), "must be uint64, got uint32"),
        (values.view(np.float64), "must be uint64, got float64"),
        (values[0], r"must have shape \(n_images, n\)"),
        (values[:, ::2], "must be C-contiguous"),
        (values.T[:, :4], "must be C-contiguous"),
        (values[:, :0], "at least one column"),
    ):
        with pytest.raises(UsageError, match=text):
            kernels.hamming_edges(way(bad), threshold=0.5)
    with pytest.raises(UsageError, match="at least 7 pixels"):
        kernels.ssim_edges(way(np.zeros((3, 6, 9), np.uint8)), threshold=0.5)
    assert not stand_in.calls


def test_array_with_a_mask_is_refused() -> None:
    with pytest.raises(UsageError, match="mask"):
        kernels.hamming_edges(OnDevice(codes(9), mask=object()), threshold=0.5)


@pytest.mark.parametrize("way", WAYS)
def test_no_images_on_a_device_have_no_edges(stand_in: StandIn, way: Any) -> None:
    none = way(np.empty((0, 2), np.uint64))
    assert len(kernels.hamming_edges(none, threshold=0.5)) == 0
    assert kernels.hamming_matrix(none).shape == (0, 0)


@pytest.mark.parametrize("way", WAYS)
def test_signed_words_are_taken_as_bits(sees: StandIn, way: Any) -> None:
    values = codes(9)
    wanted = kernels.hamming_edges(values, threshold=0.5, backend="cpp")
    np.testing.assert_array_equal(kernels.hamming_edges(way(values.view(np.int64)), threshold=0.5), wanted)


def test_images_of_many_sizes_are_grouped_on_the_host_for_ssim(stand_in: StandIn) -> None:
    sizes = Ragged.from_images([np.zeros((8, 9), np.uint8)])
    there = Ragged(OnDevice(sizes.values), sizes.offsets, sizes.shapes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="arrays of the host: move them"):
        kernels.ssim_edges(there, threshold=0.5)


def test_dlpack_arrays_of_the_host_are_numpys() -> None:
    torch = pytest.importorskip("torch", reason="a library with DLPack and no device")
    values = codes(9).view(np.int64)
    tensor = torch.from_numpy(values.copy())
    assert not _device_arrays.is_on_device(tensor)
    assert not _device_arrays.is_on_device(values)
    assert not _device_arrays.is_on_device(Capsuled(values, kind=1))
    pixels = torch.zeros((3, 8, 8), dtype=torch.uint8)
    assert len(kernels.ssim_edges(pixels, threshold=0.5)) == 3


@pytest.mark.parametrize("backend", ["cuda", "auto", "cpp"])
def test_scores_of_pairs_need_the_host(stand_in: StandIn, backend: str) -> None:
    pair = {"i": np.array([0], np.int32), "j": np.array([1], np.int32)}
    with pytest.raises(UsageError, match="scored on the host: move them"):
        select(backend).scores("hamming", OnDevice(codes(9)), **pair)  # type: ignore[arg-type]
