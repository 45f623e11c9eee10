"""The CUDA kernels of codes: sizes around squares, every way to look at pairs, every threshold, the bound."""

from __future__ import annotations

from functools import partial
from typing import Any

import as_core
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.backends import cpp, reference

Codes = NDArray[np.uint64]
# A square is 64 codes across where all pairs are counted, 128 where they are sieved.
SIZES = (1, 2, 63, 64, 65, 127, 128, 129, 257)
# Radii of 64 bits that are sieved with folds of 2 words and joined pairs, of 2, of 4; all counted.
RADII = (6, 10, 12, 20)


def above(radius: int, n_words: int = 1) -> float:
    """Return a threshold that leaves the pairs within a radius."""
    return (64 * n_words - radius - 0.5) / (64 * n_words)


def packed(bits: NDArray[np.generic]) -> Codes:
    return np.packbits(bits.astype(bool), axis=1, bitorder="little").view(np.uint64)


def near_codes(n: int, n_words: int, seed: int = 0) -> Codes:
    """Return codes around some centres, the same for each seed, at many distances, some equal."""
    rng = np.random.default_rng([seed, n, n_words])
    centres = np.random.default_rng(n_words).random((8, 64 * n_words)) < 0.5
    turned = rng.random((n, 64 * n_words)) < rng.choice([0.0, 0.02, 0.06, 0.12, 0.25], (n, 1))
    return packed(centres[rng.integers(0, 8, n)] ^ turned)


assert_edges = partial(as_core.assert_edges, "hamming")
assert_components = partial(as_core.assert_components, "hamming")


@pytest.mark.parametrize("n", SIZES)
def test_sizes_around_squares(cuda: Any, n: int) -> None:
    codes, others = near_codes(n, 1), near_codes(70, 1, 1)
    for radius in RADII:
        assert_edges(cuda, codes, None, above(radius))
        assert_edges(cuda, codes, others, above(radius))
        assert_components(cuda, codes, above(radius))
    np.testing.assert_array_equal(cuda.hamming_matrix(codes), cpp.hamming_matrix(codes))
    np.testing.assert_array_equal(cuda.hamming_matrix(others, codes), cpp.hamming_matrix(others, codes))


@pytest.mark.parametrize("n_words", [2, 3, 4, 5, 8, 9, 16, 17, 64])
def test_words_around_chunks(cuda: Any, n_words: int) -> None:
    codes, others = near_codes(66, n_words), near_codes(3, n_words, 1)
    for threshold in (0.97, 0.85, 0.75, 0.6):
        assert_edges(cuda, codes, None, threshold)
    assert_edges(cuda, codes, others, 0.9)
    assert_components(cuda, codes, 0.9)
    np.testing.assert_array_equal(cuda.hamming_matrix(codes, others), cpp.hamming_matrix(codes, others))


def test_every_multiple(cuda: Any) -> None:
    """A score equal to the threshold is not above it."""
    distances = np.arange(65)
    codes = packed(np.arange(64) < distances[:, None])
    for equal in range(65):
        found = cuda.hamming_edges(codes[:1], codes, threshold=equal / 64)
        assert found["j"].tolist() == distances[64 - distances > equal].tolist()
        assert found["score"].tolist() == [(64 - distance) / 64 for distance in range(64 - equal)]


@pytest.mark.parametrize("n_words", [1, 20])
def test_all_and_none(cuda: Any, n_words: int) -> None:
    codes = near_codes(67, n_words)
    for threshold in (-np.inf, -1.0, -1e-300):
        assert len(cuda.hamming_edges(codes, threshold=threshold)) == 67 * 66 // 2
        assert cuda.hamming_components(codes, threshold=threshold).tolist() == [0] * 67
    for threshold in (1.0, 2.0):
        assert len(cuda.hamming_edges(codes, threshold=threshold)) == 0
        assert cuda.hamming_components(codes, threshold=threshold).tolist() == [-1] * 67
    assert_edges(cuda, codes, None, 0.0)


@pytest.mark.parametrize("n_words", [1, 20])
def test_equal_codes_everywhere(cuda: Any, n_words: int) -> None:
    """Nothing is sieved out: squares are counted."""
    codes = np.repeat(near_codes(1, n_words), 200, axis=0)
    assert_edges(cuda, codes, None, 0.95)
    assert_components(cuda, codes, 0.95)


@pytest.mark.parametrize("n_words", [1, 20])
def test_some_equal_codes_in_every_square(cuda: Any, n_words: int) -> None:
    """A few pairs of a thread are similar, so many that several rounds give them to the list."""
    codes = near_codes(140, n_words, 3)
    codes[::4] = codes[0]
    assert_edges(cuda, codes, None, 0.95)
    assert_edges(cuda, codes, codes[:130], 0.9)


def test_blocks_that_take_several_squares(cuda: Any) -> None:
    """Rows stay where they are from one square to the next, but where one is counted in between."""
    codes = np.random.default_rng(5).integers(0, 2**64, (1700, 1), dtype=np.uint64)
    codes[100:280] = codes[0]
    codes[1::50] = codes[1]
    assert_edges(cuda, codes, None, above(6))


def test_codes_as_imagehash(cuda: Any) -> None:
    codes = near_codes(65, 1)
    for radius in RADII:
        np.testing.assert_array_equal(
            cuda.hamming_edges(codes, threshold=above(radius)),
            reference.hamming_edges(codes, threshold=above(radius)),
        )


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n_words=st.sampled_from([1, 2, 3, 8, 40]), seed=st.integers(0, 2**32 - 1))
def test_pairs_at_the_bound_are_kept(cuda: Any, data: Any, n_words: int, seed: int) -> None:
    """Bits that differ in one word of each fold alone are as many in the fold; a neighbour that differs
    everywhere takes none of them away."""
    total = 64 * n_words
    radius = data.draw(st.integers(1, total // 4))
    rng = np.random.default_rng(seed)
    first = rng.random(total) < 0.5
    places = np.flatnonzero(np.arange(total) // 32 % 4 == 0)[:radius]
    turned = np.zeros((130, total), bool)
    for row in turned[::2]:
        row[rng.choice(places, min(radius, len(places)), replace=False)] = True
    turned[1::2] = True
    codes = packed(first ^ turned)
    differing = min(radius, len(places))
    found = cuda.hamming_edges(packed(first[None]), codes, threshold=above(differing, n_words))
    assert found["j"].tolist() == list(range(0, 130, 2))
    assert_edges(cuda, codes, packed(first[None]), above(differing, n_words))
    assert len(cuda.hamming_edges(codes, packed(first[None]), threshold=above(differing - 1, n_words))) == 0
