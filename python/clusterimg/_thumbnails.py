"""Thumbnails: small colour pictures of image files, decoded under the policy of `images`.

What people look at is in colour, else the same picture as the methods see: of the first frame, upright by
EXIF, transparent parts on white, deep values brought to 8 bits, under the same limits. JPEGs are decoded at
1/2, 1/4 or 1/8 of their size where that still leaves enough pixels.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._headers import check_size, is_jpeg, picture_size, plain_png, read_jpeg
from ._pillow import open_image, read_small, without_warnings
from .errors import ImageError
from .images import MAX_PIXELS, read

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["shrink", "thumbnail"]

_QUALITY = 80  # colours at half the size, as JPEGs have them: the loss shows on no photo


def thumbnail(path: Path | str, side: int) -> bytes:
    """Return a JPEG in colour of an image file, at most `side` x `side`; small images keep their size.

    Raises
    ------
    ImageError : the file can't be read, or its content is refused; the text is a reason for people
    """
    data = read(path)
    if not data:
        raise ImageError("empty file")
    with without_warnings():
        return _as_jpeg(shrink(data, side))


def shrink(data: bytes, side: int) -> Image.Image:
    """Return the picture of a file's content, RGB, upright, at most `side` x `side`.

    Raises
    ------
    ImageError : whatever is wrong with the data
    """
    if is_jpeg(data):
        header = read_jpeg(data)
        if header is None or not header.complete:
            raise ImageError("truncated JPEG")
        check_size(header.width, header.height, MAX_PIXELS)
    try:
        return _by_pillow(data, side)
    except ImageError as refusal:
        reason = ImageError(*refusal.args)  # a fresh one, since the traceback keeps the pixels alive
    for attempt in (_by_pillow_plain, _by_opencv):
        try:
            image = attempt(data, side)
        except ImageError:
            continue
        if image is not None:
            return image
    raise reason


def _by_pillow(data: bytes, side: int) -> Image.Image:
    with open_image(data, max_pixels=MAX_PIXELS) as image:
        part = min(1.0, side / max(image.size))
        image.draft(None, (max(1, round(image.width * part)), max(1, round(image.height * part))))
        return read_small(image, side)


def _by_pillow_plain(data: bytes, side: int) -> Image.Image | None:
    """Return what Pillow makes of a PNG without its texts, profiles and animation."""
    plain = plain_png(data)
    return None if plain is None else _by_pillow(plain, side)


def _by_opencv(data: bytes, side: int) -> Image.Image | None:
    """Return what OpenCV makes of the formats that are its in `images`."""
    size = picture_size(data)
    if size is None and not is_jpeg(data):
        return None
    if size is not None:
        check_size(*size, MAX_PIXELS)
    import cv2
    from PIL import Image

    try:
        colour = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        return None
    if colour is None or colour.dtype != np.uint8 or colour.ndim != 3:
        return None
    if not data.startswith(b"P7"):  # a PAM's channels OpenCV leaves in the order of the file
        colour = colour[:, :, ::-1]
    image = Image.fromarray(np.ascontiguousarray(colour))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _as_jpeg(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
