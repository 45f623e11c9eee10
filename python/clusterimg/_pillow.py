"""Images by way of Pillow: depth, colour, alpha and orientation under the policy of `images`.

Grey ones are what the methods see, small ones in colour are for people to look at.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._headers import check_size, what_else
from .errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["UnknownFormatError", "open_image", "read_grey", "read_small", "without_warnings"]


class UnknownFormatError(ImageError):
    """Pillow doesn't know the format, or not this variant of it."""


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Return the image, its size checked, its pixels not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):  # Pillow would start Ghostscript
        raise ImageError("PostScript: a program, which is not run")
    # Image.open does this too, but two threads opening their first images at once can miss plugins there.
    Image.preinit()
    Image.init()
    try:
        image = Image.open(BytesIO(data))
    except Image.DecompressionBombError:
        raise ImageError(f"above the limit of {max_pixels} pixels") from None
    except MemoryError:
        raise ImageError("not enough memory") from None
    except UnidentifiedImageError:
        raise UnknownFormatError(what_else(data)) from None
    except Exception as error:  # plugins raise nearly anything for headers they can't make sense of
        raise UnknownFormatError(_reason("image", error)) from None
    check_size(*image.size, max_pixels)
    return image


def read_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return an opened image grey and upright, (h, w), C-contiguous."""
    try:
        image.load()
        turn = _UPRIGHT.get(_orientation(image), np.asarray)
        return np.ascontiguousarray(turn(_grey(image)))
    except MemoryError:
        raise ImageError("not enough memory") from None
    except Exception as error:  # decoders of damaged data raise nearly anything
        raise ImageError(_reason(image.format or "image", error)) from None


def read_small(image: Image.Image, side: int) -> Image.Image:
    """Return an opened image as RGB, upright, shrunk to at most `side` x `side`, without its metadata."""
    from PIL import Image

    try:
        image.load()
        turn = _TURNED.get(_orientation(image))
        small = _colour(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        if small.mode == "RGBA":  # after shrinking, which weighs colours by their alpha
            small = _on_white(small)
        small = small.convert("RGB")
        if turn is not None:
            small = small.transpose(Image.Transpose[turn])
        small.info.clear()  # a comment of the file would go into the thumbnail
        return small
    except MemoryError:
        raise ImageError("not enough memory") from None
    except Exception as error:
        raise ImageError(_reason(image.format or "image", error)) from None


_CUT_SHORT = re.compile("truncated|not enough|too short|incomplete|only got", re.IGNORECASE)
_DAMAGED = re.compile(
    "decoder error|overrun|data stream|cannot load|configuration|could not|invalid literal|next frame|b'",
    re.IGNORECASE,
)


def _reason(kind: str, error: Exception) -> str:
    """Return for people what an exception says; what only programmers understand means damage."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError | struct.error) or _CUT_SHORT.search(text):
        return f"truncated {kind}"
    is_sentence = isinstance(
        error, OSError | SyntaxError | ValueError | NotImplementedError
    ) and not isinstance(error, UnicodeError)
    if not is_sentence or _DAMAGED.search(text):
        return f"damaged {kind}"
    return f"unreadable {kind}: {text[:200]}"


# --- orientation ---

_ORIENTATION_TAG = 0x0112

_UPRIGHT: Mapping[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: np.fliplr,
    3: lambda grey: np.rot90(grey, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: np.rot90(grey, 2).T,
    8: np.rot90,
}
"""What sets an image upright, by its EXIF orientation."""


_TURNED: Mapping[int, str] = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""The same for images of Pillow, by the names of its operations."""


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied to a loaded image.

    Not ImageOps.exif_transpose, which refuses images that are fine but for their EXIF block. Only after
    loading is it known, since Pillow turns a TIFF itself and finds EXIF behind the pixels of a PNG.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata says nothing about the pixels
        return 1


# --- alpha, colour, depth ---


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return a loaded image as (h, w) uint8, as it lies in the file."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey_of_deep(image)
    if image.has_transparency_data:
        image = _on_white(image)
    elif image.mode == "LAB":  # Pillow turns it into RGB by colour profiles only
        return np.asarray(image.getchannel("L"))
    return np.asarray(image.convert("L"))


def _colour(image: Image.Image) -> Image.Image:
    """Return a loaded image as RGB, RGBA or L, as it lies in the file."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey_of_deep(image))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "LAB":
        return image.getchannel("L")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def _grey_of_deep(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    grey = _eight_bits(values)
    if isinstance(clear := image.info.get("transparency"), int):  # PNG: the one value that is transparent
        grey[values == clear] = 255
    return grey


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 16-bit, wider integer or float values as 8 bits.

    Integers in 0..65535 are 16-bit values v (Pillow widens some formats): v / 257, rounded. Floats in 0..1
    are multiplied by 255, floats in 0..255 taken as they are. Any others are stretched, their minimum to 0
    and their maximum to 255. What is not finite counts as 0.
    """
    is_float = values.dtype.kind == "f"
    if is_float:
        values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535 and not is_float:
        wide = values.astype(np.uint32)
        wide *= 255
        wide += 32895
        wide >>= 16  # (255 v + 32895) >> 16 is v / 257 rounded, for every v
        return wide.astype(np.uint8)
    levels = values.astype(np.float64)
    if is_float and low >= 0 and high <= 255:
        levels *= 255 if high <= 1 else 1
    else:
        levels -= low
        levels *= 255
        levels /= max(high - low, np.finfo(np.float64).tiny)  # all equal: 0 / tiny
    return np.rint(levels).astype(np.uint8)


# --- warnings and log lines ---


class _DecodingThread(threading.local):
    """Stands in a warning filter for the pattern of module names: matches in threads that are decoding.

    `warnings.catch_warnings` would swap the filters of all threads, and a filter on the names of Pillow's
    modules would hide from our users what their own use of Pillow has to say.
    """

    pattern = "(?!)"
    """Nothing: for those who read the filters and make new ones of them, as scikit-learn does."""

    is_this = False

    def match(self, module: str) -> bool:
        """Return whether to apply the filter to a warning of this module."""
        return self.is_this


_decoding_thread = _DecodingThread()
_SILENCE: Any = ("ignore", None, Warning, _decoding_thread, 0)


@cache
def _silence_logger() -> None:
    """Keep logging from printing Pillow's errors where nobody has set it up."""
    import logging

    logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop the warnings of this thread: odd metadata is no news to somebody with a million files."""
    _silence_logger()
    filters: Any = warnings.filters
    if filters[:1] != [_SILENCE]:  # not yet, or somebody has put new filters before it
        filters.insert(0, _SILENCE)
    _decoding_thread.is_this = True
    try:
        yield
    finally:
        _decoding_thread.is_this = False
