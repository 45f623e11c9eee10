"""Shrinking by area in the core: OpenCV's INTER_AREA, bit for bit, on every instruction set."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg import _core
from clusterimg.backends import select
from clusterimg.methods import create
from pictures import picture

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 900))


def shrunk_everywhere(image: np.ndarray, height: int, width: int) -> list[np.ndarray | None]:
    before, results = _core.isa(), []
    for isa in _core.isas():
        _core.use_isa(isa)
        results.append(_core.shrink_area(image, height=height, width=width))
    _core.use_isa(before)
    return results


def served(image: np.ndarray, height: int, width: int) -> bool:
    scales = [1 / (new / old) for new, old in zip((height, width), image.shape, strict=True)]  # as OpenCV
    is_whole = all(abs(scale - round(scale)) < np.finfo(float).eps for scale in scales)
    return min(scales) >= 1 and not is_whole


@given(height=SIDES, width=SIDES, rows=SIDES, columns=SIDES, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=300)
def test_shrunk_equals_opencv(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    if seed % 3 == 0:
        image[:] = np.where(image > 127, 255, 0)  # the sums come close to 255, and to halves
    for got in shrunk_everywhere(image, rows, columns):
        assert (got is not None) == served(image, rows, columns)
        if got is not None:
            wanted = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(got, wanted, strict=True)


@pytest.mark.parametrize("size", [(24, 24), (32, 32), (320, 240), (1, 1), (499, 374), (500, 30), (250, 30)])
@pytest.mark.parametrize("shape", [(375, 500), (3000, 4001), (500, 500), (17, 3001), (3001, 17), (997, 613)])
def test_common_sizes_equal_opencv(isa: str, shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    got = _core.shrink_area(image, height=size[1], width=size[0])
    assert (got is not None) == served(image, size[1], size[0])
    if got is not None:
        np.testing.assert_array_equal(got, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("grey", [0, 1, 127, 128, 254, 255])
def test_a_flat_image_stays_flat(isa: str, grey: int) -> None:
    got = _core.shrink_area(np.full((411, 333), grey, np.uint8), height=24, width=24)
    np.testing.assert_array_equal(got, np.full((24, 24), grey, np.uint8))


def test_where_opencv_has_another_rule_it_is_asked() -> None:
    image = picture(0, 64, 48)
    for height, width in [(48, 64), (24, 32), (12, 8), (49, 30), (30, 65), (96, 128), (0, 5), (5, 0)]:
        assert _core.shrink_area(image, height=height, width=width) is None


def test_wrong_input_is_refused() -> None:
    for image in (np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8), np.zeros((2, 3, 4), np.uint8)):
        with pytest.raises(ValueError, match="grey must have shape"):
            _core.shrink_area(image, height=1, width=1)
    with pytest.raises(TypeError):
        _core.shrink_area(np.zeros((4, 4)), height=3, width=3)
    with pytest.raises(TypeError):
        _core.shrink_area(picture(0)[::2], height=3, width=3)
    _core.shrink_area(np.frombuffer(bytes(5000), np.uint8).reshape(50, 100), height=7, width=7)


@pytest.mark.parametrize("name", ["ssim", "minhash", "tm", "orb"])
def test_a_backend_without_it_gives_the_same_features(name: str) -> None:
    reference = select("reference")
    if reference.backend.why_unavailable() is None:
        method = create(name)
        for image in (picture(0, 500, 375), picture(1, 97, 211), picture(2, 320, 240)):
            assert reference.shrink_area(image, height=7, width=9) is None
            mine, theirs = (method.extract(image, engine) for engine in (select("cpp"), reference))
            np.testing.assert_array_equal(mine, theirs)


def test_features_are_what_opencv_makes() -> None:
    image = picture(5, 333, 222)
    [got] = ci.extract([image], method="tm", size=(32, 32)).values
    np.testing.assert_array_equal(got, cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
