"""Choose the default size, threshold and rule of each classic method by measurement.

    CLUSTERIMG_DATA=FOLDER python benchmarks/bench_defaults.py [--cache FOLDER] [METHOD ...]

FOLDER holds the labelled sets copies_dev and real_series_dev, and the distractors tiny_pool_dev and
caltech101_dev. The groups of the first two are split in halves by seed. On one half of each, with the
distractors beside it (each a group of its own), the threshold is tuned: the largest mean of the two F1
among the thresholds that keep pairwise precision at 0.95 on both. The other halves tell what that is
worth. The threshold of the last table is the one this rule gives if precision must hold on every half
of every seed, on the whole sets, and on all images in one folder. Clusters are connected components of
similar pairs. ORB finds nothing in 64 x 64 pixels, so its distractors are the photos of caltech101_dev;
it takes some 5 minutes of one core for each candidate (the others take seconds to a minute).

A candidate is scored once, over all images, down to a low floor; every threshold is then read off
the maximum spanning forest of the scored pairs, which has the same components.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from clusterimg.backends import Engine, select
from clusterimg.evaluation import pairwise_scores
from clusterimg.extraction import extract_images
from clusterimg.methods import Classic
from clusterimg.methods import minhash as minhash_module
from clusterimg.methods.imagehash import ImageHash
from clusterimg.methods.minhash import MinHash, signature
from clusterimg.methods.orb import RULES, Orb
from clusterimg.methods.ssim import Ssim
from clusterimg.methods.tm import Tm

SETS = ("copies_dev", "real_series_dev")
DISTRACTORS = {"orb": "caltech101_dev"}
"""The pool of a method, where it is not `tiny_pool_dev`."""

SAME_PHOTO = {
    "tiny_pool_dev/n02791270_71.jpg",  # copies_dev/img0152.jpg
    "tiny_pool_dev/n02085620_239.jpg",  # copies_dev/img0089.jpg
    "caltech101_dev/pigeon_image_0006.jpg",  # caltech101_dev/pigeon_image_0002.jpg
}
"""Pool images that are no distractors: they show the very photo of another image. Left out."""

SEEDS = range(5)
LEAST_PRECISION = 0.95

Edges = NDArray[np.void]
Indices = NDArray[np.intp]


# --- the images -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collection:
    """All images of the two sets and of the pool, one after another.

    files : paths relative to the data folder
    groups : (n,) int, numbered over all sets; every pool image is alone in its group
    places : the indices of the images of each set
    pool : those of the distractors, which come last
    """

    files: list[str]
    groups: NDArray[np.int64]
    places: dict[str, Indices]
    pool: Indices


def read_collection(root: Path, pool: str = "tiny_pool_dev") -> Collection:
    """Return the images of the sets and the pool, with their groups."""
    files: list[str] = []
    names: list[str] = []
    places: dict[str, Indices] = {}
    for name in (*SETS, pool):
        with (root / name / "labels.csv").open(newline="", encoding="utf-8") as table:
            rows = [row for row in csv.DictReader(table) if f"{name}/{row['file']}" not in SAME_PHOTO]
        places[name] = np.arange(len(files), len(files) + len(rows))
        files += [f"{name}/{row['file']}" for row in rows]
        names += [f"{name}/{row['file' if name == pool else 'group']}" for row in rows]
    _, groups = np.unique(names, return_inverse=True)
    return Collection(files, groups.astype(np.int64), places, places[pool])


def halves(collection: Collection, name: str, seed: int) -> tuple[Indices, Indices]:
    """Return the images of one half of the groups of a set, and those of the other half."""
    places = collection.places[name]
    groups = np.random.default_rng(seed).permutation(np.unique(collection.groups[places]))
    first = np.isin(collection.groups[places], groups[: len(groups) // 2])
    return places[first], places[~first]


# --- from scored pairs to precision and recall at every threshold -----------------------------------


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision, recall and F1 over the pairs of some images, at each threshold of a grid."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def spanning_forest(edges: Edges, n_images: int) -> Edges:
    """Return edges that have the same components as `edges` at every threshold; at most n - 1."""
    if not len(edges):
        return edges
    lengths = 2.0 - edges["score"]  # above 0, since a score is at most 1
    graph = coo_array((lengths, (edges["i"], edges["j"])), (n_images, n_images)).tocsr()
    tree = minimum_spanning_tree(graph).tocoo()
    forest = np.empty(tree.nnz, edges.dtype)
    forest["i"], forest["j"], forest["score"] = tree.row, tree.col, 2.0 - tree.data
    return forest


def merge_counts(forest: Edges, groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many pairs share a cluster, and how many of them a group, after each edge."""
    parent = np.arange(len(groups)).tolist()
    members = [Counter({group: 1}) for group in groups.tolist()]
    found, both = [0], [0]
    for i, j in zip(forest["i"].tolist(), forest["j"].tolist(), strict=True):
        small, large = sorted((_root(parent, i), _root(parent, j)), key=lambda root: len(members[root]))
        parent[small] = large
        joined = members[small].total() * members[large].total()
        found.append(found[-1] + joined)
        both.append(both[-1] + sum(count * members[large][g] for g, count in members[small].items()))
        members[large].update(members[small])
        members[small].clear()
    return np.array(found), np.array(both)


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def curve(edges: Edges, groups: NDArray[np.int64], images: Indices, grid: NDArray[np.float64]) -> Curve:
    """Return how well the clusters of `images` agree with their groups, at each threshold of `grid`."""
    number = np.full(len(groups), -1)
    number[images] = np.arange(len(images))
    inside = edges[(number[edges["i"]] >= 0) & (number[edges["j"]] >= 0)]
    inside["i"], inside["j"] = number[inside["i"]], number[inside["j"]]
    forest = spanning_forest(inside, len(images))
    forest = forest[np.argsort(-forest["score"], kind="stable")]
    found, both = merge_counts(forest, groups[images])
    true = sum(n * (n - 1) // 2 for n in Counter(groups[images].tolist()).values())
    used = np.searchsorted(-forest["score"], -grid, side="left")  # edges with score > threshold
    found, both = found[used], both[used]
    return Curve(
        np.divide(both, found, out=np.ones(len(grid)), where=found > 0),
        both / true,
        2 * both / (found + true),
    )


# --- tuning on halves -------------------------------------------------------------------------------


def best_threshold(curves: Sequence[Curve], must_hold: Iterable[Curve] = ()) -> int:
    """Return the place in the grid with the best mean F1 among those that keep the precision."""
    mean = np.mean([one.f1 for one in curves], axis=0)
    for one in (*curves, *must_hold):
        mean = np.where(one.precision >= LEAST_PRECISION, mean, -1.0)
    return len(mean) - 1 - int(np.argmax(mean[::-1]))  # of equally good ones the highest


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a tuned threshold is worth on a half it was not tuned on: mean over seeds and halves."""

    precision: float
    lowest_precision: float
    recall: float
    f1: float
    f1_spread: float


@dataclass(frozen=True, slots=True)
class Study:
    """All that is known of one candidate.

    tuned : threshold of every seed and half
    held_out : by set, with distractors; `alone` without them
    default : the threshold that keeps its precision everywhere
    lowest : by set, the lowest precision of a half at that default, with distractors
    peak : by set, (F1, threshold) of the threshold that suits the whole set best, without distractors
    """

    tuned: NDArray[np.float64]
    held_out: dict[str, HeldOut]
    alone: dict[str, HeldOut]
    default: float
    lowest: dict[str, float]
    peak: dict[str, tuple[float, float]]


def study(edges: Edges, collection: Collection, grid: NDArray[np.float64]) -> Study:
    """Return what thresholds are worth, tuned on halves and held out."""
    groups, pool = collection.groups, collection.pool
    edges = without_pool_cycles(edges, pool)
    draw = partial(curve, edges, groups, grid=grid)
    both_halves = {name: [halves(collection, name, seed) for seed in SEEDS] for name in SETS}
    alone = {name: [[draw(half) for half in pair] for pair in both_halves[name]] for name in SETS}
    mixed = {
        name: [[draw(np.concatenate([half, pool])) for half in pair] for pair in both_halves[name]]
        for name in SETS
    }
    folds = [(seed, side) for seed in range(len(SEEDS)) for side in (0, 1)]
    tuned = [best_threshold([mixed[name][seed][side] for name in SETS]) for seed, side in folds]

    def held_out(curves: dict[str, list[list[Curve]]], name: str) -> HeldOut:
        return _held_out([curves[name][seed][1 - side] for seed, side in folds], tuned)

    whole = {name: draw(collection.places[name]) for name in SETS}
    whole_mixed = {name: draw(np.concatenate([collection.places[name], pool])) for name in SETS}
    everything = draw(np.arange(len(groups)))
    every_half = [one for name in SETS for pair in mixed[name] for one in pair]
    default = best_threshold([whole_mixed[name] for name in SETS], [everything, *every_half])
    return Study(
        tuned=grid[tuned],
        held_out={name: held_out(mixed, name) for name in SETS},
        alone={name: held_out(alone, name) for name in SETS},
        default=float(grid[default]),
        lowest={
            name: min(float(one.precision[default]) for pair in mixed[name] for one in pair) for name in SETS
        },
        peak={
            name: (float(one.f1.max()), float(grid[int(np.argmax(one.f1))])) for name, one in whole.items()
        },
    )


def without_pool_cycles(edges: Edges, pool: Indices) -> Edges:
    """Return the edges with those between two pool images thinned to their spanning forest."""
    within = (edges["i"] >= pool[0]) & (edges["j"] >= pool[0])  # the pool comes last
    return np.concatenate([edges[~within], spanning_forest(edges[within], int(pool[-1]) + 1)])


def _held_out(curves: Sequence[Curve], places: Sequence[int]) -> HeldOut:
    at = np.array(
        [(c.precision[k], c.recall[k], c.f1[k]) for c, k in zip(curves, places, strict=True)], np.float64
    )
    precision, recall, f1 = at.mean(axis=0)
    return HeldOut(precision, at[:, 0].min(), recall, f1, float(at[:, 2].std()))


# --- the candidates ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration of a method: `method.threshold` is the floor of the scored pairs."""

    label: str
    method: Classic
    step: float

    @property
    def grid(self) -> NDArray[np.float64]:
        """The thresholds to try: multiples of the step from the floor up."""
        first, last = round(self.method.threshold / self.step), round(1 / self.step)
        return np.round(np.arange(first, last) * self.step, 6)


class LocalMaxima(MinHash):
    """MinHash over the 100 strongest 3x3 maxima of the Harris response in place of any pixels."""

    __slots__ = ()

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint32] | None:
        """Return the signature (128,), or None without a corner."""
        image = cv2.resize(grey, self.size, interpolation=cv2.INTER_AREA)
        response = cv2.cornerHarris(image, 2, 3, 0.04)
        highest = np.asarray(cv2.dilate(response, np.ones((3, 3), np.uint8)))
        strength = np.where(response == highest, response, 0).ravel()
        corners = np.flatnonzero(strength > 0)
        order = np.argsort(-strength[corners], kind="stable")[: minhash_module.N_CORNERS]
        return signature(np.sort(corners[order])) if len(corners) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedOrb(Orb):
    """ORB of images whose longest side is brought into a range."""

    sides: tuple[int, int] = (1, 1 << 15)
    longest_side: int | None = None

    def extract(self, grey: NDArray[np.uint8], engine: Engine) -> NDArray[np.uint8] | None:
        """Return the descriptors (n, 32), or None if they are too few."""
        side = max(grey.shape)
        factor = min(max(side, self.sides[0]), self.sides[1]) / side
        image = grey
        if factor != 1:
            height, width = (max(1, round(length * factor)) for length in grey.shape)
            image = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return Orb.extract(self, image, engine)


