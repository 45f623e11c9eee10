"""Clusters of batches joined by the best of many cluster models.

clusters of batches → the medoid of each → candidates over these → **the one that groups the images best**

Clusters of one batch differ, so many a medoid has no like one in any batch. Scores over the medoids can't say
so: they want clusters of two and more, and favour few. So a candidate's labels are handed down to the images,
of which a sample from all batches is scored as the images of one batch are (`selection`); and one of the
default candidates joins nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Features
from ..clustering import number_by_appearance
from ._candidate_fits import Fit, Labels, Points, resolved
from ._ranking import ranked
from ._scores import drawn_of, most_scored, sample_of
from .cluster_models import Candidate, parse_models
from .selection import Progress, Selection, fit_all

__all__ = ["APART", "Batched", "choose_joined", "medoids", "spread_sample"]

APART = Candidate("apart", ())
"""Joins nothing."""

_ROWS = 4_096
"""Images that are compared with the drawn ones at a time."""

Groups = NDArray[np.int64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Batched:
    """The vectors of all images, a batch at a time.

    starts : the index of the first image of each batch, and the number of all
    features_of : the features of images, by rising indices
    """

    starts: NDArray[np.int64]
    features_of: Callable[[NDArray[Any]], Features]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batches(self) -> Iterator[tuple[slice, Features]]:
        """Yield the place of each batch among all images, and its features."""
        for first, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            if end > first:
                yield slice(first, end), self.features_of(np.arange(first, end))

    def vectors_of(self, images: Indices) -> NDArray[np.float32]:
        """Return the vectors of images, in their order."""
        order = np.argsort(images)
        return _vectors(self.features_of(images[order]))[np.argsort(order)]


def medoids(groups: Groups, images: Batched) -> tuple[Indices, Labels]:
    """Return an image of each group, and for each image (n,) the place of its group there, -1 for none.

    It is the image with the greatest sum of cosines with its group, the first of equals.
    """
    is_member = groups >= 0
    names, found = np.unique(groups[is_member], return_inverse=True)
    places = np.full(len(groups), -1, np.int32)
    places[is_member] = found
    sums: Any = 0.0
    for batch, features in images.batches():
        mine = places[batch]
        vectors = _vectors(features)
        part = np.zeros((len(names), vectors.shape[1]))
        np.add.at(part, mine[mine >= 0], vectors[mine >= 0])
        sums = sums + part
    best = np.full(len(names), -np.inf)
    chosen = np.zeros(len(names), np.intp)
    for batch, features in images.batches():
        local = np.flatnonzero(places[batch] >= 0)
        mine = places[batch][local]
        near = np.einsum("ij,ij->i", _vectors(features)[local], sums[mine])
        order = np.lexsort((local, -near, mine))
        firsts = order[np.unique(mine[order], return_index=True)[1]]
        better = firsts[near[firsts] > best[mine[firsts]]]
        best[mine[better]], chosen[mine[better]] = near[better], batch.start + local[better]
    return chosen, places


def spread_sample(images: Batched, seed: int, memory: int) -> Indices:
    """Return the images that labelings are scored on, rising: half drawn by the seed, and their nearest.

    Of copies of an image only the first may be among them.
    """
    digests = [features.digests for _, features in images.batches()]
    is_known = np.concatenate([~features.featureless for _, features in images.batches()])
    keys = np.ascontiguousarray(np.concatenate(digests)).view("V16").reshape(-1)
    firsts = np.unique(keys, return_index=True)[1]
    known = np.sort(firsts[is_known[firsts]])

    def nearest(drawn: Indices) -> Indices:
        own = known[drawn]
        vectors = images.vectors_of(own)
        best, found = np.full(len(own), -np.inf), own.copy()
        for batch, features in images.batches():
            local = known[(known >= batch.start) & (known < batch.stop)]
            for start in range(0, len(local), _ROWS):
                rows = local[start : start + _ROWS]
                cosines = vectors @ _vectors(features)[rows - batch.start].T
                cosines[own[:, None] == rows] = -np.inf
                nearest = cosines.argmax(axis=1)
                value = cosines[np.arange(len(own)), nearest]
                found, best = np.where(value > best, rows[nearest], found), np.maximum(value, best)
        return np.searchsorted(known, found)

    return known[drawn_of(len(known), most_scored(memory), seed, nearest)]


def choose_joined(
    points: Points,
    members: Points,
    places: Labels,
    models: tuple[str, ...] | None,
    *,
    n_images: int,
    seed: int,
    memory: int,
    n_jobs: int,
    rule: str,
    progress: Progress | None = None,
) -> tuple[Labels, Selection]:
    """Return the labels (k,) of groups that a cluster model joins, and how that was chosen.

    Parameters
    ----------
    points : (k, d) floating, one for each group
    members : (m, d) floating, the images that candidates are scored on
    places : (m,) the group of each of these, -1 for an outlier
    models : as `parse_models` takes them; None for its defaults for groups, and `APART`
    n_images : how many images there are, for what is told
    seed, memory, n_jobs, rule, progress : as for `choose`

    The labels of the selection are those of the members. Where no candidate is valid, nothing is joined.
    """
    candidates = resolved(points, parse_models(models, len(points), of_groups=True), seed)
    fits = fit_all(points, candidates, seed, memory, n_jobs, progress)
    fits = [fit if fit.labels is None else replace(fit, labels=_alone_apart(fit.labels)) for fit in fits]
    apart = np.arange(len(points), dtype=np.int32)
    if models is None:
        fits.append(Fit(APART, apart, 0.0))
    sample = sample_of(members, seed, memory)

    def handed_down(labels: Labels) -> Labels:
        return np.where(places >= 0, labels[places], -1).astype(np.int32)

    scores = [
        None if fit.labels is None else sample.scores(handed_down(fit.labels)[sample.drawn]) for fit in fits
    ]
    rows, order = ranked(fits, scores, rule)
    labels, note = fits[order[0]].labels, ""
    best = rows[0] if rows[0].is_valid else None
    if labels is None or best is None:
        labels, note = apart, "no candidate is valid: clusters of batches are left apart"
    told = number_by_appearance(handed_down(labels))
    return labels, Selection(told, best, tuple(rows), rule, seed, n_images, len(sample.drawn), note)


def _alone_apart(labels: Labels) -> Labels:
    """Return labels in which each outlier is a cluster of its own: its group stays as it is."""
    own = labels.max(initial=-1) + 1 + np.arange(len(labels), dtype=np.int32)
    return number_by_appearance(np.where(labels >= 0, labels, own))


def _vectors(features: Features) -> NDArray[np.float32]:
    return np.asarray(features.values)
