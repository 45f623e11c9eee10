"""A threshold from pairs of images of which a person says whether they are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._distinct import distinct
from .._names import escape_name, unescape_name
from .._table_readers import read_table
from .._types import Features, Skip
from ..backends import Engine
from ..errors import ResultError, UsageError
from ..methods import Classic
from .auto import TOLERANCE, Choice, choose_automatically
from .curve import ThresholdCurve
from .scoring import take_images
from .unlike import chain_free, unlike_pairs

__all__ = ["LabelledPair", "choose_by_pairs", "read_pairs", "score_pairs"]

_COLUMNS = ("file_a", "file_b", "same")
_WORDS = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}

_FALSE_COUNTS = 3.0
"""A pair of unlike images counts as so many that were missed: it joins two clusters to one."""

_LEAST_RECALL = 0.1
_AS_GOOD = 0.98
_RESAMPLED = 200
_FEW = 10

Numbers = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two images, and whether a person says that they are the same.

    file_a, file_b : relative to the folder of images, with `/`
    same : what the person says
    line : of the table, for messages
    """

    file_a: str
    file_b: str
    same: bool
    line: int


def read_pairs(path: Path) -> list[LabelledPair]:
    r"""Return the labelled pairs of a CSV table with the columns `file_a`, `file_b` and `same`.

    Files are shown as in `clusters.csv` (`\xNN` for an undecodable byte); `same` is yes or no, 1 or 0,
    true or false. Other columns are passed over; a pair that is there twice counts once.

    Raises
    ------
    ResultError
        The table is missing or damaged, holds no pair, or says two things of one pair; the text
        names it and the line.
    """
    pairs: dict[frozenset[str], LabelledPair] = {}
    for line, (file_a, file_b, word) in read_table(path, _COLUMNS):
        same = _WORDS.get(word.strip().lower())
        if same is None:
            raise _wrong(path, line, f"same must be one of {', '.join(_WORDS)}, got {word!r}")
        if not file_a or not file_b or file_a == file_b:
            raise _wrong(path, line, f"a pair needs two files, got {file_a!r} and {file_b!r}")
        pair = LabelledPair(unescape_name(file_a), unescape_name(file_b), same, line)
        before = pairs.setdefault(frozenset((pair.file_a, pair.file_b)), pair)
        if before.same != same:
            raise _wrong(path, line, f"says the opposite of line {before.line} about the same two files")
    if not pairs:
        raise _wrong(path, 2, "holds no pair")
    return list(pairs.values())


def _wrong(path: Path, line: int, what: str) -> ResultError:
    return ResultError(f"{escape_name(str(path))}, line {line}: {what}")


def score_pairs(
    files: Sequence[str],
    pairs: Sequence[LabelledPair],
    parts: Sequence[Features],
    method: Classic,
    engine: Engine,
) -> tuple[Numbers, Booleans, list[Skip]]:
    """Return the scores of labelled pairs and whether they are the same; and what was left out.

    Parameters
    ----------
    files : sequence of str
        The images that could be read, in the order of `parts`.
    parts : sequence of Features
        Their features, in parts of which one is looked at after the other.

    Returns
    -------
    scores (m,) float64, same (m,) bool, and the files of other pairs, each once, with the reason.
    """
    index = {file: k for k, file in enumerate(files)}
    missing = {file: pair for pair in pairs for file in (pair.file_a, pair.file_b) if file not in index}
    known = [pair for pair in pairs if pair.file_a in index and pair.file_b in index]
    left = np.array([index[pair.file_a] for pair in known], np.intp)
    right = np.array([index[pair.file_b] for pair in known], np.intp)
    skips = [
        Skip(file, f"is not among the images that could be read (line {pair.line})")
        for file, pair in missing.items()
    ]
    same = np.array([pair.same for pair in known], bool)
    if not known:
        return np.empty(0), same, skips
    used = distinct(np.concatenate([left, right]))
    features = take_images(parts, used)
    i, j = np.searchsorted(used, left), np.searchsorted(used, right)
    return method.scores(features, features, engine, i, j), same, skips


