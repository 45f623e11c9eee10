"""Backends: flat modules of same-named functions, and the one place that chooses between them.

Every backend module has `NAME`, `why_unavailable()`, `isa()`, and for each kernel of `KERNELS`

    <kernel>_edges(values, others=None, *, threshold, n_threads=0, progress=None)   edge array
    <kernel>_matrix(values, others=None, *, n_threads=0, progress=None)             float32
    <kernel>_scores(values, others=None, *, i, j, n_threads=0, progress=None)       float64

and may offer components without a list of the edges, for sets of any similarity in little memory,

    <kernel>_components(values, *, threshold, n_threads=0, progress=None)           int32 labels

beside `components(edges, n_images)`, `phash(grey, *, hash_size, highfreq_factor)` and
`resolve_threads(n_threads)`. Without `others` the pairs are `i < j` of one set; with it they are all
of `values` x `others`. A module may have `shrink_area(grey, *, height, width)`, which returns None
where it leaves it to OpenCV. One that has several ways to find pairs tells in words which it takes:
`<kernel>_plan(values, others=None, *, threshold)`. `cpp` is the compiled core, `cuda` the devices (and the
core for all that is not worth one), `numba` the core's twin for machines without one, `reference` the
libraries that define the methods; all give the same edges. Modules that begin with an underscore serve them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._device_arrays import HOW_TO_MOVE
from .._types import BackendReport, Ragged
from ..errors import BackendUnavailable, UsageError
from ._placing import Devices, are_on_device

__all__ = ["BACKENDS", "KERNELS", "Engine", "cuda_facts", "report", "select"]

KERNELS = ("ssim", "hamming", "template", "descriptor", "signature", "cosine")

BACKENDS = ("cpp", "cuda", "numba", "reference")
"""Names of all backends. `auto` takes the first that can run but `cuda`, which serves beside `cpp`."""

Values = NDArray[Any] | Ragged


@dataclass(frozen=True, slots=True)
class Engine:
    """The backend of one run, with its threads: what methods and merging are handed.

    Joins and matrices run on `devices` where those were asked for, or are likely to be faster.
    """

    backend: ModuleType
    report: BackendReport
    n_threads: int = 0
    devices: Devices | None = None

    @property
    def reads_with(self) -> str:
        """Name of the backend for a process that extracts features: one that opens no device."""
        name: str = getattr(self.backend, "READS_WITH", self.report.name)
        return name

    def _call(self, kernel: str, what: str, *sets: Values | None, **options: Any) -> Any:
        """Return what `<kernel>_<what>` finds, on the backend or on a device."""
        given = [values for values in sets if values is not None]

        def on_backend() -> Any:
            function = getattr(self.backend, f"{kernel}_{what}")
            return function(*given, n_threads=self.n_threads, **options)

        if self.devices is not None:
            return self.devices.call(kernel, what, given, options, on_backend)
        if are_on_device(given):
            raise UsageError(
                f"the values are on a CUDA device, where backend {self.report.name} can't reach them: take "
                f"backend auto or cuda, or {HOW_TO_MOVE}"
            )
        return on_backend()

    def edges(
        self,
        kernel: str,
        values: Values,
        others: Values | None = None,
        *,
        threshold: float,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> NDArray[np.void]:
        """Return the pairs of `values` (or of `values` x `others`) above the threshold."""
        edges: NDArray[np.void] = self._call(
            kernel, "edges", values, others, threshold=threshold, progress=progress, **options
        )
        return edges

    def tells_plan(self, kernel: str) -> bool:
        """Return whether there are several ways to find the pairs, of which `plan` tells the one taken."""
        return hasattr(self.backend, f"{kernel}_plan")

    def plan(
        self, kernel: str, values: Values, others: Values | None = None, *, threshold: float
    ) -> str | None:
        """Return how `edges` finds the pairs; None where there is but one way."""
        if not self.tells_plan(kernel):
            return None
        if self.devices is not None:
            given = [values] if others is None else [values, others]
            choice = self.devices.choose(kernel, "edges", given, threshold)
            if choice is not None and choice.on_device:
                return "all pairs, on cuda"
        plan: str = getattr(self.backend, f"{kernel}_plan")(values, others, threshold=threshold)
        return plan

    def matrix(
        self, kernel: str, values: Values, others: Values | None = None, **options: Any
    ) -> NDArray[np.float32]:
        """Return the dense scores, float32."""
        matrix: NDArray[np.float32] = self._call(kernel, "matrix", values, others, **options)
        return matrix

    def scores(
        self,
        kernel: str,
        values: Values,
        others: Values | None = None,
        *,
        i: NDArray[np.int32],
        j: NDArray[np.int32],
        **options: Any,
    ) -> NDArray[np.float64]:
        """Return the canonical scores of the pairs `(i[k], j[k])`, of values on the host."""
        if are_on_device([values] if others is None else [values, others]):
            raise UsageError(f"listed pairs are scored on the host: {HOW_TO_MOVE}")
        function = getattr(self.backend, f"{kernel}_scores")
        scores: NDArray[np.float64] = function(values, others, i=i, j=j, n_threads=self.n_threads, **options)
        return scores

    def clusters(self, kernel: str, values: Values, *, threshold: float, **options: Any) -> NDArray[np.int32]:
        """Return the labels of the components of the pairs above the threshold, without the pairs."""
        if not hasattr(self.backend, f"{kernel}_components"):
            return self.components(self.edges(kernel, values, threshold=threshold, **options), len(values))
        labels: NDArray[np.int32] = self._call(kernel, "components", values, threshold=threshold, **options)
        return labels

    def components(self, edges: NDArray[np.void], n_images: int) -> NDArray[np.int32]:
        """Return the labels of the connected components; -1 where an image has no edge."""
        labels: NDArray[np.int32] = self.backend.components(edges, n_images)
        return labels

    def phash(
        self, grey: NDArray[np.uint8], *, hash_size: int, highfreq_factor: int
    ) -> tuple[NDArray[np.uint64], int]:
        """Return the bits of a perceptual hash and how many of them are ties."""
        codes, ties = self.backend.phash(grey, hash_size=hash_size, highfreq_factor=highfreq_factor)
        return codes, ties

    def shrink_area(self, grey: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8] | None:
        """Return what OpenCV's INTER_AREA makes of the image, bit for bit, or None to leave it to OpenCV."""
        shrink = getattr(self.backend, "shrink_area", None)
        return None if shrink is None else shrink(grey, height=height, width=width)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{name}", __name__)


