"""Every reader of our own files: what was written comes back, and damage is named, never more.

`tests/fuzz` looks further, for as long as one likes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import string
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import _manifest, _similarities, _table_readers
from clusterimg._names import escape_name, unescape_name
from clusterimg._similarities import read_similarities, similarities_name, write_similarities
from clusterimg._table_readers import read_clusters, read_clusters_table, read_run, read_table
from clusterimg._tables import write_clusters, write_run, write_skipped
from clusterimg._types import EDGE_DTYPE, Skip
from clusterimg.errors import ResultError
from clusterimg.evaluation import evaluate
from fuzz import seeds

same_each_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a file is written anew each time
)
at_length = settings(same_each_time, max_examples=200)

HOSTILE = ["\n", "\r", "\r\n", '"', "'", ",", "\\", "\\x41", "\\\\", " ", "\t", "\N{CAT FACE}", "\ufeff", "é"]
pieces = st.one_of(
    st.sampled_from(HOSTILE).map(os.fsencode), st.binary(min_size=1, max_size=4), st.just(b"\xff\xed\xa0\x80")
)
components = (
    st.lists(pieces, min_size=1, max_size=8)
    .map(b"".join)
    .map(lambda raw: os.fsdecode(raw.replace(b"\0", b"").replace(b"/", b"")))
    .filter(lambda name: name not in ("", ".", ".."))
)
names = st.lists(components, min_size=1, max_size=3).map("/".join)
lists_of_names = st.lists(names, unique=True, max_size=6)


def some_numbers(data: st.DataObject, least: int, most: int, n: int) -> NDArray[np.int32]:
    return np.array(data.draw(st.lists(st.integers(least, most), min_size=n, max_size=n)), np.int32)


# What was written comes back


@given(files=lists_of_names, data=st.data())
@same_each_time
def test_clusters_come_back(tmp_path: Path, files: list[str], data: st.DataObject) -> None:
    n = len(files)
    labels, batch_labels = (some_numbers(data, -1, n - 1, n) for _ in range(2))
    batches = some_numbers(data, 0, 2**31 - 1, n)
    targets = tuple(data.draw(st.lists(st.one_of(st.just(""), names), min_size=n, max_size=n)))
    write_clusters(
        tmp_path,
        files,
        labels=labels,
        batches=batches,
        batch_labels=batch_labels,
        representatives=some_numbers(data, -1, n - 1, n),
        scores=np.array(data.draw(st.lists(st.floats(width=64), min_size=n, max_size=n)), np.float64),
        targets=targets,
    )
    table = read_clusters_table(tmp_path)
    assert (list(table.files), table.targets, len(table)) == (files, targets, n)
    for got, written in (
        (table.labels, labels),
        (table.batches, batches),
        (table.batch_labels, batch_labels),
    ):
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, written)
    in_result, clusters = read_clusters(tmp_path)
    assert in_result == files
    np.testing.assert_array_equal(clusters, labels)


@given(st.dictionaries(names, names, max_size=8))
@same_each_time
def test_skipped_files_come_back(tmp_path: Path, reasons: dict[str, str]) -> None:
    write_skipped(tmp_path, [Skip(file, reason) for file, reason in reasons.items()])
    rows = [cells for _, cells in read_table(tmp_path / "skipped.csv", ("file", "reason"))]
    assert [tuple(map(unescape_name, cells)) for cells in rows] == sorted(reasons.items())


@given(lists_of_names)
@same_each_time
def test_labels_of_any_names_are_found_again(tmp_path: Path, files: list[str]) -> None:
    shown = [escape_name(file) for file in files]
    for name, column in (("clusters.csv", "cluster"), ("labels.csv", "group")):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
            writer.writerows([("file", column), *((name, 0) for name in shown)])
    scores = evaluate(tmp_path, tmp_path / "labels.csv")
    assert (scores.images, scores.missing, scores.unlabelled, scores.f1) == (len(files), (), (), 1)


texts = st.one_of(names, st.text(string.printable, max_size=6))
numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
RUN: dict[str, Any] = {
    name: {} for name in ("parameters", "method_parameters", "image_policy", "counts", "versions")
}


@given(st.dictionaries(texts, values, max_size=4), st.dictionaries(texts, values, max_size=4))
@same_each_time
def test_run_comes_back(tmp_path: Path, parameters: dict[str, Any], others: dict[str, Any]) -> None:
    run = {**others, **RUN, "parameters": parameters}
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    assert list(read_run(tmp_path)) == list(run)


pairs = st.tuples(st.integers(0, 30), st.integers(1, 30)).map(lambda pair: (pair[0], pair[0] + pair[1]))
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.dictionaries(pairs, finite, max_size=30),
    st.lists(names, min_size=1, max_size=6),
    st.text(max_size=9),
    st.integers(1, 31),
)
@same_each_time
def test_similarities_come_back(
    tmp_path: Path, scores: dict[tuple[int, int], float], files: list[str], key: str, rows: int
) -> None:
    edges = np.array([(*pair, scores[pair]) for pair in sorted(scores)], EDGE_DTYPE)
    write_similarities(tmp_path, "x", edges, files * 61, key=key, rows_per_group=rows)
    similarities = read_similarities(tmp_path / similarities_name("x"))
    assert similarities.key == key
    assert similarities.edges.dtype == EDGE_DTYPE
    np.testing.assert_array_equal(similarities.edges, edges)


def test_the_largest_pair_comes_back(tmp_path: Path) -> None:
    edges = np.array([(0, 1, -0.0), (2**31 - 2, 2**31 - 1, 5e-324)], EDGE_DTYPE)
    write_similarities(tmp_path, "x", edges, Endless(), rows_per_group=1)
    got = read_similarities(tmp_path / similarities_name("x"))
    assert got.edges.tobytes() == edges.tobytes()
    assert got.key == ""


def test_arrow_reads_no_stream_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads in a thread of its own, and may let go of the stream there while Python ends: an abort."""
    folder = tmp_path / os.fsdecode(b"\xff \xc3\xa9")
    folder.mkdir()
    edges = np.array([(0, 1, 0.5)], EDGE_DTYPE)
    write_similarities(folder, "x", edges, Endless())
    readers: list[threading.Thread] = []

    class Stream(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            readers.append(threading.current_thread())
            return super().read(size)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "open", lambda path, mode: Stream(path, mode))
    assert read_similarities(folder / similarities_name("x")).edges.tolist() == edges.tolist()
    assert set(readers) == {threading.main_thread()}


