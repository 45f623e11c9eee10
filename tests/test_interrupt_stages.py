"""Ctrl-C in every stage of a real process: it ends at once, and --resume goes on as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clusterimg as ci
from commands import call_here
from pictures import groups, noisy, picture, save
from test_environment import contents

RUN = """
import sys, time
import numpy as np
from clusterimg import _files, _flow, _handover, _moving, _reader_process
from clusterimg import batches, cli, images, merging, results, undoing
from clusterimg.methods._classic import Classic

ready, code, *arguments = sys.argv[1:]

def say():
    open(ready, "w").close()

def wait(*_, **__):
    say()
    while True:
        time.sleep(0.01)

def wait_in(module, name, call=1):
    plain = getattr(module, name)
    def waiting(*given, **named):
        nonlocal call
        call -= 1
        return wait() if call == 0 else plain(*given, **named)
    setattr(module, name, waiting)

def say_at(stage):
    plain = batches.Clock.__call__
    def saying(self, now):
        if now == stage:
            say()
        return plain(self, now)
    batches.Clock.__call__ = saying

exec(code)
sys.exit(cli.main(arguments))
"""
"""`python -c RUN READY CODE …` runs a command line after some code that makes it say, or wait, at a place."""

SLOW_READER = """
_reader_process._START = "open(%r, 'w').close(); import time; time.sleep(60)" % ready
"""

SLOW_IMAGE = """
_reader_process._START = '''
import sys, time; sys.path[:] = sys.argv[1:]
from clusterimg import _reader_child
plain = _reader_child.read_item
def slow(path, *rest):
    while path.name == "1_0.png":
        open(%r, "w").close()
    return plain(path, *rest)
_reader_child.read_item = slow
_reader_child.main()
''' % ready
"""

MANY_SCORES = """
say_at("scores")
plain = Classic.scores
def many(self, features, others, engine, i, j):
    return plain(self, features, others, engine, np.repeat(i, 10**5), np.repeat(j, 10**5))[:: 10**5]
Classic.scores = many
"""

HALF_A_COPY = """
def half(source, target):
    with open(source, "rb") as whole, open(target, "wb") as part:
        part.write(whole.read(1000))
        part.flush()
        wait()
_files.shutil.copyfile = half
"""


def interrupt(code: str, *command: object, ready: Path, after: float = 0.0) -> float:
    """Run, send Ctrl-C once `ready` is there; check how the process ends, and return after how long."""
    arguments = [sys.executable, "-c", RUN, str(ready), code, *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not ready.exists():
        time.sleep(0.002)
    time.sleep(after)
    assert process.poll() is None, process.communicate()
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    took = time.monotonic() - asked
    assert (process.returncode, stdout) == (130, ""), stderr
    advice = "" if command[0] == "undo" else ": the same command with --resume goes on"
    assert stderr == f"clusterimg: interrupted{advice}\n"
    assert took < 1
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    ready.unlink()
    return took


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started (none where there is no /proc)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def tables(out: Path) -> dict[str, bytes]:
    names = [*out.glob("*.csv"), *out.glob("*.parquet")]
    return {path.name: path.read_bytes() for path in names}


def tree(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*")}


def photos(folder: Path) -> Path:
    """Save pictures that have the same times wherever they are."""
    for k, path in enumerate(sorted(save(folder, groups(2, 2, 1)).iterdir())):
        os.utime(path, ns=(10**18 + k, 10**18 + k))
    return folder


OPTIONS = ("--batch-size", "2", "--merge", "exact")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nobody interrupted."""
    folder = photos(tmp_path_factory.mktemp("unbroken") / "photos")
    assert call_here("run", folder, *OPTIONS).returncode == 0
    return folder.with_name("photos_clustered")


