"""The driver of joins: blocks, lists that are too short, several devices, progress, Ctrl-C, trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulated
import numpy as np
import pytest
from numpy.typing import NDArray

from clusterimg import DeviceError, Ragged
from clusterimg.backends import _cuda_trial, cpp

KERNELS = tuple(_cuda_trial.JOINS)


@pytest.fixture(params=KERNELS)
def join(request: pytest.FixtureRequest) -> Join:
    return Join(request.param)


class Join:
    """Items of one kernel, alike in every degree, and what the core finds of them."""

    def __init__(self, kernel: str, n_items: int | None = None) -> None:
        self.kernel = kernel
        self.values = _cuda_trial.items(kernel)
        self.options = dict(_cuda_trial.JOINS[kernel][0])
        self.threshold = {"threshold": self.options.pop("threshold")}
        if kernel in ("descriptor", "sliding"):
            self.values = Ragged.concatenate([self.values] * 3)
        if n_items is not None:
            few = np.arange(n_items)
            self.values = self.values.take(few) if isinstance(self.values, Ragged) else self.values[few]

    def __len__(self) -> int:
        return len(self.values)

    def on_core(self, what: str, *others: Any) -> NDArray[Any]:
        function = getattr(cpp, f"{'template' if self.kernel == 'sliding' else self.kernel}_{what}")
        threshold = {} if what == "matrix" else self.threshold
        found: NDArray[Any] = function(self.values, *others, **threshold, **self.options)
        return found

    def on_device(self, cuda: Any, what: str, *others: Any, **options: Any) -> NDArray[Any]:
        threshold = {} if what == "matrix" else self.threshold
        parts = {"sliding": cuda._parts, "descriptor": cuda._words}.get(self.kernel, cuda._rows)
        function = getattr(cuda._core_cuda, f"{self.kernel}_{what}")
        found: NDArray[Any] = function(
            parts(self.values), *map(parts, others), **threshold, **self.options, **options
        )
        return found


def too_little(cuda: Any, join: Join, what: str) -> int:
    """Return less memory than all items of a join take beside its lists: it goes block by block."""
    join.on_device(cuda, what, **short_list(what))
    (whole,) = cuda._core_cuda.last_run()
    Join(join.kernel, n_items=2).on_device(cuda, what, **short_list(what))
    (few,) = cuda._core_cuda.last_run()
    return int(few["bytes"] + 0.8 * (whole["bytes"] - few["bytes"]))


def short_list(what: str) -> dict[str, int]:
    """Return the options for lists of no more pairs than a tile may have."""
    return {} if what == "matrix" else {"list_capacity": 1}


@pytest.mark.parametrize("what", ["edges", "components", "matrix"])
def test_blocks_and_short_lists_give_the_same(cuda: Any, core: Any, join: Join, what: str) -> None:
    memory = too_little(cuda, join, what)
    found = join.on_device(cuda, what, memory=memory, **short_list(what))
    if what == "matrix" and join.kernel in ("ssim", "template", "sliding"):
        np.testing.assert_allclose(found, join.on_core(what), rtol=0, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, join.on_core(what))
    (run,) = core.last_run()
    assert run["bytes"] <= memory
    assert run["launches"] >= 3


def test_lists_overflow_where_pairs_are_many(cuda: Any, core: Any) -> None:
    codes = np.zeros((300, 1), np.uint64)
    found = core.hamming_edges(codes, threshold=0.5, list_capacity=1)  # a tile's pairs at least
    np.testing.assert_array_equal(found, cpp.hamming_edges(codes, None, threshold=0.5))
    assert core.last_run()[0]["cut"] > 0


def test_two_sets_in_blocks(cuda: Any, join: Join) -> None:
    memory = too_little(cuda, join, "edges")
    few = np.arange(1, len(join), 3)
    others = join.values.take(few) if isinstance(join.values, Ragged) else join.values[few]
    found = join.on_device(cuda, "edges", others, memory=memory, list_capacity=1)
    np.testing.assert_array_equal(found, join.on_core("edges", others))


@pytest.mark.parametrize("n_devices", [2, 3])
def test_devices_share_the_work(
    cuda: Any, core: Any, machine: emulated.Machine, join: Join, n_devices: int
) -> None:
    machine.devices(n_devices)
    for what in ("edges", "components"):
        np.testing.assert_array_equal(join.on_device(cuda, what), join.on_core(what))
        runs = core.last_run()
        assert [run["number"] for run in runs] == list(range(n_devices))
        assert sum(run["pairs"] for run in runs) == len(join) * (len(join) - 1) // 2
    assert all(machine.used(k) == 0 for k in range(n_devices))


def test_progress_ends_at_all_pairs(cuda: Any, core: Any) -> None:
    told: list[int] = []
    codes = np.arange(700, dtype=np.uint64)[:, None]
    core.hamming_edges(codes, threshold=0.99, progress=told.append, list_capacity=1)
    assert told == sorted(told)
    assert all(0 <= done <= 700 * 699 // 2 for done in told)


@pytest.mark.parametrize("n_devices", [1, 2])
def test_ctrl_c_ends_a_join(cuda: Any, core: Any, machine: emulated.Machine, n_devices: int) -> None:
    machine.devices(n_devices)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    codes = np.zeros((500, 1), np.uint64)
    with pytest.raises(KeyboardInterrupt):
        core.hamming_edges(codes, threshold=0.5, progress=interrupt, list_capacity=1)
    assert all(machine.used(k) == 0 for k in range(n_devices))
    assert machine.pinned() == 0
    assert len(core.hamming_edges(codes[:50], threshold=0.5)) == 50 * 49 // 2


def test_a_failure_names_its_device(cuda: Any, core: Any, machine: emulated.Machine) -> None:
    machine.devices(2)
    codes = np.zeros((900, 1), np.uint64)
    core.hamming_edges(codes, threshold=0.5, devices=[1], list_capacity=1)
    n_calls = machine.calls()
    machine.reset()
    machine.devices(2)
    machine.vanish(1, after_calls=n_calls // 2)
    with pytest.raises(core.DeviceFailure, match=r"^device 1, emulated device: "):
        core.hamming_edges(codes, threshold=0.5, devices=[1], list_capacity=1)


# --- trials ---


class Wrong:
    """The compiled module, but for one function that loses its last pair."""

    def __init__(self, core: Any, function: str) -> None:
        self._core, self._function = core, function

    def __getattr__(self, name: str) -> Any:
        right = getattr(self._core, name)
        return (lambda *a, **k: right(*a, **k)[:-1]) if name == self._function else right


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("what", ["edges", "components"])
def test_a_device_that_answers_otherwise_is_not_used(
    emulate: Callable[[str], Any], core: Any, monkeypatch: pytest.MonkeyPatch, kernel: str, what: str
) -> None:
    cuda, join = emulate("forward"), Join(kernel)
    function = f"{'template' if kernel == 'sliding' else kernel}_edges"
    monkeypatch.setattr(cuda, "_tried", set())
    monkeypatch.setattr(cuda, "_core_cuda", Wrong(core, f"{kernel}_{what}"))
    with pytest.raises(DeviceError, match=f"device 0 .* other answers than the compiled core .* {kernel}"):
        getattr(cuda, function)(join.values, **join.threshold, **join.options)
    monkeypatch.setattr(cuda, "_core_cuda", core)
    for _ in range(2):  # the second time it is known to be right
        found = getattr(cuda, function)(join.values, **join.threshold, **join.options)
        np.testing.assert_array_equal(found, join.on_core("edges"))
    assert cuda._tried == {(kernel, None)}
