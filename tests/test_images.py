"""Finding files, decoding them under the image policy, mapping over them."""

from __future__ import annotations

import csv
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clusterimg import images
from clusterimg._pillow import read_grey
from clusterimg._types import Skip
from clusterimg.errors import ImageError, UsageError
from pictures import picture, save

ORIENTATION = 0x0112
RNG = np.random.default_rng(0)
SCENE = cv2.resize(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8), (60, 44), interpolation=cv2.INTER_CUBIC)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def oriented(format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    return encoded(Image.fromarray(SCENE), format, exif=exif, **options)


JPEG = encoded(Image.fromarray(SCENE), "JPEG")
PNG = encoded(Image.fromarray(SCENE), "PNG")
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))


def grey_of(image: Image.Image, format: str = "PNG", **options) -> np.ndarray:
    decoded = images.decode_bytes(encoded(image, format, **options))
    assert decoded.decoder == "pillow"
    assert decoded.grey.dtype == np.uint8
    assert decoded.grey.flags.c_contiguous
    return decoded.grey


# --- find ---


def test_find_lists_files_by_their_bytes_and_enters_folders_only_if_told(tmp_path):
    for name in ("b.jpg", "a.txt", "noext", "sub/x.png", "sub.d", "sub/deep/y"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert images.find(tmp_path) == images.Listing(("a.txt", "b.jpg", "noext", "sub.d"), ())
    got = images.find(tmp_path, recursive=True)
    assert got.files == ("a.txt", "b.jpg", "noext", "sub.d", "sub/deep/y", "sub/x.png")
    assert images.find(tmp_path, recursive=True, exclude=tmp_path / "sub" / "deep").files == (
        "a.txt",
        "b.jpg",
        "noext",
        "sub.d",
        "sub/x.png",
    )


@pytest.mark.parametrize("name", [b"new\nline.png", b"\xff\xfe.jpg", b"-rf", b" ", "ü€".encode(), b"a\\b"])
def test_find_and_decode_take_any_name(tmp_path, name):
    (tmp_path / os.fsdecode(name)).write_bytes(PNG)
    (file,) = images.find(tmp_path).files
    assert os.fsencode(file) == name
    assert images.decode(tmp_path / file).grey.shape == GREY.shape


def test_find_reads_links_to_files_and_names_the_reason_for_all_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    Path("real").touch()
    Path("folder").mkdir()
    Path("folder/inner").touch()
    Path("link").symlink_to("real")
    Path("broken").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("linked_folder").symlink_to("folder")
    Path("device").symlink_to("/dev/null")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        got = images.find(tmp_path)
        deep = images.find(tmp_path, recursive=True)
    reasons = {skip.file: skip.reason for skip in got.skipped}
    assert got.files == ("link", "real")
    assert "symbolic links" in reasons.pop("loop")
    assert reasons == {
        "broken": "broken link",
        "device": "not a file: device",
        "pipe": "not a file: named pipe",
        "socket": "not a file: socket",
    }
    assert deep.files == ("folder/inner", "link", "real")
    assert Skip("linked_folder", "link to a folder") in deep.skipped
    assert [skip.file for skip in deep.skipped] == sorted(skip.file for skip in deep.skipped)


def test_find_reports_an_unreadable_subfolder_and_goes_on(tmp_path, monkeypatch):
    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    scandir = os.scandir

    def refuse(path):  # root may read everything, so the refusal is played
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    got = images.find(tmp_path, recursive=True)
    assert got.files == ("a/file", "z/file")
    assert got.skipped == (Skip("locked", "folder can't be read: permission denied"),)


def test_find_wants_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"missing'.*no such file"):
        images.find(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"file'.*not a directory"):
        images.find(tmp_path / "file")
    with pytest.raises(UsageError, match="null"):
        images.find("a\0b")


# --- files that are no images ---


