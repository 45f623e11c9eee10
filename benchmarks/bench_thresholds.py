"""What the thresholds are worth that are chosen automatically and by labelled pairs.

    CLUSTERIMG_DATA=FOLDER python benchmarks/bench_thresholds.py [--cache FOLDER] [--write] [METHOD ...]

FOLDER holds the sets that bench_defaults.py uses; the distractors are its own. Precision, recall and F1
are over pairs of images in one cluster (`clusterimg evaluate`), clusters are connected components.
--write puts the tables into THRESHOLDS.md. All pairs of a method are scored once (ORB: two minutes
of a core), every curve is then made by the package from these scores; --cache keeps them.

The one constant that is tuned is the tolerance of `choose_automatically`: on one half of the groups
of each set, the largest mean F1 over all methods among the tolerances that keep a precision of 0.9 under
each method, on each set, alone and with distractors. The other half tells what it is worth.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench_defaults as defaults
from bench_defaults import SETS, Indices, halves, read_collection, short
from clusterimg.backends import Engine, select
from clusterimg.extraction import extract_images
from clusterimg.methods import METHODS, create
from clusterimg.picker import ThresholdCurve
from clusterimg.picker.auto import TOLERANCE, Choice, choose_automatically
from clusterimg.picker.building import curve_of
from clusterimg.picker.labelled import choose_by_pairs
from known_scores import Grade, Scored

TOLERANCES = (0.01, 0.02, 0.03, 0.05, 0.1)
LEAST_PRECISION = 0.9
SEEDS = range(3)
LABELS = range(10)
SAMPLES = range(10)
N_SAMPLE = 300
GRID = np.unique(np.concatenate([np.linspace(0, 1, 1001)[:-1], 1 - np.geomspace(1e-5, 1, 400)]))

Rows = list[list[str]]


# --- the whole sets -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """What a choice is worth in a setting: `grade` at its threshold, `best` the largest F1 there is."""

    choice: Choice
    grade: Grade
    best: float


def labelled_draws(scored: Scored, images: Indices, curve: ThresholdCurve) -> dict[str, list[Any]]:
    """Return labelled pairs (scores, same) drawn in two ways: 20 of each kind, and 40 of the curve."""
    groups, scores = scored.collection.groups[images], scored.known.scores[np.ix_(images, images)]
    i, j = np.triu_indices(len(images), 1)
    same = groups[i] == groups[j]
    kinds = np.flatnonzero(same), np.flatnonzero(~same)
    shown = curve.examples
    is_same = groups[shown["i"]] == groups[shown["j"]]
    draws: dict[str, list[Any]] = {"20 + 20 at random": [], "40 examples of the curve": []}
    for seed in LABELS:
        rng = np.random.default_rng(seed)
        k = np.concatenate([rng.choice(kind, 20, replace=False) for kind in kinds])
        draws["20 + 20 at random"].append((np.maximum(scores[i[k], j[k]], 0), same[k]))
        k = rng.choice(len(shown), min(40, len(shown)), replace=False)
        draws["40 examples of the curve"].append((shown["score"][k], is_same[k]))
    return draws


def labels_alone(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Return the middle of the widest interval with the largest F1 over the labelled pairs themselves."""
    cuts = np.unique(np.append(scores, 0.0))
    above = scores > cuts[:, None]
    f1 = 2 * (above & same).sum(axis=1) / (above.sum(axis=1) + same.sum())
    widths = np.where(f1 == f1.max(), np.append(cuts[1:], 1.0) - cuts, -1.0)
    k = int(np.argmax(widths))
    return float(cuts[k] + widths[k] / 2)


