"""Clusters of batches that cluster models join: medoids, the sample that is scored, known answers."""

from __future__ import annotations

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

from clusterimg.deep import _scores, joining
from clusterimg.deep.embedding import unit_vectors
from clusterimg.deep.joining import APART, Batched, choose_joined, medoids, spread_sample
from clusterimg.deep.selection import Selection
from clusterimg.deep.selection_plots import save_projection, save_scores

OPTIONS = {"seed": 0, "memory": 2**30, "n_jobs": 1, "rule": "neighbours"}
Vectors = NDArray[np.float32]


def batched(
    vectors: Vectors, *cuts: int, names: list[int] | None = None, blank: tuple[int, ...] = ()
) -> Batched:
    """Return images in batches that end at `cuts`; those of one name are copies, `blank` ones featureless."""
    n = len(vectors)
    named = np.array(names or range(n))
    digests = np.repeat(named.astype(np.uint16)[:, None], 8, axis=1).view(np.uint8)
    is_blank = np.isin(np.arange(n), blank)
    features = Features("deep", {}, vectors, np.ones((n, 2), np.int32), is_blank, is_blank, digests)

    def features_of(images: NDArray[np.int64]) -> Features:
        assert (np.diff(images) > 0).all(), "images are asked for by rising indices"
        return features.take(images)

    return Batched(np.array([0, *cuts, n]), features_of)


def blobs(k: int, size: int, seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Return vectors of k groups, those of a group next to each other, and the groups."""
    points, truth = make_blobs(k * size, 12, centers=k, random_state=seed)
    order = np.argsort(truth, kind="stable")
    return unit_vectors(points[order]), truth[order]


def joined(
    vectors: Vectors, groups: NDArray[np.int64], *cuts: int, models: tuple[str, ...] | None = None
) -> tuple[NDArray[np.int32], Selection]:
    """Return the labels of all images after the join, and how it was chosen."""
    images = batched(vectors, *cuts)
    chosen, places = medoids(groups, images)
    members = spread_sample(images, 0, 2**30)
    points = images.vectors_of(chosen)
    labels, selection = choose_joined(
        points, vectors[members], places[members], models, n_images=len(vectors), **OPTIONS
    )
    return np.where(places >= 0, labels[places], -1).astype(np.int32), selection


# --- medoids ---


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_medoids_are_those_of_the_definition(seed: int, n: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_vectors(rng.integers(-2, 3, (n, 3)).astype(np.float32))
    groups = rng.integers(-1, n_groups, n)
    cuts = np.sort(rng.integers(0, n + 1, 3))
    chosen, places = medoids(groups, batched(vectors, *cuts))
    names = sorted(set(groups[groups >= 0].tolist()))
    assert len(chosen) == len(names)
    for place, name in enumerate(names):
        own = np.flatnonzero(groups == name)
        assert (places[own] == place).all()
        cosines = vectors[own].astype(np.float64) @ vectors[own].astype(np.float64).sum(axis=0)
        assert chosen[place] in own
        assert cosines[own == chosen[place]][0] == pytest.approx(cosines.max(), abs=1e-9)
    assert (places[groups < 0] == -1).all()


def test_the_first_of_equal_medoids_is_taken() -> None:
    vectors = unit_vectors(np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32))
    chosen, _ = medoids(np.zeros(4, np.int64), batched(vectors, 2))
    assert chosen.tolist() == [1]


# --- the sample ---


def test_few_images_are_all_scored_but_copies_and_featureless_ones() -> None:
    vectors, _ = blobs(4, 5)
    images = batched(vectors, 7, names=[*range(18), 3, 5], blank=(4, 9))
    assert spread_sample(images, 0, 2**30).tolist() == [k for k in range(18) if k not in (4, 9)]


@pytest.mark.parametrize("cuts", [(), (1,), (130, 130, 131), (60, 120, 300)])
def test_half_are_drawn_and_the_others_are_their_nearest(
    cuts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_ROWS", 37)
    vectors, _ = blobs(160, 2)
    found = spread_sample(batched(vectors, *cuts), 5, 0)
    assert len(found) <= _scores.most_scored(0) == 100
    assert (np.diff(found) > 0).all()
    assert found.tolist() == spread_sample(batched(vectors), 5, 0).tolist()  # wherever batches end
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    drawn = np.random.default_rng(5).permutation(320)[:50]
    assert set(found.tolist()) == {*drawn.tolist(), *cosines[drawn].argmax(axis=1).tolist()}


# --- the join ---


@pytest.mark.parametrize("k", [2, 5, 12])
def test_groups_that_differ_stay_apart(k: int) -> None:
    vectors, truth = blobs(2 * k, 10)
    labels, selection = joined(vectors, truth, k * 10)  # each group is in one batch
    assert adjusted_rand_score(truth, labels) == 1.0
    assert selection.best is not None and selection.best.n_clusters == 2 * k


@pytest.mark.parametrize("n_batches", [2, 3, 6])
@pytest.mark.parametrize("k", [2, 5, 20])
def test_groups_of_every_batch_are_joined(k: int, n_batches: int) -> None:
    vectors, truth = blobs(k, 5 * n_batches, seed=k)
    order = np.argsort(np.arange(len(truth)) % n_batches, kind="stable")
    batch = np.arange(len(truth)) // (5 * k)
    groups = truth[order] + k * batch
    labels, selection = joined(vectors[order], groups, *(5 * k * np.arange(1, n_batches)))
    assert adjusted_rand_score(truth[order], labels) == 1.0
    assert (selection.n_points, selection.labels.max() + 1) == (len(truth), k)


def test_some_are_joined_some_are_not_outliers_are_left() -> None:
    vectors, truth = blobs(6, 10)
    groups = truth + 6 * (np.arange(60) % 20 >= 17)  # the ends of three groups were found in the other batch
    groups[[0, 25, 59]] = -1
    labels, _ = joined(vectors, groups, 30)
    members = groups >= 0
    assert adjusted_rand_score(truth[members], labels[members]) == 1.0
    assert (labels[~members] == -1).all()


def test_models_that_are_asked_for_are_the_only_ones() -> None:
    vectors, truth = blobs(6, 10)
    labels, selection = joined(vectors, truth, 30, models=("kmeans:n_clusters=3",))
    assert labels.max() == 2
    assert [row.name for row in selection.rows] == ["kmeans:n_clusters=3"]


def test_where_no_model_fits_groups_stay_apart() -> None:
    vectors, truth = blobs(4, 10)
    labels, selection = joined(vectors, truth, 20, models=("kmeans:n_clusters=9",))
    assert labels.tolist() == truth.tolist()
    assert selection.best is None and "left apart" in selection.note


def test_a_group_that_a_model_calls_noise_stays_as_it_is() -> None:
    vectors, truth = blobs(5, 12)
    groups = truth + 5 * (np.arange(60) % 2)
    groups[truth == 4] = 4  # in one piece: its medoid is near to no other
    labels, selection = joined(vectors, groups, 30, models=("dbscan:eps=0.4,min_samples=2",))
    assert adjusted_rand_score(truth, labels) == 1.0
    assert selection.best is not None and selection.best.outliers == 0.0


def test_a_join_of_nothing_is_drawn(tmp_path: Path) -> None:
    vectors, truth = blobs(6, 10)
    _, selection = joined(vectors, truth, 30)
    assert str(APART) in [row.name for row in selection.rows]
    save_scores(selection, tmp_path / "scores.png")
    save_projection(vectors, selection, tmp_path / "points.png")
    assert (tmp_path / "scores.png").stat().st_size and (tmp_path / "points.png").stat().st_size
