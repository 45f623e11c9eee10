"""Clusters and the largest one at every threshold, from the highest down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._distinct import distinct
from .._types import EDGE_DTYPE
from ..backends import Engine

__all__ = ["Components"]


class Components:
    """Images joined by edges that come bit by bit.

    count : clusters, that is sets of two or more images
    largest : images in the largest of them, 0 if there is none
    """

    def __init__(self, sizes: NDArray[np.int64], is_cluster: NDArray[np.bool_], engine: Engine) -> None:
        """`sizes`: how many equal images each stands for; `is_cluster`: where these count from the start."""
        self._sizes, self._is_cluster, self._engine = sizes.copy(), is_cluster.copy(), engine
        self._parent = np.arange(len(sizes))
        self.count, self.largest = int(is_cluster.sum()), int(sizes[is_cluster].max(initial=0))

    def join(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
        """Join the images `i[k]` and `j[k]`. Takes time with the number of edges, not of images."""
        left, right = self._find(i), self._find(j)
        between = left != right
        touched = distinct(np.concatenate([left[between], right[between]]))
        if not len(touched):
            return
        edges = np.zeros(int(between.sum()), EDGE_DTYPE)
        edges["i"] = np.searchsorted(touched, left[between])
        edges["j"] = np.searchsorted(touched, right[between])
        labels = self._engine.components(edges, len(touched))
        sizes = np.bincount(labels, weights=self._sizes[touched]).astype(np.int64)
        roots = np.empty(len(sizes), np.intp)
        roots[labels] = touched
        self.count += len(sizes) - int(self._is_cluster[touched].sum())
        self.largest = max(self.largest, int(sizes.max()))
        self._parent[touched] = roots[labels]
        self._sizes[roots], self._is_cluster[roots] = sizes, True

    def _find(self, images: NDArray[np.intp]) -> NDArray[np.intp]:
        roots = self._parent[images]
        while (self._parent[roots] != roots).any():
            roots = self._parent[roots]
        self._parent[images] = roots
        return roots
