"""From scored pairs to the threshold curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._distinct import distinct
from .._types import EDGE_DTYPE, Features
from ..backends import Engine
from ..methods import Classic
from .components import Components
from .curve import ThresholdCurve
from .estimates import share_interval, total_interval
from .scoring import Progress, ScoredPairs, score_sample

__all__ = ["curve_of"]

_EACH_WAY = 128
"""Thresholds evenly spread over the scores, and as many over the (logarithm of the) number of pairs."""

_EXAMPLES = 400


def curve_of(
    parts: Sequence[Features],
    files: Sequence[str],
    method: Classic,
    engine: Engine,
    *,
    sample: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> ThresholdCurve:
    """Return the curve of images whose features are given in parts; `files` are their names."""
    pairs = score_sample(parts, method, engine, sample=sample, seed=seed, progress=progress)
    rising = pairs.edges[np.argsort(pairs.edges["score"], kind="stable")]
    scores = np.ascontiguousarray(rising["score"])
    thresholds = _thresholds(scores, pairs.least, method.threshold)
    cuts = np.searchsorted(scores, thresholds, side="right")
    seen = _Seen(pairs)
    found = np.zeros((len(thresholds), 8))
    has_copies = np.zeros(len(files), bool)
    has_copies[pairs.rows] = pairs.copies[pairs.rows] > 1
    components = Components(pairs.copies, has_copies, engine)
    end = len(scores)
    for k in range(len(thresholds) - 1, -1, -1):
        edges, end = rising[cuts[k] : end], cuts[k]
        seen.add(edges)
        components.join(edges["i"].astype(np.intp), edges["j"].astype(np.intp))
        found[k] = *seen.numbers(), components.count, components.largest
    sums, squares, most, hits, known_pairs, known_images, clusters, largest = found.T
    n, n_all = pairs.n_sample, len(files)
    total, low, high = total_interval(sums, squares, most, n, n_all)
    images = share_interval(hits, n, n_all)
    return ThresholdCurve(
        method=method.name,
        params={**method.params, **method.kernel_options},
        default=method.default_threshold,
        files=tuple(files),
        n_sample=n,
        thresholds=thresholds,
        pairs=total / 2,
        pairs_low=np.maximum(low / 2, known_pairs),
        pairs_high=high / 2,
        images=images[0],
        images_low=np.maximum(images[1], known_images),
        images_high=np.maximum(images[2], known_images),
        clusters=clusters.astype(np.int64),
        largest=largest.astype(np.int64),
        examples=_examples(pairs, rising, cuts),
    )


def _thresholds(scores: NDArray[np.float64], least: float, default: float) -> NDArray[np.float64]:
    """Return thresholds at which the curve changes: each score, or some of very many."""
    steps = distinct(scores)
    if len(steps) > 2 * _EACH_WAY:
        evenly = np.searchsorted(steps, np.linspace(steps[0], steps[-1], _EACH_WAY))
        ranks = len(scores) - np.geomspace(1, len(scores), _EACH_WAY).astype(np.intp)
        steps = np.concatenate([steps[np.minimum(evenly, len(steps) - 1)], scores[ranks]])
    wanted = np.concatenate([[least], [default] * (default > least), steps])
    return distinct(wanted[wanted < 1])


class _Seen:
    """What the sampled images have seen so far: how many similar ones each."""

    def __init__(self, pairs: ScoredPairs) -> None:
        self._pairs = pairs
        self._row = np.full(len(pairs.first), -1)
        self._row[pairs.rows] = np.arange(len(pairs.rows))
        self._counts = pairs.copies[pairs.rows] - 1
        several = pairs.copies[pairs.rows]
        self._is_known = np.zeros(len(pairs.first), bool)  # to be similar to another
        self._is_known[pairs.rows[several > 1]] = True
        self._n_known = int(several[several > 1].sum())
        self._n_pairs = int((several * (several - 1) // 2).sum())

    def add(self, edges: NDArray[np.void]) -> None:
        copies, i, j = self._pairs.copies, edges["i"], edges["j"]
        np.add.at(self._counts, self._row[i], copies[j])
        both = self._row[j] >= 0
        np.add.at(self._counts, self._row[j[both]], copies[i[both]])
        new = distinct(np.concatenate([i, j]))
        new = new[~self._is_known[new]]
        self._is_known[new] = True
        self._n_known += int(copies[new].sum())
        self._n_pairs += int((copies[i] * copies[j]).sum())

    def numbers(self) -> tuple[float, ...]:
        """Return of the counts: sum, sum of squares, largest, how many; pairs and images known."""
        weights, counts = self._pairs.weights, self._counts.astype(np.float64)
        return (
            float(weights @ counts),
            float(weights @ counts**2),
            float(counts.max(initial=0)),
            float(weights @ (counts > 0)),
            float(self._n_pairs),
            float(self._n_known),
        )


def _examples(pairs: ScoredPairs, rising: NDArray[np.void], cuts: NDArray[np.intp]) -> NDArray[np.void]:
    """Return some pairs just above each of the cuts, spread over all of them; and pairs of equal images."""
    n_each = max(2, _EXAMPLES // max(len(cuts), 1))
    near = np.concatenate([cuts + k for k in range(-n_each, n_each)])
    chosen = distinct(near[(near >= 0) & (near < len(rising))])
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _EXAMPLES)).astype(np.intp)]
    examples = rising[chosen]
    copies = np.flatnonzero(pairs.first != np.arange(len(pairs.first)))[:8]
    equal = np.empty(len(copies), EDGE_DTYPE)
    equal["i"], equal["j"], equal["score"] = pairs.first[copies], copies, 1.0
    examples["i"], examples["j"] = (
        np.minimum(examples["i"], examples["j"]),
        np.maximum(examples["i"], examples["j"]),
    )
    return np.concatenate([examples, equal])