class Endless(list[str]):
    def __getitem__(self, k: Any) -> Any:
        return f"{k}.jpg"


# Damage is named


def labels_of(path: Path) -> object:
    (path.parent / "clusters.csv").write_text("file,cluster\na.jpg,0\n")
    return evaluate(path.parent, path)


READERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    "clusters": ("clusters.csv", seeds.clusters, lambda path: read_clusters(path.parent)),
    "clusters table": ("clusters.csv", seeds.clusters, lambda path: read_clusters_table(path.parent)),
    "labels": ("labels.csv", seeds.labels, labels_of),
    "skipped": ("skipped.csv", seeds.labels, lambda path: list(read_table(path, ("file", "reason")))),
    "run": ("run.json", seeds.run, lambda path: read_run(path.parent)),
    "manifest": ("manifest.jsonl", seeds.manifest, _manifest.read_manifest),
    "similarities": ("similarities_x.parquet", seeds.parquet, read_similarities),
}
any_reader = pytest.mark.parametrize("kind", READERS)


@any_reader
@given(data=st.data())
@at_length
def test_damage_is_named(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    name, make_seeds, read = READERS[kind]
    seed = data.draw(st.sampled_from(list(make_seeds(tmp_path))))
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged)))
        end = start + data.draw(st.sampled_from([0, 1, 1, 1, 4, len(damaged)]))  # inserts, changes, cuts off
        damaged[start:end] = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from(TOKENS)))
    path = tmp_path / name
    path.write_bytes(damaged)
    named_or_read(read, path, must_fail=kind == "similarities" and damaged != seed)


