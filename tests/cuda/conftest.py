"""The backend cuda on the emulated machine."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clusterimg.backends import cuda as backend

sys.path.insert(0, str(Path(__file__).parent))
import emulated


@pytest.fixture(scope="session")
def emulated_core() -> tuple[ModuleType, emulated.Machine]:
    """Return the compiled module, built for the CPU, and its machine."""
    reason = emulated.why_not()
    if reason is not None:
        pytest.skip(reason)
    path = emulated.build(emulated.BUILT, sanitize=emulated.SANITIZE)
    return emulated.load(path), emulated.Machine(path)


@pytest.fixture
def machine(emulated_core: tuple[ModuleType, emulated.Machine]) -> Iterator[emulated.Machine]:
    """The emulated machine, as at the start; a test must give all memory back."""
    machine = emulated_core[1]
    machine.reset()
    yield machine
    machine.reset()


@pytest.fixture
def core(emulated_core: tuple[ModuleType, emulated.Machine], machine: emulated.Machine) -> Any:
    """The compiled module."""
    return emulated_core[0]


def ways() -> Iterator[Any]:
    """Yield each order of threads on the emulated machine and, where there is one, a real device."""
    yield from emulated.ORDERS
    if backend.why_unavailable() is None:
        yield pytest.param("gpu", marks=pytest.mark.gpu)


@pytest.fixture
def emulate(
    core: Any, machine: emulated.Machine, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ModuleType]:
    """Give the backend cuda on the emulated machine, with threads in an order."""

    def give(order: str) -> ModuleType:
        machine.order(order, seed=1)
        monkeypatch.setattr(backend, "_core_cuda", core, raising=False)
        monkeypatch.setattr(backend, "_missing", None)
        return backend

    return give


@pytest.fixture(params=ways())
def cuda(request: pytest.FixtureRequest) -> ModuleType:
    """The backend cuda: on the emulated machine, with threads in each order, and on a device."""
    if request.param == "gpu":
        if {"core", "machine"} & set(inspect.signature(request.function).parameters):
            pytest.skip("asks for the emulated machine itself")
        return backend
    emulated_in: Callable[[str], ModuleType] = request.getfixturevalue("emulate")
    return emulated_in(request.param)
