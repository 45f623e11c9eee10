"""Every fault that is planted in our kernels is told by the emulation, and none where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import emulated
import planted
import pytest

PLANTS = planted.plants()

# Barriers that may be left out, and why: another one follows before what they guard is written again.
SUPERFLUOUS = {
    "no barrier sink.cuh 2": "in `keep` another barrier comes before the sums are written again",
    "no barrier sink.cuh 4": "the next `keep` begins with a vote",
    "no barrier descriptor.cuh 3": "`compare` begins with a barrier",
    "no barrier sliding.cuh 7": "a thread knows of a lower cut later; the vote keeps the sums apart",
    "no barrier sliding.cuh 8": "the loop ends with a barrier or a vote",
    "no barrier sliding.cuh 9": "a score that is kept passes a vote first; of others 1 is as good an error",
}


@pytest.fixture(scope="module")
def told() -> dict[int, str]:
    """How each fault was told, by its number; under 0 what failed without any."""
    reason = emulated.why_not()
    if reason is not None:
        pytest.skip(reason)
    if emulated.SANITIZE:
        pytest.skip("faults are told by results, not by a sanitizer")
    module = emulated.build(emulated.BUILT, changed=planted.changed(PLANTS))
    script = Path(planted.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(module)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[int, str] = {}
    for number, how in json.loads(done.stdout):
        told[number] = told.get(number, "") + how
    return told


def test_nothing_is_told_without_a_fault(told: dict[int, str]) -> None:
    assert told[0] == ""


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_planted_fault_is_told(told: dict[int, str], plant: planted.Plant) -> None:
    how = told[plant.number]
    known = [reason for name, reason in SUPERFLUOUS.items() if plant.name.startswith(f"{name}:")]
    if known:
        assert how == "", f"not superfluous ({known[0]}): {how}"
        return
    assert how != "", "nothing told this fault: is the code run, is the barrier needed?"
    if plant.kind == "divergent barrier":
        assert "divergent barrier" in how
    if plant.kind == "wrong mask":
        assert "leaves out" in how or "mask" in how


def test_superfluous_barriers_are_there() -> None:
    names = [plant.name for plant in PLANTS]
    assert [name for name in SUPERFLUOUS if not any(each.startswith(f"{name}:") for each in names)] == []
