"""Images to features: decode and digest once, then the feature of each method, in threads without the GIL."""

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
from .images import as_grey, decode_bytes, digest, map_images, read, reduction
from .methods import Method, is_flat

__all__ = ["NEAR_FLAT", "Item", "extract_images", "features_of", "read_item", "read_items"]

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


def read_items(
    path: Path, methods: Sequence[Method], engine: Engine, decode: str = "exact"
) -> list[Item | ImageError]:
    """Return what a run keeps of the image in a file, for each method; in its place why it can't use it.

    The file is read once, and decoded once for each size at which methods take it.

    Raises
    ------
    ImageError : the file can't be used under any method
    """
    data = read(path)
    sizes = [reduction(data, method.spare) if decode == "fast" else 1 for method in methods]
    decoded = {size: decode_bytes(data, reduction=size) for size in set(sizes)}
    seen = {size: _Seen.of(image.grey, image.decoder) for size, image in decoded.items()}
    return [seen[size].item(method, engine, data) for size, method in zip(sizes, methods, strict=True)]


def read_item(path: Path, method: Method, engine: Engine, decode: str = "exact") -> Item:
    """Return what a run keeps of the image in a file. Raises `ImageError` if it can't be used."""
    [item] = read_items(path, [method], engine, decode)
    if isinstance(item, ImageError):
        raise item
    return item


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decoded image, and what is known of it whatever the method."""

    grey: NDArray[np.uint8]
    near_flat: bool
    digest: NDArray[np.uint8]
    decoder: str

    @classmethod
    def of(cls, grey: NDArray[np.uint8], decoder: str) -> _Seen:
        return cls(grey, is_flat(grey, NEAR_FLAT), digest(grey), decoder)

    def item(self, method: Method, engine: Engine, source: bytes | NDArray[np.uint8]) -> Item | ImageError:
        """Return what a run keeps of the image; `source` is the content of its file, or its array."""
        try:
            if method.sees_colours:
                value = method.extract_colour(source, engine)
            else:
                value = method.extract(self.grey, engine)
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one, since the traceback keeps the pixels alive
        return Item(value, self.grey.shape, self.near_flat, self.digest, self.decoder)


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
    methods: Sequence[Method],
    engine: Engine,
    *,
    methods_of_arrays: Sequence[Method],
    errors: str = "raise",
    decode: str = "exact",
) -> list[Features]:
    """Return for each method the features of grey arrays or paths, one for each item.

    Paths are extracted by `methods`, arrays by `methods_of_arrays` (the same, but for the size).

    With `errors="raise"` the first item that can't be used raises its `ImageError`; with "skip" it
    keeps its place, featureless and equal to no other.
    """

    def work(image: NDArray[np.uint8] | str | os.PathLike[str]) -> list[Item | ImageError]:
        if isinstance(image, np.ndarray):
            sees_colours = all(method.sees_colours for method in methods_of_arrays)
            seen = _Seen.of(as_grey(_luma(image) if sees_colours else image), "array")
            return [seen.item(method, engine, image) for method in methods_of_arrays]
        if not isinstance(image, str | os.PathLike):
            raise UsageError(f"an image must be an array or a path, got {type(image).__name__}")
        return read_items(Path(image), methods, engine, decode)

    rows: list[list[Item]] = []
    for index, found in enumerate(map_images(work, images, n_threads=engine.n_threads)):
        row = [found] * len(methods) if isinstance(found, ImageError) else found
        rows.append([_usable(item, index, errors) for item in row])
    return [features_of([row[k] for row in rows], method) for k, method in enumerate(methods)]


def _luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey image of an array of red, green and blue; any other array as it is."""
    import cv2

    is_colour = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if is_colour else image  # type: ignore[return-value]


def _usable(item: Item | ImageError, index: int, errors: str) -> Item:
    """Return the item, or a stand-in for an image that can't be used: equal to no other image."""
    if isinstance(item, Item):
        return item
    if errors == "raise":
        raise ImageError(f"image {index}: {item}")
    return Item(None, (0, 0), False, np.frombuffer(index.to_bytes(16, "big"), np.uint8), "none")
