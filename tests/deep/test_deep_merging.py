"""Clusters of batches that cluster models join: medoids, the sample that is scored, known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg._types import Features

pytest.importorskip("sklearn")

from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from clusterimg.backends import select
from clusterimg.deep import merging
from clusterimg.deep.embedding import unit_vectors
from clusterimg.deep.grouping import DeepModels
from clusterimg.deep.merging import APART, Batched, grouped, sampled
from clusterimg.methods import Clusters

Vectors = NDArray[np.float32]


def features_of(vectors: Vectors, names: Sequence[int] = ()) -> Features:
    """Return features of images; those of one name are copies."""
    n = len(vectors)
    digests = np.zeros((n, 16), np.uint8)
    digests[:, :4] = np.array(names or range(n), np.int32)[:, None].view(np.uint8)
    shapes, is_odd = np.ones((n, 2), np.int32), np.zeros(n, bool)
    return Features("deep", {}, vectors, shapes, is_odd, is_odd, digests)


def batched(features: Features, *cuts: int) -> Batched:
    """Return images in batches that end at `cuts`."""

    def take(images: NDArray[np.int64]) -> Features:
        assert (np.diff(images) > 0).all(), "images are asked for by rising indices"
        return features.take(images)

    return Batched(np.array([0, *cuts, len(features)]), take)


def blobs(k: int, size: int, seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Return vectors of k groups, those of a group next to each other, and the groups."""
    points, truth = make_blobs(k * size, 12, centers=k, random_state=seed)
    order = np.argsort(truth, kind="stable")
    return unit_vectors(points[order]), truth[order]


def joined(
    vectors: Vectors, groups: NDArray[np.int64], *cuts: int, names: Sequence[int] = (), **options: object
) -> Clusters:
    """Return what becomes of groups in batches that end at `cuts`."""
    method = DeepModels(about={"dimensions": vectors.shape[1]}, **options)  # type: ignore[arg-type]
    images = batched(features_of(vectors, names), *cuts)
    return method.join(groups, images.starts, images.features_of, select(n_threads=1))


# --- medoids ---


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_medoids_are_those_of_the_definition(seed: int, n: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_vectors(rng.integers(-2, 3, (n, 3)).astype(np.float32))
    groups = rng.integers(-1, n_groups, n)
    found = grouped(groups, batched(features_of(vectors), *np.sort(rng.integers(0, n + 1, 3))))
    names = list(dict.fromkeys(groups[groups >= 0].tolist()))
    assert len(found.medoids) == len(names) and found.is_first.all()
    for place, name in enumerate(names):
        own = np.flatnonzero(groups == name)
        assert (found.places[own] == place).all()
        cosines = vectors[own].astype(np.float64) @ vectors[own].astype(np.float64).sum(axis=0)
        assert cosines[own == found.medoids[place]][0] == pytest.approx(cosines.max(), abs=1e-9)
    assert (found.places[groups < 0] == -1).all()


def test_the_first_of_equal_medoids_is_taken() -> None:
    vectors = unit_vectors(np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32))
    assert grouped(np.zeros(4, np.int64), batched(features_of(vectors), 2)).medoids.tolist() == [1]


def test_groups_of_copies_are_one() -> None:
    vectors = unit_vectors(np.eye(4, dtype=np.float32)[[0, 0, 1, 0, 0, 2, 2, 3]])
    features = features_of(vectors, [7, 7, 1, 7, 7, 2, 2, 3])
    found = grouped(np.array([0, 0, -1, 1, 1, 2, 2, -1]), batched(features, 3))
    assert found.places.tolist() == [0, 0, -1, 0, 0, 1, 1, -1]
    assert found.medoids.tolist() == [0, 5]
    assert found.is_first.tolist() == [True, False, True, False, False, True, False, True]


# --- the sample ---


def test_few_images_are_all_scored_but_outliers_and_copies() -> None:
    vectors, truth = blobs(4, 5)
    groups = np.where(np.isin(np.arange(20), (4, 9)), -1, truth)
    features = features_of(vectors, [*range(18), 16, 3])
    found = grouped(groups, batched(features, 7))
    seen = sampled(found, vectors[found.medoids], most=100, seed=0)
    assert seen.tolist() == [k for k in range(18) if k not in (4, 9)]


def test_each_group_has_as_many_in_the_sample() -> None:
    vectors, truth = blobs(10, 40)
    groups = np.where(np.arange(400) % 40 < np.repeat([40, 2], 5 * 40), truth, -1)  # half are of two images
    found = grouped(groups, batched(features_of(vectors), 150))
    seen = sampled(found, vectors[found.medoids], most=60, seed=0)
    counts = np.bincount(found.places[seen], minlength=10)
    assert counts.tolist() == [10] * 5 + [2] * 5
    other = sampled(found, vectors[found.medoids], most=60, seed=1)
    assert seen.tolist() == sampled(found, vectors[found.medoids], most=60, seed=0).tolist() != other.tolist()


