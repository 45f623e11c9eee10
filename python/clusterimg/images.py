"""From a folder to grey images: find files, decode them under one policy, map a function over them.

A JPEG goes to OpenCV, which decodes it fastest and releases the GIL; all else goes to Pillow, which reads
alpha, palettes and depths right. The two differ by some grey levels, so a format always has the same decoder
and each image says which served it.

The C libraries under both decoders write to standard error about some damaged files (libjpeg's "Corrupt JPEG
data", libtiff's and libpng's complaints, OpenCV's log), and may crash on others. Python can't hold that back
in its own process, so here it is left; a run decodes in a process of its own (`_reader`). JPEGs known to be
cut short are refused before a decoder sees them.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._headers import check_size, is_jpeg, picture_size, plain_png, read_jpeg
from ._listing import Listing, find, os_reason, why_not_regular
from ._pillow import UnknownFormatError, open_image, read_grey, without_warnings
from .errors import ImageError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "DECODES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "POLICY",
    "SECONDS_PER_FILE",
    "Decoded",
    "Listing",
    "as_grey",
    "decode",
    "decode_bytes",
    "digest",
    "find",
    "map_images",
    "policy",
    "read",
    "reduction",
]

Item = TypeVar("Item")
Value = TypeVar("Value")

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused: the count at which Pillow, too, refuses by default."""

MAX_BYTES = 2**30
"""Larger files are refused unread."""

SECONDS_PER_FILE = 60.0
"""A run skips a file that takes longer to read."""

SPARE = 2.0
"""`fast` decoding leaves so many times the pixels a side that the method needs.

At 2 no method's F1 on the dev sets moves by more than .011 (benchmarks/README.md), at 1 ssim's moves by .034
and minhash's by .010; at 3, imagehash saves less (.05 s of .25 s on photos of 640x480, at 2 .07 s).
"""

POLICY: Mapping[str, str] = {
    "format": "by content, whatever the extension",
    "decoders": "opencv: 8-bit JPEG, grey or of three colours; pillow: the rest; "
    "opencv again for HDR, PAM, PFM, Sun raster and BMP that pillow can't open",
    "orientation": "EXIF orientation applied",
    "frames": "first frame",
    "alpha": "composited on white",
    "colour": "grey by ITU-R 601 luma; LAB by its lightness",
    "depth": "integers in 0..65535 v / 257, rounded; floats in 0..1 times 255, in 0..255 as they are; other "
    "values stretched from minimum and maximum to 0 and 255; not finite is 0",
    "icc": "ignored",
    "limit": f"{MAX_PIXELS} pixels, {MAX_BYTES} bytes",
    "damage": "files cut short, and files whose decoder finds their pixels damaged, are refused, even where "
    "another decoder would fill up what is missing",
    "metadata": "where a PNG can't be read, it is tried again without its texts, profiles and animation",
    "isolation": "decoded in a process of its own; a file that crashes it, or takes longer than "
    f"{SECONDS_PER_FILE:g} s, is skipped",
}
"""How a file becomes a grey image, but for its size."""

DECODES: Mapping[str, str] = {
    "exact": "at full size",
    "fast": "JPEGs at 1/2, 1/4 or 1/8 of their size, by the decoder, where that leaves at least "
    f"{SPARE:g} times the size that the method brings images to",
}
"""At which size files are decoded."""


