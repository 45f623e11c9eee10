"""How alike the members of each cluster are, pair by pair: canonical scores from the kept features.

Of a cluster of up to `ALL_PAIRS` images every pair is scored. Of a larger one every pair of a seeded
sample of so many members is, and then some sweeps look for its widest pair: from the image least like
the representative to all members, from the one least like that to all, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Features
from ..backends import Engine
from ..methods import Classic

__all__ = ["ALL_PAIRS", "Closeness", "closeness", "grouped"]

ALL_PAIRS = 64
"""Members up to which all pairs of a cluster are scored."""

_SWEEPS = 4
_SLICE = 1 << 16  # pairs scored between two reports of progress
_SEED = 0

Take = Callable[[NDArray[np.int64]], Features]
"""Returns the features of images, in their order."""

Scorer = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Closeness:
    """How alike the members of a cluster are.

    widest : the two images with the lowest score of those found, and it; -inf if one is featureless
    scored, similar : pairs of the cluster, or of the sample, and those above the threshold
    scores : of all pairs (0, 1), (0, 2), …, (1, 2), … in the order of the members; None for a sample
    """

    widest: tuple[int, int, float]
    scored: int
    similar: int
    scores: NDArray[np.float64] | None


def closeness(
    clusters: Sequence[NDArray[np.int64]],
    take: Take,
    method: Classic,
    engine: Engine,
    *,
    images_at_once: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Closeness]:
    """Yield the closeness of each cluster; `clusters` are its members, the representative first.

    The features of about `images_at_once` images are in memory, or of one cluster.
    """
    total = sum(n_pairs(len(members)) for members in clusters)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        if progress is not None:
            progress(done, total)

    for group in grouped([len(members) for members in clusters], images_at_once):
        chosen = clusters[group]
        features = take(np.concatenate(chosen))
        starts = np.cumsum([0, *(len(members) for members in chosen)])

        def score(
            i: NDArray[np.int64], j: NDArray[np.int64], features: Features = features
        ) -> NDArray[np.float64]:
            parts = [np.empty(0)]
            for start in range(0, len(i), _SLICE):
                part = slice(start, start + _SLICE)
                parts.append(method.scores(features, features, engine, i[part], j[part]))
                report(len(parts[-1]))
            return np.concatenate(parts)

        yield from _scored(chosen, starts, score, method.threshold)


def n_pairs(n_members: int) -> int:
    """Return how many pairs of a cluster are scored."""
    if n_members <= ALL_PAIRS:
        return n_members * (n_members - 1) // 2
    return ALL_PAIRS * (ALL_PAIRS - 1) // 2 + _SWEEPS * (n_members - 1)


def grouped(sizes: Sequence[int], at_once: int) -> Iterator[slice]:
    """Yield slices of clusters that together have at most `at_once` images, or are one cluster."""
    start = images = 0
    for k, size in enumerate(sizes):
        if k > start and images + size > at_once:
            yield slice(start, k)
            start, images = k, 0
        images += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def _scored(
    clusters: Sequence[NDArray[np.int64]], starts: NDArray[Any], score: Scorer, threshold: float
) -> Iterator[Closeness]:
    """Yield the closeness of clusters whose members have the features from `starts[k]` on."""
    small = [k for k, members in enumerate(clusters) if len(members) <= ALL_PAIRS]
    corners = {len(clusters[k]): np.triu_indices(len(clusters[k]), 1) for k in small}
    pairs = [corners[len(clusters[k])] for k in small]
    none = [np.empty(0, np.int64)]
    offsets = np.cumsum([0, *(len(i) for i, _ in pairs)])
    # All small clusters in one call: most are of two or three images.
    scores = score(
        np.concatenate([*none, *(i + starts[k] for k, (i, _) in zip(small, pairs, strict=True))]),
        np.concatenate([*none, *(j + starts[k] for k, (_, j) in zip(small, pairs, strict=True))]),
    )
    places = iter(range(len(small)))
    for k, members in enumerate(clusters):
        if len(members) > ALL_PAIRS:
            yield _sampled(members, int(starts[k]), score, threshold)
            continue
        place = next(places)
        mine = scores[offsets[place] : offsets[place + 1]]
        i, j = pairs[place]
        low = int(np.argmin(mine))
        widest = (int(members[i[low]]), int(members[j[low]]), float(mine[low]))
        yield Closeness(widest, len(mine), int((mine > threshold).sum()), mine)


def _sampled(members: NDArray[np.int64], start: int, score: Scorer, threshold: float) -> Closeness:
    chosen = np.sort(np.random.default_rng(_SEED).choice(len(members), ALL_PAIRS, replace=False))
    i, j = (chosen[corner] for corner in np.triu_indices(ALL_PAIRS, 1))
    scores = score(i + start, j + start)
    low = int(np.argmin(scores))
    widest = (int(i[low]), int(j[low]), float(scores[low]))
    center = 0  # the representative
    for _ in range(_SWEEPS):
        others = np.delete(np.arange(len(members)), center)
        found = score(np.full(len(others), center) + start, others + start)
        # A featureless image is in a cluster of copies of it only: -inf is all there is, or nothing.
        low = int(np.argmin(found))
        if found[low] < widest[2]:
            widest = (center, int(others[low]), float(found[low]))
        center = int(others[low])
    a, b, value = widest
    return Closeness(
        (int(members[a]), int(members[b]), value), len(scores), int((scores > threshold).sum()), None
    )
