"""Edges to labels: connected components, numbered by first appearance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._distinct import first_equal
from ._types import EDGE_DTYPE
from .backends import select
from .errors import UsageError

__all__ = ["components", "first_members", "number_by_appearance"]


def components(edges: ArrayLike, n_images: int, *, backend: str = "auto") -> NDArray[np.int32]:
    """Return the connected component of each image, -1 for an image without an edge.

    Parameters
    ----------
    edges : structured array `i <i4, j <i4, score <f8`
        As `*_edges` return them; the order and the scores play no part.
    n_images : int
        Images are `0 .. n_images - 1`.

    Returns
    -------
    (n_images,) int32, components numbered by first appearance.
    """
    if n_images < 0:
        raise UsageError(f"n_images must be 0 or more, got {n_images}")
    array = np.require(edges, requirements=["C_CONTIGUOUS", "ALIGNED"])
    if array.dtype != EDGE_DTYPE or array.ndim != 1:
        raise UsageError(f"edges must be one-dimensional {EDGE_DTYPE}, got {array.dtype} {array.shape}")
    if len(array):
        low, high = min(array["i"].min(), array["j"].min()), max(array["i"].max(), array["j"].max())
        if low < 0 or high >= n_images:
            raise UsageError(f"edges must join images 0 to {n_images - 1}, got {low} to {high}")
    return select(backend).components(array, n_images)


def number_by_appearance(groups: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Return the groups renumbered 0, 1, … in the order in which they appear; negative ones are -1."""
    labels = np.full(len(groups), -1, np.int32)
    members = np.flatnonzero(groups >= 0)
    first = first_equal(groups[members])
    labels[members] = (np.cumsum(first == np.arange(len(first))) - 1)[first]
    return labels


def first_members(labels: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Return for each image the first image of its cluster, -1 for an outlier."""
    first = np.full(len(labels), -1, np.intp)
    members = np.flatnonzero(labels >= 0)
    first[members] = members[first_equal(labels[members])]
    return first
