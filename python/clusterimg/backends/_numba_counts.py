"""Hamming distances and unequal slots, compiled by Numba.

Both are counts of differing parts, over tiles of rows x columns whose columns lie in planes: all first
words, all second words, so that one vector holds the same word of several columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_jit import add32, compiled, popcount

__all__ = ["COLUMNS", "hamming_listed", "hamming_tile", "signature_listed", "signature_tile"]

COLUMNS = 256  # counted at once: their counts stay in the first cache
WORDS = 4  # added to the counts at once
LOOK = 16  # slots between two looks at whether a column can still be near


@compiled
def _keep(
    differing: Any, near: Any, first: Any, i: Any, j: Any, total: Any, found_i: Any, found_j: Any, score: Any
) -> Any:
    """Write the pairs of row i with columns j + first.. that differ in at most `near` parts."""
    n = 0
    for k in range(first, len(differing)):
        if differing[k] <= near:
            found_i[n] = i
            found_j[n] = j + k
            score[n] = np.float64(total - np.int64(differing[k])) / np.float64(total)
            n += 1
    return n


@compiled
def hamming_tile(
    rows: Any, planes: Any, i: Any, j: Any, triangle: Any, near: Any, found_i: Any, found_j: Any, score: Any
) -> Any:
    """Return how many pairs differ in at most `near` bits, written to the last three arguments.

    rows (n_rows, n_words), planes (n_words, n_cols) uint64; i, j the indices of the first row and
    column; triangle: only pairs i < j; found_i, found_j int32, score float64 (n_rows * n_cols)
    """
    n_words, n_cols = planes.shape
    total = 64 * n_words
    most = np.uint64(near)
    differing = np.empty(min(COLUMNS, n_cols), np.uint64)
    n = 0
    for row in range(len(rows)):
        for left in range(0, n_cols, COLUMNS):
            right = min(left + COLUMNS, n_cols)
            first = max(i + row + 1 - j - left, 0) if triangle else 0
            if first >= right - left:
                continue
            counts = differing[: right - left]
            n_near = 0
            if n_words == 1:  # nothing to add up, so nothing to store unless a pair is near
                x, plane = rows[row, 0], planes[0][left:right]
                for k in range(len(plane)):
                    n_near += popcount(x ^ plane[k]) <= most
                if n_near:
                    for k in range(len(plane)):
                        counts[k] = popcount(x ^ plane[k])
            else:
                n_near = _hamming_counts(rows[row], planes, left, right, most, counts)
            if n_near:
                n += _keep(counts, most, first, i + row, j + left, total, found_i[n:], found_j[n:], score[n:])
    return n


@compiled
def _hamming_counts(row: Any, planes: Any, left: Any, right: Any, most: Any, counts: Any) -> Any:
    """Count differing bits of one row and some columns; 0 as soon as no column can be near."""
    n_words = len(row)
    counts[:] = 0
    n_near = 0
    for w in range(0, n_words, WORDS):
        if w + WORDS <= n_words:
            x0, x1, x2, x3 = row[w], row[w + 1], row[w + 2], row[w + 3]
            p0, p1 = planes[w][left:right], planes[w + 1][left:right]
            p2, p3 = planes[w + 2][left:right], planes[w + 3][left:right]
            for k in range(len(counts)):
                counts[k] += (
                    popcount(x0 ^ p0[k]) + popcount(x1 ^ p1[k]) + popcount(x2 ^ p2[k]) + popcount(x3 ^ p3[k])
                )
        else:
            for u in range(w, n_words):
                x, plane = row[u], planes[u][left:right]
                for k in range(len(counts)):
                    counts[k] += popcount(x ^ plane[k])
        n_near = 0
        for k in range(len(counts)):
            n_near += counts[k] <= most
        if not n_near:
            return 0
    return n_near


@compiled
def hamming_listed(a: Any, b: Any, i: Any, j: Any, score: Any) -> None:
    """Write the share of equal bits of each pair `a[i[k]]`, `b[j[k]]` of uint64 rows."""
    n_words = a.shape[1]
    for k in range(len(i)):
        x, y = a[i[k]], b[j[k]]
        differing = np.uint64(0)
        for w in range(n_words):
            differing += popcount(x[w] ^ y[w])
        score[k] = np.float64(64 * n_words - np.int64(differing)) / np.float64(64 * n_words)


@compiled
def signature_tile(
    rows: Any, planes: Any, i: Any, j: Any, triangle: Any, near: Any, found_i: Any, found_j: Any, score: Any
) -> Any:
    """As `hamming_tile`, of unequal slots: rows (n_rows, n_slots), planes (n_slots, n_cols) uint32."""
    n_slots, n_cols = planes.shape
    differing = np.empty(min(COLUMNS, n_cols), np.int32)
    n = 0
    for row in range(len(rows)):
        for left in range(0, n_cols, COLUMNS):
            right = min(left + COLUMNS, n_cols)
            first = max(i + row + 1 - j - left, 0) if triangle else 0
            if first >= right - left:
                continue
            counts = differing[: right - left]
            if _signature_counts(rows[row], planes, left, right, near, counts):
                n += _keep(
                    counts, near, first, i + row, j + left, n_slots, found_i[n:], found_j[n:], score[n:]
                )
    return n


@compiled
def _signature_counts(row: Any, planes: Any, left: Any, right: Any, near: Any, counts: Any) -> Any:
    """Count unequal slots of one row and some columns; 0 as soon as no column can be near."""
    n_slots = len(row)
    counts[:] = 0
    n_near: Any = 0
    for s in range(0, n_slots, WORDS):
        if s + WORDS <= n_slots:
            x0, x1, x2, x3 = row[s], row[s + 1], row[s + 2], row[s + 3]
            p0, p1 = planes[s][left:right], planes[s + 1][left:right]
            p2, p3 = planes[s + 2][left:right], planes[s + 3][left:right]
            for k in range(len(counts)):
                two, more = add32(x0 != p0[k], x1 != p1[k]), add32(x2 != p2[k], x3 != p3[k])
                counts[k] = add32(counts[k], add32(two, more))
        else:
            for u in range(s, n_slots):
                x, plane = row[u], planes[u][left:right]
                for k in range(len(counts)):
                    counts[k] = add32(counts[k], x != plane[k])
        if s % LOOK == 0 or s + WORDS >= n_slots:
            n_near = 0
            for k in range(len(counts)):
                n_near = add32(n_near, counts[k] <= near)
            if not n_near:
                return 0
    return n_near


@compiled
def signature_listed(a: Any, b: Any, i: Any, j: Any, score: Any) -> None:
    """Write the share of equal slots of each pair `a[i[k]]`, `b[j[k]]` of uint32 rows."""
    n_slots = a.shape[1]
    for k in range(len(i)):
        x, y = a[i[k]], b[j[k]]
        equal = 0
        for s in range(n_slots):
            equal += x[s] == y[s]
        score[k] = np.float64(equal) / np.float64(n_slots)
