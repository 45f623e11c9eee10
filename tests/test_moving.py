"""Moving one file: whole under the old name, the new name or both, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clusterimg import _moving, results
from clusterimg._files import NO_LINKS, TEMPORARY
from clusterimg._moving import finish_move, is_same, move
from clusterimg._types import Skip

CONTENT = bytes(range(256)) * 5000  # more than one block of a comparison
SHM = Path("/dev/shm")
hard_link = os.link  # also where a test has taken it away


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not SHM.is_dir() or not os.access(SHM, os.W_OK) or SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        yield Path(name)


def no_links(monkeypatch: pytest.MonkeyPatch, code: int = errno.EPERM) -> None:
    """Make the file system one without hard links."""

    def refuse(source: Any, target: Any, **_: object) -> None:
        raise OSError(code, os.strerror(code), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture(params=["links", "no links", "across"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to move to: on the same file system with and without links, and on another."""
    if request.param == "across":
        place: Path = request.getfixturevalue("elsewhere")
        return place / "new"
    if request.param == "no links":
        no_links(monkeypatch)
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "new"


def make(path: Path, content: bytes = CONTENT) -> dict[str, object]:
    """Make a file of a certain age, mode and attribute; return what `facts` says of it."""
    path.write_bytes(content)
    with suppress(OSError):  # not every file system has attributes
        os.setxattr(path, "user.clusterimg", b"\0kept")
    os.utime(path, ns=(10**18 + 1, 10**18 + 123_456_789))
    path.chmod(0o640)
    return facts(path)


