"""From images and what is known of them to nodes, on which a linkage works, and back to labels.

Identical images are one node, and so are images that are must-linked. But where there are cannot-links,
an image that a constraint names is a node of its own, and its identical copies are similar to it with
score 1: it may have to leave them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._distinct import first_equal
from ._linkage import Pairs, agglomerated, joined_apart, keys_of, nodes_of
from ._types import EDGE_DTYPE
from .backends import Engine

__all__ = ["Known", "groups_of_images"]

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of `n` images beside their similar pairs.

    bonds : (n,) images of the same number belong together, whatever their scores; -1 for none
    apart : (k, 2) images that must not come into one cluster
    first : (n,) the first of the images identical to each; of a set of them the edges may name but one
    order : (n,) what decides between pairs of equal scores: the lower image first, by these numbers
    """

    bonds: Indices
    apart: Indices
    first: Indices
    order: Indices

    @classmethod
    def nothing(cls, n: int) -> Known:
        """Return what is known of images that all differ, without constraints."""
        index = np.arange(n)
        return cls(np.full(n, -1), np.empty((0, 2), np.int64), index, index)


def groups_of_images(
    edges: NDArray[np.void], n: int, linkage: str, known: Known, engine: Engine
) -> NDArray[np.int64]:
    """Return for each image the number of its group; an image alone has one of its own.

    Components without cannot-links need none of this.
    """
    node = _nodes(known, n)
    size = np.bincount(node, minlength=n)
    i, j, score = _between_nodes(edges, node, known)
    bound = _bound(known.bonds, node, n, engine)
    apart = bound[node[known.apart]].reshape(-1, 2)
    plain = _components(bound[i], bound[j], n, engine)
    order = np.lexsort((keys_of(known.order[i], known.order[j]), -score))
    i, j = i[order], j[order]
    if linkage == "components":
        matters = np.zeros(n, bool)  # the components that hold two images which must not meet
        matters[plain[apart[plain[apart[:, 0]] == plain[apart[:, 1]], 0]]] = True
        chosen = matters[plain[bound[i]]]
        joined = joined_apart(bound[i[chosen]], bound[j[chosen]], n, apart)
        return _of_images(np.where(matters[plain], joined, plain), bound, node)
    joined = _agglomerated(i, j, size, bound, plain, apart, linkage)
    return _of_images(joined, bound, node)


def _of_images(group: Indices, bound: Indices, node: Indices) -> Indices:
    return group[bound[node]]


def _nodes(known: Known, n: int) -> Indices:
    """Return the node of each image: the lowest image of it."""
    if not len(known.apart):
        return known.first
    is_named = known.bonds >= 0
    is_named[known.apart] = True
    node = np.arange(n)
    others = np.flatnonzero(~is_named)
    node[others] = others[first_equal(known.first[others])]
    return node


def _between_nodes(
    edges: NDArray[np.void], node: Indices, known: Known
) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """Return the pairs of nodes, each once, with their scores; pairs of identical images count as one."""
    first = known.first
    key, score = keys_of(first[edges["i"]], first[edges["j"]]), edges["score"]
    low, high = nodes_of(key)
    differ = low != high
    key, score = key[differ], score[differ]
    if not (np.diff(key) > 0).all():
        order = np.lexsort((-score, key))
        order = order[np.diff(key[order], prepend=-1) != 0]
        key, score = key[order], score[order]
    i, j = nodes_of(key)
    nodes = np.flatnonzero(node == np.arange(len(node)))
    if not (first[nodes] != nodes).any() and (np.bincount(first[nodes]) <= 1).all():
        return i, j, score
    return _spread(i, j, score, nodes, first[nodes])


def _spread(
    i: Indices, j: Indices, score: NDArray[np.float64], nodes: Indices, kind: Indices
) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """Return the pairs of kinds of identical images as pairs of the nodes of each kind, and those inside."""
    n = int(max(kind.max(initial=-1), i.max(initial=-1), j.max(initial=-1))) + 1
    members = nodes[np.argsort(kind, kind="stable")]
    count = np.bincount(kind, minlength=n)
    start = np.cumsum(count) - count
    split = np.flatnonzero(count > 1)
    left, right = np.concatenate([i, split]), np.concatenate([j, split])
    score = np.concatenate([score, np.ones(len(split))])
    n_pairs = count[left] * count[right]
    pair = np.repeat(np.arange(len(left)), n_pairs)
    k = np.arange(n_pairs.sum()) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
    a = members[start[left[pair]] + k // count[right[pair]]]
    b = members[start[right[pair]] + k % count[right[pair]]]
    once = (left[pair] != right[pair]) | (a < b)
    return a[once], b[once], score[pair][once]


def _bound(bonds: Indices, node: Indices, n: int, engine: Engine) -> Indices:
    """Return for each node the lowest of those that are must-linked to it, directly or through others."""
    images = np.flatnonzero(bonds >= 0)
    return _components(node[images], node[images[first_equal(bonds[images])]], n, engine)


def _components(i: Indices, j: Indices, n: int, engine: Engine) -> Indices:
    """Return for each node the lowest node of its connected component."""
    edges = np.zeros(len(i), EDGE_DTYPE)
    edges["i"], edges["j"] = i, j
    labels = engine.components(edges, n)
    lowest = np.arange(n)
    members = np.flatnonzero(labels >= 0)
    lowest[members] = members[first_equal(labels[members])]
    return lowest


def _agglomerated(
    i: Indices, j: Indices, size: Indices, bound: Indices, plain: Indices, apart: Indices, linkage: str
) -> Indices:
    """Return the group of each node that is the lowest of those bound together; `i`, `j` strongest first."""
    n, count = len(size), size[i] * size[j]
    size = np.bincount(bound, weights=size, minlength=n).astype(np.int64)
    pairs = Pairs(bound[i], bound[j], count, np.arange(len(i)), np.zeros(len(i), bool))
    pairs = pairs.with_others(_forbidden(apart)).between(np.arange(n))
    whole = _whole(pairs, size, plain)
    joined = agglomerated(pairs.where(~whole[plain[pairs.a]]), size, linkage)
    return np.where(whole[plain], plain, joined)


def _forbidden(apart: Indices) -> Pairs:
    none = np.zeros(len(apart), np.int64)
    return Pairs(apart[:, 0], apart[:, 1], none, none, np.ones(len(apart), bool))


def _whole(pairs: Pairs, size: Indices, plain: Indices) -> NDArray[np.bool_]:
    """Return which components, by their lowest node, have no pair that is missing or forbidden."""
    n = len(size)
    home = plain[pairs.a]
    similar = np.bincount(home, weights=pairs.count, minlength=n)
    images = np.bincount(plain, weights=size, minlength=n)
    inside = np.bincount(plain, weights=size.astype(np.float64) ** 2, minlength=n)
    whole: NDArray[np.bool_] = 2 * similar == images**2 - inside
    whole[home[pairs.apart]] = False
    return whole
