"""The backend cuda as users meet it, on the emulated machine: library calls, runs, arrays on the device."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import Machine

import clusterimg as ci
from capsules import Capsuled
from clusterimg import (
    BackendUnavailable,
    DeviceError,
    DeviceWarning,
    Ragged,
    UsageError,
    backends,
    cli,
    kernels,
)
from clusterimg.backends import _crossover, select
from pictures import groups, save

# One order of threads: those of a kernel are the matter of its own tests.
pytestmark = pytest.mark.parametrize("cuda", ["shuffled"], indirect=True)

METHODS = ("ssim", "minhash", "imagehash", "orb", "tm")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CLUSTERIMG_BACKEND", "CLUSTERIMG_CUDA_DEVICES", "CLUSTERIMG_CUDA_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `auto` take the device for everything."""
    cycles = dict.fromkeys(_crossover.KERNELS, 1e-9)
    figures = _crossover.Figures(start=0.0, call=-1.0, transfer=1e30, cycles=cycles)
    monkeypatch.setattr(_crossover, "MODELLED", figures)


def codes(n: int, n_words: int = 1) -> np.ndarray:
    rng = np.random.default_rng([n, n_words])
    made = rng.integers(0, 1 << 63, size=(n, n_words), dtype=np.uint64)
    made[1::2] = made[: n // 2 * 2 : 2] ^ np.uint64(1)
    return made


def inputs() -> dict[str, tuple[str, Any]]:
    """Return values of each kind, with a few alike."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(7, 12, 11), dtype=np.uint8)
    images[4] = images[1] // 2 + 60
    sizes = [images[0], images[1], images[0][:9], images[4], images[1][1:, 1:], images[0][:9] // 2]
    points = [rng.integers(0, 256, size=(n, 32), dtype=np.uint8) for n in (5, 9, 1, 33)]
    points.append(points[1] ^ np.uint8(1))
    return {
        "hamming": ("hamming", codes(37, 2)),
        "signature": ("signature", codes(21, 16).view(np.uint32)),
        "ssim": ("ssim", images),
        "ssim of sizes": ("ssim", Ragged.from_images(sizes)),
        "template": ("template", images),
        "template of sizes": ("template", Ragged.from_images(sizes)),
        "descriptor": ("descriptor", Ragged.from_arrays(points, empty=np.empty((0, 32), np.uint8))),
    }


# --- calls ---


@pytest.mark.parametrize("kind", inputs())
def test_kernels_give_what_the_core_gives(cuda: Any, kind: str) -> None:
    kernel, values = inputs()[kind]
    others = values.take(np.arange(3)) if isinstance(values, Ragged) else values[:3]
    edges, matrix = (getattr(kernels, f"{kernel}_{what}") for what in ("edges", "matrix"))
    for sets in ((values,), (values, others)):
        for threshold in (-1.0, 0.3, 0.9):
            wanted = edges(*sets, threshold=threshold, backend="cpp")
            np.testing.assert_array_equal(edges(*sets, threshold=threshold, backend="cuda"), wanted)
        wanted = matrix(*sets, backend="cpp")
        np.testing.assert_allclose(matrix(*sets, backend="cuda"), wanted, rtol=0, atol=1e-5)
    options = {"rule": "ratio", "max_distance": 40} if kernel == "descriptor" else {}
    labels = [select(name).clusters(kernel, values, threshold=0.3, **options) for name in ("cpp", "cuda")]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("method", METHODS)
def test_library_calls_give_what_the_core_gives(cuda: Any, method: str) -> None:
    images = [image[::4, ::4] for image in groups(2, 2, 2).values()]
    features = ci.extract(images, method=method, backend="cuda")
    options: dict[str, Any] = {} if method == "orb" else {"threshold": 0.4}
    for function in (ci.similar_pairs, ci.cluster):
        got, wanted = (function(features, backend=name, **options) for name in ("cuda", "cpp"))
        np.testing.assert_array_equal(got, wanted)
    got, wanted = (ci.similarity_matrix(features, backend=name) for name in ("cuda", "cpp"))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--method", "imagehash"),
        ("--method", "ssim", "--size", "16x16", "--batch-size", "4"),
        ("--method", "tm", "--size", "16x16", "--batch-size", "4", "--merge", "exact"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_whole_run_has_the_tables_of_the_core(
    cuda: Any, tmp_path: Path, arguments: tuple[str, ...], capsys: Any
) -> None:
    photos = save(tmp_path / "photos", groups(3, 3, 3))
    tables = []
    for backend in ("cpp", "cuda"):
        out = tmp_path / backend
        command = ["run", str(photos), "--out", str(out), "--transfer", "none", "--backend", backend]
        assert cli.main([*command, *arguments]) == 0
        files = sorted(file for file in out.iterdir() if file.suffix in (".csv", ".parquet"))
        tables.append({file.name: file.read_bytes() for file in files})
    assert tables[0] == tables[1]
    assert any(name.startswith("similarities_") for name in tables[0])
    shown = capsys.readouterr().out
    assert "backend cuda, CUDA on emulated device (compute " in shown
    told = json.loads((out / "run.json").read_text())["backend"]
    (use,) = told["kernels"].values()
    assert use["backend"] == "cuda"
    assert use["device_bytes"]["emulated device (0)"] > 0


# --- arrays on the device ---


class OnDevice:
    """The ways in which an array on the device shows itself."""

    def __init__(self, machine: Machine, way: str) -> None:
        self._machine, self._way = machine, way

    def __call__(self, values: Any) -> Any:
        if isinstance(values, Ragged):
            return Ragged(self(values.values), values.offsets, values.shapes)
        there = self._machine.array(values)
        if self._way == "interface":
            return there
        return Capsuled(values, owner=there)


@pytest.mark.parametrize("way", ["interface", "dlpack"])
@pytest.mark.parametrize("backend", ["auto", "cuda"])
@pytest.mark.parametrize("kind", [kind for kind in inputs() if kind != "ssim of sizes"])
def test_arrays_on_the_device_stay_there(
    cuda: Any, machine: Machine, kind: str, way: str, backend: str
) -> None:
    kernel, values = inputs()[kind]
    there = OnDevice(machine, way)
    edges, matrix = (getattr(kernels, f"{kernel}_{what}") for what in ("edges", "matrix"))
    wanted = edges(values, threshold=0.3, backend="cpp")
    np.testing.assert_array_equal(edges(there(values), threshold=0.3, backend=backend), wanted)
    wanted = matrix(values, values, backend="cpp")
    got = matrix(there(values), values, backend=backend)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["interface", "dlpack"])
def test_features_on_the_device_stay_there(cuda: Any, machine: Machine, way: str) -> None:
    features = ci.extract(list(groups(2, 2, 2).values()), method="imagehash")
    facts = (features.shapes, features.featureless, features.near_flat, features.digests)
    values = OnDevice(machine, way)(features.values)
    there = ci.Features(features.method, features.params, values, *facts)
    np.testing.assert_array_equal(ci.similar_pairs(there), ci.similar_pairs(features))
    np.testing.assert_array_equal(ci.cluster(there), ci.cluster(features))
    assert machine.launches()
    with pytest.raises(UsageError, match="where backend cpp can't reach them"):
        ci.similar_pairs(there, backend="cpp")


# --- the machine ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda machine: machine.driver(0), "this machine has no NVIDIA driver"),
        (lambda machine: machine.devices(0), "the NVIDIA driver sees no device"),
        (lambda machine: machine.capability(0, 7, 0), r"no device has compute capability 7\.5 or later"),
    ],
    ids=["no driver", "no device", "old device"],
)
def test_machine_that_can_not_run_it_says_why(
    cuda: Any, machine: Machine, capsys: Any, change: Any, reason: str
) -> None:
    change(machine)
    assert re.match(reason, backends.report()["cuda"] or "")
    with pytest.raises(BackendUnavailable, match=f"cuda: {reason}"):
        select("cuda")
    assert select().report.name == "cpp"
    assert cli.main(["info"]) == 0
    assert re.search(reason, capsys.readouterr().out)


def test_info_shows_the_device(cuda: Any, machine: Machine, capsys: Any) -> None:
    machine.devices(2)
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"CUDA: runtime \d+\.\d, driver for CUDA \d+\.\d, built for compute emulated", out)
    assert len(re.findall(r"  device \d +emulated device: compute \d\.\d, \d+ multiprocessors at ", out)) == 2
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["cuda"]
    assert facts["reason"] is None
    assert [device["number"] for device in facts["devices"]] == [0, 1]


def test_environment_names_devices_and_memory(
    cuda: Any, core: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.devices(3)
    values = codes(300)
    wanted = kernels.hamming_edges(values, threshold=0.5, backend="cpp")
    np.testing.assert_array_equal(kernels.hamming_edges(values, threshold=0.5, backend="cuda"), wanted)
    assert {run["number"] for run in core.last_run()} <= {0, 1, 2}
    monkeypatch.setenv("CLUSTERIMG_CUDA_DEVICES", "1")
    monkeypatch.setenv("CLUSTERIMG_CUDA_MEMORY", "2M")
    engine = select("cuda")
    np.testing.assert_array_equal(engine.edges("hamming", values, threshold=0.5), wanted)
    assert [run["number"] for run in core.last_run()] == [1]
    held = engine.report.kernels["hamming"].device_bytes
    assert list(held) == ["emulated device (1)"]
    assert 0 < held["emulated device (1)"] <= 2 << 20
    monkeypatch.setenv("CLUSTERIMG_CUDA_DEVICES", "3")
    with pytest.raises(UsageError, match="CLUSTERIMG_CUDA_DEVICES must be numbers of devices among"):
        engine.edges("hamming", values, threshold=0.5)


def test_device_that_vanishes_is_an_error_by_name_and_a_warning_under_auto(
    cuda: Any, machine: Machine, eager: None
) -> None:
    values = codes(50)
    wanted = kernels.hamming_edges(values, threshold=0.5, backend="cpp")
    engine, other = select("cuda"), select()
    machine.vanish(0, after_calls=20)
    with pytest.raises(DeviceError, match=r"in hamming_edges on emulated device \(0\): .*--backend cpp"):
        engine.edges("hamming", values, threshold=0.5)
    machine.reset()
    np.testing.assert_array_equal(other.edges("hamming", values, threshold=0.5), wanted)
    assert not other.report.fallbacks
    machine.vanish(0, after_calls=20)
    with pytest.warns(DeviceWarning, match="backend cpp takes over"):
        np.testing.assert_array_equal(other.edges("hamming", values, threshold=0.5), wanted)
    machine.reset()
    calls = machine.calls()
    np.testing.assert_array_equal(other.edges("hamming", values, threshold=0.5), wanted)
    assert machine.calls() == calls
    assert len(other.report.fallbacks) == 1


def test_auto_asks_nothing_of_the_machine_for_little(cuda: Any, machine: Machine) -> None:
    engine = select()
    engine.edges("hamming", codes(50), threshold=0.5)
    ci.similarity_matrix(np.zeros((5, 64, 64), np.uint8), method="ssim")
    assert machine.calls() == 0


# --- the stub ---


def stub() -> dict[str, ast.FunctionDef]:
    body = ast.parse((Path(ci.__file__).parent / "_core_cuda.pyi").read_text()).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def test_stub_is_that_of_the_module(cuda: Any, core: Any) -> None:
    public = {name for name in vars(core) if not name.startswith("_")}
    assert {*stub(), "DeviceFailure"} == public
    for name, node in stub().items():
        text = re.sub(r"object at 0x\w+|<[^>]*>", "None", inspect.getdoc(getattr(core, name)).splitlines()[0])
        (function,) = ast.parse(f"def {text}: ...").body
        assert isinstance(function, ast.FunctionDef)
        for kind in ("args", "kwonlyargs"):
            names = [[a.arg for a in getattr(each.args, kind)] for each in (node, function)]
            assert names[0] == names[1], name
