"""Measures everything and writes the tables and plots of benchmarks/README.md.

python benchmarks/write.py                kernels, ratios to peers, stages of a run
python benchmarks/write.py peers          only those: any of kernels, peers, pipeline
python benchmarks/whole_runs.py --write   accuracy, overhead, memory: needs CLUSTERIMG_DATA
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import plots
import readme

HERE = Path(__file__).parent
LIBRARIES = (
    *("numpy", "opencv-python-headless", "Pillow", "scikit-image", "ImageHash", "datasketch", "scipy"),
    *("faiss-cpu", "numba"),
)
Benchmarks = list[dict[str, Any]]


def measured(suite: str) -> Benchmarks:
    """Run one file of benchmarks and return what it recorded; its own output goes to the terminal."""
    with tempfile.TemporaryDirectory() as temporary:
        found = Path(temporary, "found.json")
        subprocess.run(
            [sys.executable, "-m", "pytest", HERE / f"bench_{suite}.py", f"--benchmark-json={found}", "-q"],
            check=True,
            cwd=HERE.parent,
            # One thread for libraries that would take all: the peers are timed as we are.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        benchmarks: Benchmarks = json.loads(found.read_text())["benchmarks"]
        return benchmarks


def machine() -> Iterator[str]:
    """Yield what it was measured on."""
    from clusterimg import backends

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    report = backends.select("cpp").report
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    yield (
        f"Machine: {processor()}, {report.n_threads} cores for us, shared with other work; "
        f"{platform.system()}, Python {platform.python_version()}. Core: {report.isa}. "
        f"Commit {commit or 'unknown'}."
    )
    yield f"Libraries: {', '.join(versions)}."


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    names = [facts.get(name, "?") for name in ("model name", "cpu family", "model")]
    return "{} (family {}, model {})".format(*names)


def peers() -> Iterator[str]:
    """Yield the table of ratios."""
    yield "| kernel | peer | prototype | goal | reached | least to most | ours, pairs/s | peer, pairs/s |"
    yield "|---|---|---|---|---|---|---|---|"
    for benchmark in measured("peers"):
        for row in benchmark["extra_info"]["ratios"]:
            asked = (f"{row[name]:g}×" if row[name] else "" for name in ("prototype", "goal"))
            note = f" ({row['note']})" if row["note"] else ""
            yield (
                f"| {row['kernel']}{note} | {row['peer']} | {' | '.join(asked)} "
                f"| **{figure(row['ratio'])}×** | {figure(row['least'])} to {figure(row['most'])} "
                f"| {row['ours_rate']:.3g} | {row['theirs_rate']:.3g} |"
            )


def figure(value: float) -> str:
    """Return two digits below ten, else whole numbers."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def kernels() -> Iterator[str]:
    """Yield a table for each kernel: pairs a second by backend and by number of images."""
    found = [benchmark for benchmark in measured("kernels") if benchmark["extra_info"]]
    rows = [{**b["extra_info"], "seconds": b["stats"]["median"]} for b in found]
    plots.pairs_per_second(rows, HERE / "pairs_per_second.svg")
    yield "![pairs per second by number of images](pairs_per_second.svg)"
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        yield from ["", f"**{case}**", "", "| images | backend | threads | pairs/s | first call, s |"]
        yield "|---|---|---|---|---|"
        for row in of_case:
            yield (
                f"| {row['n_images']} | {row['backend']} | {row['n_threads']} "
                f"| {row['pairs'] / row['seconds']:.3g} | {row['first_call']:.2g} |"
            )


def pipeline() -> Iterator[str]:
    """Yield the seconds of each stage of a whole run."""
    found = [benchmark["extra_info"] for benchmark in measured("pipeline")]
    stages = list(dict.fromkeys(stage for row in found for run in row["seconds"] for stage in run))
    yield f"{found[0]['n_images']} JPEGs of 500x375, two threads, seconds on the clock, median of three."
    yield ""
    yield f"| method | {' | '.join(stages)} |"
    yield "|---" * (len(stages) + 1) + "|"
    for row in found:
        medians = (sorted(run.get(stage, 0.0) for run in row["seconds"])[1] for stage in stages)
        yield f"| {row['method']} | {' | '.join(f'{seconds:.2f}' for seconds in medians)} |"


SUITES = {"kernels": kernels, "peers": peers, "pipeline": pipeline}


def main() -> None:
    chosen = sys.argv[1:] or list(SUITES)
    if not set(chosen) <= set(SUITES):
        raise SystemExit(f"choose of {', '.join(SUITES)}")
    readme.replace("machine", machine())
    for suite in chosen:
        readme.replace(suite, SUITES[suite]())


if __name__ == "__main__":
    main()