def select(name: str = "auto", *, n_threads: int = 0) -> Engine:
    """Return the engine for `name`; `auto` takes the first of `BACKENDS` that can run, and devices with it.

    Beside the compiled core `auto` uses CUDA devices, where there are any, for the calls that a model says
    are faster there. `CLUSTERIMG_BACKEND` sets what `auto` means. `n_threads` 0 means all cores this process
    may use.

    Raises `BackendUnavailable` with the reason when a named backend can't run, and when none can.
    """
    if n_threads < 0:
        raise UsageError(f"threads must be 0 (all cores) or more, got {n_threads}")
    if name == "auto":
        name = os.environ.get("CLUSTERIMG_BACKEND", "") or "auto"
    if name != "auto" and name not in BACKENDS:
        raise UsageError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {name!r}")
    passed_over: dict[str, str] = {}
    candidates = [backend for backend in BACKENDS if backend != "cuda"] if name == "auto" else [name]
    for candidate in candidates:
        module = _module(candidate)
        reason = module.why_unavailable()
        if reason is None:
            return _engine(module, n_threads, passed_over, is_auto=name == "auto")
        passed_over[candidate] = reason
    reasons = "; ".join(f"{backend}: {reason}" for backend, reason in passed_over.items())
    raise BackendUnavailable(f"no backend can run: {reasons}")


def _engine(module: ModuleType, n_threads: int, passed_over: dict[str, str], *, is_auto: bool) -> Engine:
    threads = module.resolve_threads(n_threads)
    if not (module.NAME == "cuda" or (is_auto and module.NAME == "cpp")):
        return Engine(module, BackendReport(module.NAME, module.isa(), threads, passed_over), threads)
    devices = Devices(module, threads, is_named=not is_auto)
    devices.passed_over.update(passed_over)
    shown = (devices.passed_over, devices.kernels, devices.fallbacks)
    return Engine(module, BackendReport(module.NAME, module.isa(), threads, *shown), threads, devices)


def report() -> dict[str, str | None]:
    """Return, for each backend, None if it can run here, else the reason why not."""
    return {name: _module(name).why_unavailable() for name in BACKENDS}


def cuda_facts() -> dict[str, Any]:
    """Return what is known of CUDA here: `devices`, versions, and the `reason` if it can't run."""
    facts: dict[str, Any] = _module("cuda").facts()
    return facts