@pytest.mark.parametrize(
    ("code", "n_reused"),
    [
        pytest.param("wait_in(images, 'find')", 0, id="list"),
        pytest.param(SLOW_READER, 0, id="reader starts"),
        pytest.param(SLOW_IMAGE, 2, id="a slow image"),
        pytest.param("wait_in(batches.Store, 'add', 2)", 2, id="features are written"),
        pytest.param("wait_in(results, 'write_similarities', 2)", 4, id="pairs are written"),
        pytest.param("wait_in(merging, 'exact')", 5, id="merge"),
        pytest.param("wait_in(_flow.Decision, 'save')", 5, id="decision"),
        pytest.param("wait_in(results, 'apply')", 5, id="hand over begins"),
        pytest.param(HALF_A_COPY, 5, id="half a copy"),
        pytest.param("wait_in(_moving, '_remove', 3)", 5, id="half a move"),
        pytest.param("wait_in(_handover, 'link_inside', 3)", 5, id="links"),
        pytest.param("wait_in(results, 'write_clusters')", 5, id="tables"),
        pytest.param("wait_in(results, 'write_run')", 5, id="run.json"),
    ],
)
def test_resume_after_ctrl_c_equals_an_unbroken_run(
    unbroken: Path, tmp_path: Path, code: str, n_reused: int
) -> None:
    folder, out = photos(tmp_path / "photos"), tmp_path / "photos_clustered"
    before = contents(folder)
    transfer = "copy" if code == HALF_A_COPY else "move"
    interrupt(code, "run", folder, *OPTIONS, "--transfer", transfer, ready=tmp_path / "ready")
    assert out.exists() == (n_reused > 0)
    for path in out.glob("result/*/*.png"):  # what is there is whole
        assert path.read_bytes() == before[path.name][0]
    assert not list(out.rglob("*tmp*"))
    result = ci.run(folder, batch_size=2, merge="exact", transfer=transfer, resume=True)
    assert result.summary["reused"]["features"] == n_reused
    assert tables(out) == tables(unbroken)
    assert tree(out) - {".clusterimg/features_000003.npz"} == tree(unbroken)
    assert contents(folder) == (before if transfer == "copy" else {})
    assert ci.undo(out).kept == ()
    assert contents(folder) == before


@pytest.fixture(scope="module")
def orb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of images that take seconds to compare."""
    pictures = {f"{k:03}.png": noisy(picture(k // 2, 320, 320), k) for k in range(100)}
    folder = save(tmp_path_factory.mktemp("orb") / "photos", pictures)
    return ci.run(folder, method="orb", merge="no", batch_size=1, transfer="none").out


@pytest.mark.parametrize(
    ("code", "options"),
    [
        pytest.param("say_at('pairs')", {}, id="pairs"),
        pytest.param("say_at('merge')", {"batch_size": 50, "merge": "exact"}, id="merge"),
        pytest.param(MANY_SCORES, {"batch_size": 10}, id="scores"),
    ],
)
def test_the_core_stops_at_ctrl_c(
    orb: Path, tmp_path: Path, code: str, options: dict[str, int | str]
) -> None:
    folder, out = orb.with_name("photos"), tmp_path / "out"
    shutil.copytree(orb, out)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = ("run", folder, "--method", "orb", "--transfer", "none", "--out", out, "--resume", *flags)
    interrupt(code, *command, "--threads", 1, ready=tmp_path / "ready", after=0.1)
    result = ci.run(folder, method="orb", transfer="none", out=out, resume=True, **options)
    assert result.summary["reused"]["features"] == 100
    assert result.summary["counts"]["clusters"] == 50


@pytest.mark.parametrize("n_calls", [1, 8])
def test_undo_goes_on_after_ctrl_c(tmp_path: Path, n_calls: int) -> None:
    folder, ready = photos(tmp_path / "photos"), tmp_path / "ready"
    before = contents(folder)
    out = ci.run(folder, transfer="move").out
    interrupt(f"wait_in(undoing, '_perform', {n_calls})", "undo", out, ready=ready)
    interrupt("wait_in(_moving, '_remove', 2)", "undo", out, ready=ready)
    assert call_here("undo", out).returncode == 0
    assert contents(folder) == before
    assert not (out / "result").exists()


def test_merge_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    folders = [save(tmp_path / name, groups(2, 2, 1)) for name in "ab"]
    before = [contents(folder) for folder in folders]
    parts = [ci.run(folder, transfer="move").out for folder in folders]
    options = {"transfer": "move", "merge": "exact"}
    whole = ci.merge(parts, transfer="none", merge="exact", out=tmp_path / "whole", batch_folders=False)
    command = ("merge", *parts, "--transfer", "move", "--merge", "exact")
    interrupt("wait_in(merging, 'exact')", *command, ready=tmp_path / "ready")
    interrupt("wait_in(_moving, '_remove', 3)", *command, "--resume", ready=tmp_path / "ready")
    merged = ci.merge(parts, **options, resume=True)
    assert merged.files == whole.files
    assert merged.labels.tolist() == whole.labels.tolist()
    assert "" not in merged.targets
    for out in (merged.out, *parts):
        assert ci.undo(out).kept == ()
    assert [contents(folder) for folder in folders] == before
