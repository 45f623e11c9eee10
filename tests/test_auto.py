"""A threshold from the shape of the curve: where it must lie, and where nothing can be told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg._types import Features
from clusterimg.backends import select
from clusterimg.methods import METHODS, create
from clusterimg.picker import ThresholdCurve
from clusterimg.picker.auto import TOLERANCE, Choice, choose_automatically
from clusterimg.picker.building import curve_of
from clusterimg.picker.unlike import unlike_pairs
from known_curves import curve_of_numbers, known_curve
from pictures import noisy, picture


def assert_is_sound(choice: Choice, curve: ThresholdCurve) -> None:
    assert math.isfinite(choice.threshold)
    assert 0 <= choice.confidence <= 1
    assert choice.low <= choice.threshold <= choice.high < 1
    assert choice.reason.endswith(".") and f"{choice.threshold:g}" in choice.reason
    if choice.is_default:
        assert choice.threshold == choice.low == choice.high == curve.default
    else:
        assert curve.thresholds[0] <= choice.threshold < 1
        assert choice.confidence >= 0.5


@pytest.mark.parametrize("method", ["ssim", "orb", "tm"])
@pytest.mark.parametrize("slope", [4.0, 8.0, 30.0])
def test_the_line_promises_so_many_unlike_pairs(method: str, slope: float) -> None:
    """The known answer: with 200 images alike, the threshold at which 6 unlike pairs are left."""
    curve = known_curve(slope=slope, alike=[0.999] * 100, method=method)
    choice = choose_automatically(curve)
    assert_is_sound(choice, curve)
    assert not choice.is_default
    share = TOLERANCE * 200 / (2000 * 1999 / 2)
    distance = share ** (1 / slope)
    odds = 0.01 / distance
    wanted = odds / (1 + odds) if method == "orb" else 1 - distance
    assert choice.threshold == pytest.approx(wanted, abs=0.02 * (1 - wanted))
    unlike = unlike_pairs(curve)
    assert unlike is not None
    assert unlike.slope == pytest.approx(slope, rel=0.03)


def test_a_gap_is_found_and_sure() -> None:
    curve = known_curve(slope=40, alike=np.linspace(0.8, 0.95, 300))
    choice = choose_automatically(curve)
    assert 0.2 < choice.low < choice.threshold < choice.high < 0.8
    assert choice.confidence > 0.97
    assert not choice.is_default
    assert "among 3" in choice.reason


def test_confidence_is_the_share_found_at_both_ends() -> None:
    curve = known_curve(slope=8, alike=np.linspace(0.6, 0.99, 400))
    choice = choose_automatically(curve)
    low, high = curve.at(choice.low), curve.at(choice.high)
    unlike_at_low, unlike_at_high = (0.03 * low.images * 10**0.5, 0.03 * high.images / 10**0.5)
    assert choice.confidence == pytest.approx(
        (high.pairs - unlike_at_high) / (low.pairs - unlike_at_low), rel=1e-3
    )
    assert 0.5 < choice.confidence < 0.9
    wider = choose_automatically(known_curve(slope=40, alike=np.linspace(0.6, 0.99, 400)))
    assert wider.confidence > choice.confidence


@given(slope=st.floats(4, 40), n_alike=st.integers(60, 400), times=st.floats(1.5, 100))
@settings(deadline=None, max_examples=60)
def test_more_images_of_one_shape_never_lower_the_threshold(slope: float, n_alike: int, times: float) -> None:
    alike = np.linspace(0.9, 0.9999, n_alike)
    small = choose_automatically(known_curve(slope=slope, alike=alike))
    large = choose_automatically(known_curve(slope=slope, alike=alike, shape=times))
    assume(not small.is_default and not large.is_default)
    assert large.threshold >= small.threshold


def test_a_hundred_times_the_images_raise_the_threshold() -> None:
    small, large = (known_curve(slope=20, shape=shape) for shape in (1, 100))
    at_small, at_large = choose_automatically(small), choose_automatically(large)
    assert not at_small.is_default and not at_large.is_default
    # A hundred times the unlike pairs for each image: the distance shrinks by that to the power 1/20.
    assert (1 - at_large.threshold) / (1 - at_small.threshold) == pytest.approx(100 ** (-1 / 20), rel=0.01)


@given(slope=st.floats(5, 40), factor=st.floats(0.3, 1))
@settings(deadline=None, max_examples=40)
def test_distances_in_other_units_give_the_same_cut(slope: float, factor: float) -> None:
    curve = known_curve(slope=slope)
    scaled = replace(curve, thresholds=1 - factor * (1 - curve.thresholds))
    cuts = [unlike.threshold_for(0.03) for unlike in map(unlike_pairs, (curve, scaled)) if unlike]
    assert len(cuts) == 2 and cuts[0] and cuts[1]
    assert 1 - cuts[1] == pytest.approx(factor * (1 - cuts[0]), rel=1e-6)


def test_fewer_allowed_pairs_raise_the_threshold() -> None:
    curve = known_curve(slope=20)
    cuts = [choose_automatically(curve, tolerance=share).threshold for share in (0.1, 0.03, 0.01, 0.003)]
    assert cuts == sorted(cuts) and len(set(cuts)) == 4


def test_whatever_is_allowed_the_threshold_is_where_the_line_tells() -> None:
    unlike = unlike_pairs(known_curve(slope=20))
    assert unlike is not None
    assert unlike.threshold_for(1e6) == pytest.approx(unlike.thresholds[unlike.begin])
    assert unlike.threshold_for(1e-200) is None


def test_copies_of_images_move_nothing() -> None:
    """Pairs that no threshold separates are neither part of the fall nor unlike."""
    curve = known_curve(slope=20)
    with_copies = replace(curve, pairs=curve.pairs + 50_000)
    one, other = unlike_pairs(curve), unlike_pairs(with_copies)
    assert one is not None and other is not None
    assert other.slope == pytest.approx(one.slope, rel=1e-6)
    assert other.begin == one.begin


def test_where_a_chain_grows_the_threshold_rises_above_it() -> None:
    """A heavier tail than the line promises: one cluster takes in more and more images below .5."""
    curve = known_curve(slope=20, alike=np.linspace(0.8, 0.99, 100))
    calm = choose_automatically(curve)
    largest = np.where(curve.thresholds < 0.5, 300, 10)
    choice = choose_automatically(replace(curve, largest=largest))
    assert calm.threshold < 0.49
    assert choice.threshold == pytest.approx(0.5, abs=2e-3)
    assert "as chains do" in choice.reason and "chain" not in calm.reason
    twice = np.where(curve.thresholds < 0.5, 20, 10)  # two clusters may become one
    assert choose_automatically(replace(curve, largest=twice)) == calm
    all_along = np.full(len(largest), 300)  # a large cluster that does not grow is none
    assert choose_automatically(replace(curve, largest=all_along)) == calm


# Where nothing can be told


def default_of(curve: ThresholdCurve) -> str:
    choice = choose_automatically(curve)
    assert_is_sound(choice, curve)
    assert choice.is_default
    assert choice.reason.endswith(f"{curve.default:g} is the default of {curve.method}.")
    return choice.reason


def test_nothing_alike_means_the_default() -> None:
    curve = known_curve(slope=12, alike=[])
    seen = np.floor(curve.pairs)
    images = np.minimum(2000, 2 * seen)
    assert "No pairs stand out" in default_of(replace(curve, pairs=seen, images=images))


def test_four_pairs_are_too_few() -> None:
    assert "Only 4 pairs" in default_of(known_curve(slope=40, alike=[0.99] * 4))
    assert not choose_automatically(known_curve(slope=40, alike=[0.99] * 6)).is_default


def test_few_pairs_seen_are_few_however_many_they_stand_for() -> None:
    curve = known_curve(slope=40, alike=[0.99] * 30)
    assert not choose_automatically(curve).is_default
    assert "Only 3 pairs" in default_of(replace(curve, n_sample=100))


def test_no_pairs_and_no_images_mean_the_default() -> None:
    assert "No two images" in default_of(curve_of_numbers([0.0, 0.5], [0, 0], [0, 0], n_images=9))
    assert "No two images" in default_of(curve_of_numbers([0.0], [0], [0], n_images=1))
    assert "No two images" in default_of(curve_of_numbers([0.0], [0], [0], n_images=0))


def test_nothing_but_copies_means_the_default() -> None:
    pairs, images = [1999 * 1000] * 2, [2000] * 2
    assert "does not fall" in default_of(curve_of_numbers([0.0, 0.63], pairs, images, n_images=2000))


def test_very_few_images_mean_the_default() -> None:
    curve = curve_of_numbers([0.0, 0.1, 0.2, 0.9], [10, 4, 2, 1], [5, 4, 4, 2], n_images=5)
    assert "too few pairs" in default_of(curve)
    regular = known_curve(12, slope=8, alike=[0.95] * 6)  # but a line through 13 pairs is none
    assert "too few pairs" in default_of(regular)


def test_a_smooth_passage_means_the_default() -> None:
    """As with pictures of a film: every distance occurs."""
    t = np.linspace(0, 0.9999, 300)
    pairs = 2e6 * (1 - t) ** 1.2
    curve = curve_of_numbers(t, pairs, np.minimum(2000, pairs), n_images=2000)
    assert "pass into each other" in default_of(curve)


def test_scores_of_chance_at_zero_do_not_break_the_odds() -> None:
    curve = known_curve(slope=3, method="orb")
    thresholds = np.concatenate([[0.0], curve.thresholds])
    names = ("pairs", "images", "largest")
    numbers = {name: np.concatenate([[2_000_000], getattr(curve, name)]) for name in names}
    assert choose_automatically(replace(curve, thresholds=thresholds, **numbers)) == choose_automatically(
        curve
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 0.99999), st.integers(0, 10**6), st.integers(0, 1000)),
        min_size=1,
        max_size=40,
        unique_by=lambda point: point[0],
    ),
    st.integers(1, 3000),
    st.sampled_from(list(METHODS)),
)
@settings(deadline=None, max_examples=300)
def test_whatever_the_curve_the_choice_is_a_threshold(
    points: list[tuple[float, int, int]], n_sample: int, method: str
) -> None:
    t = np.sort([point[0] for point in points])
    pairs, images = (np.sort([point[k] for point in points])[::-1] for k in (1, 2))
    images = np.where(pairs > 0, np.maximum(images, 2), 0)
    curve = curve_of_numbers(t, pairs, images, n_images=3000, n_sample=n_sample, method=method)
    assert_is_sound(choose_automatically(curve), curve)


# Real scores


@pytest.mark.parametrize("method", list(METHODS))
def test_pictures_and_their_noisy_copies_are_told_apart(method: str) -> None:
    images = [picture(k) for k in range(80)]
    images += [noisy(picture(k), k, sigma=6) for k in range(25)]
    features = ci.extract(images, method=method)
    curve = ci.threshold_curve(features)
    choice = choose_automatically(curve)
    assert_is_sound(choice, curve)
    assert not choice.is_default
    pairs = ci.similar_pairs(features, threshold=choice.threshold)
    found = set(zip(pairs["i"].tolist(), pairs["j"].tolist(), strict=True))
    alike = {(k, 80 + k) for k in range(25)}
    assert len(found & alike) >= 23
    assert len(found - alike) <= 3


def planted(n: int, seed: int) -> Features:
    """Return codes of 256 bits, a tenth of which are some bits from another one."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**64, (n, 4), dtype=np.uint64)
    for k in range(n // 10):
        codes[n - 1 - k] = codes[k]
        for bit in rng.integers(0, 256, rng.integers(1, 40)):
            codes[n - 1 - k, bit // 64] ^= np.uint64(1 << int(bit % 64))
    none = np.zeros(n, bool)
    digests = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    return Features("imagehash", {"hash_size": 16}, codes, np.ones((n, 2), np.int32), none, none, digests)


def test_samples_choose_about_what_all_images_do() -> None:
    features = planted(1500, 0)
    method, files = create("imagehash"), [str(k) for k in range(1500)]
    found = [
        choose_automatically(curve_of([features], files, method, select(), sample=sample, seed=seed))
        for sample, seeds in ((1500, [0]), (250, range(8)))
        for seed in seeds
    ]
    assert not any(choice.is_default for choice in found)
    thresholds = np.array([choice.threshold for choice in found])
    assert np.ptp(thresholds) < 0.03
    assert thresholds.min() > 0.6 and thresholds.max() < 0.75  # unlike ones end at .65, alike begin at .84
