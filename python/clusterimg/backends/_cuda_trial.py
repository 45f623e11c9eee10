"""A look at what a device answers before its answers are relied on: each kernel, against the compiled core.

A driver, a new architecture or a failing device may give other numbers than the kernels were proved to. So
the first call of a kernel in a process is preceded by one on a small set, on each device that is to be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Ragged
from . import cpp

__all__ = ["JOINS", "differs", "items"]

_ORB = [{"rule": "ratio", "max_distance": 40}, {"rule": "absolute", "max_distance": 40}]
JOINS: dict[str, list[dict[str, Any]]] = {
    # Low thresholds, at which all pairs are scored, and high ones, at which bounds drop most.
    "hamming": [{"threshold": threshold} for threshold in (0.3, 0.7, 0.95)],
    "signature": [{"threshold": threshold} for threshold in (0.1, 0.4, 0.7)],
    "ssim": [{"threshold": threshold} for threshold in (0.2, 0.65)],
    "template": [{"threshold": 0.8}],
    "sliding": [{"threshold": 0.8}],
    "descriptor": [{"threshold": 0.1, **rule} for rule in _ORB],
}
"""The options of the joins of each kernel."""


def differs(call: Callable[..., Any], kernel: str, devices: Sequence[int]) -> int | None:
    """Return the number of a device whose edges or components are not the core's; None if there is none.

    `call(kernel, what, values, devices=…, **options)` asks the compiled module.
    """
    values, function = items(kernel), "template" if kernel == "sliding" else kernel
    for options in JOINS[kernel]:
        for what in ("edges", "components"):
            right = getattr(cpp, f"{function}_{what}")(values, n_threads=1, **options)
            for number in devices:
                if not np.array_equal(call(kernel, what, values, devices=[number], **options), right):
                    return number
    return None


def items(kernel: str) -> Any:
    """Return items that are alike in every degree; of all but the slowest kernels more than one tile."""
    rng = np.random.default_rng(0)
    if kernel == "hamming":
        kept = rng.random((140, 4, 1)) < np.linspace(0, 1, 64)
        bits = np.where(kept, rng.integers(0, 2, (1, 4, 64)), rng.integers(0, 2, (140, 4, 64)))
        return np.packbits(bits.astype(np.uint8), axis=2).view(np.uint64).reshape(140, 4)
    if kernel == "signature":
        kept = rng.random((140, 1)) < np.linspace(0, 1, 128)
        return np.where(kept, 7, rng.integers(0, 2**32, (140, 128), np.uint32)).astype(np.uint32)
    if kernel in ("ssim", "template"):
        return _images(rng, 140, 17)
    if kernel == "sliding":
        return Ragged.from_images([*_images(rng, 3, 17), *_images(rng, 3, 12)])
    base = rng.integers(0, 256, (70, 32), np.uint8)
    near = [base[:n] ^ (1 << rng.integers(0, 8, (n, 32))).astype(np.uint8) for n in (60, 70, 0, 1, 65)]
    return Ragged.from_arrays(near, empty=base[:0])


def _images(rng: np.random.Generator, n: int, side: int) -> NDArray[np.uint8]:
    """Return one picture of noise with more and more other noise in it."""
    base, other = rng.integers(0, 256, (1, side, side)), rng.integers(0, 256, (n, side, side))
    share = np.linspace(0, 1, n)[:, None, None]
    return (base * (1 - share) + other * share).astype(np.uint8)
