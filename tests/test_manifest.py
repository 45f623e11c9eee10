"""The manifest: on the disk before each operation, read back after any cut, refused when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterimg._manifest import MANIFEST, Entry, Manifest, Record, read_manifest
from clusterimg.errors import ResultError
from pictures import groups, save

HOSTILE = [
    "line\nbreak.jpg",
    "return\r\u2028.jpg",
    "back\\slash\\x41\\.jpg",
    "'single' \"double\".jpg",
    os.fsdecode(b"latin1 \xe9.jpg"),
    "{}[],:null \N{CAT FACE}",
    " ",
    "\x1b[31m\x7f\x01",
]

name_bytes = st.binary(min_size=1, max_size=30).filter(lambda b: not set(b) & {0, ord("/")} and b != b"..")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    return out


def write(out: Path, *lines: object) -> Path:
    """Write a manifest of these lines, after a header that is right."""
    header = {"version": 1, "folder": "/photos"}
    texts = [line if isinstance(line, str) else json.dumps(line) for line in (header, *lines)]
    (out / MANIFEST).write_text("".join(text + "\n" for text in texts), "utf-8", newline="\n")
    return out / MANIFEST


def read(out: Path) -> Record:
    return read_manifest(out / MANIFEST)


# What it says


def test_lines_are_as_documented(out: Path, tmp_path: Path) -> None:
    with Manifest(out, tmp_path / "photos") as manifest:
        assert manifest.record == Record(tmp_path / "photos", (), (), ())
        manifest.add_table("run.json")
        manifest.add("folder", target="result/outliers")
        manifest.add("move", source="a\\b\udce9", target="result/outliers/a", size=7, mtime_ns=-(10**18))
        manifest.add("link", source="result/outliers/a", target="batch_0/outliers/a")
        manifest.add("merged", target="/elsewhere/merged")
        manifest.add("undone", target="result/outliers/a")
    text = (out / MANIFEST).read_text("utf-8")
    assert text.count("\n") == 2, "what was not committed was not written"
    with Manifest(out, tmp_path / "another folder is not what counts now") as manifest:
        manifest.add("folder", target="result/outliers")
        manifest.add("move", source="a\\b\udce9", target="result/outliers/a", size=7, mtime_ns=-(10**18))
        manifest.add("link", source="result/outliers/a", target="batch_0/outliers/a")
        manifest.add("merged", target="/elsewhere/merged")
        manifest.add("undone", target="result/outliers/a")
        manifest.commit()
    assert (out / MANIFEST).read_text("utf-8") == (
        f'{{"version": 1, "folder": "{tmp_path}/photos"}}\n'
        '{"op": "table", "target": "run.json"}\n'
        '{"op": "folder", "target": "result/outliers"}\n'
        '{"op": "move", "source": "a\\\\\\\\b\\\\xe9", "target": "result/outliers/a", "size": 7, '
        '"mtime_ns": -1000000000000000000}\n'
        '{"op": "link", "source": "result/outliers/a", "target": "batch_0/outliers/a"}\n'
        '{"op": "merged", "target": "/elsewhere/merged"}\n'
        '{"op": "undone", "target": "result/outliers/a"}\n'
    )
    assert read(out) == Record(
        tmp_path / "photos",
        (
            Entry("folder", "", "result/outliers", 0, 0),
            Entry("link", "result/outliers/a", "batch_0/outliers/a", 0, 0),
        ),
        ("run.json",),
        ("/elsewhere/merged",),
    )


def test_what_was_undone_may_be_done_again_and_then_comes_last(out: Path) -> None:
    a, b = ({"op": "folder", "target": name} for name in "ab")
    undone = {"op": "undone", "target": "a"}
    targets = [
        [entry.target for entry in read_manifest(write(out, *lines)).entries]
        for lines in ([a, b], [a, b, undone], [a, b, undone, a], [a, b, a], [undone, a], [a, undone, undone])
    ]
    assert targets == [["a", "b"], ["b"], ["b", "a"], ["b", "a"], ["a"], []]


def test_the_last_line_of_a_target_counts(out: Path) -> None:
    copy = {"op": "copy", "source": "s", "target": "t", "size": 1, "mtime_ns": 2}
    record = read_manifest(write(out, copy, copy | {"op": "move"}, copy | {"op": "hardlink", "size": 3}))
    assert record.entries == (Entry("hardlink", "s", "t", 3, 2),)


def test_reloading_brings_the_record_up_to_date(out: Path) -> None:
    with Manifest(out, out) as manifest:
        manifest.add("folder", target="a")
        assert manifest.record.entries == ()
        manifest.reload()
        assert [entry.target for entry in manifest.record.entries] == ["a"]


@given(st.lists(st.tuples(name_bytes, name_bytes), max_size=5, unique_by=lambda pair: pair[1]), name_bytes)
@settings(deadline=None, max_examples=60)
def test_any_names_come_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[bytes, bytes]], folder: bytes
) -> None:
    out = tmp_path_factory.mktemp("out")
    names = [(os.fsdecode(source), os.fsdecode(b"result/" + target)) for source, target in pairs]
    with Manifest(out, out / os.fsdecode(folder)) as manifest:
        for source, target in names:
            manifest.add("copy", source=source, target=target, size=1, mtime_ns=2)
        manifest.reload()
        assert manifest.record.entries == tuple(Entry("copy", *pair, 1, 2) for pair in names)
        assert manifest.record.folder == out / os.fsdecode(folder)


def test_hostile_names_are_one_plain_line_each(out: Path) -> None:
    with Manifest(out, out) as manifest:
        for name in HOSTILE:
            manifest.add("copy", source=name, target=f"result/{name}", size=1, mtime_ns=2)
        manifest.reload()
        assert [entry.source for entry in manifest.record.entries] == HOSTILE
    lines = (out / MANIFEST).read_bytes().split(b"\n")
    assert len(lines) == len(HOSTILE) + 2
    assert all(json.loads(line.decode("utf-8")) for line in lines[:-1])


# Cut off


def test_a_manifest_cut_at_any_byte_is_a_prefix_and_goes_on_cleanly(out: Path) -> None:
    with Manifest(out, Path("/photos \N{CAT FACE}\n")) as manifest:
        manifest.add("folder", target="f")
        for name in HOSTILE[:3]:
            manifest.add("copy", source=name, target=f"f/{name}", size=123, mtime_ns=456)
        manifest.add_table("run.json")
        manifest.add("undone", target=f"f/{HOSTILE[0]}")
        manifest.commit()
    path = out / MANIFEST
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    records = [None]  # what so many whole lines say
    for n_lines in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:n_lines]))
        records.append(read_manifest(path))
    for n_bytes in range(len(whole) + 1):
        path.write_bytes(whole[:n_bytes])
        record = records[whole[:n_bytes].count(b"\n")]
        if record is None:
            with pytest.raises(ResultError, match=r"manifest\.jsonl, line 1: it must begin with a version"):
                read_manifest(path)
            record = Record(Path("/other"), (), (), ())
        else:
            assert read_manifest(path) == record
        with Manifest(out, Path("/other")) as manifest:
            assert manifest.record == record
            manifest.add("folder", target="new")
            manifest.reload()
            new = Entry("folder", "", "new", 0, 0)
            assert manifest.record == Record(
                record.folder, (*record.entries, new), record.tables, record.merged_into
            )


# Damaged


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "it must be one JSON object"),
        ("[]", "it must be one JSON object"),
        ("{", "it must be one JSON object"),
        ('{"folder": "/photos"}', "version must be 1, got None"),
        ('{"version": 2, "folder": "/photos"}', "version must be 1, got 2"),
        ('{"version": 1}', "folder must be a path, got None"),
        ('{"version": 1, "folder": 5}', "folder must be a path, got 5"),
        ('{"version": 1, "folder": "photos"}', "folder must be an absolute path, got 'photos'"),
        ('{"version": 1, "folder": "/\\\\x00"}', "folder must be a path"),
        ('{"version": 1, "folder": "/\\ud800"}', "folder must be a path"),
    ],
)
def test_a_damaged_first_line_is_named(out: Path, header: str, problem: str) -> None:
    (out / MANIFEST).write_text(header + "\n")
    with pytest.raises(ResultError, match=f"out/manifest.jsonl, line 1: {problem}"):
        read(out)


@pytest.mark.parametrize(
    "target",
    [
        "..",
        "../a",
        "a/../../b",
        "/etc",
        "//etc",
        ".",
        "",
        "\\x2e\\x2e",
        "a/\\x2e./b",
        "\\x2fetc",
        "a\\x00b",
        "a\0b",
        "\ud800",
        "\udc41",
        None,
        5,
        ["a"],
    ],
)
def test_a_target_that_leads_outside_is_refused(out: Path, target: object) -> None:
    problem = r"out/manifest\.jsonl, line 2: target must (stay inside the result folder|be a path), got"
    for op in ("table", "folder", "copy", "move", "hardlink", "symlink", "link", "undone"):
        path = write(out, {"op": op, "source": "a", "target": target})
        with pytest.raises(ResultError, match=problem):
            read_manifest(path)


def test_the_source_of_a_link_stays_inside_and_a_merge_may_be_anywhere(out: Path) -> None:
    for source in ("../a", "/a", "\\x2e\\x2e/a"):
        with pytest.raises(ResultError, match="line 2: source must stay inside the result folder"):
            read_manifest(write(out, {"op": "link", "source": source, "target": "b"}))
    outside = [
        {"op": "copy", "source": "/elsewhere/a", "target": "a"},
        {"op": "merged", "target": "/elsewhere/merged"},
    ]
    assert read_manifest(write(out, *outside)).merged_into == ("/elsewhere/merged",)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "it must be one JSON object"),
        ("nonsense", "it must be one JSON object"),
        ("\0\0\0\0", "it must be one JSON object"),
        ("[" * 100_000, "it must be one JSON object"),
        ('{"op": "folder", "target": "a"} {', "it must be one JSON object"),
        ("{}", "op must be one of table, folder, move, .*, got None"),
        ('{"op": "steal", "target": "a"}', "op must be one of .*, got 'steal'"),
        ('{"op": ["folder"], "target": "a"}', "op must be one of"),
        ('{"op": "copy", "target": "a"}', "source must be a path, got None"),
        ('{"op": "copy", "source": "", "target": "a"}', "source must be a path, got ''"),
        ('{"op": "copy", "source": "a\\u0000", "target": "a"}', "source must be a path"),
        ('{"op": "copy", "source": "a", "target": "a", "size": 1.0}', "size and mtime_ns must be whole"),
        ('{"op": "copy", "source": "a", "target": "a", "size": true}', "size and mtime_ns must be whole"),
        ('{"op": "copy", "source": "a", "target": "a", "mtime_ns": "1"}', "size and mtime_ns must be whole"),
        ('{"op": "copy", "source": "a", "target": "a", "size": NaN}', "size and mtime_ns must be whole"),
        ('{"op": "copy", "source": "a", "target": "a", "size": 1' + "0" * 5000 + "}", "it must be one JSON"),
    ],
)
def test_a_damaged_line_is_named(out: Path, line: str, problem: str) -> None:
    good = {"op": "folder", "target": "a"}
    path = write(out, good, good, line, good)
    with pytest.raises(ResultError, match=f"out/manifest.jsonl, line 4: {problem}"):
        read_manifest(path)


def test_a_line_that_is_no_text_is_named(out: Path) -> None:
    path = write(out)
    path.write_bytes(path.read_bytes() + b'{"op": "folder", "target": "\xff"}\n')
    with pytest.raises(ResultError, match="line 2: it must be one JSON object"):
        read_manifest(path)


def test_a_damaged_manifest_is_not_written_to(out: Path) -> None:
    path = write(out, "nonsense")
    before = path.read_bytes()
    with pytest.raises(ResultError, match="line 2"):
        Manifest(out, out)
    assert path.read_bytes() == before


def test_a_missing_manifest_is_named(out: Path) -> None:
    with pytest.raises(ResultError, match=r"can't read .*out/manifest\.jsonl: No such file"):
        read(out)


# Before the operation

WATCHED_RUN = r"""
import json, os, sys
from pathlib import Path
import clusterimg
from clusterimg import undoing

