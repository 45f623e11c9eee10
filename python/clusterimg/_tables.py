"""The tables of a result folder, written: clusters, skipped files, the run."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ._files import replacing, write_error
from ._names import escape_name
from ._table_readers import CLUSTER_COLUMNS, CLUSTERS, RUN
from ._types import Skip

__all__ = ["run_text", "write_clusters", "write_json", "write_refused", "write_run", "write_skipped"]


def write_clusters(
    out: Path,
    files: Sequence[str],
    *,
    labels: NDArray[np.int32],
    batches: NDArray[np.integer[Any]],
    batch_labels: NDArray[np.int32],
    representatives: NDArray[np.integer[Any]],
    scores: NDArray[np.float64],
    targets: Sequence[str],
) -> None:
    """Write `clusters.csv`: one row an image, in the order of `files`.

    Parameters
    ----------
    out : Path
        The result folder.
    files : sequence of str
        Paths relative to FOLDER, as the file system has them.
    labels, batch_labels : (n,) int32
        Cluster in the result and in its batch, -1 for an outlier.
    batches : (n,) int
        Batch of each image.
    representatives : (n,) int
        Index of the image that stands for the cluster, -1 (shown empty) for an outlier.
    scores : (n,) float64
        Shown with all digits (`float(text)` gives the same bits); NaN is shown empty.
    targets : sequence of str
        Where each file went, relative to `out`; empty where it was not handed over.

    Raises
    ------
    ResultError
        The table can't be written.
    """
    rows = (
        (
            escape_name(file),
            label,
            batch,
            batch_label,
            "" if representative < 0 else escape_name(files[representative]),
            "" if math.isnan(score) else repr(score),
            escape_name(target),
        )
        for file, label, batch, batch_label, representative, score, target in zip(
            files,
            labels.tolist(),
            batches.tolist(),
            batch_labels.tolist(),
            representatives.tolist(),
            scores.tolist(),
            targets,
            strict=True,
        )
    )
    _write_table(out / CLUSTERS, CLUSTER_COLUMNS, rows)


def write_skipped(out: Path, skips: Iterable[Skip]) -> None:
    """Write `skipped.csv`, sorted by file: those left out, each with its reason."""
    ordered = sorted(skips, key=lambda skip: skip.file)
    rows = ((escape_name(skip.file), escape_name(skip.reason)) for skip in ordered)
    _write_table(out / "skipped.csv", ("file", "reason"), rows)


def write_refused(
    out: Path,
    refused: NDArray[np.void],
    files: Sequence[str],
    reasons: Sequence[tuple[str, str]],
) -> None:
    """Write `refused.csv`: similar pairs of images, each with the two files that may not meet.

    `refused` has the fields i, j (indices of `files`), score, and reason (an index of `reasons`).
    """
    rows = (
        (
            escape_name(files[i]),
            escape_name(files[j]),
            repr(score),
            *(escape_name(file) for file in reasons[reason]),
        )
        for i, j, score, reason in refused.tolist()
    )
    _write_table(out / "refused.csv", ("file_a", "file_b", "score", "cannot_a", "cannot_b"), rows)


def write_run(out: Path, summary: Mapping[str, Any]) -> None:
    """Write `run.json`: `summary` in its own order, indented by 2.

    Beside what JSON knows it may hold paths, NumPy numbers and arrays, other mappings and
    dataclasses. NaN and infinity become null: JSON has no word for them.
    """
    write_json(out / RUN, summary)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as `run.json` holds what it tells."""
    with _writing(path) as stream:
        stream.write(run_text(data))


def run_text(summary: Mapping[str, Any]) -> str:
    """Return `summary` as `run.json` holds it."""
    text = json.dumps(_plain(summary), indent=2, ensure_ascii=False, allow_nan=False)
    # An undecodable byte of a path in a text becomes \udcNN, which JSON reads back as it was.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with _writing(path) as stream:
        plain = csv.writer(stream, lineterminator="\n")
        # Before Python 3.13 the csv module leaves a carriage return bare, and then can't read it.
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for row in rows:
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
            (quoted if has_return else plain).writerow(row)


@contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    """Give a text stream that becomes the file `path` once all of it is written."""
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise write_error(path, error) from error


def _plain(value: Any) -> Any:
    """Return `value` in the types JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return escape_name(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