# --- the choice ---


def choose_by_pairs(scores: Numbers, same: Booleans, curve: ThresholdCurve) -> Choice:
    """Return the threshold that labelled pairs speak for, in the folder that `curve` tells of.

    The labelled pairs show what share of all same pairs scores above a threshold, and of the pairs
    above it how many are no same ones; the curve shows how many pairs there are, and how many of them
    must be chance (see `choose_automatically`). Together they give the precision and recall of every
    threshold. The threshold is the one with the largest F1, in which a false pair counts as 3 missed
    ones, since it joins two clusters; it lies in the middle of the interval in which nothing changes.

    Labelled pairs alone would not do: of twenty unlike pairs drawn at random none is as similar as
    the most similar ones of a folder's millions. The measured difference is in
    benchmarks/THRESHOLDS.md.

    Between `low` and `high` lie the thresholds around it that are worth 98 % of it or more, and nine
    of ten of those that the pairs give when they are drawn anew from themselves, 200 times.
    `confidence` is the share of the alike pairs found at `low` that is found at `high` too. Without a
    pair that is the same, or where same pairs don't score higher than others, the labels say nothing,
    and the choice is that of `choose_automatically`.

    Parameters
    ----------
    scores : (m,) float64
        Scores of the labelled pairs; -inf where an image has no features.
    same : (m,) bool
        Whether they are the same.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    if scores.ndim != 1 or scores.shape != same.shape:
        raise UsageError(f"scores and same must have one shape (m,), got {scores.shape} and {same.shape}")
    if np.isnan(scores).any():
        raise UsageError("scores must be numbers, got nan")
    order = np.lexsort((same, scores))  # that of the table is nothing to depend on
    scores, same = scores[order], same[order]
    if why := _says_nothing(scores, same):
        return _without_labels(curve, why)
    criterion = _Criterion.of(curve)
    place, first, last = _places(criterion, scores, same)
    threshold = criterion.middle(place, scores)
    alike = criterion.pairs - criterion.unlike
    return Choice(
        threshold=threshold,
        confidence=float(min(alike[last] / alike[first], 1.0)) if alike[first] > 0 else 0.0,
        is_default=False,
        reason=_reason(scores, same, threshold),
        low=criterion.middle(first, scores),
        high=criterion.middle(last, scores),
    )


def _without_labels(curve: ThresholdCurve, why: str) -> Choice:
    found = choose_automatically(curve)
    return replace(found, reason=f"{why}, so the shape of the curve decides. {found.reason}")


def _places(criterion: _Criterion, scores: Numbers, same: Booleans) -> tuple[int, int, int]:
    """Return the best place, and between which others the best one may be."""
    values = criterion.values(scores, same, np.ones((1, len(scores))))
    place = int(_highest(values)[0])
    worse = np.flatnonzero(values[0] < _AS_GOOD * values[0, place])
    first = int(worse[worse < place].max(initial=-1)) + 1
    last = int(worse[worse > place].min(initial=values.shape[1])) - 1
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), _RESAMPLED)
    drawn = drawn[drawn @ same > 0]
    if not len(drawn):
        return place, first, last
    others = np.sort(_highest(criterion.values(scores, same, drawn)))
    low, high = (int(others[round(q * (len(others) - 1))]) for q in (0.05, 0.95))
    return place, min(first, low), max(last, high)


def _highest(values: Numbers) -> NDArray[np.intp]:
    """Return the place of the highest value of each row; of equally high ones the last."""
    last: NDArray[np.intp] = values.shape[1] - 1 - np.argmax(values[:, ::-1], axis=1)
    return last


def _says_nothing(scores: Numbers, same: Booleans) -> str | None:
    """Return why no threshold follows from labels, if so."""
    if not len(scores):
        return "No labelled pair could be scored"
    if not same.any():
        return "No labelled pair is the same"
    if same.all():
        return None  # the curve knows of unlike ones
    higher = (scores[same][:, None] > scores[~same]).mean()
    equal = (scores[same][:, None] == scores[~same]).mean()
    if higher + equal / 2 <= 0.5:
        return "Labelled pairs that are the same don't score higher than others"
    return None


@dataclass(frozen=True, slots=True)
class _Criterion:
    """What is known of a folder at each threshold, whatever the labels.

    thresholds, pairs : (m,) of the curve
    unlike : (m,) of the pairs, those that must be chance
    reliable : the place at which the pairs that are the same are counted; None if the labels must tell
    begin : before it thresholds are far too low, or make chains
    """

    thresholds: Numbers
    pairs: Numbers
    unlike: Numbers
    reliable: int | None
    begin: int

    @classmethod
    def of(cls, curve: ThresholdCurve) -> _Criterion:
        unlike, auto = unlike_pairs(curve), choose_automatically(curve)
        if unlike is None or auto.is_default:
            return cls(curve.thresholds, curve.pairs, np.zeros(len(curve.pairs)), None, 0)
        reliable = min(int(np.searchsorted(unlike.thresholds, auto.threshold)), len(unlike.thresholds) - 1)
        chains_end = int(np.searchsorted(unlike.thresholds, chain_free(curve, unlike, TOLERANCE)))
        begin = min(max(unlike.begin, chains_end), reliable)
        return cls(unlike.thresholds, unlike.pairs, unlike.expected, reliable, begin)

    def values(self, scores: Numbers, same: Booleans, weights: NDArray[Any]) -> Numbers:
        """Return what each threshold is worth, for each row of weights (k, n) of the labelled pairs."""
        above = (scores[:, None] > self.thresholds).astype(np.float64)
        labelled, alike = weights @ above, (weights * same) @ above
        recall = np.maximum(alike / (weights @ same)[:, None], _LEAST_RECALL)
        wrong = 1 - np.divide(alike, labelled, out=np.ones_like(alike), where=labelled > 0)
        true = (self.pairs - self.unlike) * (1 - wrong)
        if self.reliable is None:
            totals = np.where(alike > 0, self.pairs / recall, self.pairs[0] + 1).min(axis=1)
            true = np.minimum(true, totals[:, None] * recall)
        else:
            totals = true[:, self.reliable] / recall[:, self.reliable]
        cost = self.pairs + (_FALSE_COUNTS - 1) * (self.pairs - true) + totals[:, None]
        worth: Numbers = np.divide(2 * true, cost, out=np.zeros_like(cost), where=cost > 0)
        worth[:, : self.begin] = -1
        return worth

    def middle(self, place: int, scores: Numbers) -> float:
        """Return the threshold in the middle of those that find the same pairs, with few digits."""
        here = self.thresholds[place]
        ends = np.concatenate([self.thresholds[self.pairs != self.pairs[place]], scores, [1.0]])
        above = float(ends[ends > here].min())
        first = self.thresholds[self.pairs == self.pairs[place]].min()
        least = float(scores[scores <= here].max(initial=first))
        middle = (least + above) / 2
        rounded = (round(middle, digits) for digits in range(2, 7))
        return next((short for short in rounded if least <= short < above), middle)


def _reason(scores: Numbers, same: Booleans, threshold: float) -> str:
    n_same, n_other = int(same.sum()), int((~same).sum())
    missed, false = int((scores[same] <= threshold).sum()), int((scores[~same] > threshold).sum())
    few = " They are few: some dozens tell more." if len(scores) < _FEW else ""
    return (
        f"Of {n_same} labelled pairs that are the same {missed} would be missed at {threshold:g}, "
        f"of {n_other} that are not {false} would be found.{few}"
    )
