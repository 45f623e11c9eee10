"""ORB descriptors: the share of cross-checked matches that are good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._types import Ragged
from ..errors import UsageError
from ._classic import Classic, at_size, check_size, spare_of

if TYPE_CHECKING:
    from ..backends import Engine

__all__ = ["Orb"]

RULES = ("ratio", "absolute", "relative")
N_FEATURES = 500
MAX_DISTANCE = 40
LONGEST_SIDE = 320
FEWEST = 20
"""With fewer descriptors a share is chance: one match of one is a score of 1."""
SMALLEST_SIDE = 63
"""ORB looks for no keypoint within 31 pixels of the edge; OpenCV fails on much smaller images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orb(Classic):
    """Share of good matches of ORB descriptors (Rublee et al. 2011), in [0, 1].

    Matches are those of `cv2.BFMatcher(NORM_HAMMING, crossCheck=True)`. Under `orb_rule` "ratio" a match
    is good at 3/4 or less of the distance to the second nearest on both sides (Lowe 2004), under
    "absolute" at a distance of at most 40 of 256 bits, under "relative" below 3/4 of the largest
    distance of the pair's matches (two equal images then score 0). Descriptors are taken at `size`,
    at `scale` times the image's own size, or else with the longest side brought to 320 pixels. Fewer
    than 20 descriptors: featureless.

    Defaults by benchmarks/bench_defaults.py, with other photos as distractors: precision 1.00, recall
    .94 on copies_dev and .67 on real_series_dev at .30; "absolute" and "relative" have no threshold
    that keeps precision at .95 with a recall above .5, since smooth shapes repeat their corners.
    """

    name: ClassVar[str] = "orb"
    kernel: ClassVar[str] = "descriptor"
    threshold: float = 0.3
    orb_rule: str = "ratio"
    size: tuple[int, int] | None = None
    scale: float | None = None
    longest_side: int | None = LONGEST_SIDE

    def __post_init__(self) -> None:
        check_size(self.size, self.scale)
        if self.orb_rule not in RULES:
            raise UsageError(f"orb_rule must be one of {', '.join(RULES)}, got {self.orb_rule!r}")

    @property
    def params(self) -> Mapping[str, Any]:
        """The size at which descriptors are taken, and how many."""
        return {
            "size": self.size,
            "scale": self.scale,
            "longest_side": self.longest_side,
            "n_features": N_FEATURES,
        }

    @property
    def kernel_options(self) -> Mapping[str, Any]:
        """The rule that makes a match good."""
        return {"rule": self.orb_rule, "max_distance": MAX_DISTANCE}

    @property
    def item_bytes(self) -> int:
        """Up to 500 descriptors of 32 bytes."""
        return 32 * N_FEATURES

    def at_own_size(self) -> Orb:
        """Return this method for images taken as they are."""
        return replace(self, longest_side=None)

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than the size at which descriptors are taken an image is."""
        if self.size is not None or self.scale is not None or self.longest_side is None:
            return spare_of(self.size, height, width)
        return max(height, width) / self.longest_side

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint8] | None:
        """Return the descriptors (n, 32), or None if they are fewer than 20."""
        import cv2

        image = at_size(grey, engine, self._size_for(grey), self.scale)
        if min(image.shape) < SMALLEST_SIDE:
            return None
        _, descriptors = cv2.ORB_create(N_FEATURES).detectAndCompute(image, None)  # type: ignore[attr-defined]
        return descriptors if descriptors is not None and len(descriptors) >= FEWEST else None

    def _size_for(self, grey: NDArray[np.uint8]) -> tuple[int, int] | None:
        if self.size is not None or self.scale is not None or self.longest_side is None:
            return self.size
        height, width = grey.shape
        factor = self.longest_side / max(height, width)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def collect(self, values: Sequence[NDArray[Any] | None]) -> Ragged:
        """Return all descriptors, one image after another; none where an image has none."""
        empty = np.empty((0, 32), np.uint8)
        return Ragged.from_arrays([empty if v is None else v for v in values], empty=empty)