def facts(path: Path) -> dict[str, object]:
    status = path.lstat()
    return {
        "content": path.read_bytes(),
        "mtime_ns": status.st_mtime_ns,
        "mode": stat.filemode(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "attributes": {name: os.getxattr(path, name) for name in os.listxattr(path)},
    }


def names(*folders: Path) -> list[str]:
    return sorted(path.name for folder in folders for path in folder.iterdir())


def test_content_time_mode_and_attributes_are_kept(folder: Path, target: Path) -> None:
    before = make(folder / "old")
    if target.parent.parent == SHM:
        (target.parent / TEMPORARY).write_bytes(b"left by a move that was killed")
    move(folder / "old", target)
    after = facts(target)
    if target.parent.parent == SHM and before["attributes"]:
        os.setxattr(target, "user.probe", b"")  # both file systems have attributes, or this fails
    assert after == before
    assert names(folder, target.parent) == ["new"]


@pytest.mark.parametrize("kind", ["file", "same file", "folder", "broken link", "link to the source"])
def test_a_name_that_is_taken_is_left_alone(folder: Path, target: Path, kind: str) -> None:
    before = make(folder / "old")
    if kind == "folder":
        target.mkdir()
    elif kind == "broken link":
        target.symlink_to("nowhere")
    elif kind == "link to the source":
        target.symlink_to(folder / "old")
    else:
        target.write_bytes(b"mine" if kind == "file" else CONTENT)
    taken = target.lstat()
    with pytest.raises(FileExistsError):
        move(folder / "old", target)
    assert facts(folder / "old") == before
    assert target.lstat() == taken or kind == "link to the source"  # which was read through
    assert (target.lstat().st_ino, target.lstat().st_mode) == (taken.st_ino, taken.st_mode)
    assert names(folder, target.parent) == ["new", "old"]


def test_a_source_that_is_gone(folder: Path, target: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move(folder / "old", target)
    assert names(folder, target.parent) == []


def test_a_folder_that_is_gone(folder: Path, target: Path) -> None:
    before = make(folder / "old")
    with pytest.raises(FileNotFoundError):
        move(folder / "old", target.parent / "gone" / "new")
    assert facts(folder / "old") == before


@pytest.mark.parametrize("code", sorted(NO_LINKS))
def test_whatever_a_system_without_links_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    no_links(monkeypatch, code)
    before = make(folder / "old")
    move(folder / "old", tmp_path / "new")
    assert facts(tmp_path / "new") == before
    assert names(folder) == []


def test_across_file_systems_without_links_on_either(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch)
    before = make(folder / "old")
    move(folder / "old", elsewhere / "new")
    assert facts(elsewhere / "new") == before
    assert names(folder, elsewhere) == ["new"]


def test_other_errors_of_a_link_are_passed_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_links(monkeypatch, errno.ENOSPC)
    before = make(folder / "old")
    with pytest.raises(OSError, match="No space left"):
        move(folder / "old", folder / "new")
    assert facts(folder / "old") == before
    assert names(folder) == ["old"]


@pytest.mark.parametrize("n_names", [2, 3])
def test_hard_linked_sources_are_moved_one_by_one(folder: Path, target: Path, n_names: int) -> None:
    before = make(folder / "0")
    for k in range(1, n_names):
        hard_link(folder / "0", folder / str(k))
    for k in range(n_names):
        move(folder / str(k), target.with_name(f"new {k}"))
        assert facts(target.with_name(f"new {k}")) == before
    assert names(folder) == []
    assert len(names(target.parent)) == n_names


# What can't go


def test_a_source_that_can_not_be_removed_stays(
    folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are links, or across file systems; a rename fails as a whole."""
    before = make(folder / "old")
    real, real_rename = Path.unlink, Path.rename

    def unlink(path: Path, **options: bool) -> None:
        if path.parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        real(path, **options)

    def rename(path: Path, new: Path) -> Path:
        if path.parent == folder and path.stat().st_dev == new.parent.stat().st_dev:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path), None, str(new))
        return real_rename(path, new)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PermissionError):
        move(folder / "old", target)
    assert facts(folder / "old") == before
    assert names(folder, target.parent) == ["old"]


READ_ONLY = """
import json, os, sys
from pathlib import Path
import numpy as np
from clusterimg import errors, results, undoing

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
files = sorted(path.name for path in folder.iterdir())
none = np.full(len(files), -1, np.int32)
plan = results.plan(files, none, none + 1, none, stamps=results.stamps(folder, files))
if os.getuid() == 0:  # who may write anywhere
    for path in (folder.parent, folder, out.parent, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
folder.chmod(0o555)
with results.claimed(out, folder) as manifest:
    done = results.apply(plan, folder, out, manifest, transfer="move")
print(json.dumps([done.targets, done.skips and [skip.reason for skip in done.skips]]))
folder.chmod(0o755)
with results.claimed(out, folder, resume=True) as manifest:
    done = results.apply(plan, folder, out, manifest, transfer="move")
print(json.dumps([done.targets, done.skips]))
folder.chmod(0o555)
try:
    undoing.undo(out)
except errors.ResultError as error:
    print(json.dumps(str(error)))
folder.chmod(0o755)
print(json.dumps(undoing.undo(out).restored))
"""


@pytest.mark.parametrize("place", ["same", "across"])
def test_a_read_only_folder(place: str, request: pytest.FixtureRequest) -> None:
    """As a user whom the system refuses, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        other = top if place == "same" else request.getfixturevalue("elsewhere")
        for path in (top, other):
            path.chmod(0o755)
        (top / "photos").mkdir()
        for file in ("a.jpg", "b.jpg"):
            make(top / "photos" / file)
        before = {file: facts(top / "photos" / file)["content"] for file in ("a.jpg", "b.jpg")}
        out = other / "out"
        command = [sys.executable, "-c", READ_ONLY, str(top / "photos"), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        refused, again, stuck, restored = map(json.loads, done.stdout.splitlines())
        assert refused == [["", ""], ["can't be moved: Permission denied"] * 2]
        assert again == [["result/outliers/a.jpg", "result/outliers/b.jpg"], []]
        assert stuck == f"can't write {top}/photos/b.jpg: Permission denied"
        assert restored == 2
        assert {path.name: path.read_bytes() for path in (top / "photos").iterdir()} == before
        assert not list(out.rglob(TEMPORARY))


# Across file systems: what may happen meanwhile


def test_a_source_that_is_written_to_meanwhile_stays(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder / "old")
    real = shutil.copyfile

    def copyfile(source: Path, target: Path, **options: Any) -> None:
        real(source, target, **options)
        with source.open("ab") as stream:
            stream.write(b"more")

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(OSError, match="it is being written to"):
        move(folder / "old", elsewhere / "new")
    assert (folder / "old").read_bytes() == CONTENT + b"more"
    assert names(folder, elsewhere) == ["old"]


def test_a_source_that_is_written_to_after_it_was_compared_stays(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder / "old")
    real = _moving._equal

    def equal(one: Path, other: Path) -> bool:
        same = real(one, other)
        (folder / "old").write_bytes(CONTENT[::-1])  # of the same size
        return same

    monkeypatch.setattr(_moving, "_equal", equal)
    with pytest.raises(OSError, match="it is being written to") as caught:
        move(folder / "old", elsewhere / "new")
    assert caught.value.filename == str(folder / "old")
    assert (folder / "old").read_bytes() == CONTENT[::-1]
    assert names(folder, elsewhere) == ["old"]


def test_a_file_that_is_being_written_to_is_left_out_and_the_others_go(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        make(folder / name)
    real = shutil.copyfile

    def copyfile(source: Path, target: Path, **options: Any) -> None:
        real(source, target, **options)
        if source.name == "b":
            with source.open("ab") as stream:
                stream.write(b"more")

    none = np.full(3, -1, np.int32)
    plan = results.plan("abc", none, none + 1, none, stamps=results.stamps(folder, "abc"))
    with results.claimed(elsewhere / "out", folder) as manifest:
        monkeypatch.setattr(shutil, "copyfile", copyfile)
        done = results.apply(plan, folder, elsewhere / "out", manifest, transfer="move")
    assert done.targets == ("result/outliers/a", "", "result/outliers/c")
    assert done.skips == (Skip("b", "can't be moved: it is being written to"),)
    assert names(folder) == ["b"]
    assert (folder / "b").read_bytes() == CONTENT + b"more"


def test_what_comes_back_from_the_disk_is_compared(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared is what is there after the wait for the disk."""
    before = make(folder / "old")
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        with open(f"/proc/self/fd/{handle}", "rb+") as stream:  # noqa: PTH123
            stream.seek(len(CONTENT) - 1)
            stream.write(b"\0")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="differs from what was written"):
        move(folder / "old", elsewhere / "new")
    assert facts(folder / "old") == before
    assert names(folder, elsewhere) == ["old"]


@pytest.mark.parametrize("step", ["copyfile", "copystat"])
def test_an_interrupt_leaves_the_source_and_nothing_else(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = make(folder / "old")
    real = getattr(shutil, step)

    def interrupt(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        move(folder / "old", elsewhere / "new")
    assert facts(folder / "old") == before
    assert names(folder, elsewhere) == ["old"]


KILLED = r"""
import json, os, sys
from pathlib import Path
from clusterimg._moving import finish_move, move

old, new = Path(sys.argv[1]), Path(sys.argv[2])
content = old.read_bytes()
code, stop, seen = 9, 0, []
while code == 9:
    old.write_bytes(content)
    new.unlink(missing_ok=True)
    stop += 1
    pid = os.fork()
    if pid == 0:
        steps = iter(range(1, stop))
        def hook(event, _):
            if event == "open" or event.startswith(("os.", "shutil.")):
                if next(steps, None) is None:
                    os._exit(9)
        sys.addaudithook(hook)
        move(old, new)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    is_whole = all(path.read_bytes() == content for path in (old, new) if path.exists())
    state = [old.exists(), new.exists(), is_whole]
    if new.exists():
        finish_move(old, new)  # as a run that goes on would
        state += [old.exists(), new.read_bytes() == content]
    seen.append(state)
print(json.dumps({"code": code, "seen": seen}))
"""


@pytest.mark.parametrize("place", ["same", "across"])
def test_a_move_that_is_killed_at_any_step_is_whole_and_can_be_finished(
    tmp_path: Path, folder: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """A child is ended before each thing that it asks of the system, one after another."""
    home = tmp_path if place == "same" else request.getfixturevalue("elsewhere")
    make(folder / "old")
    command = [sys.executable, "-c", KILLED, str(folder / "old"), str(home / "new")]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    assert found["code"] == 0
    states = {tuple(state) for state in found["seen"]}
    whole_before, both, gone_before = (True, False, True), (True, True, True), (False, True, True)
    assert states == {whole_before, (*both, False, True), (*gone_before, False, True)}
    assert len(found["seen"]) > (2 if place == "same" else 10)
    assert names(folder, home) == (["new"] if place == "across" else ["new", "photos"])


# Finishing


def test_what_is_still_in_both_places_is_finished(folder: Path, tmp_path: Path) -> None:
    old, new = folder / "old", tmp_path / "new"
    before = make(old)
    new.hardlink_to(old)
    assert finish_move(old, new)
    assert (old.exists(), facts(new)) == (False, before)
    make(old)
    assert finish_move(old, new), "a copy"
    assert (old.exists(), facts(new)) == (False, before)
    assert finish_move(old, new), "already finished"
    assert facts(new) == before


@pytest.mark.parametrize(
    "kind", ["other content", "other size", "link to the target", "broken link", "folder"]
)
def test_a_source_that_is_new_stays(folder: Path, tmp_path: Path, kind: str) -> None:
    old, new = folder / "old", tmp_path / "new"
    before = make(new)
    if kind == "folder":
        old.mkdir()
    elif "link" in kind:
        old.symlink_to(new if "target" in kind else "nowhere")
    else:
        old.write_bytes(CONTENT[::-1] if "content" in kind else CONTENT[1:])
    status = old.lstat()
    assert not finish_move(old, new)
    assert (old.lstat().st_ino, old.lstat().st_size) == (status.st_ino, status.st_size)
    assert facts(new) == before


def test_a_target_that_is_a_link_to_the_source_is_no_reason_to_remove_it(
    folder: Path, tmp_path: Path
) -> None:
    make(folder / "old")
    (tmp_path / "new").symlink_to(folder / "old")
    assert not finish_move(folder / "old", tmp_path / "new")
    assert (folder / "old").read_bytes() == CONTENT


def test_one_file_that_two_paths_lead_to_is_not_removed(folder: Path, tmp_path: Path) -> None:
    """As where the emptied folder became a link to the result, so that old paths still lead to the files."""
    before = make(folder / "a")
    for path in ("link", "deep/link"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).symlink_to(folder)
        assert not finish_move(tmp_path / path / "a", folder / "a")
        hard_link(folder / "a", tmp_path / path / "b")
        assert not finish_move(tmp_path / path / "a", folder / "a"), "though it has two names"
        assert facts(folder / "a") == before
        assert finish_move(tmp_path / path / "b", folder / "a")
    assert names(folder) == ["a"]


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sameness_is_of_every_byte(tmp_path: Path, size: int) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    content = os.urandom(size)
    one.write_bytes(content)
    other.write_bytes(content)
    assert is_same(one, other)
    for place in {0, size // 2, size - 1} if size else ():
        changed = bytearray(content)
        changed[place] ^= 1
        other.write_bytes(changed)
        os.utime(other, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
        assert not is_same(one, other), "of the same size and time"
    other.write_bytes(content + b"x")
    assert not is_same(one, other)