def whole_sets(scored: Scored) -> tuple[Rows, Rows, list[Judged]]:
    """Return the rows of the two tables of a method, and all choices of its samples."""
    rows, label_rows, judged = [], [], []
    everything = "all in one folder", np.arange(len(scored.collection.files))
    for name, images in [*scored.settings(scored.collection.places), everything]:
        curve = scored.curve(images)
        samples = [
            choose_automatically(scored.curve(images, min(N_SAMPLE, len(images) // 2), k)) for k in SAMPLES
        ]
        draws = labelled_draws(scored, images, curve)
        by_pairs = {way: [choose_by_pairs(*pairs, curve) for pairs in drawn] for way, drawn in draws.items()}
        alone = [labels_alone(*pairs) for pairs in draws["20 + 20 at random"]]
        auto = choose_automatically(curve)
        chosen = [auto.threshold, curve.default, *(one.threshold for one in samples), *alone]
        chosen += [one.threshold for way in by_pairs.values() for one in way]
        grades = scored.grades(images, [*GRID, *chosen])
        best = max(range(len(GRID)), key=lambda k: grades[k][2])
        of_chosen = grades[len(GRID) :]
        of_samples, rest = of_chosen[2 : 2 + len(samples)], of_chosen[2 + len(samples) :]
        judged += [Judged(c, g, grades[best][2]) for c, g in zip(samples, of_samples, strict=True)]
        rows.append(
            [
                scored.name,
                name,
                *cells(auto.threshold, of_chosen[0]),
                "default" if auto.is_default else short(auto.confidence, 2),
                spread(of_samples),
                *cells(curve.default, of_chosen[1]),
                *cells(float(GRID[best]), grades[best]),
            ]
        )
        n = len(LABELS)
        label_rows.append(
            [
                scored.name,
                name,
                *(spread(rest[n * (k + 1) : n * (k + 2)]) for k in range(len(by_pairs))),
                spread(rest[:n]),
                *(short(grade[2]) for grade in (of_chosen[0], of_chosen[1], grades[best])),
            ]
        )
    return rows, label_rows, judged


def cells(threshold: float, grade: Grade) -> list[str]:
    return [short(threshold, 4), " / ".join(short(value) for value in grade)]


def spread(grades: Sequence[Grade]) -> str:
    """Return the median F1 and its range."""
    f1 = [grade[2] for grade in grades]
    return f"{short(float(np.median(f1)))} ({short(min(f1))}–{short(max(f1))})"


# --- halves -----------------------------------------------------------------------------------------------


Halves = dict[tuple[int, int], dict[str, dict[str, Grade]]]
"""By seed and side, by setting, by what was chosen: its grade."""


def half_grades(scored: Scored) -> Halves:
    found: Halves = {}
    for seed in SEEDS:
        both = {name: halves(scored.collection, name, seed) for name in SETS}
        for side in (0, 1):
            grades: dict[str, dict[str, Grade]] = {}
            for name, images in scored.settings({name: parts[side] for name, parts in both.items()}):
                curve = scored.curve(images)
                chosen = {
                    str(share): choose_automatically(curve, tolerance=share).threshold for share in TOLERANCES
                }
                chosen["default"] = curve.default
                found_here = scored.grades(images, [*GRID, *chosen.values()])
                grades[name] = dict(zip(chosen, found_here[len(GRID) :], strict=True))
                grades[name]["best"] = max(found_here[: len(GRID)], key=lambda grade: grade[2])
            found[seed, side] = grades
    return found


def tuned(found: dict[str, Halves], fold: tuple[int, int]) -> str:
    """Return the tolerance that a half speaks for."""
    worth = {}
    for share in map(str, TOLERANCES):
        grades = [grades[share] for by_fold in found.values() for grades in by_fold[fold].values()]
        f1 = float(np.mean([grade[2] for grade in grades]))
        worth[share] = f1 if min(grade[0] for grade in grades) >= LEAST_PRECISION else f1 - 1
    return max(worth, key=lambda share: worth[share])


def held_out_rows(found: dict[str, Halves]) -> tuple[Rows, list[str]]:
    """Return what tuned tolerances are worth on the halves they were not tuned on, and which they were."""
    chosen = {fold: tuned(found, fold) for fold in next(iter(found.values()))}
    rows = []
    for method, by_fold in found.items():
        for setting in by_fold[0, 0]:
            grades: dict[str, list[Grade]] = defaultdict(list)
            for seed, side in chosen:
                other = by_fold[seed, 1 - side][setting]
                for what in ("default", "best"):
                    grades[what].append(other[what])
                grades["auto"].append(other[chosen[seed, side]])
            row = [method, setting]
            for what in ("auto", "default", "best"):
                p, r, f1 = np.mean(grades[what], axis=0)
                lowest = min(grade[0] for grade in grades[what])
                row += [f"{short(p)} ({short(lowest)})", short(r), short(f1)]
            rows.append(row)
    return rows, list(chosen.values())


def tolerance_rows(found: dict[str, Halves]) -> Rows:
    """Return what each tolerance is worth on all halves."""
    rows = []
    for what in [*map(str, TOLERANCES), "default", "best"]:
        grades = [g[what] for folds in found.values() for fold in folds.values() for g in fold.values()]
        p, r, f1 = np.mean(grades, axis=0)
        rows.append([what, short(p), short(min(grade[0] for grade in grades)), short(r), short(f1)])
    return rows


def confidence_rows(judged: Sequence[Judged]) -> Rows:
    """Return how good choices of some confidence are."""
    rows = []
    for least, most in ((0.9, 1.01), (0.8, 0.9), (0.7, 0.8), (0.5, 0.7)):
        inside = [
            one for one in judged if not one.choice.is_default and least <= one.choice.confidence < most
        ]
        if inside:
            shares = [one.grade[2] / one.best for one in inside]
            lowest = min(one.grade[0] for one in inside)
            rows.append(
                [
                    f"{short(least, 1)} to {short(min(most, 1.0), 1)}",
                    str(len(inside)),
                    short(float(np.mean(shares))),
                    short(min(shares)),
                    short(lowest),
                ]
            )
    rows.append(["default", str(sum(one.choice.is_default for one in judged)), "", "", ""])
    return rows


# --- sizes that are no default ---------------------------------------------------------------------------

OTHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("imagehash", {"hash_size": 8}),
    ("imagehash", {"hash_size": 32}),
    ("minhash", {"size": (64, 64)}),
    ("ssim", {"size": (64, 64)}),
    ("tm", {"size": (16, 16)}),
)


def other_rows(root: Path, engine: Engine) -> Rows:
    """Return what is chosen where a method's own threshold was made for another size; sets alone."""
    collection, rows = read_collection(root), []
    for name, options in OTHERS:
        method = create(name, **options)
        for of, images in collection.places.items():
            if of not in SETS:
                continue
            paths = [root / collection.files[image] for image in images]
            [features] = extract_images(paths, [method], engine, methods_of_arrays=[method])
            curve = curve_of([features], [str(path) for path in paths], method, engine, sample=10**6, seed=0)
            auto = choose_automatically(curve)
            edges = replace(method, threshold=0.0).edges(features, engine)  # type: ignore[type-var]
            wanted = np.array([*GRID, auto.threshold, curve.default])
            found = defaults.curve(edges, collection.groups[images], np.arange(len(images)), wanted)
            grades = list(
                zip(found.precision.tolist(), found.recall.tolist(), found.f1.tolist(), strict=True)
            )
            best = int(np.argmax(found.f1[: len(GRID)]))
            size = options.get("hash_size") or options["size"][0]
            rows.append(
                [
                    f"{name}, {size}",
                    of,
                    *cells(auto.threshold, grades[-2]),
                    "default" if auto.is_default else short(auto.confidence, 2),
                    *cells(curve.default, grades[-1]),
                    *cells(float(GRID[best]), grades[best]),
                ]
            )
    return rows


# --- the page -----------------------------------------------------------------------------------------

HERE = Path(__file__).parent
INTRODUCTION = f"""# What chosen thresholds are worth

Written by `bench_thresholds.py`, whose docstring says how. Distractors ("+ pool") are those of
[DEFAULTS.md](DEFAULTS.md): 2,998 small photos of `tiny_pool_dev`, under `orb` 599 of `caltech101_dev`.
"best" is the threshold that only those who know the groups can choose. P / R / F1 are over pairs of images
in one cluster.

`--threshold auto` (`choose_automatically`): the pairs of unlike images become fewer along a line that is
straight on logarithmic scales, pairs against `1 - score`; the threshold is where that line, continued,
promises {TOLERANCE:g} unlike pairs for each clustered image. `--threshold-pairs` (`choose_by_pairs`) adds
what labelled pairs show.
"""


def page(scored_methods: Sequence[Scored], others_rows: Rows) -> str:
    """Return the whole page."""
    rows, label_rows, judged, found = [], [], [], {}
    for scored in scored_methods:
        print(f"{scored.name} …", file=sys.stderr)
        some, of_labels, choices = whole_sets(scored)
        rows, label_rows, judged = rows + some, label_rows + of_labels, judged + choices
        found[scored.name] = half_grades(scored)
    held_out, chosen = held_out_rows(found)
    grade = ("threshold", "P / R / F1")
    auto = (
        "method",
        "images",
        *(f"auto: {what}" for what in grade),
        "confidence",
        f"F1 by {N_SAMPLE} images",
    )
    three = [f"{name} {what}" for name in ("auto", "default", "best") for what in ("P (lowest)", "R", "F1")]
    ways = ("20 + 20 at random", "40 examples of the curve", "20 + 20, labels alone")
    others = [f"{name} {what}" for name in ("default:", "best:") for what in grade]
    return "\n".join(
        [
            INTRODUCTION,
            f"Whole sets. The last of auto: median F1 (range) of {len(SAMPLES)} samples of {N_SAMPLE} images "
            "compared with all (half of them where there are fewer).\n",
            *table([*auto, *others], rows),
            "\nHalves that the tolerance was not tuned on: means over "
            f"{2 * len(SEEDS)} halves (lowest P). The other halves chose {', '.join(chosen)}.\n",
            *table(["method", "images", *three], held_out),
            "\nSizes that the default thresholds were not made for (of the hash, or pixels a side).\n",
            *table([name for name in [*auto, *others] if "F1 by" not in name], others_rows),
            "\nEach tolerance on all halves of all methods, alone and with distractors.\n",
            *table(
                ["unlike pairs for each clustered image", "P", "lowest P", "R", "F1"], tolerance_rows(found)
            ),
            "\nWhat confidence is worth: the choices of all samples of the first table.\n",
            *table(["confidence", "choices", "F1 / best F1", "lowest", "lowest P"], confidence_rows(judged)),
            f'\nLabelled pairs, drawn {len(LABELS)} times: median F1 (range). "Labels alone" is the largest '
            "F1 over the labelled pairs themselves, without the curve.\n",
            *table(["method", "images", *ways, "auto F1", "default F1", "best F1"], label_rows),
            "",
        ]
    )


def table(header: Sequence[str], rows: Rows) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure the thresholds that are chosen automatically.")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"default: {' '.join(METHODS)}")
    parser.add_argument("--cache", type=Path, help="folder that keeps the scored pairs for the next run")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    parser.add_argument("--write", action="store_true", help="into THRESHOLDS.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.methods) - set(METHODS):
        parser.error(f"unknown method {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    if "CLUSTERIMG_DATA" not in os.environ:
        sys.exit("set CLUSTERIMG_DATA to the folder that holds copies_dev, real_series_dev, tiny_pool_dev, …")
    root, engine = Path(os.environ["CLUSTERIMG_DATA"]), select(n_threads=options.threads)
    names = options.methods or METHODS
    scored = [Scored.read(name, root, engine, options.cache) for name in names]
    text = page(scored, other_rows(root, engine))
    if options.write:
        (HERE / "THRESHOLDS.md").write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
