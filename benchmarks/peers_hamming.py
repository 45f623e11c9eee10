"""Pairs of binary codes within a radius, against FAISS: `IndexBinaryFlat`, and its exact hash indexes.

A self-join of ours answers each pair once; FAISS is asked for every code's neighbours, so it meets each
pair twice, and each code itself. The ratio is of the whole answers.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import faiss  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from clusterimg import kernels
from ratios import Row

Codes = NDArray[np.uint64]


def planted(n: int, n_words: int = 1, *, turned: int = 6, seed: int = 0) -> Codes:
    """Return random codes, one in twenty a copy of another with up to `turned` bits turned."""
    rng = np.random.default_rng([seed, n, n_words])
    codes = rng.integers(0, 2**64, (n, n_words), dtype=np.uint64)
    copies = rng.permutation(n)[: n // 10]
    first, second = copies[: n // 20], copies[n // 20 : n // 20 * 2]
    codes[second] = codes[first]
    for _ in range(turned):
        bits = np.uint64(1) << rng.integers(0, 64, len(second)).astype(np.uint64)
        codes[second, rng.integers(0, n_words, len(second))] ^= bits
    return codes


def threshold(radius: int, n_words: int) -> float:
    """Return the threshold that leaves the pairs within a radius."""
    return 1 - (radius + 0.5) / (64 * n_words)


def ours(codes: Codes, radius: int) -> Callable[[], Any]:
    """Return the call of ours."""
    limit = threshold(radius, codes.shape[1])
    return lambda: kernels.hamming_edges(codes, threshold=limit, n_threads=1)


def flat(codes: Codes, radius: int, n_queries: int | None = None) -> Callable[[], Any]:
    """Return the call of `IndexBinaryFlat`, for the first of the codes."""
    faiss.omp_set_num_threads(1)
    queries = codes.view(np.uint8)
    index = faiss.IndexBinaryFlat(queries.shape[1] * 8)
    index.add(queries)
    return lambda: index.range_search(queries[:n_queries], radius + 1)


def multi_hash(codes: Codes, radius: int, n_maps: int, n_bits: int) -> Callable[[], Any]:
    """Return the call of `IndexBinaryMultiHash`: exact, as some map differs in at most radius / n_maps bits.

    The index is built in the call, as ours is.
    """
    faiss.omp_set_num_threads(1)
    queries = codes.view(np.uint8)

    def search() -> Any:
        index = faiss.IndexBinaryMultiHash(queries.shape[1] * 8, n_maps, n_bits)
        index.nflip = radius // n_maps
        index.add(queries)
        return index.range_search(queries, radius + 1)

    return search


def agree(edges: Any, found: Any) -> None:
    """Assert that the pairs are the same, as far as the queries of the peer reach."""
    limits, _, neighbours = found
    i = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
    upper = neighbours > i
    pairs = np.stack([i[upper], neighbours[upper]], axis=1)
    pairs = np.unique(pairs, axis=0)
    mine = edges[edges["i"] < len(limits) - 1]
    np.testing.assert_array_equal(np.stack([mine["i"], mine["j"]], axis=1), pairs)


def all_pairs(
    bits: int, n: int, radius: int, prototype: float | None, goal: float | None, n_queries: int | None = None
) -> Row:
    """Return a row against `IndexBinaryFlat`; `n_queries` of its queries where all would take too long."""
    codes = planted(n, bits // 64)
    pairs = n * (n - 1) / 2
    return Row(
        f"hamming {bits} bits, {n:,} codes, radius {radius}",
        "FAISS IndexBinaryFlat",
        ours(codes, radius),
        flat(codes, radius, n_queries),
        pairs,
        agree,
        their_pairs=pairs * (n_queries or n) / n,
        prototype=prototype,
        goal=goal,
        note="each pair once, FAISS meets it twice",
    )


def rows() -> Iterator[Row]:
    """Yield the lines of the table of ratios."""
    for radius in (12, 20):
        yield all_pairs(64, 30_000, radius, 15, 25, 10_000)
    yield all_pairs(64, 10_000, 28, 15, 25)
    yield all_pairs(256, 20_000, 20, None, None, 5000)
    yield all_pairs(256, 20_000, 79, None, None, 5000)
    yield all_pairs(1024, 10_000, 317, None, None, 1000)
    for radius in (100, 409, 1269):
        yield all_pairs(4096, 4000, radius, 8, 16, 400)
    # Of 3 to 11 maps of 64 / maps bits, 3 of 21 are its fastest at 4 bits (0.8 s); from 8 on none is
    # faster than a look at all pairs (5.9 s each).
    codes = planted(100_000)
    yield Row(
        "hamming 64 bits, 100,000 codes, radius 4",
        "FAISS IndexBinaryMultiHash, 3 maps of 21 bits",
        ours(codes, 4),
        multi_hash(codes, 4, 3, 21),
        100_000 * 99_999 / 2,
        agree,
        prototype=92,
        goal=200,
        note="indexes built in the call",
    )
    yield all_pairs(64, 100_000, 8, 40, 80, 5000)
    yield all_pairs(64, 100_000, 10, 33, 60, 5000)


def requirements() -> list[tuple[str, float, float]]:
    """Return what a join must reach, as (name, measured, wanted at most)."""
    found = []

    def timed(name: str, wanted: float, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        answer = call()
        found.append((f"{name}, CPU seconds", time.process_time() - start, wanted))
        return answer

    codes = planted(100_000)
    edges = timed("100,000 codes, radius 8", 2.0, ours(codes, 8))
    timed("100,000 codes, components", 1.0, lambda: kernels.components(edges, len(codes)))
    codes = planted(1_000_000)
    timed("1,000,000 codes, radius 8", 2.0, ours(codes, 8))
    timed("1,000,000 codes, radius 12", 50.0, ours(codes, 12))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*found, ("peak of the process, MB", peak, 1000.0)]


if __name__ == "__main__":
    for name, measured, wanted in requirements():
        print(f"{name}: {measured:.3g}, wanted at most {wanted:g}")