photos, transfer = Path(sys.argv[1]), sys.argv[2]
out = Path(os.path.realpath(sys.argv[3]))
manifest, real_fsync, synced, late = out / "manifest.jsonl", os.fsync, [0], []
seen = set()

def fsync(handle):
    real_fsync(handle)
    if os.path.exists(manifest) and os.path.samestat(os.fstat(handle), os.stat(manifest)):
        synced[0] = os.fstat(handle).st_size

def announced():
    with open(os.open(manifest, os.O_RDONLY), "rb") as stream:
        return [json.loads(line) for line in stream.read(synced[0]).splitlines()[1:]]

def check(event, path, names):
    seen.add(event)
    if not any(path in (line.get(name) for name in names) for line in announced()):
        late.append((event, path))

def hook(event, args):
    if event not in ("os.mkdir", "os.link", "os.symlink", "os.rename", "os.remove", "shutil.copyfile"):
        return
    path = os.fspath(args[0] if event in ("os.mkdir", "os.remove") else args[1])
    if event == "os.remove" and path.startswith(str(photos) + "/"):
        check("remove original", os.path.relpath(path, photos), ["source"])
    if event == "os.remove" or ".clusterimg/" in path or not path.startswith(str(out) + "/"):
        return
    path = os.path.relpath(path, out)
    if event == "os.mkdir":
        check(event, path, ["target"]) if path != ".clusterimg" and "/" in path else None
    elif path.endswith("/.clusterimg-tmp"):
        here = os.path.dirname(path)
        if not any(os.path.dirname(line["target"]) == here for line in announced()):
            late.append((event, path))
    elif path != ".clusterimg-tmp":
        check(event, path, ["target"])

os.fsync = fsync
sys.addaudithook(hook)
clusterimg.run(photos, out=out, transfer=transfer)
print(json.dumps({"seen": sorted(seen), "late": late}))
"""


@pytest.mark.parametrize(
    ("transfer", "events"),
    [
        ("copy", {"os.mkdir", "os.rename"}),
        ("move", {"os.mkdir", "os.link", "os.rename", "remove original"}),
    ],
)
def test_a_line_is_on_the_disk_before_its_operation(tmp_path: Path, transfer: str, events: set[str]) -> None:
    """A real run is watched: when the system is asked for anything, its line was synced to the disk."""
    photos = save(tmp_path / "photos", groups(1, 2, 1))
    command = [sys.executable, "-c", WATCHED_RUN, str(photos), transfer, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"seen": sorted(events), "late": []}
