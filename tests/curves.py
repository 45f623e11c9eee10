"""Threshold curves for the tests of the views: of given pairs, with numbers that anybody can recount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterimg._types import EDGE_DTYPE
from clusterimg.picker.curve import ThresholdCurve

Pair = tuple[int, int, float]


def curve_of_pairs(
    pairs: Sequence[Pair], files: Sequence[str], *, default: float = 0.9, n_sample: int | None = None
) -> ThresholdCurve:
    """Return the curve of scored pairs of files; with `n_sample` it says that it is an estimate."""
    edges = np.array(sorted(pairs, key=lambda pair: pair[2]), EDGE_DTYPE)
    thresholds = np.unique([0.0, default, *edges["score"]])
    thresholds = thresholds[thresholds < 1]
    numbers = np.array([_numbers(edges, len(files), threshold) for threshold in thresholds]).T
    found = dict(zip(("pairs", "images", "clusters", "largest"), numbers, strict=True))
    return curve_of_numbers(thresholds, files, edges, default=default, n_sample=n_sample, **found)


def curve_of_numbers(
    thresholds: Any,
    files: Sequence[str],
    examples: Any,
    *,
    default: float,
    n_sample: int | None,
    **found: Any,
) -> ThresholdCurve:
    """Return a curve of given numbers, 40 % either way where it is an estimate."""
    wide = 0.0 if n_sample is None or n_sample >= len(files) else 0.4
    pairs, images = (np.asarray(found[name], float) for name in ("pairs", "images"))
    return ThresholdCurve(
        method="imagehash",
        params={},
        default=default,
        files=tuple(files),
        n_sample=len(files) if n_sample is None else n_sample,
        thresholds=np.asarray(thresholds, float),
        pairs=pairs,
        pairs_low=pairs * (1 - wide),
        pairs_high=pairs * (1 + wide),
        images=images,
        images_low=images * (1 - wide),
        images_high=np.minimum(images * (1 + wide), len(files)),
        clusters=np.asarray(found["clusters"], np.int64),
        largest=np.asarray(found["largest"], np.int64),
        examples=np.asarray(examples, EDGE_DTYPE),
    )


def _numbers(edges: Any, n_images: int, threshold: float) -> tuple[int, int, int, int]:
    """Count pairs, images, clusters and the largest cluster above a threshold."""
    above = edges[edges["score"] > threshold]
    sizes = np.bincount(_labels(above, n_images), minlength=1)
    sizes = sizes[sizes > 1]
    return len(above), int(sizes.sum()), len(sizes), int(sizes.max(initial=0))


def _labels(edges: Any, n_images: int) -> Any:
    labels = np.arange(n_images)
    for i, j, _ in edges.tolist():
        labels[labels == labels[j]] = labels[i]
    return labels


def large_curve(n_images: int = 20_000, n_sample: int | None = 2000, n: int = 250) -> ThresholdCurve:
    """Return a curve as of a large folder, of 250 thresholds from 0.4 on."""
    thresholds = np.round(np.linspace(0.4, 0.995, n), 4)
    falling = np.linspace(1, 0, n)
    pairs = np.floor(30 * np.exp(12 * falling))
    images = np.floor(n_images * falling**0.5)
    pairs[-1] = images[-1] = 0
    clusters = np.floor(400 * np.sin(np.pi * falling)) + 1
    largest = np.floor(2 + 1500 * falling**3)
    clusters[-1] = largest[-1] = 0
    examples = np.zeros(400, EDGE_DTYPE)
    examples["i"], examples["j"] = np.arange(400), np.arange(400) + 400
    examples["score"] = np.linspace(0.41, 0.996, 400)
    files = [f"2019/summer/IMG_{k:05}.jpg" for k in range(n_images)]
    return curve_of_numbers(
        thresholds,
        files,
        examples,
        default=0.69,
        n_sample=n_sample,
        pairs=pairs,
        images=images,
        clusters=clusters,
        largest=largest,
    )
