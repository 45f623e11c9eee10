"""Labelled pairs: the table, their scores, and the threshold they speak for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg._names import escape_name
from clusterimg.backends import select
from clusterimg.errors import ResultError, UsageError
from clusterimg.methods import METHODS, create
from clusterimg.picker.auto import Choice, choose_automatically
from clusterimg.picker.labelled import LabelledPair, choose_by_pairs, read_pairs, score_pairs
from known_curves import curve_of_numbers, known_curve
from pictures import noisy, picture

HEADER = "file_a,file_b,same\n"


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


# The table


def test_a_table_gives_its_pairs(tmp_path: Path) -> None:
    text = "same,note,file_b,file_a\nyes,?,b.png,a.png\n\nNo,,sub/c.png,a.png\n"
    text += "1,,d,e\n0,,f,g\nTRUE,,h,i\nfalse ,,j,k\n"
    found = read_pairs(table(tmp_path, text))
    assert found[0] == LabelledPair("a.png", "b.png", True, 2)
    assert found[1] == LabelledPair("a.png", "sub/c.png", False, 4)
    assert [pair.same for pair in found] == [True, False] * 3


def test_names_are_those_of_clusters_csv(tmp_path: Path) -> None:
    names = ["caf\udce9.png", "back\\slash.png", 'comma,quote".png', "ä.png", "two\nlines.png"]
    rows = "".join('"{}",x.png,1\n'.format(escape_name(name).replace('"', '""')) for name in names)
    assert [pair.file_a for pair in read_pairs(table(tmp_path, HEADER + rows))] == names


def test_a_pair_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    found = read_pairs(table(tmp_path, HEADER + "a,b,1\nb,a,yes\na,c,0\n"))
    assert [(pair.file_a, pair.file_b) for pair in found] == [("a", "b"), ("a", "c")]


@pytest.mark.parametrize(
    ("rows", "line", "what"),
    [
        ("a,b,maybe\n", 2, "same must be one of yes, 1, true, no, 0, false, got 'maybe'"),
        ("a,b,1\nc,d,\n", 3, "same must be one of .*, got ''"),
        ("a,b,1\nb,a,0\n", 3, "says the opposite of line 2"),
        ("a,a,1\n", 2, "a pair needs two files, got 'a' and 'a'"),
        (",b,1\n", 2, "a pair needs two files"),
        ("a,b\n", 2, "expected 3 cells as in the header, got 2"),
        ("", 2, "holds no pair"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, rows: str, line: int, what: str) -> None:
    with pytest.raises(ResultError, match=f"pairs.csv, line {line}: {what}"):
        read_pairs(table(tmp_path, HEADER + rows))


def test_a_table_without_its_header_or_a_missing_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="the header must have file_a, file_b, same, got 'a,b,1'"):
        read_pairs(table(tmp_path, "a,b,1\n"))
    with pytest.raises(ResultError, match=r"can't read .*nothing\.csv: No such file"):
        read_pairs(tmp_path / "nothing.csv")


# Scores


@pytest.mark.parametrize("method", list(METHODS))
def test_scores_are_those_of_similar_pairs(method: str) -> None:
    images = [picture(k) for k in range(5)] + [noisy(picture(k), k) for k in range(5)] + [picture(0)]
    images.append(np.full((150, 200), 9, np.uint8))
    features = ci.extract(images, method=method)
    files = [f"{k}.png" for k in range(len(images))]
    wanted = {(i, j): score for i, j, score in ci.similar_pairs(features, threshold=0).tolist()}
    pairs = [LabelledPair("7.png", "2.png", True, 2), LabelledPair("1.png", "6.png", True, 3)]
    pairs += [LabelledPair("0.png", "10.png", True, 4), LabelledPair("3.png", "11.png", False, 5)]
    pairs.append(LabelledPair("9.png", "4.png", True, 6))  # the first images of their parts
    parts = [features.take(np.arange(*ends)) for ends in ((0, 4), (4, 4), (4, 9), (9, 12))]
    scores, same, left_out = score_pairs(files, pairs, parts, create(method), select())
    assert scores[0] == wanted[2, 7] and scores[1] == wanted[1, 6]
    assert scores[2] == 1
    assert scores[3] == (-np.inf if features.featureless[11] else wanted.get((3, 11), scores[3]))
    assert scores[4] == wanted[4, 9]
    assert same.tolist() == [True, True, True, False, True]
    assert left_out == []


def test_files_that_are_not_there_are_named_once() -> None:
    features = ci.extract([picture(0), noisy(picture(0), 1)], method="ssim")
    pairs = [LabelledPair("a", "b", True, 2), LabelledPair("a", "gone", False, 3)]
    pairs += [LabelledPair("gone", "b", False, 4), LabelledPair("lost", "gone", True, 5)]
    scores, same, left_out = score_pairs(["a", "b"], pairs, [features], create("ssim"), select())
    assert len(scores) == 1 and same.tolist() == [True]
    assert sorted(skip.file for skip in left_out) == ["gone", "lost"]
    assert all("is not among the images that could be read (line " in skip.reason for skip in left_out)
    scores, same, _ = score_pairs(["a"], pairs, [features], create("ssim"), select())
    assert scores.shape == same.shape == (0,)


# The choice

CURVE = known_curve(slope=30, alike=np.linspace(0.5, 0.99, 400))
"""Of 2,000 images: below .36 chance pairs by the thousands, from .5 on alike ones."""


def choose(same: object, other: object, curve: object = CURVE) -> Choice:
    scores = np.concatenate([np.asarray(same, float).ravel(), np.asarray(other, float).ravel()])
    is_same = np.arange(len(scores)) < np.asarray(same).size
    return choose_by_pairs(scores, is_same, curve)  # type: ignore[arg-type]


def test_labels_that_agree_with_the_shape_cut_in_the_gap() -> None:
    choice = choose(np.linspace(0.52, 0.98, 20), np.linspace(0.01, 0.2, 20))
    assert 0.36 < choice.threshold < 0.52
    assert not choice.is_default
    assert choice.confidence > 0.9
    assert "Of 20 labelled pairs that are the same 0 would be missed" in choice.reason
    assert "of 20 that are not 0 would be found" in choice.reason
    assert "few" not in choice.reason


def test_a_person_who_wants_more_alike_pairs_gets_a_higher_threshold() -> None:
    """The shape has its gap at .4; the labels say that pairs below .8 are not the same."""
    choice = choose(np.linspace(0.81, 0.98, 20), np.linspace(0.42, 0.79, 20))
    assert 0.75 <= choice.threshold <= 0.83
    assert choose_automatically(CURVE).threshold < 0.5


def test_unlike_pairs_drawn_at_random_do_not_lower_the_threshold_into_chance() -> None:
    """Twenty random ones all score below .1, but of the two millions thousands are above it."""
    choice = choose(np.linspace(0.12, 0.98, 20), np.linspace(0.001, 0.1, 20))
    assert choice.threshold > 0.3


def test_without_a_shape_the_labels_decide() -> None:
    """Too few images for a line: 6 pairs are alike, 4 above .6 are not."""
    thresholds = np.array([0.0, *np.linspace(0.05, 0.95, 10)])
    curve = curve_of_numbers(thresholds, [36, 30, 24, 20, 14, 12, 10, 9, 7, 6, 3], [9] * 11, n_images=9)
    assert choose_automatically(curve).is_default
    choice = choose([0.86, 0.9, 0.97, 0.99], [0.3, 0.5, 0.7, 0.84], curve)
    assert 0.75 <= choice.threshold < 0.86
    assert "They are few" in choice.reason


@pytest.mark.parametrize(
    ("same", "other", "why"),
    [
        ([], [], "No labelled pair could be scored"),
        ([], [0.1, 0.9], "No labelled pair is the same"),
        ([0.1, 0.2], [0.8, 0.9], "Labelled pairs that are the same don't score higher"),
        ([0.5, 0.5], [0.5], "Labelled pairs that are the same don't score higher"),
    ],
)
def test_labels_that_say_nothing_leave_it_to_the_shape(
    same: list[float], other: list[float], why: str
) -> None:
    choice, auto = choose(same, other), choose_automatically(CURVE)
    assert choice.reason.startswith(why)
    assert choice.reason.endswith(auto.reason)
    assert (choice.threshold, choice.confidence) == (auto.threshold, auto.confidence)


def test_same_pairs_alone_leave_the_unlike_ones_to_the_shape() -> None:
    choice = choose(np.linspace(0.52, 0.98, 20), [])
    assert 0.36 < choice.threshold < 0.55
    assert not choice.is_default


def test_the_threshold_is_in_the_middle_and_short() -> None:
    """In the middle of all thresholds that find the same pairs and part the labels in the same way."""
    t, pairs = [0, 0.1, 0.412345, 0.6, 0.99], [300, 120, 20, 20, 0]
    curve = curve_of_numbers(t, pairs, [25, 20, 20, 20, 0], n_images=25)
    assert choose([0.97] * 10, [0.05, 0.2, 0.4] * 4, curve).threshold == 0.69  # (.412345 + .97) / 2
    assert choose([0.97] * 10, [0.05, 0.2, 0.5] * 4, curve).threshold == 0.73  # (.5 + .97) / 2


def test_pairs_beyond_those_that_the_labels_know_of_are_not_the_same() -> None:
    """All labelled same pairs score above .937, where there are 10: the 10 more above .41 are others."""
    t, pairs = [0, 0.1, 0.41, 0.937, 0.99], [100, 40, 20, 10, 0]
    curve = curve_of_numbers(t, pairs, [15, 15, 10, 10, 0], n_images=15)
    assert choose_automatically(curve).is_default
    assert 0.937 <= choose([0.95] * 10, [0.05, 0.2, 0.4] * 4, curve).threshold < 0.95


def test_chains_are_kept_out_whatever_the_labels_say() -> None:
    calm = known_curve(slope=20, alike=np.linspace(0.4, 0.99, 300))
    labels = np.linspace(0.42, 0.98, 20), np.linspace(0.01, 0.2, 20)
    assert choose(*labels, calm).threshold < 0.49
    chained = replace(calm, largest=np.where(calm.thresholds < 0.495, 300, 10))
    assert 0.49 < choose(*labels, chained).threshold < 0.55


def test_confidence_is_the_share_of_alike_pairs_found_at_both_ends() -> None:
    choice = choose([0.55, 0.6, 0.8, 0.97], [0.1, 0.5, 0.58, 0.7])
    low, high = CURVE.at(choice.low).pairs, CURVE.at(choice.high).pairs
    assert choice.confidence == pytest.approx(high / low, abs=0.05)
    assert choice.confidence < 0.9


def test_more_labels_are_surer_and_never_quite_sure() -> None:
    same, other = np.array([0.55, 0.62, 0.75, 0.97]), np.array([0.1, 0.3, 0.58, 0.65])
    few, many = choose(same, other), choose(np.tile(same, 100), np.tile(other, 100))
    assert few.threshold == many.threshold
    assert many.high - many.low < 0.7 * (few.high - few.low)
    assert few.confidence < many.confidence < 1
    assert many.high - many.low > 0.005  # a few steps of the curve are worth about the same


def test_wrong_arrays_are_told() -> None:
    with pytest.raises(UsageError, match=r"one shape \(m,\), got \(2,\) and \(3,\)"):
        choose_by_pairs(np.zeros(2), np.zeros(3, bool), CURVE)
    with pytest.raises(UsageError, match="scores must be numbers, got nan"):
        choose_by_pairs(np.array([np.nan]), np.ones(1, bool), CURVE)


labelled = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 1), st.just(-math.inf), st.sampled_from([0.0, 0.5, 1.0])), st.booleans()
    ),
    max_size=40,
)


@given(labelled, st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=150)
def test_whatever_the_labels_the_choice_is_a_threshold(
    pairs: list[tuple[float, bool]], random: object, has_shape: bool
) -> None:
    few = curve_of_numbers([0.0, 0.2, 0.4, 0.95], [10, 4, 2, 1], [5, 4, 4, 2], n_images=5)
    curve = CURVE if has_shape else few
    scores, same = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], bool)
    choice = choose_by_pairs(scores, same, curve)
    assert 0 <= choice.threshold < 1
    assert choice.low <= choice.threshold <= choice.high < 1
    assert 0 <= choice.confidence <= 1
    assert not choice.is_default or choice.threshold == curve.default
    random.shuffle(pairs)  # type: ignore[attr-defined]
    scores, same = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], bool)
    assert choose_by_pairs(scores, same, curve) == choice


@given(st.integers(0, 19))
@settings(deadline=None, max_examples=20)
def test_another_unlike_pair_above_it_never_lowers_the_threshold(k: int) -> None:
    same, other = np.linspace(0.55, 0.98, 20), np.linspace(0.01, 0.2, 20)
    before = choose(same, other)
    after = choose(same, [*other, *[0.52 + 0.02 * k] * 3])
    assert after.threshold >= before.threshold
