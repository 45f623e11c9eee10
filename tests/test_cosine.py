"""Cosines of embeddings: pairs that a product of float32 matrices proposes and a sum in float64 decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import clusterimg as ci
from clusterimg.backends import _cosine, report, select
from clusterimg.methods.deep import Deep

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def some(n: int, dimensions: int, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, n // 3), dimensions))
    return unit(centres[rng.integers(len(centres), size=n)] + 0.3 * rng.normal(size=(n, dimensions)))


def exact(rows: Vectors, columns: Vectors) -> NDArray[np.float64]:
    """Return the cosines, each sum rounded once (Python's own `fsum`)."""
    from math import fsum

    return np.array([[fsum(a.astype(float) * b.astype(float)) for b in columns] for a in rows]).reshape(
        len(rows), len(columns)
    )


@pytest.mark.parametrize("n", [0, 1, 2, 33])
@pytest.mark.parametrize("dimensions", [1, 7, 64])
def test_pairs_are_those_of_exact_sums(n: int, dimensions: int) -> None:
    vectors = some(n, dimensions)
    wanted = np.triu(exact(vectors, vectors), 1)
    for backend in [name for name, reason in report().items() if reason is None]:
        edges = select(backend).edges("cosine", vectors, threshold=0.6)
        np.testing.assert_array_equal(np.argwhere(wanted > 0.6), np.column_stack([edges["i"], edges["j"]]))
        np.testing.assert_allclose(edges["score"], wanted[edges["i"], edges["j"]], rtol=0, atol=1e-14)


def test_blocks_of_rows_and_columns_leave_no_pair_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, others = some(45, 16), some(31, 16, seed=1)
    whole = [
        select().edges("cosine", vectors, others, threshold=0.4),
        select().edges("cosine", vectors, threshold=0.4),
    ]
    monkeypatch.setattr(_cosine, "_ROWS", 7)
    monkeypatch.setattr(_cosine, "_COLUMNS", 5)
    monkeypatch.setattr(_cosine, "_PAIRS_AT_ONCE", 1)
    assert len(whole[0]) and len(whole[1])
    seen: list[int] = []
    blocks = select().edges("cosine", vectors, threshold=0.4, progress=seen.append)
    np.testing.assert_array_equal(whole[1], blocks)
    np.testing.assert_array_equal(whole[0], select().edges("cosine", vectors, others, threshold=0.4))
    assert seen == sorted(seen) and seen[-1] == 45 * 44 // 2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), dimensions=st.sampled_from([3, 64, 1280]))
def test_a_pair_just_above_the_threshold_is_found(seed: int, dimensions: int) -> None:
    """The product in float32 is off by more than the step from a score to the next number."""
    vectors = some(24, dimensions, seed)
    wanted = exact(vectors, vectors)
    i, j = np.triu_indices(24, 1)
    for score in np.unique(_cosine.cosine_scores(vectors, i=i, j=j))[::40]:
        below = np.nextafter(score, -1)
        edges = select().edges("cosine", vectors, threshold=below)
        assert score in edges["score"]
        assert (edges["score"] > below).all()
        assert len(edges) == (_cosine.cosine_scores(vectors, i=i, j=j) > below).sum()
    assert wanted.max() < 1 + 1e-6


def test_scores_do_not_hang_on_how_many_are_asked_for() -> None:
    vectors = some(64, 100)
    i, j = np.triu_indices(64, 1)
    together = _cosine.cosine_scores(vectors, i=i, j=j)
    alone = [_cosine.cosine_scores(vectors, i=i[k : k + 1], j=j[k : k + 1])[0] for k in range(len(i))]
    np.testing.assert_array_equal(together, alone)
    assert (_cosine.cosine_scores(vectors, i=i, j=i) <= 1).all()


def test_zero_vectors_score_zero() -> None:
    vectors = np.vstack([np.zeros((2, 8), np.float32), some(3, 8)])
    assert not len(select().edges("cosine", vectors[:3], threshold=0.0))
    assert (select().matrix("cosine", vectors)[:2] == 0).all()


def test_the_matrix_is_that_of_exact_sums() -> None:
    vectors, others = some(20, 30), some(11, 30, seed=3)
    found = select().matrix("cosine", vectors, others)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact(vectors, others), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 4)), np.zeros(4, np.float32), np.zeros((2, 3, 4), np.float32)], ids=str
)
def test_what_is_no_embedding_is_refused(wrong: NDArray[np.floating]) -> None:
    with pytest.raises(ci.UsageError, match="embeddings must be float32"):
        select().edges("cosine", wrong, threshold=0.5)


def test_features_made_before_are_compared_without_a_network() -> None:
    vectors = some(30, 12)
    features = ci.Features(
        "deep",
        {"name": "mine", "dimensions": 12},
        vectors,
        np.full((30, 2), 9, np.int32),
        np.zeros(30, bool),
        np.zeros(30, bool),
        np.arange(30, dtype=np.uint8).repeat(16).reshape(30, 16),
    )
    pairs = ci.similar_pairs(features, threshold=0.7)
    np.testing.assert_array_equal(pairs, select().edges("cosine", vectors, threshold=0.7))
    assert ci.cluster(features, threshold=0.7).max() >= 0
    assert Deep(about=features.params).dimensions == 12
    with pytest.raises(ci.UsageError, match="network that made them is not here"):
        Deep(about=features.params).collect([np.zeros((3, 8, 8), np.uint8)])
