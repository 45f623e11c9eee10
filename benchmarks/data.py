"""What the benchmarks run on: made here, from a seed, in the kinds of each kernel, with copies planted."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from clusterimg.kernels import Ragged

COPIES = 20
"""One item in this many is a changed copy of another one."""


@lru_cache(maxsize=4)
def pictures(n_images: int, side: int) -> NDArray[np.uint8]:
    """Return (n, side, side) greys with the spectrum of photos: each octave half as strong as the last."""
    rng = np.random.default_rng([n_images, side])
    images = np.empty((n_images, side, side), np.uint8)
    for k in range(n_images):
        picture = np.zeros((side, side), np.float32)
        cells = 2
        while cells <= side:
            octave = rng.normal(0, 2 * 60 / cells, (cells, cells)).astype(np.float32)
            picture += cv2.resize(octave, (side, side), interpolation=cv2.INTER_LINEAR)
            cells *= 2
        images[k] = np.clip(picture + rng.uniform(60, 200), 0, 255)
    for k in range(0, n_images - 1, COPIES):
        noise = rng.normal(0, 2, (side, side))
        images[k + 1] = np.clip(images[k] + noise, 0, 255)
    return images


@lru_cache(maxsize=4)
def codes(n_images: int, bits: int) -> NDArray[np.uint64]:
    """Return (n, bits / 64) random codes; a copy differs in one bit of 32."""
    rng = np.random.default_rng([n_images, bits])
    rows = rng.integers(0, 256, (n_images, bits // 8), dtype=np.uint8)
    for k in range(0, n_images - 1, COPIES):
        rows[k + 1] = rows[k]
        rows[k + 1, ::4] ^= np.uint8(1)
    return rows.view(np.uint64)


@lru_cache(maxsize=4)
def signatures(n_images: int, n_slots: int) -> NDArray[np.uint32]:
    """Return (n, slots) MinHash signatures of sets that overlap: some 5 in 100 slots are equal by chance."""
    rng = np.random.default_rng([n_images, n_slots])
    rows = rng.integers(0, 2**32, (n_images, n_slots), dtype=np.uint32)
    popular = rng.integers(0, 2**32, (n_slots,), dtype=np.uint32)
    rows = np.where(rng.random(rows.shape) < 0.22, popular, rows)
    for k in range(0, n_images - 1, COPIES):
        rows[k + 1] = np.where(rng.random(n_slots) < 0.8, rows[k], rows[k + 1])
    return rows


@lru_cache(maxsize=4)
def descriptors(n_images: int, n_rows: int) -> Ragged:
    """Return n sets of descriptors of 256 bits; a copy has them in another order, a few bits changed."""
    rng = np.random.default_rng([n_images, n_rows])
    sets = rng.integers(0, 256, (n_images, n_rows, 32), dtype=np.uint8)
    for k in range(0, n_images - 1, COPIES):
        sets[k + 1] = rng.permutation(sets[k])
        sets[k + 1, :, ::8] ^= np.uint8(1)
    return Ragged(sets.reshape(-1, 32), np.arange(n_images + 1) * n_rows)
