"""Scores of labelings of the same points, -1 for a point of no cluster.

Silhouette, Calinski-Harabasz and Davies-Bouldin are scikit-learn's, over the points that are in clusters. By
them alone a labeling that throws most points away would win, so before labelings are compared each is made
worse by the share of the points that are in clusters (`Scores.counted`). For the modularity an outlier is a
cluster of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_SCORED", "Sample", "Scores", "centres_of", "most_scored", "sample_of"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

MOST_SCORED = 4_000
"""Above so many points the scores are those of a sample of so many."""

NEIGHBOURS = 7
"""In the graph whose modularity is taken, points are joined that are both among each other's nearest."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one labeling: the first three over its clusters, the modularity over all points.

    share : of the points that are in clusters
    """

    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    modularity: float
    share: float

    def counted(self) -> tuple[float, float, float]:
        """Return the first three made worse by the share of outliers; more is better in each."""
        silhouette = self.silhouette * self.share if self.silhouette > 0 else self.silhouette
        return silhouette, self.calinski_harabasz * self.share, -self.davies_bouldin / self.share


@dataclass(frozen=True, slots=True)
class Sample:
    """The points that labelings are scored on.

    drawn : (m,) indices, ascending
    points : (m, d) float64
    distances : (m, m) float32
    edges : (2, e), the pairs of points that are both among each other's nearest
    weights : (e,), how near in (0, 1], by the measure of their own nearest points
    """

    drawn: NDArray[np.intp]
    points: Floats
    distances: NDArray[np.float32]
    edges: NDArray[np.intp]
    weights: Floats

    def scores(self, labels: Labels) -> Scores | None:
        """Return the scores of labels (m,), None where they aren't defined: see `is_defined`."""
        if not is_defined(labels):
            return None
        kept = np.flatnonzero(labels >= 0)
        groups = np.unique(labels[kept], return_inverse=True)[1]
        silhouette = _silhouette(self.distances, kept, groups)
        points = self.points[kept]
        ch, db = _calinski_harabasz(points, groups), _davies_bouldin(points, groups)
        if not np.isfinite([silhouette, ch, db]).all():
            return None
        share = len(kept) / len(labels)
        return Scores(silhouette, ch, db, self.modularity(labels), share)

    def modularity(self, labels: Labels) -> float:
        """Return the modularity of the labels in the graph of near points (Newman and Girvan 2004)."""
        if not self.edges.size:
            return 0.0
        alone = labels < 0
        groups = np.where(alone, len(labels) + np.arange(len(labels)), labels)
        i, j = np.unique(groups, return_inverse=True)[1][self.edges]
        total = float(self.weights.sum())
        ends = np.bincount(i, self.weights, len(labels)) + np.bincount(j, self.weights, len(labels))
        return float(self.weights[i == j].sum() / total - ((ends / (2 * total)) ** 2).sum())