def square(side: int) -> tuple[int, int]:
    """Return the size (width, height) of a square."""
    return side, side


def ssim_candidates() -> list[Candidate]:
    return [
        Candidate(f"{s} px", Ssim(size=square(s), threshold=0.3), 0.01) for s in (16, 24, 32, 48, 64, 96, 128)
    ]


def tm_candidates() -> list[Candidate]:
    return [
        Candidate(f"{s} px", Tm(size=square(s), threshold=0.94), 0.001) for s in (8, 16, 24, 32, 48, 64, 128)
    ]


def imagehash_candidates() -> list[Candidate]:
    return [Candidate(f"{s}x{s} bits", ImageHash(hash_size=s, threshold=0.54), 0.01) for s in (8, 16, 24, 32)]


def minhash_candidates() -> list[Candidate]:
    rules: list[tuple[str, type[MinHash]]] = [("highest pixels", MinHash), ("3x3 maxima", LocalMaxima)]
    return [
        Candidate(f"{s} px, {rule}", cls(size=square(s), threshold=0.04), 0.01)
        for s in (16, 24, 32, 48, 64, 96, 128, 256)
        for rule, cls in rules
    ]


def orb_candidates() -> list[Candidate]:
    """Return every rule of the package at two sizes."""
    sizes = {"320 px": (320, 320), "own size": (1, 1 << 15)}
    return [
        Candidate(f"{size}, {rule}", SizedOrb(sides=sides, orb_rule=rule, threshold=0.02), 0.005)
        for size, sides in sizes.items()
        for rule in RULES
    ]