def test_decode_refuses_special_files_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [
        (tmp_path / "pipe", "not a file: named pipe"),  # opening it would wait for a writer forever
        (tmp_path, "not a file: folder"),
        ("/dev/zero", "not a file: device"),
        (tmp_path / "missing", "no such file"),
        ("a\0b", "null"),
    ]:
        with pytest.raises(ImageError, match=reason):
            images.decode(path)


def test_decode_refuses_by_permission_and_size(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(PNG)
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match=f"{len(PNG)} bytes is above the limit of 10 bytes"):
        images.decode(path)
    monkeypatch.undo()

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match=r"^permission denied$"):
        images.decode(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\0" * 100, "not an image"),
        (b"hello world\n" * 50, "not an image"),
        (b"\0\0\0 ftypheic" + bytes(99), "HEIC image, a format that can't be read yet"),
        (b"\0\0\0 ftypisom" + bytes(99), "video, not an image"),
        (b"RIFF\x9c\x24\0\0AVI LIST" + bytes(99), "video, not an image"),
        (b"%PDF-1.7\n" + bytes(99), "PDF document, not an image"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="x">', "SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (JPEG[:2], "not an image"),
        (JPEG[:30], "truncated JPEG"),
        (JPEG[:-2], "truncated JPEG"),
        (PNG[:-40], "truncated PNG"),
    ],
)
def test_decode_gives_the_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        images.decode_bytes(data)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (with_size(JPEG, 65500, 65500), r"65500x65500 is above the limit of 178956970 pixels"),
        (png_header(60000, 60000), r"above the limit of 178956970 pixels"),
        (png_header(12000, 12000), None),  # Pillow warns here, which is held back
        (b"P5 70000 70000 255\n", r"above the limit"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 70000 +X 70000\n", r"70000x70000 is above the limit"),
        (b"P7\nWIDTH 70000\nHEIGHT 70000\nDEPTH 1\nMAXVAL 255\nENDHDR\n", r"70000x70000 is above"),
        (with_size(JPEG, 60, 0), r"no pixels: 60x0"),
    ],
)
def test_bombs_are_refused_by_their_header(bomb, reason):
    started = time.perf_counter()
    with pytest.raises(ImageError, match=reason):
        images.decode_bytes(bomb)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("data", [JPEG, PNG, encoded(Image.fromarray(SCENE), "GIF")])
def test_max_pixels_is_the_last_size_taken(data):
    n_pixels = GREY.size
    assert images.decode_bytes(data, max_pixels=n_pixels).grey.shape == GREY.shape
    with pytest.raises(ImageError, match=f"60x44 is above the limit of {n_pixels - 1} pixels"):
        images.decode_bytes(data, max_pixels=n_pixels - 1)


