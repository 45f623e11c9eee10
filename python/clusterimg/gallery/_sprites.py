"""Thumbnails beside the page: 64 of them in a picture, in the order of the page.

A folder of a hundred thousand small files takes long to write, copy and delete; and what is seen together
is together in one file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .._pillow import without_warnings
from .._thumbnails import shrink
from ..errors import ImageError
from ..images import map_images, read

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PER_ROW", "PER_SPRITE", "Thumbnails", "n_sprites", "sprite_name", "write_sprites"]

PER_ROW = 8
PER_SPRITE = PER_ROW * PER_ROW
_BLOCK = 16  # pixels: a JPEG codes blocks of so many, and no thumbnail shares one with its neighbour
_QUALITY = 82


@dataclass(slots=True)
class Thumbnails:
    """What was made.

    cell : side of the square that each has in its sprite
    sizes : width and height of each; 0, 0 where there is none
    reasons : why there is none, by image
    """

    cell: int
    sizes: list[tuple[int, int]] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


def n_sprites(n_images: int) -> int:
    """Return how many sprites hold the thumbnails of so many images."""
    return -(-n_images // PER_SPRITE)


def sprite_name(number: int) -> str:
    """Return the path of a sprite in the report folder."""
    return f"thumbs/{number:05}.jpg"


def write_sprites(
    folder: Path,
    paths: Sequence[Path | None],
    *,
    side: int,
    n_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Thumbnails:
    """Write the thumbnails of image files, at most `side` x `side` each, into sprites below `folder`.

    A path that is None, or a file that can't be shown, has an empty place and a reason.
    """
    made = Thumbnails(cell=-(-side // _BLOCK) * _BLOCK)
    (folder / "thumbs").mkdir(parents=True)

    def small(path: Path | None) -> Image.Image:
        if path is None:
            raise ImageError("the file is neither in the result nor where it was")
        data = read(path)
        if not data:
            raise ImageError("empty file")
        with without_warnings():
            return shrink(data, side)

    waiting: list[Image.Image | None] = []
    for k, image in enumerate(map_images(small, paths, n_threads=n_threads)):
        if isinstance(image, ImageError):
            made.reasons[k] = str(image)
            waiting.append(None)
            made.sizes.append((0, 0))
        else:
            waiting.append(image)
            made.sizes.append(image.size)
        if len(waiting) == PER_SPRITE or k == len(paths) - 1:
            _write_sprite(folder / sprite_name(k // PER_SPRITE), waiting, made.cell)
            waiting.clear()
        if progress is not None:
            progress(k + 1, len(paths))
    return made


def _write_sprite(path: Path, images: Sequence[Image.Image | None], cell: int) -> None:
    from PIL import Image

    n_rows = -(-len(images) // PER_ROW)
    width = PER_ROW if n_rows > 1 else len(images)
    sprite = Image.new("RGB", (width * cell, n_rows * cell))
    for k, image in enumerate(images):
        if image is not None:
            sprite.paste(image, (k % PER_ROW * cell, k // PER_ROW * cell))
    with path.open("wb") as stream:
        sprite.save(stream, "JPEG", quality=_QUALITY, optimize=False)