def sample_of(points: NDArray[np.floating[Any]], seed: int, memory: int) -> Sample:
    """Return the points that labelings are scored on: all, or as many as may be, drawn by the seed.

    Half are drawn, the others are the nearest of those, so that small clusters have two in the sample.
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    most = most_scored(memory)
    drawn = np.arange(len(points))
    if len(points) > most:
        drawn = np.random.default_rng(seed).permutation(len(points))[: most // 2]
        near = NearestNeighbors(n_neighbors=2, n_jobs=1).fit(points).kneighbors(points[drawn])[1]
        drawn = np.unique(np.concatenate([drawn, near.ravel()]))[:most]
    some = np.asarray(points[drawn], np.float64)
    distances = pairwise_distances(some, n_jobs=1).astype(np.float32)
    return Sample(drawn, some, distances, *_mutual_neighbours(distances))


def most_scored(memory: int) -> int:
    """Return how many points the scores are taken on at most, in so many bytes."""
    return min(MOST_SCORED, max(100, int((memory / 16) ** 0.5)))


def _mutual_neighbours(distances: NDArray[np.float32]) -> tuple[NDArray[np.intp], Floats]:
    """Return the pairs (2, e) that are among each other's nearest, and their weights (e,).

    A weight is the product of the two points' distances to their nearest over their squared distance: in a
    cluster of fewer points than there are neighbours, the pairs that lead out of it weigh little. A point
    with a copy of itself counts as if its nearest were a tenth of the median away. Of very few points only
    half are near.
    """
    n = len(distances)
    n_near = min(NEIGHBOURS, (n - 1) // 2)
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, n_near - 1, axis=1)[:, :n_near]
    nearest = distances.min(axis=1).astype(np.float64)
    np.fill_diagonal(distances, 0)
    i, j = np.repeat(np.arange(n), n_near), near.ravel()
    keys, counts = np.unique(np.minimum(i, j) * n + np.maximum(i, j), return_counts=True)
    i, j = np.divmod(keys[counts == 2], n)
    nearest = np.maximum(nearest, max(0.1 * float(np.median(nearest)), 1e-12))
    weights = nearest[i] * nearest[j] / np.maximum(distances[i, j].astype(np.float64) ** 2, 1e-24)
    return np.stack([i, j]), np.minimum(weights, 1.0)


def is_defined(labels: Labels) -> bool:
    """Return whether there are two clusters or more, and more points in them than clusters."""
    found = np.unique(labels[labels >= 0])
    return 2 <= len(found) < int((labels >= 0).sum())


def _membership(groups: NDArray[np.integer[Any]], columns: NDArray[np.intp], n_columns: int) -> Any:
    """Return a sparse (clusters, points) matrix of ones."""
    from scipy.sparse import csr_array

    shape = (int(groups.max()) + 1, n_columns)
    return csr_array((np.ones(len(groups)), (groups, columns)), shape=shape)


def _silhouette(distances: NDArray[np.float32], kept: NDArray[np.intp], groups: NDArray[np.intp]) -> float:
    """Return the mean silhouette (Rousseeuw 1987) of the kept points, 0 for one alone in its cluster."""
    counts = np.bincount(groups)
    sums = (_membership(groups, kept, len(distances)) @ distances)[:, kept]
    rows = np.arange(len(kept))
    inside = sums[groups, rows] / np.maximum(counts[groups] - 1, 1)
    sums /= counts[:, None]
    sums[groups, rows] = np.inf
    outside = sums.min(axis=0)
    widest = np.maximum(inside, outside)
    values = np.divide(outside - inside, widest, out=np.zeros_like(widest), where=widest > 0)
    return float(np.where(counts[groups] > 1, values, 0).mean())


def centres_of(
    points: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]
) -> tuple[Floats, NDArray[np.intp]]:
    """Return the mean of each group (k, d), and how many points it has; groups are 0 to k - 1."""
    counts = np.bincount(groups)
    sums = _membership(groups, np.arange(len(groups)), len(groups)) @ points
    return np.asarray(sums / counts[:, None]), counts


def _calinski_harabasz(points: Floats, groups: NDArray[np.intp]) -> float:
    """Return the ratio of the spread between and within clusters; infinite if there is none within."""
    centres, counts = centres_of(points, groups)
    between = float((counts[:, None] * (centres - points.mean(axis=0)) ** 2).sum())
    within = float(((points - centres[groups]) ** 2).sum())
    n, k = len(points), len(counts)
    return between * (n - k) / (within * (k - 1)) if within > 0 else 1.0


def _davies_bouldin(points: Floats, groups: NDArray[np.intp]) -> float:
    """Return the mean over clusters of the worst ratio of two spreads to the distance of their centres."""
    from sklearn.metrics import pairwise_distances

    centres, counts = centres_of(points, groups)
    spreads = np.bincount(groups, np.linalg.norm(points - centres[groups], axis=1)) / counts
    apart = pairwise_distances(centres, n_jobs=1)
    if np.allclose(spreads, 0) or np.allclose(apart, 0):
        return 0.0
    apart[apart == 0] = np.inf
    return float(((spreads[:, None] + spreads) / apart).max(axis=1).mean())