def test_lack_of_memory_is_a_reason(monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        images.decode_bytes(PNG)


# --- JPEG ---


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_common_jpeg_equals_opencv(tmp_path, mode, options):
    path = tmp_path / "image.txt"  # the extension says nothing
    Image.fromarray(SCENE).convert(mode).save(path, "JPEG", **options)
    got = images.decode(path)
    assert got.decoder == "opencv"
    np.testing.assert_array_equal(got.grey, cv2.imread(os.fspath(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"trailing", JPEG, JPEG[:200]])
def test_bytes_after_the_end_marker_do_not_matter(tail):
    np.testing.assert_array_equal(
        images.decode_bytes(JPEG + tail).grey, images.decode_bytes(JPEG).grey, strict=True
    )


def test_fill_bytes_and_a_complete_thumbnail_are_no_picture_end():
    thumbnail = b"\xff\xff\xe1" + struct.pack(">H", 2 + len(JPEG)) + JPEG
    data = JPEG[:2] + thumbnail + JPEG[2:]
    np.testing.assert_array_equal(images.decode_bytes(data).grey, images.decode_bytes(JPEG).grey)
    with pytest.raises(ImageError, match="truncated JPEG"):
        images.decode_bytes(data[:-2])


def test_cmyk_jpeg_goes_to_pillow():
    cmyk = Image.fromarray(SCENE).convert("CMYK")
    grey = grey_of(cmyk, "JPEG", quality=95)
    np.testing.assert_allclose(grey.astype(int), GREY, atol=12)


def test_jpeg_that_opencv_refuses_goes_to_pillow(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *args: None)
    got = images.decode_bytes(JPEG)
    assert got.decoder == "pillow"
    assert got.grey.shape == GREY.shape


# --- orientation ---

TRANSFORMS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(format, orientation):
    upright = images.decode_bytes(oriented(format, 1)).grey
    data = oriented(format, orientation)
    got = images.decode_bytes(data).grey
    np.testing.assert_array_equal(got, TRANSFORMS[orientation](upright))
    assert got.flags.c_contiguous
    with Image.open(io.BytesIO(data)) as image:
        assert got.shape[::-1] == ImageOps.exif_transpose(image).size


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_hide_the_pixels(format, exif):
    assert images.decode_bytes(encoded(Image.fromarray(SCENE), format, exif=exif)).grey.shape == GREY.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientations_are_upright(orientation):
    assert images.decode_bytes(oriented("PNG", orientation)).grey.shape == GREY.shape


# --- alpha, colour, depth, frames ---


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM"])
def test_colours_become_luma(format):
    np.testing.assert_array_equal(grey_of(Image.fromarray(SCENE), format), GREY)
    np.testing.assert_array_equal(grey_of(Image.fromarray(GREY), format), GREY)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_one_bit(format):
    bits = Image.fromarray(GREY).convert("1")
    np.testing.assert_array_equal(grey_of(bits, format), np.asarray(bits) * np.uint8(255))


def test_palette():
    palette = Image.fromarray(SCENE).quantize(16)
    expected = np.asarray(palette.convert("RGB").convert("L"))
    np.testing.assert_array_equal(grey_of(palette), expected)
    np.testing.assert_array_equal(grey_of(palette, "GIF"), expected)


@pytest.mark.parametrize("mode", ["CMYK", "HSV", "YCbCr"])
def test_other_colour_spaces(mode):
    grey = read_grey(Image.fromarray(SCENE).convert(mode))
    np.testing.assert_allclose(grey.astype(int), GREY, atol=3)


def test_lab_is_its_lightness():
    lab = Image.frombytes("LAB", (60, 44), SCENE.tobytes())
    np.testing.assert_array_equal(grey_of(lab, "TIFF"), SCENE[..., 0])


def on_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return 255 - (255.0 - values) * alpha / 255


ALPHA = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (44, 1))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_white(format):
    image = Image.fromarray(np.dstack([SCENE, ALPHA]))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    grey = grey_of(image, format, **options)
    np.testing.assert_allclose(grey, on_white(GREY, ALPHA), atol=1.6)
    assert np.all(grey[:, 0] == 255)


def test_grey_with_alpha():
    image = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))
    np.testing.assert_allclose(grey_of(image), on_white(GREY, ALPHA), atol=1.1)


def test_transparent_palette_entries_are_white():
    palette = Image.fromarray(SCENE).quantize(16)
    opaque = np.asarray(palette.convert("RGB").convert("L"))
    clear = np.asarray(palette) == 3
    assert clear.any()
    expected = np.where(clear, 255, opaque)
    np.testing.assert_array_equal(grey_of(palette, transparency=3), expected)
    np.testing.assert_array_equal(grey_of(palette, "GIF", transparency=3), expected)
    half = bytes([255, 255, 255, 128])
    np.testing.assert_allclose(
        grey_of(palette, transparency=half), on_white(opaque, np.where(clear, 128, 255)), atol=1.6
    )


