"""The CUDA kernel of cross-checked matches at its edges: sizes, ties, rules, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import Ragged
from clusterimg.backends import cpp, reference

Rows = NDArray[np.uint8]
# Around the columns of a step and the rows of a warp and of a block; what is longer than these.
SIZES = (0, 1, 2, 31, 32, 33, 64, 65, 128, 129)
LONG = (255, 256, 257, 384, 385, 513)
KEPT = 1024  # rows and columns whose minima are kept at once
RULES = (("absolute", 0), ("absolute", 40), ("relative", 40), ("ratio", 40))


def ragged(sets: Sequence[Rows]) -> Ragged:
    """Return sets of descriptors as the kernels take them."""
    return Ragged.from_arrays(list(sets), empty=np.empty((0, 32), np.uint8))


def random_rows(n: int, seed: int = 0) -> Rows:
    return np.random.default_rng([seed, n]).integers(0, 256, (n, 32), dtype=np.uint8)


def near_copies(n: int, seed: int = 0) -> Rows:
    """Return rows drawn from few centres with some bits turned: small distances, ties, equal rows."""
    rng = np.random.default_rng([seed, n])
    centres = np.random.default_rng(1).random((40, 256)) < 0.5
    turned = rng.random((n, 256)) < rng.choice([0.0, 0.01, 0.1], (n, 1))
    bits = centres[rng.integers(0, 40, n)] ^ turned
    return np.packbits(bits, axis=1, bitorder="little").reshape(-1, 32)


def with_bits(*n_bits: int) -> Rows:
    """Return rows with that many of the lowest bits set."""
    return np.packbits(np.arange(256) < np.reshape(n_bits, (-1, 1)), axis=1, bitorder="little")


def assert_as_cpp(cuda: Any, sets: Sequence[Rows], others: Sequence[Rows] | None = None) -> None:
    """Compare matrices under every rule, and under two the edges above some share that occurs."""
    values, b = ragged(sets), None if others is None else ragged(others)
    for rule, most in RULES:
        options: dict[str, Any] = {"rule": rule, "max_distance": most}
        wanted = cpp.descriptor_matrix(values, b, **options)
        got = cuda.descriptor_matrix(values, b, **options)
        np.testing.assert_array_equal(got, wanted, f"{rule} {most}")
        if rule == "absolute":
            continue
        threshold = float(np.median(wanted)) if wanted.size else 0.5
        np.testing.assert_array_equal(
            cuda.descriptor_edges(values, b, threshold=threshold, **options),
            cpp.descriptor_edges(values, b, threshold=threshold, **options),
            f"{rule} {most}",
        )


@pytest.mark.parametrize("make", [random_rows, near_copies])
def test_every_size_with_every_size(cuda: Any, make: Any) -> None:
    assert_as_cpp(cuda, [make(n) for n in SIZES])


@pytest.mark.parametrize(("rule", "most"), RULES[1:])
def test_long_sets_with_short_ones(cuda: Any, rule: Any, most: int) -> None:
    sets = ragged([near_copies(n) for n in LONG]), ragged([near_copies(n, 1) for n in (1, 33)])
    for a, b in (sets, sets[::-1]):
        wanted = cpp.descriptor_matrix(a, b, rule=rule, max_distance=most)
        got = cuda.descriptor_matrix(a, b, rule=rule, max_distance=most)
        np.testing.assert_array_equal(got, wanted)


def test_the_default_size_as_opencv(cuda: Any) -> None:
    sets = ragged([near_copies(500, 1), near_copies(500, 2)])
    for rule, most in RULES[1:]:
        options: dict[str, Any] = {"rule": rule, "max_distance": most}
        wanted = reference.descriptor_matrix(sets, **options)
        np.testing.assert_array_equal(cuda.descriptor_matrix(sets, **options), wanted, f"{rule} {most}")


def test_more_rows_than_a_block_keeps(cuda: Any) -> None:
    """Beyond that many on either side, nearest rows are looked up once more."""
    sizes = [(KEPT, 40), (KEPT + 1, 33), (33, KEPT + 1), (2 * KEPT + 33, 2)]
    for k, (n, m) in enumerate(sizes):
        rows, others = near_copies(n, k), near_copies(m, 7)
        rows[n - 1], others[m - 1] = random_rows(2, seed=k)[[0, 0]]  # the last of both match
        for rule in ("relative", "ratio"):
            sets = (ragged([rows]), ragged([others, others[:0]]))
            wanted = cpp.descriptor_matrix(*sets, rule=rule, max_distance=40)
            got = cuda.descriptor_matrix(*sets, rule=rule, max_distance=40)
            np.testing.assert_array_equal(got, wanted, f"{rule} {n} {m}")


@pytest.mark.parametrize("far", [0, 1, 40, 41, 255, 256])
def test_lone_and_extreme_distances(cuda: Any, far: int) -> None:
    """None but the given distances, wherever the rows stand; equal rows, the first of which match."""
    zeros = np.zeros((5, 32), np.uint8)
    rows = with_bits(*[far] * 9)
    sets = [zeros, zeros[:1], rows[:1], rows, ~rows, np.concatenate([rows, zeros]), ~zeros[:2]]
    assert_as_cpp(cuda, sets)
    for most in (255, 256):
        options: dict[str, Any] = {"rule": "absolute", "max_distance": most}
        wanted = cpp.descriptor_matrix(ragged(sets), ragged(sets[::-1]), **options)
        got = cuda.descriptor_matrix(ragged(sets), ragged(sets[::-1]), **options)
        np.testing.assert_array_equal(got, wanted, str(most))


def test_every_sum_of_bits(cuda: Any) -> None:
    """Whichever of the eight words differ in a bit, the distance is their number."""
    words = np.array([[mask >> word & 1 for word in range(8)] for mask in range(256)], np.uint32)
    row = random_rows(1)
    bits = (words << np.arange(3, 32, 4, dtype=np.uint32)).view(np.uint8)
    values, others = ragged([row]), ragged([row ^ bit for bit in bits])
    for most in range(0, 9, 2):
        got = cuda.descriptor_matrix(values, others, rule="absolute", max_distance=most)
        np.testing.assert_array_equal(got[0], words.sum(axis=1) <= most, str(most))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ties_of_few_distinct_rows(cuda: Any, data: st.DataObject) -> None:
    pool = with_bits(0, 256, 255, 1, 128, 40, 41, 30)
    drawn = st.lists(st.integers(0, len(pool) - 1), max_size=40)
    assert_as_cpp(cuda, [pool[data.draw(drawn)].reshape(-1, 32) for _ in range(3)])


def sets_of_shares() -> Ragged:
    """Return sets whose pairs have shares of good matches from 0 to 1, thirds and halves among them."""
    far = random_rows(8)
    near = far ^ with_bits(*[3] * 8)
    mixed = [np.concatenate([far[:k], near[k:n]]) for n in (2, 3) for k in range(n + 1)]
    return ragged([far[:0], far[:1], *mixed])


@pytest.mark.parametrize(("rule", "most"), [("absolute", 2), ("relative", 40), ("ratio", 40)])
def test_thresholds_that_are_shares(cuda: Any, rule: Any, most: int) -> None:
    """At a share, a hair below it and one above; where all pairs pass and where none can."""
    sets = sets_of_shares()
    options: dict[str, Any] = {"rule": rule, "max_distance": most}
    shares = np.unique(cpp.descriptor_edges(sets, threshold=-np.inf, **options)["score"])
    thresholds = {float(np.nextafter(share, to)) for share in shares for to in (-9, share, 9)}
    for threshold in sorted(thresholds | {-np.inf, 0.0, 1.0}):
        wanted = cpp.descriptor_edges(sets, threshold=threshold, **options)
        got = cuda.descriptor_edges(sets, threshold=threshold, **options)
        assert got.tobytes() == wanted.tobytes(), threshold
    for threshold in (0.5, float(shares[-1])):
        np.testing.assert_array_equal(
            cuda.descriptor_components(sets, threshold=threshold, **options),
            cpp.descriptor_components(sets, threshold=threshold, **options),
        )


def test_rectangles_of_no_images(cuda: Any) -> None:
    none, some = ragged([]), ragged([random_rows(3), random_rows(0)])
    for a, b in ((none, None), (none, some), (some, none)):
        assert_as_cpp(cuda, list(a), None if b is None else list(b))
