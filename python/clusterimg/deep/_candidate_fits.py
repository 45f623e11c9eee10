"""Candidates fitted to points: labels, and why there are none. Bytes that a fit takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..clustering import number_by_appearance
from ._scores import centres_of
from .cluster_models import MODELS, Candidate, Quantile

__all__ = [
    "MIXTURE_DIMS",
    "Fit",
    "bytes_of",
    "clean",
    "fit_group",
    "groups_of",
    "left_out",
    "reduced",
    "resolved",
]

Points = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]

MIXTURE_DIMS = 32
"""A Gaussian mixture sees at most so many principal components: it estimates a variance of each."""

WHOLE_TREE = 5_000
"""Above so many points agglomerative clustering joins near points only (`_NEIGHBOURS`), not any two."""

_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """A candidate with its labels (n,), or with the reason why it has none.

    seconds : of processor time
    reason : why there are no labels, or that the labels did not converge
    """

    candidate: Candidate
    labels: Labels | None
    seconds: float
    reason: str = ""


def groups_of(candidates: Iterable[Candidate]) -> list[list[int]]:
    """Return the candidates that are fitted together, as indices: those that cut one and the same tree."""
    groups: dict[object, list[int]] = {}
    for index, candidate in enumerate(candidates):
        key: object = index
        if candidate.model == "agglomerative" and candidate.get("distance_threshold") is None:
            key = tuple(pair for pair in candidate.params if pair[0] != "n_clusters")
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def reduced(points: Points, seed: int) -> Points:
    """Return the points (n, at most MIXTURE_DIMS) in their principal components."""
    from sklearn.decomposition import PCA

    n_dims = min(MIXTURE_DIMS, *points.shape)
    if n_dims == points.shape[1]:
        return points
    return np.asarray(PCA(n_dims, svd_solver="randomized", random_state=seed).fit_transform(points))


def fit_group(points: Points, candidates: Sequence[Candidate], seed: int) -> list[Fit]:
    """Fit candidates that belong together (`groups_of`). Nothing that a model raises comes out."""
    start = time.thread_time()
    labels: Iterator[tuple[NDArray[Any] | None, str]]
    try:
        if len(candidates) == 1:
            labels = iter([_fit(points, candidates[0], seed)])
        else:
            labels = _cuts(points, candidates)
        fits = [(None if found is None else clean(found), reason) for found, reason in labels]
    except MemoryError:
        fits = [(None, "out of memory")] * len(candidates)
    except (ValueError, ArithmeticError, RuntimeError, TypeError) as error:
        fits = [(None, str(error).strip().split("\n")[0] or type(error).__name__)] * len(candidates)
    seconds = (time.thread_time() - start) / len(candidates)
    return [Fit(c, found, seconds, reason) for c, (found, reason) in zip(candidates, fits, strict=True)]


def left_out(candidates: Sequence[Candidate], n_bytes: int, memory: int) -> list[Fit]:
    """Return what there is of candidates that need more memory than they may have."""
    reason = f"needs about {n_bytes >> 20:,} MB of memory, more than {memory >> 20:,} MB"
    return [Fit(candidate, None, 0.0, reason) for candidate in candidates]


def _fit(points: Points, candidate: Candidate, seed: int) -> tuple[NDArray[Any] | None, str]:
    if reason := _too_many(candidate, len(points)):
        return None, reason
    params: dict[str, Any] = dict(candidate.params)
    if candidate.model in _SEEDED:
        params["random_state"] = seed
    if candidate.model == "agglomerative":
        params["connectivity"] = _connectivity(points)
    estimator = MODELS[candidate.model].build(params)
    labels = estimator.fit_predict(points)
    has_converged = getattr(estimator, "converged_", True)
    if candidate.model == "kmeans":
        has_converged = estimator.n_iter_ < estimator.max_iter
    return labels, "" if has_converged else "did not converge"


_SEEDED = {"kmeans", "minibatchkmeans", "gaussianmixture"}


def _too_many(candidate: Candidate, n: int) -> str:
    size = MODELS[candidate.model].size
    asked = candidate.get(size)
    if size.startswith("n_") and isinstance(asked, int) and asked > n:
        return f"{asked} clusters of {n} points"
    return ""


def _cuts(points: Points, candidates: Sequence[Candidate]) -> Iterator[tuple[NDArray[Any] | None, str]]:
    """Cut one tree of agglomerative clustering at several numbers of clusters.

    The tree's merges are in order, so the first n - k of them leave k clusters, as scikit-learn cuts it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(points)
    params = {**dict(candidates[0].params), "n_clusters": 1, "compute_full_tree": True}
    estimator = MODELS["agglomerative"].build({**params, "connectivity": _connectivity(points)})
    merges = estimator.fit(points).children_
    for candidate in candidates:
        if reason := _too_many(candidate, n):
            yield None, reason
            continue
        n_merges = n - int(candidate.get("n_clusters"))  # type: ignore[arg-type]
        parents = np.repeat(np.arange(n, n + n_merges), 2)
        links = (np.ones(2 * n_merges, np.int8), (merges[:n_merges].ravel(), parents))
        nodes = n + n_merges
        yield connected_components(coo_array(links, shape=(nodes, nodes)), directed=False)[1][:n], ""


