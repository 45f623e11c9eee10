"""Images as networks see them: square colour pictures of one size, read into a file rather than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._reader import Reader
from .._thumbnails import shrink
from .._types import Skip
from ..errors import ImageError, UsageError
from ..methods import Method

if TYPE_CHECKING:
    from PIL import Image

    from ..backends import Engine

__all__ = ["PictureShape", "Pictures", "ReadPictures", "read_pictures"]

Array = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PictureShape:
    """What a network takes: `channels` (3: red, green, blue; 1: grey) of `size` x `size` pixels.

    An image is brought to that square as a whole, whatever its proportions: first shrunk to twice the
    size, where it is larger, then resized (Pillow's LANCZOS, as for thumbnails).
    """

    size: int
    channels: int = 3

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 1024:
            raise UsageError(f"size must be 8 to 1024 pixels, got {self.size}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 (grey) or 3 (colour), got {self.channels}")

    @property
    def n_bytes(self) -> int:
        """Bytes of one picture."""
        return self.channels * self.size * self.size

    def of_file(self, data: bytes) -> Array:
        """Return the picture (channels, size, size) of a file's content. Raises `ImageError`."""
        return self._square(shrink(data, 2 * self.size))

    def of_array(self, image: Array) -> Array:
        """Return the picture of a (height, width) grey or a (height, width, 3) colour array."""
        from PIL import Image

        is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if image.dtype != np.uint8 or not is_image or not image.size:
            wanted = "uint8 (height, width) or (height, width, 3)"
            raise UsageError(f"an image must be {wanted}, got {image.dtype} {image.shape}")
        picture = Image.fromarray(np.ascontiguousarray(image))
        picture.thumbnail((2 * self.size, 2 * self.size), Image.Resampling.LANCZOS, reducing_gap=3.0)
        return self._square(picture)

    def _square(self, picture: Image.Image) -> Array:
        from PIL import Image

        side = (self.size, self.size)
        picture = picture.convert("RGB" if self.channels == 3 else "L")
        if picture.size != side:
            picture = picture.resize(side, Image.Resampling.LANCZOS)
        pixels = np.asarray(picture).reshape(self.size, self.size, self.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True, slots=True)
class Pictures(Method):
    """Reads pictures, as a method reads features: in the process that images are read in."""

    name: ClassVar[str] = "pictures"
    sees_colours: ClassVar[bool] = True
    shape: PictureShape
    threshold: float = 0.0

    @property
    def params(self) -> dict[str, Any]:
        """Size and channels."""
        return {"size": self.shape.size, "channels": self.shape.channels}

    @property
    def item_bytes(self) -> int:
        """Bytes of one picture."""
        return self.shape.n_bytes

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than the pictures an image is."""
        return min(height, width) / self.shape.size

    def extract(self, grey: Array, engine: Engine) -> Array:
        """Return the picture of a grey image."""
        return self.shape.of_array(grey)

    def extract_colour(self, source: bytes | Array, engine: Engine) -> Array:
        """Return the picture of a file's content or of an array, in colour."""
        return self.shape.of_file(source) if isinstance(source, bytes) else self.shape.of_array(source)

    def collect(self, values: Sequence[NDArray[Any] | None]) -> Array:
        """Return the pictures (n, channels, size, size)."""
        side = self.shape.size
        empty = np.empty((0, self.shape.channels, side, side), np.uint8)
        return np.concatenate([empty, *(value[None] for value in values if value is not None)])

    def cluster(self, features: Any, engine: Any, progress: Any = None) -> Any:
        """Refuse: pictures are read, not clustered."""
        raise UsageError("pictures have no clusters: embed them first")


@dataclass(frozen=True, slots=True)
class ReadPictures:
    """Pictures that were read.

    pictures : (n, channels, size, size) uint8, mapped from the disk
    files : the file of each
    skipped : files that can't be used, with reasons
    """

    pictures: Array
    files: tuple[str, ...]
    skipped: tuple[Skip, ...]


def read_pictures(
    folder: Path,
    files: Sequence[str],
    shape: PictureShape,
    into: Path,
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
) -> ReadPictures:
    """Read files of a folder, in a process of their own, into the file `into`; pictures are mapped from it.

    Nothing but the pictures of a few files is in memory, whatever their number.
    """
    kept, skipped = [], []
    with Reader(Pictures(shape), engine) as reader, into.open("wb") as stream:
        for done, (file, item) in enumerate(zip(files, reader.read(folder, files), strict=True), 1):
            if isinstance(item, ImageError):
                skipped.append(Skip(file, str(item)))
            else:
                assert item.value is not None
                stream.write(item.value.tobytes())
                kept.append(file)
            if progress is not None:
                progress(done, len(files))
    return ReadPictures(_mapped(into, shape, len(kept)), tuple(kept), tuple(skipped))


def _mapped(path: Path, shape: PictureShape, n: int) -> Array:
    dimensions = (n, shape.channels, shape.size, shape.size)
    if not n:  # an empty file can't be mapped
        return np.empty(dimensions, np.uint8)
    return np.memmap(path, np.uint8, "r", shape=dimensions)


def in_blocks(n: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `0 .. n - 1`."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