TOKENS = [
    b'"',
    b"\r",
    b"\n",
    b",",
    b"\0",
    b"\xff",
    b"\\x00",
    b"[",
    b"{",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"PAR1",
]


@any_reader
@given(data=st.binary(max_size=200))
@same_each_time
def test_random_bytes_are_named(tmp_path: Path, kind: str, data: bytes) -> None:
    name, _, read = READERS[kind]
    path = tmp_path / name
    path.write_bytes(data)
    named_or_read(read, path)


def named_or_read(read: Callable[[Path], Any], path: Path, *, must_fail: bool = False) -> None:
    try:
        read(path)
    except ResultError as error:
        assert escape_name(str(path)) in str(error)
        assert len(str(error)) < len(str(path)) + 300
    else:
        assert not must_fail


@any_reader
def test_what_cannot_be_opened_is_named(tmp_path: Path, kind: str) -> None:
    name, _, read = READERS[kind]
    with pytest.raises(ResultError, match=f"can't read .*{name}: No such file"):
        read(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(ResultError, match=rf"can't read .*{name}.*: (Is a directory|No such file)"):
        read(tmp_path / name)


@any_reader
@pytest.mark.parametrize("depth", [100, 900, 950, 970, 980, 990, 1000, 100_000])
def test_deep_nesting_is_named(tmp_path: Path, kind: str, depth: int) -> None:
    name, _, read = READERS[kind]
    text = "[" * depth + "]" * depth
    for whole in (text, f'{{"version": {text}}}\n', json.dumps(RUN).replace("{}", text, 1)):
        (tmp_path / name).write_text(whole)
        with pytest.raises(ResultError, match=name):
            read(tmp_path / name)


# Clusters


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a,0,0,0,", None),
        ("a,-1,2147483647,-1,b/c", None),
        ("a,1_0,0,0,", r"line 2: cluster must be -1 or a cluster number, got '1_0'"),
        ("a, 1,0,0,", "line 2: cluster must be"),
        ("a,+1,0,0,", "line 2: cluster must be"),
        ("a,\u0661,0,0,", "line 2: cluster must be"),
        ("a,0.0,0,0,", "line 2: cluster must be"),
        ("a,,0,0,", "line 2: cluster must be"),
        ("a," + "9" * 5000 + ",0,0,", "line 2: cluster must be"),
        ("a,0,2147483648,0,", "line 2: batch must be a batch number, got '2147483648'"),
        ("a,0,-1,0,", "line 2: batch must be a batch number, got '-1'"),
        ("a,0,0,-2,", "line 2: batch_cluster must be"),
        ("a,0,0,0,\n\nb,2,0,0,", "line 4: cluster must be below the 2 images, got 2"),
        ("a,0,0,0,\n'b\n',0,0,7,", "line 3: batch_cluster must be below the 2 images, got 7"),
        ("a,0,0,0,\n'\n\n',0,0,0,\nb,0,0,0", "line 6: expected 5 cells as in the header, got 4"),
        ("a,0,0,0,\nb,0,0,0,\na,0,0,0,", "line 4: 'a' is listed twice"),
        ("a,0,0,0,\n\\x61,0,0,0,", "line 3: 'a' is listed twice"),
        (",0,0,0,", "line 2: file must be a path inside its folder, got ''"),
        ("../a,0,0,0,", "line 2: file must be a path inside its folder"),
        ("/a,0,0,0,", "line 2: file must be"),
        ("a//b,0,0,0,", "line 2: file must be"),
        ("a\\x00,0,0,0,", "line 2: file must be"),
        ("a,0,0,0,\\x2fetc", "line 2: target must be a path inside its folder, got '/etc'"),
        ("a,0,0,0,b/../../c", "line 2: target must be"),
        ("a,0,0,0,\n'b,0,0,0,\nc,0,0,0,\n", "line 3: not a CSV table"),
        ("a,0,0,0,\n\xff,0,0,0,", "line [12]: not UTF-8 text, here or below"),
    ],
)
def test_damaged_clusters(tmp_path: Path, rows: str, problem: str | None) -> None:
    text = f"file,cluster,batch,batch_cluster,target\n{rows}\n".replace("'", '"')
    encoding = "latin-1" if "\xff" in text else "utf-8"
    (tmp_path / "clusters.csv").write_text(text, encoding=encoding, newline="")
    if problem is None:
        assert len(read_clusters_table(tmp_path)) == 1
        return
    with pytest.raises(ResultError, match=rf"clusters\.csv, {problem}"):
        read_clusters_table(tmp_path)


