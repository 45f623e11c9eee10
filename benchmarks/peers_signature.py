"""MinHash signatures against a Numba loop over all pairs and against datasketch's `jaccard`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from datasketch import MinHash

from clusterimg import kernels
from ratios import Row

SLOTS = 128
THRESHOLD = 0.5


@numba.njit
def numba_hits(signatures: Any, least: int) -> Any:
    """Return the pairs with `least` or more equal slots."""
    n, n_slots = signatures.shape
    found = [(0, 0, 0)]
    for i in range(n):
        for j in range(i + 1, n):
            equal = 0
            for s in range(n_slots):
                equal += np.int32(signatures[i, s] == signatures[j, s])
            if equal >= least:
                found.append((i, j, equal))
    return found[1:]


@numba.njit
def numba_counts(signatures: Any) -> Any:
    """Return the equal slots of all pairs i < j, above the diagonal of a matrix."""
    n, n_slots = signatures.shape
    counts = np.zeros((n, n), np.int32)
    for i in range(n):
        for j in range(i + 1, n):
            equal = 0
            for s in range(n_slots):
                equal += np.int32(signatures[i, s] == signatures[j, s])
            counts[i, j] = equal
    return counts


def signatures(n: int, overlap: float, seed: int = 0) -> Any:
    """Return signatures of which two share `overlap` of their slots, with near-copies planted."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, 2**26, SLOTS)
    own = rng.integers(0, 2**26, (n, SLOTS))
    rows = np.where(rng.random((n, SLOTS)) < overlap**0.5, common, own).astype(np.uint32)
    copies, originals = rng.permutation(n)[: n // 10].reshape(2, -1)
    changed = rng.random((len(copies), SLOTS)) < 0.3
    rows[copies] = np.where(changed, rows[copies], rows[originals])
    return rows


def same_edges(ours: Any, theirs: Any) -> None:
    """Assert that a list of pairs is that of the Numba loop."""
    assert [(e["i"], e["j"], round(e["score"] * SLOTS)) for e in ours] == theirs


def same_counts(ours: Any, theirs: Any) -> None:
    """Assert that a matrix holds the counts of the Numba loop."""
    above = np.triu_indices(len(ours), 1)
    np.testing.assert_array_equal(ours[above] * SLOTS, theirs[above])


def against_numba(n: int, overlap: float) -> Iterator[Row]:
    """Yield the join and the matrix on signatures that share `overlap` of their slots."""
    values, pairs = signatures(n, overlap), n * (n - 1) / 2
    least = int(THRESHOLD * SLOTS) + 1
    yield Row(
        f"MinHash {SLOTS}, join > {THRESHOLD}, n = {n}, overlap {overlap}",
        "Numba loop",
        lambda: kernels.signature_edges(values, threshold=THRESHOLD, n_threads=1),
        lambda: numba_hits(values, least),
        pairs,
        same_edges,
        prototype=1.3,
        goal=3,
    )
    yield Row(
        f"MinHash {SLOTS}, matrix, n = {n}, overlap {overlap}",
        "Numba loop",
        lambda: kernels.signature_matrix(values, n_threads=1),
        lambda: numba_counts(values),
        pairs,
        same_counts,
        prototype=1.3,
        goal=3,
        note="ours fills both halves",
    )


def against_datasketch(n: int, sample: int) -> Iterator[Row]:
    """Yield the join and the matrix against `jaccard` of the pairs of the first `sample`."""
    values = signatures(n, 0.0)
    hashes = [MinHash(hashvalues=row, scheme="affine32") for row in values[:sample]]

    def jaccards() -> Any:
        return [hashes[i].jaccard(hashes[j]) for i in range(sample) for j in range(i + 1, sample)]

    def same_matrix(ours: Any, theirs: Any) -> None:
        np.testing.assert_array_equal(ours[:sample, :sample][np.triu_indices(sample, 1)], theirs)

    def same_join(ours: Any, theirs: Any) -> None:
        kept = ours[(ours["i"] < sample) & (ours["j"] < sample)]["score"]
        np.testing.assert_array_equal(kept, [score for score in theirs if score > THRESHOLD])

    for name, call, agree in (
        (
            f"join > {THRESHOLD}",
            lambda: kernels.signature_edges(values, threshold=THRESHOLD, n_threads=1),
            same_join,
        ),
        ("matrix", lambda: kernels.signature_matrix(values, n_threads=1), same_matrix),
    ):
        yield Row(
            f"MinHash {SLOTS}, {name}, n = {n}",
            "datasketch",
            call,
            jaccards,
            n * (n - 1) / 2,
            agree,
            their_pairs=sample * (sample - 1) / 2,
            prototype=250,
            goal=700,
        )


def rows() -> Iterator[Row]:
    """Yield the rows of the table of ratios."""
    for overlap in (0.0, 0.2, 0.4):
        yield from against_numba(2000, overlap)
    yield from against_datasketch(2000, 60)
