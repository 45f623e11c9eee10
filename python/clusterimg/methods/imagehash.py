"""Perceptual hash: the signs of the low frequencies of a small grey image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ._classic import Classic, is_flat

if TYPE_CHECKING:
    from ..backends import Engine

__all__ = ["ImageHash"]

HIGHFREQ_FACTOR = 4
NEARLY_CONSTANT = 1.0
"""Below this standard deviation, in grey levels, the bits tell of rounding and noise only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHash(Classic):
    """ImageHash's phash (Zauner 2010). Score: equal bits / bits, in [0, 1].

    A bit says whether a low coefficient of the DCT of the image, shrunk to `4 * hash_size` pixels a
    side, is above their median. Within 1e-9 of the largest coefficient of the median that would be
    rounding noise: the bit is 0 there. An image with more than a quarter of such bits, or nearly
    constant (a standard deviation below one grey level), is featureless.

    Defaults by benchmarks/bench_defaults.py, with distractors: mean F1 on held-out halves of
    copies_dev .83 at a hash_size of 16, .79 at 8, .77 at 32; .69 is .01 above the least threshold
    that keeps precision at .95 on every half of both sets.
    """

    name: ClassVar[str] = "imagehash"
    kernel: ClassVar[str] = "hamming"
    threshold: float = 0.69
    hash_size: int = 16

    def __post_init__(self) -> None:
        if self.hash_size % 8 or not 8 <= self.hash_size <= 64:
            raise UsageError(f"hash_size must be a multiple of 8 from 8 to 64, got {self.hash_size}")

    @property
    def params(self) -> Mapping[str, Any]:
        """Bits a side."""
        return {"hash_size": self.hash_size, "highfreq_factor": HIGHFREQ_FACTOR}

    @property
    def item_bytes(self) -> int:
        """One bit for each coefficient."""
        return self.hash_size**2 // 8

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than the square that is transformed an image is."""
        return min(height, width) / (HIGHFREQ_FACTOR * self.hash_size)

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint64] | None:
        """Return the bits in 64-bit words, row by row, low bit first; None if they would be noise."""
        if is_flat(grey, NEARLY_CONSTANT):
            return None
        codes, ties = engine.phash(grey, hash_size=self.hash_size, highfreq_factor=HIGHFREQ_FACTOR)
        return codes if ties <= self.hash_size**2 // 4 else None

    def collect(self, values: Sequence[NDArray[Any] | None]) -> NDArray[np.uint64]:
        """Return the codes (n, n_words); zeros where an image has none."""
        codes = np.zeros((len(values), self.hash_size**2 // 64), np.uint64)
        for row, value in zip(codes, values, strict=True):
            if value is not None:
                row[:] = value
        return codes
