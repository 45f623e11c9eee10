"""The backend cuda on the emulated machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


@pytest.fixture(params=emulated.ORDERS)
def cuda(
    request: pytest.FixtureRequest, core: Any, machine: emulated.Machine, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The backend cuda on the emulated machine, with threads in each order."""
    from clusterimg.backends import cuda

    machine.order(request.param, seed=1)
    monkeypatch.setattr(cuda, "_core_cuda", core, raising=False)
    monkeypatch.setattr(cuda, "_missing", None)
    return cuda
