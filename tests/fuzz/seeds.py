"""Small valid files of ours, of every kind: where fuzzing starts, and what the tests damage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clusterimg import _similarities, _tables
from clusterimg._types import EDGE_DTYPE

FILES = ("a.jpg", "b c.jpg", 'd,"e".jpg', "f\r\n.jpg", "g\\h/i\udcff.jpg", "\N{CAT FACE}.jpg")


def clusters(folder: Path) -> Iterator[bytes]:
    n = len(FILES)
    labels = np.array([0, 0, 1, 1, -1, -1], np.int32)
    _tables.write_clusters(
        folder,
        FILES,
        labels=labels,
        batches=np.arange(n) // 3,
        batch_labels=labels,
        representatives=np.array([0, 0, 2, 2, -1, -1]),
        scores=np.array([1, 0.1 + 0.2, np.nan, 1, np.nan, np.nan]),
        targets=[f"result/{file}" for file in FILES[:-1]] + [""],
    )
    yield (folder / "clusters.csv").read_bytes()


def labels(folder: Path) -> Iterator[bytes]:
    yield 'file,group\na.jpg,x\n"b c.jpg",x\n\n'.encode("utf-8-sig")
    yield from clusters(folder)


def run(folder: Path) -> Iterator[bytes]:
    objects = {name: {"a": [1, 0.5, None]} for name in ("method_parameters", "image_policy", "counts")}
    run = {"parameters": {"folder": FILES[4]}, **objects, "versions": {"clusterimg": "0.1.0"}, "t": -1e-9}
    _tables.write_run(folder, run)
    yield (folder / "run.json").read_bytes()


def manifest(folder: Path) -> Iterator[bytes]:
    operations: list[dict[str, object]] = [
        {"version": 1, "folder": "/photos"},
        {"op": "table", "target": "clusters.csv"},
        {"op": "folder", "target": "result/outliers"},
        {"op": "move", "source": "a.jpg", "target": "result/a.jpg", "size": 9, "mtime_ns": 10**18},
        {"op": "link", "source": "result/a.jpg", "target": "batch_0/\\xff.jpg"},
        {"op": "undone", "target": "result/a.jpg"},
        {"op": "merged", "target": "/merged"},
    ]
    yield "".join(json.dumps(operation) + "\n" for operation in operations).encode()


def parquet(folder: Path) -> Iterator[bytes]:
    pairs = [(i, j, i + j / 7) for i in range(5) for j in range(i + 1, 6)]
    for edges in (np.array(pairs, EDGE_DTYPE), np.empty(0, EDGE_DTYPE)):
        _similarities.write_similarities(folder, "x", edges, FILES, key="key", rows_per_group=9)
        yield (folder / "similarities_x.parquet").read_bytes()


def pages(folder: Path) -> Iterator[bytes]:
    """Yield Parquet files of every packing, without a seal: see `sealed`."""
    schema = _similarities._schema().with_metadata({"clusterimg.key": "key"})
    names = pa.array(["a", "b"]).dictionary_encode()
    columns = [pa.array([0, 1], pa.int32()), pa.array([1, 2], pa.int32()), names, names, pa.array([0.5, 1])]
    table = pa.Table.from_arrays(columns, schema=schema)
    delta = {"i": "DELTA_BINARY_PACKED", "j": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"}
    for options in (
        {"compression": "zstd"},
        {"compression": "none"},
        {"compression": "none", "data_page_version": "2.0", "store_schema": False},
        {"compression": "none", "use_dictionary": False, "column_encoding": delta},
        {"compression": "snappy", "write_page_index": True},
    ):
        stream = io.BytesIO()
        pq.write_table(table, stream, **options)
        data = stream.getvalue()
        yield data[-8:-4] + data[:-8]


def sealed(data: bytes) -> bytes:
    """Return a Parquet file whose seal is right, of the length of its footer and all that comes before.

    So a fuzzer gets behind the seal, where otherwise only malice does.
    """
    body = data[4:]
    n_footer = int.from_bytes(data[:4], "little") % (len(body) + 1)
    stream = io.BytesIO(body + n_footer.to_bytes(4, "little") + b"PAR1")
    _similarities._seal(stream)
    return stream.getvalue()