def test_one_transparent_colour_is_white():
    few = GREY // 64 * 64
    np.testing.assert_array_equal(
        grey_of(Image.fromarray(few), transparency=64), np.where(few == 64, 255, few)
    )
    red = np.dstack([few, np.zeros_like(few), np.zeros_like(few)])
    grey = grey_of(Image.fromarray(red), transparency=(64, 0, 0))
    assert np.all((grey == 255) == (few == 64))
    bits = Image.fromarray(GREY).convert("1")
    assert np.all(grey_of(bits, transparency=0) == 255)
    deep = encoded(Image.fromarray(few.astype(np.uint16) * 257), "PNG")
    at = deep.index(b"IDAT") - 4
    clear = deep[:at] + png_chunk(b"tRNS", struct.pack(">H", 64 * 257)) + deep[at:]
    np.testing.assert_array_equal(images.decode_bytes(clear).grey, np.where(few == 64, 255, few))


def test_sixteen_bits_are_divided_by_257_and_rounded():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(ramp / 257 + 0.5).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(grey_of(Image.fromarray(ramp), format), expected)
    pgm = b"P5 256 256 65535\n" + ramp.astype(">u2").tobytes()
    np.testing.assert_array_equal(images.decode_bytes(pgm).grey, expected)
    big_endian = Image.frombytes("I;16B", (256, 256), ramp.astype(">u2").tobytes())
    np.testing.assert_array_equal(grey_of(big_endian, "TIFF"), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0.5, 1]], [[0, 128, 255]]),
        ([[0, 0.4, 254.6]], [[0, 0, 255]]),
        ([[-1, 0, 1]], [[0, 128, 255]]),
        ([[0, 300, 600]], [[0, 128, 255]]),
        ([[-5, -5, -5]], [[0, 0, 0]]),
        ([[np.nan, np.inf, 1]], [[0, 0, 255]]),
        ([[-3.4e38, 0, 3.4e38]], [[0, 128, 255]]),
    ],
)
def test_floats(values, expected):
    image = Image.fromarray(np.array(values, np.float32))
    np.testing.assert_array_equal(grey_of(image, "TIFF"), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 257, 65535]], [[0, 1, 255]]),
        ([[-100, 0, 100]], [[0, 128, 255]]),
        ([[0, 2**30, 2**31 - 1]], [[0, 128, 255]]),
    ],
)
def test_wide_integers(values, expected):
    image = Image.fromarray(np.array(values, np.int32))
    np.testing.assert_array_equal(grey_of(image, "TIFF"), expected)


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_first_frame(format):
    frames = [Image.new("L", (8, 8), level) for level in (10, 200, 90)]
    options = {"lossless": True} if format == "WEBP" else {}
    grey = grey_of(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert np.all(grey == 10)


@pytest.mark.parametrize("format", ["BMP", "GIF", "ICO", "PCX", "PPM", "SGI", "TGA", "TIFF", "WEBP"])
def test_formats_are_told_by_content(tmp_path, format):
    path = tmp_path / "wrong.jpg"
    Image.fromarray(SCENE).save(path, format)
    assert images.decode(path).grey.ndim == 2


def pam() -> bytes:
    return b"P7\nWIDTH 60\nHEIGHT 44\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n" + GREY.tobytes()


def hdr() -> bytes:
    return cv2.imencode(".hdr", SCENE[..., ::-1].astype(np.float32) / 255)[1].tobytes()


@pytest.mark.parametrize("make", [pam, hdr])
def test_what_only_opencv_reads(make):
    got = images.decode_bytes(make())
    assert got.decoder == "opencv"
    np.testing.assert_allclose(got.grey.astype(int), GREY, atol=4 if make is hdr else 0)


# --- damaged files ---

SMALL = Image.fromarray(SCENE).resize((16, 12))
SEEDS = [
    *(
        encoded(SMALL, format)
        for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM", "ICO")
    ),
    encoded(SMALL, "JPEG", progressive=True),
    encoded(SMALL, "TIFF", compression="tiff_lzw"),
    encoded(SMALL.quantize(8), "PNG", transparency=1),
    hdr(),
    pam(),
]


def decodes_or_gives_a_reason(data: bytes) -> bool:
    try:
        grey = images.decode_bytes(data, max_pixels=1_000_000).grey
    except ImageError as error:
        assert 0 < len(str(error)) < 250
        assert "\n" not in str(error)
        return False
    assert grey.dtype == np.uint8
    assert grey.ndim == 2
    assert grey.size > 0
    return True


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.floats(0, 1), st.data())
def test_damage_never_raises_anything_but_image_error(seed, share, data):
    damaged = bytearray(seed[: round(len(seed) * share)] if data.draw(st.booleans()) else seed)
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_gives_a_reason(bytes(damaged))


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"BM", b"II*\0", b"P7\n", b"#?RGBE\n"])
)
def test_noise_never_raises_anything_but_image_error(noise, magic):
    decodes_or_gives_a_reason(magic + noise)