CANDIDATES: dict[str, Callable[[], list[Candidate]]] = {
    "ssim": ssim_candidates,
    "tm": tm_candidates,
    "imagehash": imagehash_candidates,
    "minhash": minhash_candidates,
    "orb": orb_candidates,
}


# --- scoring and printing ---------------------------------------------------------------------------


def scored_edges(root: Path, collection: Collection, candidate: Candidate, engine: Engine) -> Edges:
    """Return the pairs of all images that score above the candidate's floor."""
    paths = [root / file for file in collection.files]
    methods = [candidate.method]
    [features] = extract_images(paths, methods, engine, methods_of_arrays=methods)
    return candidate.method.edges(features, engine)


def cached_edges(cache: Path | None, name: str, make: Callable[[], Edges]) -> Edges:
    """Return the edges stored under `name` in the cache folder, made and stored if they are not there."""
    if cache is None:
        return make()
    file = cache / f"{name.replace(' ', '_').replace(',', '')}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, make())
    edges: Edges = np.load(file)
    return edges


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a markdown table."""
    print(f"\n{title}\n")
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |")


def short(value: float, digits: int = 3) -> str:
    """Return a number without its leading zero: .953."""
    return f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits}f}"


def held_out_cells(one: HeldOut) -> list[str]:
    return [
        f"{short(one.precision)} ({short(one.lowest_precision)})",
        short(one.recall),
        f"{short(one.f1)} ± {short(one.f1_spread, 2)}",
    ]


def print_held_out(name: str, studies: dict[str, Study]) -> None:
    """Print the held-out halves of all candidates of a method, with distractors and alone."""
    for title, attribute in (("with distractors", "held_out"), ("alone", "alone")):
        rows = [
            [label, f"{short(np.median(one.tuned))} ({short(one.tuned.min())}–{short(one.tuned.max())})"]
            + [cell for of in SETS for cell in held_out_cells(getattr(one, attribute)[of])]
            for label, one in studies.items()
        ]
        header = ["candidate", "tuned threshold: median (range)"]
        header += [f"{of} {what}" for of in SETS for what in ("P (lowest)", "R", "F1 ± sd")]
        print_table(f"{name}: held-out halves {title}", header, rows)


def default_cells(edges: Edges, collection: Collection, engine: Engine, one: Study) -> list[str]:
    """Return precision, recall and F1 of the whole sets at the default, by the package's own functions."""
    kept = edges[edges["score"] > one.default]
    subsets = [collection.places[name] for name in SETS]
    subsets += [np.concatenate([places, collection.pool]) for places in subsets]
    subsets.append(np.arange(len(collection.files)))
    return [_scores_of(kept, images, collection.groups, engine) for images in subsets]


