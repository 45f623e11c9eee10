"""A finished result, read back: what the report tells of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import results as tables
from .._decision import Decision
from .._store import Store
from .._table_readers import parse_json
from .._types import Features, Skip
from ..errors import ResultError
from ..extraction import features_of
from ..methods import Classic, create
from ..methods.deep import NO_THRESHOLD, Deep

__all__ = [
    "CURVE",
    "Finished",
    "Kept",
    "Located",
    "kept_features",
    "locate",
    "read_finished",
    "similar_pairs",
]

CURVE = "threshold_curve.json"
"""The threshold curve of the run, where there is one."""

_OPTIONS = ("method", "threshold", "size", "scale", "hash_size", "orb_rule")


@dataclass(frozen=True, slots=True)
class Finished:
    """What the tables of a result say. Image k is `table.files[k]`.

    out : the result folder
    folder : where the images are, or were
    representatives : (n,) int64, -1 for an outlier
    scores : (n,) float64, with the representative, NaN for an outlier
    sources : where the images were taken from, relative to `folder` or absolute
    run : what run.json holds
    record : what the manifest says
    curve : what threshold_curve.json holds, or None
    """

    out: Path
    folder: Path
    table: tables.ClustersTable
    representatives: NDArray[np.int64]
    scores: NDArray[np.float64]
    sources: tuple[str, ...]
    skipped: tuple[Skip, ...]
    run: Mapping[str, Any]
    record: tables.Record
    curve: Mapping[str, Any] | None

    @property
    def threshold(self) -> float:
        """Similar means a score above it; below all scores where cluster models made the clusters."""
        threshold = self.run["parameters"]["threshold"]
        return NO_THRESHOLD if threshold is None else float(threshold)


def read_finished(out: Path) -> Finished:
    """Return what the result folder `out` says.

    Raises
    ------
    ResultError
        It holds no finished result, or a damaged one; the text names the file.
    """
    record = tables.read_manifest(out / tables.MANIFEST)
    run, table = tables.read_run(out), tables.read_clusters_table(out)
    if len(table) != run["counts"].get("images"):
        raise ResultError(
            f"{_shown(out / tables.CLUSTERS)} must list {run['counts'].get('images')} images, "
            f"as {tables.RUN} says, got {len(table)}"
        )
    is_grouped = bool(run.get("selections"))
    if not is_grouped and not isinstance(run["parameters"].get("threshold"), int | float):
        raise ResultError(f"{_shown(out / tables.RUN)}: parameters must have a threshold, a number")
    representatives, scores = _with_representatives(out, table)
    decision = Decision.load(out / tables.STATE_FOLDER, None)
    is_known = decision is not None and decision.files == table.files
    rows = tables.read_table(out / tables.SKIPPED, ("file", "reason"))
    return Finished(
        out=out,
        folder=record.folder,
        table=table,
        representatives=representatives,
        scores=scores,
        sources=decision.sources if decision is not None and is_known else table.files,
        skipped=tuple(Skip(*map(tables.unescape_name, cells)) for _, cells in rows),
        run=run,
        record=record,
        curve=_curve(out / CURVE),
    )


def _shown(path: Path) -> str:
    return tables.escape_name(str(path))


def _with_representatives(
    out: Path, table: tables.ClustersTable
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the representative of each image and its score with it."""
    path = out / tables.CLUSTERS
    index = {file: k for k, file in enumerate(table.files)}
    representatives = np.full(len(table), -1, np.int64)
    scores = np.full(len(table), np.nan)
    for k, (line, (name, score)) in enumerate(tables.read_table(path, ("representative", "score"))):
        if table.labels[k] < 0:
            continue
        found = index.get(tables.unescape_name(name), -1)
        if found < 0 or table.labels[found] != table.labels[k]:
            raise ResultError(f"{_shown(path)}, line {line}: representative must be an image of the cluster")
        representatives[k] = found
        try:
            scores[k] = float(score) if score else np.nan
        except ValueError:
            raise ResultError(f"{_shown(path)}, line {line}: score must be a number") from None
    return representatives, scores


def _curve(path: Path) -> Mapping[str, Any] | None:
    """Return the threshold curve, if there is one that can be drawn."""
    try:
        curve = parse_json(path.read_bytes())
    except (OSError, ValueError):  # it decorates the report: no reason to refuse one
        return None
    names = ("thresholds", "pairs", "pairs_low", "pairs_high")
    if not (isinstance(curve, dict) and all(_is_numbers(curve.get(name)) for name in names)):
        return None
    return curve if len({len(curve[name]) for name in names}) == 1 and curve["thresholds"] else None


def _is_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


# Pairs and features


def similar_pairs(finished: Finished) -> Iterator[NDArray[np.void]]:
    """Yield the tables of similar pairs of the result, indices over all its images."""
    for name in finished.record.tables:
        if not (name.startswith("similarities_") and (finished.out / name).exists()):
            continue
        edges = tables.read_similarities(finished.out / name).edges
        if edges["j"].max(initial=-1) >= len(finished.table):
            raise ResultError(f"{_shown(finished.out / name)} is of more images than {tables.CLUSTERS} lists")
        yield edges


class Kept(NamedTuple):
    """Features that a run kept: the method that compares them, and what reads those of some images."""

    method: Classic
    take: Callable[[NDArray[np.int64]], Features]


def kept_features(finished: Finished) -> Kept | str:
    """Return the features of the result, or why they can't be used."""
    run = finished.run
    given = {name: run["parameters"].get(name) for name in _OPTIONS}
    if isinstance(given["size"], list):
        given["size"] = tuple(given["size"])
    try:
        method = _method(str(given.pop("method")), given, run.get("features", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{_shown(finished.out / tables.RUN)}: parameters: {error}") from error
    state = finished.out / tables.STATE_FOLDER
    if not any(state.glob("features_*.npz")):
        return "the features were not kept"
    store = Store(state, {**run.get("features", {}), "policy": run["image_policy"]})
    places = store.find(finished.table.files)
    if missing := places.count(None):
        return f"the features of {missing:,} of {len(places):,} images are missing"

    def take(images: NDArray[np.int64]) -> Features:
        wanted = [place for k in images.tolist() if (place := places[k]) is not None]
        return store.put(wanted, {}, empty=features_of([], method))

    return Kept(method, take)


def _method(name: str, options: Mapping[str, Any], features: Mapping[str, Any]) -> Classic:
    if name == Deep.name:
        return Deep(about=features["params"], threshold=NO_THRESHOLD)
    method: Classic = create(name, **options)
    return method


# Files


class Located(NamedTuple):
    """Where an image is now, and its size in bytes; None and -1 if it is nowhere."""

    path: Path | None
    size: int


def locate(finished: Finished, k: int) -> Located:
    """Return where image `k` is: in the result folder, or where it came from."""
    target = finished.table.targets[k]
    source = finished.folder / finished.sources[k]
    for path in ([finished.out / target] if target else []) + [source]:
        try:
            return Located(path, os.stat(path).st_size)  # noqa: PTH116  a million times
        except (OSError, ValueError):
            continue
    return Located(None, -1)
