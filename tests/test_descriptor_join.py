"""The descriptor kernel at its edges: groups of four rows, blocks of 256, distances of 0, 255 and 256."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import Ragged
from clusterimg.backends import Engine, reference

Rows = NDArray[np.uint8]
SIZES = (0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 255, 256, 257, 500)
RULES = (("ratio", 40), ("absolute", 40), ("absolute", 0), ("absolute", 255), ("relative", 40))


def ragged(sets: Sequence[Rows]) -> Ragged:
    """Return sets of descriptors as the kernels take them."""
    return Ragged.from_arrays(list(sets), empty=np.empty((0, 32), np.uint8))


def from_bits(bits: NDArray[Any]) -> Rows:
    """Return rows of 256 bits, the first bit lowest, as descriptors."""
    return np.packbits(np.atleast_2d(bits).astype(bool), axis=1, bitorder="little")


def differing_in(n_bits: int, seed: int = 0) -> Rows:
    """Return a descriptor with that many bits set."""
    bits = np.zeros(256, bool)
    bits[np.random.default_rng([seed, n_bits]).permutation(256)[:n_bits]] = True
    return from_bits(bits)[0]


def assert_as_opencv(engine: Engine, sets: Sequence[Rows]) -> None:
    wanted = by_opencv(tuple(rows.tobytes() for rows in sets))
    for (rule, most), matrix in zip(RULES, wanted, strict=True):
        got = engine.matrix("descriptor", ragged(sets), rule=rule, max_distance=most)
        np.testing.assert_array_equal(got, matrix, f"{rule} {most}")


@cache
def by_opencv(sets: tuple[bytes, ...]) -> list[np.ndarray]:
    """Return the matrix of each rule, found once for all engines."""
    rows = ragged([np.frombuffer(each, np.uint8).reshape(-1, 32) for each in sets])
    return [reference.descriptor_matrix(rows, rule=rule, max_distance=most) for rule, most in RULES]


def test_random_sets_of_every_size(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    assert_as_opencv(engine, [rng.integers(0, 256, (n, 32), dtype=np.uint8) for n in SIZES])


def test_near_copies_of_every_size(engine: Engine) -> None:
    """Rows drawn from few centres with some bits turned: small distances, ties, all of one class."""
    rng = np.random.default_rng(1)
    centres = rng.random((60, 256)) < 0.5
    sets = []
    for n in SIZES:
        turned = rng.random((n, 256)) < rng.choice([0.0, 0.01, 0.1], (n, 1))
        sets.append(from_bits(centres[rng.integers(0, 60, n)] ^ turned).reshape(-1, 32))
    assert_as_opencv(engine, sets)


@pytest.mark.parametrize("n_bits", [0, 1, 7, 8, 9, 55, 56, 57, 63, 64, 65, 127, 128, 129, 254, 255, 256])
def test_classes_of_any_number_of_bits(engine: Engine, n_bits: int) -> None:
    """A group's second, third and fourth row differ from its first in a given number of bits."""
    rng = np.random.default_rng(2)
    first = rng.integers(0, 256, 32, dtype=np.uint8)
    group = np.stack([first, *(first ^ differing_in(n_bits, seed) for seed in range(3))])
    others = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    assert_as_opencv(engine, [group, others, np.concatenate([others[:30], group]), ~group])


@pytest.mark.parametrize("nearest", [0, 1, 190, 191, 192, 253, 254, 255, 256])
@pytest.mark.parametrize("second", [0, 253, 254, 255, 256])
def test_the_largest_distances(engine: Engine, nearest: int, second: int) -> None:
    """Both ways: the only distances are the given ones, wherever the rows stand."""
    zero = np.zeros((1, 32), np.uint8)
    for n_far in (1, 3, 40):
        far = np.repeat(differing_in(second)[None], n_far, axis=0)
        near = differing_in(nearest)[None]
        sets = [np.repeat(zero, 5, axis=0), np.concatenate([far, near]), np.concatenate([near, far]), zero]
        assert_as_opencv(engine, sets)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_equal_and_opposite_rows(data: st.DataObject) -> None:
    """Distances 0, 255 and 256 among few distinct rows, so that a 256 may look like a 0 beside it."""
    from clusterimg.backends import cpp

    pool = np.stack([differing_in(n) for n in (0, 256, 255, 1, 128)] + [~differing_in(128)])
    drawn = st.lists(st.integers(0, len(pool) - 1), max_size=12)
    sets = ragged([pool[data.draw(drawn)].reshape(-1, 32) for _ in range(2)])
    for rule, most in RULES:
        options: dict[str, Any] = {"rule": rule, "max_distance": most}
        got = cpp.descriptor_matrix(sets, n_threads=1, **options)
        np.testing.assert_array_equal(got, reference.descriptor_matrix(sets, **options))


