"""Images of different sizes for kernels that compare images of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import EDGE_DTYPE, Ragged

__all__ = ["edges_by_shape", "matrix_by_shape", "scores_by_shape"]

Indices = NDArray[np.intp]


def _stack(images: Ragged, indices: Indices, shape: tuple[int, int]) -> NDArray[np.uint8]:
    stack: NDArray[np.uint8] = images.take(indices).values.reshape(-1, *shape)
    return stack


def _groups(
    images: Ragged, others: Ragged | None
) -> Iterator[tuple[Indices, NDArray[np.uint8], Indices, NDArray[np.uint8] | None]]:
    """Yield, for each shape, the images of it and their indices, on both sides."""
    assert images.shapes is not None
    for height, width in np.unique(images.shapes, axis=0):
        shape = (int(height), int(width))
        rows = np.flatnonzero((images.shapes == shape).all(axis=1))
        if others is None:
            yield rows, _stack(images, rows, shape), rows, None
            continue
        assert others.shapes is not None
        columns = np.flatnonzero((others.shapes == shape).all(axis=1))
        if len(columns):
            yield rows, _stack(images, rows, shape), columns, _stack(others, columns, shape)


def edges_by_shape(
    kernel: Callable[..., NDArray[np.void]], images: Ragged, others: Ragged | None, **options: Any
) -> NDArray[np.void]:
    """Return the edges among images of equal shape; unequal ones score -inf and have none."""
    found = [np.empty(0, EDGE_DTYPE)]
    for rows, stack, columns, other_stack in _groups(images, others):
        edges = kernel(stack, other_stack, **options)
        edges["i"], edges["j"] = rows[edges["i"]], columns[edges["j"]]
        found.append(edges)
    edges = np.concatenate(found)
    return edges[np.lexsort((edges["j"], edges["i"]))]


def matrix_by_shape(
    kernel: Callable[..., NDArray[np.float32]], images: Ragged, others: Ragged | None, **options: Any
) -> NDArray[np.float32]:
    """Return the dense scores; -inf where shapes differ."""
    matrix = np.full((len(images), len(images if others is None else others)), -np.inf, np.float32)
    for rows, stack, columns, other_stack in _groups(images, others):
        matrix[np.ix_(rows, columns)] = kernel(stack, other_stack, **options)
    return matrix


def scores_by_shape(
    kernel: Callable[..., NDArray[np.float64]],
    images: Ragged,
    others: Ragged | None,
    *,
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    **options: Any,
) -> NDArray[np.float64]:
    """Return the scores of listed pairs; -inf where shapes differ."""
    scores = np.full(len(i), -np.inf)
    for rows, stack, columns, other_stack in _groups(images, others):
        pairs = np.flatnonzero(np.isin(i, rows) & np.isin(j, columns))
        if not len(pairs):
            continue
        local_i = np.searchsorted(rows, i[pairs]).astype(np.int32)
        local_j = np.searchsorted(columns, j[pairs]).astype(np.int32)
        scores[pairs] = kernel(stack, other_stack, i=local_i, j=local_j, **options)
    return scores
