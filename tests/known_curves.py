"""Threshold curves of which a test knows where unlike images end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clusterimg._types import EDGE_DTYPE
from clusterimg.methods import create
from clusterimg.picker import ThresholdCurve

Numbers = NDArray[np.float64]


def curve_of_numbers(
    thresholds: Sequence[float] | Numbers,
    pairs: Sequence[float] | Numbers,
    images: Sequence[float] | Numbers,
    *,
    n_images: int,
    n_sample: int | None = None,
    method: str = "ssim",
) -> ThresholdCurve:
    """Return a curve of these numbers, as if they were exact."""
    found = [np.asarray(numbers, np.float64) for numbers in (thresholds, pairs, images)]
    some = np.zeros(len(found[0]), np.int64)
    return ThresholdCurve(
        method=method,
        params={},
        default=create(method).threshold,
        files=tuple(f"{k}.png" for k in range(n_images)),
        n_sample=n_images if n_sample is None else n_sample,
        thresholds=found[0],
        **dict.fromkeys(("pairs", "pairs_low", "pairs_high"), found[1]),
        **dict.fromkeys(("images", "images_low", "images_high"), found[2]),
        clusters=some,
        largest=some,
        examples=np.empty(0, EDGE_DTYPE),
    )


def known_curve(
    n_images: int = 2000,
    *,
    slope: float = 12.0,
    alike: Sequence[float] | Numbers = (0.9, 0.92, 0.94, 0.96, 0.98) * 20,
    method: str = "ssim",
    shape: float | None = None,
) -> ThresholdCurve:
    """Return the curve of images of which some are alike, two and two.

    Unlike pairs are above `t` by (1 - t) ** slope, under orb by the odds of t to the power -slope.

    alike : scores of the alike pairs
    shape : so many times as many images and alike pairs, and pairs of both kinds by its square
    """
    scale = 1.0 if shape is None else shape
    t = np.geomspace(0.01, 0.995, 1000) if method == "orb" else np.linspace(0.01, 0.995, 986)
    share = np.minimum(1, (0.01 * (1 - t) / t) ** slope if method == "orb" else (1 - t) ** slope)
    unlike = n_images * (n_images - 1) / 2 * share
    above = (np.asarray(alike, np.float64) > t[:, None]).sum(axis=1)
    images = np.minimum(n_images, 2 * (above + unlike))
    return curve_of_numbers(
        t,
        (unlike + above) * scale**2,
        images * scale,
        n_images=round(n_images * scale),
        method=method,
    )
