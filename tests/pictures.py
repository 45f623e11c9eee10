"""Pictures for the tests: seeded, with texture and corners, as distinct or as alike as a test needs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]


def picture(seed: int, width: int = 200, height: int = 150) -> Grey:
    """Return a picture with soft areas and texture; another seed gives an unlike one."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), 128, np.float32)
    for cell, strength in ((40, 90.0), (12, 50.0), (4, 40.0)):
        grid = rng.uniform(-strength, strength, (height // cell + 2, width // cell + 2))
        image += cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def noisy(image: Grey, seed: int, sigma: float = 3.0) -> Grey:
    """Return a copy with a little noise: alike under every method."""
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def blend(a: Grey, b: Grey, share: float) -> Grey:
    """Return a picture between a (share 0) and b (share 1)."""
    return np.clip((1 - share) * a.astype(float) + share * b, 0, 255).astype(np.uint8)


def save(folder: Path, images: dict[str, Grey]) -> Path:
    """Write images as PNG, so that what is decoded is what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def groups(n_groups: int = 4, n_copies: int = 3, n_singles: int = 3) -> dict[str, Grey]:
    """Return groups of alike pictures and single ones, named so that groups are spread over the order."""
    images = {
        f"{copy}_{group}.png": noisy(picture(group), 100 * group + copy) if copy else picture(group)
        for group in range(n_groups)
        for copy in range(n_copies)
    }
    return images | {f"single_{k}.png": picture(1000 + k) for k in range(n_singles)}


def partition(files: tuple[str, ...] | list[str], labels: NDArray[np.int32]) -> set[frozenset[str]]:
    """Return the clusters as sets of names, whatever their numbers; outliers stand alone."""
    clusters: dict[object, set[str]] = {}
    for file, label in zip(files, labels.tolist(), strict=True):
        clusters.setdefault(label if label >= 0 else file, set()).add(file)
    return {frozenset(members) for members in clusters.values()}


def synthetic_images(height: int, width: int) -> list[np.ndarray]:
    """Return flat, two-level, nearly equal, equal, symmetric and noisy images of one size."""
    rng = np.random.default_rng([height, width])
    y, x = np.mgrid[:height, :width]
    noise = rng.integers(0, 256, (height, width))
    one_off = noise.copy()
    one_off[height // 2, width // 2] ^= 255
    speck = np.zeros_like(noise)
    speck[-1, -1] = 255
    shapes = [
        np.zeros_like(noise),
        np.full_like(noise, 1),
        np.full_like(noise, 254),
        np.full_like(noise, 255),
        speck,
        255 - speck,
        255 * ((x + y) % 2),
        255 * ((x + y + 1) % 2),
        255 * (x >= width // 2),
        100 + 55 * (x >= width // 2),
        255 * x // width,
        255 * y // height,
        noise,
        noise.copy(),
        one_off,
        255 - noise,
        np.maximum(noise, noise[:, ::-1]),
        np.clip(noise // 4 + 96, 0, 255),
    ]
    return [image.astype(np.uint8) for image in shapes]
