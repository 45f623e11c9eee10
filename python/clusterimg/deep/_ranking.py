"""Rows of the table of candidates, and their order by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._candidate_fits import Fit, Labels
from ._scores import Scores
from .cluster_models import Candidate

__all__ = ["Row", "ranked", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A candidate, what it found and how good that is.

    n_clusters, outliers : of all points; the outliers as a share
    silhouette, calinski_harabasz, davies_bouldin : over the points in clusters, as scikit-learn defines them
    modularity : of the clusters in the graph of mutual nearest neighbours, an outlier being one of its own
    ranks : of the three, 1 for the best, each score made worse by the share of outliers before; their mean
    score : what the rule `neighbours` goes by: the silhouette, an outlier counted as 0, and the modularity
    seconds : of processor time, shared out among candidates that were fitted together
    reason : why it can't be chosen, or that it did not converge
    """

    model: str
    params: dict[str, Any]
    n_clusters: int = 0
    outliers: float = 1.0
    silhouette: float | None = None
    calinski_harabasz: float | None = None
    davies_bouldin: float | None = None
    modularity: float | None = None
    rank_silhouette: float | None = None
    rank_calinski_harabasz: float | None = None
    rank_davies_bouldin: float | None = None
    mean_rank: float | None = None
    score: float | None = None
    seconds: float = 0.0
    reason: str = ""
    chosen: bool = False

    @property
    def is_valid(self) -> bool:
        """Whether it can be chosen."""
        return self.score is not None

    @property
    def name(self) -> str:
        """The candidate as `--models` takes it, or `apart`."""
        return str(Candidate(self.model, tuple(self.params.items())))


def ranked(
    fits: Sequence[Fit], scores: Sequence[Scores | None], rule: str, *, prefer_many: bool = False
) -> tuple[list[Row], list[int]]:
    """Return the rows, the best first, and the fit of each. The first is the chosen one, if it is valid.

    Ties go to fewer outliers, then to fewer clusters (or more), then to the one that came first.
    """
    sign = -1 if prefer_many else 1
    rows = [_row(fit, found) for fit, found in zip(fits, scores, strict=True)]
    valid = [index for index, found in enumerate(scores) if found is not None]
    counted = np.array([found.counted() for found in scores if found is not None]).reshape(-1, 3)
    for index, ranks in zip(valid, _ranks(counted), strict=True):
        first, second, third = map(float, ranks)
        rows[index] = replace(
            rows[index],
            rank_silhouette=first,
            rank_calinski_harabasz=second,
            rank_davies_bouldin=third,
            mean_rank=(first + second + third) / 3,
        )

    def key(index: int) -> tuple[bool, float, float, int, int]:
        row = rows[index]
        by_rule = -(row.score or 0.0) if rule == "neighbours" else (row.mean_rank or 0.0)
        return not row.is_valid, by_rule, row.outliers, sign * row.n_clusters, index

    order = sorted(range(len(rows)), key=key)
    if order and rows[order[0]].is_valid:
        rows[order[0]] = replace(rows[order[0]], chosen=True)
    return [rows[index] for index in order], order


def _ranks(counted: np.ndarray[Any, Any]) -> Any:
    """Return the rank of each row (v, 3) in each column, 1 for the highest, equal ones the mean of theirs."""
    from scipy.stats import rankdata

    return rankdata(-counted, axis=0) if len(counted) else counted


def _row(fit: Fit, scores: Scores | None) -> Row:
    params = dict(fit.candidate.params)
    row = Row(model=fit.candidate.model, params=params, seconds=round(fit.seconds, 4), reason=fit.reason)
    if fit.labels is None:
        return row
    n_clusters = int(fit.labels.max(initial=-1)) + 1
    row = replace(row, n_clusters=n_clusters, outliers=float((fit.labels < 0).mean()))
    if scores is None:
        return replace(row, reason=_why_undefined(fit.labels, n_clusters))
    return replace(
        row,
        silhouette=scores.silhouette,
        calinski_harabasz=scores.calinski_harabasz,
        davies_bouldin=scores.davies_bouldin,
        modularity=scores.modularity,
        score=scores.counted()[0] + scores.modularity,
    )


def _why_undefined(labels: Labels, n_clusters: int) -> str:
    if n_clusters == 0:
        return "no cluster: all points are outliers"
    if n_clusters == 1:
        return "one cluster only"
    return "too few points of its clusters are in the sample that is scored"


def table(rows: Sequence[Row], limit: int | None = None) -> list[str]:
    """Return the rows as lines of text, under a heading."""
    scores = ("silhouette", "CH", "DB", "modularity", "mean rank", "score")
    heads = ("", "candidate", "clusters", "outliers", *scores)
    cells = [heads]
    for row in rows[:limit]:
        numbers = (
            _number(row.silhouette, ".3f"),
            _number(row.calinski_harabasz, ".1f"),
            _number(row.davies_bouldin, ".2f"),
            _number(row.modularity, ".3f"),
            _number(row.mean_rank, ".1f"),
            _number(row.score, ".3f"),
        )
        mark = "*" if row.chosen else ""
        cells.append((mark, row.name, str(row.n_clusters), f"{row.outliers:.1%}", *numbers))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line, reason in zip(cells, ["", *(row.reason for row in rows[:limit])], strict=True):
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        lines.append("  ".join([*left, *right, reason]).rstrip())
    return lines


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)
