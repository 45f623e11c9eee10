"""Template matching of grey images: the smaller slides inside the larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ._classic import OfPixels, at_size, check_size

if TYPE_CHECKING:
    from ..backends import Engine

__all__ = ["Tm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tm(OfPixels):
    """1 - min of OpenCV's TM_SQDIFF_NORMED over all positions. Score in [0, 1], 1 for equal images.

    Within 1e-5 of `cv2.matchTemplate`, but at a position where the norm is 0 the error is 0 if patch
    and template are equal, else 1. Where neither image fits inside the other the score is -inf.

    Defaults by benchmarks/bench_defaults.py, with distractors: sizes of 16 to 64 lie within noise of
    each other; .991 is the least threshold that keeps precision at .95 on every half of both sets.
    The error is near 0 for any two dim pictures, so this is the weakest method: recall .42.
    """

    name: ClassVar[str] = "tm"
    kernel: ClassVar[str] = "template"
    threshold: float = 0.991
    size: tuple[int, int] | None = (32, 32)
    scale: float | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self.scale)

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint8]:
        """Return the image at the common size."""
        return at_size(grey, engine, self.size, self.scale)
