"""Whether a call is likely to be faster on CUDA devices than on the compiled core: by a model of both.

A device takes the time to start (once a process), to copy the items in and a matrix out, and

    pairs x elements of a pair x cycles an element / (multiprocessors x clock)

where an element is a pixel, a word of 64 bits, a slot, a product of a sliding template or a comparison of
two descriptors. The core takes

    pairs x elements of a pair x seconds an element / threads

less what it knows to skip above a threshold; of codes that it joins by an index, the time of the index.
What both take alike is left out: edges, and the pages of a matrix.

The seconds of the core are measured (benchmarks/README.md, one thread of an EPYC with AVX2). The figures of
devices are *modelled*: computed from what the kernels do (the roofline in the header of each), at half of
that speed. Where `benchmarks/bench_cuda.py` has run on a device of that name, its figures take their place:
they are *measured*, and kept in the user's cache.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._device_arrays import is_on_device
from .._types import Ragged

__all__ = [
    "KERNELS",
    "MODELLED",
    "Choice",
    "Figures",
    "Work",
    "choose",
    "core_seconds",
    "device_seconds",
    "device_share",
    "read_measured",
    "work_of",
    "write_measured",
]

_SAMPLE = 64  # images whose sizes stand for those of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a call has to do.

    kernel : one of `KERNELS`
    n_rows, n_cols : items on both sides; no columns means the pairs of the rows
    elements : of a pair, on average
    larger : pixels of the larger image of a pair, of sliding templates
    n_bytes : of the items that are not on a device yet
    threshold : None for a matrix
    plan : how the core finds the pairs, where it tells
    """

    kernel: str
    n_rows: int
    n_cols: int | None = None
    elements: float
    larger: float = 0.0
    n_bytes: int = 0
    threshold: float | None = None
    plan: str | None = None

    @property
    def pairs(self) -> float:
        """Number of pairs, each once."""
        return self.n_rows * ((self.n_rows - 1) / 2 if self.n_cols is None else self.n_cols)

    @property
    def bytes_out(self) -> int:
        """Bytes of the matrix; edges are few."""
        columns = self.n_rows if self.n_cols is None else self.n_cols
        return 4 * self.n_rows * columns if self.threshold is None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What devices of one name take.

    start, call : seconds to start a device in a process, and of a call besides its work
    transfer : bytes a second between host and device
    cycles : of a multiprocessor, for an element of each kernel
    """

    start: float
    call: float
    transfer: float
    cycles: Mapping[str, float]
    source: str = "modelled"


_AT = 0.5  # of the speed that operations allow

MODELLED = Figures(
    start=0.5,
    call=0.002,
    transfer=8e9,
    # By the rooflines of cuda/*.cuh, of joins: a matrix takes longer to copy than to score.
    cycles={
        "ssim": 0.08 / _AT,
        "hamming": 0.064 / _AT,
        "signature": 0.0021 / _AT,
        "template": 1 / 1500 / _AT,
        "sliding": 1 / 133 / _AT,
        "descriptor": 0.084 / _AT,
    },
)
_WITHOUT_TENSOR_CORES = 8.0
"""Before compute capability 8.0 `template` takes so many times as many cycles."""

# Seconds of one thread of the core for an element of a pair, where every pair is scored.
_CORE = {
    "ssim": 2.6e-10,
    "signature": 3.0e-11,
    "template": 1.6e-11,
    "sliding": 1.6e-11,
    "descriptor": 2.7e-10,
}
_SLIDING_TRANSFORMED = 1.1e-9  # a pixel of the larger image, where the core takes a transform

# Thresholds, and the share of the time that a join above them takes, of a core and of a device: a warp of
# `ssim` stops where its best pair, at .3 of a window, say, can't be saved by the windows left.
_DEVICE_SHARES = {"ssim": ((0.3, 1.0), (1.0, 0.02))}
_SHARES = {
    "ssim": ((0.5, 0.63, 0.7, 0.9), (0.92, 0.40, 0.30, 0.07)),
    "template": ((0.9, 0.95, 0.991), (1.0, 0.33, 0.05)),
    "signature": ((0.3, 0.5), (1.0, 0.14)),
}

# Hamming: nanoseconds a pair, or a word of one, by what the core says of its plan
# (csrc/joins/hamming_plan.hpp).
_COUNTED_PAIR, _COUNTED_WORD = 0.4, 0.35
_LOOKS = {"folded": 9.5 / 256, "capped": 18 / 256, "exactly": 0.12}
_INDEX_SORT, _INDEX_PAIR = 5.0, 0.065  # an entry and level; a pair that meets in a block

KERNELS = (*_CORE, "hamming")
"""Kernels that devices have: `sliding` is template matching of images of several sizes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether to use the devices, and why, in words."""

    on_device: bool
    why: str


def choose(
    work: Work, devices: Sequence[Mapping[str, Any]], *, n_threads: int, is_warm: bool, figures: Figures
) -> Choice:
    """Return where a call is likely to end first. `devices` are as the compiled module tells of them."""
    on_core = core_seconds(work, n_threads)
    on_device = device_seconds(work, devices, is_warm=is_warm, figures=figures)
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    why = f"{figures.source} {_shown(on_device)} on the device, {_shown(on_core)} on {threads}"
    return Choice(on_device < on_core, why)


def _shown(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def device_seconds(
    work: Work, devices: Sequence[Mapping[str, Any]], *, is_warm: bool, figures: Figures
) -> float:
    """Return how long the devices take together; they start one after another."""
    rate = sum(_rate(work.kernel, device) for device in devices)
    start = 0.0 if is_warm else figures.start * len(devices)
    copies = (work.n_bytes * len(devices) + work.bytes_out) / figures.transfer
    cycles = work.pairs * work.elements * figures.cycles[work.kernel] * device_share(work)
    return float(start + figures.call + copies + cycles / rate)


def _rate(kernel: str, device: Mapping[str, Any]) -> float:
    """Return the cycles a second of all multiprocessors, as they count for the kernel."""
    cycles = 1e6 * float(device["multiprocessors"]) * float(device["clock_mhz"])
    is_slow = kernel == "template" and int(device["capability"].partition(".")[0]) < 8
    return cycles / _WITHOUT_TENSOR_CORES if is_slow else cycles


def core_seconds(work: Work, n_threads: int) -> float:
    """Return how long the compiled core takes."""
    if work.kernel == "hamming":
        return _hamming_seconds(work) / n_threads
    element = work.elements * _CORE[work.kernel]
    if work.kernel == "sliding":
        element = min(element, work.larger * _SLIDING_TRANSFORMED)
    return work.pairs * element * _share(work, _SHARES) / n_threads


def device_share(work: Work) -> float:
    """Return the share of the time for all pairs that a join above the threshold takes on a device."""
    return _share(work, _DEVICE_SHARES)


def _share(work: Work, shares: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> float:
    if work.threshold is None or work.kernel not in shares:
        return 1.0
    return float(np.interp(work.threshold, *shares[work.kernel]))


def _hamming_seconds(work: Work) -> float:
    """Return how long one thread takes for codes, `elements` words long, by its plan."""
    plan = work.plan or "counted"
    index = re.match(r"index of (\d+) blocks, (\d+) deep", plan)
    if index is not None:
        n_blocks, depth = int(index[1]), int(index[2])
        sorts = sum(math.comb(n_blocks, level) for level in range(1, depth + 1))
        meetings = work.pairs * math.comb(n_blocks, depth) * 2.0 ** (-64 * depth / n_blocks)
        entries = sorts * (work.n_rows + (work.n_cols or 0))
        return float(1e-9 * work.elements * (_INDEX_SORT * entries + _INDEX_PAIR * meetings))
    if plan.startswith("no pairs"):
        return 0.0
    per_pair = _COUNTED_PAIR + _COUNTED_WORD * work.elements
    for look, nanoseconds in _LOOKS.items():
        if look in plan:
            per_pair = nanoseconds * work.elements
    return 1e-9 * work.pairs * per_pair


# --- what a call has to do ---


def work_of(
    kernel: str, values: Any, others: Any = None, *, threshold: float | None = None, plan: str | None = None
) -> Work:
    """Return what a call of a kernel on these values has to do."""
    sets = [values] if others is None else [values, others]
    larger = 0.0
    if not isinstance(values, Ragged):
        elements = float(math.prod(values.shape[1:]))
    elif kernel == "descriptor":
        left, right = (_mean(np.diff(items.offsets)) for items in (values, sets[-1]))
        elements = left * right
    else:
        elements, larger, alike = _sliding(_sizes(values), _sizes(sets[-1]))
        if kernel == "template":
            kernel = "sliding"
        else:  # only pairs of one size are scored
            elements = larger * alike
    return Work(
        kernel=kernel,
        n_rows=len(values),
        n_cols=None if others is None else len(others),
        elements=elements,
        larger=larger,
        n_bytes=sum(_bytes(items) for items in sets),
        threshold=threshold,
        plan=plan,
    )


def _bytes(values: Any) -> int:
    values = values.values if isinstance(values, Ragged) else values
    return 0 if is_on_device(values) else int(values.nbytes)


def _mean(numbers: NDArray[np.integer[Any]]) -> float:
    return float(numbers.mean()) if len(numbers) else 0.0


def _sizes(images: Ragged) -> NDArray[np.float64]:
    """Return height and width of some images, spread over all."""
    assert images.shapes is not None
    chosen = np.linspace(0, len(images) - 1, min(len(images), _SAMPLE)).astype(np.intp)
    return images.shapes[chosen].astype(np.float64)


def _sliding(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return of the pairs: products of a match, pixels of the larger image, share of equal sizes."""
    if not (len(rows) and len(columns)):
        return 0.0, 0.0, 0.0
    a, b = rows[:, None], columns[None]
    places = np.abs(a - b) + 1
    fits = (a <= b).all(axis=2) | (b <= a).all(axis=2)
    products = np.minimum(a, b).prod(axis=2) * places.prod(axis=2) * fits
    larger = np.maximum(a, b).prod(axis=2) * fits
    return float(products.mean()), float(larger.mean()), float((a == b).all(axis=2).mean())


# --- measured figures ---


def _place(device: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "clusterimg", f"cuda_{re.sub(r'[^a-z0-9]+', '_', device.lower())}.json")


def write_measured(device: str, figures: Figures) -> Path:
    """Keep what was measured on a device of that name, for later runs, and return where."""
    path = _place(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**asdict(replace(figures, source="measured")), "device": device}, indent=2))
    return path


def read_measured(device: str) -> Figures:
    """Return the figures of a device of that name: those measured, where there are any; else modelled."""
    try:
        told = json.loads(_place(device).read_text(encoding="utf-8"))
        numbers = [told["start"], told["call"], told["transfer"], *told["cycles"].values()]
        is_usable = told["device"] == device and set(told["cycles"]) == set(KERNELS)
        if not (is_usable and all(0 < number < math.inf for number in numbers)):
            return MODELLED
        return Figures(**{field.name: told[field.name] for field in fields(Figures)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return MODELLED  # none, or not ours