def test_of_very_many_groups_neighbourhoods_are_scored() -> None:
    vectors, truth = blobs(40 * 8, 4)
    order = np.argsort(np.arange(len(truth)) // 2 % 2, kind="stable")  # two images of each in each batch
    groups = (truth + 320 * (np.arange(len(truth)) // 2 % 2))[order]
    found = grouped(groups, batched(features_of(vectors[order]), 640))
    points = vectors[order][found.medoids]
    seen = sampled(found, points, most=240, seed=3)
    own = set(found.places[seen].tolist())
    assert 150 <= len(seen) <= 240
    partners = {(place + 320) % 640 for place in own}  # of one blob, in the other batch
    assert len(partners & own) > 0.9 * len(own) / 2


# --- the join ---


@pytest.mark.parametrize("k", [2, 5, 12])
def test_groups_that_differ_stay_apart(k: int) -> None:
    vectors, truth = blobs(2 * k, 10)
    found = joined(vectors, truth, k * 10)  # each group is in one batch
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert found.edges is None and found.selection.as_json()["best"]


@pytest.mark.parametrize("n_batches", [2, 6])
@pytest.mark.parametrize("k", [2, 5, 20])
def test_groups_of_every_batch_are_joined(k: int, n_batches: int) -> None:
    vectors, truth = blobs(k, 5 * n_batches, seed=k)
    order = np.argsort(np.arange(len(truth)) % n_batches, kind="stable")
    batch = np.arange(len(truth)) // (5 * k)
    found = joined(vectors[order], truth[order] + k * batch, *(5 * k * np.arange(1, n_batches)))
    assert adjusted_rand_score(truth[order], found.labels) == 1.0
    assert found.selection.as_json()["n_points"] == len(truth)


def test_what_a_sample_does_not_see_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of 300 groups have a partner in the other batch, and few of the images are scored."""
    monkeypatch.setattr("clusterimg.deep._scores.MOST_SCORED", 400)
    vectors, truth = blobs(300, 10)
    groups = np.where((truth < 150) & (np.arange(3000) % 2 == 1), truth + 300, truth)
    order = np.argsort(groups >= 150, kind="stable")
    found = joined(vectors[order], groups[order], 750)
    assert adjusted_rand_score(truth[order], found.labels) > 0.9


def test_some_are_joined_some_are_not_outliers_are_left() -> None:
    vectors, truth = blobs(6, 10)
    groups = truth + 6 * (np.arange(60) % 20 >= 17)  # the ends of three groups were found in the other batch
    groups[[0, 25, 59]] = -1
    found = joined(vectors, groups, 30)
    members = groups >= 0
    assert adjusted_rand_score(truth[members], found.labels[members]) == 1.0
    assert (found.labels[~members] == -1).all()
    [chosen] = [row for row in found.selection.as_json()["candidates"] if row["chosen"]]
    assert (chosen["n_clusters"], chosen["outliers"]) == (6, 0.05)


@pytest.mark.parametrize("models", [("kmeans",), ("dbscan",), ("hdbscan", "agglomerative:n_clusters=3")])
def test_models_that_find_their_numbers_may_join_nothing(models: tuple[str, ...]) -> None:
    vectors, truth = blobs(12, 10)
    assert adjusted_rand_score(truth, joined(vectors, truth, 60, models=models).labels) == 1.0


def test_models_that_are_given_their_numbers_keep_them() -> None:
    vectors, truth = blobs(6, 10)
    found = joined(vectors, truth, 30, models=("kmeans:n_clusters=3", "agglomerative:n_clusters=3"))
    assert found.labels.max() == 2
    names = [row["model"] for row in found.selection.as_json()["candidates"]]
    assert sorted(names) == ["agglomerative", "kmeans"]


def test_where_no_model_fits_groups_stay_apart() -> None:
    vectors, truth = blobs(4, 10)
    found = joined(vectors, truth, 20, models=("kmeans:n_clusters=9",))
    assert found.labels.tolist() == truth.tolist()
    told = found.selection.as_json()
    assert told["best"] is None and "left apart" in told["note"]


def test_a_group_that_a_model_calls_noise_stays_as_it_is() -> None:
    vectors, truth = blobs(5, 12)
    groups = truth + 5 * (np.arange(60) % 2)
    groups[truth == 4] = 4  # in one piece: its medoid is near to no other
    found = joined(vectors, groups, 30, models=("dbscan:eps=0.4,min_samples=2",))
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_groups_of_copies_are_joined_and_nothing_warns(recwarn: pytest.WarningsRecorder) -> None:
    vectors = np.repeat(unit_vectors(np.eye(3, dtype=np.float32)), 4, axis=0)[[0, 1, 4, 5, 2, 3, 6, 7, 8]]
    names = [0, 0, 1, 1, 0, 0, 1, 1, 2]
    found = joined(vectors, np.array([0, 0, 1, 1, 2, 2, 3, 3, -1]), 4, names=names)
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, -1]
    one = joined(vectors[:8], np.array([0, 0, -1, -1, 1, 1, -1, -1]), 4, names=names[:8])
    assert one.labels.tolist() == [0, 0, -1, -1, 0, 0, -1, -1] and one.selection is None
    assert not recwarn.list


def test_the_same_whatever_the_threads() -> None:
    vectors, truth = blobs(30, 8)
    groups = truth + 30 * (np.arange(240) % 2)
    images = batched(features_of(vectors), 120)
    method = DeepModels(about={"dimensions": 12})
    one, two = (method.join(groups, images.starts, images.features_of, select(n_threads=k)) for k in (1, 2))
    assert one.labels.tolist() == two.labels.tolist()


def test_a_join_is_drawn(tmp_path: Path) -> None:
    vectors, truth = blobs(6, 10)
    selection = joined(vectors, truth, 30).selection
    assert str(APART) in [row["model"] for row in selection.as_json()["candidates"]]
    selection.draw(tmp_path, "representatives")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["models_representatives.png", "projection_representatives.png"]


def test_neighbourhoods_hold_the_nearest() -> None:
    points, _ = blobs(100, 1)
    picked = merging._neighbourhoods(points, 16, np.random.default_rng(0))
    assert picked.sum() <= 16
    drawn = np.random.default_rng(0).permutation(100)[:2]
    cosines = points[drawn] @ points.T
    assert picked[np.argsort(-cosines, axis=1)[:, :8]].all()
