"""Runs, undos and merges are killed at their points, one after another, and what is left is looked at.

    python tests/kill_harness.py FOLDER OTHER SCENARIO [--every N] [--at K] [--fault NAME]

FOLDER and OTHER are empty folders, on different file systems if the scenario moves files across. It prints
one JSON object; `--at` tries a single point, to see what goes wrong there.

A process that holds only Python's one thread is warmed up with all imports, and forked for each attempt, so
that an attempt costs little. Right after the kill the content of every original must be whole, under its old
name or one in the result. Then one of

    undo      every original is back as it was, and nothing else is in its folder
    again     the same command, with resume: the result equals that of an unbroken run; then undo
    resume    of a killed undo: the result is again what it was before; then undo
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import types
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import clusterimg as ci
from clusterimg import _files, _handover, _manifest, _moving, _reader_process, batches, results, undoing
from clusterimg.backends import select
from clusterimg.errors import ResultError
from clusterimg.extraction import read_item
from clusterimg.methods import create
from kill_points import Point, Watch, forked
from pictures import noisy, picture, save

N_WORKERS = 2
ORIGINALS = ("photos", "photos_b")


@dataclass(frozen=True)
class World:
    """The folders of one attempt; they are at the same place for each.

    near, far : where they are; names that begin with `far` are in `far`
    """

    near: Path
    far: Path

    def __truediv__(self, name: str) -> Path:
        return (self.far if name.startswith("far") else self.near) / name

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.near, self.far

    @property
    def outs(self) -> list[Path]:
        """The result folders that are there."""
        folders = [path for root in self.roots for path in sorted(root.iterdir())]
        return [path for path in folders if path.name not in (*ORIGINALS, "elsewhere")]

    def keep(self) -> None:
        """Keep it as it is, for `reset`."""
        for root in self.roots:
            root.rename(f"{root}.kept")

    def reset(self) -> None:
        """Make it what it was when it was kept."""
        for root in self.roots:
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", f"{root}.kept", root], check=True)


def make_photos(world: World) -> None:
    """Write the originals: alike and unlike ones, of odd names, of one name, links, twins, and no images."""
    (world / "elsewhere").mkdir(parents=True)
    (world / "far").mkdir(parents=True)
    small = {name: picture(seed, 64, 48) for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4))}
    latin = os.fsdecode(b"a2\xe9.png")
    images = {
        "a0.png": small["a"],
        "a1\n.png": noisy(small["a"], 1),
        latin: noisy(small["a"], 2),
        "b0.png": small["b"],
        "big.png": noisy(picture(5, 400, 300), 5, 20),
        "c0.png": small["c"],
        "sub/b0.png": noisy(small["b"], 3),
        "sub/b1.png": noisy(small["b"], 4),
        "z\\x41.png": small["d"],
    }
    photos = save(world / "photos", images)
    (photos / "c_twin.png").hardlink_to(photos / "c0.png")
    save(world / "elsewhere", {"e.png": noisy(small["d"], 6)})
    (photos / "m_link.png").symlink_to("../elsewhere/e.png")
    (photos / "k_link.png").symlink_to("sub/b1.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (photos / "empty.jpg").touch()
    (photos / "notes.txt").write_text("no image")
    save(world / "photos_b", {f"{name}_b.png": noisy(image, 9) for name, image in small.items()})
    for k, path in enumerate(sorted(world.near.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o640 if k % 2 else 0o444)
            os.utime(path, ns=(10**18 + k, 10**18 + 1001 * k))


# What the commands are


Step = Callable[[World], Any]
OPTIONS = {"batch_size": 6, "threads": 1, "recursive": True}


def run(out: str = "out", folder: str = "photos", **options: Any) -> Step:
    return lambda world: ci.run(world / folder, out=world / out, **{**OPTIONS, **options})


def merge(**options: Any) -> Step:
    return lambda world: ci.merge(
        [world / "one", world / "two"], out=world / "merged", threads=1, transfer="move", **options
    )


def undo(*outs: str) -> Step:
    """Undo results; one whose manifest has not begun is passed over, as there is nothing to undo."""

    def work(world: World) -> None:
        for name in outs:
            try:
                undone = ci.undo(world / name)
            except ResultError:
                manifest = world / name / "manifest.jsonl"
                if not manifest.exists() or b"\n" not in manifest.read_bytes():
                    continue
                raise
            if undone.kept or undone.missing:
                raise AssertionError(f"undo of {name}: {undone}")

    return work


@dataclass(frozen=True)
class Scenario:
    """A command to be killed.

    act : the command
    prepare : what is done before
    again : the same command once more; None for an undo
    resume : what makes the result that an undo took back; None for the others
    outs : the results, in the order to undo them
    has_own_reader : whether images are read in a fresh process, not in a fork
    """

    act: Step
    prepare: tuple[Step, ...] = ()
    again: Step | None = None
    resume: Step | None = None
    outs: tuple[str, ...] = ("out",)
    has_own_reader: bool = False

    @property
    def ways(self) -> tuple[str, ...]:
        """What can be done after a kill."""
        return ("undo", "again" if self.resume is None else "resume")


def first(out: str = "out", **options: Any) -> Scenario:
    return Scenario(run(out, **options), again=run(out, resume=True, **options), outs=(out,))


def taken_back(out: str = "out", **options: Any) -> Scenario:
    return Scenario(
        undo(out), prepare=(run(out, **options),), resume=run(out, resume=True, **options), outs=(out,)
    )


def other_threshold(out: str = "out", threshold: float = 0.55, **options: Any) -> Scenario:
    later = run(out, resume=True, threshold=threshold, **options)
    return Scenario(later, prepare=(run(out, **options),), again=later, outs=(out,))


PARTS = (
    run("one", transfer="move", merge="no"),
    run("two", "photos_b", transfer="move", merge="no"),
)
SCENARIOS = {
    "features, own reader": Scenario(
        run(transfer="none"), again=run(transfer="none", resume=True), has_own_reader=True
    ),
    "orb, exact merge": first(transfer="copy", method="orb", merge="exact", batch_folders=False),
    "move": first(transfer="move"),
    "move, unmerged": first(transfer="move", merge="no"),
    "move across": first("far_out", transfer="move"),
    "copy": first(transfer="copy"),
    "hardlink": first(transfer="hardlink", merge="no"),
    "symlink": first(transfer="symlink", merge="no"),
    "undo of a move": taken_back(transfer="move"),
    "undo of a move across": taken_back("far_out", transfer="move"),
    "undo of a copy": taken_back(transfer="copy", merge="no"),
    "undo of hard links": taken_back(transfer="hardlink", merge="no"),
    "undo of symbolic links": taken_back(transfer="symlink", merge="no"),
    "move, another threshold": other_threshold(transfer="move"),
    "move across, another threshold": other_threshold("far_out", transfer="move"),
    "copy, another threshold": other_threshold(transfer="copy", merge="no"),
    "copy becomes move": Scenario(
        run(transfer="move", resume=True),
        prepare=(run(transfer="copy"),),
        again=run(transfer="move", resume=True),
    ),
    "overwrite": Scenario(
        run(transfer="move", overwrite=True),
        prepare=(run(transfer="copy"),),
        again=run(transfer="move", resume=True),
    ),
    "merge of moves": Scenario(
        merge(), prepare=PARTS, again=merge(resume=True), outs=("merged", "two", "one")
    ),
    "undo of a merge": Scenario(
        undo("merged"), prepare=(*PARTS, merge()), resume=merge(resume=True), outs=("merged", "two", "one")
    ),
}


# What is looked at


State = dict[str, Any]


def state_of(folder: Path) -> State:
    """Return what is in a folder: of a file content, time and mode, of a link where it leads."""
    state: State = {}
    for path in folder.rglob("*"):
        status, name = path.lstat(), str(path.relative_to(folder))
        if stat.S_ISLNK(status.st_mode):
            state[name] = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            state[name] = (path.read_bytes(), status.st_mtime_ns, stat.S_IMODE(status.st_mode))
        else:
            state[name] = "folder"
    return state


def originals_of(world: World) -> dict[str, State]:
    return {name: state_of(world / name) for name in (*ORIGINALS, "elsewhere")}


def result_of(world: World) -> dict[str, State]:
    """Return all that two equal results have in common: the originals too, but no times of tables."""
    states = originals_of(world)
    for out in world.outs:
        states[out.name] = state = state_of(out)
        for name in [name for name in state if name.startswith((".clusterimg/", "manifest"))]:
            if Path(name).name != _files.TEMPORARY:
                del state[name]
        for name in [name for name in state if "/" not in name and state[name] != "folder"]:
            state[name] = state[name][0]
        if "run.json" in state:
            summary = json.loads(state["run.json"])
            for key in ("seconds", "reused"):
                del summary[key]
            del summary["parameters"]["resume"], summary["parameters"]["overwrite"]
            state["run.json"] = summary
    return states


def difference(expected: Mapping[str, State], found: Mapping[str, State]) -> str:
    """Return in which files two groups of folders differ."""
    lines = []
    for place in sorted({*expected, *found}):
        before, now = expected.get(place, {}), found.get(place, {})
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                one, other = (_short(state.get(name)) for state in (before, now))
                lines.append(f"{place}/{name!r}: expected {one}, found {other}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) < 400 else f"{text[:150]} … {text[-150:]} ({zlib.crc32(text.encode()):x})"


def lost(world: World, originals: Mapping[str, State]) -> list[str]:
    """Return which originals are not whole under their old name or one in a result, just now."""
    whole = set()
    for out in world.outs:
        for path in out.rglob("*"):
            if path.name != _files.TEMPORARY and path.is_file() and not path.is_symlink():
                whole.add(path.read_bytes())
    problems = []
    for place in ORIGINALS:
        now = state_of(world / place)
        for name, value in originals[place].items():
            if name in now and now[name] != value:
                problems.append(f"{place}/{name!r} is not what it was: {_short(now[name])}")
            elif name not in now and (isinstance(value, str) or value[0] not in whole):
                problems.append(f"{place}/{name!r} is lost")
        strange = {name for name in now if Path(name).name != _files.TEMPORARY} - set(originals[place])
        problems += [f"{place}/{name!r} was not there" for name in strange]
    return problems


def left_behind(world: World) -> list[str]:
    """Return what an undo should have removed from the results."""
    return [
        f"{out.name}/{name!r} is left behind"
        for out in world.outs
        for name in state_of(out)
        if name.startswith(("result", "batch_"))
    ]


def n_kept(world: World, out: str) -> tuple[int, int]:
    """Return how many features, and pairs of how many batches, are in a result folder."""
    chunks = (world / out / ".clusterimg").glob("features_*.npz")
    n_features = 0
    for chunk in chunks:
        with np.load(chunk) as arrays:
            n_features += len(arrays["stamps"])
    return n_features, len(list((world / out).glob("similarities_batch_?.parquet")))


# One attempt after another


@dataclass
class Trials:
    """The attempts on one scenario, in one world."""

    world: World
    scenario: Scenario
    prepared: dict[str, State]
    finished: dict[str, State]
    originals: dict[str, State]
    points: list[Point]

    @classmethod
    def begin(cls, world: World, scenario: Scenario) -> Trials:
        """Make the world, and see what an unbroken command does there."""
        make_photos(world)
        originals = originals_of(world)
        for step in scenario.prepare:
            done(world, step)
        world.keep()
        world.reset()
        prepared = result_of(world)

        def act(tell: Callable[[str], None]) -> list[Point]:
            watch = Watch(world.roots, None, tell)
            watched(watch, scenario, world)
            return watch.points

        ended_by, told, points = forked(act)
        if ended_by:
            raise AssertionError(f"the unbroken command failed: {told}")
        return cls(world, scenario, prepared, result_of(world), originals, points)

    def attempt(self, point: Point, way: str) -> list[str]:
        """Kill the command at a point, go on in one of the ways, and return what is wrong."""
        world, scenario = self.world, self.scenario
        world.reset()
        ended_by, told, _ = forked(
            lambda tell: watched(Watch(world.roots, point, tell), scenario, world)
        )
        wanted = signal.SIGKILL if point.limit is None else signal.SIGXFSZ
        if ended_by != wanted or told != point.what:
            return [f"it should have been killed, but ended by {ended_by}: {told}"]
        problems = lost(world, self.originals)
        if way != "undo":
            problems += self._go_on(way)
        try:
            done(world, undo(*scenario.outs))
        except AssertionError as error:
            problems.append(str(error))
        problems += [difference(self.originals, originals_of(world)), *left_behind(world)]
        return [problem for problem in problems if problem]

    def _go_on(self, way: str) -> list[str]:
        """Do the command again, or what makes its result; return in what the result differs."""
        step = self.scenario.again if way == "again" else self.scenario.resume
        assert step is not None
        is_first = way == "again" and not self.scenario.prepare
        kept = n_kept(self.world, self.scenario.outs[0]) if is_first else (0, 0)
        try:
            reused = done(self.world, lambda world: dict(step(world).summary["reused"]))
        except AssertionError as error:
            return [str(error)]
        problems = [difference(self.finished if way == "again" else self.prepared, result_of(self.world))]
        if reused["features"] < kept[0] or reused["features"] < 12 and reused["batches"] < kept[1]:
            problems.append(f"{kept} features and batches were there, {reused} were reused")
        return problems


def done(world: World, step: Step) -> Any:
    """Do a step in a process of its own; return what it returns."""

    def work(tell: Callable[[str], None]) -> Any:
        prepare_process(has_own_reader=False)
        value = step(world)
        return value if isinstance(value, dict) else None

    ended_by, told, value = forked(work)
    if ended_by:
        raise AssertionError(f"ended by {ended_by}: {told}")
    return value


def watched(watch: Watch, scenario: Scenario, world: World) -> None:
    """Do what is to be killed."""
    prepare_process(has_own_reader=scenario.has_own_reader, watch=watch)
    watch.begin()
    scenario.act(world)
    watch.end()


def prepare_process(*, has_own_reader: bool, watch: Watch | None = None) -> None:
    batches._CHUNK_IMAGES = 2
    forking = types.SimpleNamespace(Popen=partial(ForkedReader, watch=watch), PIPE=subprocess.PIPE)
    _reader_process.subprocess = subprocess if has_own_reader else forking


class ForkedReader:
    """The process that reads images as a fork of this one: a fresh interpreter would take most of the time."""

    def __init__(self, command: list[str], *, stderr: Any, watch: Watch | None, **_: Any) -> None:
        there, self_out = os.pipe()
        self_in, back = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if watch is not None:
                    watch._is_on = False
                for target, handle in enumerate((there, back, stderr.fileno())):
                    os.dup2(handle, target)
                os.closerange(3, 1000)  # above all the lock on the result folder
                from clusterimg._reader_child import main

                main()
            finally:
                os._exit(1)
        os.close(there)
        os.close(back)
        self.stdin, self.stdout = open(self_out, "wb", 0), open(self_in, "rb", 0)  # noqa: PTH123, SIM115

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> ForkedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        os.waitpid(self.pid, 0)


# Faults, planted to see that they are found


def _unlink_first(source: Path, target: Path) -> None:
    content = source.read_bytes()
    source.unlink()
    target.write_bytes(content)


def _copy_in_place(source: Path, target: Path) -> None:
    shutil.copy2(source, target)


def _replace(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    source.unlink()


def plant(fault: str) -> None:
    """Break the program."""
    if fault == "source goes first":
        _handover.HAND_OVER = {**_handover.HAND_OVER, "move": _unlink_first}
    elif fault == "undo: source goes first":
        undoing.move = _unlink_first
    elif fault == "copied in place":
        _handover.HAND_OVER = {**_handover.HAND_OVER, "copy": _copy_in_place, "move": _replace}
    elif fault == "undo: copied in place":
        undoing.move = _replace
    elif fault == "late manifest":
        commit = _manifest.Manifest.commit
        _manifest.Manifest.commit = lambda self: commit(self) if len(self._pending) > 30 else None
    elif fault == "moves are not finished":
        _handover.finish_move = lambda source, target: True
    elif fault == "features are not found":
        batches.Store.find = lambda self, files, stamps=None: [None] * len(files)
    else:
        raise SystemExit(f"no such fault: {fault}")


FAULTS = {
    "source goes first": "move",
    "undo: source goes first": "undo of a move",
    "copied in place": "move across",
    "undo: copied in place": "undo of a move across",
    "late manifest": "move",
    "moves are not finished": "move",
    "features are not found": "copy",
}
"""Each fault, and a scenario that must show it."""


def chosen(points: list[Point], every: int, name: str) -> list[tuple[int, Point, str]]:
    """Return a part of the points, evenly spread, each with its number and whether it is to be undone."""
    start = zlib.crc32(name.encode()) % every
    ways = SCENARIOS[name].ways
    part = list(enumerate(points))[start::every]
    return [(number, point, ways[k % 2]) for k, (number, point) in enumerate(part)]


def trials(place: tuple[Path, Path], name: str, worker: int, every: int, at: int | None) -> dict[str, Any]:
    """Do the share of one worker."""
    near, far = (folder / f"{name} {worker}" for folder in place)
    attempts = Trials.begin(World(near, far), SCENARIOS[name])
    points = attempts.points
    todo = chosen(points, every, name)[worker::N_WORKERS]
    if at is not None:
        todo = [(at, points[at], way) for way in SCENARIOS[name].ways]
    failures = []
    for number, point, way in todo:
        for problem in attempts.attempt(point, way):
            failures.append(f"{name}, point {number} ({point.what}), then {way}: {problem}")
    kinds = Counter(point.what for _, point, _ in todo)
    cut = sum(point.limit is not None for _, point, _ in todo)
    return {"n_points": len(points), "kinds": kinds, "cut": cut, "failures": failures}


def warm_up(place: tuple[Path, Path]) -> None:
    """Do once in this process what imports all that the forks will need."""
    from clusterimg import _reader_child, joining  # noqa: F401

    world = World(*(folder / "warm" for folder in place))
    make_photos(world)
    prepare_process(has_own_reader=False)
    run(transfer="move")(world)
    undo("out")(world)
    for path in sorted((world / "photos").glob("*.*")):
        with suppress(ci.ImageError):
            read_item(path, create("imagehash"), select("auto", n_threads=1))
    n_threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if n_threads > 1:  # their locks would stay locked in a fork
        raise SystemExit(f"the process to be forked has {n_threads} threads")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--at", type=int)
    parser.add_argument("--fault")
    options = parser.parse_args()
    start = time.monotonic()
    place = options.folder.resolve(), options.other.resolve()
    warm_up(place)
    if options.fault:
        plant(options.fault)
    parts = list(_shared_out(place, options))
    kinds: Counter[str] = Counter()
    for part in parts:
        kinds.update(part["kinds"])
    report = {
        "n_points": parts[0]["n_points"],
        "kills": kinds.total(),
        "cut": sum(part["cut"] for part in parts),
        "kinds": kinds,
        "failures": [failure for part in parts for failure in part["failures"]],
        "seconds": round(time.monotonic() - start, 1),
    }
    json.dump(report, sys.stdout)


def _shared_out(place: tuple[Path, Path], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Give the reports of the workers, which work at the same time."""
    pipes = []
    for worker in range(1 if options.at is not None else N_WORKERS):
        here, there = os.pipe()
        if os.fork() == 0:
            os.close(here)
            work = partial(trials, place, options.scenario, worker, options.every, options.at)
            ended_by, told, report = forked(lambda tell, work=work: work())
            with open(there, "w") as pipe:  # noqa: PTH123
                json.dump({"error": told} if ended_by else report, pipe)
            os._exit(0)
        os.close(there)
        pipes.append(here)
    for here in pipes:
        with open(here) as pipe:  # noqa: PTH123
            report = json.load(pipe)
        if "error" in report:
            raise SystemExit(report["error"])
        yield report


if __name__ == "__main__":
    main()