def _connectivity(points: Points) -> Any:
    """Return the graph that agglomerative clustering follows where a whole tree is too much, in one piece."""
    from sklearn.neighbors import kneighbors_graph

    if len(points) <= WHOLE_TREE:
        return None
    graph = kneighbors_graph(points, _NEIGHBOURS, include_self=False, n_jobs=1).tocoo()
    edges = [np.stack([graph.row, graph.col])]
    while len(middles := _middles(points, np.concatenate(edges, axis=1))) > 1:
        near = min(_NEIGHBOURS, len(middles) - 1)
        graph = kneighbors_graph(points[middles], near, include_self=False, n_jobs=1).tocoo()
        edges.append(middles[np.stack([graph.row, graph.col])])
    return _graph(np.concatenate(edges, axis=1), len(points))


def _middles(points: Points, edges: NDArray[Any]) -> NDArray[np.intp]:
    """Return the point of each piece of a graph that is nearest to the mean of the piece.

    By edges between these the pieces come together; scikit-learn would compare all pairs of pieces.
    """
    from scipy.sparse.csgraph import connected_components

    k, pieces = connected_components(_graph(edges, len(points)), directed=False)
    means, _ = centres_of(points, pieces)
    away = ((points - means[pieces]) ** 2).sum(axis=1)
    order = np.lexsort((away, pieces))
    return order[np.searchsorted(pieces[order], np.arange(k))]


def _graph(edges: NDArray[Any], n: int) -> Any:
    from scipy.sparse import coo_array

    return coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(n, n)).tocsr()


def clean(labels: NDArray[Any]) -> Labels:
    """Return labels with clusters by first appearance; noise and clusters of one point are -1."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return number_by_appearance(np.where(counts[inverse] > 1, labels, -1))


def resolved(points: Points, candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """Return the candidates with distances in place of shares (`Quantile`).

    Distances are those of up to 2,000 points, drawn by the seed, to all points.
    """
    from sklearn.neighbors import NearestNeighbors

    shared = {index for index, c in enumerate(candidates) if isinstance(c.get("eps"), Quantile)}
    if not shared or len(points) < 2:
        return [c.replace(eps=1.0) if i in shared else c for i, c in enumerate(candidates)]
    drawn = np.sort(np.random.default_rng(seed).permutation(len(points))[:2_000])
    ranks = {index: min(int(candidates[index].get("min_samples", 5)), len(points)) for index in shared}  # type: ignore[arg-type]
    tree = NearestNeighbors(n_neighbors=max(ranks.values()), n_jobs=1).fit(points)
    distances = tree.kneighbors(points[drawn])[0]
    found = list(candidates)
    for index, rank in ranks.items():
        share = candidates[index].get("eps")
        assert isinstance(share, Quantile)
        eps = float(np.quantile(distances[:, rank - 1], share.percent / 100))
        found[index] = candidates[index].replace(eps=float(f"{max(eps, _LEAST_EPS):.4g}"))
    return found


_LEAST_EPS = 1e-6
"""scikit-learn refuses an eps of 0, which copies of one point give."""


def bytes_of(candidates: Sequence[Candidate], points: Points) -> int:
    """Return about how many bytes fitting candidates that belong together takes, beside the points."""
    n, d = points.shape
    params: Mapping[str, Any] = dict(candidates[0].params)
    copies, beside = 3 * 8 * n * d, 0.0
    match candidates[0].model:
        case "agglomerative":
            beside = 8 * n * n if n <= WHOLE_TREE else 4_000 * n
        case "dbscan":
            beside = 16 * _pairs_within(points, float(params["eps"]))
        case "hdbscan":
            most = max(int(params.get("min_samples") or 0), int(params["min_cluster_size"]))
            beside = 16 * n * most + 200 * n
        case "gaussianmixture":
            k, d = int(params["n_components"]), min(d, MIXTURE_DIMS)
            copies, beside = 8 * 4 * n * d, 8 * (4 * n * k + 2 * k * d * d)
        case _:
            beside = 8 * n * 4
    return int(copies + beside) + 2**20


def _pairs_within(points: Points, eps: float) -> int:
    """Return about how many pairs DBSCAN holds, from 100 points spread over the order of all."""
    from sklearn.metrics import pairwise_distances

    some = points[:: max(1, len(points) // 100)]
    return int((pairwise_distances(some, points) <= eps).mean() * len(points) ** 2)
