"""Whole runs: accuracy, CPU time and memory of `python -m clusterimg run`, as processes of their own.

    CLUSTERIMG_DATA=… python benchmarks/whole_runs.py [accuracy] [overhead] [memory] [resume] [--write]

prints tables in Markdown; with `--write` they replace those in benchmarks/README.md.

accuracy: every method at its defaults on the sets with known groups, alone and among distractors.
overhead: a run with `imagehash` against a bare process that decodes the same files, in turn.
memory:   peak memory of `ssim` on 10,000 images at 64 pixels.
resume:   a second run in the same result folder, with the same and with another threshold.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import readme

SETS = ("copies_dev", "real_series_dev")
DISTRACTORS = "tiny_pool_dev"
METHODS = ("imagehash", "ssim", "minhash", "tm", "orb")
SEED = 0


@dataclass(frozen=True)
class Spent:
    """What a finished process took."""

    cpu: float
    peak_mib: float
    stdout: str


def call(*command: object) -> Spent:
    """Run a command to its end and return what it took."""
    # As where a person installed us: compiled once, not in each process.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}")
        out.seek(0)
        return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode())


def clusterimg(*arguments: object) -> Spent:
    return call(sys.executable, "-m", "clusterimg", *arguments)


# --- accuracy ---


def accuracy(data: Path) -> Iterator[str]:
    """Yield the lines of the table: one row a method and set, alone and with distractors."""
    yield "| set | method | threshold | precision | recall | F1 | ARI | CPU s | peak MiB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in SETS:
        for distractors in (False, True):
            with tempfile.TemporaryDirectory() as temporary:
                labels = gather(data, name, distractors, Path(temporary) / "images")
                for method in METHODS:
                    yield _accuracy_row(name, distractors, method, labels)


def gather(data: Path, name: str, distractors: bool, folder: Path) -> Path:
    """Link the images of a set, and of the pool, into a folder; return their labels.

    Each image of the pool is a group of its own.
    """
    folder.mkdir()
    groups = {}
    for row in _rows(data / name / "labels.csv"):
        (folder / row["file"]).symlink_to(data / name / row["file"])
        groups[row["file"]] = row["group"]
    if distractors:
        for row in _rows(data / DISTRACTORS / "labels.csv"):
            file = f"pool_{row['file']}"
            (folder / file).symlink_to(data / DISTRACTORS / row["file"])
            groups[file] = file
    labels = folder.with_name("labels.csv")
    with labels.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("file", "group"), *groups.items()])
    return labels


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _accuracy_row(name: str, distractors: bool, method: str, labels: Path) -> str:
    out = labels.with_name(f"result_{method}")
    spent = clusterimg(
        *("run", labels.with_name("images"), "--out", out, "--method", method),
        *("--transfer", "none", "--json"),
    )
    threshold = json.loads(spent.stdout)["parameters"]["threshold"]
    found = json.loads(clusterimg("evaluate", out, labels, "--json").stdout)
    shown = f"{name} + {DISTRACTORS}" if distractors else name
    scores = " | ".join(f"{found[score]:.3f}" for score in ("precision", "recall", "f1", "ari"))
    return f"| {shown} | {method} | {threshold:g} | {scores} | {spent.cpu:.1f} | {spent.peak_mib:.0f} |"


# --- overhead ---

DECODE_ONLY = """
import sys, pathlib, cv2
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    assert cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) is not None
"""


def overhead(data: Path, *, n_images: int = 1000, rounds: int = 7) -> Iterator[str]:
    """Yield the lines of the table: CPU time of a run over that of decoding alone, in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        mean_bytes = make_photos(data, folder, n_images)
        ours, bare = [], []
        for k in range(rounds):
            bare.append(call(sys.executable, "-c", DECODE_ONLY, folder).cpu)
            out = Path(temporary) / f"result_{k}"
            ours.append(
                clusterimg(
                    *("run", folder, "--out", out, "--method", "imagehash"),
                    *("--transfer", "none", "--threads", 1, "--quiet"),
                ).cpu
            )
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    size = f"{mean_bytes / 1000:.0f} kB"
    yield f"{n_images} JPEGs of 500x375, {size} each, one thread, {rounds} rounds in turn."
    yield ""
    yield "| process | CPU s, median | least to most |"
    yield "|---|---|---|"
    for name, spent in (("decode to grey with cv2, nothing else", bare), ("run --method imagehash", ours)):
        yield f"| {name} | {statistics.median(spent):.2f} | {min(spent):.2f} to {max(spent):.2f} |"
    yield ""
    yield f"Ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}."


