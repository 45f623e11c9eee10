"""The signature kernel at its edges: slots, tiles, thresholds, and digests that collide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.backends import Engine, cpp

Signatures = NDArray[np.uint32]
SLOTS = (1, 7, 8, 15, 16, 17, 31, 32, 33, 127, 128, 129, 256)
COUNTS = (0, 1, 2, 63, 64, 65, 255, 256, 257)


def digest(values: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Return what the filter keeps of slots (csrc/kernels/signature.hpp)."""
    return (values.astype(np.uint64) * 0x9E3779B1 % 2**32 >> 29).astype(np.uint32)


def values_by_digest() -> NDArray[np.uint32]:
    """Return values (8, many): a row for each digest, 0 among those of digest 0."""
    values = np.arange(4096, dtype=np.uint32)
    return np.stack([values[digest(values) == d][:400] for d in range(8)])


def equal_slots(a: Signatures, b: Signatures) -> NDArray[np.int64]:
    return np.array([(b == row).sum(axis=1) for row in a], np.int64).reshape(len(a), len(b))


def make_signatures(n: int, n_slots: int) -> Signatures:
    """Return signatures of which two share from none to all of their slots."""
    rng = np.random.default_rng([n, n_slots])
    rows = rng.integers(0, 2**32, (n, n_slots), dtype=np.uint32)
    common = rng.random((n, n_slots)) < rng.random((n, 1))
    return np.where(common, rows[:1], rows).astype(np.uint32)


def assert_edges(engine: Engine, a: Signatures, b: Signatures | None, threshold: float) -> None:
    counts = equal_slots(a, a if b is None else b)
    scores = counts / a.shape[1]
    above = scores > threshold
    i, j = np.nonzero(np.triu(above, 1) if b is None else above)
    got = engine.edges("signature", a, b, threshold=threshold)
    np.testing.assert_array_equal(got["i"], i)
    np.testing.assert_array_equal(got["j"], j)
    np.testing.assert_array_equal(got["score"], scores[i, j])


@pytest.mark.parametrize("n_slots", SLOTS)
def test_every_number_of_slots(engine: Engine, n_slots: int) -> None:
    signatures = make_signatures(90, n_slots)
    for least in sorted({0, 1, n_slots // 2, n_slots // 2 + 1, n_slots - 1, n_slots}):
        assert_edges(engine, signatures, None, least / n_slots)
    assert_edges(engine, signatures, signatures[:33], 0.5)
    matrix = engine.matrix("signature", signatures)
    np.testing.assert_array_equal(matrix, (equal_slots(signatures, signatures) / n_slots).astype(np.float32))


@pytest.mark.parametrize("n", COUNTS)
def test_every_number_of_signatures(engine: Engine, n: int) -> None:
    signatures, others = make_signatures(n, 20), make_signatures(70, 20)
    assert_edges(engine, signatures, None, 0.4)
    assert_edges(engine, signatures, others, 0.4)
    assert_edges(engine, others, signatures, 0.4)
    for a, b in ((signatures, None), (signatures, others), (others, signatures)):
        wanted = equal_slots(a, a if b is None else b) / 20
        np.testing.assert_array_equal(engine.matrix("signature", a, b), wanted.astype(np.float32))


def test_equal_digests_of_unequal_slots_are_not_counted(engine: Engine) -> None:
    """All pairs pass the filter, and only slots that are equal count."""
    values = values_by_digest()
    rng = np.random.default_rng(0)
    signatures = values[np.arange(128) % 8][:, :300].T.copy()
    assert (digest(signatures) == digest(signatures[:1])).all()
    assert len(engine.edges("signature", signatures, threshold=0.0)) == 0
    shared = rng.random(signatures.shape) < 0.75
    signatures = np.where(shared, signatures[:1], signatures)
    assert_edges(engine, signatures, None, 0.5)


@pytest.mark.parametrize("n_slots", [1, 8, 33, 128, 256])
def test_the_filter_is_not_one_too_tight(engine: Engine, n_slots: int) -> None:
    """Where no digest is equal but those of equal slots, the bound is the count itself."""
    values = values_by_digest()
    slots = np.arange(n_slots)
    base = values[slots % 8, slots % 100]
    apart = values[(slots + 1) % 8, slots % 100]
    for least in {1, n_slots // 2 + 1, n_slots}:
        some = np.where(slots < least, base, apart)
        fewer = np.where(slots < least - 1, base, apart)
        got = engine.edges(
            "signature", base[None], np.stack([fewer, some]), threshold=(least - 0.5) / n_slots
        )
        assert [(edge["j"], edge["score"]) for edge in got] == [(1, least / n_slots)]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_signatures_among_few_values(data: st.DataObject) -> None:
    """Values of equal digests, and 0, so that every way to be unequal occurs."""
    values = values_by_digest()[:3, :3].ravel()
    n_slots = data.draw(st.integers(1, 40))
    rows = data.draw(
        st.lists(st.lists(st.sampled_from(values), min_size=n_slots, max_size=n_slots), max_size=9)
    )
    signatures = np.array(rows, np.uint32).reshape(-1, n_slots)
    counts = equal_slots(signatures, signatures)
    threshold = data.draw(st.integers(-1, n_slots)) / n_slots
    got = cpp.signature_edges(signatures, threshold=threshold, n_threads=1)
    i, j = np.nonzero(np.triu(counts / n_slots > threshold, 1))
    assert list(zip(got["i"], got["j"], strict=True)) == list(zip(i, j, strict=True))
    matrix = cpp.signature_matrix(signatures, n_threads=1)
    np.testing.assert_array_equal(matrix, (counts / n_slots).astype(np.float32))


@pytest.mark.parametrize("n", [5000, 49150, 49151, 49152])
def test_matrix_of_more_values_than_codes(n: int) -> None:
    """Up to 49152 signatures in all are numbered; more are compared as they are."""
    others = np.arange(2 * n, dtype=np.uint32).reshape(n, 2) * np.uint32(2654435761)
    rows = others[[0, n - 1]]
    matrix = cpp.signature_matrix(rows, others, n_threads=1)
    np.testing.assert_array_equal(matrix, equal_slots(rows, others) / 2)


@pytest.mark.parametrize("n_slots", [65535, 65536, 65540])
def test_matrix_of_more_slots_than_a_code_counts(n_slots: int) -> None:
    signatures = np.zeros((3, n_slots), np.uint32)
    signatures[1, 5] = 1
    matrix = cpp.signature_matrix(signatures, n_threads=1)
    np.testing.assert_array_equal(matrix, (equal_slots(signatures, signatures) / n_slots).astype(np.float32))
    assert len(cpp.signature_edges(signatures, threshold=1 - 1.5 / n_slots, n_threads=1)) == 3
