"""The data of the page: compact columns, images in the order in which the page shows them.

A cluster is a range of images, its representative first, the others by falling score with it; outliers
come behind all clusters. So an image needs no number of its cluster, nor a place of its thumbnail.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._chains import Links, Trees
from ._finished import Finished, Located
from ._pairs import ALL_PAIRS, Closeness
from ._sprites import PER_ROW, PER_SPRITE, Thumbnails

__all__ = [
    "FEATURELESS",
    "NEAR_FLAT",
    "NOT_LIKE_REPRESENTATIVE",
    "as_script",
    "columns",
    "page_order",
    "pairs_text",
]

FEATURELESS, NEAR_FLAT, NOT_LIKE_REPRESENTATIVE = 1, 2, 4
"""Flags of an image; the last: its score with the representative is not above the threshold."""

_CURVE = (
    "method",
    "default",
    "n_images",
    "n_sample",
    "thresholds",
    "pairs",
    "pairs_low",
    "pairs_high",
    "images",
)
_DIGITS = 6
_LEVELS = 65534  # of a score in -1..1, beside 0 for a pair that can't be compared


def page_order(finished: Finished) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the images in the order of the page, and the members of each cluster, largest first."""
    labels = finished.table.labels.astype(np.int64)
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    ranks = np.where(labels >= 0, rank[np.maximum(labels, 0)], len(sizes))
    index = np.arange(len(labels))
    scores = np.where(np.isnan(finished.scores), -np.inf, finished.scores)
    order = np.lexsort((index, -scores, index != finished.representatives, ranks))
    n_outliers = int((labels < 0).sum())
    clustered = order[: len(order) - n_outliers]
    bounds = np.flatnonzero(np.diff(ranks[clustered])) + 1
    return order, [part for part in np.split(clustered, bounds) if len(part)]


