"""Cosines of embeddings: what every backend uses, since the products are BLAS's in each.

Items are rows of float32 vectors of length 1 (of length 0: they score 0 with all). The canonical score is
their dot product in float64, summed in the order of the numbers; a product of float32 matrices only proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._types import EDGE_DTYPE
from ..errors import UsageError

__all__ = ["cosine_edges", "cosine_matrix", "cosine_scores"]

Vectors: TypeAlias = NDArray[np.float32]
Progress: TypeAlias = Callable[[int], None] | None

_ROWS, _COLUMNS = 512, 4096
_PAIRS_AT_ONCE = 1 << 16
_EPSILON = float(np.finfo(np.float32).eps)


def cosine_edges(
    values: Vectors,
    others: Vectors | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: Progress = None,
) -> NDArray[np.void]:
    """Return the pairs whose cosine is above `threshold`. BLAS has threads of its own."""
    rows, columns = _checked(values, others)
    # A float32 sum of d products of numbers whose squares sum up to 1 is off by at most d units in the last
    # place (Higham 2002, 3.1; Cauchy-Schwarz), and lengths by a few: no pair above is missed.
    least = threshold - (rows.shape[1] + 8) * _EPSILON
    found = [np.empty(0, EDGE_DTYPE)]
    for start in range(0, len(rows), _ROWS):
        block = slice(start, start + _ROWS)
        found.append(_edges_of(rows, columns, block, threshold, least, is_self=others is None))
        if progress is not None:
            n = min(start + _ROWS, len(rows))
            progress(n * (2 * len(rows) - n - 1) // 2 if others is None else n * len(columns))
    return np.concatenate(found)


def _edges_of(
    rows: Vectors, columns: Vectors, block: slice, threshold: float, least: float, *, is_self: bool
) -> NDArray[np.void]:
    """Return the edges of some rows, sorted."""
    parts_i, parts_j = [], []
    for start in range(block.start if is_self else 0, len(columns), _COLUMNS):
        i, j = np.nonzero(rows[block] @ columns[start : start + _COLUMNS].T > least)
        i, j = i + block.start, j + start
        is_pair = i < j if is_self else slice(None)
        parts_i.append(i[is_pair])
        parts_j.append(j[is_pair])
    i, j = (np.concatenate([np.empty(0, np.intp), *parts]) for parts in (parts_i, parts_j))
    scores = cosine_scores(rows, columns, i=i, j=j)
    above = np.flatnonzero(scores > threshold)
    above = above[np.lexsort((j[above], i[above]))]
    edges = np.empty(len(above), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = i[above], j[above], scores[above]
    return edges


def cosine_matrix(
    values: Vectors, others: Vectors | None = None, *, n_threads: int = 0, progress: Progress = None
) -> NDArray[np.float32]:
    """Return the cosines of all pairs, float32."""
    rows, columns = _checked(values, others)
    matrix = np.empty((len(rows), len(columns)), np.float32)
    for start in range(0, len(rows), _ROWS):
        matrix[start : start + _ROWS] = rows[start : start + _ROWS].astype(float) @ columns.T.astype(float)
    return matrix


def cosine_scores(
    values: Vectors,
    others: Vectors | None = None,
    *,
    i: NDArray[np.integer[Any]],
    j: NDArray[np.integer[Any]],
    n_threads: int = 0,
    progress: Progress = None,
) -> NDArray[np.float64]:
    """Return the canonical cosines of listed pairs, at most 1."""
    rows, columns = _checked(values, others)
    scores = np.empty(len(i))
    for part in _slices(len(i), max(1, (_PAIRS_AT_ONCE << 6) // max(1, rows.shape[1]))):
        products = rows[i[part]].T.astype(float) * columns[j[part]].T
        # Each partial sum is asked for, so that there is but one order of summation, on any machine.
        scores[part] = np.add.accumulate(products, axis=0)[-1]
    return np.minimum(scores, 1.0)


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, start + size)


def _checked(values: Vectors, others: Vectors | None) -> tuple[Vectors, Vectors]:
    both = values, values if others is None else others
    for vectors in both:
        if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] != both[0].shape[1]:
            raise UsageError(f"embeddings must be float32 (n, d), got {vectors.dtype} {vectors.shape}")
    return both
