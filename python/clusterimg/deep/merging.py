"""Clusters of batches joined by the best of many cluster models.

clusters of batches → the medoid of each → candidates over these → **the one that groups the images best**

Clusters of one batch differ, so many a medoid has no like one in any batch. Scores over the medoids can't say
so: they want clusters of two and more, and favour few. So a candidate's labels are handed down to the images,
of which a sample is scored as the images of one batch are (`selection`); and one candidate joins nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._distinct import distinct, first_equal
from .._types import Features
from ..clustering import number_by_appearance
from ._candidate_fits import Fit, Labels, Points, resolved
from ._ranking import ranked
from ._scores import sample_of
from .cluster_models import Candidate, are_sizes_given, parse_models
from .selection import Progress, Selection, fit_all

__all__ = ["APART", "Batched", "Grouped", "choose_merge", "grouped", "sampled"]

APART = Candidate("apart", ())
"""Joins nothing. Tried unless all models are given their numbers of clusters."""

_EACH, _NEAR = 3, 8
"""Of very many groups, neighbourhoods of so many groups are scored, so many images of each or more."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Batched:
    """The vectors of all images, a batch at a time.

    starts : the index of the first image of each batch, and the number of all
    features_of : the features of images, by rising indices
    """

    starts: NDArray[np.int64]
    features_of: Callable[[NDArray[Any]], Features]

    def batches(self) -> Iterator[tuple[slice, Features]]:
        """Yield the place of each batch among all images, and its features."""
        for first, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            if end > first:
                yield slice(first, end), self.features_of(np.arange(first, end))

    def vectors_of(self, images: Indices) -> NDArray[np.float32]:
        """Return the vectors of images, in their order."""
        order = np.argsort(images)
        return _vectors(self.features_of(images[order]))[np.argsort(order)]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Groups of images; those whose medoids are copies are one.

    medoids : (k,) the image of each group with the greatest sum of cosines with it, the first of equals
    places : (n,) the group of each image, -1 for an outlier
    is_first : (n,) whether an image is no copy of an earlier one
    """

    medoids: Indices
    places: Labels
    is_first: NDArray[np.bool_]


def grouped(groups: NDArray[np.int64], images: Batched) -> Grouped:
    """Return the groups (n,), -1 for an outlier, with their medoids. Needs (k, d) numbers of memory."""
    places = number_by_appearance(groups)
    k = int(places.max(initial=-1)) + 1
    sums, keys = np.zeros((0, 0)), []
    for batch, features in images.batches():
        vectors, mine = _vectors(features), places[batch]
        if not sums.size:
            sums = np.zeros((k, vectors.shape[1]))
        np.add.at(sums, mine[mine >= 0], vectors[mine >= 0])
        keys.append(features.keys())
    best, medoids = np.full(k, -np.inf), np.zeros(k, np.intp)
    for batch, features in images.batches():
        local = np.flatnonzero(places[batch] >= 0)
        mine = places[batch][local]
        near = np.einsum("ij,ij->i", _vectors(features)[local], sums[mine])
        order = np.lexsort((-near, mine))
        firsts = order[first_equal(mine[order]) == np.arange(len(order))]
        better = firsts[near[firsts] > best[mine[firsts]]]
        best[mine[better]], medoids[mine[better]] = near[better], batch.start + local[better]
    first = first_equal(np.concatenate(keys))
    one_of = first_equal(first[medoids])
    kept = distinct(one_of)
    places[places >= 0] = np.searchsorted(kept, one_of)[places[places >= 0]]
    return Grouped(medoids[kept], places, first == np.arange(len(first)))


def sampled(found: Grouped, points: Points, *, most: int, seed: int) -> Indices:
    """Return the images that labelings are scored on, rising: all in groups, or `most` of them by the seed.

    Each group has as many as the others, if it has so many. Of very many groups some are drawn, each with
    those whose medoids `points` (k, d) are nearest: what a candidate joins wrongly is among these. Copies of
    an image are left out.
    """
    members = np.flatnonzero((found.places >= 0) & found.is_first)
    if len(members) <= most:
        return members
    rng = np.random.default_rng(seed)
    members = rng.permutation(members)
    members = members[_neighbourhoods(points, most // _EACH, rng)[found.places[members]]]
    members = members[np.argsort(found.places[members], kind="stable")]
    own = found.places[members]
    rank = np.arange(len(own)) - np.searchsorted(own, own)  # within the group, which is in any order
    return np.sort(members[np.lexsort((rng.random(len(rank)), rank))][:most])


def _neighbourhoods(points: Points, most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which groups (k,) are scored."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    k = len(points)
    if k <= most:
        return np.ones(k, bool)
    picked = np.zeros(k, bool)
    drawn = rng.permutation(k)[: max(1, most // _NEAR)]
    with threadpool_limits(limits=1):  # rounding hangs on it, and by that the nearest
        nearest = NearestNeighbors(n_neighbors=min(_NEAR, k), n_jobs=1).fit(points)
        picked[nearest.kneighbors(points[drawn], return_distance=False)] = True
    picked[drawn] = True
    return picked


def choose_merge(
    points: Points,
    members: Points,
    places: Labels,
    models: Sequence[str] | None,
    *,
    n_images: int,
    outliers: float,
    seed: int,
    memory: int,
    n_jobs: int,
    rule: str,
    progress: Progress | None = None,
) -> tuple[Labels, Selection]:
    """Return the labels (k,) of groups that the best candidate joins, and how that was chosen.

    Parameters
    ----------
    points : (k, d) floating, the medoid of each group
    members : (m, d) floating, the images that candidates are scored on
    places : (m,) the group of each of these
    models : as `parse_models` takes them; None for its defaults
    n_images, outliers : how many images there are, and the share that is in no group, for what is told
    seed, memory, n_jobs, rule, progress : as for `choose`

    The labels of the selection are those of the members. Two clusters at least are left; ties go to more.
    """
    candidates = resolved(points, parse_models(models, len(points), of_groups=True), seed)
    fits = [_with_alone(fit) for fit in fit_all(points, candidates, seed, memory, n_jobs, progress)]
    apart = np.arange(len(points), dtype=np.int32)
    if not are_sizes_given(models):
        fits.append(Fit(APART, apart, 0.0))
    sample = sample_of(members, seed, memory)
    seen = places[sample.drawn]
    scores = [None if fit.labels is None else sample.scores(fit.labels[seen]) for fit in fits]
    rows, order = ranked(fits, scores, rule, prefer_many=True)
    rows = [replace(row, outliers=outliers) if row.n_clusters else row for row in rows]
    labels, best, note = fits[order[0]].labels, rows[0], ""
    if labels is None or not best.is_valid:
        note = "no candidate is valid: clusters of batches are left apart"
        return apart, Selection(places, None, tuple(rows), rule, seed, n_images, len(seen), note)
    told = number_by_appearance(labels[places])
    return labels, Selection(told, best, tuple(rows), rule, seed, n_images, len(seen))


def _with_alone(fit: Fit) -> Fit:
    """Return the fit with each outlier as a cluster of its own: its group stays as it is."""
    if fit.labels is None:
        return fit
    own = fit.labels.max(initial=-1) + 1 + np.arange(len(fit.labels), dtype=np.int32)
    return replace(fit, labels=number_by_appearance(np.where(fit.labels >= 0, fit.labels, own)))


def _vectors(features: Features) -> NDArray[np.float32]:
    return np.asarray(features.values)