def test_a_long_header_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "clusters.csv").write_text("x," * 100_000)
    with pytest.raises(ResultError, match=r"line 1: the header must have file, cluster, got 'x,x,.*…'") as e:
        read_clusters(tmp_path)
    assert len(str(e.value)) < 400


# The run


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "line 1: not JSON: Expecting value"),
        (b"\xef\xbb\xbf{}", "line 1: not JSON"),
        (json.dumps(RUN).encode("utf-16"), "line 1: not UTF-8 text"),
        (b'{"a":\n\n"\xff"}', "line 3: not UTF-8 text"),
        (b'{"a": 1,\n}', "line [12]: not JSON"),
        (b'{"a": NaN}', "not JSON: NaN"),
        (b'{"a": -Infinity}', "not JSON: -Infinity"),
        (b'{"a": -1e999}', "expected a finite number, got '-1e999'"),
        (b'{"a": 18446744073709551616}', "expected a number of 64 bits, got '18446744073709551616'"),
        (b'{"a": ' + b"9" * 5_000_000 + b"}", r"expected a number of 64 bits, got '9{60}…'"),
        (b'{"a": "\\ud800"}', "not JSON: a text in it is not Unicode"),
        (b"[]", "expected an object, got list"),
        (b"null", "expected an object, got NoneType"),
        (b"{}", "parameters must be an object, got none"),
        (json.dumps({**RUN, "counts": [1]}).encode(), "counts must be an object, got list"),
        (json.dumps({**RUN, "versions": None}).encode(), "versions must be an object, got NoneType"),
    ],
)
def test_damaged_run(tmp_path: Path, text: bytes, problem: str) -> None:
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(ResultError, match=rf"run\.json: {problem}"):
        read_run(tmp_path)


# Similarities


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "similarities_x.parquet"
    for seed in seeds.parquet(tmp_path):
        changed = [seed[:k] + bytes([seed[k] ^ 1 << k % 8]) + seed[k + 1 :] for k in range(len(seed))]
        for damaged in changed + [seed[:k] for k in range(0, len(seed), 7)]:
            path.write_bytes(damaged)
            with pytest.raises(ResultError, match=r"similarities_x\.parquet: damaged, or not written by"):
                read_similarities(path)


def test_other_readers_of_parquet_pass_over_the_seal(tmp_path: Path) -> None:
    edges = np.array([(0, 1, 0.5), (0, 2, 0.25)], EDGE_DTYPE)
    write_similarities(tmp_path, "x", edges, ["a", "b", "c"], key="what it was made of", rows_per_group=1)
    table = pq.read_table(tmp_path / "similarities_x.parquet")
    assert table.to_pydict() == {
        **{"i": [0, 0], "j": [1, 2], "file_i": ["a", "a"], "file_j": ["b", "c"], "score": [0.5, 0.25]}
    }
    assert table.schema.metadata[b"clusterimg.key"] == b"what it was made of"


def write_sealed(path: Path, table: pa.Table) -> None:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    _similarities._seal(stream)
    path.write_bytes(stream.getvalue())


def table_of(i: Any, j: Any, score: Any, **others: Any) -> pa.Table:
    names = pa.array(["a"] * len(i)).dictionary_encode()
    columns = {"i": pa.array(i, pa.int32()), "j": pa.array(j, pa.int32()), "file_i": names, "file_j": names}
    return pa.table({**columns, "score": pa.array(score, pa.float64()), **others})


