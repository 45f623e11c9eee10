"""SSIM against scikit-image's `structural_similarity`, which scores one pair a call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.data import astronaut, brick, camera, cat, chelsea, coffee, grass, gravel, moon, rocket
from skimage.metrics import structural_similarity
from skimage.transform import resize

from clusterimg import _core
from ratios import Row

PHOTOS = (astronaut, brick, camera, cat, chelsea, coffee, grass, gravel, moon, rocket)


def pictures(n: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return random crops of scikit-image's photos, one in twenty a near-copy of the one before it."""
    rng = np.random.default_rng(seed)
    greys = [rgb2gray(photo()) if photo().ndim == 3 else photo() / 255.0 for photo in PHOTOS]
    made = np.empty((n, side, side), np.uint8)
    for k in range(n):
        if k % 20 == 19:
            near = made[k - 1] * rng.uniform(0.9, 1.1) + rng.normal(0, rng.uniform(0, 8), made[k].shape)
            made[k] = np.clip(np.rint(near), 0, 255)
            continue
        grey = greys[rng.integers(len(greys))]
        crop = rng.integers(min(100, *grey.shape), min(grey.shape))
        top, left = (rng.integers(0, length - crop + 1) for length in grey.shape)
        small = resize(grey[top : top + crop, left : left + crop], (side, side), anti_aliasing=True)
        small = small[:, ::-1] if rng.random() < 0.5 else small
        made[k] = np.clip(np.rint(255 * small * rng.uniform(0.6, 1.0)), 0, 255)
    return made


def scored(images: NDArray[np.uint8], i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return scikit-image's scores of listed pairs."""
    pairs = zip(images[i], images[j], strict=True)
    return np.array([structural_similarity(a, b, data_range=255) for a, b in pairs])


def agree_with(i: Any, j: Any, threshold: float | None, ours: Any, theirs: NDArray[np.float64]) -> None:
    """Assert that the sampled pairs have the peer's scores, or are edges where it says so."""
    if threshold is None:
        np.testing.assert_allclose(ours[i, j], theirs, rtol=0, atol=1e-5)
        return
    found = dict(zip(zip(ours["i"].tolist(), ours["j"].tolist(), strict=True), ours["score"], strict=True))
    for pair, score in zip(zip(i.tolist(), j.tolist(), strict=True), theirs, strict=True):
        if abs(score - threshold) > 1e-6:
            assert (pair in found) == (score > threshold)
        if pair in found:
            assert abs(found[pair] - score) < 1e-6


def rows() -> Iterator[Row]:
    """Yield the rows of SSIM: all pairs at four sizes, then joins."""
    sizes = ((24, 1200, None, None), (64, 800, 300, 600), (128, 320, 150, 300), (256, 160, 110, 300))
    for side, n, prototype, goal in sizes:
        images = pictures(n, side)
        i, j = sample(n)
        yield Row(
            f"SSIM all pairs, {side} px",
            "scikit-image",
            partial(_core.ssim_matrix, images, n_threads=1),
            partial(scored, images, i, j),
            n * (n - 1) / 2,
            partial(agree_with, i, j, None),
            len(i),
            prototype,
            goal,
            "each pair once",
        )
    joins = ((0.9, 4000, 10000), (0.7, 700, 2000), (0.63, None, None), (0.5, None, None))
    for side in (64, 24):
        images = pictures(4000, side)
        i, j = sample(len(images))
        for threshold, prototype, goal in joins:
            yield Row(
                f"SSIM join > {threshold}, {side} px",
                "scikit-image, all pairs",
                partial(_core.ssim_edges, images, threshold=threshold, n_threads=1),
                partial(scored, images, i, j),
                len(images) * (len(images) - 1) / 2,
                partial(agree_with, i, j, threshold),
                len(i),
                prototype if side == 64 else None,
                goal if side == 64 else None,
                "each pair once; the peer on a sample of pairs",
            )


def sample(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs i < j: some of neighbours, where the near-copies are, others anywhere."""
    rng = np.random.default_rng(1)
    i = np.concatenate([np.arange(18, min(n, 200) - 1, 20), rng.integers(0, n - 1, 60)])
    j = np.concatenate([np.arange(19, min(n, 200), 20), np.zeros(60, int)])
    j[-60:] = rng.integers(i[-60:] + 1, n)
    return i, j
