"""Pairs in bands of rows, bands on Python threads: what the compiled functions of Numba are called by.

A compiled function works for some milliseconds without the GIL. Between two of them threads look
whether the call is to end, and the calling thread lets Ctrl-C in and progress out. Bands are joined in
order, so what comes out does not depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._types import EDGE_DTYPE

__all__ = ["Join", "Tick", "edges_of", "matrix_of", "resolve_threads", "scores_of"]

Tick: TypeAlias = Callable[[int], None]
"""`tick(pairs)` after each piece of work; raises if the call is to end."""

Found: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]
Scan: TypeAlias = Callable[[int, int, Tick], Found]
Unit = TypeVar("Unit")

REPORT_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Two sets of items and how to score them.

    triangle : the sets are one: pairs i < j
    rows, cols : how many of each set one call of `scan` takes at most
    open_band(first, last) : prepares these rows and returns `scan(first, last, tick)`, which scores
        them against these columns and returns the pairs to keep (all, in row-major order and on both
        sides of the diagonal, where the join is made for a matrix)
    listed(i, j, tick) : the canonical scores of listed pairs, some `chunk` at a time
    """

    n_rows: int
    n_cols: int
    triangle: bool
    rows: int
    cols: int
    open_band: Callable[[int, int], Scan]
    listed: Callable[[NDArray[np.int32], NDArray[np.int32], Tick], NDArray[np.float64]]
    chunk: int = 256

    def band_rows(self, n_threads: int) -> int:
        """Return rows a band: fewer than `rows` where threads would be left without a band."""
        return max(1, min(self.rows, -(-self.n_rows // (4 * n_threads)) if n_threads > 1 else self.rows))


def resolve_threads(n_threads: int) -> int:
    """Return how many threads `n_threads` stands for; 0 means all this process may use."""
    if n_threads:
        return n_threads
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def edges_of(join: Join, *, n_threads: int = 0, progress: Tick | None = None) -> NDArray[np.void]:
    """Return the pairs that `scan` keeps, sorted by (i, j)."""
    n_threads = resolve_threads(n_threads)
    rows = join.band_rows(n_threads)

    def band(k: int, tick: Tick) -> NDArray[np.void]:
        first, last = k * rows, min((k + 1) * rows, join.n_rows)
        scan = join.open_band(first, last)
        parts = []
        for left in range(first if join.triangle else 0, join.n_cols, join.cols):
            right = min(left + join.cols, join.n_cols)
            part = _as_edges(*scan(left, right, tick))
            if len(part):
                parts.append(part)
            tick(_pairs(first, last, left, right, join.triangle))
        if len(parts) < 2:
            return parts[0] if parts else np.empty(0, EDGE_DTYPE)
        edges = np.concatenate(parts)
        return edges[np.argsort(edges["i"], kind="stable")]

    found = _run(-(-join.n_rows // rows), band, n_threads, progress)
    return np.concatenate([np.empty(0, EDGE_DTYPE), *found])


def matrix_of(join: Join, *, n_threads: int = 0, progress: Tick | None = None) -> NDArray[np.float32]:
    """Return the scores of all pairs, float32; of one set both halves are the same."""
    n_threads = resolve_threads(n_threads)
    rows = join.band_rows(n_threads)
    matrix = np.empty((join.n_rows, join.n_cols), np.float32)

    def band(k: int, tick: Tick) -> None:
        first, last = k * rows, min((k + 1) * rows, join.n_rows)
        scan = join.open_band(first, last)
        for left in range(first if join.triangle else 0, join.n_cols, join.cols):
            right = min(left + join.cols, join.n_cols)
            block = scan(left, right, tick)[2].reshape(last - first, right - left)
            matrix[first:last, left:right] = block
            if join.triangle:
                matrix[left:right, first:last] = block.T
            tick(_pairs(first, last, left, right, join.triangle))

    _run(-(-join.n_rows // rows), band, n_threads, progress)
    return matrix


def scores_of(
    join: Join,
    *,
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    n_threads: int = 0,
    progress: Tick | None = None,
) -> NDArray[np.float64]:
    """Return the canonical scores of the pairs `(i[k], j[k])`."""
    scores = np.empty(len(i))

    def unit(k: int, tick: Tick) -> None:
        part = slice(k * join.chunk, (k + 1) * join.chunk)
        scores[part] = join.listed(i[part], j[part], tick)
        tick(len(i[part]))

    _run(-(-len(i) // join.chunk), unit, resolve_threads(n_threads), progress)
    return scores


def _as_edges(i: NDArray[np.int32], j: NDArray[np.int32], score: NDArray[np.float64]) -> NDArray[np.void]:
    edges = np.empty(len(i), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = i, j, score
    return edges


def _pairs(first: int, last: int, left: int, right: int, triangle: bool) -> int:
    """Return how many pairs of a tile count: in a triangle those with i < j."""
    if not triangle or left >= last:
        return (last - first) * (right - left)
    return sum(right - min(right, max(left, i + 1)) for i in range(first, last))


# --- threads ---


class _Stopped(Exception):
    """Leads a thread out of a call that has ended."""


class _Watch:
    """What the threads of one call share: how far each unit is, and whether to go on."""

    def __init__(self, n_units: int, progress: Tick | None) -> None:
        self.done = [0] * n_units
        self.stopped = False
        self._progress = progress
        self._caller = threading.get_ident()
        self._next = time.monotonic()

    def tick(self, unit: int, pairs: int) -> None:
        """Count the work of one unit; report it if this is the calling thread."""
        self.done[unit] += pairs
        if self.stopped:
            raise _Stopped
        if threading.get_ident() == self._caller:
            self.report()

    def report(self) -> None:
        """Call `progress`, at most 20 times a second."""
        if self._progress is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + REPORT_SECONDS
            self._progress(sum(self.done))


def _run(
    n_units: int, work: Callable[[int, Tick], Unit], n_threads: int, progress: Tick | None
) -> list[Unit]:
    """Return `work(unit, tick)` for each unit, in order; the first exception ends all."""
    watch = _Watch(n_units, progress)

    def one(unit: int) -> Unit:
        return work(unit, lambda pairs: watch.tick(unit, pairs))

    team = min(n_threads, n_units)
    if team <= 1:
        return [one(unit) for unit in range(n_units)]
    results: dict[int, Unit] = {}
    units = iter(range(n_units))
    guard = threading.Lock()

    def share() -> None:
        while not watch.stopped:
            with guard:
                unit = next(units, None)
            if unit is None:
                return
            results[unit] = one(unit)

    with ThreadPoolExecutor(team) as pool:
        try:
            _wait([pool.submit(share) for _ in range(team)], watch)
        finally:
            watch.stopped = True
    return [results[unit] for unit in range(n_units)]


def _wait(threads: list[Future[Any]], watch: _Watch) -> None:
    """Wait for the threads, awake for Ctrl-C and progress; raise what one of them raised."""
    waiting = set(threads)
    while waiting:
        ended, waiting = wait(waiting, REPORT_SECONDS, FIRST_EXCEPTION)
        for thread in ended:
            thread.result()
        watch.report()
