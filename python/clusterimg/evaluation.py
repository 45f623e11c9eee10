"""How well the clusters of a result agree with groups a person knows to be right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ResultError, UsageError
from .results import escape_name, read_clusters, read_table, unescape_name

__all__ = ["Evaluation", "Scores", "evaluate", "pairwise_scores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How well predicted clusters agree with true groups.

    A pair is two images; it is true if one group holds both, found if one cluster does.

    pairs_true, pairs_found, pairs_both : counts of such pairs; `both` are true and found
    precision : both / found; 1 if nothing was found
    recall : both / true; 1 if there was nothing to find
    f1 : 2 both / (found + true); 1 if there are neither
    bcubed_precision : mean over images of the share of its cluster that is of its group (Bagga and
        Baldwin 1998), the image itself included; `bcubed_recall` the same with the two exchanged,
        `bcubed_f1` their harmonic mean; 1 if there are no images
    ari : adjusted Rand index (Hubert and Arabie 1985), 1 for equal partitions, about 0 for chance
    """

    pairs_true: int
    pairs_found: int
    pairs_both: int
    precision: float
    recall: float
    f1: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f1: float
    ari: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Scores):
    """The scores of a result, and what they count.

    images : images of the labels file; all counts and scores are about these
    groups : groups in the labels file
    clusters, outliers : of the result, as far as they hold these images; an image that is missing
        from the result counts as an outlier
    missing : images of the labels file that the result lacks (skipped ones, for example)
    unlabelled : images of the result that the labels file lacks; left out of everything
    """

    images: int
    groups: int
    clusters: int
    outliers: int
    missing: tuple[str, ...]
    unlabelled: tuple[str, ...]


def evaluate(result: Path, labels: Path) -> Evaluation:
    """Return how well the clusters of a result agree with known groups.

    Parameters
    ----------
    result : Path
        A result folder (its `clusters.csv` is read).
    labels : Path
        A CSV table with the columns `file` (relative to the folder of images, with `/`) and
        `group`; others are passed over. Or a second result folder: its clusters are the groups, its
        outliers groups of one.

    Raises
    ------
    ResultError
        One of the two tables is missing or damaged; the text names it and the line.
    """
    in_result, numbers = read_clusters(result)
    predicted = dict(zip(in_result, numbers.tolist(), strict=True))
    files, groups = read_clusters(labels) if labels.is_dir() else _read_labels(labels)
    clusters = np.array([predicted.get(file, -1) for file in files], np.int32)
    scores = pairwise_scores(groups, clusters)
    known = set(files)
    return Evaluation(
        **asdict(scores),
        images=len(files),
        groups=len(np.unique(_own_label_for_outliers(groups))),
        clusters=len(np.unique(clusters[clusters >= 0])),
        outliers=int(np.count_nonzero(clusters < 0)),
        missing=tuple(file for file in files if file not in predicted),
        unlabelled=tuple(file for file in predicted if file not in known),
    )


def pairwise_scores(labels_true: NDArray[np.integer[Any]], labels_pred: NDArray[np.integer[Any]]) -> Scores:
    """Return how well two labellings of the same images agree.

    Parameters
    ----------
    labels_true, labels_pred : (n_images,) int
        Group and cluster of each image. Each -1 is a group or cluster of its own.

    Notes
    -----
    Takes O(n log n) time and O(n) memory: it counts the images of each (group, cluster) that
    occurs. Counts of pairs are exact.
    """
    true, pred = np.asarray(labels_true), np.asarray(labels_pred)
    if not (np.issubdtype(true.dtype, np.integer) and np.issubdtype(pred.dtype, np.integer)):
        raise UsageError(f"labels must be whole numbers, got {true.dtype} and {pred.dtype}")
    if true.ndim != 1 or true.shape != pred.shape:
        raise UsageError(f"labels must have the same shape (n_images,), got {true.shape} and {pred.shape}")
    groups, in_group = _counted(_own_label_for_outliers(true))
    clusters, in_cluster = _counted(_own_label_for_outliers(pred))
    cells, in_cell = np.unique(groups * max(len(in_cluster), 1) + clusters, return_counts=True)
    cell_group, cell_cluster = np.divmod(cells, max(len(in_cluster), 1))

    n_true, n_found, n_both = (_n_pairs(counts) for counts in (in_group, in_cluster, in_cell))
    b_precision = _mean_share(in_cell, in_cluster[cell_cluster])
    b_recall = _mean_share(in_cell, in_group[cell_group])
    return Scores(
        pairs_true=n_true,
        pairs_found=n_found,
        pairs_both=n_both,
        precision=_ratio(n_both, n_found),
        recall=_ratio(n_both, n_true),
        f1=_ratio(2 * n_both, n_true + n_found),
        bcubed_precision=b_precision,
        bcubed_recall=b_recall,
        bcubed_f1=2 * b_precision * b_recall / (b_precision + b_recall),
        ari=_adjusted_rand(n_true, n_found, n_both, len(true) * (len(true) - 1) // 2),
    )


def _own_label_for_outliers(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the labels with a number of its own for each -1."""
    own = labels.astype(np.int64)
    outliers = np.flatnonzero(own == -1)
    own[outliers] = own.max(initial=-1) + 1 + np.arange(len(outliers))
    return own


def _counted(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels numbered from 0 without gaps, and how many images each has."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return numbers.astype(np.int64).reshape(-1), counts.astype(np.int64)


def _n_pairs(counts: NDArray[np.int64]) -> int:
    # n (n - 1) / 2 fits int64 up to 3e9 images; the sum over clusters is at most that of one cluster.
    return int(np.sum(counts * (counts - 1) // 2))


def _mean_share(in_cell: NDArray[np.int64], in_whole: NDArray[np.int64]) -> float:
    """Return the mean over images of the share that its cell has of a whole: 1 if there are none."""
    if len(in_cell) == 0:
        return 1.0
    return float(np.sum(in_cell * (in_cell / in_whole)) / np.sum(in_cell))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _adjusted_rand(n_true: int, n_found: int, n_both: int, n_pairs: int) -> float:
    """Return (index - expected) / (largest - expected) from counts of pairs, in whole numbers."""
    if n_true == n_found == n_both:  # equal partitions; the formula is 0 / 0 for trivial ones
        return 1.0
    above_chance = n_both * n_pairs - n_true * n_found
    at_most = (n_true + n_found) * n_pairs - 2 * n_true * n_found
    return 2 * above_chance / at_most


def _read_labels(path: Path) -> tuple[list[str], NDArray[np.int32]]:
    """Return the files of a labels table and their groups, numbered by first appearance."""
    groups: dict[str, int] = {}
    of_file: dict[str, int] = {}
    for line, (name, group) in read_table(path, ("file", "group")):
        file = unescape_name(name)
        if not name or not group:
            raise ResultError(f"{escape_name(str(path))}, line {line}: a row needs a file and a group")
        if file in of_file:
            raise ResultError(f"{escape_name(str(path))}, line {line}: {name!r} is listed twice")
        of_file[file] = groups.setdefault(group, len(groups))
    return list(of_file), np.fromiter(of_file.values(), np.int32, len(of_file))