ONE = table_of([0], [1], [0.5])


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (table_of([0, 0], [2, 1], [0.5, 0.5]), "pairs must be sorted by"),
        (table_of([1, 0], [2, 1], [0.5, 0.5]), "pairs must be sorted by"),
        (table_of([0, 0], [1, 1], [0.5, 0.5]), "no two the same"),
        (table_of([*range(70_000), 3], [*range(1, 70_001), 4], [0.5] * 70_001), "pairs must be sorted"),
        (table_of([1], [1], [0.5]), "a pair must have 0 <= i < j"),
        (table_of([-1], [1], [0.5]), "a pair must have 0 <= i < j"),
        (table_of([0], [1], [float("nan")]), "a score must be finite"),
        (table_of([0], [1], [float("-inf")]), "a score must be finite"),
        (table_of([0], [None], [0.5]), "not a table of similar pairs"),
        (table_of([0], [1], [None]), "not a table of similar pairs"),
        (ONE.drop_columns(["score"]), "expected the columns i, j, file_i, file_j, score"),
        (ONE.append_column("i", pa.array([0])), "expected the columns"),
        (ONE.set_column(0, "i", pa.array([0])), "expected the columns"),
        (ONE.set_column(4, "score", pa.array(["0.5"])), "expected the columns"),
        (ONE.set_column(4, "score", pa.array([{"a": 0.5}])), "expected the columns"),
        (ONE.replace_schema_metadata({"clusterimg.key": b"\xff"}), "'utf-8' codec"),
    ],
)
def test_sealed_nonsense_is_named(tmp_path: Path, table: pa.Table, problem: str) -> None:
    path = tmp_path / "similarities_x.parquet"
    write_sealed(path, table)
    with pytest.raises(ResultError, match=rf"similarities_x\.parquet: .*{problem}"):
        read_similarities(path)


def test_a_table_without_a_key_or_any_metadata_is_read(tmp_path: Path) -> None:
    path = tmp_path / "similarities_x.parquet"
    stream = io.BytesIO()
    pq.write_table(table_of([0], [1], [0.5]), stream, store_schema=False)
    _similarities._seal(stream)
    path.write_bytes(stream.getvalue())
    assert read_similarities(path).key == ""
    assert read_similarities(path).edges.tolist() == [(0, 1, 0.5)]


def test_many_rows_of_one_pair_take_no_memory(tmp_path: Path) -> None:
    """A small file that unpacks to a large table is refused at its first rows."""
    n = 5_000_000
    same = np.zeros(n, np.int32)
    codes = pa.DictionaryArray.from_arrays(pa.array(same), pa.array(["a"]))
    columns = [pa.array(same), pa.array(same + 1), codes, codes, pa.array(same.astype(np.float64))]
    path = tmp_path / "similarities_x.parquet"
    write_sealed(path, pa.table(columns, schema=_similarities._schema()))
    assert path.stat().st_size < n
    pool = pa.system_memory_pool()
    before, default = pool.max_memory(), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(ResultError, match="pairs must be sorted"):
            read_similarities(path)
    finally:
        pa.set_memory_pool(default)
    assert pool.max_memory() - before < 4 * n


def test_a_number_of_rows_is_not_believed(tmp_path: Path) -> None:
    """Every number of the footer in turn is six, or two thousand million: that many rows, for one."""
    (seed, *_) = seeds.pages(tmp_path)
    n_footer = int.from_bytes(seed[:4], "little")
    path = tmp_path / "similarities_x.parquet"
    for k in range(len(seed) - n_footer, len(seed)):
        for number in (b"\x0c", b"\xfe\xff\xff\xff\x0f"):
            length = (n_footer + len(number) - 1).to_bytes(4, "little")
            path.write_bytes(seeds.sealed(length + seed[4:k] + number + seed[k + 1 :]))
            named_or_read(read_similarities, path)


def test_an_error_without_a_number_is_shown_too() -> None:
    error = _table_readers.read_error(Path(os.fsdecode(b"\xff")), OSError("no errno, as Arrow's"))
    assert str(error) == "can't read \\xff: no errno, as Arrow's"
