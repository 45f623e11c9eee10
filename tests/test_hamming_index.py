"""The index behind hamming_edges: the pairs within a small radius, exactly those, however it is walked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import _core

Codes = NDArray[np.uint64]
DEPTHS = (1, 2, 3, 4)
ONE = np.uint64(1)


def threshold(radius: int, n_words: int = 1) -> float:
    """Return a threshold that leaves the pairs within a radius."""
    return (64 * n_words - radius - 0.5) / (64 * n_words)


def flipped(code: Codes, bits: list[int]) -> Codes:
    """Return a code with some of its bits turned."""
    turned = code.copy()
    for bit in bits:
        turned[bit // 64] ^= ONE << np.uint64(bit % 64)
    return turned


def make_codes(n: int, n_words: int = 1, *, seed: int = 0) -> Codes:
    """Return random codes, a third of them within 14 bits of the one before, and some copies."""
    rng = np.random.default_rng([seed, n, n_words])
    codes = rng.integers(0, 2**64, (n, n_words), dtype=np.uint64)
    for k in range(0, n - 1, 3):
        bits = rng.choice(64 * n_words, int(rng.integers(0, 15)), replace=False)
        codes[k + 1] = flipped(codes[k], bits.tolist())
    if n > 20:
        codes[n // 2 : n // 2 + 8] = codes[0]
    return codes


def differing_bits(codes: Codes, others: Codes) -> NDArray[np.intp]:
    """Return by how many bits each code differs from each of the others."""
    return np.unpackbits((codes[:, None] ^ others).view(np.uint8), axis=2).sum(axis=2)


def edges_within(radius: int, differing: NDArray[np.intp], n_words: int, *, triangle: bool) -> list[object]:
    """Return the edges of the pairs that differ by no more bits than the radius."""
    near = differing <= radius
    i, j = np.nonzero(np.triu(near, 1) if triangle else near)
    total = 64 * n_words
    return [(a, b, (total - int(differing[a, b])) / total) for a, b in zip(i, j, strict=True)]


@pytest.mark.parametrize("n_words", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 63, 64, 65, 257])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_index_finds_what_all_pairs_hold(depth: int, n: int, n_words: int) -> None:
    codes = make_codes(n, n_words)
    others = np.concatenate([codes[: n // 3], make_codes(max(1, n // 2), n_words, seed=1)])
    for rows in (None, others):
        differing = differing_bits(codes, codes if rows is None else rows)
        for radius in (0, 1, 4, 7, 12, 21):
            options = {"threshold": threshold(radius, n_words), "look": "index", "depth": depth}
            found = _core.hamming_edges_as(codes, rows, **options)
            assert found.tolist() == edges_within(radius, differing, n_words, triangle=rows is None)
            again = _core.hamming_edges_as(codes, rows, n_threads=2, **options)
            assert again.tobytes() == found.tobytes()


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("radius", [1, 4, 5, 8, 12, 20])
def test_a_pair_that_agrees_in_no_block_more_than_it_must_is_found(radius: int, depth: int) -> None:
    """With one block less to choose from, or one more to agree in, it would be missed."""
    n_blocks = max(8, radius + depth)
    starts = [64 * block // n_blocks for block in range(n_blocks)]
    rng = np.random.default_rng([radius, depth])
    code = rng.integers(0, 2**64, 1, dtype=np.uint64)
    crowd = rng.integers(0, 2**64, (3000, 1), dtype=np.uint64)  # so that buckets are sorted on
    pairs = [
        flipped(code, [starts[block] for block in rng.choice(n_blocks, radius, replace=False)])
        for _ in range(20)
    ]
    codes = np.concatenate([[code], pairs, crowd])
    found = _core.hamming_edges_as(codes, threshold=threshold(radius), look="index", depth=depth)
    assert {(0, k) for k in range(1, 21)} <= set(zip(found["i"].tolist(), found["j"].tolist(), strict=True))
    closer = _core.hamming_edges_as(codes, threshold=threshold(radius - 1), look="index", depth=depth)
    assert not {(0, k) for k in range(1, 21)} & set(
        zip(closer["i"].tolist(), closer["j"].tolist(), strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 63), max_size=9), min_size=2, max_size=60),
    st.integers(0, 12),
    st.sampled_from(DEPTHS),
)
def test_codes_close_together(turns: list[list[int]], radius: int, depth: int) -> None:
    codes = np.stack([flipped(np.zeros(1, np.uint64), bits) for bits in turns])
    found = _core.hamming_edges_as(codes, threshold=threshold(radius), look="index", depth=depth)
    assert found.tolist() == edges_within(radius, differing_bits(codes, codes), 1, triangle=True)


@pytest.mark.parametrize(("radius", "n"), [(0, 2500), (4, 2500), (8, 12_000), (12, 12_000), (28, 2500)])
def test_the_join_that_chooses_finds_the_same(radius: int, n: int) -> None:
    codes = make_codes(n)
    chosen = _core.hamming_edges(codes, threshold=threshold(radius))
    assert chosen.tobytes() == _core.hamming_edges(codes, threshold=threshold(radius), n_threads=1).tobytes()
    indexed = _core.hamming_edges_as(codes, threshold=threshold(radius), look="index", depth=2)
    assert indexed.tobytes() == chosen.tobytes()
    whole = _core.hamming_edges(codes, codes, threshold=threshold(radius))
    assert whole[whole["i"] < whole["j"]].tobytes() == chosen.tobytes()


def test_thousands_of_equal_codes_are_no_trap() -> None:
    codes = np.zeros((3000, 1), np.uint64)
    seen: list[int] = []
    found = _core.hamming_edges(codes, threshold=threshold(8), progress=seen.append)
    assert len(found) == 3000 * 2999 // 2
    assert all(0 <= done <= len(found) for done in seen)


def test_what_no_pair_can_reach_and_wrong_depths() -> None:
    codes = make_codes(100)
    assert len(_core.hamming_edges_as(codes, threshold=1.0, look="index", depth=2)) == 0
    with pytest.raises(ValueError, match="depth must be 1 to 4, got 5"):
        _core.hamming_edges_as(codes, threshold=0.9, look="index", depth=5)
    with pytest.raises(ValueError, match="radius of 28 bits a word at most"):
        _core.hamming_edges_as(codes, threshold=0.1, look="index", depth=2)
