"""Images to features: decode, digest, one method's feature, in threads without the GIL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._types import Features
from .backends import Engine
from .errors import ImageError, UsageError
from .images import as_grey, decode, digest, map_images
from .methods import Method

__all__ = ["NEAR_FLAT", "Item", "extract_images", "features_of", "read_item"]

NEAR_FLAT = 2.0
"""Below this standard deviation, in grey levels, an image is flagged as near-flat."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a run keeps of one image.

    value : its feature, None if it has none
    shape : height and width
    near_flat : whether its greys hardly differ
    digest : (16,) uint8, equal for equal images
    decoder : what read it
    """

    value: NDArray[Any] | None
    shape: tuple[int, int]
    near_flat: bool
    digest: NDArray[np.uint8]
    decoder: str


def _item(grey: NDArray[np.uint8], decoder: str, method: Method, engine: Engine) -> Item:
    import cv2

    near_flat = float(cv2.meanStdDev(grey)[1][0, 0]) < NEAR_FLAT
    return Item(method.extract(grey, engine), grey.shape, near_flat, digest(grey), decoder)


def read_item(path: Path, method: Method, engine: Engine) -> Item:
    """Return what a run keeps of the image in a file. Raises `ImageError` if it can't be used."""
    decoded = decode(path)
    return _item(decoded.grey, decoded.decoder, method, engine)


def features_of(items: Sequence[Item], method: Method) -> Features:
    """Return the features of images, one for each item."""
    n = len(items)
    return Features(
        method=method.name,
        params=method.params,
        values=method.collect([item.value for item in items]),
        shapes=np.array([item.shape for item in items], np.int32).reshape(n, 2),
        featureless=np.array([item.value is None for item in items], bool),
        near_flat=np.array([item.near_flat for item in items], bool),
        digests=np.array([item.digest for item in items], np.uint8).reshape(n, 16),
    )


def extract_images(
    images: Sequence[NDArray[np.uint8] | str | os.PathLike[str]] | NDArray[np.uint8],
    method: Method,
    engine: Engine,
    *,
    method_of_arrays: Method,
    errors: str = "raise",
) -> Features:
    """Return the features of grey arrays or paths, one for each item.

    Paths are extracted by `method`, arrays by `method_of_arrays` (the same, but for the size).

    With `errors="raise"` the first item that can't be used raises its `ImageError`; with "skip" it
    keeps its place, featureless and equal to no other.
    """

    def work(image: NDArray[np.uint8] | str | os.PathLike[str]) -> Item:
        if isinstance(image, np.ndarray):
            return _item(as_grey(image), "array", method_of_arrays, engine)
        if not isinstance(image, str | os.PathLike):
            raise UsageError(f"an image must be an array or a path, got {type(image).__name__}")
        return read_item(Path(image), method, engine)

    items = []
    for index, result in enumerate(map_images(work, images, n_threads=engine.n_threads)):
        if isinstance(result, ImageError):
            if errors == "raise":
                raise ImageError(f"image {index}: {result}")
            result = _unusable(index)
        items.append(result)
    return features_of(items, method)


def _unusable(index: int) -> Item:
    """Return a stand-in for an image that can't be used: no feature, equal to no other image."""
    return Item(None, (0, 0), False, np.frombuffer(index.to_bytes(16, "big"), np.uint8), "none")
