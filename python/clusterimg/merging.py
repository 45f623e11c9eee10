"""Clusters of batches to clusters of the whole folder.

`representatives` compares the first image of each cluster across batches and joins the clusters of
similar ones: it can't see pairs that only other members or outliers would show. A method may have its own
way (`Method.join`): cluster models join medoids (deep/merging.py). `exact` compares all images of all
batches, so its clusters are those of one batch. `no` leaves each batch as it is.

`groups` are int64 (n,): a number for the images known to belong together, -1 for the others; `starts`
the index of the first image of each batch, and n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._distinct import distinct
from ._linking import Linking
from ._store import Store
from ._types import EDGE_DTYPE, Features
from .backends import Engine
from .clustering import first_members, number_by_appearance
from .methods import Classic, Method

__all__ = [
    "MERGES",
    "Merged",
    "exact",
    "groups_of",
    "linked_representatives",
    "representatives",
    "starts",
    "take",
]

MERGES = ("representatives", "exact", "no")
"""What `--merge` takes."""

Labels = NDArray[np.int32]
Groups = NDArray[np.int64]


class Merged(NamedTuple):
    """Labels of the whole folder, and what joined clusters of different batches: edges, or a selection."""

    labels: Labels
    edges: NDArray[np.void] | None
    selection: Any = None


def groups_of(parts: Sequence[Labels]) -> Groups:
    """Return labels of several sets of images, made different from set to set."""
    groups, used = [np.empty(0, np.int64)], 0
    for labels in parts:
        groups.append(np.where(labels >= 0, labels.astype(np.int64) + used, -1))
        used += int(labels.max(initial=-1)) + 1
    return np.concatenate(groups)


def starts(parts: Sequence[Labels]) -> NDArray[np.int64]:
    """Return the index of the first image of each set, and the number of all images."""
    return np.concatenate([[0], np.cumsum([len(labels) for labels in parts])]).astype(np.int64)


def representatives(
    groups: Groups,
    starts: NDArray[np.int64],
    store: Store,
    method: Method,
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Join groups whose first images are similar, or as the method joins them.

    A representative that is similar to no other keeps its group as it is.
    """
    joined = method.join(groups, starts, partial(take, store, starts), engine, progress)
    if joined is not None:
        return Merged(*joined)
    first = first_members(groups)
    chosen = distinct(first[first >= 0])
    if len(starts) < 3 or not len(chosen):
        return Merged(number_by_appearance(groups), None)
    labels, edges, _ = method.cluster(take(store, starts, chosen), engine)
    assert edges is not None, "a method without similar pairs has its own way to join groups"
    edges["i"], edges["j"] = chosen[edges["i"]], chosen[edges["j"]]
    of_group = np.where(labels >= 0, labels, np.arange(len(chosen)) + labels.max(initial=-1) + 1)
    groups, members = groups.copy(), groups >= 0
    groups[members] = of_group[np.searchsorted(chosen, first[members])]
    return Merged(number_by_appearance(groups), edges)


def linked_representatives(
    groups: Groups,
    bonds: NDArray[np.int64],
    starts: NDArray[np.int64],
    store: Store,
    method: Classic,
    engine: Engine,
    linking: Linking,
) -> Merged:
    """Join groups as the linkage of a run joins images, by the pairs of their first images.

    Groups of one batch were kept apart there and stay so: a pair of their first images does not count.
    Outliers that constraints join to others (`bonds`) take part, as groups of their own.
    """
    first = first_members(groups)
    is_joined = np.zeros(len(groups), bool)
    bound = np.flatnonzero(bonds >= 0)
    is_joined[bound] = np.bincount(bonds[bound])[bonds[bound]] > 1
    alone = is_joined & (first < 0)
    first = np.where(alone, np.arange(len(groups)), first)
    chosen = distinct(first[first >= 0])
    if len(starts) < 3 or not len(chosen):
        return Merged(number_by_appearance(groups), None)
    features = take(store, starts, chosen)
    edges = method.edges(features, engine)
    batch = np.searchsorted(starts, chosen, side="right")
    edges = edges[batch[edges["i"]] != batch[edges["j"]]]
    members = np.flatnonzero(first >= 0)
    place = np.searchsorted(chosen, first[members])
    of_group = np.full(len(chosen), -1)
    is_named = bonds[members] >= 0
    of_group[place[is_named]] = bonds[members[is_named]]
    labels = linking.of_groups(edges, of_group, features.digests, engine)
    edges["i"], edges["j"] = chosen[edges["i"]], chosen[edges["j"]]
    own = np.where(alone[chosen], -1, np.arange(len(chosen)) + labels.max(initial=-1) + 1)
    groups = groups.copy()
    groups[members] = np.where(labels >= 0, labels, own)[place]
    return Merged(number_by_appearance(groups), edges)


def exact(
    groups: Groups, starts: NDArray[np.int64], store: Store, method: Classic, engine: Engine
) -> Iterator[tuple[tuple[int, int], Merged]]:
    """Yield, after each pair of batches, the labels so far and the edges between the two.

    The last labels are those of all images in one batch. Only one pair of batches is in memory.
    """
    labels = number_by_appearance(groups)
    n_batches = len(starts) - 1
    for p in range(n_batches):
        features = store.get(p)
        for q in range(p + 1, n_batches):
            edges = method.edges_between(features, store.get(q), engine)
            edges["i"] += np.int32(starts[p])
            edges["j"] += np.int32(starts[q])
            labels = engine.components(np.concatenate([edges, _star(labels)]), len(labels))
            yield (p, q), Merged(labels, edges)


def take(store: Store, starts: NDArray[np.int64], images: NDArray[Any]) -> Features:
    """Return the features of images (rising indices over all batches), batch by batch."""
    parts = []
    for batch in range(len(starts) - 1):
        local = images[(images >= starts[batch]) & (images < starts[batch + 1])] - starts[batch]
        if len(local):
            parts.append(store.get(batch).take(local))
    return Features.concatenate(parts)


def _star(labels: Labels) -> NDArray[np.void]:
    """Return edges from the first image of each cluster to its others: the clusters, as edges."""
    first = first_members(labels)
    members = np.flatnonzero((first >= 0) & (first != np.arange(len(labels))))
    edges = np.zeros(len(members), EDGE_DTYPE)
    edges["i"], edges["j"] = first[members], members
    return edges