@pytest.mark.parametrize("data", [JPEG, encoded(Image.fromarray(SCENE), "JPEG", progressive=True), PNG])
def test_a_file_cut_short_is_refused_wherever_it_is_cut(data):
    pixels_end = len(data) - (24 if data is PNG else 0)  # only checksums and an empty chunk end a PNG
    for end in range(0, pixels_end, 7):
        assert not decodes_or_gives_a_reason(data[:end]), end


# --- side effects ---


def test_nothing_is_imported_for_it():
    code = "import sys, clusterimg.images; print(*{'cv2', 'PIL'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_pillow_logs_nothing_to_the_terminal():
    code = """if True:
        import logging, sys
        from clusterimg import images
        images.decode_bytes(bytes.fromhex(sys.argv[1]))
        logging.getLogger("PIL.TiffImagePlugin").error("odd tag")
    """
    command = [sys.executable, "-c", code, encoded(SMALL, "PNG").hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_warnings_are_held_back_in_decoding_threads_only(monkeypatch):
    open_quietly = Image.open

    def open_loudly(*args):
        other = threading.Thread(target=warnings.warn, args=("of another thread",))
        other.start()
        other.join()
        warnings.warn("of this thread", stacklevel=1)
        return open_quietly(*args)

    monkeypatch.setattr(Image, "open", open_loudly)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images.decode_bytes(PNG)
        warnings.simplefilter("always")  # a later filter does not uncover them
        images.decode_bytes(PNG)
        warnings.warn("afterwards", stacklevel=1)
    texts = [str(warning.message) for warning in caught]
    assert texts == ["of another thread", "of another thread", "afterwards"]


def test_first_images_in_many_threads_at_once():
    code = """if True:
        import io, sys, threading
        from clusterimg import images
        data = bytes.fromhex(sys.argv[1])
        barrier, shapes = threading.Barrier(8), []
        def work():
            barrier.wait()
            shapes.append(images.decode_bytes(data).grey.shape)
        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert shapes == [(12, 16)] * 8, shapes
    """
    data = encoded(SMALL, "WEBP").hex()
    subprocess.run([sys.executable, "-c", code, data], check=True, timeout=60)


# --- arrays in memory ---


def test_as_grey_takes_grey_images_as_they_are():
    assert np.shares_memory(images.as_grey(GREY), GREY)
    turned = images.as_grey(GREY.T)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, GREY.T)


@pytest.mark.parametrize(
    ("wrong", "what_came"),
    [
        (SCENE, r"\(44, 60, 3\) of uint8; convert it to grey first"),
        (GREY.astype(float), r"\(44, 60\) of float64$"),
        (GREY > 3, r"of bool$"),
        (GREY[0], r"\(60,\) of uint8$"),
        (GREY[:0], r"\(0, 60\) of uint8$"),
        ([[1, 2]], r"got list$"),
        (None, r"got NoneType$"),
    ],
)
def test_as_grey_refuses_all_else(wrong, what_came):
    with pytest.raises(UsageError, match=what_came):
        images.as_grey(wrong)


def test_digest_tells_shape_and_pixels():
    first = images.digest(GREY)
    assert first.shape == (16,)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, images.digest(np.asfortranarray(GREY)))
    other = GREY.copy()
    other[-1, -1] ^= 1
    assert not np.array_equal(first, images.digest(other))
    assert not np.array_equal(first, images.digest(GREY.reshape(60, 44)))


