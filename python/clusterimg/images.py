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
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._headers import check_size, is_jpeg, picture_size, plain_png, read_jpeg
from ._pillow import UnknownFormatError, open_image, read_grey, without_warnings
from ._types import Skip
from .errors import ImageError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
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
]

Item = TypeVar("Item")
Value = TypeVar("Value")

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused: the count at which Pillow, too, refuses by default."""

MAX_BYTES = 2**30
"""Larger files are refused unread."""

SECONDS_PER_FILE = 60.0
"""A run skips a file that takes longer to read."""

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
"""How a file becomes a grey image; written into every result."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder, and what in it was left out.

    files : paths relative to the folder with `/`, in the order of their bytes
    skipped : in the same order
    """

    files: tuple[str, ...]
    skipped: tuple[Skip, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    grey : (h, w) uint8, C-contiguous
    decoder : "opencv" or "pillow"
    """

    grey: NDArray[np.uint8]
    decoder: str


# --- finding files ---


def find(folder: Path | str, *, recursive: bool = False, exclude: Path | str | None = None) -> Listing:
    """Return the files in a folder, and what in it can't be one, with the reason.

    Every regular file is listed, whatever its extension, and every link to one. Nothing is opened.

    Parameters
    ----------
    folder : the folder to look into
    recursive : whether to enter its subfolders; links to folders are never entered
    exclude : a subfolder not to enter, such as the result of an earlier run

    Raises
    ------
    UsageError : `folder` is missing, not a folder, or can't be read
    """
    files: list[str] = []
    skipped: list[Skip] = []
    for name, reason in _walk(folder, recursive, None if exclude is None else os.path.realpath(exclude)):
        if reason is None:
            files.append(name)
        else:
            skipped.append(Skip(name, reason))
    files.sort(key=os.fsencode)
    skipped.sort(key=lambda skip: os.fsencode(skip.file))
    return Listing(tuple(files), tuple(skipped))


def _walk(folder: Path | str, recursive: bool, excluded: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each entry that counts, and why it is left out or None."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(Path(folder, prefix)) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_file(follow_symlinks=False):
                        yield name, None
                    elif not entry.is_dir(follow_symlinks=False):
                        reason = _why_no_file(entry)
                        if recursive or reason != _LINK_TO_FOLDER:
                            yield name, reason
                    elif recursive and os.path.realpath(entry.path) != excluded:
                        pending.append(name + "/")
        except (OSError, ValueError) as error:
            if not prefix:
                wanted = "folder must be a folder that can be read"
                raise UsageError(f"{wanted}, got {os.fspath(folder)!r}: {_os_reason(error)}") from None
            yield prefix.rstrip("/"), f"folder can't be read: {_os_reason(error)}"


_LINK_TO_FOLDER = "link to a folder"


def _why_no_file(entry: os.DirEntry[str]) -> str | None:
    """Return why a link or special file can't be read as a file, or None if it can."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "broken link"
    except OSError as error:
        return _os_reason(error)
    return _LINK_TO_FOLDER if stat.S_ISDIR(mode) else _why_not_regular(mode)


def _why_not_regular(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return f"not a file: {kinds.get(stat.S_IFMT(mode), 'device')}"


def _os_reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


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
    return decode_bytes(_read(path), max_pixels=max_pixels)


def _read(path: Path | str) -> bytes:
    path = Path(path)
    try:
        status = path.stat()
        if reason := _why_not_regular(status.st_mode):
            raise ImageError(reason)
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{status.st_size} bytes is above the limit of {MAX_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(_os_reason(error)) from None
    except MemoryError:
        raise ImageError("not enough memory") from None


def decode_bytes(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return the grey image of a file's content, under `POLICY`.

    Parameters
    ----------
    data : the whole file
    max_pixels : refuse an image whose header announces more. Above `MAX_PIXELS`, Pillow's own limit
        (`PIL.Image.MAX_IMAGE_PIXELS`) has to be raised as well.

    Raises
    ------
    ImageError : whatever is wrong with the data; the text is a reason for people
    """
    if not data:
        raise ImageError("empty file")
    if is_jpeg(data):
        return _decode_jpeg(data, max_pixels)
    with without_warnings():
        return _decode_other(data, max_pixels)


def _decode_jpeg(data: bytes, max_pixels: int) -> Decoded:
    header = read_jpeg(data)
    if header is None or not header.complete:  # OpenCV would fill up the missing part with grey
        raise ImageError("truncated JPEG")
    check_size(header.width, header.height, max_pixels)
    if header.is_common and (grey := _imdecode(data)) is not None:
        return Decoded(grey, "opencv")
    with without_warnings():
        return _decode_by_pillow(data, max_pixels)


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


def _imdecode(data: bytes) -> NDArray[np.uint8] | None:
    """Return what OpenCV makes of the data, upright and grey, or None."""
    import cv2

    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
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
    progress: Callable[[int], None] | None = None,
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
    progress : called in the caller's thread with the number of results so far, after each
    """
    if n_threads < 0:
        raise UsageError(f"n_threads must be 0 (all cores) or more, got {n_threads}")
    n_threads = n_threads or _n_cores()

    def attempt(item: Item) -> Value | ImageError:
        try:
            return function(item)
        except ImageError as error:
            return ImageError(*error.args)  # a fresh one, since the traceback keeps the file's content alive

    results = map(attempt, items) if n_threads == 1 else _map_threads(attempt, items, n_threads)
    return results if progress is None else _reported(results, progress)


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


def _reported(results: Iterator[Value], progress: Callable[[int], None]) -> Iterator[Value]:
    for done, result in enumerate(results, start=1):
        progress(done)
        yield result