def make_photos(data: Path, folder: Path, n_images: int) -> float:
    """Write JPEGs of 500x375 cut from the photos of `copies_dev`; return their mean size in bytes."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    rows = [
        row for row in _rows(data / "copies_dev" / "labels.csv") if row["variant"] in ("original", "single")
    ]
    sizes = []
    for k in range(n_images):
        photo = cv2.imread(str(data / "copies_dev" / rows[k % len(rows)]["file"]))
        height, width = photo.shape[:2]
        y, x = (int(rng.integers(0, max(1, side // 10))) for side in (height, width))
        photo = cv2.resize(photo[y:, x:], (500, 375), interpolation=cv2.INTER_CUBIC)
        photo = np.clip(photo + rng.normal(0, 8, photo.shape), 0, 255).astype(np.uint8)
        path = folder / f"{k:04}.jpg"
        cv2.imwrite(str(path), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
        sizes.append(path.stat().st_size)
    return statistics.mean(sizes)


# --- memory ---


def memory(data: Path, *, n_images: int = 10_000) -> Iterator[str]:
    """Yield the lines of the table: peak memory of ssim on distinct images at 64 pixels."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        rng = np.random.default_rng(SEED)
        pool = [str(data / DISTRACTORS / row["file"]) for row in _rows(data / DISTRACTORS / "labels.csv")]
        for k in range(n_images):
            image = cv2.imread(pool[k % len(pool)], cv2.IMREAD_GRAYSCALE)
            image = np.roll(image, (k // len(pool)) * 16, axis=1)  # distinct, and no longer similar
            image = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{k:05}.jpg"), image)
        out = Path(temporary) / "result"
        spent = clusterimg(
            *("run", folder, "--out", out, "--method", "ssim", "--size", "64x64"),
            *("--transfer", "none", "--json"),
        )
        summary = json.loads(spent.stdout)
    width, height = summary["method_parameters"]["size"]
    features = n_images * width * height / 2**20
    yield "| images | features MiB | peak MiB | peak less features | similar pairs | CPU s |"
    yield "|---|---|---|---|---|---|"
    yield (
        f"| {n_images} at {width}x{height} | {features:.0f} | {spent.peak_mib:.0f} | "
        f"{spent.peak_mib - features:.0f} | {summary['counts']['pairs']} | {spent.cpu:.0f} |"
    )


# --- resume ---


def resume(data: Path, *, rounds: int = 3) -> Iterator[str]:
    """Yield the lines of the table: what a second run in the same result folder costs."""
    runs = {
        "first run, > .63": ("--threshold", ".63", "--overwrite"),
        "the same again, --resume": ("--threshold", ".63", "--resume"),
        "--resume with > .70": ("--threshold", ".70", "--resume"),
        "first run, > .70": ("--threshold", ".70", "--overwrite"),
    }
    spent: dict[str, list[tuple[Spent, dict[str, Any]]]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as temporary:
        folder = gather(data, SETS[0], True, Path(temporary) / "images").with_name("images")
        common = ("--method", "ssim", "--transfer", "none", "--out", folder.with_name("result"), "--json")
        for _ in range(rounds):
            for name, options in runs.items():
                run = clusterimg("run", folder, *common, *options)
                spent[name].append((run, json.loads(run.stdout)))
    n_images = spent["first run, > .63"][0][1]["counts"]["images"]
    yield f"{n_images} images, `ssim`, two threads, {rounds} rounds in turn, medians."
    yield ""
    yield "| run | CPU s | features, s | pairs, s | features used again | similar pairs |"
    yield "|---|---|---|---|---|---|"
    for name, found in spent.items():
        seconds = [summary["seconds"] for _, summary in found]
        reused, counts = found[0][1]["reused"], found[0][1]["counts"]
        yield (
            f"| {name} | {statistics.median(run.cpu for run, _ in found):.2f} | "
            f"{statistics.median(s.get('features', 0.0) for s in seconds):.2f} | "
            f"{statistics.median(s.get('pairs', 0.0) for s in seconds):.2f} | "
            f"{reused['features']} | {counts['pairs']} |"
        )


# --- what was asked for ---

PARTS: dict[str, Callable[[Path], Iterator[str]]] = {
    "accuracy": accuracy,
    "overhead": overhead,
    "memory": memory,
    "resume": resume,
}


if __name__ == "__main__":
    readme.run_parts(__doc__, PARTS)
