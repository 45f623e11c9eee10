"""The threshold curve: exact where all pairs are scored, inside its interval where a sample is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import clusterimg as ci
from clusterimg._types import Features
from clusterimg.backends import select
from clusterimg.errors import UsageError
from clusterimg.methods import METHODS, create
from clusterimg.picker import ThresholdCurve
from clusterimg.picker import scoring as scoring_module
from clusterimg.picker.building import curve_of
from clusterimg.picker.components import Components
from clusterimg.picker.estimates import share_interval, total_interval
from pictures import Grey, blend, noisy, picture, save

DATA = os.environ.get("CLUSTERIMG_DATA")


def collection() -> list[Grey]:
    """Return groups of less and less alike pictures, exact copies, flat ones and single ones."""
    images = [picture(k) for k in range(12)]
    for group in range(4):
        images += [blend(picture(group), picture(50 + group), share) for share in (0.1, 0.25, 0.4)]
    images += [noisy(picture(2), 7), picture(3), picture(3), picture(11), picture(30)]
    images += [np.full((150, 200), grey, np.uint8) for grey in (0, 0, 200)]
    return images


@pytest.fixture(scope="module", params=list(METHODS))
def features(request: pytest.FixtureRequest) -> Features:
    return ci.extract(collection(), method=request.param, size=None, errors="skip")


def in_parts(features: Features, *sizes: int) -> list[Features]:
    ends = np.cumsum(sizes)
    return [features.take(np.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def curve(parts: Sequence[Features], *, sample: int = 10**6, seed: int = 0) -> ThresholdCurve:
    n = sum(map(len, parts))
    method = create(parts[0].method)
    return curve_of(parts, [str(k) for k in range(n)], method, select(), sample=sample, seed=seed)


def assert_tells_the_truth(found: ThresholdCurve, features: Features) -> None:
    """Check an exact curve with the calls that it tells of, at every threshold."""
    for threshold in found.thresholds.tolist():
        point = found.at(threshold)
        pairs = ci.similar_pairs(features, threshold=threshold)
        labels = ci.cluster(features, threshold=threshold)
        sizes = np.bincount(labels[labels >= 0])
        got = (point.pairs, point.images, point.clusters, point.largest)
        assert got == (len(pairs), (labels >= 0).sum(), len(sizes), sizes.max(initial=0)), threshold


def test_all_images_give_the_exact_numbers(features: Features) -> None:
    found = curve([features])
    assert found.is_exact
    assert found.n_images == found.n_sample == len(features)
    assert len(found.thresholds) > 5
    assert (np.diff(found.thresholds) > 0).all()
    assert_tells_the_truth(found, features)
    for name in ("pairs", "images"):
        for end in ("low", "high"):
            np.testing.assert_array_equal(getattr(found, name), getattr(found, f"{name}_{end}"))


@pytest.mark.parametrize("sizes", [(32, 0), (0, 1, 31), (10, 12, 10), (31, 1)])
def test_parts_change_nothing(features: Features, sizes: tuple[int, ...]) -> None:
    assert len(features) == 32
    whole, found = curve([features]), curve(in_parts(features, *sizes))
    for name in ("thresholds", "pairs", "images", "clusters", "largest"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(found, name))
    some, same = curve([features], sample=9, seed=3), curve(in_parts(features, *sizes), sample=9, seed=3)
    for name in ("thresholds", "pairs", "pairs_low", "pairs_high", "images_high", "largest"):
        np.testing.assert_array_equal(getattr(some, name), getattr(same, name))


def test_between_its_thresholds_the_curve_is_that_of_the_one_below() -> None:
    images = collection()
    found = ci.threshold_curve(images, method="imagehash")
    for low, high in zip(found.thresholds[:-1], found.thresholds[1:], strict=True):
        between = (low + high) / 2
        assert found.at(between) == found.at(low)
        assert found.at(between).pairs == len(ci.similar_pairs(images, threshold=between))
    assert found.at(-5) == found.at(found.thresholds[0])
    assert found.at(0.9999).threshold == found.thresholds[-1]


def test_examples_are_pairs_with_their_scores(features: Features) -> None:
    found = curve([features])
    wanted = {(i, j): score for i, j, score in ci.similar_pairs(features, threshold=0).tolist()}
    assert len(found.examples) > 10
    for i, j, score in found.examples.tolist():
        assert i < j
        assert wanted[i, j] == score
    assert (np.diff(found.examples["score"]) >= 0).all()
    cut = float(np.median(found.examples["score"]))
    above, below = found.examples_near(cut, 3)
    assert (above["score"] > cut).all() and (np.diff(above["score"]) >= 0).all()
    assert (below["score"] <= cut).all() and (np.diff(below["score"]) <= 0).all()


# A sample


def planted(n: int, seed: int) -> Features:
    """Return codes of which many are alone, some in pairs and few in large groups."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**64, (n, 4), dtype=np.uint64)
    start = n // 2
    for size in [2] * (n // 20) + [5] * (n // 100) + [n // 20]:
        for k in range(start + 1, min(start + size, n)):
            codes[k] = codes[start]
            for bit in rng.integers(0, 256, rng.integers(1, 60)):
                codes[k, bit // 64] ^= np.uint64(1 << int(bit % 64))
        start += size
    order = rng.permutation(n)
    digests = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    digests[1] = digests[0]
    params = {"hash_size": 16}
    none = np.zeros(n, bool)
    return Features("imagehash", params, codes[order], np.ones((n, 2), np.int32), none, none, digests)


def share_inside(whole: ThresholdCurve, part: ThresholdCurve) -> tuple[float, float]:
    """Return at how many of the thresholds the truth lies in the interval: of pairs, of images."""
    truth = [whole.at(threshold) for threshold in part.thresholds.tolist()]
    known = part.thresholds >= whole.thresholds[0]
    pairs = np.array([point.pairs for point in truth])
    images = np.array([point.images for point in truth])
    return (
        float(((part.pairs_low <= pairs) & (pairs <= part.pairs_high))[known].mean()),
        float(((part.images_low <= images) & (images <= part.images_high))[known].mean()),
    )


@pytest.mark.parametrize("sample", [40, 200, 800])
def test_the_truth_lies_in_the_interval(sample: int) -> None:
    features = planted(1000, 1)
    whole = curve([features])
    inside = [share_inside(whole, curve([features], sample=sample, seed=seed)) for seed in range(10)]
    assert np.mean(inside, axis=0).min() > 0.9


def test_estimates_are_unbiased() -> None:
    features = planted(1000, 2)
    whole = curve([features])
    some = [curve([features], sample=100, seed=seed) for seed in range(100)]
    for threshold in (0.7, 0.85):
        truth, found = whole.at(threshold), [one.at(threshold) for one in some]
        for name in ("pairs", "images"):
            values = np.array([getattr(point, name) for point in found])
            error = values.std() / np.sqrt(len(values))
            assert abs(values.mean() - getattr(truth, name)) < 4 * error


def test_a_sample_is_the_same_each_time_and_knows_no_more_than_it_saw() -> None:
    features = planted(800, 3)
    one, same, other = (curve([features], sample=80, seed=seed) for seed in (5, 5, 6))
    assert not one.is_exact
    np.testing.assert_array_equal(one.pairs, same.pairs)
    np.testing.assert_array_equal(one.examples, same.examples)
    assert one.pairs.tolist() != other.pairs.tolist()
    assert (one.largest <= curve([features]).at(0).largest).all()
    for k in range(len(one.thresholds)):
        assert one.pairs_low[k] <= one.pairs[k] <= one.pairs_high[k]
        assert one.images_low[k] <= one.images[k] <= one.images_high[k] <= 800


def test_many_pairs_are_looked_at_from_where_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    features = planted(2000, 4)
    whole = curve([features])
    monkeypatch.setattr(scoring_module, "_ALL_PAIRS", 100_000)
    found = curve([features])
    assert 0.4 < found.thresholds[0] <= 0.69 < found.thresholds[-1]
    assert found.pairs[0] < 0.06 * 2000 * 1999 / 2
    for threshold in found.thresholds.tolist():
        assert (found.at(threshold).pairs, found.at(threshold).largest) == (
            whole.at(threshold).pairs,
            whole.at(threshold).largest,
        )


@pytest.mark.skipif(not DATA, reason="CLUSTERIMG_DATA names no folder with data sets")
@pytest.mark.parametrize("method", ["imagehash", "ssim", "minhash", "tm"])
def test_real_photos_lie_in_the_interval(method: str) -> None:
    photos = sorted(Path(DATA or "", "copies_dev").glob("img*"))
    tiny = sorted(Path(DATA or "", "tiny_pool_dev").rglob("*.*g"))  # .png, .jpg, .jpeg
    features = ci.extract([*photos, *tiny], method=method, errors="skip")
    whole = curve([features])
    inside = [share_inside(whole, curve([features], sample=300, seed=seed)) for seed in range(8)]
    assert np.mean(inside, axis=0).min() >= 0.9


# The parts


@given(
    st.integers(2, 30).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(1, 4), min_size=n, max_size=n),
            st.lists(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=8), max_size=6),
        )
    )
)
@settings(deadline=None, max_examples=150)
def test_components_grow_as_edges_come(case: tuple[list[int], list[list[tuple[int, int]]]]) -> None:
    sizes, steps = np.array(case[0]), case[1]
    found = Components(sizes, sizes > 1, select())
    group = list(range(len(sizes)))
    for step in steps:
        pairs = np.array(step, np.intp).reshape(-1, 2)
        found.join(pairs[:, 0], pairs[:, 1])
        for i, j in step:
            if i != j:
                group = [group[i] if g == group[j] else g for g in group]
        totals = {g: sum(sizes[k] for k in range(len(sizes)) if group[k] == g) for g in group}
        clusters = [total for total in totals.values() if total > 1]
        assert (found.count, found.largest) == (len(clusters), max(clusters, default=0))


