"""What the first bytes of an image say, read before a decoder reserves memory for it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ImageError

__all__ = ["JpegHeader", "check_size", "is_jpeg", "picture_size", "plain_png", "read_jpeg", "what_else"]

_EOI, _SOS = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; those three are tables
_COMMON_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive; Huffman coded
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # markers without a segment; 0x00 is a stuffed byte


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The frame header (SOF) of a JPEG, and whether the picture after it has its end marker."""

    width: int
    height: int
    n_components: int
    precision: int
    frame: int
    complete: bool

    @property
    def is_common(self) -> bool:
        """Whether it is an 8-bit Huffman-coded JPEG, grey or of three colours."""
        return self.frame in _COMMON_FRAMES and self.precision == 8 and self.n_components in (1, 3)


def is_jpeg(data: bytes) -> bool:
    """Return whether the bytes begin like a JPEG."""
    return data.startswith(b"\xff\xd8\xff")


def read_jpeg(data: bytes) -> JpegHeader | None:
    """Return the frame header of a JPEG, or None if no frame and scan begin in these bytes.

    The picture counts as complete if an end marker comes anywhere after the first scan header: bytes and
    further pictures behind it don't matter, and the search from the end finds it at once in a usual file.
    """
    frame: tuple[int, bytes] | None = None
    for marker, start, end in _segments(data):
        if marker in _FRAMES and end - start >= 6:
            frame = marker, data[start : start + 6]
        elif marker == _SOS:
            if frame is None:
                return None
            precision, height, width, n_components = struct.unpack(">BHHB", frame[1])
            complete = data.rfind(b"\xff\xd9", end) >= 0
            return JpegHeader(width, height, n_components, precision, frame[0], complete)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment, up to where the file or its structure ends."""
    position = 2
    while (position := data.find(b"\xff", position) + 1) and position < len(data):
        marker = data[position]
        if marker == 0xFF or marker in _BARE:  # 0xFF: fill bytes may come before a marker
            continue
        end = position + 1 + int.from_bytes(data[position + 1 : position + 3], "big")
        if marker == _EOI or not position + 3 <= end <= len(data):
            return
        yield marker, position + 3, end
        position = end


_BINARY_SIZES = {
    b"\x59\xa6\x6a\x95": struct.Struct(">4xII"),  # Sun raster
    b"BM": struct.Struct("<18xii"),
}
_TEXT_SIZES = (
    re.compile(rb"#\?(?:RADIANCE|RGBE)\n(?:[^\n]+\n)*\n-Y (?P<height>\d+) \+X (?P<width>\d+)\n"),
    re.compile(rb"P7\n(?:#[^\n]*\n)*WIDTH (?P<width>\d+)\nHEIGHT (?P<height>\d+)\n"),  # PAM
    re.compile(rb"P[Ff]\s+(?P<width>\d+)\s+(?P<height>\d+)\s"),  # PFM
)
_LONGEST_TEXT = 4096


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height if the format is one that OpenCV may read where Pillow doesn't.

    Those are Radiance HDR, PAM, PFM, Sun raster, and BMP with unusual headers. PNG is not among them:
    OpenCV 5.0 crashes on some damaged animated ones.
    """
    for magic, layout in _BINARY_SIZES.items():
        if data.startswith(magic) and len(data) >= layout.size:
            width, height = layout.unpack_from(data)
            if magic == b"BM" and data[14] < 40:  # OS/2 headers keep the size elsewhere
                return None
            return abs(width), abs(height)
    for pattern in _TEXT_SIZES:
        if match := pattern.match(data, 0, _LONGEST_TEXT):
            return int(match["width"]), int(match["height"])
    return None


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise an `ImageError` if an image has no pixels, or more than `max_pixels`."""
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width}x{height}")
    if width * height > max_pixels:
        raise ImageError(f"{width}x{height} is above the limit of {max_pixels} pixels")


_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PICTURE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf"})


def plain_png(data: bytes) -> bytes | None:
    """Return a PNG reduced to the whole chunks that make its first picture upright; None for other files.

    Texts, colour profiles and animation are left out, and a missing end is added.
    """
    if not data.startswith(_PNG_START):
        return None
    kept = [_PNG_START]
    position = len(_PNG_START)
    while (end := position + 12 + int.from_bytes(data[position : position + 4], "big")) <= len(data):
        if data[position + 4 : position + 8] in _PICTURE_CHUNKS:
            kept.append(data[position:end])
        position = end
    return b"".join((*kept, _PNG_END))


_ELSE = (
    (4, b"ftyphe", "HEIC image, a format that can't be read yet: convert it, to JPEG for example"),
    (4, b"ftypmif1", "HEIF image, a format that can't be read yet: convert it, to JPEG for example"),
    (4, b"ftypavi", "AVIF image, which this build of Pillow can't read"),
    (0, b"\xff\x0a", "JPEG XL image, a format that can't be read yet: convert it, to JPEG for example"),
    (4, b"JXL \r\n", "JPEG XL image, a format that can't be read yet: convert it, to JPEG for example"),
    (4, b"ftyp", "video, not an image"),
    (0, b"\x1aE\xdf\xa3", "video, not an image"),
    (8, b"AVI LIST", "video, not an image"),
    (0, b"%PDF-", "PDF document, not an image"),
    (0, b"PK\x03\x04", "ZIP archive or office document, not an image"),
    (0, b"<svg", "SVG drawing, which is not rendered"),
)
"""What people keep beside their photos: where which bytes stand, and what the file is then."""


def what_else(data: bytes) -> str:
    """Return what a file is that no decoder knows, for people."""
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<?xml") and b"<svg" in data[:4096]:
        start = b"<svg"
    for offset, mark, meaning in _ELSE:
        if start.startswith(mark, offset):
            return meaning
    return "not an image"
