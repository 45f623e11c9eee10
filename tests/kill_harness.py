"""Runs, undos and merges are killed at their points, one after another, and what is left is looked at.

    python tests/kill_harness.py FOLDER OTHER                        requests come by standard input
    python tests/kill_harness.py FOLDER OTHER '{"scenario": "move", "every": 10}'

FOLDER and OTHER are folders on two file systems, or the scenarios that move files across are no use. A
request is a JSON object with the keys of `Request`; the answer is one too, in one line.

A process that holds one thread only is warmed up, and forked for each attempt, so that an attempt costs
little. Right after the kill every original must be whole, under its old name or, as to its content, in the
result. Then one of

    undo      every original is back as it was, and nothing else is in its folder
    again     the same command, with resume: the result equals that of an unbroken run; then undo
    resume    of a killed undo: the result is again what it was before; then undo
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import types
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import clusterimg as ci
from clusterimg import _files, _reader_child, _reader_process, _reading
from clusterimg.backends import select
from clusterimg.extraction import read_item
from clusterimg.methods import create
from kill_points import Point, Watch, forked
from kill_scenarios import (
    FAULTS,
    N_IMAGES,
    ORIGINALS,
    SCENARIOS,
    Scenario,
    Step,
    World,
    make_photos,
    run,
    undo,
)

N_WORKERS = 2


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
        for name in [name for name in state if name.startswith("report/") and state[name] != "folder"]:
            state[name] = "data" if name == "report/data.js" else state[name][0]  # which tells of times
        if "run.json" in state:
            summary = json.loads(state["run.json"])
            for key in ("seconds", "plans", "reused"):
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
class Attempts:
    """The attempts on one scenario, in one world."""

    world: World
    scenario: Scenario
    prepared: dict[str, State]
    finished: dict[str, State]
    originals: dict[str, State]
    points: list[Point]

    @classmethod
    def begin(cls, world: World, scenario: Scenario) -> Attempts:
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
        ended_by, told, _ = forked(lambda tell: watched(Watch(world.roots, point, tell), scenario, world))
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
        if reused["features"] < kept[0] or (reused["features"] < N_IMAGES and reused["batches"] < kept[1]):
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
    _reading._CHUNK_IMAGES = 2
    forking = {**vars(subprocess), "Popen": partial(ForkedReader, watch=watch)}
    _reader_process.subprocess = subprocess if has_own_reader else types.SimpleNamespace(**forking)


class ForkedReader:
    """The process that reads images, forked: to start a fresh interpreter would take most of the time."""

    def __init__(
        self, command: list[str], *, watch: Watch | None, stderr: Any, pass_fds: Sequence[int] = (), **_: Any
    ) -> None:
        there, to = os.pipe()
        back, from_there = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                if watch is not None:
                    watch.is_on = False
                for target, handle in enumerate((there, from_there, stderr.fileno())):
                    os.dup2(handle, target)
                for handle in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *pass_fds}:  # noqa: PTH208
                    with suppress(OSError):
                        os.close(handle)  # above all the lock on the result folder
                _reader_child.main()
            finally:
                os._exit(1)
        os.close(there)
        os.close(from_there)
        self.stdin, self.stdout = open(to, "wb", 0), open(back, "rb", 0)  # noqa: PTH123, SIM115

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 0) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> ForkedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()


# Requests


class Request(NamedTuple):
    """What to do.

    scenario : its name
    every : how many points there are for one that is tried
    what : only points of this text; empty for all
    at : only the point of this number; both ways are tried
    fault : to plant; empty for none
    """

    scenario: str
    every: int = 1
    what: str = ""
    at: int | None = None
    fault: str = ""

    def chosen(self, points: Sequence[Point]) -> list[tuple[int, Point, str]]:
        """Return the points to try, evenly spread, with their numbers, and the way to go on from each."""
        ways = SCENARIOS[self.scenario].ways
        if self.at is not None:
            return [(self.at, points[self.at], way) for way in ways]
        numbered = [(k, point) for k, point in enumerate(points) if self.what in ("", point.what)]
        start = zlib.crc32(self.scenario.encode()) % min(self.every, len(numbered))
        return [
            (k, point, ways[n // N_WORKERS % 2]) for n, (k, point) in enumerate(numbered[start :: self.every])
        ]


def answer(request: Request, place: tuple[Path, Path]) -> dict[str, Any]:
    """Do what is asked in several processes at a time; return counts, and what went wrong."""
    start = time.monotonic()
    parts = _shared_out(request, place)
    kinds: Counter[str] = sum((Counter(part["kinds"]) for part in parts), Counter())
    return {
        "n_points": parts[0]["n_points"],
        "kills": kinds.total(),
        "cut": sum(part["cut"] for part in parts),
        "kinds": kinds,
        "failures": [failure for part in parts for failure in part["failures"]],
        "seconds": round(time.monotonic() - start, 1),
    }


def _shared_out(request: Request, place: tuple[Path, Path]) -> list[dict[str, Any]]:
    """Return the reports of the workers."""
    pipes = []
    for worker in range(N_WORKERS):
        here, there = os.pipe()
        if os.fork() == 0:
            work = partial(_share, request, place, worker)
            ended_by, told, report = forked(lambda tell, work=work: work())
            with os.fdopen(there, "w") as pipe:
                json.dump({"error": told} if ended_by else report, pipe)
            os._exit(0)
        os.close(there)
        pipes.append(here)
    reports = []
    for here in pipes:
        with os.fdopen(here) as pipe:
            reports.append(json.load(pipe))
        os.wait()
    if errors := [report["error"] for report in reports if "error" in report]:
        raise SystemExit(errors[0])
    return reports


def _share(request: Request, place: tuple[Path, Path], worker: int) -> dict[str, Any]:
    """Do the share of one worker."""
    name = request.scenario
    world = World(*(folder / f"world {worker}" for folder in place))
    if request.fault:
        FAULTS[request.fault].plant()
    attempts = Attempts.begin(world, SCENARIOS[name])
    todo = request.chosen(attempts.points)[worker::N_WORKERS]
    failures = []
    for number, point, way in todo:
        problems = attempts.attempt(point, way)
        failures += [f"{name}, point {number} ({point.what}), then {way}: {problem}" for problem in problems]
    world.remove()
    kinds = Counter(point.what for _, point, _ in todo)
    cut = sum(point.limit is not None for _, point, _ in todo)
    return {"n_points": len(attempts.points), "kinds": kinds, "cut": cut, "failures": failures}


def warm_up(place: tuple[Path, Path]) -> None:
    """Do once in this process what imports all that the forks will need."""
    from clusterimg import joining  # noqa: F401

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
    place = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    warm_up(place)
    for line in sys.argv[3:] or sys.stdin:
        print(json.dumps(answer(Request(**json.loads(line)), place)), flush=True)


if __name__ == "__main__":
    main()