def test_intervals_are_the_ones_of_the_books() -> None:
    """Few of very many: as if drawn with replacement, for which SciPy has both."""
    from scipy.stats import binomtest, chi2

    hits = np.array([0.0, 1, 17, 150, 300])
    got = np.array(share_interval(hits, 300, 10**9)) / 10**9
    for k, hit in enumerate(hits):
        wanted = binomtest(int(hit), 300).proportion_ci(method="wilson")
        np.testing.assert_allclose(got[:, k], [hit / 300, wanted.low, wanted.high], atol=1e-7)
    counts = np.array([0.0, 3, 40, 1000])  # of pairs that come one by one: exact for Poisson counts
    total, low, high = total_interval(counts, counts, np.ones(4), 1000, 10**9)
    np.testing.assert_allclose(total / 10**6, counts)
    np.testing.assert_allclose(low[1:] / 10**6, chi2.ppf(0.025, 2 * counts[1:]) / 2, rtol=3e-2)
    np.testing.assert_allclose(high / 10**6, chi2.ppf(0.975, 2 * counts + 2) / 2, rtol=1e-2)
    assert low[0] == 0


def test_nothing_is_left_to_estimate_once_all_are_seen() -> None:
    values = np.array([0.0, 5, 9])
    for found in (share_interval(values, 9, 9), total_interval(values, values**2, values, 9, 9)):
        for numbers in found:
            np.testing.assert_array_equal(numbers, values)


