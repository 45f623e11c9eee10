"""The best of many labelings of the same points, chosen without knowing the right one.

files → pictures → embedding → **candidates fitted, scored, one chosen** → labels

Three scores are those of the books: silhouette (more is better), Calinski-Harabasz (more) and Davies-Bouldin
(less). Together, by mean rank, they favour extreme numbers of clusters. The rule `neighbours` adds to the
silhouette, an outlier counted as 0, the modularity of the labels in the graph of mutual nearest neighbours.

On five sets of images (objects, faces, digits, two of photos) under four embeddings the chosen labeling is
behind the best default candidate by this much of the adjusted Rand index, on average of the 20: the three by
mean rank .24, silhouette alone .21, `neighbours` .06 (14 of the 20 within .05), modularity alone .04 (12).
By benchmarks/bench_deep.py.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from .._memory import parse_memory
from .._optional import require
from ..errors import UsageError
from ._candidate_fits import Fit, Labels, Points, bytes_of, fit_group, groups_of, left_out, reduced, resolved
from ._parallel import run_jobs
from ._ranking import Row, ranked, table
from ._scores import Sample, Scores, sample_of
from .choices import RULES
from .cluster_models import Candidate, parse_models

__all__ = ["Row", "Selection", "choose", "fit_all"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was tried, and what was chosen.

    labels : (n,) int32, clusters by first appearance, -1 for an outlier
    best : the row that was chosen; None where no candidate is valid, for the reason in `note`
    rows : all candidates, the best first, those that are not valid last
    rule : by which the rows are in order
    n_scored : how many of the points the scores were taken on
    """

    labels: Labels
    best: Row | None
    rows: tuple[Row, ...]
    rule: str
    seed: int
    n_points: int
    n_scored: int
    note: str = ""

    def table(self, limit: int | None = None) -> list[str]:
        """Return the best rows as lines of text, under a heading; all if there is no limit."""
        return table(self.rows, limit)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the labels, as values that JSON has."""
        facts = {"rule": self.rule, "seed": self.seed, "n_points": self.n_points, "n_scored": self.n_scored}
        return {**facts, "note": self.note, "candidates": [asdict(row) for row in self.rows]}


def choose(
    points: Points,
    candidates: Sequence[Candidate] | None = None,
    *,
    seed: int = 0,
    memory: int | str | None = None,
    n_jobs: int = 0,
    rule: str = "neighbours",
    progress: Progress | None = None,
) -> Selection:
    """Fit all candidates to the points and return the labels of the best.

    Parameters
    ----------
    points : (n, d) floating
        One row an image, such as `embed` returns.
    candidates : sequence of Candidate, optional
        From `parse_models`; the default ones if there are none.
    memory : int or str, optional
        Bytes that fitting may take: fewer candidates run at once, and one that needs more is left out.
        A quarter of the machine's if it is not given.
    n_jobs : int
        Candidates at once, 0 for as many as there are cores. The result doesn't hang on it.
    rule : {"neighbours", "mean-rank"}
        Ties go to fewer outliers, then to fewer clusters, then to the candidate that comes first.
    progress : callable
        Gets how many candidates are done, and of how many.

    A candidate is valid if it finds two clusters or more and its scores are defined. Where none is valid,
    all points are outliers, or one cluster if they are all the same.

    Raises
    ------
    UsageError
        For points that are not finite numbers (n, d), and for a rule that there is not.
    """
    require("sklearn", extra="deep")
    array = _checked(points)
    if rule not in RULES:
        raise UsageError(f"selection must be one of {', '.join(RULES)}, got {rule!r}")
    if n_jobs < 0:
        raise UsageError(f"n_jobs must be 0 (all cores) or more, got {n_jobs}")
    bound, n = parse_memory(memory), len(array)
    tried = parse_models(None, n) if candidates is None else list(candidates)
    nothing = partial(Selection, best=None, rows=(), rule=rule, seed=seed, n_points=n, n_scored=0)
    if n > 1 and (array == array[0]).all():
        return nothing(np.zeros(n, np.int32), note="all points are the same: one cluster")
    if n < _LEAST_POINTS:
        note = f"two clusters of two take {_LEAST_POINTS} points, there are {n}: all are outliers"
        return nothing(np.full(n, -1, np.int32), note=note)
    sample = sample_of(array, seed, bound)
    fits = fit_all(array, resolved(array, tried, seed), seed, bound, n_jobs, progress)
    scores = [None if fit.labels is None else sample.scores(fit.labels[sample.drawn]) for fit in fits]
    return _selected(array, fits, scores, sample, rule, seed)


_LEAST_POINTS = 4


def _checked(points: Points) -> Points:
    array = np.asarray(points)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise UsageError(f"points must be floating (n, d), got {array.dtype} {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UsageError(f"points must be finite numbers: {len(bad)} of {len(array)} are not, first {bad[0]}")
    return np.ascontiguousarray(array)


def fit_all(
    points: Points,
    candidates: Sequence[Candidate],
    seed: int,
    memory: int,
    n_jobs: int,
    progress: Progress | None,
) -> list[Fit]:
    """Return the fit of each candidate, in their order; an `eps` must be a distance (`resolved`).

    `n_jobs` are fitted at once, 0 for as many as there are cores.
    """
    with warnings.catch_warnings():  # of equal points
        warnings.simplefilter("ignore")
        few_dims = reduced(points, seed) if any(c.model == "gaussianmixture" for c in candidates) else points
    groups = groups_of(candidates)
    jobs, sizes = [], []
    for group in groups:
        members = [candidates[index] for index in group]
        n_bytes = bytes_of(members, points)
        seen = few_dims if members[0].model == "gaussianmixture" else points
        fits = partial(fit_group, seen, members, seed)
        jobs.append(fits if n_bytes <= memory else partial(left_out, members, n_bytes, memory))
        sizes.append(n_bytes if n_bytes <= memory else 0)
    with warnings.catch_warnings():  # of models that did not converge, which the rows say
        warnings.simplefilter("ignore")
        results = run_jobs(
            jobs, sizes, n_jobs=n_jobs or os.cpu_count() or 1, memory=memory, progress=progress
        )
    indices = [index for group in groups for index in group]
    found = dict(zip(indices, (fit for result in results for fit in result), strict=True))
    return [found[index] for index in range(len(candidates))]


def _selected(
    points: Points,
    fits: Sequence[Fit],
    scores: Sequence[Scores | None],
    sample: Sample,
    rule: str,
    seed: int,
) -> Selection:
    rows, order = ranked(fits, scores, rule)
    n = len(points)
    labels, best, note = fits[order[0]].labels if order else None, None, ""
    if labels is not None and rows[0].is_valid:
        best = rows[0]
    else:
        labels, note = np.full(n, -1, np.int32), "no candidate is valid: all points are outliers"
    return Selection(labels, best, tuple(rows), rule, seed, n, len(sample.drawn), note)
