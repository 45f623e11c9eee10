"""Thumbnails show what the methods see, in colour, small, under the same policy."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clusterimg import images
from clusterimg._thumbnails import shrink, thumbnail
from clusterimg.errors import ImageError
from pictures import picture

ORIENTATION = 0x0112
SMOOTH = cv2.GaussianBlur(picture(3, 600, 400), (0, 0), 25)
SPREAD = cv2.normalize(SMOOTH, None, 0, 255, cv2.NORM_MINMAX)
SCENE = cv2.applyColorMap(SPREAD, cv2.COLORMAP_JET)[:, :, ::-1] // 2 + 64  # RGB


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    image.load()
    return image


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "image"
    path.write_bytes(data)
    return path


def assert_alike(image: Image.Image, wanted: np.ndarray, tolerance: float = 6.0) -> None:
    """Assert that an image is `wanted`, (h, w) or (h, w, 3), made as small as it."""
    small = cv2.resize(wanted, image.size, interpolation=cv2.INTER_AREA).astype(float)
    got = np.asarray(image.convert("L" if wanted.ndim == 2 else "RGB"), float)
    assert np.abs(got - small).mean() < tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("side", [150, 90])
def test_a_thumbnail_is_the_picture_in_colour_made_smaller(kind: str, side: int, tmp_path: Path) -> None:
    image = opened(thumbnail(saved(tmp_path, encoded(Image.fromarray(SCENE), kind)), side))
    assert image.size == (side, side * 2 // 3)
    assert_alike(image, SCENE, 12 if kind == "GIF" else 6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright_as_the_methods_see_it(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(Image.fromarray(SCENE), kind, exif=exif)
    grey = images.decode_bytes(data).grey
    image = shrink(data, 120)
    assert image.size == ((120, 80) if orientation < 5 else (80, 120))
    assert_alike(image, grey)


@pytest.mark.parametrize("size", [(1, 1), (30, 7), (1, 900)])
def test_small_images_keep_their_size_and_thin_ones_their_width(size: tuple[int, int]) -> None:
    width, height = size
    image = shrink(encoded(Image.new("RGB", size, "red")), 100)
    assert image.size == (width, min(height, 100))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "LAB", "I;16", "I", "F"])
def test_every_mode_looks_as_the_methods_see_it(mode: str) -> None:
    grey = Image.fromarray(picture(4, 300, 200))
    if mode.startswith(("I", "F")):
        values = np.asarray(grey, np.float64) * (1 if mode == "F" else 257)
        image = Image.fromarray(values.astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode]))
    elif mode == "LAB":
        image = Image.merge("LAB", [grey, *[Image.new("L", grey.size, 128)] * 2])
    elif mode == "PA":
        image = grey.convert("P").convert("PA")
    else:
        image = grey.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(picture(5, 300, 200)))
    data = encoded(image, "PNG" if mode in ("1", "L", "P", "LA", "RGBA", "I;16") else "TIFF")
    # Of one bit, other ways to shrink differ most.
    assert_alike(shrink(data, 100), images.decode_bytes(data).grey, 15 if mode == "1" else 6)


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (300, 200), (255, 0, 0, 0))
    assert np.asarray(shrink(encoded(image), 100)).min() == 255


def test_of_several_frames_it_is_the_first() -> None:
    first, second = Image.new("RGB", (90, 60), "red"), Image.new("RGB", (90, 60), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert shrink(data, 60).getpixel((5, 5)) in {(254, 0, 0), (255, 0, 0)}


def test_metadata_stays_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(Image.fromarray(SCENE), "JPEG", exif=exif, comment=b"secret", icc_profile=b"profile")
    small = thumbnail(saved(tmp_path, data), 90)
    assert not {"exif", "icc_profile", "comment"} & opened(small).info.keys()
    assert b"secret" not in small


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty file"),
        (b"no picture", "not an image"),
        (b"%!PS-Adobe", "PostScript"),
        (encoded(Image.fromarray(SCENE), "JPEG")[:-2000], "truncated"),
        (encoded(Image.fromarray(SCENE), "JPEG")[:-2], "truncated"),
        (encoded(Image.fromarray(SCENE), "JPEG")[:-2] + bytes(5000), "truncated"),
        (encoded(Image.fromarray(SCENE), "PNG")[:-2000], "truncated"),
    ],
)
def test_it_says_why_there_is_none(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=reason):
        thumbnail(saved(tmp_path, data), 100)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterimg._thumbnails.MAX_PIXELS", 600 * 400 - 1)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(ImageError, match="600x400 is above the limit"):
            shrink(encoded(Image.fromarray(SCENE), kind), 100)


def test_a_file_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        thumbnail(tmp_path / "gone.png", 100)


def test_formats_of_opencv_are_shown_too() -> None:
    data = b"P7\nWIDTH 90\nHEIGHT 60\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    data += np.ascontiguousarray(cv2.resize(SCENE, (90, 60))).tobytes()
    grey = images.decode_bytes(data).grey
    assert_alike(shrink(data, 45), grey)


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterimg import _pillow, _thumbnails

    seen: list[tuple[int, int]] = []

    def watching(image: Image.Image, side: int) -> Image.Image:
        image.load()
        seen.append(image.size)
        return _pillow.read_small(image, side)

    monkeypatch.setattr(_thumbnails, "read_small", watching)
    data = encoded(Image.fromarray(cv2.resize(SCENE, (2400, 1600))), "JPEG")
    assert shrink(data, 160).size == (160, 107)
    assert seen == [(300, 200)]
