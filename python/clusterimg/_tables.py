"""The tables of a result folder, written and read: clusters, skipped files, similarities, the run."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ._files import replacing, write_error
from ._names import escape_name, unescape_name
from ._types import Skip
from .errors import ResultError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "read_clusters",
    "read_table",
    "write_clusters",
    "write_run",
    "write_similarities",
    "write_skipped",
]

_CLUSTERS = "clusters.csv"
_CLUSTER_COLUMNS = ("file", "cluster", "batch", "batch_cluster", "representative", "score", "target")
_MAX_LABEL = np.iinfo(np.int32).max


# Writing


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
    _write_table(out / _CLUSTERS, _CLUSTER_COLUMNS, rows)


def write_skipped(out: Path, skips: Iterable[Skip]) -> None:
    """Write `skipped.csv`, sorted by file: those left out, each with its reason."""
    ordered = sorted(skips, key=lambda skip: skip.file)
    rows = ((escape_name(skip.file), escape_name(skip.reason)) for skip in ordered)
    _write_table(out / "skipped.csv", ("file", "reason"), rows)


def write_run(out: Path, summary: Mapping[str, Any]) -> None:
    """Write `run.json`: `summary` in its own order, indented by 2.

    Beside what JSON knows it may hold paths, NumPy numbers and arrays, other mappings and
    dataclasses. NaN and infinity become null: JSON has no word for them.
    """
    with _writing(out / "run.json") as stream:
        text = json.dumps(_plain(summary), indent=2, ensure_ascii=False, allow_nan=False)
        # An undecodable byte of a path in a text becomes \udcNN, which JSON reads back as it was.
        stream.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def write_similarities(
    out: Path,
    stage: str,
    edges: NDArray[np.void],
    files: Sequence[str],
    *,
    rows_per_group: int = 1 << 20,
) -> None:
    """Write `similarities_{stage}.parquet` with the columns i, j, file_i, file_j, score.

    Works through `rows_per_group` edges at a time, and the names of a group are stored once each,
    so memory stays small beside `edges`, which may be a memory map.

    Parameters
    ----------
    out : Path
        The result folder.
    stage : str
        `batch_0`, `batch_1`, … or `representatives`.
    edges : (n_edges,) EDGE_DTYPE
        The pairs; i and j are indices into `files`.
    files : sequence of str
        Paths relative to FOLDER of all images of the run.

    Raises
    ------
    ResultError
        The table can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # not pyarrow.dataset or pandas: those take three times as long to import

    name = pa.dictionary(pa.int32(), pa.string())
    types = {"i": pa.int32(), "j": pa.int32(), "file_i": name, "file_j": name, "score": pa.float64()}
    schema = pa.schema(list(types.items()))
    compression = "zstd" if pa.Codec.is_available("zstd") else "snappy"
    path = out / f"similarities_{stage}.parquet"
    try:
        with (
            replacing(path) as temporary,
            temporary.open("wb") as stream,  # Arrow itself takes no path that is not UTF-8
            pq.ParquetWriter(stream, schema, compression=compression) as writer,
        ):
            for start in range(0, len(edges), rows_per_group):
                group = edges[start : start + rows_per_group]
                columns = [
                    pa.array(group["i"]),
                    pa.array(group["j"]),
                    _names_of(group["i"], files),
                    _names_of(group["j"], files),
                    pa.array(group["score"]),
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
    except OSError as error:
        raise write_error(path, error) from error


def _names_of(indices: NDArray[np.int32], files: Sequence[str]) -> pa.DictionaryArray:
    """Return the shown names of the files at `indices`, each stored once."""
    import pyarrow as pa

    low = int(indices.min())
    used = np.zeros(int(indices.max()) - low + 1, np.bool_)
    used[indices - low] = True
    codes = np.cumsum(used, dtype=np.int32) - 1
    names = [escape_name(files[low + k]) for k in np.flatnonzero(used).tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(codes[indices - low]), pa.array(names))


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


# Reading


def read_clusters(result: Path) -> tuple[list[str], NDArray[np.int32]]:
    """Return the files and their clusters (int32, -1 for an outlier) from `clusters.csv`.

    Raises
    ------
    ResultError
        There is no such table in `result`, or it is damaged; the text names it and the line.
    """
    path = result / _CLUSTERS
    labels: dict[str, int] = {}
    for line, (name, text) in read_table(path, ("file", "cluster")):
        try:
            label = int(text)
        except ValueError:
            label = -2
        if not -1 <= label <= _MAX_LABEL:
            raise _damaged(path, line, f"cluster must be -1 or a cluster number, got {text!r}")
        file = unescape_name(name)
        if file in labels:
            raise _damaged(path, line, f"{name!r} is listed twice")
        labels[file] = label
    return list(labels), np.fromiter(labels.values(), np.int32, len(labels))


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line number and the cells of `columns` for each row of the CSV table `path`.

    Other columns are passed over, empty lines and a byte order mark too.

    Raises
    ------
    ResultError
        The file can't be read, is not UTF-8, lacks a column, or a row has too few or too many
        cells; the text names the file and the line.
    """
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if not set(columns) <= set(header):
                raise _damaged(
                    path, 1, f"the header must have {', '.join(columns)}, got {','.join(header)!r}"
                )
            positions = [header.index(column) for column in columns]
            for row in reader:
                line = reader.line_num
                if row and len(row) != len(header):
                    raise _damaged(
                        path, line, f"expected {len(header)} cells as in the header, got {len(row)}"
                    )
                if row:
                    yield line, tuple(row[position] for position in positions)
    except OSError as error:
        raise ResultError(f"can't read {escape_name(str(path))}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _damaged(path, line, "not UTF-8 text") from error
    except csv.Error as error:
        raise _damaged(path, line, f"not a CSV table: {error}") from error


def _damaged(path: Path, line: int, what: str) -> ResultError:
    return ResultError(f"{escape_name(str(path))}, line {line}: {what}")
