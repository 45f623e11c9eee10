"""Compare linkages: which rule makes the best clusters of the similar pairs, where they chain and where not.

    CLUSTERIMG_DATA=FOLDER python benchmarks/bench_linkage.py [--cache FOLDER] [METHOD ...]
    python benchmarks/bench_linkage.py --speed

The sets and distractors are those of bench_defaults.py. Each method is scored once, at its defaults, down
to a floor below its threshold; the rules then work on the pairs above its default threshold and above
three lower ones, where chains form. Precision, recall and F1 are pairwise; B3 is the F1 of B-cubed.

`--speed` times the linkages on made pairs: CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench_defaults import (
    DISTRACTORS,
    SETS,
    Candidate,
    Collection,
    Edges,
    Indices,
    cached_edges,
    print_table,
    read_collection,
    scored_edges,
    short,
)
from clusterimg import EDGE_DTYPE, components, link
from clusterimg._linkage import LEAST_SHARE
from clusterimg.backends import Engine, select
from clusterimg.clustering import Known, linked, number_by_appearance
from clusterimg.evaluation import Scores, pairwise_scores
from clusterimg.methods import create

Labels = NDArray[np.int32]
Rule = Callable[[Edges, int], Labels]

FLOORS = {"ssim": 0.40, "tm": 0.970, "imagehash": 0.60, "minhash": 0.25, "orb": 0.06}
STEPS = (0, 1 / 4, 1 / 2, 3 / 4)
"""How far each threshold lies between the default and the floor."""

LEAST_PRECISION = 0.95


# --- the rules ---


def at_share(edges: Edges, n: int, *, share: float) -> Labels:
    """Join two clusters while at least this share of the pairs between them is similar."""
    LEAST_SHARE["of the benchmark"] = share
    return linked(edges, n, "of the benchmark", Known.nothing(n), select())


def strongest_first(edges: Edges) -> Edges:
    return edges[np.lexsort((edges["j"], edges["i"], -edges["score"]))]


def neighbours(edges: Edges, n: int) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in range(n)]
    for i, j in zip(edges["i"].tolist(), edges["j"].tolist(), strict=True):
        found[i].add(j)
        found[j].add(i)
    return found


def from_groups(groups: Sequence[int]) -> Labels:
    """Return labels of groups of images; an image alone is an outlier."""
    array = np.asarray(groups, np.int64)
    return number_by_appearance(np.where(np.bincount(array, minlength=1)[array] > 1, array, -1))


def star_of_first(edges: Edges, n: int) -> Labels:
    """Take the first free image and all free ones similar to it."""
    near, group = neighbours(edges, n), [-1] * n
    for k in range(n):
        if group[k] < 0:
            for other in (k, *near[k]):
                group[other] = k if group[other] < 0 else group[other]
    return from_groups(group)


def star_of_most(edges: Edges, n: int) -> Labels:
    """Take the image with the most free similar ones, and those."""
    near, group = neighbours(edges, n), [-1] * n
    waiting = [(-len(near[k]), k) for k in range(n)]
    heapq.heapify(waiting)
    while waiting:
        size, k = heapq.heappop(waiting)
        free = [other for other in near[k] if group[other] < 0]
        if group[k] < 0 and -size != len(free):
            heapq.heappush(waiting, (-len(free), k))
        elif group[k] < 0:
            for other in (k, *free):
                group[other] = k
    return from_groups(group)


def mutual(edges: Edges, n: int, *, k: int) -> Labels:
    """Take the components of the pairs that are among the strongest `k` of both images."""
    used, ordered = [0] * n, strongest_first(edges)
    keep = np.zeros(len(edges), bool)
    for place, (i, j) in enumerate(zip(ordered["i"].tolist(), ordered["j"].tolist(), strict=True)):
        keep[place] = used[i] < k and used[j] < k
        used[i] += 1
        used[j] += 1
    return components(ordered[keep], n)


def common(edges: Edges, n: int, *, share: float) -> Labels:
    """Take the components of the pairs that have this share of their similar images in common."""
    near = [others | {k} for k, others in enumerate(neighbours(edges, n))]
    pairs = zip(edges["i"].tolist(), edges["j"].tolist(), strict=True)
    keep = [len(near[i] & near[j]) >= share * len(near[i] | near[j]) for i, j in pairs]
    return components(edges[np.array(keep, bool)], n)


RULES: dict[str, Rule] = {
    "components": components,
    "complete": partial(link, linkage="complete"),
    "average (half of the pairs)": partial(link, linkage="average"),
    "a quarter of the pairs": partial(at_share, share=1 / 4),
    "three quarters of the pairs": partial(at_share, share=3 / 4),
    "star of the most similar ones": star_of_most,
    "star of the first image": star_of_first,
    "mutual 5 strongest": partial(mutual, k=5),
    "half of the neighbours in common": partial(common, share=1 / 2),
    "a quarter of the neighbours in common": partial(common, share=1 / 4),
}


# --- measuring ---


def inside(edges: Edges, images: Indices, n: int) -> Edges:
    """Return the edges among some images, numbered anew."""
    number = np.full(n, -1, np.int32)
    number[images] = np.arange(len(images))
    kept = edges[(number[edges["i"]] >= 0) & (number[edges["j"]] >= 0)]
    kept["i"], kept["j"] = number[kept["i"]], number[kept["j"]]
    return kept


def thresholds(name: str) -> list[float]:
    default: float = create(name).threshold
    return [round(default + step * (FLOORS[name] - default), 4) for step in STEPS]


def subsets(collection: Collection) -> dict[str, Indices]:
    alone = {name: collection.places[name] for name in SETS}
    return alone | {f"{name} + pool": np.concatenate([alone[name], collection.pool]) for name in SETS}


def measure(
    name: str, root: Path, engine: Engine, cache: Path | None
) -> dict[tuple[str, str, float], Scores]:
    """Return the scores of a method by set, rule and threshold."""
    collection = read_collection(root, DISTRACTORS.get(name, "tiny_pool_dev"))
    candidate = Candidate(name, create(name, threshold=FLOORS[name]), 0.01)
    edges = cached_edges(cache, name, partial(scored_edges, root, collection, candidate, engine))
    found = {}
    for title, images in subsets(collection).items():
        mine = inside(edges, images, len(collection.files))
        for threshold in thresholds(name):
            pairs = mine[mine["score"] > threshold]
            for rule, cluster in RULES.items():
                labels = cluster(pairs, len(images))
                found[title, rule, threshold] = pairwise_scores(collection.groups[images], labels)
    return found


def cell(scores: Scores) -> str:
    values = (scores.precision, scores.recall, scores.f1, scores.bcubed_f1)
    return " / ".join(short(value) for value in values)


def print_method(name: str, found: dict[tuple[str, str, float], Scores]) -> None:
    levels = thresholds(name)
    for title in dict.fromkeys(title for title, _, _ in found):
        rows = [[rule, *(cell(found[title, rule, level]) for level in levels)] for rule in RULES]
        header = ["P / R / F1 / B3", *(f"threshold {short(level)}" for level in levels)]
        print_table(f"{name}, {title}", header, rows)


def print_summary(all_found: dict[str, dict[tuple[str, str, float], Scores]]) -> None:
    """Print the mean F1 over the methods, and the best one where precision holds."""
    titles = [f"{name} + pool" for name in SETS]
    rows = []
    for rule in RULES:
        cells = []
        for title in titles:
            for step in range(len(STEPS)):
                f1 = [found[title, rule, thresholds(name)[step]].f1 for name, found in all_found.items()]
                cells.append(short(float(np.mean(f1))))
            best = []
            for name, found in all_found.items():
                scores = [found[title, rule, level] for level in thresholds(name)]
                best.append(max((s.f1 for s in scores if s.precision >= LEAST_PRECISION), default=0.0))
            cells.append(short(float(np.mean(best))))
        rows.append([rule, *cells])
    steps = ["default", *(f"{step:.0%} lower" for step in STEPS[1:]), "best with P ≥ .95"]
    header = ["mean F1 over the methods", *(f"{title}: {step}" for title in titles for step in steps)]
    print_table("All methods, with distractors", header, rows)


# --- speed ---


def made_pairs(kind: str, n_images: int, n_edges: int) -> Edges:
    """Return similar pairs without order, those of points on a line (chains), or those of dense clusters."""
    rng = np.random.default_rng([n_images, n_edges])
    i = rng.integers(0, n_images, n_edges)
    if kind == "no order":
        j = rng.integers(0, n_images, n_edges)
    elif kind == "chains":
        j = (i + rng.integers(1, 4 * n_edges // n_images, n_edges)) % n_images
    else:
        j = i // 100 * 100 + rng.integers(0, 100, n_edges)
        j = np.where(rng.random(n_edges) < 0.01, rng.integers(0, n_images, n_edges), j) % n_images
    key = np.unique((np.minimum(i, j) * n_images + np.maximum(i, j))[i != j])
    edges = np.empty(len(key), EDGE_DTYPE)
    edges["i"], edges["j"] = key // n_images, key % n_images
    edges["score"] = np.round(rng.uniform(0.7, 1, len(key)), 3)
    return edges


def print_speed() -> None:
    """Print the CPU seconds of each linkage."""
    rows = []
    for n_images, n_edges in ((20_000, 100_000), (100_000, 1_000_000), (250_000, 5_000_000)):
        for kind in ("no order", "chains", "dense clusters"):
            edges = made_pairs(kind, n_images, n_edges)
            apart = np.random.default_rng(0).permutation(n_images)[:200].reshape(-1, 2)
            cells = []
            for options in (
                {"linkage": "components"},
                {"linkage": "components", "cannot_link": apart},
                {"linkage": "complete"},
                {"linkage": "average"},
            ):
                start = time.process_time()
                link(edges, n_images, **options)  # type: ignore[arg-type]
                cells.append(f"{time.process_time() - start:.2f}")
            rows.append([kind, f"{n_images:,}", f"{len(edges):,}", *cells])
    rules = ["components", "components, 100 cannot-links", "complete", "average"]
    print_table("CPU seconds", ["pairs", "images", "edges", *rules], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Compare linkages.")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"default: {' '.join(FLOORS)}")
    parser.add_argument("--cache", type=Path, help="folder that keeps the scored pairs for the next run")
    parser.add_argument("--speed", action="store_true", help="time the linkages instead")
    options = parser.parse_args(arguments)
    if options.speed:
        print_speed()
        return
    if unknown := set(options.methods) - set(FLOORS):
        parser.error(f"unknown method {', '.join(sorted(unknown))}; known: {', '.join(FLOORS)}")
    if "CLUSTERIMG_DATA" not in os.environ:
        sys.exit("set CLUSTERIMG_DATA to the folder that holds copies_dev, real_series_dev, tiny_pool_dev, …")
    root, engine = Path(os.environ["CLUSTERIMG_DATA"]), select()
    all_found = {}
    for name in options.methods or FLOORS:
        print(f"{name} …", file=sys.stderr)
        all_found[name] = measure(name, root, engine, options.cache)
    print_summary(all_found)
    for name, found in all_found.items():
        print_method(name, found)


if __name__ == "__main__":
    main()