# From folders and images


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    photos = save(tmp_path / "photos", {f"{k:02}.png": image for k, image in enumerate(collection())})
    (photos / "broken.png").write_bytes(b"\x89PNG nothing more")
    (photos / "deeper").mkdir()
    save(photos / "deeper", {"a.png": picture(0)})
    yield photos


def test_a_folder_gives_the_curve_of_its_images(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = ci.threshold_curve(folder, method="ssim", progress=lambda *now: seen.append(now))
    assert found.files[0] == "00.png"
    assert found.n_images == 32  # the broken one is left out
    same = ci.threshold_curve([folder / file for file in found.files], method="ssim")
    np.testing.assert_array_equal(found.pairs, same.pairs)
    assert ci.threshold_curve(folder, recursive=True).n_images == 33
    assert {stage for stage, _, _ in seen} == {"features", "curve"}
    assert all(done <= total for _, done, total in seen)
    assert seen[-1][1] == seen[-1][2]


def test_features_and_arrays_give_it_too(features: Features) -> None:
    assert ci.threshold_curve(features).files == tuple(map(str, range(32)))
    assert ci.threshold_curve(collection(), method="tm").n_images == 32


def test_it_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sample must be 1 or more, got 0"):
        ci.threshold_curve([picture(0)], sample=0)
    with pytest.raises(UsageError, match="holds no files"):
        ci.threshold_curve(tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="holds no image that can be read"):
        ci.threshold_curve(tmp_path)
    with pytest.raises(UsageError, match="hash_size"):
        ci.threshold_curve(tmp_path, method="ssim", hash_size=8)


@pytest.mark.parametrize("images", [[picture(0)], [np.zeros((9, 9), np.uint8)] * 3])
def test_one_image_and_flat_ones_have_a_curve(images: list[NDArray[np.uint8]]) -> None:
    found = ci.threshold_curve(images, method="minhash")
    assert len(found.thresholds) >= 1
    n = len(images)
    assert found.at(found.default).pairs == n * (n - 1) / 2
    assert found.at(found.default).largest == (n if n > 1 else 0)


def test_rows_and_json_hold_the_numbers() -> None:
    found = ci.threshold_curve(collection())
    rows, data = found.rows(), found.as_json()
    assert [row["threshold"] for row in rows] == data["thresholds"]
    assert [row["pairs"] for row in rows] == data["pairs"]
    assert data["examples"][0].keys() == {"file_a", "file_b", "score"}
    assert data["n_images"] == 32
