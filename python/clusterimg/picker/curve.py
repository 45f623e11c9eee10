"""The threshold curve: what every threshold would give, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._names import escape_name

__all__ = ["CurvePoint", "ThresholdCurve"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one threshold would give; the fields are those of `ThresholdCurve`."""

    threshold: float
    pairs: float
    pairs_low: float
    pairs_high: float
    images: float
    images_low: float
    images_high: float
    clusters: int
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdCurve:
    """What every threshold would give, from a sample of images that was compared with all.

    method, params : the method and what decides its features
    default : the method's own threshold
    files : of the images that could be used, relative to their folder; numbers where arrays were given
    n_sample : images that were compared with all others; all of them: the numbers are exact
    thresholds : (m,) float64, rising; at `k`, similar means score > thresholds[k]
    pairs, pairs_low, pairs_high : (m,) float64, similar pairs of all images, and where their number
        lies with 95 % confidence
    images, images_low, images_high : (m,) float64, images similar to another, the same way
    clusters, largest : (m,) int64, clusters that the scored pairs make, and images in the largest:
        of the sample, unless it is all images
    examples : scored pairs, edges with `i` and `j` into `files`, rising by score
    """

    method: str
    params: Mapping[str, Any]
    default: float
    files: tuple[str, ...]
    n_sample: int
    thresholds: Numbers
    pairs: Numbers
    pairs_low: Numbers
    pairs_high: Numbers
    images: Numbers
    images_low: Numbers
    images_high: Numbers
    clusters: NDArray[np.int64]
    largest: NDArray[np.int64]
    examples: NDArray[np.void]

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.files)

    @property
    def is_exact(self) -> bool:
        """Whether every image was compared with all others."""
        return self.n_sample >= self.n_images

    def at(self, threshold: float) -> CurvePoint:
        """Return the numbers at a threshold: those of the nearest one of the curve that is not above it."""
        k = max(int(np.searchsorted(self.thresholds, threshold, side="right")) - 1, 0)
        return self._point(k)

    def rows(self) -> list[dict[str, Any]]:
        """Return the numbers of all thresholds, one after another."""
        return [asdict(self._point(k)) for k in range(len(self.thresholds))]

    def examples_near(self, threshold: float, n: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return up to `n` scored pairs above a threshold and `n` not above it, the nearest first."""
        cut = int(np.searchsorted(self.examples["score"], threshold, side="right"))
        return self.examples[cut : cut + n], self.examples[max(cut - n, 0) : cut][::-1]

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON knows it."""
        arrays = {
            name: getattr(self, name).tolist()
            for name in (
                *("thresholds", "pairs", "pairs_low", "pairs_high", "images", "images_low", "images_high"),
                *("clusters", "largest"),
            )
        }
        return {
            "method": self.method,
            "params": dict(self.params),
            "default": self.default,
            "n_images": self.n_images,
            "n_sample": self.n_sample,
            **arrays,
            "examples": [
                {"file_a": escape_name(self.files[i]), "file_b": escape_name(self.files[j]), "score": score}
                for i, j, score in self.examples.tolist()
            ],
        }

    def _point(self, k: int) -> CurvePoint:
        return CurvePoint(
            float(self.thresholds[k]),
            float(self.pairs[k]),
            float(self.pairs_low[k]),
            float(self.pairs_high[k]),
            float(self.images[k]),
            float(self.images_low[k]),
            float(self.images_high[k]),
            int(self.clusters[k]),
            int(self.largest[k]),
        )
