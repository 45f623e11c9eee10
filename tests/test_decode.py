"""Decoding at a part of the size, and one decode for several methods."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import clusterimg as ci
from clusterimg import Features, UsageError, extraction, images
from clusterimg._reader import Reader
from clusterimg.backends import select
from clusterimg.extraction import features_of
from clusterimg.images import SPARE, decode_bytes, reduction
from clusterimg.methods import METHODS, create
from pictures import picture

NAMES = tuple(METHODS)
ORIENTATION = 0x0112


def jpeg(width: int, height: int, *, mode: str = "L", **options: Any) -> bytes:
    """Return a picture as JPEG: its colour channels, if any, are unlike each other."""
    channels = [Image.fromarray(picture(seed, width, height)) for seed in range(len(mode))]
    buffer = io.BytesIO()
    image = channels[0] if mode == "L" else Image.merge(mode, channels)
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def blocks(grey: np.ndarray, by: int) -> np.ndarray:
    """Return the means of blocks of `by` x `by` pixels; the last ones are filled up with their edge."""
    height, width = grey.shape
    padded = np.pad(grey.astype(float), ((0, -height % by), (0, -width % by)), "edge")
    return padded.reshape(padded.shape[0] // by, by, padded.shape[1] // by, by).mean(axis=(1, 3))


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "grey": lambda w, h: jpeg(w, h),
    "colour": lambda w, h: jpeg(w, h, mode="RGB"),
    "full chroma": lambda w, h: jpeg(w, h, mode="RGB", subsampling=0),
    "RGB inside": lambda w, h: jpeg(w, h, mode="RGB", keep_rgb=True),
    "CMYK": lambda w, h: jpeg(w, h, mode="CMYK"),
    "progressive": lambda w, h: jpeg(w, h, mode="RGB", progressive=True),
    "restarts": lambda w, h: jpeg(w, h, mode="RGB", restart_marker_blocks=3),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [2, 4, 8])
@pytest.mark.parametrize("size", [(240, 160), (203, 149), (97, 241), (16, 8), (9, 31)], ids=str)
def test_a_reduced_jpeg_is_the_picture_made_smaller(kind: str, by: int, size: tuple[int, int]) -> None:
    data = KINDS[kind](*size)
    full, part = decode_bytes(data), decode_bytes(data, reduction=by)
    assert full.decoder == ("pillow" if kind == "CMYK" else "opencv")
    assert part.decoder == f"{full.decoder} 1/{by}"
    assert part.grey.shape == (-(-size[1] // by), -(-size[0] // by))
    assert part.grey.dtype == np.uint8 and part.grey.flags.c_contiguous
    inner = np.s_[: size[1] // by, : size[0] // by]  # what fills up the last blocks is the encoder's choice
    apart = np.abs(part.grey[inner] - blocks(full.grey, by)[inner])
    assert apart.mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_jpeg_stands_upright(mode: str, orientation: int) -> None:
    data = jpeg(203, 149, mode=mode, exif=oriented(orientation))
    full, part = decode_bytes(data).grey, decode_bytes(data, reduction=4).grey
    shape = (38, 51) if orientation < 5 else (51, 38)
    assert part.shape == shape
    thumbnails = [cv2.resize(grey, (12, 12), interpolation=cv2.INTER_AREA) for grey in (full, part)]
    assert cv2.absdiff(*thumbnails).mean() < 6
    for wrong in (cv2.flip(thumbnails[1], 0), cv2.flip(thumbnails[1], 1), thumbnails[1].T):
        assert cv2.absdiff(thumbnails[0], np.ascontiguousarray(wrong)).mean() > 20


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7])
def test_a_jpeg_smaller_than_the_reduction_is_decoded_as_it_is(side: int) -> None:
    for mode in ("L", "CMYK"):
        data = jpeg(side, 60, mode=mode)
        part = decode_bytes(data, reduction=8)
        np.testing.assert_array_equal(part.grey, decode_bytes(data).grey)
        assert "/" not in part.decoder


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000"])
def test_other_formats_are_decoded_as_they_are(format: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    options = {"compression": "jpeg"} if format == "TIFF" else {}
    Image.fromarray(picture(3, 900, 700)).save(buffer, format, **options)
    data = buffer.getvalue()
    assert reduction(data, lambda height, width: 1000.0) == 1
    np.testing.assert_array_equal(decode_bytes(data, reduction=8).grey, decode_bytes(data).grey)
    (tmp_path / "image").write_bytes(data)
    for name in NAMES:
        assert_same(*(ci.extract([tmp_path / "image"], method=name, decode=how) for how in images.DECODES))


def assert_same(one: Features, other: Features) -> None:
    assert (one.method, one.params) == (other.method, other.params)
    for field in ("shapes", "featureless", "near_flat", "digests"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for k in range(len(one)):
        np.testing.assert_array_equal(one.values[k], other.values[k], strict=True)


# --- which part of the size ---


def header_only(width: int, height: int) -> bytes:
    """Return what is read of a JPEG before it is decoded."""
    frame = b"\xff\xc0\x00\x0b\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x01\x01\x11\0"
    return b"\xff\xd8" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\xff\xd9"


@given(
    width=st.integers(1, 65535),
    height=st.integers(1, 65535),
    name=st.sampled_from(["ssim", "minhash", "tm"]),
    size=st.tuples(st.integers(7, 2000), st.integers(7, 2000)),
)
def test_the_smallest_part_is_taken_that_leaves_twice_the_common_size(
    width: int, height: int, name: str, size: tuple[int, int]
) -> None:
    by = reduction(header_only(width, height), create(name, size=size).spare)

    def is_enough(by: int) -> bool:  # also if the picture stands on its side
        sides = ((width, height), (height, width))
        return all(w / by >= SPARE * size[0] and h / by >= SPARE * size[1] for w, h in sides)

    assert by == 1 or is_enough(by)
    assert by == 8 or not is_enough(2 * by)


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [
        ("imagehash", {}, (256, 128)),
        ("imagehash", {"hash_size": 8}, (128, 64)),
        ("ssim", {}, (96, 48)),
        ("tm", {}, (128, 64)),
        ("minhash", {}, (96, 48)),
        ("orb", {}, (640, 1)),
        ("orb", {"size": (300, 200)}, (600, 600)),
    ],
    ids=str,
)
def test_each_method_says_what_it_needs(name: str, options: dict[str, Any], needed: tuple[int, int]) -> None:
    spare = create(name, **options).spare
    width, height = max(needed), min(needed)
    if height > 1:  # its shorter side decides
        width, height = 4 * height, height
    for by in (2, 4, 8):
        assert reduction(header_only(width * by, height * by), spare) == by
        assert reduction(header_only(width * by - 1, height * by - 1), spare) == by // 2


@pytest.mark.parametrize("name", ["ssim", "tm", "orb"])
def test_nothing_is_reduced_for_a_scale(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1000, 800))
    assert_same(
        *(ci.extract([tmp_path / "a.jpg"], method=name, scale=0.1, decode=how) for how in images.DECODES)
    )


def test_no_frame_no_reduction() -> None:
    for data in (b"", b"\xff\xd8\xff", header_only(0, 4000), header_only(4000, 0), b"GIF89a"):
        assert reduction(data, lambda height, width: 1000.0) == 1


# --- what it changes ---


@pytest.fixture(scope="module")
def big_jpegs(photos: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of about a megapixel, as JPEG."""
    folder = tmp_path_factory.mktemp("big")
    paths = []
    for k, photo in enumerate(photos[:10]):
        height, width = photo.shape
        size = (1200, round(1200 * height / width))
        image = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
        paths.append(folder / f"{k}.jpg")
        assert cv2.imwrite(str(paths[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


def test_features_move_no_more_than_we_say(big_jpegs: list[Path]) -> None:
    """README: greys by 2 levels on average, by 8 in the worst image; bits by 2 and 4 per cent."""
    names = ["ssim", "tm", "imagehash"]
    exact, fast = (ci.extract(big_jpegs, method=names, decode=how) for how in images.DECODES)
    for a, b in zip(exact, fast, strict=True):
        assert (b.shapes < a.shapes / 2 + 1).all()
        if a.method == "imagehash":
            pairs = zip(a.values, b.values, strict=True)
            apart = [np.unpackbits((x ^ y).view(np.uint8)).mean() for x, y in pairs]
            assert np.mean(apart) <= 0.02 and max(apart) <= 0.04
        else:
            apart = np.abs(a.values.astype(int) - b.values).mean(axis=(1, 2))
            assert np.mean(apart) <= 2 and max(apart) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_a_process_of_its_own_reads_the_same(big_jpegs: list[Path], name: str) -> None:
    method, engine = create(name), select(n_threads=2)
    with Reader(method, engine, decode="fast") as process:
        items = list(process.read(big_jpegs[0].parent, [path.name for path in big_jpegs]))
    assert_same(features_of(items, method), ci.extract(big_jpegs, method=name, decode="fast"))
    assert {item.decoder for item in items} <= {"opencv 1/2", "opencv 1/4", "opencv 1/8", "opencv"}


# --- a run ---


def summary_of(result: ci.Result) -> dict[str, Any]:
    return json.loads((result.out / "run.json").read_text())


def test_a_run_records_how_it_decoded(big_jpegs: list[Path], tmp_path: Path) -> None:
    folder = big_jpegs[0].parent
    for how in images.DECODES:
        told = summary_of(ci.run(folder, out=tmp_path / how, transfer="none", decode=how))
        assert told["parameters"]["decode"] == how
        assert told["image_policy"] == images.policy(how)
        assert told["image_policy"]["decode"].startswith(how)
        assert any("/" in decoder for decoder in told["counts"]["decoders"]) == (how == "fast")
    with pytest.raises(UsageError):
        ci.merge([tmp_path / how for how in images.DECODES], out=tmp_path / "merged")


def test_resume_with_the_other_value_reads_again(big_jpegs: list[Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", "transfer": "none", "method": "ssim"}
    folder, n = big_jpegs[0].parent, len(big_jpegs)
    ci.run(folder, **options)
    for how, reused in (("fast", 0), ("fast", n), ("exact", 0), ("exact", n)):
        told = summary_of(ci.run(folder, **options, decode=how, resume=True))
        assert told["reused"]["features"] == reused
        assert told["image_policy"]["decode"].startswith(how)
    fresh = ci.run(folder, **{**options, "out": tmp_path / "fresh"}, decode="fast")
    resumed = ci.run(folder, **options, decode="fast", resume=True)
    np.testing.assert_array_equal(fresh.scores, resumed.scores)


@pytest.mark.parametrize("call", [ci.extract, ci.similar_pairs, ci.similarity_matrix, ci.cluster])
def test_library_calls_decode_as_asked(call: Callable[..., Any], big_jpegs: list[Path]) -> None:
    features = ci.extract(big_jpegs, method="tm", decode="fast")
    got = call(big_jpegs, method="tm", decode="fast")
    if call is not ci.extract:
        np.testing.assert_array_equal(got, call(features))
    for given_images in (big_jpegs, features):
        with pytest.raises(UsageError, match="decode"):
            call(given_images, method="tm", decode="quick" if given_images is big_jpegs else "fast")


def test_a_run_refuses_another_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="decode must be one of exact, fast"):
        ci.run(tmp_path, decode="quick")
    assert list(tmp_path.iterdir()) == []


# --- several methods at once ---


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reductions of all decodes."""
    seen: list[int] = []

    def counting(data: bytes, *, reduction: int = 1) -> images.Decoded:
        seen.append(reduction)
        return decode_bytes(data, reduction=reduction)

    monkeypatch.setattr(extraction, "decode_bytes", counting)
    return seen


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("decode", images.DECODES)
def test_several_methods_see_what_each_would_alone(
    photo_files: list[Path], big_jpegs: list[Path], decode: str, n_threads: int
) -> None:
    paths = [*photo_files[:4], *big_jpegs[:4]]
    together = ci.extract(paths, method=NAMES, decode=decode, n_threads=n_threads)
    assert [features.method for features in together] == list(NAMES)
    for name, features in zip(NAMES, together, strict=True):
        assert_same(features, ci.extract(paths, method=name, decode=decode, n_threads=n_threads))


def test_several_methods_decode_a_file_once(big_jpegs: list[Path], decoded: list[int]) -> None:
    ci.extract(big_jpegs, method=NAMES)
    assert decoded == [1] * len(big_jpegs)
    decoded.clear()
    ci.extract(big_jpegs, method=["ssim", "minhash", "ssim"], decode="fast")  # they need the same size
    assert len(decoded) == len(big_jpegs) and min(decoded) > 1


def test_several_methods_skip_what_each_would_alone(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("fine.png", "tiny.png", "none.png", "missing.png")]
    cv2.imwrite(str(paths[0]), picture(0))
    cv2.imwrite(str(paths[1]), picture(1, 5, 5))
    paths[2].write_bytes(b"no image")
    names = ["ssim", "imagehash"]
    for options in ({}, {"scale": 1.0}):
        together = ci.extract(paths, method=names, errors="skip", **options)
        one_by_one = [
            ci.extract(paths, method="ssim", errors="skip", **options),
            ci.extract(paths, method="imagehash", errors="skip"),
        ]
        for a, b in zip(together, one_by_one, strict=True):
            assert_same(a, b)
    assert together[0].featureless.tolist() == [False, True, True, True]
    assert together[1].featureless.tolist() == [False, False, True, True]
    with pytest.raises(ci.ImageError, match="image 1: 5x5 pixels are fewer"):
        ci.extract(paths, method=["imagehash", "ssim"], scale=1.0)
    with pytest.raises(ci.ImageError, match="image 2: not an image"):
        ci.extract(paths, method=["imagehash", "minhash"])


def test_several_methods_take_arrays_at_their_own_size() -> None:
    arrays = [picture(seed, 90, 80) for seed in range(3)]
    for options in ({}, {"size": (40, 30)}):
        for a, name in zip(ci.extract(arrays, method=NAMES, **options), NAMES, strict=True):
            own = options if name != "imagehash" else {}
            assert_same(a, ci.extract(arrays, method=name, **own))


def test_options_go_to_the_methods_that_have_them() -> None:
    arrays = [picture(0), picture(1)]
    hashed, small = ci.extract(arrays, method=("phash", "ssim"), hash_size=8, size=(30, 20))
    assert hashed.params["hash_size"] == 8 and small.params["size"] == (30, 20)
    assert ci.extract(arrays, method=[]) == []
    for names, options in (
        (["ssim", "tm"], {"hash_size": 8}),
        (["ssim", "nope"], {}),
        (["ssim"], {"decode": 1}),
    ):
        with pytest.raises(UsageError):
            ci.extract(arrays, method=names, **options)
    with pytest.raises(UsageError, match="made already"):
        ci.extract(hashed, method=["ssim", "tm"])  # type: ignore[call-overload]