def test_the_first_of_the_nearest_may_be_nearer_to_another(engine: Engine) -> None:
    """Rows 0 and 9 are as near to column 5; row 0 has a nearer column, so that no one matches column 5."""
    rng = np.random.default_rng(4)
    a, b = (rng.integers(0, 256, (40, 32), dtype=np.uint8) for _ in range(2))
    b[5] = differing_in(100)
    a[0], a[9] = b[5] ^ differing_in(7, seed=1), b[5] ^ differing_in(7, seed=2)
    b[20] = a[0]
    assert_as_opencv(engine, [a, b, b[::-1].copy()])
    for row in (0, 1, 9, 39):  # the same with the other row before, in and behind its group
        order = np.roll(np.arange(40), row)
        assert_as_opencv(engine, [a[order], b])


def test_an_opposite_row_behind_an_equal_one(engine: Engine) -> None:
    """Column 1 looks equal to row 0, its opposite, whose own nearest is an equal column before it."""
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 256, (12, 32), dtype=np.uint8) for _ in range(2))
    b[0], b[1] = a[0], ~a[0]
    a[7] = b[1] ^ differing_in(3)
    assert_as_opencv(engine, [a, b])
    a[8] = b[1]
    assert_as_opencv(engine, [a, b])


def test_more_rows_than_a_byte_numbers(engine: Engine) -> None:
    """Over 255 groups of four and over 255 registers of 32."""
    rng = np.random.default_rng(3)
    many = rng.integers(0, 256, (8300, 32), dtype=np.uint8)
    few = many[[0, 1023, 1024, 5000, 8191, 8192, 8299]]
    for one, other in (([few], [many]), ([many], [few])):
        for rule in ("ratio", "absolute"):
            options: dict[str, Any] = {"rule": rule, "max_distance": 40}
            got = engine.matrix("descriptor", ragged(one), ragged(other), **options)
            wanted = reference.descriptor_matrix(ragged(one), ragged(other), **options)
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("places", [(20,), (20, 1044), (1044, 2068), (23, 1044), (1047, 2068), (1044, 1045)])
def test_equally_near_rows_in_groups_of_one_number(engine: Engine, places: tuple[int, ...]) -> None:
    """Groups are numbered modulo 256: rows 20, 1044 and 2068 stand in groups of one number."""
    rng = np.random.default_rng(6)
    rows = rng.integers(0, 256, (2100, 32), dtype=np.uint8)
    few = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    for seed, row in enumerate(places):
        rows[row] = few[33] ^ differing_in(9, seed)
    assert_as_opencv(engine, [rows, few])
    assert_as_opencv(engine, [few, rows])


@pytest.mark.parametrize("n", [4096, 4097])
def test_tiles_of_sets_too_large_to_stay_laid_out(n: int) -> None:
    """Rows of a band are laid out once, or again for each tile where one image is large."""
    from clusterimg.backends import cpp

    rng = np.random.default_rng(7)
    pool = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    sets = [pool[rng.integers(0, n, 20)] for _ in range(35)]
    sets[3] = pool
    options: dict[str, Any] = {"rule": "absolute", "max_distance": 0}
    got = cpp.descriptor_matrix(ragged(sets), n_threads=1, **options)
    np.testing.assert_array_equal(got, reference.descriptor_matrix(ragged(sets), **options))


@pytest.mark.parametrize("n", [15, 16, 17, 31, 32, 33, 49])
def test_tiles_of_sets(engine: Engine, n: int) -> None:
    rng = np.random.default_rng(n)
    pool = rng.integers(0, 256, (30, 32), dtype=np.uint8)
    sets = [pool[rng.integers(0, 30, int(rng.integers(0, 9)))] for _ in range(n)]
    options: dict[str, Any] = {"rule": "absolute", "max_distance": 0}
    wanted = reference.descriptor_matrix(ragged(sets), **options)
    edges = engine.edges("descriptor", ragged(sets), threshold=0.3, **options)
    i, j = np.nonzero(np.triu(wanted > 0.3, 1))
    np.testing.assert_array_equal(edges["i"], i)
    np.testing.assert_array_equal(edges["j"], j)
    np.testing.assert_array_equal(edges["score"].astype(np.float32), wanted[i, j])
    across = engine.matrix("descriptor", ragged(sets), ragged(sets[: n // 2]), **options)
    np.testing.assert_array_equal(across, wanted[:, : n // 2])
