"""All pairs of the labelled sets scored once per method, and curves of any of their images from that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bench_defaults as defaults
from bench_defaults import SETS, Indices, read_collection
from clusterimg._types import EDGE_DTYPE, Features
from clusterimg.backends import Engine
from clusterimg.extraction import extract_images
from clusterimg.methods import create
from clusterimg.picker import ThresholdCurve
from clusterimg.picker.building import curve_of

Grade = tuple[float, float, float]
"""Precision, recall and F1 over pairs of images in one cluster."""


@dataclass(frozen=True, slots=True)
class Known:
    """An engine for images that are numbers: it looks their scores up."""

    scores: NDArray[np.float64]
    engine: Engine

    def matrix(self, kernel: str, images: Indices, others: Indices, **options: Any) -> NDArray[np.float64]:
        return self.scores[np.ix_(images, others)]

    def edges(
        self, kernel: str, images: Indices, others: Indices | None = None, *, threshold: float, **options: Any
    ) -> NDArray[np.void]:
        scores = self.matrix(kernel, images, images if others is None else others)
        above = scores > threshold
        i, j = np.nonzero(np.triu(above, 1) if others is None else above)
        return edges_of(i, j, scores[i, j])

    def components(self, edges: NDArray[np.void], n_images: int) -> NDArray[np.int32]:
        return self.engine.components(edges, n_images)


def edges_of(i: Indices, j: Indices, scores: NDArray[np.float64]) -> NDArray[np.void]:
    edges = np.empty(len(i), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = i, j, scores
    return edges


@dataclass(frozen=True, slots=True)
class Scored:
    """All images of a method, and the scores of all pairs (-1 where there is none)."""

    name: str
    collection: defaults.Collection
    features: Features
    known: Known
    edges: NDArray[np.void]

    @classmethod
    def read(cls, name: str, root: Path, engine: Engine, cache: Path | None) -> Scored:
        collection = read_collection(root, defaults.DISTRACTORS.get(name, "tiny_pool_dev"))
        method = create(name)
        paths = [root / file for file in collection.files]
        [features] = extract_images(paths, [method], engine, methods_of_arrays=[method])

        def make() -> NDArray[np.void]:
            usable = np.flatnonzero(~features.featureless)
            found = engine.edges(
                method.kernel, features.take_values(usable), threshold=0.0, **method.kernel_options
            )
            found["i"], found["j"] = usable[found["i"]], usable[found["j"]]
            return found

        edges = defaults.cached_edges(cache, f"all {name}", make)
        scores = np.full((len(features), len(features)), -1.0)
        scores[edges["i"], edges["j"]] = scores[edges["j"], edges["i"]] = edges["score"]
        first = features.first_copies()
        scores[first[:, None] == first] = 1.0
        i, j = np.nonzero(np.triu(scores, 1) > 0)
        edges = defaults.without_pool_cycles(edges_of(i, j, scores[i, j]), collection.pool)
        return cls(name, collection, features, Known(scores, engine), edges)

    def curve(self, images: Indices, sample: int = 10**6, seed: int = 0) -> ThresholdCurve:
        """Return the curve that the package makes of these images."""
        features, n = self.features, len(images)
        numbered = Features(
            self.name,
            features.params,
            images,
            features.shapes[images],
            features.featureless[images],
            np.zeros(n, bool),
            features.digests[images],
        )
        files = [self.collection.files[image] for image in images]
        engine: Any = self.known
        return curve_of([numbered], files, create(self.name), engine, sample=sample, seed=seed)

    def grades(self, images: Indices, thresholds: Sequence[float]) -> list[Grade]:
        """Return precision, recall and F1 at each of the thresholds."""
        wanted = np.array(thresholds)
        found = defaults.curve(self.edges, self.collection.groups, images, wanted)
        return list(zip(found.precision.tolist(), found.recall.tolist(), found.f1.tolist(), strict=True))

    def settings(self, parts: dict[str, Indices]) -> Iterator[tuple[str, Indices]]:
        """Yield, with their names, the parts of the sets alone and with distractors."""
        for name in SETS:
            yield name, parts[name]
            yield f"{name} + pool", np.concatenate([parts[name], self.collection.pool])
