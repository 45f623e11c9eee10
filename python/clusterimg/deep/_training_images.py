"""What a training is given, as pictures: a folder, paths and arrays, or pictures that are ready."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backends
from .._types import Skip
from ..errors import UsageError
from ..images import find
from .pictures import PictureShape, ReadPictures, read_pictures

__all__ = ["Image", "Source", "source_of"]

Image = NDArray[np.uint8] | str | os.PathLike[str]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Images that are not read yet.

    folder : the paths are relative to it
    paths : of files; None where there are arrays
    arrays : images, or pictures (n, channels, size, size)
    skipped : entries of the folder that can't be images
    max_images, seed : of more images, so many are taken by seed
    """

    folder: Path
    paths: tuple[str, ...] | None
    arrays: Sequence[Any] | NDArray[np.uint8]
    skipped: tuple[Skip, ...]
    max_images: int
    seed: int

    def read(
        self,
        shape: PictureShape,
        into: Path,
        n_threads: int,
        without: frozenset[str],
        progress: Progress | None,
    ) -> ReadPictures:
        """Return the pictures, those of files mapped from the file `into`; without the files `without`."""
        if self.paths is None:
            pictures = _pictures_of(self.arrays, shape)
            if len(pictures) > self.max_images:
                pictures = pictures[_chosen(len(pictures), self.max_images, self.seed)]
            return ReadPictures(pictures, (), ())
        root = os.path.realpath(self.folder)
        paths = [path for path in self.paths if os.path.join(root, path) not in without]  # noqa: PTH118
        taken = [paths[k] for k in _chosen(len(paths), self.max_images, self.seed)]

        def show(done: int, total: int) -> None:
            assert progress is not None
            progress("pictures", done, total)

        engine = backends.select(n_threads=n_threads)
        read = read_pictures(self.folder, taken, shape, into, engine, None if progress is None else show)
        return ReadPictures(read.pictures, read.files, (*self.skipped, *read.skipped))


def source_of(
    images: Path | str | Sequence[Image] | NDArray[np.uint8], *, recursive: bool, max_images: int, seed: int
) -> Source:
    """Return what `images` stands for. Raises `UsageError`."""
    if not isinstance(max_images, int) or max_images < 2:
        raise UsageError(f"max_images must be a whole number of at least 2, got {max_images!r}")
    if isinstance(images, (str, os.PathLike)):
        folder = Path(images)
        listing = find(folder, recursive=recursive)
        return Source(folder, listing.files, (), listing.skipped, max_images, seed)
    if recursive:
        raise UsageError("recursive belongs to a folder, but images are given one by one")
    if all(isinstance(image, (str, os.PathLike)) for image in images):
        paths = tuple(os.path.abspath(image) for image in images)  # type: ignore[arg-type]  # noqa: PTH100
        return Source(Path("/"), paths, (), (), max_images, seed)
    if any(isinstance(image, (str, os.PathLike)) for image in images):
        raise UsageError("images must be all paths or all arrays, got both")
    return Source(Path(), None, images, (), max_images, seed)


def _pictures_of(images: Any, shape: PictureShape) -> NDArray[np.uint8]:
    """Return pictures as they are, or those of images."""
    wanted = (shape.channels, shape.size, shape.size)
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[3] != 3:
        if images.dtype != np.uint8 or images.shape[1:] != wanted:
            text = f"uint8 (n, {', '.join(map(str, wanted))}), or images (n, height, width, 3)"
            raise UsageError(f"pictures must be {text}, got {images.dtype} {images.shape}")
        return images
    return np.stack([shape.of_array(np.asarray(image)) for image in images])


def _chosen(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of all, or of `most` by seed, rising."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
