from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import _files, results
from clusterimg._types import EDGE_DTYPE, Skip, no_edges
from clusterimg.errors import ResultError, UsageError
from clusterimg.undoing import undo

ODD_NAMES = [
    "plain.jpg",
    "two words, 'quoted' \"twice\".jpg",
    "line\nbreak.jpg",
    "return\r.jpg",
    "back\\slash\\x41.jpg",
    "-dash.jpg",
    "emoji \N{CAT FACE}.jpg",
    os.fsdecode(b"latin1 \xe9.jpg"),
    "sub folder/plain.jpg",
]

name_bytes = st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & {0, ord("/")})


def ints(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def planned(
    files: list[str], labels: NDArray[np.int32] | None = None, *, folder: Path | None = None, **options: bool
) -> results.Plan:
    """Plan one batch, of the files as they are in `folder` now; all outliers where no labels are given."""
    labels = np.full(len(files), -1, np.int32) if labels is None else labels
    stamps = np.zeros((len(files), 2), np.int64) if folder is None else results.stamps(folder, files)
    batches = np.zeros(len(files), np.int32)
    return results.plan(files, labels, batches, labels, stamps=stamps, **options)


def hand_over(plan: results.Plan, folder: Path, out: Path, **options: Any) -> results.Handover:
    """Hand the files over as `run` does, going on with what is there."""
    with results.claimed(out, folder, resume=True) as manifest:
        return results.apply(plan, folder, out, manifest, **options)


def targets_of(plan: results.Plan) -> list[str]:
    return [operation.target for operation in plan.transfers]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that are told apart by content, age and mode."""
    folder = tmp_path / "photos"
    for k, name in enumerate(ODD_NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content {k}".encode())
        path.chmod(0o640 if k % 2 else 0o600)
        os.utime(path, ns=(10**18 + k, 10**18 + 1000 * k))
    return folder


@pytest.fixture
def out(tmp_path: Path, folder: Path) -> Path:
    return tmp_path / "photos_clustered"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """An empty folder for tables."""
    tables = tmp_path / "tables"
    tables.mkdir()
    return tables


def state_of(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return content, time and mode of every file, to see that originals were left alone."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode))
        for path in files
    }


def manifest_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]


def leftovers(out: Path) -> list[Path]:
    return list(out.rglob(_files.TEMPORARY))


# Names


@given(name_bytes)
@settings(deadline=None)
def test_shown_names_are_plain_text_and_come_back(raw: bytes) -> None:
    name = os.fsdecode(raw)
    shown = results.escape_name(name)
    shown.encode("utf-8")
    assert os.fsencode(results.unescape_name(shown)) == raw


def test_shown_names() -> None:
    assert results.escape_name(os.fsdecode(b"a\\b\xff\xc3\xa9.jpg")) == "a\\\\b\\xffé.jpg"
    assert results.unescape_name("a\\b") == "a\\b", "a lone backslash, from a table made by hand"


# Planning

EXAMPLE = (
    ("a.jpg", "s/b.jpg", "c.jpg", "d.jpg"),
    ints(12, 12, -1, 12),
    ints(0, 0, 0, 1),
    ints(0, 0, -1, -1),
)
STAMPS = np.arange(8).reshape(4, 2)


def test_plan_puts_images_by_cluster_and_links_batches() -> None:
    plan = results.plan(*EXAMPLE, stamps=STAMPS)
    assert plan.transfers == (
        ("a.jpg", "result/cluster_12/a.jpg", 0, 1),
        ("s/b.jpg", "result/cluster_12/b.jpg", 2, 3),
        ("c.jpg", "result/outliers/c.jpg", 4, 5),
        ("d.jpg", "result/cluster_12/d.jpg", 6, 7),
    )
    assert [link[:2] for link in plan.links] == [
        ("result/cluster_12/a.jpg", "batch_0/cluster_0/a.jpg"),
        ("result/cluster_12/b.jpg", "batch_0/cluster_0/b.jpg"),
        ("result/outliers/c.jpg", "batch_0/outliers/c.jpg"),
        ("result/cluster_12/d.jpg", "batch_1/outliers/d.jpg"),
    ]
    assert plan.folders == ("result/outliers", "result/cluster_12")
    assert set(plan.batch_folders) == {"batch_0/outliers", "batch_0/cluster_0", "batch_1/outliers"}


def test_plan_of_clusters_that_were_not_merged_puts_files_into_batches() -> None:
    plan = results.plan(*EXAMPLE, stamps=STAMPS, merged=False)
    assert targets_of(plan) == [
        "batch_0/cluster_0/a.jpg",
        "batch_0/cluster_0/b.jpg",
        "batch_0/outliers/c.jpg",
        "batch_1/outliers/d.jpg",
    ]
    assert set(plan.folders) == {"batch_0/outliers", "batch_0/cluster_0", "batch_1/outliers"}
    assert plan.batch_folders == plan.links == ()


def test_plan_takes_the_images_from_their_sources() -> None:
    sources = ("/one/a.jpg", "b.jpg", "/one/result/c.jpg", "d.jpg")
    plan = results.plan(*EXAMPLE, stamps=STAMPS, sources=sources)
    assert tuple(operation.source for operation in plan.transfers) == sources
    assert targets_of(plan) == targets_of(results.plan(*EXAMPLE, stamps=STAMPS))


def test_plan_without_batch_folders_and_without_images() -> None:
    plan = planned([], batch_folders=False)
    assert plan == results.Plan(("result/outliers",), (), (), ())
    assert planned(["a"], batch_folders=False).links == ()


def test_plan_refuses_arrays_of_another_length() -> None:
    with pytest.raises(UsageError, match=r"batches must have shape \(2,\), got \(1,\)"):
        results.plan(("a", "b"), ints(0, 0), ints(0), ints(0, 0), stamps=STAMPS[:2])


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/x.jpg", "b/x.jpg", "c/x.jpg"], ["x.jpg", "x_2.jpg", "x_3.jpg"]),
        (["a/x.jpg", "b/X.JPG"], ["x.jpg", "X_2.JPG"]),
        (["a/x.jpg", "b/x.jpg", "b/x_2.jpg"], ["x.jpg", "x_3.jpg", "x_2.jpg"]),
        (["a/x.jpg", "b/x.jpg", "b/X_2.jpg", "c/x_2.jpg"], ["x.jpg", "x_3.jpg", "X_2.jpg", "x_2_2.jpg"]),
        (["a/é.jpg", "b/e\u0301.jpg"], ["é.jpg", "e\u0301_2.jpg"]),
        (["a/α\u0345\u0301", "b/α\u0301\u0345"], ["α\u0345\u0301", "α\u0301\u0345_2"]),
        (["a/x", "b/x", "a/.x", "b/.x"], ["x", "x_2", ".x", ".x_2"]),
        (["a/x.tar.gz", "b/x.tar.gz"], ["x.tar.gz", "x.tar_2.gz"]),
        ([_files.TEMPORARY, f"a/{_files.TEMPORARY}"], [f"{_files.TEMPORARY}_2", f"{_files.TEMPORARY}_3"]),
    ],
)
def test_equal_names_get_numbers(files: list[str], names: list[str]) -> None:
    assert targets_of(planned(files)) == [f"result/outliers/{name}" for name in names]


def test_equal_names_in_different_folders_stay() -> None:
    assert targets_of(planned(["a/x", "b/x"], ints(0, 1))) == ["result/cluster_0/x", "result/cluster_1/x"]


@pytest.mark.parametrize(
    "name",
    [
        "n" * 251 + ".jpg",
        "é" * 125 + "n.jpg",
        os.fsdecode(b"\xff" * 251 + b".jpg"),
        "n." + "x" * 253,
        "n" * 253 + ".j",
    ],
)
def test_long_names_are_cut_on_a_character(name: str) -> None:
    first, second = (Path(t).name for t in targets_of(planned([f"a/{name}", f"b/{name}"])))
    assert first == name
    assert len(os.fsencode(second)) <= 255
    assert "_2" in second
    if len(Path(name).suffix) < 32:
        assert second.endswith("_2" + Path(name).suffix)
    assert os.fsdecode(os.fsencode(second)) == second


@given(
    st.lists(
        st.sampled_from(["x", "X", "x_2", "X_2", "x_3", "x_2_2", "ß", "ss", "é", "e\u0301"]), max_size=12
    )
)
@settings(deadline=None)
def test_targets_are_unique_on_any_disk(names: list[str]) -> None:
    files = [f"{k:02}/{name}.jpg" for k, name in enumerate(names)]
    targets = targets_of(planned(files))
    assert len({target.casefold() for target in targets}) == len(targets)
    assert targets == targets_of(planned(files)), "the same plan each time"
    firsts = {name: k for k, name in reversed(list(enumerate(names)))}
    kept = [Path(target).stem for target in targets]
    for name, k in firsts.items():
        variants = {"ß": "ss", "e\u0301": "é"}.get(name.lower(), name.lower())
        earlier = [{"ß": "ss", "e\u0301": "é"}.get(n.lower(), n.lower()) for n in names[:k]]
        assert (kept[k] == name) == (variants not in earlier)


def test_names_that_are_cut_to_the_same_stay_apart() -> None:
    long = [f"{folder}/{'n' * 250}{end}" for folder in "ab" for end in ("1.jpg", "2.jpg")]
    names = [Path(target).name for target in targets_of(planned(long))]
    assert len(set(names)) == 4
    assert [name[-6:] for name in names] == ["n1.jpg", "n2.jpg", "_2.jpg", "_3.jpg"]


def test_many_files_of_one_name_are_planned_at_once() -> None:
    targets = targets_of(planned([f"{k}/img.jpg" for k in range(30_000)]))
    assert targets[-1] == "result/outliers/img_30000.jpg"


# Claiming


def test_claim_makes_an_empty_result(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "deep" / "out"
    results.check_place(out, folder)
    assert not out.parent.exists(), "nothing is made by the check"
    with results.claimed(out, folder) as manifest:
        assert {path.name for path in out.iterdir()} == OURS
        assert manifest.record == results.Record(folder.resolve(), (), (), ())


OURS = {".clusterimg", "manifest.jsonl"}


def test_claim_takes_an_empty_folder_also_inside_the_images(folder: Path) -> None:
    (folder / "out").mkdir()
    results.check_place(folder / "out", folder)
    with results.claimed(folder / "out", folder):
        assert {path.name for path in (folder / "out").iterdir()} == OURS


@pytest.mark.parametrize("out", [".", "..", "sub folder/..", "../link"])
def test_place_can_not_be_the_images_themselves(folder: Path, out: str) -> None:
    (folder.parent / "link").symlink_to(folder)
    before = state_of(folder)
    with pytest.raises(UsageError, match="folder of the images: choose another --out"):
        results.check_place(folder / out, folder)
    assert state_of(folder) == before


def test_place_can_not_be_a_file_or_a_link_to_nowhere(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("file", "nowhere"):
        with pytest.raises(UsageError, match=f"{name} exists and is no folder: choose another --out"):
            results.check_place(tmp_path / name, folder)


def test_place_can_not_be_a_link_to_itself(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="loop exists and is no folder"):
        results.check_place(tmp_path / "loop", folder)


def test_claim_refuses_what_is_in_use(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        refused = pytest.raises(UsageError, match="holds files that are not from a run: choose another --out")
        with refused, results.claimed(out, folder, **options):
            pass
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_claim_names_a_folder_it_cannot_make(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ResultError, match=r"can't write .*file/out"),
        results.claimed(tmp_path / "file" / "out", folder),
    ):
        pass


def test_claim_is_for_one_process_alone(folder: Path, out: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from clusterimg import errors, results\n"
        "try:\n"
        "    with results.claimed(Path(sys.argv[1]), Path(sys.argv[2]), resume=True): print('held')\n"
        "except errors.ResultError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(out), str(folder)]
    with results.claimed(out, folder):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == f"{out} is in use by another run: wait for it, or choose another --out\n"
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "held\n"


@pytest.mark.parametrize("interrupt", [UsageError, KeyboardInterrupt])
def test_a_claim_in_which_nothing_was_found_leaves_nothing(
    folder: Path, out: Path, interrupt: type[BaseException]
) -> None:
    with pytest.raises(interrupt), results.claimed(out, folder):
        raise interrupt
    assert not out.exists()
    with pytest.raises(interrupt), results.claimed(out, folder):
        (out / ".clusterimg" / "found").touch()
        raise interrupt
    assert (out / ".clusterimg" / "found").exists()


def test_a_claim_tells_its_error_also_when_the_folder_vanished(folder: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="no files"), results.claimed(out, folder):
        shutil.rmtree(out)
        raise UsageError("no files")


def test_an_empty_folder_is_empty_again_after_a_claim_in_which_nothing_was_found(
    folder: Path, out: Path
) -> None:
    out.mkdir()
    with pytest.raises(UsageError), results.claimed(out, folder):
        raise UsageError
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("n_bytes", [None, 0, 1, 20])
def test_a_folder_of_a_run_that_was_killed_at_its_start_is_free(
    folder: Path, out: Path, n_bytes: int | None
) -> None:
    (out / ".clusterimg").mkdir(parents=True)
    if n_bytes is not None:
        (out / "manifest.jsonl").write_bytes(b'{"version": 1, "folder": '[:n_bytes])
    with results.claimed(out, folder) as manifest:
        assert manifest.record.folder == folder.resolve()
    assert results.read_manifest(out / "manifest.jsonl").folder == folder.resolve()


def test_claim_of_a_result_says_what_can_be_done(folder: Path, out: Path, tmp_path: Path) -> None:
    hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    before = state_of(out)
    with pytest.raises(UsageError, match="holds a result: --resume goes on with it, --overwrite replaces it"):
        results.check_free(out, folder)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UsageError, match=f"is a result of {folder}, not of {other}"):
        results.check_free(out, other, resume=True)
    assert state_of(out) == before


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_overwriting_deletes_what_runs_wrote_and_nothing_else(folder: Path, out: Path, transfer: str) -> None:
    before = state_of(folder)
    hand_over(planned(ODD_NAMES, folder=folder), folder, out, transfer=transfer)
    with results.claimed(out, folder, resume=True) as manifest:
        manifest.add_table("run.json")
        results.write_run(out, {})
    with results.claimed(out, folder, overwrite=True) as manifest:
        assert manifest.record.entries == manifest.record.tables == ()
        assert {path.name for path in out.iterdir()} == OURS
    assert state_of(folder) == before


def edit(path: Path) -> None:
    path.write_bytes(b"edited since")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder, out: edit(out / "result/outliers/plain.jpg"), "plain.jpg was changed since"),
        (lambda folder, out: (folder / "plain.jpg").unlink(), "is all that is left of"),
        (lambda folder, out: edit(folder / "plain.jpg"), "is all that is left of"),
        (lambda folder, out: edit(out / "mine.txt"), "mine.txt is not from a run"),
        (lambda folder, out: edit(out / "result/outliers/mine.txt"), "outliers/mine.txt is not from a run"),
        (lambda folder, out: (out / "result/outliers/mine").symlink_to(folder), "mine is not from a run"),
    ],
)
def test_overwriting_refuses_where_something_of_a_person_would_go(
    folder: Path, out: Path, change: Any, problem: str
) -> None:
    hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    change(folder, out)
    before = state_of(out)
    refused = pytest.raises(UsageError, match=f"can't be overwritten: .*{problem}")
    with refused, results.claimed(out, folder, overwrite=True):
        pass
    assert state_of(out) == before


def test_overwriting_refuses_moved_originals(folder: Path, out: Path) -> None:
    hand_over(planned(["plain.jpg"], folder=folder), folder, out, transfer="move")
    refused = pytest.raises(UsageError, match=f"moved originals: put them back first, by undo {out}")
    with refused, results.claimed(out, folder, overwrite=True):
        pass
    assert (out / "result/outliers/plain.jpg").read_bytes() == b"content 0"


def test_place_can_not_be_linked_to_on_another_file_system(tmp_path: Path, folder: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    with pytest.raises(UsageError, match="another file system"):
        results.check_place(shm / "clusterimg-never-made", folder, transfer="hardlink")
    assert not (shm / "clusterimg-never-made").exists()


def test_unknown_transfer_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="copy, move, hardlink, symlink, none, got 'steal'"):
        results.check_place(tmp_path / "out", folder, transfer="steal")


# Handing over


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_files_arrive_and_originals_stay(folder: Path, out: Path, transfer: str) -> None:
    before = state_of(folder)
    labels = ints(*([0] * 4 + [-1] * 5))
    plan = planned(ODD_NAMES, labels, folder=folder)
    done = hand_over(plan, folder, out, transfer=transfer)
    assert done == results.Handover(tuple(targets_of(plan)), (), True)
    assert state_of(folder) == before
    for (source, target, *_), (_, link, *_) in zip(plan.transfers, plan.links, strict=True):
        original, arrived = folder / source, out / target
        assert arrived.read_bytes() == original.read_bytes()
        assert arrived.stat().st_mtime_ns == original.stat().st_mtime_ns
        assert arrived.stat().st_mode == original.stat().st_mode
        assert arrived.is_symlink() == (transfer == "symlink")
        assert (arrived.lstat().st_ino == original.stat().st_ino) == (transfer == "hardlink")
        assert (out / link).samefile(arrived)
    assert not leftovers(out)


def test_result_may_be_moved(folder: Path, out: Path, tmp_path: Path) -> None:
    plan = planned(ODD_NAMES, folder=folder)
    hand_over(plan, folder, out, transfer="symlink")
    moved = tmp_path / "elsewhere" / "result"
    moved.parent.mkdir()
    out.rename(moved)
    for source, link in zip(ODD_NAMES, plan.links, strict=True):
        assert not (moved / link.target).readlink().is_absolute()
        assert (moved / link.target).read_bytes() == (folder / source).read_bytes()


def test_none_writes_a_manifest_and_nothing_else(folder: Path, out: Path) -> None:
    done = hand_over(planned(ODD_NAMES, folder=folder), folder, out, transfer="none")
    assert done == results.Handover(("",) * len(ODD_NAMES), (), False)
    assert sorted(path.name for path in out.iterdir()) == [".clusterimg", "manifest.jsonl"]


def test_outliers_folder_is_there_without_outliers(folder: Path, out: Path) -> None:
    hand_over(planned(["plain.jpg", "-dash.jpg"], ints(0, 0), folder=folder), folder, out)
    assert (out / "result" / "outliers").is_dir()
    assert (out / "batch_0" / "outliers").is_dir()


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_linked_originals(folder: Path, out: Path, transfer: str) -> None:
    (folder / "link.jpg").symlink_to("plain.jpg")
    hand_over(planned(["link.jpg"], folder=folder), folder, out, transfer=transfer)
    arrived, original = out / "result/outliers/link.jpg", folder / "plain.jpg"
    assert arrived.read_bytes() == original.read_bytes()
    if transfer == "symlink":
        assert arrived.readlink() == original.resolve()
    else:
        assert not arrived.is_symlink()
        assert (arrived.stat().st_ino == original.stat().st_ino) == (transfer == "hardlink")
    assert (folder / "link.jpg").readlink() == Path("plain.jpg")


def test_a_copied_link_shares_no_inode(folder: Path, out: Path) -> None:
    (folder / "hard.jpg").hardlink_to(folder / "plain.jpg")
    hand_over(planned(["hard.jpg", "plain.jpg"], folder=folder), folder, out)
    (out / "result/outliers/hard.jpg").write_bytes(b"edited")
    assert (
        (folder / "plain.jpg").read_bytes()
        == (out / "result/outliers/plain.jpg").read_bytes()
        == b"content 0"
    )


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_vanished_files_are_reported(folder: Path, out: Path, transfer: str) -> None:
    files = ["-dash.jpg", "gone.jpg", "plain.jpg"]
    done = hand_over(planned(files, folder=folder), folder, out, transfer=transfer)
    assert done.targets == ("result/outliers/-dash.jpg", "", "result/outliers/plain.jpg")
    assert done.skips == (Skip("gone.jpg", "vanished before it could be handed over"),)
    assert sorted(path.name for path in (out / "batch_0/outliers").iterdir()) == ["-dash.jpg", "plain.jpg"]


def test_files_that_became_something_else_are_reported(folder: Path, out: Path) -> None:
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    done = hand_over(planned(["folder.jpg", "loop.jpg", "pipe.jpg"], folder=folder), folder, out)
    assert done.targets == ("", "", "")
    assert [skip.file for skip in done.skips] == ["folder.jpg", "loop.jpg", "pipe.jpg"]
    assert done.skips[2].reason == "is no longer a file"
    assert not leftovers(out)


def test_unreadable_files_are_reported(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # root, who may run this, can read whatever the mode says
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    plan = planned(["plain.jpg"], batch_folders=False, folder=folder)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *a, **k: refuse() if path.parent == folder else real(path, *a, **k)
    )
    done = hand_over(plan, folder, out)
    assert done.skips == (Skip("plain.jpg", "can't be read: Permission denied"),)


def test_a_file_that_fails_while_copied_is_reported(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        source.unlink()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "copyfile", fail)
    done = hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    assert [skip.file for skip in done.skips] == ["plain.jpg"]
    assert not leftovers(out)
    assert not list((out / "result/outliers").iterdir())


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "read-only: choose another --out"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_target_that_fails_is_an_error(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def fail(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    before = state_of(folder)
    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(ResultError, match=f"photos_clustered/.*{advice}"):
        hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    assert not leftovers(out)
    assert state_of(folder) == before


def test_hard_links_that_do_not_reach_are_an_error(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "hardlink_to", fail)
    with pytest.raises(ResultError, match="use --transfer copy"):
        hand_over(planned(["plain.jpg"], folder=folder), folder, out, transfer="hardlink")


def test_a_leftover_hard_link_is_not_written_through(folder: Path, out: Path) -> None:
    hand_over(planned([], folder=folder), folder, out)
    (out / "result/outliers" / _files.TEMPORARY).hardlink_to(folder / "plain.jpg")
    hand_over(planned(["-dash.jpg"], folder=folder), folder, out)
    assert (folder / "plain.jpg").read_bytes() == b"content 0"
    assert not leftovers(out)


def test_batch_folders_hold_hard_links_where_symbolic_ones_are_refused(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "symlink_to", fail)
    done = hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    arrived, link = out / "result/outliers/plain.jpg", out / "batch_0/outliers/plain.jpg"
    assert done.has_batch_folders
    assert link.lstat().st_ino == arrived.stat().st_ino != (folder / "plain.jpg").stat().st_ino


def test_no_batch_folders_where_no_links_are_allowed(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "symlink_to", fail)
    monkeypatch.setattr(Path, "hardlink_to", fail)
    done = hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    assert done == results.Handover(("result/outliers/plain.jpg",), (), False)
    assert not (out / "batch_0").exists()
    assert not leftovers(out)


def test_interrupt_leaves_no_half_file(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    assert not leftovers(out)


def test_progress_counts_files_and_links(folder: Path, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    plan = planned(["plain.jpg", "gone.jpg"], folder=folder)
    hand_over(plan, folder, out, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


# Manifest


def test_manifest_lists_operations_in_order(folder: Path, out: Path) -> None:
    name = os.fsdecode(b"latin1 \xe9.jpg")
    hand_over(planned([name], ints(-1), folder=folder), folder, out)
    assert manifest_of(out) == [
        {"version": 1, "folder": str(folder.resolve())},
        {"op": "folder", "target": "result/outliers"},
        {
            "op": "copy",
            "source": "latin1 \\xe9.jpg",
            "target": "result/outliers/latin1 \\xe9.jpg",
            "size": 9,
            "mtime_ns": (folder / name).stat().st_mtime_ns,
        },
        {"op": "folder", "target": "batch_0/outliers"},
        {
            "op": "link",
            "source": "result/outliers/latin1 \\xe9.jpg",
            "target": "batch_0/outliers/latin1 \\xe9.jpg",
        },
    ]


@pytest.mark.parametrize("operation", ["copyfile", "symlink_to", "mkdir"])
def test_manifest_line_comes_before_its_operation(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Every operation finds its line in the file when it begins; lines are written for a group of them."""
    owner = shutil if operation == "copyfile" else Path
    real, ops = getattr(owner, operation), []

    def spy(*args: object, **options: object) -> object:
        ops.append(manifest_of(out)[-1].get("op"))
        return real(*args, **options)

    plan = planned(["plain.jpg", "-dash.jpg"], folder=folder)
    with results.claimed(out, folder) as manifest:
        monkeypatch.setattr(owner, operation, spy)
        results.apply(plan, folder, out, manifest)
    expected = {"copyfile": "copy", "symlink_to": "link", "mkdir": "folder"}[operation]
    trial = ["symlink_to"].count(operation)  # whether links work is tried out once
    assert ops[trial:]
    assert set(ops[trial:]) == {expected}


# Going on


def test_what_was_done_is_not_done_again(folder: Path, out: Path) -> None:
    plan = planned(ODD_NAMES, folder=folder)
    before = hand_over(plan, folder, out)
    arrived = {path: path.lstat().st_ino for path in out.rglob("*") if not path.is_dir()}
    lines = (out / "manifest.jsonl").read_bytes()
    assert hand_over(plan, folder, out) == before
    assert {path: path.lstat().st_ino for path in out.rglob("*") if not path.is_dir()} == arrived
    assert (out / "manifest.jsonl").read_bytes() == lines


@pytest.mark.parametrize("transfer", ["copy", "move", "hardlink", "symlink"])
@pytest.mark.parametrize("done", [0, 1, 4, 9, 13])
def test_a_hand_over_that_was_cut_off_goes_on(folder: Path, out: Path, transfer: str, done: int) -> None:
    contents = {file: (folder / file).read_bytes() for file in ODD_NAMES}
    plan = planned(ODD_NAMES, folder=folder)

    def stop(so_far: int, _: int) -> None:
        if so_far > done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hand_over(plan, folder, out, transfer=transfer, progress=stop)
    whole = hand_over(plan, folder, out, transfer=transfer)
    assert whole == results.Handover(tuple(targets_of(plan)), (), True)
    for (source, target, *_), link in zip(plan.transfers, plan.links, strict=True):
        assert (out / target).read_bytes() == (out / link.target).read_bytes() == contents[source]
        assert (folder / source).exists() == (transfer != "move")
    assert not leftovers(out)


def test_a_linked_file_is_copied_under_move(folder: Path, out: Path) -> None:
    (folder / "link.jpg").symlink_to("plain.jpg")
    plan = planned(["-dash.jpg", "link.jpg"], folder=folder)
    for _ in range(2):
        assert hand_over(plan, folder, out, transfer="move").skips == ()
        assert (folder / "link.jpg").readlink() == Path("plain.jpg")
        assert (out / "result/outliers/link.jpg").read_bytes() == b"content 0"
        assert not (out / "result/outliers/link.jpg").is_symlink()
        assert (folder / "plain.jpg").exists()
        assert not (folder / "-dash.jpg").exists()
    assert [line["op"] for line in manifest_of(out)[2:4]] == ["move", "copy"]


@pytest.mark.parametrize("transfer", ["copy", "move", "hardlink", "symlink"])
def test_changed_files_are_left_where_they_are(folder: Path, out: Path, transfer: str) -> None:
    plan = planned(["-dash.jpg", "plain.jpg"], folder=folder)
    (folder / "plain.jpg").write_bytes(b"another")
    done = hand_over(plan, folder, out, transfer=transfer)
    assert done.targets == ("result/outliers/-dash.jpg", "")
    assert done.skips == (Skip("plain.jpg", "changed while the run was at work"),)
    assert (folder / "plain.jpg").read_bytes() == b"another"
    assert [path.name for path in (out / "batch_0/outliers").iterdir()] == ["-dash.jpg"]


@pytest.mark.parametrize("transfer", ["copy", "move", "hardlink", "symlink"])
def test_nothing_of_a_person_is_overwritten(folder: Path, out: Path, transfer: str) -> None:
    hand_over(planned([], folder=folder), folder, out)
    (out / "result/outliers/plain.jpg").write_bytes(b"mine")
    before = state_of(folder)
    with pytest.raises(ResultError, match=r"plain\.jpg: there is a file that is not from this run"):
        hand_over(planned(["plain.jpg"], folder=folder), folder, out, transfer=transfer)
    assert (out / "result/outliers/plain.jpg").read_bytes() == b"mine"
    assert state_of(folder) == before


def test_nothing_of_a_person_is_overwritten_by_a_link(folder: Path, out: Path) -> None:
    hand_over(planned(["plain.jpg"], folder=folder, batch_folders=False), folder, out)
    (out / "batch_0/outliers").mkdir(parents=True)
    (out / "batch_0/outliers/plain.jpg").write_bytes(b"mine")
    with pytest.raises(ResultError, match="there is a file that is not from this run"):
        hand_over(planned(["plain.jpg"], folder=folder), folder, out)
    assert (out / "batch_0/outliers/plain.jpg").read_bytes() == b"mine"


def test_a_vanished_result_is_an_error_and_not_the_fault_of_each_file(folder: Path, out: Path) -> None:
    plan = planned(["-dash.jpg", "plain.jpg"], folder=folder)

    def vanish(done: int, _: int) -> None:
        if done == 1:
            (out / "result/outliers").rename(out.parent / "elsewhere")

    with pytest.raises(ResultError, match=r"can't write .*plain\.jpg: No such file"):
        hand_over(plan, folder, out, transfer="move", progress=vanish)
    assert (folder / "plain.jpg").exists()


def test_obsolete_is_what_another_plan_or_transfer_did(folder: Path, out: Path) -> None:
    files = ["-dash.jpg", "plain.jpg"]
    plan = planned(files, ints(0, 0), folder=folder)
    hand_over(plan, folder, out)
    entries = results.read_manifest(out / "manifest.jsonl").entries
    assert results.obsolete(plan, entries, "copy") == []
    assert results.obsolete(plan, entries, "none") == list(entries)
    other = results.obsolete(planned(files, ints(0, -1), folder=folder), entries, "copy")
    assert [entry.target for entry in other] == ["result/cluster_0/plain.jpg", "batch_0/cluster_0/plain.jpg"]
    linked = results.obsolete(plan, entries, "hardlink")
    assert [(entry.op, entry.source) for entry in linked] == [("copy", file) for file in files]
    (folder / "plain.jpg").write_bytes(b"another")
    changed = results.obsolete(planned(files, ints(0, 0), folder=folder), entries, "copy")
    assert [(entry.op, entry.source) for entry in changed] == [("copy", "plain.jpg")]


@pytest.mark.parametrize("first", ["copy", "move", "hardlink", "symlink", "none"])
@pytest.mark.parametrize("second", ["copy", "move", "hardlink", "symlink", "none"])
def test_one_transfer_after_another_is_undone_as_the_second(
    folder: Path, out: Path, first: str, second: str
) -> None:
    before = state_of(folder)
    plan = planned(ODD_NAMES, folder=folder)
    hand_over(plan, folder, out, transfer=first)
    with results.claimed(out, folder, resume=True) as manifest:
        old = results.obsolete(plan, manifest.record.entries, second)
        assert results.take_back(out, manifest, old).kept == ()
        results.apply(plan, folder, out, manifest, transfer=second)
    assert state_of(folder) == ({} if second == "move" else before)
    kinds = {(path.is_symlink(), path.stat().st_nlink) for path in (out / "result").rglob("*.jpg")}
    expected = {"hardlink": {(False, 2)}, "symlink": {(True, 1)}, "none": set()}
    assert kinds == expected.get(second, {(False, 1)})
    done = undo(out)
    assert done.kept == done.missing == ()
    assert state_of(folder) == before
    assert {path.name for path in out.iterdir()} == OURS


# Tables


def write_example(out: Path, files: list[str]) -> NDArray[np.int32]:
    n = len(files)
    labels = np.array([k // 2 if k < n - 1 else -1 for k in range(n)], np.int32)
    results.write_clusters(
        out,
        files,
        labels=labels,
        batches=np.zeros(n, np.int32),
        batch_labels=labels,
        representatives=np.where(labels < 0, -1, 2 * labels),
        scores=np.array([0.1 + 0.2 if k % 2 else np.nan for k in range(n)]),
        targets=[f"result/{file}" for file in files],
    )
    return labels


def test_clusters_table_is_read_back(tables: Path) -> None:
    labels = write_example(tables, ODD_NAMES)
    files, read = results.read_clusters(tables)
    assert files == ODD_NAMES
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == np.int32


def test_clusters_table_as_text(tables: Path) -> None:
    write_example(tables, ["a.jpg", os.fsdecode(b"\xff,.jpg"), "c.jpg"])
    assert (tables / "clusters.csv").read_text("utf-8") == (
        "file,cluster,batch,batch_cluster,representative,score,target\n"
        "a.jpg,0,0,0,a.jpg,,result/a.jpg\n"
        '"\\xff,.jpg",0,0,0,a.jpg,0.30000000000000004,"result/\\xff,.jpg"\n'
        "c.jpg,-1,0,-1,,,result/c.jpg\n"
    )


@given(st.lists(name_bytes, unique=True, max_size=6))
@settings(deadline=None, max_examples=50)
def test_any_names_survive_the_clusters_table(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    out = tmp_path_factory.mktemp("out")
    write_example(out, [os.fsdecode(name) for name in names])
    assert [os.fsencode(file) for file in results.read_clusters(out)[0]] == names


def test_skipped_table_is_sorted(tables: Path) -> None:
    results.write_skipped(tables, [Skip("b\\.jpg", "no image, but text"), Skip("a.jpg", "empty")])
    with (tables / "skipped.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "reason"],
            ["a.jpg", "empty"],
            ["b\\\\.jpg", "no image, but text"],
        ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "line 1"),
        (b"file,batch\na,0\n", "line 1.*header must have file, cluster"),
        (b"file,cluster\na,0\nb\n", "line 3.*expected 2 cells"),
        (b"file,cluster\na,zero\n", "line 2.*got 'zero'"),
        (b"file,cluster\na,-2\n", "line 2.*got '-2'"),
        (b"file,cluster\na,2147483648\n", "line 2"),
        (b"file,cluster\na,0\na,1\n", "line 3.*listed twice"),
        (b"file,cluster\n\xff,0\n", "UTF-8"),
        (b'file,cluster\n"a,0\n', "not a CSV table"),
        (b"file,cluster\n" + b"a" * 200_000 + b",0\n", "not a CSV table"),
    ],
)
def test_damaged_clusters_table_is_named(tmp_path: Path, text: bytes, problem: str) -> None:
    (tmp_path / "clusters.csv").write_bytes(text)
    with pytest.raises(ResultError, match=rf"clusters\.csv.*{problem}"):
        results.read_clusters(tmp_path)


def test_missing_clusters_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"can't read .*clusters\.csv: No such file"):
        results.read_clusters(tmp_path)


def edges_of(rng: np.random.Generator, n_images: int, n_edges: int) -> NDArray[np.void]:
    pairs = np.sort(rng.choice(n_images, (n_edges, 2)), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
    edges = np.empty(len(pairs), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = pairs[:, 0], pairs[:, 1], rng.random(len(pairs))
    return edges


@pytest.mark.parametrize("rows_per_group", [1, 7, 1000])
def test_similarities_are_read_back(tables: Path, rows_per_group: int) -> None:
    files = [f"{name}{k}" for k in range(5) for name in ODD_NAMES]
    edges = edges_of(np.random.default_rng(0), len(files), 60)
    results.write_similarities(tables, "batch_0", edges, files, rows_per_group=rows_per_group)
    path = tables / "similarities_batch_0.parquet"
    table = pq.read_table(path)
    assert table.column_names == ["i", "j", "file_i", "file_j", "score"]
    for name in EDGE_DTYPE.names or ():
        np.testing.assert_array_equal(table[name].to_numpy(), edges[name])
        assert table[name].to_numpy().dtype == EDGE_DTYPE[name]
    for name in "ij":
        shown = [results.escape_name(files[k]) for k in edges[name]]
        assert table[f"file_{name}"].to_pylist() == shown
    assert pq.ParquetFile(path).num_row_groups == -(-len(edges) // rows_per_group)


def test_similarities_without_edges(tables: Path) -> None:
    results.write_similarities(tables, "representatives", no_edges(), [])
    table = pq.read_table(tables / "similarities_representatives.parquet")
    assert table.num_rows == 0
    assert table.column_names == ["i", "j", "file_i", "file_j", "score"]


def test_run_is_read_back(tables: Path) -> None:
    folder = Path(os.fsdecode(b"/photos \xe9\\x"))
    summary = {
        "z first": {"threshold": np.float64(0.9), "n": np.int32(3), "sizes": np.arange(2)},
        "a second": (Skip("é", os.fsdecode(b"\xff")), folder, None, float("-inf"), True),
    }
    results.write_run(tables, summary)
    text = (tables / "run.json").read_text("utf-8")
    assert '\n  "a second"' in text
    assert "é" in text
    assert list(json.loads(text).items()) == [
        ("z first", {"threshold": 0.9, "n": 3, "sizes": [0, 1]}),
        ("a second", [{"file": "é", "reason": "\udcff"}, "/photos \\xe9\\\\x", None, None, True]),
    ]


def test_a_table_that_fails_leaves_the_old_one(tables: Path) -> None:
    results.write_run(tables, {"old": 1})
    with pytest.raises(TypeError):
        results.write_run(tables, {"new": object()})
    edges = np.array([(0, 5, 1.0)], EDGE_DTYPE)
    with pytest.raises(IndexError):
        results.write_similarities(tables, "batch_0", edges, ["only one"])
    assert json.loads((tables / "run.json").read_text()) == {"old": 1}
    assert sorted(path.name for path in tables.iterdir()) == ["run.json"]


def test_a_folder_that_vanished_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(ResultError, match=r"can't write .*gone/run\.json"):
        results.write_run(gone, {})
    with pytest.raises(ResultError, match=r"can't write .*gone/skipped\.csv"):
        results.write_skipped(gone, [])
    with pytest.raises(ResultError, match=r"can't write .*gone/similarities_batch_0\.parquet"):
        results.write_similarities(gone, "batch_0", no_edges(), [])


def test_import_takes_no_heavy_library() -> None:
    code = "import sys, clusterimg.results, clusterimg.evaluation; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
