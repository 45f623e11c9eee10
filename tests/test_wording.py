"""Numbers, thresholds and names as people read them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterimg.picker._rows import changing, telling
from clusterimg.picker._wording import (
    about,
    basis,
    between,
    compact_interval,
    sentence,
    share,
    shortened,
    shown_name,
    step_of,
    threshold_at,
    threshold_text,
)
from clusterimg.picker.curve import ThresholdCurve
from curves import curve_of_pairs, large_curve

SIZES = {"": 1, "million": 10**6, "billion": 10**9, "k": 10**3, "M": 10**6, "G": 10**9}


def numbers_in(text: str) -> list[float]:
    """Read the numbers of "about 12 million (11 to 14 million)" back."""
    found = re.findall(r"([\d,.]+)\s?(million|billion|k|M|G)?", text)
    sizes = [SIZES[size] for _, size in found]
    if re.search(r"[\d,.]+ to [\d,.]+ (million|billion)", text):
        sizes[-2] = sizes[-1]
    return [float(number.replace(",", "")) * size for (number, _), size in zip(found, sizes, strict=True)]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ((1234, 1234, 1234), "1,234"),
        ((12_345_678, 12_345_678, 12_345_678), "12,345,678"),
        ((0, 0, 0), "0"),
        ((1234, 903, 1571), "about 1,200 (900 to 1,600)"),
        ((1234, 1228, 1241), "about 1,234 (1,228 to 1,241)"),
        ((3.4, 1, 5000), "about 3 (1 to 5,000)"),
        ((0.3, 0, 3.7), "about 0 (0 to 4)"),
        ((12_300_000, 11_100_000, 13_800_000), "about 12 million (11 to 14 million)"),
        ((1_060_000, 880_000, 1_400_000), "about 1.1 million (880,000 to 1,400,000)"),
        ((2_000_000_000, 1_900_000_000, 2_300_000_000), "about 2 billion (1.9 to 2.3 billion)"),
    ],
)
def test_about(number: tuple[float, float, float], text: str) -> None:
    assert about(*number) == text


def test_about_passes_no_number_that_there_can_not_be() -> None:
    assert about(1190, 1100, 1234, most=1234) == "about 1,190 (1,100 to 1,234)"
    assert about(890, 820, 895, most=895) == "about 890 (820 to 895)"


counts = st.floats(0, 1e12)


@given(st.tuples(counts, counts, counts).map(sorted))
@example([999.0, 999.6, 1000.4])
@example([95.0, 95.0, 104.0])
def test_the_interval_that_is_shown_holds_the_true_one(numbers: list[float]) -> None:
    low, value, high = numbers
    if low == high:
        return
    shown = numbers_in(about(value, low, high))
    assert len(shown) == 3
    near = 1 + 1e-9  # texts of many digits
    assert shown[1] <= low * near
    assert high <= shown[2] * near
    assert shown[1] <= shown[0] * near
    assert shown[0] <= shown[2] * near
    assert shown[0] == pytest.approx(value, rel=0.051, abs=0.51)
    if high >= 1:
        assert shown[2] <= max(high * 1.11 + 1, 1)
    first, last = numbers_in(compact_interval(low, high).replace("-", " to "))
    assert first <= low * near
    assert high <= last * near


@pytest.mark.parametrize(
    ("value", "of", "text"),
    [
        (0, 10, "0 %"),
        (0, 0, "0 %"),
        (1, 1000, "under 1 %"),
        (171, 1000, "17 %"),
        (999, 1000, "99 %"),
        (1000, 1000, "100 %"),
    ],
)
def test_share(value: float, of: float, text: str) -> None:
    assert share(value, of) == text


@pytest.mark.parametrize(
    ("low", "below", "number"),
    [
        (0.640625, 0.6484375, 0.641),
        (0.6, 0.7, 0.6),
        (0.69, 0.695, 0.69),
        (0.0, 0.01, 0.0),
        (0.99998, 0.999985, 0.99998),
        (-0.25, -0.2, -0.25),
        (-0.26, -0.1, -0.2),
    ],
)
def test_the_shortest_number_between(low: float, below: float, number: float) -> None:
    assert between(low, below) == number


@given(st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).filter(lambda ends: ends[0] < ends[1]))
def test_between_is_between(ends: list[float]) -> None:
    found = between(*ends)
    assert ends[0] <= found < ends[1]
    decimals = len(threshold_text(found).partition(".")[2])
    wide = ends[1] - ends[0]
    assert decimals <= max(math.ceil(-math.log10(wide)) + 1, 2) or wide < 1e-14


@given(st.floats(-1, 1, exclude_max=True))
def test_threshold_text_is_the_threshold(threshold: float) -> None:
    assert float(threshold_text(threshold)) == threshold
    assert not re.fullmatch(r"-?\d\.\d?", threshold_text(threshold))


def test_a_name_acts_on_nothing() -> None:
    assert shown_name("a\x1b[31m\n\u202egpj.exe\u2028b\\\udcff") == (
        "a\\x1b[31m\\x0a\\u202egpj.exe\\u2028b\\\\\\xff"
    )
    assert shown_name("été 😀 [b].jpg") == "été 😀 [b].jpg"


def test_a_long_name_keeps_its_ends() -> None:
    assert shortened("IMG_2023_holidays_0042_copy.jpg", 20) == "IMG_2023…42_copy.jpg"
    assert shortened("short.jpg", 9) == "short.jpg"
    for length in range(3, 40):
        assert len(shortened("x" * 39, length)) == min(length, 39)


THREE = [(0, 1, 0.95), (1, 2, 0.8), (3, 4, 0.5)]


def test_sentences() -> None:
    curve = curve_of_pairs(THREE, "abcdef", default=0.9)
    assert sentence(curve, 0.9) == (
        "threshold 0.90: 1 similar pair; 2 images in clusters, 33 % of all; 1 cluster, of 2 images"
    )
    assert sentence(curve, 0.3) == (
        "threshold 0.30: 3 similar pairs; 5 images in clusters, 83 % of all; "
        "2 clusters, the largest of 3 images"
    )
    assert sentence(curve, 0.99) == (
        "threshold 0.99: 0 similar pairs; 0 images in clusters, 0 % of all; no cluster"
    )
    assert sentence(large_curve(), 0.69) == (
        "threshold 0.69: about 14,000 (8,500 to 21,000) similar pairs; about 14,000 (8,600 to 20,000) "
        "images in clusters, 72 % of all; 400 clusters in the sample, the largest of 205 images"
    )


def test_what_the_numbers_rest_on() -> None:
    assert basis(curve_of_pairs(THREE, "abcdef")) == "Exact: all 6 images were compared with each other."
    assert basis(curve_of_pairs([], "a")) == "1 image: there is no pair to compare."
    assert basis(curve_of_pairs([], "ab")) == "2 images: no two of them are similar, whatever the threshold."
    assert basis(large_curve()) == (
        "Expected for all 20,000 images, with 95 % intervals: a sample of 2,000 was compared with all of "
        "them. Clusters are those of the sample."
    )


@st.composite
def curves(draw: st.DrawFn) -> ThresholdCurve:
    n = draw(st.integers(1, 9))
    ends = [(i, j) for j in range(n) for i in range(j)]
    scores = st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5, 0.5078125, 0.9, 1.0]))
    pairs = [(i, j, draw(scores)) for i, j in ends if draw(st.booleans())]
    return curve_of_pairs(
        pairs,
        [f"{k}.png" for k in range(n)],
        default=draw(st.sampled_from([0.5, 0.9])),
        n_sample=draw(st.sampled_from([None, max(n - 1, 1)])),
    )


def facts(curve: ThresholdCurve, threshold: float) -> tuple[float, ...]:
    point = curve.at(threshold)
    return point.pairs, point.images, point.clusters, point.largest


@given(curves())
def test_short_thresholds_do_what_the_long_ones_do(curve: ThresholdCurve) -> None:
    for k, threshold in enumerate(curve.thresholds.tolist()):
        assert step_of(curve, threshold) == k
        assert facts(curve, threshold_at(curve, k)) == facts(curve, threshold)
    assert threshold_at(curve, step_of(curve, curve.default)) == curve.default


def test_the_default_is_never_said_shorter() -> None:
    """0.7 would do the same: but what the method has is 0.69."""
    curve = curve_of_pairs([(0, 1, 0.5), (1, 2, 0.703)], "abc", default=0.69)
    assert threshold_at(curve, step_of(curve, 0.69)) == 0.69


@given(curves(), st.integers(3, 20))
def test_rows_are_those_that_tell_most(curve: ThresholdCurve, n: int) -> None:
    steps = changing(curve)
    seen = {facts(curve, threshold) for threshold in curve.thresholds.tolist()}
    assert {facts(curve, float(curve.thresholds[k])) for k in steps} == seen
    chosen = telling(curve, steps, n)
    assert len(chosen) == min(n, len(steps))
    assert (np.diff(chosen) > 0).all()
    assert set(chosen) <= set(steps)
    assert {steps[0], steps[-1], step_of(curve, curve.default)} <= set(chosen)


def test_rows_leave_no_wide_jump() -> None:
    curve = large_curve()
    chosen = telling(curve, changing(curve), 12)
    jumps = np.abs(np.diff(np.log1p(curve.pairs[chosen])))
    assert jumps[:-1].max() < 2.5  # of 15.4 in all; at the last step all are gone at once
    assert np.diff(curve.thresholds[chosen]).max() < 0.15
