"""Where the pair work of an engine runs: on its backend, or on CUDA devices."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from .._device_arrays import HOW_TO_MOVE, is_on_device
from .._types import KernelUse, Ragged
from ..errors import DeviceError, DeviceWarning, UsageError
from . import _crossover
from ._crossover import Choice

__all__ = ["Devices", "are_on_device"]


def are_on_device(sets: Sequence[Any]) -> bool:
    """Return whether any of the sets is on a CUDA device."""
    return any(is_on_device(values.values if isinstance(values, Ragged) else values) for values in sets)


class Devices:
    """The CUDA devices, as an engine uses them: none is asked for before a call may be worth it.

    Under a named `cuda` every call is theirs, under `auto` those that the model says are faster there. If
    a device fails then, the call is done again on the backend, a `DeviceWarning` says so, and no device is
    asked any more.

    kernels, fallbacks, passed_over : what the engine's report shows
    """

    def __init__(self, backend: ModuleType, n_threads: int, *, is_named: bool) -> None:
        self._backend, self._n_threads, self._is_named = backend, n_threads, is_named
        self._reason: str | None = None  # why no device is used, or none any more
        self._found: list[dict[str, Any]] | None = None  # the devices, once they were asked for
        self._figures = _crossover.MODELLED  # or those measured on the first of them
        self.kernels: dict[str, KernelUse] = {}
        self.fallbacks: list[str] = []
        self.passed_over: dict[str, str] = {}

    def choose(self, kernel: str, what: str, sets: Sequence[Any], threshold: float | None) -> Choice | None:
        """Return where a call is to run; None where there is nothing to choose."""
        if self._is_named:
            return Choice(True, "asked for by name") if kernel != "cosine" else None
        if are_on_device(sets):
            self._need()
            return Choice(True, "the values are there")
        if kernel == "cosine" or self._reason is not None:
            return None
        work = _crossover.work_of(kernel, *sets, threshold=threshold)
        if kernel == "hamming" and what != "matrix" and self._may_pay(work):  # or it takes no index
            plan = self._backend.hamming_plan(*sets, threshold=threshold)
            work = replace(work, plan=plan)
        if not self._may_pay(work):
            return None
        if self._found is None:
            self._ask()
        if not self._found:
            return None
        return _crossover.choose(
            work,
            self._found,
            n_threads=self._n_threads,
            is_warm=_cuda().is_warm(),
            figures=self._figures,
        )

    def _ask(self) -> None:
        """Find the devices, or why there are none."""
        cuda = _cuda()
        self._found, self._reason = [], cuda.why_unavailable()
        try:
            if self._reason is None:
                self._found = cuda.devices()
            if self._found:
                self._figures = _crossover.read_measured(self._found[0]["name"])
        except DeviceError as error:
            self._reason = str(error)
        if self._reason is not None and cuda.is_built():  # or it would be news to everybody
            self.passed_over["cuda"] = self._reason

    def _may_pay(self, work: _crossover.Work) -> bool:
        """Return whether a device that takes no time for the work could be faster; none is asked.

        To ask starts a device: what the core does in less is not worth it.
        """
        call, start = _crossover.MODELLED.call, _crossover.MODELLED.start
        seconds = _crossover.core_seconds(work, self._n_threads)
        return seconds > call and seconds > call + (0.0 if _cuda().is_warm() else start)

    def _need(self) -> None:
        """Raise `UsageError` unless values on a device can be used there."""
        reason = _cuda().why_unavailable()
        if reason is not None:
            raise UsageError(f"the values are on a CUDA device, and cuda can't run: {reason}; {HOW_TO_MOVE}")

    def call(
        self,
        kernel: str,
        what: str,
        sets: Sequence[Any],
        options: dict[str, Any],
        on_backend: Callable[[], Any],
    ) -> Any:
        """Return what the kernel finds, on the devices or by `on_backend()`."""
        choice = self.choose(kernel, what, sets, options.get("threshold"))
        if choice is None:
            return on_backend()
        if not choice.on_device:
            self._note(kernel, self._backend.NAME, choice.why)
            return on_backend()
        cuda = _cuda()
        try:
            found = getattr(cuda, f"{kernel}_{what}")(*sets, n_threads=self._n_threads, **options)
        except DeviceError as error:
            if self._is_named or are_on_device(sets):
                raise
            self._give_up(kernel, error)
            return on_backend()
        self._note(kernel, cuda.NAME, choice.why, cuda.held())
        return found

    def _note(self, kernel: str, backend: str, why: str, held: Mapping[str, int] | None = None) -> None:
        """Add a call to the report."""
        before = self.kernels.get(kernel, KernelUse(backend, why, {}, {}))
        calls = {**before.calls, backend: before.calls.get(backend, 0) + 1}
        most = dict(before.device_bytes)
        for name, n_bytes in (held or {}).items():
            most[name] = max(n_bytes, most.get(name, 0))
        self.kernels[kernel] = KernelUse(backend, why, calls, most)

    def _give_up(self, kernel: str, error: DeviceError) -> None:
        self._reason = str(error.__cause__ or error)
        text = f"CUDA failed at {kernel} ({self._reason}): backend {self._backend.NAME} takes over"
        self._note(kernel, self._backend.NAME, "a device failed at it")
        self.fallbacks.append(text)
        warnings.warn(text, DeviceWarning, stacklevel=3)


def _cuda() -> ModuleType:
    return importlib.import_module(".cuda", __package__)
