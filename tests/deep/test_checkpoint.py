"""The file of a model: what was saved comes back, and whatever else it is given is told, never a crash."""

from __future__ import annotations

import errno
import io
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from clusterimg.deep import _storing  # noqa: E402  after the skip
from clusterimg.deep.autoencoder import Architecture, Autoencoder  # noqa: E402
from clusterimg.deep.checkpoint import FORMAT, Trained, load, save, weights_digest  # noqa: E402
from clusterimg.errors import ModelError, UsageError  # noqa: E402

SMALL = Architecture(size=8, channels=1, width=2, latent=3, depth=2)
FACTS = {
    "training": {"loss": "mse", "perceptual_layers": ("a", "b")},
    "loss": {"loss": "mse"},
    "outcome": {"ended": "epochs", "best_validation": np.float64(0.25)},
    "policy": {"frames": "first frame"},
    "versions": {"clusterimg": "0"},
    "history": [{"epochs": 1.0, "validation": 0.25}],
}


def trained(seed: int = 0) -> Trained:
    network = Autoencoder(SMALL, torch.Generator().manual_seed(seed)).eval()
    digest = weights_digest(network.state_dict())
    return Trained(network, {**FACTS, "architecture": asdict(SMALL), "digest": digest})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save(trained(), path)
    return path.read_bytes()


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def changed(data: bytes, path: Path, change: Any) -> Path:
    """Write the model with its content changed by a function."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    torch.save(change(content) or content, path)
    return path


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    before = trained()
    save(before, tmp_path / "model.pt")
    after = load(tmp_path / "model.pt")
    assert after.architecture == SMALL
    assert not after.autoencoder.training
    pictures = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(before.autoencoder(pictures), after.autoencoder(pictures))
    assert after.facts["history"] == FACTS["history"]
    assert after.facts["training"]["perceptual_layers"] == ["a", "b"]
    assert type(after.facts["outcome"]["best_validation"]) is float
    assert after.facts["digest"] == weights_digest(after.autoencoder.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_digest_is_of_names_and_values_not_of_their_layout() -> None:
    values = torch.arange(16.0).reshape(1, 4, 2, 2)
    other = values.to(memory_format=torch.channels_last)
    assert weights_digest({"a": values}) == weights_digest({"a": other})
    assert weights_digest({"a": values}) != weights_digest({"b": values})
    assert weights_digest({"a": values}) != weights_digest({"a": values.reshape(4, 4)})
    assert weights_digest({"a": values}) != weights_digest({"a": values + 1e-6})
    assert weights_digest({"a": torch.tensor(1.0)}) != weights_digest({"a": torch.tensor(1)})


def test_loading_draws_no_random_numbers(tmp_path: Path, saved: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(saved)
    before = torch.get_rng_state()
    load(tmp_path / "model.pt")
    assert torch.equal(before, torch.get_rng_state())


# --- files that are something else ---


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-run"),))


def other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photo.txt", "not a model")
    return buffer.getvalue()


def torch_file(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\0" * 4096, "it does not begin as one"),
        (b"PK\x03\x04" + b"\0" * 100, "it is cut short or damaged"),
        (pickle.dumps({"format": FORMAT}), "it does not begin as one"),
        (other_zip(), "torch says: "),
        (torch_file([1, 2]), "it holds a list"),
        (torch_file({"a": torch.ones(2)}), "torch wrote it, but for something else"),
        (torch_file({"format": FORMAT}, _use_new_zipfile_serialization=False), "it does not begin as one"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    assert refusal(path).startswith(f"{path} is not a model of clusterimg train: {reason}")


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(torch_file({"format": FORMAT, "version": 1, "facts": Evil()}))
    assert "could run code when it is read" in refusal(tmp_path / "model.pt")
    assert not (tmp_path / "was-run").exists()


def test_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pt").endswith("is missing: wanted a model of clusterimg train")
    assert refusal(tmp_path).endswith("can't be read: Is a directory")


def test_a_newer_version(tmp_path: Path, saved: bytes) -> None:
    path = changed(saved, tmp_path / "model.pt", lambda content: {**content, "version": 2, "facts": None})
    assert refusal(path).endswith("wrote it (format 2, this one reads 1): update clusterimg")


def drop(part: str, name: str) -> Any:
    return lambda content: content[part].__delitem__(name)


def put(part: str, name: str, value: Any) -> Any:
    return lambda content: content[part].update({name: value})


def more_latents(content: dict[str, Any]) -> None:
    content["facts"]["architecture"]["latent"] = 4


def other_weight(content: dict[str, Any]) -> None:
    next(iter(content["weights"].values())).view(-1)[0] += 1e-4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: {**content, "version": "x"}, "its version is 'x'"),
        (lambda content: {**content, "facts": None}, "it holds no facts or no weights"),
        (lambda content: {**content, "weights": [1]}, "it holds no facts or no weights"),
        (drop("facts", "history"), "its facts lack history"),
        (put("facts", "architecture", 3), "its facts lack an architecture"),
        (put("facts", "architecture", {"size": 8, "colour": 1}), "its architecture can't be built: "),
        (put("facts", "architecture", {"size": "8"}), "its architecture can't be built: "),
        (put("facts", "architecture", {"size": -1}), "its architecture can't be built: "),
        (more_latents, "encoder"),
        (
            put("weights", "extra", torch.ones(1)),
            "it has weights that its architecture has not, such as extra",
        ),
        (put("weights", "extra", 3), "its weights are not all tensors"),
        (other_weight, "it is damaged: the weights are not those that were saved"),
    ],
)
def test_a_file_that_is_nearly_right(tmp_path: Path, saved: bytes, change: Any, reason: str) -> None:
    path = changed(saved, tmp_path / "model.pt", change)
    assert refusal(path).startswith(f"{path} is not a model of clusterimg train: {reason}")


def test_weights_that_are_missing(tmp_path: Path, saved: bytes) -> None:
    first = next(iter(trained().autoencoder.state_dict()))
    path = changed(saved, tmp_path / "model.pt", drop("weights", first))
    assert refusal(path).endswith(f"weights are missing, such as {first}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused(tmp_path: Path, saved: bytes, data: st.DataObject) -> None:
    """Cut anywhere or with bits flipped anywhere, it loads as it was or is refused."""
    damaged = bytearray(saved)
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(saved) - 1))]
    else:
        places = st.tuples(st.integers(0, len(saved) - 1), st.integers(1, 255))
        for place, bits in data.draw(st.lists(places, min_size=1, max_size=4)):
            damaged[place] ^= bits
    path = tmp_path / "model.pt"
    path.write_bytes(damaged)
    try:
        loaded = load(path)
    except ModelError:
        return
    # What holds no content, such as the time of a part of the archive, may differ.
    assert loaded.facts == load_bytes(tmp_path, saved).facts
    assert weights_digest(loaded.autoencoder.state_dict()) == loaded.facts["digest"]


def load_bytes(folder: Path, data: bytes) -> Trained:
    (folder / "whole.pt").write_bytes(data)
    return load(folder / "whole.pt")


# --- writing ---


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    model = trained()
    with torch.no_grad():
        next(model.autoencoder.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(ModelError, match=r"not saved: its weights .* are not all numbers"):
        save(model, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    save(trained(), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_storing.os, "fsync", full)
    with pytest.raises(ModelError, match=r"can't write .*model\.pt: the disk is full: free some space"):
        save(trained(1), path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_checksums_are_written_whatever_the_user_has_chosen(tmp_path: Path) -> None:
    options = torch.serialization
    if not hasattr(options, "set_crc32_options"):
        pytest.skip("this torch has no such choice")
    options.set_crc32_options(False)
    try:
        save(trained(), tmp_path / "model.pt")
        assert options.get_crc32_options() is False
    finally:
        options.set_crc32_options(True)
    assert load(tmp_path / "model.pt").architecture == SMALL


def test_a_device_that_is_not_there(tmp_path: Path, saved: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(saved)
    with pytest.raises(UsageError, match="device must be one of"):
        load(tmp_path / "model.pt", device="tpu")