def policy(decode: str = "exact") -> dict[str, str]:
    """Return how files become grey images; written into every result."""
    if decode not in DECODES:
        raise UsageError(f"decode must be one of {', '.join(DECODES)}, got {decode!r}")
    return {**POLICY, "decode": f"{decode}: {DECODES[decode]}"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    grey : (h, w) uint8, C-contiguous
    decoder : "opencv" or "pillow", and its reduction such as "opencv 1/4"
    """

    grey: NDArray[np.uint8]
    decoder: str


# --- decoding ---


def decode(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return the grey image of a file, under `POLICY`.

    Parameters
    ----------
    path : a regular file or a link to one; anything else is refused unopened
    max_pixels : as for `decode_bytes`

    Raises
    ------
    ImageError : the file can't be read, or `decode_bytes` refuses its content
    """
    return decode_bytes(read(path), max_pixels=max_pixels)


def read(path: Path | str) -> bytes:
    """Return the content of a file. Raises `ImageError` as `decode` does."""
    path = Path(path)
    try:
        status = path.stat()
        if reason := why_not_regular(status.st_mode):
            raise ImageError(reason)
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{status.st_size} bytes is above the limit of {MAX_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(os_reason(error)) from None
    except MemoryError:
        raise ImageError("not enough memory") from None


def reduction(data: bytes, spare: Callable[[int, int], float]) -> int:
    """Return by what `fast` decoding divides the sides of an image: 1, 2, 4 or 8; 1 unless it is a JPEG.

    `spare(height, width)` is how many times larger than needed an upright image of that size is.
    """
    header = read_jpeg(data) if is_jpeg(data) else None
    if header is None or not (header.width and header.height):
        return 1
    # It may have to be turned by its EXIF orientation, which the frame header doesn't tell.
    least = min(spare(header.height, header.width), spare(header.width, header.height))
    return next((by for by in (8, 4, 2) if by * SPARE <= least), 1)


def decode_bytes(data: bytes, *, reduction: int = 1, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return the grey image of a file's content, under `POLICY`.

    Parameters
    ----------
    data : the whole file
    reduction : 2, 4 or 8 to have the sides of a JPEG divided by that, rounded up, unless they are
        shorter; any other format is decoded at its full size
    max_pixels : refuse an image whose header announces more. Above `MAX_PIXELS`, Pillow's own limit
        (`PIL.Image.MAX_IMAGE_PIXELS`) has to be raised as well.

    Raises
    ------
    ImageError : whatever is wrong with the data; the text is a reason for people
    """
    if not data:
        raise ImageError("empty file")
    if is_jpeg(data):
        return _decode_jpeg(data, reduction, max_pixels)
    with without_warnings():
        return _decode_other(data, max_pixels)


def _decode_jpeg(data: bytes, reduction: int, max_pixels: int) -> Decoded:
    header = read_jpeg(data)
    if header is None or not header.complete:  # OpenCV would fill up the missing part with grey
        raise ImageError("truncated JPEG")
    check_size(header.width, header.height, max_pixels)
    if reduction > min(header.width, header.height):
        reduction = 1
    part = f" 1/{reduction}" if reduction > 1 else ""
    if header.is_common and (grey := _imdecode(data, reduction)) is not None:
        return Decoded(grey, f"opencv{part}")
    with without_warnings(), open_image(data, max_pixels=max_pixels) as image:
        if part:
            image.draft(None, (header.width // reduction, header.height // reduction))
        return Decoded(read_grey(image), f"pillow{part}")


def _decode_other(data: bytes, max_pixels: int) -> Decoded:
    try:
        return _decode_by_pillow(data, max_pixels)
    except ImageError as refusal:
        reason = ImageError(*refusal.args)  # a fresh one, since the traceback keeps the pixels alive
        is_unknown = isinstance(refusal, UnknownFormatError)
    if (plain := plain_png(data)) is not None:
        with suppress(ImageError):
            return _decode_by_pillow(plain, max_pixels)
    elif is_unknown and (size := picture_size(data)) is not None:
        check_size(*size, max_pixels)
        if (grey := _imdecode(data)) is not None:
            return Decoded(grey, "opencv")
    raise reason


def _decode_by_pillow(data: bytes, max_pixels: int) -> Decoded:
    with open_image(data, max_pixels=max_pixels) as image:
        return Decoded(read_grey(image), "pillow")


def _imdecode(data: bytes, reduction: int = 1) -> NDArray[np.uint8] | None:
    """Return what OpenCV makes of the data, upright and grey, or None."""
    import cv2

    flags = {
        1: cv2.IMREAD_GRAYSCALE,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduction])
    except (cv2.error, MemoryError):
        return None
    if grey is None:
        return None
    if grey.ndim == 3:  # OpenCV 4 leaves HDR in colour
        grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(grey, np.uint8)


# --- images in memory ---


def as_grey(image: Any) -> NDArray[np.uint8]:
    """Return a caller's image as it is, C-contiguous, if it is (h, w) uint8 with at least one pixel.

    Raises
    ------
    UsageError : it is anything else; colours are not converted, since RGB and BGR look alike
    """
    wanted = "an image must be a grey array (h, w) of uint8 with at least one pixel"
    if not isinstance(image, np.ndarray):
        raise UsageError(f"{wanted}, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        colour = image.ndim == 3 and image.shape[2] in (3, 4)
        advice = "; convert it to grey first (RGB and BGR can't be told apart here)" if colour else ""
        raise UsageError(f"{wanted}, got {image.shape} of {image.dtype}{advice}")
    return np.ascontiguousarray(image)


def digest(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 16 bytes, (16,) uint8, that are equal for images of equal shape and pixels.

    The first half of a SHA-256, which CPUs have instructions for: twice as fast as BLAKE2b.
    """
    state = hashlib.sha256(np.array(grey.shape, "<i8").tobytes())
    state.update(np.ascontiguousarray(grey).data)
    return np.frombuffer(state.digest()[:16], np.uint8)


# --- mapping over files ---

_IN_FLIGHT_PER_THREAD = 4


def map_images(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    n_threads: int = 0,
) -> Iterator[Value | ImageError]:
    """Yield `function(item)` for each item, in order; an `ImageError` it raises is yielded in its place.

    Other exceptions come out where their result would have. Ahead of what was yielded, at most four items a
    thread are taken, so results don't pile up. When the iterator is closed, or an exception or Ctrl-C ends
    it, waiting items are dropped and only those being worked on are waited for.

    Parameters
    ----------
    function : called in several threads at once
    items : taken as they are needed
    n_threads : 0 means all cores this process may use, 1 calls `function` in the caller's thread
    """
    if n_threads < 0:
        raise UsageError(f"n_threads must be 0 (all cores) or more, got {n_threads}")
    n_threads = n_threads or _n_cores()

    def attempt(item: Item) -> Value | ImageError:
        try:
            return function(item)
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one, since the traceback keeps the file's content alive

    return map(attempt, items) if n_threads == 1 else _map_threads(attempt, items, n_threads)


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _map_threads(function: Callable[[Item], Value], items: Iterable[Item], n_threads: int) -> Iterator[Value]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="clusterimg")
    try:
        running: deque[Future[Value]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == _IN_FLIGHT_PER_THREAD * n_threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
