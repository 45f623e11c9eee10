"""Clusters of batches to clusters of the whole folder.

`representatives` compares the first image of each cluster across batches and joins the clusters of
similar ones: it can't see pairs that only other members or outliers would show. `exact` compares all
images of all batches, so its clusters are those of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._store import Store
from ._types import EDGE_DTYPE, Features
from .backends import Engine
from .clustering import first_members, number_by_appearance
from .methods import Classic, Method

__all__ = ["MERGES", "Merged", "as_one", "exact", "representatives", "starts", "take"]

MERGES = ("representatives", "exact")
"""What `--merge` takes."""

Labels = NDArray[np.int32]


class Merged(NamedTuple):
    """Labels of the whole folder, and the edges that joined clusters of different batches."""

    labels: Labels
    edges: NDArray[np.void] | None


def as_one(batch_labels: Sequence[Labels]) -> Labels:
    """Return the labels of all images, clusters of different batches apart."""
    return number_by_appearance(_global_groups(batch_labels))


def _global_groups(batch_labels: Sequence[Labels]) -> NDArray[np.int64]:
    """Return a group for each image of all batches: its cluster, unique over batches, or -1."""
    groups, used = [], 0
    for labels in batch_labels:
        groups.append(np.where(labels >= 0, labels.astype(np.int64) + used, -1))
        used += int(labels.max(initial=-1)) + 1
    return np.concatenate(groups) if groups else np.empty(0, np.int64)


def representatives(
    batch_labels: Sequence[Labels],
    store: Store,
    method: Method,
    engine: Engine,
) -> Merged:
    """Join clusters of different batches whose first images are similar.

    A representative that is similar to no other keeps its cluster as it is.
    """
    groups = _global_groups(batch_labels)
    first = first_members(groups)
    chosen = np.unique(first[first >= 0])
    if len(batch_labels) < 2 or not len(chosen):
        return Merged(number_by_appearance(groups), None)
    labels, edges = method.cluster(take(store, batch_labels, chosen), engine)
    if edges is not None:
        edges["i"], edges["j"] = chosen[edges["i"]], chosen[edges["j"]]
    joined = np.where(labels >= 0, labels, np.arange(len(chosen)) + labels.max(initial=-1) + 1)
    members = groups >= 0
    groups[members] = joined[np.searchsorted(chosen, first[members])]
    return Merged(number_by_appearance(groups), edges)


def exact(
    batch_labels: Sequence[Labels],
    store: Store,
    method: Classic,
    engine: Engine,
) -> Iterator[tuple[tuple[int, int], Merged]]:
    """Yield, after each pair of batches, the labels so far and the edges between the two.

    The last labels are those of all images in one batch. Only one pair of batches is in memory.
    """
    offsets = starts(batch_labels)
    labels = as_one(batch_labels)
    for p, q in combinations(range(len(batch_labels)), 2):
        left, right = store.get(p), store.get(q)
        edges = method.edges_between(left, right, engine)
        edges["i"] += np.int32(offsets[p])
        edges["j"] += np.int32(offsets[q])
        labels = engine.components(np.concatenate([edges, _star(labels)]), len(labels))
        yield (p, q), Merged(labels, edges)


def starts(batch_labels: Sequence[Labels]) -> NDArray[np.int64]:
    """Return the index of the first image of each batch, and the number of all images."""
    return np.concatenate([[0], np.cumsum([len(labels) for labels in batch_labels])]).astype(np.int64)


def take(store: Store, batch_labels: Sequence[Labels], images: NDArray[Any]) -> Features:
    """Return the features of images (rising indices over all batches), batch by batch."""
    offsets = starts(batch_labels)
    parts = []
    for batch in range(len(batch_labels)):
        local = images[(images >= offsets[batch]) & (images < offsets[batch + 1])] - offsets[batch]
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
