"""Undo: all as it was before, and nothing lost of what a person did in between."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterimg import results
from clusterimg._types import Skip
from clusterimg.errors import ResultError
from clusterimg.undoing import Undone, undo

FILES = [
    "a.jpg",
    "b\\x41\n.jpg",
    os.fsdecode(b"latin1 \xe9.jpg"),
    "sub/a.jpg",
    "sub/deep/c.jpg",
    "z.jpg",
]
LABELS = np.array([0, 0, -1, 0, 1, 1], np.int32)
BATCHES = np.array([0, 0, 0, 1, 1, 1], np.int32)
TRANSFERS = ["copy", "move", "hardlink", "symlink"]
LAYOUTS = [
    pytest.param({"batch_folders": True}, id="with batch folders"),
    pytest.param({"batch_folders": False}, id="without batch folders"),
    pytest.param({"merged": False}, id="not merged"),
]
A = "result/cluster_0/a.jpg"
NOTHING = Undone(0, 0, (), ())

Snapshot = dict[str, tuple[object, ...]]


def make_photos(folder: Path) -> Path:
    for k, name in enumerate(FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content {k}".encode())
        path.chmod(0o640 if k % 2 else 0o600)
        os.utime(path, ns=(10**18 + k, 10**18 + 10**9 * k + k))
    return folder


def hand_over(folder: Path, out: Path, transfer: str, **layout: bool) -> Path:
    """Hand all files over, and write tables, as a run does."""
    stamps = results.stamps(folder, FILES)
    plan = results.plan(FILES, LABELS, BATCHES, LABELS, stamps=stamps, **layout)
    with results.claimed(out, folder) as manifest:
        results.apply(plan, folder, out, manifest, transfer=transfer)
        manifest.add_table("run.json")
        results.write_run(out, {})
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def snapshot(folder: Path) -> Snapshot:
    """Return all there is below a folder: kind, mode, content and time; of folders, that they are there."""

    def facts(path: Path) -> tuple[object, ...]:
        status = path.lstat()
        if path.is_symlink():
            return "link", path.readlink()
        if stat.S_ISDIR(status.st_mode):
            return ("folder",)
        return "file", path.read_bytes(), status.st_mtime_ns, stat.filemode(status.st_mode)

    return {os.path.relpath(path, folder): facts(path) for path in paths_below(folder)}


def paths_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from paths_below(path)


def edit(path: Path, text: str = "edited since") -> None:
    path.write_bytes(text.encode())


# All as it was


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_is_as_it_was_before(folder: Path, out: Path, transfer: str, layout: dict[str, bool]) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer, **layout)
    assert (snapshot(folder) != before) == (transfer == "move")
    steps: list[tuple[str, int, int]] = []
    n_links = len(FILES) * layout.get("batch_folders", False)
    done = undo(out, progress=lambda *step: steps.append(step))
    n_moved = len(FILES) if transfer == "move" else 0
    assert done.kept == done.missing == ()
    assert done.restored == n_moved
    assert done.removed == n_links + len(FILES) - n_moved
    assert snapshot(folder) == before
    assert set(snapshot(out)) == {".clusterimg", "manifest.jsonl", "run.json"}
    n_steps = len(steps)
    assert steps == [("undo", k + 1, n_steps) for k in range(n_steps)]
    manifest = (out / "manifest.jsonl").read_bytes()
    assert undo(out) == NOTHING
    assert (out / "manifest.jsonl").read_bytes() == manifest
    assert snapshot(folder) == before


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_result_that_was_moved_elsewhere(folder: Path, out: Path, tmp_path: Path, transfer: str) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    elsewhere = tmp_path / "some" / "where"
    elsewhere.parent.mkdir()
    out.rename(elsewhere)
    done = undo(os.path.relpath(elsewhere))
    assert done.kept == done.missing == ()
    assert snapshot(folder) == before
    assert set(snapshot(elsewhere)) == {".clusterimg", "manifest.jsonl", "run.json"}


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_result_inside_the_folder_of_the_images(folder: Path, transfer: str) -> None:
    before = snapshot(folder)
    out = hand_over(folder, folder / "out", transfer)
    assert undo(out).kept == ()
    shutil.rmtree(out)
    assert snapshot(folder) == before


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("stop", [1, 3, 7, 12])
def test_a_hand_over_that_was_cut_off(folder: Path, out: Path, transfer: str, stop: int) -> None:
    before = snapshot(folder)

    def interrupt(done: int, _: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    plan = results.plan(FILES, LABELS, BATCHES, LABELS, stamps=results.stamps(folder, FILES))
    with pytest.raises(KeyboardInterrupt), results.claimed(out, folder) as manifest:
        results.apply(plan, folder, out, manifest, transfer=transfer, progress=interrupt)
    done = undo(out)
    assert done.kept == done.missing == ()
    assert snapshot(folder) == before
    assert set(snapshot(out)) <= {".clusterimg", "manifest.jsonl"}


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("stop", [1, 5, 9, 14, 18])
def test_an_undo_that_was_cut_off_is_gone_on_with(folder: Path, out: Path, transfer: str, stop: int) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)

    def interrupt(_: str, done: int, __: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        undo(out, progress=interrupt)
    done = undo(out)
    assert done.kept == done.missing == ()
    assert snapshot(folder) == before
    assert set(snapshot(out)) == {".clusterimg", "manifest.jsonl", "run.json"}


def test_lines_of_an_undo_that_were_lost_do_no_harm(folder: Path, out: Path) -> None:
    """As after a kill: what is on the disk decides."""
    before = snapshot(folder)
    hand_over(folder, out, "move")
    lines = (out / "manifest.jsonl").read_bytes()
    undo(out)
    (out / "manifest.jsonl").write_bytes(lines)
    assert undo(out) == NOTHING
    assert snapshot(folder) == before


def test_a_move_that_was_cut_off_in_both_places(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "move")
    shutil.copy2(out / A, folder / "a.jpg")
    done = undo(out)
    assert (done.restored, done.kept) == (len(FILES) - 1, ())
    assert snapshot(folder) == before


def test_what_was_undone_is_handed_over_again_and_undone_again(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "move")
    plan = results.plan(FILES, LABELS, BATCHES, LABELS, stamps=np.array([[9, 0]] * 6))
    for _ in range(2):
        undo(out)
        assert snapshot(folder) == before
        plan = results.plan(FILES, LABELS, BATCHES, LABELS, stamps=results.stamps(folder, FILES))
        with results.claimed(out, folder, resume=True) as manifest:
            assert results.apply(plan, folder, out, manifest, transfer="move").skips == ()
    assert undo(out).kept == ()
    assert snapshot(folder) == before


def test_a_linked_original_that_was_copied_under_move(folder: Path, out: Path) -> None:
    (folder / "a.jpg").rename(folder / "file")
    (folder / "a.jpg").symlink_to("file")
    before = snapshot(folder)
    hand_over(folder, out, "move")
    assert (out / A).read_bytes() == b"content 0"
    done = undo(out)
    assert (done.restored, done.kept, done.missing) == (len(FILES) - 1, (), ())
    assert snapshot(folder) == before


# What a person did


def kept_of(done: Undone) -> dict[str, str]:
    return {skip.file: skip.reason for skip in done.kept}


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_file_that_was_edited_in_the_result(folder: Path, out: Path, transfer: str) -> None:
    hand_over(folder, out, transfer)
    edit(out / A)
    done = undo(out)
    if transfer == "copy":
        assert done.kept == (Skip(A, "was changed since"),)
        assert (out / A).read_bytes() == b"edited since"
        assert (folder / "a.jpg").read_bytes() == b"content 0"
        assert undo(out) == Undone(0, 0, done.kept, ()), "kept until the person decides"
        (out / A).unlink()
        assert undo(out) == NOTHING
        assert not (out / "result").exists()
    else:
        assert done.kept == ()
        assert (folder / "a.jpg").read_bytes() == b"edited since"


@pytest.mark.parametrize("transfer", ["hardlink", "symlink"])
def test_a_link_that_an_editor_replaced(folder: Path, out: Path, transfer: str) -> None:
    hand_over(folder, out, transfer)
    edit(out / "saved")
    (out / "saved").replace(out / A)
    assert undo(out).kept == (Skip(A, "was changed since"),)
    assert (out / A).read_bytes() == b"edited since"
    assert (folder / "a.jpg").read_bytes() == b"content 0"


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_file_that_was_deleted_in_the_result(folder: Path, out: Path, transfer: str) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    (out / A).unlink()
    done = undo(out)
    assert done.kept == ()
    gone = Skip("a.jpg", "is neither in the result folder nor where it was")
    assert done.missing == ((gone,) if transfer == "move" else ())
    if transfer == "move":
        before.pop("a.jpg")
    assert snapshot(folder) == before
    assert not (out / "result").exists()


@pytest.mark.parametrize("content", ["new", "content 0"])
def test_an_original_that_was_made_again(folder: Path, out: Path, content: str) -> None:
    hand_over(folder, out, "move")
    edit(folder / "a.jpg", content)
    mine = snapshot(folder)["a.jpg"]
    done = undo(out)
    assert snapshot(folder)["a.jpg"] == mine
    if content == "new":
        assert done.kept == (Skip(A, f"{folder}/a.jpg exists again"),)
        assert (out / A).read_bytes() == b"content 0"
        (folder / "a.jpg").unlink()
        assert undo(out).restored == 1
        assert (folder / "a.jpg").read_bytes() == b"content 0"
    else:
        assert done.kept == ()
        assert not (out / "result").exists()


@pytest.mark.parametrize("kind", ["broken link", "link to the result", "folder"])
def test_an_original_that_became_something_else(folder: Path, out: Path, kind: str) -> None:
    hand_over(folder, out, "move")
    if kind == "folder":
        (folder / "a.jpg").mkdir()
    else:
        (folder / "a.jpg").symlink_to(out / A if "result" in kind else "nowhere")
    mine = snapshot(folder)["a.jpg"]
    assert undo(out).kept == (Skip(A, f"{folder}/a.jpg exists again"),)
    assert snapshot(folder)["a.jpg"] == mine
    assert (out / A).read_bytes() == b"content 0"


@pytest.mark.parametrize("transfer", ["copy", "hardlink"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda source, copy: source.unlink(), id="deleted"),
        pytest.param(lambda source, copy: (source.unlink(), source.symlink_to(copy)), id="link to the copy"),
        pytest.param(lambda source, copy: (source.unlink(), source.symlink_to("b")), id="broken link"),
        pytest.param(lambda source, copy: (source.unlink(), source.symlink_to(source)), id="link to itself"),
        pytest.param(lambda source, copy: (source.unlink(), source.mkdir()), id="folder"),
        pytest.param(lambda source, copy: (source.unlink(), edit(source)), id="another"),
        pytest.param(
            lambda source, copy: (
                source.rename(source.with_name("mine")),
                source.symlink_to(source.parent / "z.jpg"),
            ),
            id="link to another",
        ),
    ],
)
def test_the_last_copy_is_kept(
    folder: Path, out: Path, transfer: str, change: Callable[[Path, Path], None]
) -> None:
    hand_over(folder, out, transfer)
    change(folder / "a.jpg", out / A)
    mine = snapshot(folder)
    done = undo(out)
    assert done.kept == (Skip(A, f"is all that is left of {folder}/a.jpg"),)
    assert (out / A).read_bytes() == b"content 0"
    assert snapshot(folder) == mine
    assert set(snapshot(out / "result")) == {"cluster_0", "cluster_0/a.jpg"}


@pytest.mark.parametrize("transfer", ["copy", "hardlink"])
def test_an_original_that_was_saved_again_without_a_change_is_no_reason(
    folder: Path, out: Path, transfer: str
) -> None:
    hand_over(folder, out, transfer)
    edit(folder / "saved", "content 0")
    (folder / "saved").replace(folder / "a.jpg")
    assert undo(out).kept == ()
    assert (folder / "a.jpg").read_bytes() == b"content 0"


def test_a_link_to_an_original_that_leads_back_to_it_is_no_end(folder: Path, out: Path) -> None:
    hand_over(folder, out, "symlink")
    (folder / "a.jpg").unlink()
    (folder / "a.jpg").symlink_to(out / A)
    undo(out)
    assert (folder / "a.jpg").is_symlink()


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_a_source_folder_that_became_a_link_to_the_result(folder: Path, out: Path, transfer: str) -> None:
    """So that old paths still lead to the files: then source and target are one file."""
    hand_over(folder, out, transfer)
    shutil.rmtree(folder)
    folder.symlink_to(out / "result/cluster_0")
    done = undo(out)
    assert A in kept_of(done)
    assert (out / A).read_bytes() == (folder / "a.jpg").read_bytes() == b"content 0"


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_own_files_in_a_cluster_folder(folder: Path, out: Path, transfer: str) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    edit(out / "result/cluster_0/mine.txt", "mine")
    (out / "result/cluster_1/mine").mkdir()
    done = undo(out)
    reason = "holds files that are not from this run"
    assert kept_of(done) == {"result/cluster_0": reason, "result/cluster_1": reason}
    assert snapshot(folder) == before
    left = {"cluster_0", "cluster_0/mine.txt", "cluster_1", "cluster_1/mine"}
    assert set(snapshot(out / "result")) == left


def test_a_cluster_folder_that_was_renamed_and_named_back(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "move")
    (out / "result/cluster_0").rename(out / "result/cats")
    done = undo(out)
    assert [skip.file for skip in done.missing] == ["sub/a.jpg", FILES[1], "a.jpg"]
    assert done.kept == ()
    assert len(list((out / "result/cats").iterdir())) == 3
    assert [skip.file for skip in undo(out).missing] == ["sub/a.jpg", FILES[1], "a.jpg"]
    (out / "result/cats").rename(out / "result/cluster_0")
    done = undo(out)
    assert (done.restored, done.missing) == (3, ())
    assert snapshot(folder) == before


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink"])
def test_copies_in_a_folder_that_was_renamed_are_the_persons_own(
    folder: Path, out: Path, transfer: str
) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    (out / "result/cluster_0").rename(out / "result/cats")
    assert undo(out).kept == ()
    assert snapshot(folder) == before
    assert len(list((out / "result/cats").iterdir())) == 3


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_cluster_folder_that_became_a_link(folder: Path, out: Path, tmp_path: Path, transfer: str) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    (out / "result/cluster_0").rename(tmp_path / "cats")
    (out / "result/cluster_0").symlink_to(tmp_path / "cats")
    assert undo(out).kept == (Skip("result/cluster_0", "was changed since"),)
    assert snapshot(folder) == before
    assert set(snapshot(out / "result")) == {"cluster_0"}


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_batch_folder_that_became_a_link_to_the_result(folder: Path, out: Path, transfer: str) -> None:
    before = snapshot(folder)
    hand_over(folder, out, transfer)
    shutil.rmtree(out / "batch_0")
    (out / "batch_0").symlink_to("result")
    edit(out / A)
    undo(out)
    home = out / A if transfer == "copy" else folder / "a.jpg"
    assert home.read_bytes() == b"edited since"
    assert snapshot(folder).keys() == before.keys()


def test_a_batch_link_that_became_a_folder_is_kept(folder: Path, out: Path) -> None:
    hand_over(folder, out, "copy")
    for path in (out / A, out / "batch_0/cluster_0/a.jpg"):
        path.unlink()
    (out / A).mkdir()
    (out / "batch_0/cluster_0/a.jpg").mkdir()
    assert kept_of(undo(out)) == {A: "was changed since", "batch_0/cluster_0/a.jpg": "was changed since"}


def test_a_source_folder_that_was_deleted_is_made_again(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "move")
    shutil.rmtree(folder)
    assert undo(out).restored == len(FILES)
    assert snapshot(folder) == before


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_a_source_folder_that_became_something_else(folder: Path, out: Path, kind: str) -> None:
    hand_over(folder, out, "move")
    shutil.rmtree(folder / "sub")
    if kind == "file":
        edit(folder / "sub", "mine")
    else:
        (folder / "sub").symlink_to("nowhere")
    mine = snapshot(folder)["sub"]
    done = undo(out)
    assert done.restored == len(FILES) - 2
    assert kept_of(done) == {
        "result/cluster_1/c.jpg": f"can't be put back: {folder}/sub/deep is no longer a folder",
        "result/cluster_0/a_2.jpg": f"can't be put back: {folder}/sub is no longer a folder",
    }
    assert snapshot(folder)["sub"] == mine
    (folder / "sub").unlink()
    assert undo(out).restored == 2


@pytest.mark.parametrize("path", ["out/result/cluster_0", "out/batch_0", "photos/sub"])
def test_a_folder_that_became_a_link_to_itself(folder: Path, out: Path, path: str) -> None:
    hand_over(folder, out, "move")
    (out.parent / path).rename(out.parent / "away")
    (out.parent / path).symlink_to(out.parent / path)
    undo(out)
    (out.parent / path).unlink()
    (out.parent / "away").rename(out.parent / path)
    done = undo(out)
    assert done.kept == done.missing == ()
    assert {path.read_bytes() for path in folder.rglob("*.jpg")} == {b"content %d" % k for k in range(6)}


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_moved_file_that_became_something_else(folder: Path, out: Path, kind: str) -> None:
    hand_over(folder, out, "move")
    (out / A).rename(out / "mine.jpg")
    if kind == "folder":
        (out / A).mkdir()
    else:
        (out / A).symlink_to("../../mine.jpg")
    assert undo(out).kept == (Skip(A, "is no longer a file"),)
    assert (out / "mine.jpg").read_bytes() == b"content 0"


def test_a_batch_folder_that_a_person_worked_in(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "copy")
    link = out / "batch_0/cluster_0/a.jpg"
    link.unlink()
    edit(link, "mine")
    assert undo(out).kept == (Skip("batch_0/cluster_0/a.jpg", "was changed since"),)
    assert link.read_bytes() == b"mine"
    assert snapshot(folder) == before


# Refused


def test_a_folder_without_a_manifest_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    for path in (folder, folder / "a.jpg", tmp_path / "nowhere"):
        with pytest.raises(ResultError, match=rf"can't read {path}/manifest\.jsonl"):
            undo(path)
    assert snapshot(tmp_path) == before


def test_a_damaged_manifest_is_an_error_and_changes_nothing(folder: Path, out: Path) -> None:
    hand_over(folder, out, "move")
    with (out / "manifest.jsonl").open("a") as stream:
        stream.write('{"op": "move", "source": "a", "target": "../a"}\n')
    before = snapshot(out)
    with pytest.raises(ResultError, match=r"manifest\.jsonl, line \d+: target must stay inside"):
        undo(out)
    assert snapshot(out) == before


# The command line


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterimg", "undo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_undo_prints_what_it_did_and_exits_with_0(folder: Path, out: Path) -> None:
    before = snapshot(folder)
    hand_over(folder, out, "move")
    done = call(out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6 files put back, 6 copies and links deleted\n"
    assert snapshot(folder) == before
    again = call(out, "--json")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout) == {"restored": 0, "removed": 0, "kept": [], "missing": []}


def test_undo_lists_what_it_kept_and_exits_with_3(folder: Path, out: Path) -> None:
    hand_over(folder, out, "move")
    edit(folder / FILES[2], "new")
    (out / A).unlink()
    found = "result/outliers/latin1 \\xe9.jpg"
    text = f"clusterimg: kept: {found} {folder}/latin1 \\xe9.jpg exists again\n"
    gone = "clusterimg: missing: a.jpg is neither in the result folder nor where it was\n"
    done = call(out)
    assert (done.returncode, done.stderr) == (3, text + gone)
    assert done.stdout == "4 files put back, 6 copies and links deleted\n"
    quiet = call(out, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (3, "", text + gone)
    (folder / FILES[2]).unlink()
    edit(out / "result/outliers/mine.txt")
    as_json = json.loads(call(out, "--json").stdout)
    assert (as_json["restored"], as_json["removed"]) == (1, 0)
    assert as_json["kept"] == [
        {"file": "result/outliers", "reason": "holds files that are not from this run"}
    ]
    assert [skip["file"] for skip in as_json["missing"]] == ["a.jpg"]


def test_undo_of_no_result_and_of_one_in_use(folder: Path, out: Path) -> None:
    done = call(folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        done.stderr == f"clusterimg: error: can't read {folder}/manifest.jsonl: No such file or directory\n"
    )
    hand_over(folder, out, "move")
    before = snapshot(out)
    with results.locked(out):
        done = call(out)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"clusterimg: error: {out} is in use by another run")
    assert snapshot(out) == before


# Whatever a person does


class Person:
    """Does one thing after another to the files below a folder; every content it writes is a new one."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.n_written = 0

    def act(self, action: str, first: int, second: int) -> None:
        ours = (".clusterimg", "manifest.jsonl", "run.json")
        paths = [path for path in paths_below(self.top) if path.name not in ours and path.parent != self.top]
        names = [*paths, *(self.top / "photos" / file for file in FILES), self.top / "out/result/new"]
        one, other = paths[first % len(paths)], names[second % len(names)]
        if not one.is_relative_to(other) and not other.is_relative_to(one):
            getattr(self, action)(one, other)

    def write(self, path: Path) -> None:
        self.n_written += 1
        path.write_bytes(f"person {self.n_written}".encode())

    def edit(self, one: Path, _: Path) -> None:
        if one.is_file():
            self.write(one)

    def save(self, one: Path, _: Path) -> None:
        """Write a new file and give it the name, as editors do."""
        if one.is_file():
            self.write(self.top / "saved")
            (self.top / "saved").replace(one)

    def delete(self, one: Path, _: Path) -> None:
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()

    def create(self, _: Path, other: Path) -> None:
        if not os.path.lexists(other) and other.parent.is_dir():
            self.write(other)

    def rename(self, one: Path, other: Path) -> None:
        if not os.path.lexists(other) and other.parent.is_dir():
            one.rename(other)

    def copy(self, one: Path, other: Path) -> None:
        if one.is_file() and not os.path.lexists(other) and other.parent.is_dir():
            shutil.copy2(one, other)

    def swap(self, one: Path, other: Path) -> None:
        if os.path.lexists(other):
            one.rename(self.top / "swapped")
            with suppress(FileNotFoundError):  # it was there by way of a link that is gone now
                other.rename(one)
            with suppress(FileNotFoundError):
                (self.top / "swapped").rename(other)

    def hard_link(self, one: Path, other: Path) -> None:
        if one.is_file() and not one.is_symlink() and other.parent.is_dir():
            other.unlink(missing_ok=True) if not other.is_dir() or other.is_symlink() else None
            if not os.path.lexists(other):
                other.hardlink_to(one)

    def link(self, one: Path, other: Path) -> None:
        """Put a link in the place of a file or folder."""
        self.delete(one, other)
        one.symlink_to(other)

    def move_and_link(self, one: Path, other: Path) -> None:
        if not os.path.lexists(other) and other.parent.is_dir():
            one.rename(other)
            one.symlink_to(other)

    def make_folder(self, one: Path, _: Path) -> None:
        self.delete(one, one)
        one.mkdir()


ACTIONS = sorted(name for name in vars(Person) if not name.startswith("_") and name not in ("act", "write"))


def contents(top: Path) -> set[bytes]:
    return {
        path.read_bytes()
        for path in paths_below(top)
        if stat.S_ISREG(path.lstat().st_mode) and path.name not in ("manifest.jsonl", "run.json")
    }


@given(
    st.sampled_from(TRANSFERS),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99), st.integers(0, 99)), max_size=7),
)
@settings(deadline=None, max_examples=100)
def test_no_byte_is_ever_lost(transfer: str, actions: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        folder = make_photos(top / "photos")
        out = hand_over(folder, top / "out", transfer)
        person = Person(top)
        for action in actions:
            person.act(*action)
        before, mine = contents(top), snapshot(folder)
        done = undo(out)
        assert contents(top) >= before
        if not any(path.is_symlink() and path.is_dir() for path in paths_below(out)):
            after = snapshot(folder)
            assert {path: after.get(path) for path in mine} == mine, "nothing in the folder is changed"
        again = undo(out)
        assert (again.restored, again.removed) == (0, 0) or done.kept or done.missing
        assert contents(top) >= before
