"""`similarities_{stage}.parquet`: the similar pairs of a stage, written and read back.

The footer of a Parquet file says where every value is and how it is packed, and nothing in the format
watches over the footer: one changed byte, and values are read wrong, or an older Arrow (14) ends the
process. So each file is sealed: between the pages and the footer, where readers of Parquet never look,
stands the SHA-256 of all the rest, and Arrow is shown a file only after that was found right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ._files import replacing, write_error
from ._names import escape_name
from ._table_readers import read_error
from ._types import EDGE_DTYPE
from .errors import ResultError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Similarities", "read_similarities", "similarities_name", "write_similarities"]

_KEY = b"clusterimg.key"
_MARK = b"clusterimg SHA-256:"
_SEAL_BYTES = len(_MARK) + hashlib.sha256().digest_size
_TRAILER_BYTES = 8  # the length of the footer, and b"PAR1"


@dataclass(frozen=True, slots=True, eq=False)
class Similarities:
    """The similar pairs of a stage.

    edges : (n_edges,) EDGE_DTYPE, sorted by `(i, j)`, `0 <= i < j`, every score finite
    key : what the writer gave to tell what they were made of, else empty
    """

    edges: NDArray[np.void]
    key: str


def similarities_name(stage: str) -> str:
    """Return the name of the table of a stage: `batch_0`, `batch_1`, … or `representatives`."""
    return f"similarities_{stage}.parquet"


# Writing


def write_similarities(
    out: Path,
    stage: str,
    edges: NDArray[np.void],
    files: Sequence[str],
    *,
    key: str = "",
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
        See `similarities_name`.
    edges : (n_edges,) EDGE_DTYPE
        The pairs; i and j are indices into `files`.
    files : sequence of str
        Paths relative to FOLDER of all images of the run.
    key : str
        What the pairs were made of, to be found by `read_similarities`.

    Raises
    ------
    ResultError
        The table can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # not pyarrow.dataset or pandas: those take three times as long to import

    schema = _schema().with_metadata({_KEY: key})
    compression = "zstd" if pa.Codec.is_available("zstd") else "snappy"
    path = out / similarities_name(stage)
    try:
        with replacing(path) as temporary:
            with (
                temporary.open("wb") as stream,  # Arrow itself takes no path that is not UTF-8
                pq.ParquetWriter(stream, schema, compression=compression) as writer,
            ):
                for start in range(0, len(edges), rows_per_group):
                    group = edges[start : start + rows_per_group]
                    columns = [
                        _column(group["i"], schema.field("i").type),
                        _column(group["j"], schema.field("j").type),
                        _names_of(group["i"], files),
                        _names_of(group["j"], files),
                        _column(group["score"], schema.field("score").type),
                    ]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
            with temporary.open("r+b") as finished:
                _seal(finished)
    except OSError as error:
        raise write_error(path, error) from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    types = {"i": pa.int32(), "j": pa.int32(), "file_i": name, "file_j": name, "score": pa.float64()}
    return pa.schema(list(types.items()))


def _column(values: NDArray[Any], type: pa.DataType) -> pa.Array:
    """Return numbers as Arrow has them. `pa.array` would import numpy.ma, which takes 10 ms."""
    import pyarrow as pa

    return pa.Array.from_buffers(type, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _names_of(indices: NDArray[np.int32], files: Sequence[str]) -> pa.DictionaryArray:
    """Return the shown names of the files at `indices`, each stored once."""
    import pyarrow as pa

    low = int(indices.min())
    used = np.zeros(int(indices.max()) - low + 1, np.bool_)
    used[indices - low] = True
    codes = np.cumsum(used, dtype=np.int32) - 1
    names = [escape_name(files[low + k]) for k in np.flatnonzero(used).tolist()]
    return pa.DictionaryArray.from_arrays(_column(codes[indices - low], pa.int32()), pa.array(names))


# The seal


def _seal(stream: BinaryIO) -> None:
    """Put the seal before the footer of a finished Parquet file."""
    start = _footer_start(stream)
    stream.seek(start)
    footer = stream.read()
    stream.seek(start)
    digest = _digest(stream, start, footer)
    stream.write(_MARK + digest + footer)


def _is_sealed(stream: BinaryIO) -> bool:
    """Return whether the file has a seal, and no byte of it has changed since."""
    start = _footer_start(stream)
    if start < _SEAL_BYTES:
        return False
    stream.seek(start - _SEAL_BYTES)
    seal, footer = stream.read(_SEAL_BYTES), stream.read()
    return seal == _MARK + _digest(stream, start - _SEAL_BYTES, footer)


def _footer_start(stream: BinaryIO) -> int:
    """Return where the footer begins by what the last bytes say; negative if they can't be right."""
    size = stream.seek(0, os.SEEK_END)
    if size < _TRAILER_BYTES:
        return -1
    stream.seek(size - _TRAILER_BYTES)
    return size - _TRAILER_BYTES - int.from_bytes(stream.read(4), "little")


