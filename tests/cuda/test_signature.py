"""The CUDA kernels of signatures: slots, squares, thresholds, the bound by some bits of each slot."""

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

Signatures = NDArray[np.uint32]
SIZES = (1, 64, 65, 127, 128, 129, 257)
SLOTS = (1, 2, 3, 16, 17, 31, 32, 33, 63, 65, 127, 128, 129, 300)
# Thresholds that are sieved by two bits a slot, pairs joined or not, by four; all counted.
THRESHOLDS = (0.7, 0.5, 0.2, 0.02)
MIX = 0x9E3779B1  # signature.cuh


def near_signatures(n: int, n_slots: int, seed: int = 0) -> Signatures:
    """Return signatures that share from none to all slots with some centres."""
    rng = np.random.default_rng([seed, n, n_slots])
    centres = np.random.default_rng(n_slots).integers(0, 2**32, (8, n_slots), dtype=np.uint32)
    own = rng.integers(0, 2**32, (n, n_slots), dtype=np.uint32)
    shared = rng.random((n, n_slots)) < rng.choice([0.0, 0.3, 0.6, 0.9, 1.0], (n, 1))
    return np.where(shared, centres[rng.integers(0, 8, n)], own)


def with_top_bits(values: NDArray[np.integer], top: int = 0) -> Signatures:
    """Return slots whose product with MIX is the value, under four bits on top: all a sketch can see."""
    inverse = pow(MIX, -1, 2**32)
    return ((values.astype(np.uint64) % 2**28 + top * 2**28) * inverse % 2**32).astype(np.uint32)


assert_edges = partial(as_core.assert_edges, "signature")
assert_components = partial(as_core.assert_components, "signature")


@pytest.mark.parametrize("n", SIZES)
def test_sizes_around_squares(cuda: Any, n: int) -> None:
    signatures, others = near_signatures(n, 33), near_signatures(70, 33, 1)
    for threshold in THRESHOLDS:
        assert_edges(cuda, signatures, None, threshold)
        assert_edges(cuda, others, signatures, threshold)
    assert_components(cuda, signatures, 0.5)
    np.testing.assert_array_equal(cuda.signature_matrix(signatures), cpp.signature_matrix(signatures))


@pytest.mark.parametrize("n_slots", SLOTS)
def test_every_number_of_slots(cuda: Any, n_slots: int) -> None:
    signatures, others = near_signatures(66, n_slots), near_signatures(3, n_slots, 1)
    for threshold in THRESHOLDS:
        assert_edges(cuda, signatures, None, threshold)
    assert_edges(cuda, signatures, others, 0.5)
    assert_components(cuda, signatures, 0.3)
    wanted = cpp.signature_matrix(signatures, others)
    np.testing.assert_array_equal(cuda.signature_matrix(signatures, others), wanted)


@pytest.mark.parametrize("n_slots", [1, 5, 16, 33])
def test_every_multiple(cuda: Any, n_slots: int) -> None:
    """A score equal to the threshold is not above it; slots that are not there are not equal."""
    counts = np.arange(n_slots + 1)
    signatures = (np.arange(n_slots) < counts[:, None]).astype(np.uint32)  # counts[k] equal to the last
    for equal in range(n_slots + 1):
        found = cuda.signature_edges(signatures[-1:], signatures, threshold=equal / n_slots)
        assert found["j"].tolist() == counts[counts > equal].tolist()
        assert found["score"].tolist() == [count / n_slots for count in counts[counts > equal]]


def test_all_and_none(cuda: Any) -> None:
    signatures = near_signatures(67, 40)
    for threshold in (-np.inf, -1.0):
        assert len(cuda.signature_edges(signatures, threshold=threshold)) == 67 * 66 // 2
        assert cuda.signature_components(signatures, threshold=threshold).tolist() == [0] * 67
    for threshold in (1.0, 2.0):
        assert len(cuda.signature_edges(signatures, threshold=threshold)) == 0
        assert cuda.signature_components(signatures, threshold=threshold).tolist() == [-1] * 67
    assert_edges(cuda, signatures, None, 0.0)


@pytest.mark.parametrize("n_slots", [16, 128])
def test_what_no_sketch_tells_apart(cuda: Any, n_slots: int) -> None:
    """Slots differ below the bits of sketches: all pairs are left, and counted."""
    rng = np.random.default_rng(n_slots)
    signatures = with_top_bits(rng.integers(0, 3, (150, n_slots)))
    for threshold in (0.3, 0.4, 0.6):
        assert_edges(cuda, signatures, None, threshold)
    few = near_signatures(150, n_slots)
    few[::5] = signatures[:30]
    assert_edges(cuda, few, None, 0.4)


def test_equal_signatures_everywhere(cuda: Any) -> None:
    signatures = np.repeat(near_signatures(1, 128), 200, axis=0)
    assert_edges(cuda, signatures, None, 0.5)
    assert_components(cuda, signatures, 0.5)


def test_signatures_as_datasketch(cuda: Any) -> None:
    signatures = near_signatures(65, 128)
    for threshold in THRESHOLDS:
        np.testing.assert_array_equal(
            cuda.signature_edges(signatures, threshold=threshold),
            reference.signature_edges(signatures, threshold=threshold),
        )


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n_slots=st.sampled_from([1, 16, 32, 33, 128, 500]), seed=st.integers(0, 2**32 - 1))
def test_pairs_at_the_bound_are_kept(cuda: Any, data: Any, n_slots: int, seed: int) -> None:
    """Slots that differ in every bit of the sketch are as many in the bound; a neighbour that differs
    everywhere takes none of them away."""
    radius = data.draw(st.integers(0, n_slots - 1))
    rng = np.random.default_rng(seed)
    first = with_top_bits(rng.integers(0, 2**28, n_slots))
    differing = np.zeros((130, n_slots), bool)
    for row in differing[::2]:
        row[rng.choice(n_slots, radius, replace=False)] = True
    differing[1::2] = True
    other = with_top_bits(rng.integers(0, 2**28, (130, n_slots)), top=15)
    signatures = np.where(differing, other, first)
    threshold = (n_slots - radius - 0.5) / n_slots
    found = cuda.signature_edges(first[None], signatures, threshold=threshold)
    assert found["j"].tolist() == list(range(0, 130, 2))
    assert_edges(cuda, signatures, first[None], threshold)
    assert len(cuda.signature_edges(signatures, first[None], threshold=threshold + 1 / n_slots)) == 0
