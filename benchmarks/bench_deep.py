"""The deep path: what each embedding and each cluster model finds, what the label-free choice is worth.

    CLUSTERIMG_DATA=… python benchmarks/bench_deep.py [PART …] [--write]

prints tables in Markdown; with `--write` they replace those in benchmarks/README.md. Embeddings are kept in
the folder that CLUSTERIMG_CACHE names, if it does, so that a second run is quick.

deep:         ARI and NMI of embedding x model, of the best candidate and of the one chosen without labels.
deep-choice:  how far the chosen one is from the best, by the rule that chooses.
deep-losses:  what autoencoders find, by the loss that they were trained with.
deep-batches: what is left of it where the images come in batches.
deep-pairs:   precision, recall and F1 of pairs by their cosine, by threshold.
deep-speed:   images a CPU second: training by loss, embedding by network. One thread.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix
from threadpoolctl import threadpool_limits

import clusterimg as ci
import readme
from clusterimg._types import Features
from clusterimg.backends import select
from clusterimg.deep._candidate_fits import resolved
from clusterimg.deep._ranking import ranked
from clusterimg.deep._scores import sample_of
from clusterimg.deep.cluster_models import parse_models
from clusterimg.deep.embedding import reduced as components
from clusterimg.deep.embedding import unit_vectors
from clusterimg.deep.grouping import DeepModels
from clusterimg.deep.pictures import PictureShape, read_pictures
from clusterimg.deep.selection import Row, fit_all
from clusterimg.merging import groups_of

SETS = ("coil100_dev", "orl_faces_dev", "mnist_dev", "cifar10_dev", "caltech101_dev")
SEEDS = (0, 1, 2)
DEFAULT = "neighbours"
SHOWN = ("kmeans", "agglomerative", "dbscan", "gaussianmixture", "hdbscan")
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """A set with known groups."""

    name: str
    paths: list[Path]
    groups: NDArray[np.int64]

    @classmethod
    def read(cls, data: Path, name: str) -> Known:
        with (data / name / "labels.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        _, groups = np.unique([row["group"] for row in rows], return_inverse=True)
        return cls(name, [data / name / row["file"] for row in rows], groups)

    def pictures(self, size: int) -> NDArray[np.uint8]:
        with tempfile.TemporaryDirectory() as folder:
            names = [path.name for path in self.paths]
            read = read_pictures(
                self.paths[0].parent, names, PictureShape(size), Path(folder, "pictures"), select()
            )
            return np.array(read.pictures)


# --- embeddings: each gives vectors by set and seed ---


def pixels(known: Known, seed: int) -> Vectors:
    flat = known.pictures(64).reshape(len(known.paths), -1).astype(np.float32)
    return components(flat, 64)


def autoencoder(known: Known, seed: int, **options: Any) -> Vectors:
    pictures = known.pictures(64)
    model = ci.deep.train(pictures, seed=seed, device="cpu", threads=1, **options)
    return ci.deep.embedder(model, n_threads=1)(pictures)


def lite0(known: Known, seed: int) -> Vectors:
    return ci.deep.embed(known.paths, embedding="efficientnet-lite0", n_threads=1)


def whitened(known: Known, seed: int) -> Vectors:
    return components(kept("lite0", known, 0), 64, whiten=True)


EMBEDDINGS: dict[str, tuple[Callable[[Known, int], Vectors], str]] = {
    "pixels": (pixels, "pixels, PCA 64"),
    "autoencoder": (autoencoder, "autoencoder"),
    "lite0": (lite0, "efficientnet-lite0"),
    "whitened": (whitened, "efficientnet-lite0, PCA 64, whitened"),
}
PERCEPTUAL = {"loss": "perceptual", "perceptual_network": "efficientnet-lite0"}
BY_LOSS: dict[str, tuple[Callable[[Known, int], Vectors], str]] = {
    "autoencoder": (autoencoder, "mse"),
    "l1": (partial(autoencoder, loss="l1"), "l1"),
    "perceptual": (partial(autoencoder, **PERCEPTUAL), "perceptual, efficientnet-lite0"),
    "reconstruction": (partial(autoencoder, contrastive=0.0), "mse alone, without the contrastive term"),
}
SEEDED = tuple(BY_LOSS)


def kept(name: str, known: Known, seed: int) -> Vectors:
    """Return an embedding, from the cache if it is there."""
    seed = seed if name in SEEDED else 0
    folder = os.environ.get("CLUSTERIMG_CACHE")
    path = Path(folder or ".", f"{known.name}_{name}_{seed}.npy")
    if folder and path.exists():
        vectors: Vectors = np.load(path)
        return vectors
    vectors = unit_vectors({**EMBEDDINGS, **BY_LOSS}[name][0](known, seed))
    if folder:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return vectors


# --- what candidates find ---


@dataclass(frozen=True)
class Tried:
    """ARI and NMI of candidates by name, and the one that each rule chooses."""

    ari: dict[str, float]
    nmi: dict[str, float]
    at_true_k: float
    chosen: dict[str, str]


def agreement(groups: NDArray[np.int64], labels: NDArray[np.int32]) -> tuple[float, float]:
    """Return ARI and NMI, each outlier a cluster of its own."""
    alone = np.where(labels >= 0, labels, len(labels) + np.arange(len(labels)))
    return adjusted_rand_score(groups, alone), normalized_mutual_info_score(groups, alone)


def tried(known: Known, points: Vectors, seed: int) -> Tried:
    [kmeans] = parse_models([f"kmeans:n_clusters={known.groups.max() + 1}"], len(points))
    candidates = resolved(points, parse_models(None, len(points)), seed)
    fits = fit_all(points, [*candidates, kmeans], seed, 4 << 30, 1, None)
    found = [(0.0, 0.0) if fit.labels is None else agreement(known.groups, fit.labels) for fit in fits]
    names = [str(fit.candidate) for fit in fits]
    sample = sample_of(points, seed, 4 << 30)
    scores = [None if fit.labels is None else sample.scores(fit.labels[sample.drawn]) for fit in fits[:-1]]
    rows = [row for row in ranked(fits[:-1], scores, DEFAULT)[0] if row.is_valid]
    chosen = {rule: min(rows, key=score).name for rule, score in RULES.items()}
    ari, nmi = (dict(zip(names[:-1], column, strict=False)) for column in zip(*found, strict=True))
    return Tried(ari, nmi, found[-1][0], chosen)


RULES: dict[str, Callable[[Row], float]] = {
    "neighbours": lambda row: -row.score,
    "mean rank": lambda row: row.mean_rank,
    "modularity": lambda row: -row.modularity,
    "silhouette": lambda row: -row.silhouette * (1 - row.outliers),
    "Calinski-Harabasz": lambda row: -row.calinski_harabasz * (1 - row.outliers),
    "Davies-Bouldin": lambda row: row.davies_bouldin / (1 - row.outliers),
}
"""What is least for the candidate that is taken; those of the three scores weigh the share of outliers."""


def all_tried(data: Path) -> Iterator[tuple[Known, str, list[Tried]]]:
    for name in SETS:
        for embedding in EMBEDDINGS:
            yield of_set(data, name), embedding, [of_seed(data, name, embedding, seed) for seed in SEEDS]


@cache
def of_set(data: Path, name: str) -> Known:
    return Known.read(data, name)


@cache  # two tables are made of it
def of_seed(data: Path, name: str, embedding: str, seed: int) -> Tried:
    known = of_set(data, name)
    return tried(known, kept(embedding, known, seed), seed)


# --- the tables ---


def spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return (
        f"{mean:.2f} ± {statistics.stdev(values):.2f}".replace("0.", ".")
        if len(set(values)) > 1
        else (f"{mean:.2f}".replace("0.", "."))
    )


def deep(data: Path) -> Iterator[str]:
    yield (
        f"Seeds {_listed(SEEDS)}: mean ± standard deviation. By model: ARI of the best of its "
        "default grid, found with the labels. Chosen: without them."
    )
    yield ""
    heads = [
        "set",
        "embedding",
        "KMeans at the true k",
        *SHOWN,
        "chosen, ARI",
        "chosen, NMI",
        "chosen (seed 0)",
    ]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for known, embedding, runs in all_tried(data):
        best = [spread([max_of(run.ari, model) for run in runs]) for model in SHOWN]
        cells = [
            known.name,
            EMBEDDINGS[embedding][1],
            spread([run.at_true_k for run in runs]),
            *best,
            "**" + spread([run.ari[run.chosen[DEFAULT]] for run in runs]) + "**",
            spread([run.nmi[run.chosen[DEFAULT]] for run in runs]),
            f"`{runs[0].chosen[DEFAULT]}`",
        ]
        yield "| " + " | ".join(cells) + " |"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def max_of(ari: dict[str, float], model: str) -> float:
    return max(value for name, value in ari.items() if name.partition(":")[0] == model)


def deep_choice(data: Path) -> Iterator[str]:
    rules = tuple(RULES)
    yield "ARI of the best candidate less that of the chosen one, mean of three seeds."
    yield ""
    yield "| set | embedding | best | " + " | ".join(rules) + " |"
    yield "|---" * (len(rules) + 3) + "|"
    lost: dict[str, list[float]] = {rule: [] for rule in rules}
    for known, embedding, runs in all_tried(data):
        best = [max(run.ari.values()) for run in runs]
        cells = []
        for rule in rules:
            behind = [high - run.ari[run.chosen[rule]] for high, run in zip(best, runs, strict=True)]
            lost[rule].append(statistics.fmean(behind))
            cells.append(f"{lost[rule][-1]:.2f}")
        row = [known.name, EMBEDDINGS[embedding][1], f"{statistics.fmean(best):.2f}", *cells]
        yield "| " + " | ".join(row) + " |"
    yield "| mean | | | " + " | ".join(f"**{statistics.fmean(lost[rule]):.3f}**" for rule in rules) + " |"
    within = [sum(value <= 0.05 for value in lost[rule]) for rule in rules]
    n = len(SETS) * len(EMBEDDINGS)
    yield f"| within .05, of {n} | | | " + " | ".join(map(str, within)) + " |"


def deep_losses(data: Path) -> Iterator[str]:
    yield f"ARI of the clusters chosen without labels, and of KMeans at the true k; seeds {_listed(SEEDS)}."
    yield ""
    yield "| set | " + " | ".join(f"{text}: chosen | KMeans" for _, text in BY_LOSS.values()) + " |"
    yield "|---" * (1 + 2 * len(BY_LOSS)) + "|"
    for name in SETS:
        cells = []
        for loss in BY_LOSS:
            runs = [of_seed(data, name, loss, seed) for seed in SEEDS]
            cells += [spread([run.ari[run.chosen[DEFAULT]] for run in runs])]
            cells += [spread([run.at_true_k for run in runs])]
        yield f"| {name} | " + " | ".join(cells) + " |"


def deep_batches(data: Path) -> Iterator[str]:
    """What is lost by batches."""
    yield "ARI of the merged clusters. Images in the order of their files, group by group, or shuffled."
    yield ""
    heads = [f"{count} batches, {order}" for order in ("by group", "shuffled") for count in BATCHES]
    yield "| set | embedding | one batch | " + " | ".join(heads) + " |"
    yield "|---" * (3 + len(heads)) + "|"
    for name in SETS:
        known = of_set(data, name)
        n = len(known.paths)
        for embedding in ("autoencoder", "lite0"):
            vectors = kept(embedding, known, 0)
            cells = [f"{merged(known.groups, vectors, n):.2f}"]
            for order in (np.arange(n), np.random.default_rng(0).permutation(n)):
                cells += [f"{merged(known.groups[order], vectors[order], -(-n // k)):.2f}" for k in BATCHES]
            yield f"| {name} | {EMBEDDINGS[embedding][1]} | " + " | ".join(cells) + " |"


BATCHES = (2, 5)


def merged(groups: NDArray[np.int64], vectors: Vectors, batch_size: int) -> float:
    """Return the ARI of what becomes of the clusters of batches."""
    n, engine = len(vectors), select(n_threads=1)
    method = DeepModels(about={"dimensions": vectors.shape[1]}, memory=4 << 30)
    digests = np.arange(2 * n, dtype=np.uint64).reshape(n, 2).view(np.uint8)  # no copies
    shapes, is_odd = np.ones((n, 2), np.int32), np.zeros(n, bool)
    features = Features("deep", {}, vectors, shapes, is_odd, is_odd, digests)
    starts = [*range(0, n, batch_size), n]
    batches = [np.arange(start, end) for start, end in pairwise(starts)]
    parts = [method.cluster(features.take(batch), engine).labels for batch in batches]
    found = method.join(groups_of(parts), np.array(starts), features.take, engine).labels
    return agreement(groups, found)[0]


def deep_pairs(data: Path) -> Iterator[str]:
    """Near-duplicates by the cosine of efficientnet-lite0, among distractors."""
    pool = Known.read(data, "tiny_pool_dev")
    sets = [Known.read(data, name) for name in ("copies_dev", "real_series_dev")]
    yield "| threshold | " + " | ".join(f"{known.name} + {pool.name}: P, R, F1" for known in sets) + " |"
    yield "|---" * 3 + "|"
    edges = []
    for known in sets:
        vectors = np.concatenate([kept("lite0", known, 0), kept("lite0", pool, 0)])
        edges.append(select().edges("cosine", vectors, threshold=0.7))
    for threshold in np.arange(0.74, 0.93, 0.02):
        cells = []
        for known, found in zip(sets, edges, strict=True):
            groups = np.concatenate([known.groups, known.groups.max() + 1 + np.arange(len(pool.paths))])
            labels = ci.components(found[found["score"] > threshold], len(groups))
            cells.append(", ".join(f"{value:.3f}" for value in of_pairs(groups, labels)))
        yield f"| {threshold:.2f} | " + " | ".join(cells) + " |"


def of_pairs(groups: NDArray[np.int64], labels: NDArray[np.int32]) -> tuple[float, float, float]:
    """Return precision, recall and F1 over pairs."""
    alone = np.where(labels >= 0, labels, len(labels) + np.arange(len(labels)))
    (_, wrong), (missed, right) = pair_confusion_matrix(groups, alone)
    precision, recall = right / max(1, right + wrong), right / (right + missed)
    return precision, recall, 2 * right / (2 * right + wrong + missed)


def deep_speed(data: Path) -> Iterator[str]:
    known = Known.read(data, "coil100_dev")
    pictures = known.pictures(64)
    yield f"{len(pictures)} pictures of 64x64 in colour, width 16, one thread, CPU time, the whole training."
    yield ""
    yield "| what | images/s |"
    yield "|---|---|"
    for name, options in (
        ("train, mse alone", {"contrastive": 0.0}),
        ("train, mse (default: with the contrastive term)", {}),
        ("train, l1", {"loss": "l1"}),
        (
            "train, perceptual, efficientnet-lite0",
            {"loss": "perceptual", "perceptual_network": "efficientnet-lite0"},
        ),
    ):
        epochs = 2 if "loss" in options and options["loss"] == "perceptual" else 10
        start = time.process_time()
        ci.deep.train(pictures, epochs=epochs, device="cpu", threads=1, **options)
        yield f"| {name} | {epochs * len(pictures) / (time.process_time() - start):.0f} |"
    for name, embedding in (
        ("embed, autoencoder", ci.deep.train(pictures, epochs=1, device="cpu", threads=1)),
        ("embed, efficientnet-lite0, 224x224", "efficientnet-lite0"),
    ):
        made = ci.deep.embedder(embedding, n_threads=1)
        seen = pictures if made.shape.size == 64 else known.pictures(made.shape.size)
        start = time.process_time()
        made(seen)
        yield f"| {name} | {len(seen) / (time.process_time() - start):.0f} |"


def main() -> None:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        parts = {
            "deep": deep,
            "deep-choice": deep_choice,
            "deep-losses": deep_losses,
            "deep-batches": deep_batches,
            "deep-pairs": deep_pairs,
            "deep-speed": deep_speed,
        }
        readme.run_parts(__doc__, parts)


if __name__ == "__main__":
    main()