# --- map ---


@pytest.mark.parametrize("n_threads", [0, 1, 2, 5])
def test_map_keeps_the_order(n_threads):
    def slow_then_fast(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item * item

    got = list(images.map_images(slow_then_fast, range(60), n_threads=n_threads))
    assert got == [item * item for item in range(60)]
    assert list(images.map_images(slow_then_fast, [], n_threads=n_threads)) == []


@pytest.mark.parametrize("n_threads", [1, 3])
def test_map_takes_few_items_ahead(n_threads):
    taken = []

    def items():
        for item in range(200):
            taken.append(item)
            yield item

    for done, _ in enumerate(images.map_images(str, items(), n_threads=n_threads), start=1):
        assert len(taken) <= done + 4 * n_threads
    assert len(taken) == 200


@pytest.mark.parametrize("n_threads", [1, 3])
def test_map_yields_image_errors_and_raises_others(n_threads):
    def fail(item: int) -> int:
        if item == 3:
            raise ImageError("no image")
        if item == 20:
            raise ZeroDivisionError
        return item

    results = images.map_images(fail, range(1000), n_threads=n_threads)
    got = [next(results) for _ in range(20)]
    error = got.pop(3)
    assert isinstance(error, ImageError)
    assert str(error) == "no image"
    assert error.__traceback__ is None
    assert got == [item for item in range(20) if item != 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_closed_early_drops_what_waits():
    started = []
    results = images.map_images(started.append, range(1000), n_threads=2)
    next(results)
    results.close()
    assert len(started) <= 9
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clusterimg")]


def test_map_stops_at_ctrl_c():
    started = []

    def work(item: int) -> None:
        started.append(item)
        time.sleep(0.05)

    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(images.map_images(work, range(1000), n_threads=2))
    timer.join()
    assert len(started) < 30


def test_map_refuses_a_negative_count():
    with pytest.raises(UsageError, match="got -1"):
        images.map_images(str, [], n_threads=-1)


# --- real files ---

DATA = os.environ.get("CLUSTERIMG_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="CLUSTERIMG_DATA names no folder with data sets")


def expectations(name: str) -> list[dict[str, str]]:
    with Path(DATA or "", name, "expect.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


REFUSED_BY_POLICY = {
    "pillow/broken_data_stream.png",  # Pillow complains once, then shows what it has
    "pillow/truncated_jpeg.jpg",  # OpenCV fills the rest with grey
    "pillow/ultrahdr.jpg",
}


@needs_data
def test_nasty_files_decode_or_give_a_reason():
    refused = set()
    for row in expectations("nasty_dev"):
        started = time.perf_counter()
        data = Path(DATA, "nasty_dev", row["file"]).read_bytes()
        try:
            grey = images.decode_bytes(data).grey
            assert grey.ndim == 2
        except ImageError:
            if "ok" in (row["pillow"], row["cv2"]):
                refused.add(row["file"])
        assert time.perf_counter() - started < 20, row["file"]
    if PIL.__version__.startswith("13."):  # the version that expect.csv describes
        assert refused <= REFUSED_BY_POLICY


@needs_data
@pytest.mark.parametrize(
    "row", expectations("exif_orientation_dev") if DATA else [], ids=lambda row: row["file"]
)
def test_real_orientations(row):
    grey = images.decode(Path(DATA, "exif_orientation_dev", row["file"])).grey
    assert grey.shape == (int(row["cv_h"]), int(row["cv_w"]))


def test_scikit_learn_can_copy_the_filters_that_decoding_needs(tmp_path: Path) -> None:
    """It reads the pattern of each filter, to set the same in its own threads."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    save(tmp_path, {"a.png": picture(0)})
    images.decode(tmp_path / "a.png")
    points = np.random.default_rng(0).normal(size=(30, 3))
    nearest = neighbors.NearestNeighbors(algorithm="kd_tree").fit(points).kneighbors(points, 2)[1]
    assert (nearest[:, 0] == np.arange(30)).all()
