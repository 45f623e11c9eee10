"""Disks that are full or read-only, rights that are missing, folders and names as people have them.

A command is a real process where its rights, its start or its end are what is tested.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterimg.results import escape_name, unescape_name
from commands import Done, call, call_here, error_of
from pictures import Grey, groups, noisy, picture, save

_WITHOUT_RIGHTS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's way past every permission
    if os.geteuid() == 0 and libc.prctl(24, capability, 0, 0, 0):
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execv(sys.executable, [sys.executable, "-m", "clusterimg", *sys.argv[1:]])
"""

AT = """
import os, sys
from clusterimg import batches, cli

stage, action, *arguments = sys.argv[1:]
clock = batches.Clock.__call__

def announced(self, now):
    global stage
    if now == stage:
        stage = ""
        exec(action)
    return clock(self, now)

batches.Clock.__call__ = announced
sys.exit(cli.main(arguments))
"""
"""`python -c AT STAGE ACTION …` runs a command line, and Python code when a stage begins."""


def without_rights(*arguments: object) -> Done:
    """Call as somebody for whom permissions hold, which they don't for root."""
    done = call(*arguments, start=("-c", _WITHOUT_RIGHTS))
    if done.stderr.startswith("prctl: "):
        pytest.skip(f"root can't give up its rights here: {done.stderr}")
    return done


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return what the files of a folder hold, and their times, to see that they were left alone."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_complete(out: Path, originals: dict[str, tuple[bytes, int]]) -> None:
    """Check that every original has its row, and its bytes are where the row says."""
    table = rows(out / "clusters.csv")
    assert sorted(unescape_name(row["file"]) for row in table) == sorted(originals)
    for row in table:
        assert (out / unescape_name(row["target"])).read_bytes() == originals[unescape_name(row["file"])][0]
    assert rows(out / "skipped.csv") == []


