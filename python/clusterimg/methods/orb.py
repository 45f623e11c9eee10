"""ORB descriptors: the share of cross-checked matches that are good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._types import Ragged
from ..errors import UsageError
from ._classic import Classic, at_size, check_size

if TYPE_CHECKING:
    from ..backends import Engine

__all__ = ["Orb"]

RULES = ("absolute", "relative")
N_FEATURES = 500
MAX_DISTANCE = 40
SMALLEST_SIDE = 63
"""ORB looks for no keypoint within 31 pixels of the edge; OpenCV fails on much smaller images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orb(Classic):
    """Share of good matches of ORB descriptors (Rublee et al. 2011), in [0, 1].

    Matches are those of `cv2.BFMatcher(NORM_HAMMING, crossCheck=True)`. Under `rule` "absolute" a
    match is good at a distance of at most 40 of 256 bits; under "relative" below 3/4 of the pair's
    largest distance (two equal images then score 0). No descriptor: featureless.
    """

    name: ClassVar[str] = "orb"
    kernel: ClassVar[str] = "descriptor"
    threshold: float = 0.15
    rule: str = "absolute"
    size: tuple[int, int] | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self.scale)
        if self.rule not in RULES:
            raise UsageError(f"orb_rule must be one of {', '.join(RULES)}, got {self.rule!r}")

    @property
    def params(self) -> Mapping[str, Any]:
        """The size at which descriptors are taken."""
        return {"size": self.size, "scale": self.scale, "n_features": N_FEATURES}

    @property
    def kernel_options(self) -> Mapping[str, Any]:
        """The rule that makes a match good."""
        return {"rule": self.rule, "max_distance": MAX_DISTANCE}

    @property
    def item_bytes(self) -> int:
        """Up to 500 descriptors of 32 bytes."""
        return 32 * N_FEATURES

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint8] | None:
        """Return the descriptors (n, 32), or None without one."""
        import cv2

        image = at_size(grey, self.size, self.scale)
        if min(image.shape) < SMALLEST_SIDE:
            return None
        _, descriptors = cv2.ORB_create(N_FEATURES).detectAndCompute(image, None)  # type: ignore[attr-defined]
        return descriptors if descriptors is not None and len(descriptors) else None

    def collect(self, values: Sequence[NDArray[Any] | None]) -> Ragged:
        """Return all descriptors, one image after another; none where an image has none."""
        empty = np.empty((0, 32), np.uint8)
        return Ragged.from_arrays([empty if v is None else v for v in values], empty=empty)