def columns(
    finished: Finished,
    order: NDArray[np.int64],
    clusters: Sequence[NDArray[np.int64]],
    *,
    links: Links,
    trees: Trees,
    close: Sequence[Closeness] | None,
    why_not: str,
    located: Sequence[Located],
    thumbnails: Thumbnails | None,
    urls: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that the page shows, but for the scores of all pairs.

    `close` is None where the features can't be used, and `why_not` says why; `located` is in the order
    of the page.
    """
    table = finished.table
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    parents = trees.parents[order]
    return {
        "files": [table.files[k] for k in order.tolist()],
        "scores": numbers(finished.scores[order]),
        "parents": np.where(parents >= 0, position[parents], -1).tolist(),
        "links": numbers(trees.scores[order]),
        "flags": _flags(finished)[order].tolist(),
        "bytes": [each.size for each in located],
        "batches": table.batches[order].tolist() if len(set(table.batches.tolist())) > 1 else [],
        "targets": _targets(finished, order, located),
        "sources": _sources(finished, order),
        "clusters": _clusters(finished, clusters, position, links, trees, close),
        "allPairs": ALL_PAIRS,
        "whyNoPairs": why_not,
        "thumbnails": None if thumbnails is None else _thumbnails(thumbnails),
        "skipped": [[skip.file, skip.reason] for skip in finished.skipped],
        "run": {key: value for key, value in finished.run.items() if key not in ("featureless", "near_flat")},
        "curve": None if finished.curve is None else {name: finished.curve.get(name) for name in _CURVE},
        "threshold": finished.threshold,
        "grouped": _grouped(finished.run),
        "plots": [
            name
            for name in finished.record.tables
            if name.endswith(".png") and (finished.out / name).exists()
        ],
        **urls,
    }


def _grouped(run: Mapping[str, Any]) -> str:
    """Return which cluster models made the clusters; empty where a threshold did."""
    selections = run.get("selections")
    best = [each["best"] for each in selections if each.get("best")] if isinstance(selections, list) else []
    return ", ".join(dict.fromkeys(map(str, best))) or "cluster models" * bool(selections)


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return floats as JSON has them, rounded; None for what is not finite."""
    floats = (float(value) for value in values)
    return [round(value, _DIGITS) if math.isfinite(value) else None for value in floats]


def _clusters(
    finished: Finished,
    clusters: Sequence[NDArray[np.int64]],
    position: NDArray[np.int64],
    links: Links,
    trees: Trees,
    close: Sequence[Closeness] | None,
) -> dict[str, list[Any]]:
    """Return the columns of the clusters."""
    labels = finished.table.labels
    of = [int(labels[members[0]]) for members in clusters]
    sizes = [len(members) for members in clusters]
    weak = _weakest(links, labels)
    found: dict[str, list[Any]] = {
        "label": of,
        "size": sizes,
        "parts": [int(trees.n_trees[label]) for label in of],
        "weak": [_pair(position, *weak[label]) if label in weak else None for label in of],
    }
    if close is None:
        found["wide"] = [_pair(position, *_least_like(finished, members)) for members in clusters]
        found["similar"] = [int(links.n_similar[label]) for label in of]
        found["scored"] = [size * (size - 1) // 2 for size in sizes]
    else:
        found["wide"] = [_pair(position, *each.widest) for each in close]
        found["similar"] = [each.similar for each in close]
        found["scored"] = [each.scored for each in close]
    return found


def _pair(position: NDArray[np.int64], i: int, j: int, score: float) -> list[float | None]:
    return [int(position[i]), int(position[j]), *numbers([score])]


def _weakest(links: Links, labels: NDArray[np.int32]) -> dict[int, tuple[int, int, float]]:
    """Return the lowest edge of the spanning tree of each cluster that has one, by its label."""
    forest = links.forest
    # The last one of a label stays, so the highest come first; of equal ones the first by (i, j) stays.
    by_score = forest[np.lexsort((-forest["j"], -forest["i"], -forest["score"]))]
    of = labels[by_score["i"]].tolist()
    return dict(zip(of, by_score.tolist(), strict=True))


def _least_like(finished: Finished, members: NDArray[np.int64]) -> tuple[int, int, float]:
    """Return the representative, the member least like it, and their score."""
    scores = np.where(np.isnan(finished.scores[members]), np.inf, finished.scores[members])
    low = 1 + int(np.argmin(scores[1:])) if len(members) > 1 else 0
    return int(members[0]), int(members[low]), float(scores[low])


def _flags(finished: Finished) -> NDArray[np.int64]:
    files, run = finished.table.files, finished.run
    known = {FEATURELESS: _names(run, "featureless"), NEAR_FLAT: _names(run, "near_flat")}
    flags = np.zeros(len(files), np.int64)
    for flag, names in known.items():
        if names:
            flags += flag * np.fromiter((file in names for file in files), np.int64, len(files))
    is_apart = (finished.table.labels >= 0) & ~(finished.scores > finished.threshold)
    return flags + NOT_LIKE_REPRESENTATIVE * is_apart


def _names(run: Mapping[str, Any], state: str) -> set[str]:
    names = run.get(state)
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _targets(finished: Finished, order: NDArray[np.int64], located: Sequence[Located]) -> dict[str, str]:
    """Return where in the result folder the images are, where that does not follow from their names.

    `""` stands for an image that is not there: not handed over, or taken back. What follows from the
    names is `result/`, the folder of the cluster, and the name of the file.
    """
    labels, files, targets = finished.table.labels, finished.table.files, finished.table.targets
    unusual = {}
    for place, k in enumerate(order.tolist()):
        folder = f"cluster_{labels[k]}" if labels[k] >= 0 else "outliers"
        is_elsewhere = located[place].path not in (None, finished.out / targets[k])
        if is_elsewhere:
            unusual[str(place)] = ""
        elif targets[k] != f"result/{folder}/{files[k].rpartition('/')[2]}":
            unusual[str(place)] = targets[k]
    return unusual


def _sources(finished: Finished, order: NDArray[np.int64]) -> dict[str, str]:
    """Return where images were taken from, relative to the folder or absolute, if not from `files[k]`."""
    if finished.sources == finished.table.files:
        return {}
    files, sources = finished.table.files, finished.sources
    return {str(place): sources[k] for place, k in enumerate(order.tolist()) if sources[k] != files[k]}


def _thumbnails(made: Thumbnails) -> dict[str, Any]:
    return {
        "cell": made.cell,
        "perRow": PER_ROW,
        "perSprite": PER_SPRITE,
        "widths": [width for width, _ in made.sizes],
        "heights": [height for _, height in made.sizes],
        "reasons": {str(k): reason for k, reason in made.reasons.items()},
    }


# As scripts: a page from the disk may not fetch anything


def as_script(name: str, value: Any) -> str:
    """Return a script that sets `window.<name>`; plain ASCII, whatever the file names.

    JSON.parse of a text takes half as long as an object literal.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"window.{name} = JSON.parse('{quoted}');\n"


def pairs_text(close: Iterable[Closeness]) -> str:
    """Return the scores of all pairs of the clusters that have them, one after another, in base64.

    Two bytes each, little-endian: 0 for a pair that can't be compared, else 1 + 65534 (score + 1) / 2.
    """
    parts = [np.empty(0)]
    parts += [each.scores for each in close if each.scores is not None]
    scores = np.concatenate(parts)
    levels = np.rint((np.clip(np.where(np.isfinite(scores), scores, 0), -1, 1) + 1) / 2 * _LEVELS) + 1
    codes = np.where(np.isfinite(scores), levels, 0).astype("<u2")
    return base64.b64encode(codes.tobytes()).decode("ascii")
