"""Cross-checked matches of ORB descriptors, compiled by Numba: rules of csrc/kernels/descriptor.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_jit import compiled, popcount

__all__ = ["BUDGET", "RULES", "match_listed"]

RULES = ("absolute", "relative", "ratio")
BUDGET = 5_000_000  # distances before a call returns, so that Ctrl-C gets in

# Distance and index in one integer, so that one minimum finds the nearest of lowest index.
INDEX_BITS = 20
INDEX_MASK = (1 << INDEX_BITS) - 1
SHIFT, DISTANCE = np.uint64(INDEX_BITS), np.int32(-1 << INDEX_BITS)
NONE = np.int32(0x7FFFFFFF)  # more than any: a distance is at most 256


@compiled
def _see_row(
    row: Any, planes: Any, i: Any, seconds: Any, keys: Any,
    best_a: Any, second_a: Any, best_b: Any, second_b: Any,
) -> None:  # fmt: skip
    """Note the nearest and second nearest that one descriptor of a has, and is, among those of b."""
    n = len(keys)
    x0, x1, x2, x3 = row[0], row[1], row[2], row[3]
    p0, p1, p2, p3 = planes[0][:n], planes[1][:n], planes[2][:n], planes[3][:n]
    nearest = NONE
    for j in range(n):
        distance = popcount(x0 ^ p0[j]) + popcount(x1 ^ p1[j]) + popcount(x2 ^ p2[j]) + popcount(x3 ^ p3[j])
        keys[j] = np.int32(distance << SHIFT) | np.int32(j)
    for j in range(n):
        nearest = min(nearest, keys[j])
    best_a[i] = nearest
    if seconds:
        second = NONE
        for j in range(n):
            second = min(second, NONE if keys[j] == nearest else keys[j])
        second_a[i] = second
        for j in range(n):
            key, best = np.int32((keys[j] & DISTANCE) | np.int32(i)), best_b[j]
            second_b[j] = min(second_b[j], max(best, key))
            best_b[j] = min(best, key)
    else:
        for j in range(n):
            best_b[j] = min(best_b[j], np.int32((keys[j] & DISTANCE) | np.int32(i)))


@compiled
def _share(rule: Any, max_distance: Any, best_a: Any, second_a: Any, best_b: Any, second_b: Any) -> Any:
    """Return the share of matches that are good: each is the other's nearest."""
    matches: Any = 0
    good: Any = 0
    largest: Any = 0
    for i in range(len(best_a)):
        if best_b[best_a[i] & INDEX_MASK] & INDEX_MASK == i:
            matches += 1
            largest = max(largest, np.int64(best_a[i]) >> INDEX_BITS)
    lone = len(best_a) < 2 or len(best_b) < 2
    for i in range(len(best_a)):
        j = np.int64(best_a[i]) & INDEX_MASK
        if best_b[j] & INDEX_MASK != i:
            continue
        distance = np.int64(best_a[i]) >> INDEX_BITS
        if rule == 0:
            good += distance <= max_distance
        elif rule == 1:
            good += 4 * distance < 3 * largest
        elif not lone:
            good += 4 * distance <= 3 * (np.int64(min(second_a[i], second_b[j])) >> INDEX_BITS)
    return np.float64(good) / np.float64(matches)


@compiled
def match_listed(
    words_a: Any, offsets_a: Any, words_b: Any, offsets_b: Any, i: Any, j: Any, rule: Any, max_distance: Any,
    budget: Any, cursor: Any, nearest_a: Any, nearest_b: Any, planes: Any, score: Any,
) -> Any:  # fmt: skip
    """Write the share of good matches of each pair `(i[k], j[k])` of descriptor sets; 0 without any.

    words (total, 4) uint64, offsets int64; rule: its place in `RULES`; nearest_a (2, most rows of a set
    of a), nearest_b (2, most of b) int32 and planes (4, most of b) uint64: scratch. Returns whether all
    is done; if not, the budget is spent: call again with the same scratch and cursor (2,) int64, zeros
    at first: pair, row.
    """
    k, row = cursor
    while k < len(i) and budget > 0:
        a = words_a[offsets_a[i[k]] : offsets_a[i[k] + 1]]
        b = words_b[offsets_b[j[k]] : offsets_b[j[k] + 1]]
        if len(a) == 0 or len(b) == 0:
            score[k] = 0.0
            k += 1
            continue
        best_a, second_a = nearest_a[0][: len(a)], nearest_a[1][: len(a)]
        best_b, second_b = nearest_b[0][: len(b)], nearest_b[1][: len(b)]
        if row == 0:
            best_b[:] = NONE
            second_b[:] = NONE
            for q in range(len(b)):
                for w in range(4):
                    planes[w, q] = b[q, w]
        stop = min(len(a), row + budget // len(b) + 1)
        keys = np.empty(len(b), np.int32)
        for p in range(row, stop):
            _see_row(a[p], planes, p, rule == 2, keys, best_a, second_a, best_b, second_b)
        budget -= (stop - row) * len(b)
        row = stop
        if row == len(a):
            score[k] = _share(rule, max_distance, best_a, second_a, best_b, second_b)
            k, row = k + 1, np.int64(0)
    cursor[0], cursor[1] = k, row
    return k == len(i)