def false_pairs(edges: Edges, groups: NDArray[np.int64], threshold: float) -> int:
    """Return how many pairs above the threshold are of two groups."""
    return int(np.count_nonzero((edges["score"] > threshold) & (groups[edges["i"]] != groups[edges["j"]])))


def _scores_of(edges: Edges, images: Indices, groups: NDArray[np.int64], engine: Engine) -> str:
    number = np.full(len(groups), -1, np.int32)
    number[images] = np.arange(len(images))
    inside = edges[(number[edges["i"]] >= 0) & (number[edges["j"]] >= 0)]
    inside["i"], inside["j"] = number[inside["i"]], number[inside["j"]]
    scores = pairwise_scores(groups[images], engine.components(inside, len(images)))
    return f"{short(scores.precision)} / {short(scores.recall)} / {short(scores.f1)}"


def measure(name: str, root: Path, engine: Engine, cache: Path | None) -> None:
    """Study all candidates of a method and print its tables."""
    collection = read_collection(root, DISTRACTORS.get(name, "tiny_pool_dev"))
    studies: dict[str, Study] = {}
    defaults: list[list[str]] = []
    for candidate in CANDIDATES[name]():
        print(f"{name}, {candidate.label} …", file=sys.stderr)
        make = partial(scored_edges, root, collection, candidate, engine)
        edges = cached_edges(cache, f"{name} {candidate.label}", make)
        one = study(edges, collection, candidate.grid)
        studies[candidate.label] = one
        cells = default_cells(edges, collection, engine, one)
        cells.append(str(false_pairs(edges, collection.groups, one.default)))
        lowest = [short(one.lowest[of]) for of in SETS]
        peaks = [f"{short(f1)} at {short(at)}" for f1, at in one.peak.values()]
        defaults.append([candidate.label, short(one.default, 4), *cells, *lowest, *peaks])
    print_held_out(name, studies)
    header = [
        "candidate",
        "threshold",
        *SETS,
        *(f"{of} + pool" for of in SETS),
        "all in one folder",
        "its false pairs",
    ]
    header += [f"lowest P of a half of {of} + pool" for of in SETS]
    header += [f"best F1 of any threshold, {of} alone" for of in SETS]
    print_table(f"{name}: threshold that keeps P ≥ .95 everywhere, whole sets (P / R / F1)", header, defaults)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Choose the defaults of the classic methods by measurement.")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"default: {' '.join(CANDIDATES)}")
    parser.add_argument("--cache", type=Path, help="folder that keeps the scored pairs for the next run")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    options = parser.parse_args(arguments)
    if unknown := set(options.methods) - set(CANDIDATES):
        parser.error(f"unknown method {', '.join(sorted(unknown))}; known: {', '.join(CANDIDATES)}")
    if "CLUSTERIMG_DATA" not in os.environ:
        sys.exit("set CLUSTERIMG_DATA to the folder that holds copies_dev, real_series_dev, tiny_pool_dev, …")
    root = Path(os.environ["CLUSTERIMG_DATA"])
    engine = select(n_threads=options.threads)
    for name in options.methods or CANDIDATES:
        measure(name, root, engine, options.cache)


if __name__ == "__main__":
    main()
