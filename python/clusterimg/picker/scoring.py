"""The pairs of a sample of images with all images, above a score where similar ones are rare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._distinct import first_equal
from .._types import Features, no_edges
from ..backends import Engine
from ..methods import Classic

__all__ = ["ScoredPairs", "score_sample", "take_images"]

_ALL_PAIRS = 4_000_000
"""Up to so many pairs the curve tells of every score above 0."""

_DENSITY = 0.02
"""Of more of them, it begins where at most this share is similar: far below any threshold of use."""

_GLANCE = 200
"""Images on either side of the pairs by which that is found."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs of different images, each found once; equal images are one, in `copies`.

    least : pairs are those with a score above it
    edges : `i` of `rows`, `j` any image (of `rows` too only if `i < j`), both the first of their copies
    rows : sampled images that were compared, each the first of its copies
    weights : how many images of the sample each of `rows` stands for
    n_sample : images of the sample, those that can't be compared too
    first, copies : (n_images,) the first copy of each image; how many images the first one stands for
    """

    least: float
    edges: NDArray[np.void]
    rows: NDArray[np.intp]
    weights: NDArray[np.int64]
    n_sample: int
    first: NDArray[np.intp]
    copies: NDArray[np.int64]


def score_sample(
    parts: Sequence[Features], method: Classic, engine: Engine, *, sample: int, seed: int, progress: Progress
) -> ScoredPairs:
    """Score a random sample of images against all of them.

    parts : the features of all images, in parts of which one or two are in memory at a time
    """
    digests, featureless, starts = _known(parts)
    n_images = len(digests)
    first = first_equal(np.ascontiguousarray(digests).view("V16").reshape(-1))
    copies = np.bincount(first, minlength=n_images)
    can_compare = (first == np.arange(n_images)) & ~featureless
    rng = np.random.default_rng(seed)
    n_sample = min(sample, n_images)
    drawn = np.sort(rng.permutation(n_images)[:n_sample])
    weights = np.bincount(first[drawn], minlength=n_images)
    rows = np.flatnonzero(weights)
    scorer = _Scorer(parts, starts, can_compare, method, engine)
    compared = rows[can_compare[rows]]
    n_pairs = len(compared) * int(can_compare.sum())
    least = 0.0
    if n_pairs > _ALL_PAIRS:
        least = scorer.glance(compared, rng, min(_DENSITY, _ALL_PAIRS / n_pairs))
    edges = scorer.edges(compared, least, progress)
    return ScoredPairs(least, edges, rows, weights[rows], n_sample, first, copies)


def _known(parts: Sequence[Features]) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64]]:
    """Return what must be known of all images at once, and where the parts begin."""
    digests, featureless, lengths = [np.empty((0, 16), np.uint8)], [np.empty(0, bool)], [0]
    for part in parts:
        digests.append(part.digests)
        featureless.append(part.featureless)
        lengths.append(len(part))
    return np.concatenate(digests), np.concatenate(featureless), np.cumsum(lengths)


@dataclass(frozen=True, slots=True)
class _Scorer:
    parts: Sequence[Features]
    starts: NDArray[np.int64]
    can_compare: NDArray[np.bool_]
    method: Classic
    engine: Engine

    def glance(self, rows: NDArray[np.intp], rng: np.random.Generator, density: float) -> float:
        """Return about the score that this share of the pairs is above; not above the method's threshold.

        Where the method's own threshold lets many more through, it is left out of sight.
        """
        columns = np.flatnonzero(self.can_compare)
        few = [np.sort(rng.permutation(images)[:_GLANCE]) for images in (rows, columns)]
        left, right = (take_images(self.parts, images) for images in few)
        method = self.method
        scores = self.engine.matrix(method.kernel, left.values, right.values, **method.kernel_options)
        scores = scores[few[0][:, None] != few[1]]
        wanted, most = np.quantile(np.maximum(scores, 0), [1 - density, 1 - 10 * density])
        return float(max(min(wanted, method.threshold), most))

    def edges(self, rows: NDArray[np.intp], least: float, progress: Progress) -> NDArray[np.void]:
        """Return the pairs of `rows` with all images, each once."""
        n_all = int(self.can_compare.sum())
        if len(rows) == n_all:
            return self._all_edges(least, progress)
        is_row = np.zeros(len(self.can_compare), bool)
        is_row[rows] = True
        features, found, total = take_images(self.parts, rows), [no_edges()], len(rows) * n_all
        for done, part, columns, start in self._columns():
            report = partial(_report, progress, done * len(rows), total)
            edges = self._between(features.values, part.take_values(columns), least, report)
            edges["i"], edges["j"] = rows[edges["i"]], columns[edges["j"]] + start
            found.append(edges[(edges["i"] < edges["j"]) | ~is_row[edges["j"]]])
        progress(total, total)
        return np.concatenate(found)

    def _all_edges(self, least: float, progress: Progress) -> NDArray[np.void]:
        """Return the pairs of all images, part by part, each once."""
        found, done = [no_edges()], 0
        n_all = int(self.can_compare.sum())
        total = n_all * (n_all - 1) // 2
        for k, part, rows, first in self._columns():
            values = part.take_values(rows)
            for later, other, columns, start in self._columns():
                if later < k:
                    continue
                report = partial(_report, progress, done, total)
                edges = self._between(
                    values, None if later == k else other.take_values(columns), least, report
                )
                done += len(rows) * (len(rows) - 1) // 2 if later == k else len(rows) * len(columns)
                edges["i"], edges["j"] = rows[edges["i"]] + first, columns[edges["j"]] + start
                found.append(edges)
        progress(total, total)
        return np.concatenate(found)

    def _columns(self) -> Iterator[tuple[int, Features, NDArray[np.intp], int]]:
        """Yield, part by part: images to compare before it, the part, its own, where it begins."""
        done = 0
        for part, start in zip(self.parts, self.starts[:-1].tolist(), strict=True):
            columns = np.flatnonzero(self.can_compare[start : start + len(part)])
            if len(columns):
                yield done, part, columns, start
            done += len(columns)

    def _between(
        self, values: Any, others: Any, least: float, report: Callable[[int], None]
    ) -> NDArray[np.void]:
        method = self.method
        return self.engine.edges(
            method.kernel, values, others, threshold=least, progress=report, **method.kernel_options
        )


def take_images(parts: Sequence[Features], images: NDArray[np.intp]) -> Features:
    """Return the features of one or more `images` (rising), that lie in several parts."""
    taken, start = [], 0
    for part in parts:
        local = images[(images >= start) & (images < start + len(part))] - start
        if len(local):
            taken.append(part.take(local))
        start += len(part)
    return Features.concatenate(taken)


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(min(before + done, total), total)