class Disk:
    """A file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def set(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk in memory, of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield Disk(place)
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups(2, 2, 1))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Files so small that a disk is full of them long before their bytes have filled it."""
    pairs = {f"{k:03}.png": noisy(picture(k // 2, 16, 12), k) for k in range(200)}
    return save(tmp_path / "many", pairs)


# --- no space ---

FILL = """
import errno
try:
    with open({filler!r}, "wb", buffering=0) as stream:
        while stream.write(bytes(4096)): pass
except OSError as error:
    assert error.errno == errno.ENOSPC
"""

ADVICE = "the disk is full: free some space, or choose an --out on another disk"


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_a_disk_that_fills_up_during_the_hand_over(disk: Disk, many: Path, transfer: str) -> None:
    before, out = contents(many), disk.place / "out"
    disk.set("size=512k")
    text = error_of(call_here("run", many, "--out", out, "--transfer", transfer))
    assert text.startswith(f"can't write {out}/result/")
    assert text.endswith(ADVICE)
    arrived = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("result/*/*.png")}
    assert 0 < len(arrived) < 200
    if transfer == "copy":
        assert contents(many) == before
    else:
        assert contents(many).keys().isdisjoint(arrived)
        assert contents(many) | arrived == before
    disk.set("size=8m")
    done = call_here("run", many, "--out", out, "--transfer", transfer, "--resume")
    assert done.returncode == 0, done.stderr
    assert "used from before: the features of 200 images\n" in done.stdout
    assert_complete(out, before)
    assert call_here("undo", out).returncode == 0
    assert contents(many) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of a run on a disk with space."""
    folder = save(tmp_path_factory.mktemp("whole") / "photos", groups(2, 2, 1))
    assert call_here("run", folder, "--method", "ssim", "--transfer", "none").returncode == 0
    return folder.with_name("photos_clustered").joinpath("clusters.csv").read_bytes()


@pytest.mark.parametrize("stage", ["list", "features", "tables", "scores", "hand over"])
def test_a_disk_that_is_full_at_a_stage(disk: Disk, folder: Path, whole: bytes, stage: str) -> None:
    before, out, filler = contents(folder), disk.place / "out", disk.place / "filler"
    command = ("run", folder, "--out", out, "--transfer", "none", "--method", "ssim")
    action = FILL.format(filler=str(filler))
    text = error_of(call(stage, action, *command, start=("-c", AT)))
    assert text.startswith(f"can't write {out}")
    assert text.endswith(ADVICE)
    assert contents(folder) == before
    filler.unlink()
    assert call_here(*command, "--resume").returncode == 0
    assert (out / "clusters.csv").read_bytes() == whole
    assert not list(out.rglob("*tmp*"))


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_too_little_space_is_said_before_a_file_is_handed_over(
    disk: Disk, folder: Path, transfer: str
) -> None:
    for path in folder.iterdir():
        with path.open("ab") as stream:
            stream.write(bytes(300_000))
    before, out = contents(folder), disk.place / "out"
    text = error_of(call_here("run", folder, "--out", out, "--transfer", transfer))
    assert text.startswith(f"{out} has 0.001 GB free, the images need 0.002 GB: free some space, choose an")
    assert contents(folder) == before
    assert not (out / "result").exists()
    disk.set("size=4m")
    done = call_here("run", folder, "--out", out, "--transfer", transfer, "--resume")
    assert done.returncode == 0
    assert_complete(out, before)


# --- disks ---


def test_a_read_only_disk(disk: Disk, folder: Path) -> None:
    out, inner = disk.place / "out", save(disk.place / "photos", groups(1, 2, 0))
    assert call_here("run", folder, "--out", out).returncode == 0
    before = contents(disk.place)
    disk.set("ro")
    advice = "the file system is read-only: choose another --out"
    for arguments in (
        ["--out", disk.place / "new"],
        ["--out", out, "--resume"],
        ["--out", out, "--overwrite"],
    ):
        text = error_of(call_here("run", folder, *arguments))
        assert text.startswith(f"can't write {arguments[1]}")
        assert text.endswith(advice)
    assert str(out) in error_of(call_here("undo", out))
    assert error_of(call_here("run", inner)) == f"can't write {inner}_clustered: {advice}"
    other = folder.with_name("other")
    refused = error_of(call_here("run", inner, "--transfer", "move", "--out", other), code=2)
    assert refused == f"{inner} is read-only, so nothing can be moved: use copy"
    assert not other.exists()
    assert contents(disk.place) == before
    assert call_here("run", inner, "--out", other).returncode == 0
    assert_complete(other, contents(inner))


@pytest.mark.parametrize("transfer", ["copy", "move", "symlink"])
def test_a_result_on_another_file_system(disk: Disk, folder: Path, transfer: str) -> None:
    before, out = contents(folder), disk.place / "out"
    done = call_here("run", folder, "--out", out, "--transfer", transfer)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == ({} if transfer == "move" else before)
    assert_complete(out, before)
    undone = call_here("undo", out)
    assert undone.returncode == 0, undone.stderr
    assert contents(folder) == before
    assert not (out / "result").exists()


def test_hard_links_do_not_reach_another_file_system(disk: Disk, folder: Path) -> None:
    done = call_here("run", folder, "--out", disk.place / "out", "--transfer", "hardlink")
    assert error_of(done, code=2) == (
        f"{disk.place}/out is on another file system, where no hard link reaches: use copy"
    )
    assert not list(disk.place.iterdir())


# --- rights ---


def test_what_may_not_be_read_is_listed(folder: Path) -> None:
    save(folder / "secret", groups(1, 1, 0))
    before = contents(folder)
    (folder / "0_0.png").chmod(0)
    (folder / "secret").chmod(0)
    done = without_rights("run", folder, "--recursive")
    assert done.returncode == 0, done.stderr
    out = folder.with_name("photos_clustered")
    assert rows(out / "skipped.csv") == [
        {"file": "0_0.png", "reason": "permission denied"},
        {"file": "secret", "reason": "folder can't be read: permission denied"},
    ]
    (folder / "0_0.png").chmod(0o600)
    (folder / "secret").chmod(0o700)
    again = without_rights("run", folder, "--recursive", "--resume")
    assert "used from before: the features of 4 images" in again.stdout
    assert_complete(out, before)


def test_a_folder_that_may_not_be_read_or_written(folder: Path, tmp_path: Path) -> None:
    before, locked = contents(folder), tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    text = error_of(without_rights("run", folder, "--out", locked / "out"))
    assert text == f"can't write {locked}/out: Permission denied"
    assert error_of(without_rights("run", folder, "--out", locked)).endswith("Permission denied")
    folder.chmod(0o500)
    text = error_of(without_rights("run", folder, "--transfer", "move"), code=2)
    assert text == f"{folder} is read-only, so nothing can be moved: use copy"
    folder.chmod(0)
    text = error_of(without_rights("run", folder), code=2)
    assert text == f"folder must be a folder that can be read, got '{folder}': permission denied"
    folder.chmod(0o700)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locked", "photos"]
    assert contents(folder) == before


def test_files_of_a_read_only_subfolder_are_not_moved(folder: Path, disk: Disk) -> None:
    disk.set("size=8m")
    save(folder / "sub", {"a.png": picture(50), "b.png": picture(51)})
    before = contents(folder)
    for out in (folder.with_name("out"), disk.place / "out"):
        (folder / "sub").chmod(0o500)
        done = without_rights("run", folder, "--recursive", "--transfer", "move", "--out", out)
        assert done.returncode == 0, done.stderr
        assert rows(out / "skipped.csv") == [
            {"file": f"sub/{name}.png", "reason": "can't be moved: Permission denied"} for name in "ab"
        ]
        assert {row["file"] for row in rows(out / "clusters.csv") if not row["target"]} == {
            "sub/a.png",
            "sub/b.png",
        }
        assert set(contents(folder)) == {"sub/a.png", "sub/b.png"}
        (folder / "sub").chmod(0o700)
        done = without_rights("run", folder, "--recursive", "--transfer", "move", "--out", out, "--resume")
        assert done.returncode == 0, done.stderr
        assert contents(folder) == {}
        assert_complete(out, before)
        assert call_here("undo", out).returncode == 0
        assert contents(folder) == before


# --- what changes while a run works ---


def at(stage: str, action: str, *command: object) -> Done:
    return call(stage, action, *command, start=("-c", AT))


def test_files_that_change_before_they_are_handed_over(folder: Path) -> None:
    before = contents(folder)
    action = f"""
os.chdir({str(folder)!r})
os.unlink("0_0.png")
os.truncate("0_1.png", 10)
os.unlink("1_0.png"); os.mkdir("1_0.png")
os.utime("1_1.png", (5, 5))
"""
    for transfer in ("copy", "move", "hardlink", "symlink"):
        out = folder.with_name(transfer)
        done = at("hand over", action, "run", folder, "--out", out, "--transfer", transfer)
        assert done.returncode == 0, done.stderr
        changed = "changed while the run was at work"
        assert rows(out / "skipped.csv") == [
            {"file": "0_0.png", "reason": "vanished before it could be handed over"},
            {"file": "0_1.png", "reason": changed},
            {"file": "1_0.png", "reason": "is no longer a file"},
            {"file": "1_1.png", "reason": changed},
        ]
        targets = {row["file"]: row["target"] for row in rows(out / "clusters.csv")}
        left_out = dict.fromkeys(["0_0.png", "0_1.png", "1_0.png", "1_1.png"], "")
        assert targets == left_out | {"single_0.png": "result/outliers/single_0.png"}
        assert (out / targets["single_0.png"]).read_bytes() == before["single_0.png"][0]
        assert call_here("undo", out).returncode == 0
        shutil.rmtree(folder / "1_0.png")
        for name, (data, mtime_ns) in before.items():
            (folder / name).write_bytes(data)
            os.utime(folder / name, ns=(mtime_ns, mtime_ns))


def test_a_folder_that_vanishes(folder: Path) -> None:
    """Unplugged, say. What was listed is accounted for; with the folder back, --resume completes."""
    away, out = folder.with_name("away"), folder.with_name("photos_clustered")
    action = f"os.rename({str(folder)!r}, {str(away)!r})"
    assert "no such file" in error_of(at("list", action, "run", folder), code=2)
    away.rename(folder)
    before = contents(folder)
    for stage, reason in (
        ("features", "no such file or directory"),
        ("pairs", "vanished before it could be handed over"),
    ):
        assert at(stage, action, "run", folder).returncode == 0
        assert [row["reason"] for row in rows(out / "skipped.csv")] == [reason] * 5
        away.rename(folder)
        assert call_here("run", folder, "--resume").returncode == 0
        assert_complete(out, before)
        shutil.rmtree(out)


def test_a_result_folder_that_vanishes(folder: Path) -> None:
    before, out = contents(folder), folder.with_name("photos_clustered")
    for stage in ("features", "tables", "hand over"):
        action = f"import shutil; shutil.rmtree({str(out)!r})"
        text = error_of(at(stage, action, "run", folder, "--transfer", "move"))
        assert str(out) in text
        assert contents(folder) == before
        shutil.rmtree(out, ignore_errors=True)


def test_one_process_at_a_time_in_a_result_folder(folder: Path, tmp_path: Path) -> None:
    before, out, wait = contents(folder), tmp_path / "photos_clustered", tmp_path / "wait"
    wait.touch()
    action = f"import time\nwhile os.path.exists({str(wait)!r}): time.sleep(0.01)"
    first = subprocess.Popen([sys.executable, "-c", AT, "pairs", action, "run", str(folder)])
    while first.poll() is None and not list(out.glob(".clusterimg/features_*.npz")):
        time.sleep(0.01)
    for command in (
        ("run", folder),
        ("run", folder, "--resume"),
        ("run", folder, "--overwrite"),
        ("undo", out),
    ):
        text = error_of(call_here(*command))
        assert text == f"{out} is in use by another run: wait for it, or choose another --out"
    wait.unlink()
    assert first.wait(60) == 0
    assert_complete(out, before)


# --- how the folders lie ---


@pytest.mark.parametrize(
    "kind", ["empty", "with files", "with a result", "a file", "a link", "a broken link"]
)
def test_what_out_may_be(folder: Path, tmp_path: Path, kind: str) -> None:
    out, options = tmp_path / "out", ("--out", tmp_path / "out")
    out.mkdir()
    if kind == "with files":
        (out / "mine.txt").write_text("mine")
    elif kind == "with a result":
        assert call_here("run", folder, *options).returncode == 0
    elif kind != "empty":
        out.rmdir()
        if kind == "a file":
            out.write_text("mine")
        else:
            out.symlink_to(tmp_path / "elsewhere")
            if kind == "a link":
                (tmp_path / "elsewhere").mkdir()
    before = contents(tmp_path)
    done = call_here("run", folder, *options)
    if kind in ("empty", "a link"):
        assert done.returncode == 0, done.stderr
        assert_complete(out, contents(folder))
        assert call_here("undo", out).returncode == 0
        return
    refusals = {
        "with files": "holds files that are not from a run: choose another --out",
        "with a result": "holds a result: --resume goes on with it, --overwrite replaces it, "
        "or choose another --out",
    }
    refusal = refusals.get(kind, "exists and is no folder: choose another --out")
    assert error_of(done, code=2) == f"{out} {refusal}"
    for option in ("--resume", "--overwrite"):
        if kind != "with a result":
            assert error_of(call_here("run", folder, *options, option), code=2) == f"{out} {refusal}"
    assert contents(tmp_path) == before


def test_a_result_inside_the_folder_is_never_read(folder: Path) -> None:
    save(folder / "sub", groups(1, 1, 0))
    before, out = contents(folder), folder / "sorted" / "out"
    command = ("run", folder, "--out", out, "--recursive")
    for options in ([], ["--resume"], ["--resume", "--transfer", "move"], ["--overwrite"]):
        done = call_here(*command, *options)
        if options == ["--overwrite"]:
            assert (
                error_of(done, code=2) == f"{out} holds moved originals: put them back first, by undo {out}"
            )
        else:
            assert done.returncode == 0, done.stderr
            assert_complete(out, before)
    assert call_here("undo", out).returncode == 0
    shutil.rmtree(folder / "sorted")
    assert contents(folder) == before


def test_out_must_not_hold_the_folder(folder: Path) -> None:
    before = contents(folder)
    link = folder.with_name("link")
    link.symlink_to(folder)
    for out in (folder, folder.parent, Path("/"), link, folder / "..", folder / "." / "x" / ".."):
        text = error_of(call_here("run", folder, "--out", out), code=2)
        assert text == f"{out} is or holds the folder of the images: choose another --out"
    assert contents(folder) == before


def test_what_the_folder_may_be(folder: Path, tmp_path: Path) -> None:
    link, out = tmp_path / "link", tmp_path / "out"
    link.symlink_to(folder)
    assert call_here("run", link).returncode == 0
    assert_complete(tmp_path / "photos_clustered", contents(folder))
    (tmp_path / "empty").mkdir()
    refusals = {
        folder / "0_0.png": "not a directory",
        tmp_path / "missing": "no such file or directory",
        tmp_path / "empty": "holds no files (subfolders need recursive)",
    }
    for path, reason in refusals.items():
        text = error_of(call_here("run", path, "--out", out), code=2)
        assert str(path) in text and text.endswith(reason)
        assert not out.exists()
    one = save(tmp_path / "one", {"a.png": picture(1)})
    done = call_here("run", one)
    assert "1 image: 0 clusters of 0 images, 1 outlier\n" in done.stdout
    none = tmp_path / "none"
    none.mkdir()
    (none / "a.txt").write_text("text")
    done = call_here("run", none)
    assert done.returncode == 0
    assert "0 images: 0 clusters of 0 images, 0 outliers\n" in done.stdout
    assert "skipped: a.txt (not an image): listed in skipped.csv\n" in done.stdout


# --- names ---

NAMES = [
    "two words.png",
    "comma,semi;colon.png",
    "new\nline.png",
    "return\r.png",
    "tab\t.png",
    "cat \N{CAT FACE}.png",
    "'quoted' \"twice\".png",
    "-dash.png",
    "--out",
    os.fsdecode(b"bytes \xff\xe9.png"),
    "back\\slash\\x41.png",
    "trailing dot.",
    "trailing space ",
    ".hidden.png",
    "%s {0} $HOME `true` *?.png",
    "\x1b[31mred\x07.png",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.png",
    "e\N{COMBINING ACUTE ACCENT}.png",
    "\N{LATIN SMALL LETTER E WITH ACUTE}.png",
    "case.png",
    "CASE.PNG",
    "no extension",
    ".png",
    "#N/A.png",
    "=1+1.png",
    "clusters.csv",
    "manifest.jsonl",
    "\N{GREEK SMALL LETTER OMEGA}" * 125 + "x.png",  # 255 bytes
    "n" * 255,
    "sub/case.png",
    "sub/" + "n" * 255,
    "sub sub/-/\n/case.png",
]


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_any_names_of_files(tmp_path: Path, transfer: str) -> None:
    images: dict[str, Grey] = {name: noisy(picture(k // 11, 80, 60), k) for k, name in enumerate(NAMES)}
    folder = save(tmp_path / "photos", images)
    before, out = contents(folder), tmp_path / "photos_clustered"
    assert len(before) == len(NAMES)
    done = call("run", folder, "--recursive", "--transfer", transfer, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "32 images: 3 clusters of 32 images" in done.stdout
    assert_complete(out, before)
    for row in rows(out / "clusters.csv"):
        link = out / f"batch_0/cluster_{row['batch_cluster']}" / Path(unescape_name(row["target"])).name
        assert link.exists()
    again = call_here("run", folder, "--recursive", "--transfer", transfer, "--resume")
    assert "used from before: the features of 32 images\n" in again.stdout
    assert_complete(out, before)
    assert call_here("undo", out).returncode == 0
    assert contents(folder) == before
    assert not (out / "result").exists()


@pytest.mark.parametrize("name", ["new\nline", os.fsdecode(b"\xff\xfe"), "-dash", "a b\\c'd\"e \N{CAT FACE}"])
def test_any_names_of_folders(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / name / name, groups(1, 2, 1))
    before, here = contents(folder), folder.parent
    out = Path(f"{name}_out")
    command = ("run", f"./{name}", "--out", f"./{out}", "--transfer", "move")
    done = call(*command, cwd=here)
    assert done.returncode == 0, done.stderr
    shown = escape_name(str(out)).replace("\n", r"\x0a")
    assert f"result: {shown}/result\n" in done.stdout
    assert json.loads((here / out / "run.json").read_text())["folder"] == escape_name(str(folder))
    assert_complete(here / out, before)
    assert call_here(*command, "--resume", cwd=here).returncode == 0
    advice = done.stdout.rpartition("to put the files back: clusterimg undo")[2]
    undo = subprocess.run(
        ["bash", "-c", f'"$0" -m clusterimg undo {advice}', sys.executable], cwd=here, capture_output=True
    )
    assert undo.returncode == 0, undo.stderr
    assert contents(folder) == before
    again = call_here(*command, "--resume", cwd=here)
    assert "used from before: the features of 3 images\n" in again.stdout
    moved = (here / out).rename(here / "elsewhere")
    assert call_here("undo", moved).returncode == 0
    assert contents(folder) == before


def test_a_path_that_is_too_long(folder: Path) -> None:
    long = folder.with_name("long")
    while len(str(long)) < 3700:
        long /= "d" * 200
    long.mkdir(parents=True)
    before = contents(folder)
    name = "n" * 250
    (folder / "0_0.png").rename(folder / name)
    before[name] = before.pop("0_0.png")
    advice = "the path is too long for this file system: choose a shorter --out"
    for transfer in ("copy", "move"):
        out = long / ("o" * (4095 - 200 - len(str(long)))) / transfer
        text = error_of(call_here("run", folder, "--out", out, "--transfer", transfer))
        assert text.startswith(f"can't write {out}")
        assert text.endswith(advice)
        moved = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.glob("result/*/*.png")}
        assert contents(folder) | moved == before
        assert call_here("undo", out).returncode == 0
        assert contents(folder) == before
    text = error_of(call_here("run", folder, "--out", long / ("o" * 250) / ("o" * 250)))
    assert text.endswith(advice)


def test_output_that_cannot_show_a_name(folder: Path) -> None:
    (folder / "empty \N{CAT FACE}.png").touch()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "clusterimg", "run", str(folder)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"skipped: empty" in done.stdout
