"""Whether an image is flat: told from some of its rows only where they can't mislead."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterimg.methods import is_flat


def deviation_of(grey: np.ndarray) -> float:
    return float(cv2.meanStdDev(grey)[1][0, 0])


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    low=st.integers(0, 250),
    spread=st.integers(0, 5),
    striped=st.booleans(),
    seed=st.integers(0, 999),
)
def test_it_is_what_all_pixels_say(
    height: int, width: int, low: int, spread: int, striped: bool, seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(low, low + spread + 1, (height, width), dtype=np.uint8)
    if striped:  # all that differs is in the rows that are looked at first
        grey[np.arange(height) % 8 > 0] = low
    own = deviation_of(grey)
    for deviation in (0.5, 1.0, 2.0, own, np.nextafter(own, 9), own * 1.0004, own * 0.9996):
        assert is_flat(grey, deviation) == (own < deviation)


@pytest.mark.parametrize("more", [0.999, 1.001])
def test_rows_that_hold_all_the_deviation_are_weighed_by_their_share(more: float) -> None:
    """Here the bound is nearly met: one row of eight is half black, half white, the others grey between."""
    grey = np.full((8, 1000), 100, np.uint8)
    grey[0, ::2], grey[0, 1::2] = 90, 110
    own = deviation_of(grey)  # 10 / sqrt(8), and the row alone says just that
    assert own == pytest.approx(10 / 8**0.5)
    assert is_flat(grey, own * more) == (more > 1)
