"""All pairs of codes, in every way the join can look at them: exactly those within the radius."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import _core, kernels

Codes = NDArray[np.uint64]
LOOKS = ("folded", "capped", "counted", "dense")
ONE = np.uint64(1)


def threshold(radius: int, n_words: int = 1) -> float:
    """Return a threshold that leaves the pairs within a radius."""
    return (64 * n_words - radius - 0.5) / (64 * n_words)


def all_distances(codes: Codes, rows: Codes) -> NDArray[np.uint64]:
    """Return in how many bits each code differs from each row."""
    return np.stack([np.unpackbits((code ^ rows).view(np.uint8), axis=1).sum(axis=1) for code in codes])


def edges_within(distances: NDArray[np.uint64], radius: int, total: int, *, triangle: bool) -> list[object]:
    """Return the edges as the core lists them, from the distances of all pairs."""
    i, j = np.nonzero(distances <= radius)
    kept = i < j if triangle else i >= 0
    scores = (total - distances[i, j].astype(np.int64)) / total
    return list(zip(i[kept].tolist(), j[kept].tolist(), scores[kept].tolist(), strict=True))


def spread_codes(n: int, n_words: int, *, seed: int = 0) -> Codes:
    """Return codes at every distance from the first: more and more of its bits are turned."""
    rng = np.random.default_rng([seed, n, n_words])
    total = 64 * n_words
    first = rng.integers(0, 2, total, dtype=np.uint8)
    bits = np.repeat(first[None], n, axis=0)
    for k in range(n):
        turned = rng.choice(total, round(total * k / max(1, n - 1)), replace=False)
        bits[k, turned] ^= 1
    codes = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    return codes[rng.permutation(n)] if n else codes


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("n", [1, 2, 63, 255, 257, 513])
def test_every_radius_around_the_edges_of_tiles(isa: str, n: int, look: str) -> None:
    codes = spread_codes(n, 1)
    distances = all_distances(codes, codes)
    for radius in range(65) if n < 256 else (0, 1, 7, 8, 12, 13, 15, 16, 31, 39, 40, 63, 64):
        found = _core.hamming_edges_as(codes, threshold=threshold(radius), look=look)
        assert found.tolist() == edges_within(distances, radius, 64, triangle=True)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("n_words", [2, 3, 4, 5, 16, 64])
def test_long_codes(isa: str, n_words: int, look: str) -> None:
    codes, others = spread_codes(257, n_words), spread_codes(130, n_words, seed=1)
    others[7:40] = codes[100:133]
    total = 64 * n_words
    within, across = all_distances(codes, codes), all_distances(codes, others)
    radii = {0, 13, 63, 64, 127, 128, 255, total * 5 // 16, total - 1}
    for radius in sorted(radius for radius in radii if radius < total):
        options = {"threshold": threshold(radius, n_words), "look": look}
        found = _core.hamming_edges_as(codes, **options)
        assert found.tolist() == edges_within(within, radius, total, triangle=True)
        found = _core.hamming_edges_as(codes, others, **options)
        assert found.tolist() == edges_within(across, radius, total, triangle=False)
        again = _core.hamming_edges_as(codes, others, n_threads=2, **options)
        assert again.tobytes() == found.tobytes()


def turned_codes(n_words: int, groups: list[int], n_bits: int) -> Codes:
    """Return a zero code, and codes with `n_bits` bits set in each of more and more groups of 5."""
    places = [64 * word + 5 * group for word in range(n_words) for group in groups]
    bits = np.zeros((len(places) + 1, 64 * n_words), np.uint8)
    for k, place in enumerate(places):
        bits[k + 1 :, place : place + n_bits] = 1
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


@pytest.mark.parametrize(("look", "n_bits"), [("folded", 1), ("capped", 1), ("capped", 2), ("capped", 3)])
@pytest.mark.parametrize("n_words", [1, 2, 4, 5, 16])
def test_a_bound_that_is_met(isa: str, n_words: int, look: str, n_bits: int) -> None:
    """What the filter sums is the distance here, so that a sum one too high drops a pair."""
    codes = turned_codes(n_words, list(range(13)), n_bits)
    rng = np.random.default_rng(0)
    codes ^= rng.integers(0, 2**64, (1, n_words), dtype=np.uint64)  # so that tables differ too
    order = rng.permutation(len(codes))
    distances = all_distances(codes[order], codes[order])
    for radius in sorted({n_bits * k for k in range(len(codes))}):
        if radius >= 64 * n_words:
            continue
        found = _core.hamming_edges_as(codes[order], threshold=threshold(radius, n_words), look=look)
        assert found.tolist() == edges_within(distances, radius, 64 * n_words, triangle=True)


def test_every_value_of_every_group(isa: str) -> None:
    """All 32 x 32 values a group of 5 bits has in a row and in a query, in each of the 13 places."""
    for group in range(13):
        width = min(5, 64 - 5 * group)
        codes = (np.arange(2**width, dtype=np.uint64) << np.uint64(5 * group))[:, None]
        distances = all_distances(codes, codes)
        for look in LOOKS:
            for radius in range(width + 1):
                found = _core.hamming_edges_as(codes, codes, threshold=threshold(radius), look=look)
                assert found.tolist() == edges_within(distances, radius, 64, triangle=False)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_codes_any_way(data: st.DataObject) -> None:
    n_words = data.draw(st.sampled_from([1, 2, 4, 5, 9]))
    dense = data.draw(st.sampled_from([0.02, 0.1, 0.5]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.integers(1, 300))
    bits = (rng.random((n, 64 * n_words)) < dense).astype(np.uint8)
    codes = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    radius = data.draw(st.integers(0, 64 * n_words - 1))
    look = data.draw(st.sampled_from(LOOKS))
    found = _core.hamming_edges_as(codes, threshold=threshold(radius, n_words), look=look)
    wanted = edges_within(all_distances(codes, codes), radius, 64 * n_words, triangle=True)
    assert found.tolist() == wanted


@pytest.mark.parametrize(
    ("n", "n_words", "radius"),
    [
        (2500, 1, 4),
        (2500, 1, 12),
        (2500, 1, 20),
        (2500, 1, 28),
        (1500, 4, 79),
        (2500, 4, 20),
        (700, 64, 1269),
    ],
)
def test_the_join_that_chooses_finds_what_counting_finds(n: int, n_words: int, radius: int) -> None:
    rng = np.random.default_rng(n)
    codes = rng.integers(0, 2**64, (n, n_words), dtype=np.uint64)
    codes[n // 2 :] = codes[: n - n // 2]
    for k in range(n // 2, n):
        codes[k, k % n_words] ^= ONE << np.uint64(k % 64)
    wanted = _core.hamming_edges_as(codes, threshold=threshold(radius, n_words), look="counted")
    assert _core.hamming_edges(codes, threshold=threshold(radius, n_words)).tobytes() == wanted.tobytes()
    assert len(wanted) >= n // 2


def test_crowds_of_equal_codes_and_constant_bits() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, (4000, 1), dtype=np.uint64)
    codes[:400] = codes[0]  # a tenth are equal
    codes[400:800] &= np.uint64(0xFFFF)  # and a tenth have 48 constant bits
    for radius in (0, 4, 8, 12):
        wanted = _core.hamming_edges_as(codes, threshold=threshold(radius), look="counted")
        assert _core.hamming_edges(codes, threshold=threshold(radius)).tobytes() == wanted.tobytes()
        assert len(wanted) >= 400 * 399 // 2
    equal = np.full((3000, 4), 7, np.uint64)
    found = _core.hamming_edges(equal, threshold=threshold(20, 4))
    assert len(found) == 3000 * 2999 // 2
    assert (found["score"] == 1).all()


def test_the_plan_is_told_and_does_not_change() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, (30_000, 1), dtype=np.uint64)
    plans = {
        radius: _core.hamming_plan(codes, threshold=threshold(radius)) for radius in (4, 8, 16, 20, 28, 50)
    }
    assert plans[4] == "index of 5 blocks, 1 deep"
    assert plans[8] == "index of 9 blocks, 1 deep"
    assert plans[20] == "all pairs, bit-sliced, groups of 5 bits capped at 3"
    assert plans[28] == plans[50] == "all pairs, bit-sliced, counted exactly"
    for radius, plan in plans.items():
        assert _core.hamming_plan(codes, threshold=threshold(radius)) == plan
    assert _core.hamming_plan(codes[:9], threshold=0.9) == "all pairs, counted one by one"
    assert _core.hamming_plan(codes, threshold=1.0) == "no pairs: no score can be above the threshold"
    assert _core.hamming_plan(codes[:0], threshold=0.9) == "all pairs, counted one by one"


@pytest.mark.parametrize("look", ["folded", "capped"])
def test_columns_of_more_than_16_bits_and_crowds_in_them(isa: str, look: str) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, (300, 1), dtype=np.uint64)
    others = rng.integers(0, 2**64, (70_000, 1), dtype=np.uint64)
    codes[100:] = codes[0]
    others[65_300:66_300] = codes[0] ^ ONE  # on both sides of the last number of 16 bits
    options = {"threshold": threshold(9)}
    wanted = _core.hamming_edges_as(codes, others, look="counted", **options)
    for n_threads in (1, 3):
        found = _core.hamming_edges_as(codes, others, look=look, n_threads=n_threads, **options)
        assert found.tobytes() == wanted.tobytes()
    assert len(wanted) >= 201 * 1000


@pytest.mark.parametrize("radius", [22, 26, 30])
def test_components_where_many_are_near(isa: str, radius: int) -> None:
    """They come of fewer pairs than are near; here in groups, whose codes are far from other groups'."""
    rng = np.random.default_rng(radius)
    n, n_groups = 3000, 40
    code = rng.integers(0, 2**64, n_groups, dtype=np.uint64)
    group = rng.integers(0, n_groups, n)
    codes = code[group]
    for _ in range(9):
        codes ^= ONE << rng.integers(0, 64, n).astype(np.uint64)
    centres = np.array([0, 2**64 - 1, 0x00000000FFFFFFFF], np.uint64)
    apart = centres[rng.integers(0, 3, n)]
    for _ in range(4):
        apart ^= ONE << rng.integers(0, 64, n).astype(np.uint64)
    for some in (codes, apart, rng.integers(0, 2**64, n, dtype=np.uint64)):
        options = {"threshold": threshold(radius)}
        edges = _core.hamming_edges_as(some[:, None], look="counted", **options)
        wanted = kernels.components(edges, n)
        for n_threads in (1, 2):
            found = _core.hamming_components(some[:, None], n_threads=n_threads, **options)
            np.testing.assert_array_equal(found, wanted)
    assert "counted exactly" in _core.hamming_plan(apart[:, None], threshold=threshold(radius))
    if radius < 32 - 8:
        assert len(set(kernels.components(_core.hamming_edges(apart[:, None], **options), n).tolist())) == 3


def test_wrong_looks() -> None:
    codes = np.zeros((3, 1), np.uint64)
    with pytest.raises(ValueError, match="look must be index, folded, capped, counted or dense, got some"):
        _core.hamming_edges_as(codes, threshold=0.5, look="some")


@pytest.mark.parametrize("look", ["index", *LOOKS])
def test_no_way_finds_pairs_where_no_score_can_be_above_the_threshold(look: str) -> None:
    codes = np.zeros((300, 1), np.uint64)
    assert len(_core.hamming_edges_as(codes, threshold=1.0, look=look, depth=1)) == 0