def _digest(stream: BinaryIO, n_bytes: int, footer: bytes) -> bytes:
    """Return the SHA-256 of the first `n_bytes` and the footer; leaves the stream behind the bytes."""
    sha = hashlib.sha256()
    stream.seek(0)
    for start in range(0, n_bytes, 1 << 20):
        sha.update(stream.read(min(n_bytes - start, 1 << 20)))
    sha.update(footer)
    return sha.digest()


# Reading


def read_similarities(path: Path) -> Similarities:
    """Return the pairs of a table that `write_similarities` wrote. Their names are not read.

    Raises
    ------
    ResultError
        There is no such file, a byte of it has changed, or somebody else wrote it; the text names it.
    """
    import pyarrow as pa

    shown = escape_name(str(path))
    try:
        with path.open("rb") as stream:
            if not _is_sealed(stream):
                raise ResultError(f"{shown}: damaged, or not written by clusterimg")
            try:
                return _parse(path)
            except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
                what = str(error).partition("\n")[0]
                raise ResultError(f"{shown}: not a table of similar pairs: {what}") from error
    except OSError as error:
        raise read_error(path, error) from error


def _parse(path: Path) -> Similarities:
    """Return what the Parquet file says; ValueError or an exception of Arrow if that makes no sense.

    The seal tells of damage, not of malice: nothing here trusts a count that the file states.
    The file is one of Arrow's own, since Arrow reads in a thread of its pool: that thread may let go
    of a Python stream while Python ends, and so abort the process (apache/arrow#50482).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(EDGE_DTYPE.names or ())
    schema = _schema()
    with pa.OSFile(os.fsencode(path)) as source, pq.ParquetFile(source) as table:
        came = table.schema_arrow
        if came.names != schema.names or any(came.field(k).type != schema.field(k).type for k in names):
            raise ValueError(f"expected the columns {', '.join(schema.names)} in their types")
        # Memory that no row is written to is never taken.
        edges, filled = np.empty(table.metadata.num_rows, EDGE_DTYPE), 0
        last = -1
        for batch in table.iter_batches(columns=names, use_threads=False):
            part = edges[filled : filled + len(batch)]
            if len(part) < len(batch):
                raise ValueError(f"expected {len(edges)} rows, got more")
            for name in names:
                part[name] = batch.column(name).to_numpy()  # raises where a value is missing
            last = _check(part, last)
            filled += len(batch)
        if filled != len(edges):
            raise ValueError(f"expected {len(edges)} rows, got {filled}")
        about = table.metadata.metadata or {}
        return Similarities(edges, about.get(_KEY, b"").decode())


def _check(edges: NDArray[np.void], last: int) -> int:
    """Refuse edges that break the rules of EDGE_DTYPE, or do not come after the pair `last`.

    A pair is one whole number, `i` in its upper half. Returns the last one.
    """
    if not ((edges["i"] >= 0) & (edges["i"] < edges["j"])).all():
        raise ValueError("a pair must have 0 <= i < j")
    if not np.isfinite(edges["score"]).all():
        raise ValueError("a score must be finite")
    pairs = np.concatenate([[last], edges["i"].astype(np.int64) << 32 | edges["j"]])
    if not (np.diff(pairs) > 0).all():
        raise ValueError("pairs must be sorted by (i, j), no two the same")
    return int(pairs[-1])
