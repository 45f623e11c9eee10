"""What holds a cluster together: the maximum spanning forest of the similar pairs.

Between two images of a cluster, the path in the forest is the one whose weakest link is strongest. The
lowest pair of a cluster's tree is its weakest link: at a threshold of that score the cluster falls apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._distinct import distinct
from .._types import no_edges
from ..backends import Engine

__all__ = ["Links", "Trees", "forest_of", "links_of", "root_trees"]

Edges = NDArray[np.void]
Labels = NDArray[np.int32]


class Links(NamedTuple):
    """What the similar pairs say of the clusters of a result.

    forest : edges of the maximum spanning forest, sorted by (i, j)
    n_similar : (n_clusters,) int64, similar pairs that are listed of each cluster
    """

    forest: Edges
    n_similar: NDArray[np.int64]


class Trees(NamedTuple):
    """The forest, with a root for each tree: the representative of a cluster, if it is in the tree.

    parents : (n,) int64, the next image on the way to the root; -1 for a root
    scores : (n,) float64, of the image with its parent; NaN for a root
    n_trees : (n_clusters,) int64; above 1 where the pairs that join a cluster are not all listed
    """

    parents: NDArray[np.int64]
    scores: NDArray[np.float64]
    n_trees: NDArray[np.int64]


def links_of(tables: Iterable[Edges], labels: Labels, engine: Engine) -> Links:
    """Return what tables of similar pairs say; only one of them is in memory at a time.

    Pairs of images in different clusters are passed over: a stricter linkage may leave some.
    """
    n_similar = np.zeros(int(labels.max(initial=-1)) + 1, np.int64)
    forest = no_edges()
    for edges in tables:
        of_i = labels[edges["i"]]
        inside = (of_i >= 0) & (of_i == labels[edges["j"]])
        n_similar += np.bincount(of_i[inside], minlength=len(n_similar))
        forest = forest_of(np.concatenate([forest, edges[inside]]), len(labels), engine)
    return Links(forest, n_similar)


def forest_of(edges: Edges, n_images: int, engine: Engine) -> Edges:
    """Return the edges of the maximum spanning forest, sorted by (i, j).

    By Boruvka's rounds: each part takes its best edge to another part. Of equal scores the pair that
    comes first by (i, j) is better, so that no round closes a circle and the answer has one form.
    """
    waiting = edges[np.lexsort((edges["j"], edges["i"], -edges["score"]))]  # the best first
    part = np.arange(n_images)
    taken = [no_edges()]
    while len(waiting):
        first, second = part[waiting["i"]], part[waiting["j"]]
        apart = first != second
        waiting, first, second = waiting[apart], first[apart], second[apart]
        best = np.full(n_images, len(waiting))
        ranks = np.arange(len(waiting))
        np.minimum.at(best, first, ranks)
        np.minimum.at(best, second, ranks)
        taken.append(waiting[distinct(best[best < len(waiting)])])
        labels = engine.components(np.concatenate(taken), n_images)
        alone = labels < 0
        part = np.where(alone, labels.max(initial=-1) + 1 + np.cumsum(alone), labels)
    forest = np.concatenate(taken)
    return forest[np.lexsort((forest["j"], forest["i"]))]


def root_trees(forest: Edges, labels: Labels, representatives: NDArray[np.integer[Any]]) -> Trees:
    """Return the forest as parents, each tree rooted at its cluster's representative or first image."""
    n_images = len(labels)
    parents, scores = np.full(n_images, -1), np.full(n_images, np.nan)
    ends = np.concatenate([forest["i"], forest["j"]]).astype(np.int64)
    others = np.concatenate([forest["j"], forest["i"]]).astype(np.int64)
    order = np.argsort(ends, kind="stable")
    others, of_edge = others[order], np.tile(np.arange(len(forest)), 2)[order]
    starts = np.searchsorted(ends[order], np.arange(n_images + 1))
    members = np.flatnonzero(labels >= 0)
    n_trees = np.zeros(int(labels.max(initial=-1)) + 1, np.int64)
    seen = np.zeros(n_images, np.bool_)
    # Representatives first, so that no other image becomes the root of their tree.
    for root in np.concatenate([distinct(representatives[members]), members]).tolist():
        if seen[root]:
            continue
        n_trees[labels[root]] += 1
        seen[root] = True
        stack = [root]
        while stack:
            image = stack.pop()
            for k in range(starts[image], starts[image + 1]):
                other = int(others[k])
                if not seen[other]:
                    seen[other] = True
                    parents[other], scores[other] = image, forest["score"][of_edge[k]]
                    stack.append(other)
    return Trees(parents, scores, n_trees)
