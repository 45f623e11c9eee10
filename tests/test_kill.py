"""Processes killed at every kind of step: no original is lost, and all can be undone or gone on with.

Every `CLUSTERIMG_KILLS`-th point of each scenario is tried, of some 3,000; `all` for every one. A kill shows
what is in the folders when a process ends without a word; it can't show what a power cut would, since what
was written and not yet synced is still there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kill_scenarios import FAULTS, SCENARIOS

EVERY = os.environ.get("CLUSTERIMG_KILLS", "30")
MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and fork")

Harness = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two folders: in memory, which is quicker, and on the disk; both on the disk where there is no other."""
    disk = tmp_path_factory.mktemp("disk")
    if os.access(MEMORY, os.W_OK):
        memory = Path(tempfile.mkdtemp(dir=MEMORY))
        yield memory, disk
        shutil.rmtree(memory)
    else:
        yield tmp_path_factory.mktemp("same_disk"), disk


@pytest.fixture(scope="module")
def harness(places: tuple[Path, Path]) -> Iterator[Harness]:
    """A process that is forked for each attempt, so it must have no threads, and so is not this one."""
    alone = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    script = Path(__file__).with_name("kill_harness.py")
    with subprocess.Popen(
        [sys.executable, script, *places],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **alone},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        to, back = process.stdin, process.stdout

        def ask(**request: Any) -> dict[str, Any]:
            print(json.dumps(request), file=to, flush=True)
            line = back.readline()
            assert line, "the harness has ended"
            answer: dict[str, Any] = json.loads(line)
            return answer

        yield ask
        to.close()


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, Any]]:
    """What the harness said of each scenario."""
    return {}


def skip_if_same_device(name: str, places: tuple[Path, Path]) -> None:
    near, far = places
    if "across" in name and near.stat().st_dev == far.stat().st_dev:
        pytest.skip("there is one file system here")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_loses_nothing(
    name: str,
    harness: Harness,
    places: tuple[Path, Path],
    reports: dict[str, dict[str, Any]],
    record_property: Callable[[str, object], None],
) -> None:
    skip_if_same_device(name, places)
    report = harness(scenario=name, every=1 if EVERY == "all" else int(EVERY))
    failures = report.pop("failures")
    reports[name] = report
    for key, value in report.items():
        record_property(key, value)
    assert not failures, "\n".join(failures)
    assert report["kills"] > 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, harness: Harness, places: tuple[Path, Path]) -> None:
    fault = FAULTS[name]
    skip_if_same_device(fault.scenario, places)
    report = harness(scenario=fault.scenario, what=fault.what, every=3, fault=name)
    assert any(re.search(fault.problem, failure) for failure in report["failures"]), report


def test_kills_are_spread_over_all_kinds_of_operations(
    reports: dict[str, dict[str, Any]], record_property: Callable[[str, object], None]
) -> None:
    if len(reports) < len(SCENARIOS):
        pytest.skip("not all scenarios were tried")
    kinds = sum((Counter(report["kinds"]) for report in reports.values()), Counter[str]())
    n_kills, n_cut = kinds.total(), sum(report["cut"] for report in reports.values())
    record_property("kills", n_kills)
    record_property("kills in the middle of a write", n_cut)
    record_property("kills by operation", dict(kinds))
    for name, report in reports.items():
        print(f"{name:32} {report['kills']:5} of {report['n_points']:4} points, {report['seconds']:5} s")
    print(f"{n_kills} kills, {n_cut} of them in the middle of a write: {dict(sorted(kinds.items()))}")
    wanted = {
        "manifest": {"fsync manifest", "write manifest"},
        "tables": {"rename table", "write table"},
        "features": {"rename state", "write state"},
        "moves": {"link result", "remove original"},
        "moves back": {"link original", "remove result"},
        "copies": {"write result", "rename result", "write original"},
        "links": {"symlink result"},
    }
    for what, some in wanted.items():
        assert kinds.keys() & some, what
