"""Connected components by union-find, compiled by Numba."""

from __future__ import annotations

from typing import Any

from ._numba_jit import compiled

__all__ = ["label", "unite"]


@compiled
def _root(parent: Any, k: Any) -> Any:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@compiled
def unite(parent: Any, i: Any, j: Any) -> None:
    """Join the sets of `i[k]` and `j[k]` (int32, strided) in `parent` (n,) int32.

    The lower root wins, so that the root of a set is its lowest member.
    """
    for k in range(len(i)):
        if parent[i[k]] != parent[j[k]]:
            a, b = _root(parent, i[k]), _root(parent, j[k])
            if a < b:
                parent[b] = a
            else:
                parent[a] = b


@compiled
def label(parent: Any, labels: Any) -> None:
    """Number sets of two or more by first appearance into `labels` (n,) int32; the rest is -1."""
    labels[:] = -1
    for k in range(len(parent)):
        root = _root(parent, parent[k])
        parent[k] = root
        if root != k:
            labels[root] = 0
    number = 0
    for k in range(len(parent)):
        root = parent[k]
        if root != k:
            labels[k] = labels[root]
        elif labels[k] == 0:
            labels[k] = number
            number += 1
