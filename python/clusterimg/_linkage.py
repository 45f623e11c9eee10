"""Stricter linkages, and components under constraints: similar pairs of nodes to groups of nodes.

A node is an image, or several that were one from the start. Which of two pairs is the stronger is said
by their rank, a different number for each pair; so there are no ties, and the order of the nodes and of
the pairs plays no part.

complete   Join the two groups whose weakest pair is the strongest, as long as all their pairs are similar.
average    Join the two groups with the largest share of similar pairs (of equal ones those whose weakest
           similar pair is the strongest), as long as that is a half or more. It begins as `complete`.

Both are reducible: joining two groups makes neither more alike to a third than the better of the two was.
So groups that are each other's best can be joined at once, all of them in one round of array operations,
and the result is that of joining one pair at a time (Bruynooghe 1977). Where rounds find little to join,
what is left is done by the nearest-neighbour chain (Benzécri 1982), which needs the same property.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._distinct import first_equal

__all__ = ["LEAST_SHARE", "Pairs", "agglomerated", "joined_apart", "keys_of", "nodes_of", "roots_of"]

LEAST_SHARE = {"complete": 1.0, "average": 0.5}
"""The share of similar pairs that two groups need to be joined."""

Nodes = NDArray[np.int64]

_FEW = 0.02  # of the groups with something to join, joined in a round: from there on the chain is faster
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of groups, `a < b`, no pair twice.

    a, b : (m,) the groups
    count : (m,) how many pairs of their images are similar
    rank : (m,) rank of the weakest of the similar pairs; 0 is the strongest
    apart : (m,) whether they must not be joined
    """

    a: Nodes
    b: Nodes
    count: Nodes
    rank: Nodes
    apart: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.a)

    def where(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Return the chosen ones."""
        return Pairs(
            self.a[chosen], self.b[chosen], self.count[chosen], self.rank[chosen], self.apart[chosen]
        )

    def between(self, group: Nodes) -> Pairs:
        """Return the pairs of what the groups have become; `group` says into which each has gone."""
        key = keys_of(group[self.a], group[self.b])
        order = np.argsort(key, kind="stable")
        order = order[~_is_loop(key[order])]
        key = key[order]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        if not len(begins):
            return self.where(np.zeros(len(self), bool))
        return Pairs(
            *nodes_of(key[begins]),
            np.add.reduceat(self.count[order], begins),
            np.maximum.reduceat(self.rank[order], begins),
            np.logical_or.reduceat(self.apart[order], begins),
        )

    def with_others(self, others: Pairs) -> Pairs:
        """Return these and others, of which none is among these."""
        return Pairs(
            np.concatenate([self.a, others.a]),
            np.concatenate([self.b, others.b]),
            np.concatenate([self.count, others.count]),
            np.concatenate([self.rank, others.rank]),
            np.concatenate([self.apart, others.apart]),
        )


def keys_of(i: NDArray[Any], j: NDArray[Any]) -> Nodes:
    """Return each pair of nodes as one number, the lower node in its upper half."""
    low, high = np.minimum(i, j).astype(np.int64), np.maximum(i, j).astype(np.int64)
    key: Nodes = low << 32 | high
    return key


def nodes_of(key: Nodes) -> tuple[Nodes, Nodes]:
    """Return the lower and the higher node of each pair."""
    return key >> 32, key & 0xFFFFFFFF


def _is_loop(key: Nodes) -> NDArray[np.bool_]:
    low, high = nodes_of(key)
    loops: NDArray[np.bool_] = low == high
    return loops


def roots_of(parent: Nodes) -> Nodes:
    """Return the root of each node; a root is its own parent, and any other node is above its parent."""
    root = parent
    while True:
        above = root[root]
        if (above == root).all():
            return root
        root = above


# --- complete and average ---


def agglomerated(pairs: Pairs, size: Nodes, linkage: str) -> Nodes:
    """Return for each node the lowest node of its group.

    `size` (n,) is how many images each node is. Takes some 120 bytes for each pair beside `pairs`.
    """
    least = LEAST_SHARE[linkage]
    parent, size = np.arange(len(size)), size.copy()
    while True:
        share = pairs.count / (size[pairs.a] * size[pairs.b])
        can_join = (share >= least) & ~pairs.apart
        if least == 1.0:  # what is not whole never will be
            pairs, share, can_join = pairs.where(can_join), share[can_join], can_join[can_join]
        if not can_join.any():
            return roots_of(parent)
        joined = _each_others_best(pairs.where(can_join), share[can_join], len(size))
        parent[joined.b] = joined.a
        size[joined.a] += size[joined.b]
        is_touched = np.zeros(len(size), bool)
        is_touched[joined.a] = is_touched[joined.b] = True
        touched = is_touched[pairs.a] | is_touched[pairs.b]
        n_busy = np.count_nonzero(np.bincount(pairs.a[can_join], minlength=len(size)))
        pairs = pairs.where(~touched).with_others(pairs.where(touched).between(parent))
        if len(joined) < _FEW * n_busy:
            _chain(pairs, size, parent, least)
            return roots_of(parent)


def _each_others_best(pairs: Pairs, share: NDArray[np.float64], n: int) -> Pairs:
    """Return the pairs that are the best for both their groups."""
    largest = np.zeros(n)
    np.maximum.at(largest, pairs.a, share)
    np.maximum.at(largest, pairs.b, share)
    strongest = np.full(n, np.iinfo(np.int64).max)
    for end in (pairs.a, pairs.b):
        is_largest = share == largest[end]
        np.minimum.at(strongest, end[is_largest], pairs.rank[is_largest])
    return pairs.where((strongest[pairs.a] == pairs.rank) & (strongest[pairs.b] == pairs.rank))


Near = dict[int, dict[int, tuple[int, int, bool]]]


def _chain(pairs: Pairs, size: Nodes, parent: Nodes, least: float) -> None:
    """Join what is left to join, one pair after another, in `parent`."""
    near: Near = {}
    columns = (pairs.a, pairs.b, pairs.count, pairs.rank, pairs.apart)
    for a, b, *facts in zip(*(column.tolist() for column in columns), strict=True):
        near.setdefault(a, {})[b] = near.setdefault(b, {})[a] = (facts[0], facts[1], facts[2])
    n_images = {group: int(size[group]) for group in near}
    for start in list(near):
        chain = [start] if start in near else []
        while chain:
            best = _best(near, n_images, chain[-1], least)
            if best is None:  # only the first of a chain has nobody to go to
                chain.pop()
            elif len(chain) > 1 and best == chain[-2]:
                kept, gone = sorted((chain.pop(), chain.pop()))
                _join(near, n_images, kept, gone, is_complete=least == 1.0)
                parent[gone] = kept
                chain = chain or [kept]
            else:
                chain.append(best)


def _best(near: Near, n_images: dict[int, int], group: int, least: float) -> int | None:
    """Return the group that this one would join first, or None."""
    best, best_share, best_rank, mine = None, least, -1, n_images[group]
    for other, (count, rank, apart) in near[group].items():
        share = count / (mine * n_images[other])
        if apart or share < best_share:
            continue
        if best is None or share > best_share or rank < best_rank:
            best, best_share, best_rank = other, share, rank
    return best


def _join(near: Near, n_images: dict[int, int], kept: int, gone: int, *, is_complete: bool) -> None:
    mine, others = near[kept], near.pop(gone)
    del mine[gone], others[kept]
    n_images[kept] += n_images.pop(gone)
    if is_complete:
        for other in mine.keys() - others.keys():
            del mine[other], near[other][kept]
    for other, facts in others.items():
        del near[other][gone]
        if other in mine:
            was = mine[other]
            facts = (was[0] + facts[0], max(was[1], facts[1]), was[2] or facts[2])
        elif is_complete:
            continue
        mine[other] = near[other][kept] = facts


# --- components under constraints ---


def joined_apart(i: Nodes, j: Nodes, n: int, apart: NDArray[np.int64]) -> Nodes:
    """Return for each node the lowest node of its group: pairs are taken in turn, if nothing forbids it.

    Parameters
    ----------
    i, j : (m,)
        The pairs, strongest first.
    apart : (k, 2)
        Nodes that must not come into one group.
    """
    parent = np.arange(n)
    foes: dict[int, set[int]] = {}
    for a, b in apart.tolist():
        foes.setdefault(a, set()).add(b)
        foes.setdefault(b, set()).add(a)
    start, length = 0, 1 << 10
    while start < len(i):
        key = keys_of(parent[i[start : start + length]], parent[j[start : start + length]])
        key = key[~_is_loop(key)]
        key = key[first_equal(key) == np.arange(len(key))]
        _unite(parent, key, foes)
        parent = roots_of(parent)
        start, length = start + length, min(2 * length, _BLOCK)
    return parent


def _unite(parent: Nodes, key: Nodes, foes: dict[int, set[int]]) -> None:
    """Join the groups of each pair in turn, unless they are foes."""
    moved: dict[int, int] = {}

    def root(k: int) -> int:
        while (above := moved.get(k)) is not None:
            moved[k] = moved.get(above, above)
            k = above
        return k

    for one, other in zip(*(nodes.tolist() for nodes in nodes_of(key)), strict=True):
        a, b = sorted((root(one), root(other)))
        if a == b or b in foes.get(a, ()):
            continue
        moved[b] = parent[b] = a
        for foe in foes.pop(b, ()):
            foes[foe].discard(b)
            foes[foe].add(a)
            foes.setdefault(a, set()).add(foe)
