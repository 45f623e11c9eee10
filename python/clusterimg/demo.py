"""A small folder of real photos and edited copies, to try the program on.

The photos are those that ship inside scikit-image, so nothing is fetched.
"""

from __future__ import annotations

import csv
import io
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from ._optional import require
from .errors import ResultError, UsageError

__all__ = ["make_demo"]

_MAX_SIDE = 512
_QUALITY = 92

_COPIED = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
_SINGLE = ("cell.png", "clock_motion.png", "grass.png", "moon.png", "text.png")


def make_demo(folder: Path, *, seed: int = 0) -> Path:
    """Fill `folder` with photos and edited copies; return the path of the table of their groups.

    Thirteen photos have three to six copies each, as they come about by sharing and light editing;
    five have none; `notes.jpg` is no image at all. The table stands beside the folder, named after
    it, with the columns file, group, variant.

    Parameters
    ----------
    folder : Path
        Created; must not hold anything yet.
    seed : int
        Decides which copies each photo has.

    Raises
    ------
    MissingExtra
        scikit-image is not installed.
    UsageError
        `folder` holds something, or the table exists.
    ResultError
        The files can't be written, or this scikit-image has other photos.
    """
    shipped = Path(str(require("skimage", extra="demo").__file__)).parent / "data"
    labels = folder.with_name(f"{folder.name}_labels.csv")
    if labels.exists() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UsageError(f"{folder} and {labels.name} must be new: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(_write_images(shipped, folder, random.Random(seed)))
        (folder / "notes.jpg").write_text("A text file with a wrong name: it is skipped, and listed.\n")
        with labels.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("file", "group", "variant"), *sorted(rows)])
    except OSError as error:
        raise ResultError(f"can't make the demo folder {folder}: {error}") from error
    return labels


def _write_images(shipped: Path, folder: Path, chance: random.Random) -> Iterator[tuple[str, str, str]]:
    """Write the photos and their copies; yield name, group and variant of each."""
    for name in (*_COPIED, *_SINGLE):
        group = name.partition(".")[0].removesuffix("_left")
        photo = _load(shipped / name)
        original = folder / f"{group}.jpg"
        photo.save(original, quality=_QUALITY)
        yield original.name, group, "original"
        if name in _SINGLE:
            continue
        for variant in chance.sample(list(_VARIANTS), chance.randint(3, 5)):
            copy = folder / f"{group}_{variant}.jpg"
            _VARIANTS[variant](photo).save(copy, quality=_QUALITY)
            yield copy.name, group, variant
    yield from _write_special_copies(shipped, folder)


def _write_special_copies(shipped: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Write copies that are more than an edit: the same bytes, another format, another camera."""
    for group in ("chelsea", "rocket"):
        copy = folder / f"{group}_same_bytes.jpg"
        shutil.copyfile(folder / f"{group}.jpg", copy)
        yield copy.name, group, "same_bytes"
    for group in ("astronaut", "page"):
        copy = folder / f"{group}_png.png"
        with Image.open(folder / f"{group}.jpg") as photo:
            photo.save(copy)
        yield copy.name, group, "png"
    copy = folder / "motorcycle_other_eye.jpg"
    _load(shipped / "motorcycle_right.png").save(copy, quality=_QUALITY)
    yield copy.name, "motorcycle", "other_eye"


def _load(path: Path) -> Image.Image:
    """Return the photo, at most `_MAX_SIDE` on its longer side."""
    with Image.open(path) as image:
        photo = image.convert("RGB")
    photo.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    return photo


def _half_size(photo: Image.Image) -> Image.Image:
    return photo.reduce(2)


def _small_again(photo: Image.Image) -> Image.Image:
    """Lose detail as a thumbnail blown up again does."""
    return photo.reduce(4).resize(photo.size, Image.Resampling.BICUBIC)


def _cropped(photo: Image.Image) -> Image.Image:
    """Cut 3 % off each side."""
    dx, dy = round(0.03 * photo.width), round(0.03 * photo.height)
    return photo.crop((dx, dy, photo.width - dx, photo.height - dy))


def _brighter(photo: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(1.2)


def _contrast(photo: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(photo).enhance(1.25)


def _grey(photo: Image.Image) -> Image.Image:
    return ImageOps.grayscale(photo)


def _caption(photo: Image.Image) -> Image.Image:
    """Write a line of text near the bottom."""
    copy = photo.copy()
    place = (copy.width // 20, copy.height - copy.height // 10)
    font = ImageFont.load_default(size=max(copy.height // 18, 10))
    ImageDraw.Draw(copy).text(place, "holiday pictures", (255, 255, 255), font, stroke_width=1, stroke_fill=0)
    return copy


def _border(photo: Image.Image) -> Image.Image:
    return ImageOps.expand(photo, border=max(photo.size) // 50, fill=(255, 255, 255))


def _rotated(photo: Image.Image) -> Image.Image:
    """Turn by one degree, as when a scan is set straight."""
    return photo.rotate(1, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))


def _recompressed(photo: Image.Image) -> Image.Image:
    """Lose what a JPEG of low quality loses."""
    stream = io.BytesIO()
    photo.save(stream, "jpeg", quality=30)
    return Image.open(stream).convert("RGB")


_VARIANTS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "half_size": _half_size,
    "small_again": _small_again,
    "cropped": _cropped,
    "brighter": _brighter,
    "contrast": _contrast,
    "grey": _grey,
    "caption": _caption,
    "border": _border,
    "rotated": _rotated,
    "recompressed": _recompressed,
}
