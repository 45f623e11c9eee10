"""What decoding costs, and what `--decode fast` and one decode for several methods save.

    CLUSTERIMG_DATA=… python benchmarks/bench_decode.py [PART …] [--write]

prints tables in Markdown; with `--write` they replace those in benchmarks/README.md.

decode-cost:     CPU time with `exact` and with `fast`, in turn: whole runs; decode and extract alone.
decode-accuracy: every method at its defaults, with `exact` and with `fast`.
together:        five methods in one call against five calls.
stages:          where the time of an image goes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import clusterimg as ci
import readme
from clusterimg import images
from clusterimg.backends import select
from clusterimg.methods import create
from whole_runs import METHODS, SEED, SETS, clusterimg, gather, make_photos

LARGE = (4000, 3000)


def cpu_of(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


# --- exact against fast ---


def cost(data: Path, *, rounds: int = 5) -> Iterator[str]:
    """Yield the lines of the table: medians of CPU seconds with exact and fast, in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary, "small"), Path(temporary, "large")
        sizes = {
            f"1000 of 500x375, {make_photos(data, small, 1000) / 1000:.0f} kB": small,
            f"30 of {LARGE[0]}x{LARGE[1]}, {_make_large(small, large, 30) / 1e6:.1f} MB": large,
        }
        yield f"One thread, {rounds} rounds in turn, medians of CPU seconds."
        yield ""
        yield "| JPEGs | what | exact | fast | fast / exact |"
        yield "|---|---|---|---|---|"
        for shown, folder in sizes.items():
            yield _cost_row(shown, "run --method imagehash", lambda how, f=folder: _run(f, how), rounds)
            paths = sorted(folder.iterdir())
            for method in METHODS:

                def extract(how: str, paths: list[Path] = paths, method: str = method) -> float:
                    return cpu_of(lambda: ci.extract(paths, method=method, decode=how, n_threads=1))

                yield _cost_row(shown, f"decode, extract: {method}", extract, rounds)


def _cost_row(shown: str, what: str, spend: Callable[[str], float], rounds: int) -> str:
    spent = [[spend(how) for how in images.DECODES] for _ in range(rounds)]
    exact, fast = (statistics.median(column) for column in zip(*spent, strict=True))
    ratio = statistics.median(b / a for a, b in spent)
    return f"| {shown} | {what} | {exact:.2f} | {fast:.2f} | {ratio:.2f} |"


def _run(folder: Path, how: str) -> float:
    with tempfile.TemporaryDirectory() as out:
        options = ("--transfer", "none", "--threads", 1, "--quiet", "--decode", how)
        return clusterimg("run", folder, "--out", out, "--method", "imagehash", *options).cpu


def _make_large(small: Path, folder: Path, n_images: int) -> float:
    """Write photos enlarged, with the grain of a camera; return their mean size in bytes."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    sizes = []
    for path in sorted(small.iterdir())[:n_images]:
        photo = cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 1.2)
        photo = cv2.resize(photo, LARGE, interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 4, photo.shape).astype(np.float32)
        photo = np.clip(photo + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / path.name), photo, [cv2.IMWRITE_JPEG_QUALITY, 90])
        sizes.append((folder / path.name).stat().st_size)
    return statistics.mean(sizes)


def accuracy(data: Path) -> Iterator[str]:
    """Yield the lines of the table: precision, recall and F1 at the default thresholds."""
    yield "| set | method | decode | precision | recall | F1 | JPEGs reduced |"
    yield "|---|---|---|---|---|---|---|"
    for name in SETS:
        with tempfile.TemporaryDirectory() as temporary:
            labels = gather(data, name, False, Path(temporary) / "images")
            for method in METHODS:
                for how in images.DECODES:
                    yield _accuracy_row(name, method, how, labels)


def _accuracy_row(name: str, method: str, how: str, labels: Path) -> str:
    out = labels.with_name(f"{method}_{how}")
    options = ("--transfer", "none", "--json", "--decode", how)
    run = clusterimg("run", labels.with_name("images"), "--out", out, "--method", method, *options)
    counts: dict[str, int] = json.loads(run.stdout)["counts"]["decoders"]
    reduced = sum(count for decoder, count in counts.items() if "/" in decoder)
    found = json.loads(clusterimg("evaluate", out, labels, "--json").stdout)
    scores = " | ".join(f"{found[score]:.3f}" for score in ("precision", "recall", "f1"))
    return f"| {name} | {method} | {how} | {scores} | {reduced} of {sum(counts.values())} |"


# --- several methods ---


def together(data: Path, *, n_images: int = 300, rounds: int = 5) -> Iterator[str]:
    """Yield the lines of the table: CPU seconds of one call for five methods, and of five calls."""
    paths = sorted((data / SETS[0]).glob("*.jpg"))[:n_images]

    def at_once(methods: Sequence[str]) -> float:
        return cpu_of(lambda: ci.extract(paths, method=list(methods), n_threads=1))

    sets = {"all five": METHODS, "all but orb": [method for method in METHODS if method != "orb"]}
    yield f"{len(paths)} JPEGs of `{SETS[0]}`, one thread, {rounds} rounds in turn, medians of CPU seconds."
    yield ""
    yield "| methods | one by one | in one call | in one call / one by one |"
    yield "|---|---|---|---|"
    for shown, methods in sets.items():
        spent = [(sum(at_once([method]) for method in methods), at_once(methods)) for _ in range(rounds)]
        apart, joined = (statistics.median(column) for column in zip(*spent, strict=True))
        ratio = statistics.median(b / a for a, b in spent)
        yield f"| {shown} | {apart:.2f} | {joined:.2f} | {ratio:.2f} |"


# --- one image ---


def stages(data: Path, *, n_images: int = 200, rounds: int = 7) -> Iterator[str]:
    """Yield the lines of the table: microseconds of CPU time for an image, by stage."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        make_photos(data, folder, n_images)
        files = sorted(folder.iterdir())
        contents = [path.read_bytes() for path in files]
        greys = [images.decode_bytes(content).grey for content in contents]
        work: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
            "cv2.imdecode": (lambda d: cv2.imdecode(np.frombuffer(d, np.uint8), 0), contents),
            "read the file": (images.read, files),
            "header": (images.read_jpeg, contents),
            "digest": (images.digest, greys),
        }
        engine = select(n_threads=1)
        for name in METHODS:
            method = create(name)
            work[f"feature: {name}"] = (lambda grey, method=method: method.extract(grey, engine), greys)
        spent: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, (function, items) in work.items():
                spent[name].append(cpu_of(lambda f=function, items=items: [f(item) for item in items]))
    yield f"{n_images} JPEGs of 500x375, one thread, {rounds} rounds in turn, medians."
    yield ""
    yield "| stage | µs an image | of decoding |"
    yield "|---|---|---|"
    decoding = statistics.median(spent["cv2.imdecode"])
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        yield f"| {name} | {median / n_images * 1e6:.0f} | {median / decoding:.2f} |"


# --- what was asked for ---

PARTS: dict[str, Callable[[Path], Iterator[str]]] = {
    "decode-cost": cost,
    "decode-accuracy": accuracy,
    "together": together,
    "stages": stages,
}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    readme.run_parts(__doc__, PARTS)
