"""The batches of a run: features, edges and labels of each, then the merge of all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import merging, results
from ._store import Store
from ._types import Progress, Skip
from .backends import Engine
from .extraction import extract_files
from .methods import Classic

__all__ = ["Batches", "Clock"]


class Clock:
    """Seconds of wall time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the `with` block to the stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 6)


class Batches:
    """What is known of the images of a run, batch by batch; features are in memory one batch at a time.

    files : paths of the images that could be used; image k is `files[k]`
    skipped : the others, with reasons
    featureless, near_flat : files in these states
    decoders : how many images each decoder read
    n_edges : similar pairs in all tables
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        method: Classic,
        engine: Engine,
        progress: Progress | None,
        clock: Clock,
    ) -> None:
        self._source, self._target = source, target
        self._method, self._engine = method, engine
        self._progress, self._clock = progress, clock
        self._store = Store(target / results.STATE_FOLDER)
        self._labels: list[NDArray[np.int32]] = []
        self.files: list[str] = []
        self.skipped: list[Skip] = []
        self.featureless: list[str] = []
        self.near_flat: list[str] = []
        self.decoders: Counter[str] = Counter()
        self.n_edges = 0

    @property
    def count(self) -> int:
        """Number of batches."""
        return len(self._labels)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Cluster of each image in its batch, -1 for an outlier."""
        return np.concatenate([np.empty(0, np.int32), *self._labels])

    @property
    def numbers(self) -> NDArray[np.int32]:
        """Batch of each image."""
        return np.repeat(np.arange(self.count, dtype=np.int32), [len(labels) for labels in self._labels])

    def reporter(self, stage: str) -> Callable[[int, int], None]:
        """Return the function that reports `(done, total)` of a stage."""
        progress = self._progress
        if progress is None:
            return lambda done, total: None
        return lambda done, total: progress(stage, min(done, total), total)

    def cluster(self, files: Sequence[str], batch_size: int) -> None:
        """Extract the features and find the clusters of all batches, one after another."""
        for start in range(0, len(files), batch_size):
            self._cluster_batch(files, start, min(len(files), start + batch_size))

    def _cluster_batch(self, files: Sequence[str], start: int, end: int) -> None:
        report = self.reporter("features")
        with self._clock("features"):
            extraction = extract_files(
                self._source,
                files[start:end],
                self._method,
                self._engine,
                progress=lambda done: report(start + done, len(files)),
            )
        features = extraction.features
        with self._clock("pairs"):
            n_pairs = len(features) * (len(features) - 1) // 2
            report_pairs = self.reporter("pairs")
            labels, edges = self._method.cluster(
                features, self._engine, lambda done: report_pairs(done, n_pairs)
            )
            report_pairs(n_pairs, n_pairs)
        first = len(self.files)
        kept = [files[start + k] for k in extraction.kept]
        self.files += kept
        self.skipped += extraction.skipped
        self.decoders.update(extraction.decoders)
        self.featureless += [kept[k] for k in np.flatnonzero(features.featureless)]
        self.near_flat += [kept[k] for k in np.flatnonzero(features.near_flat)]
        with self._clock("tables"):
            self._store.put(self.count, features, edges)
            if edges is not None:
                edges["i"] += first
                edges["j"] += first
                self._write_edges(f"batch_{self.count}", edges)
        self._labels.append(labels)

    def merge(self, *, exactly: bool) -> NDArray[np.int32]:
        """Return the labels of all images, clusters of different batches joined."""
        with self._clock("merge"):
            if not exactly:
                merged = merging.representatives(self._labels, self._store, self._method, self._engine)
                if merged.edges is not None:
                    self._write_edges("representatives", merged.edges)
                return merged.labels
            labels = merging.as_one(self._labels)
            report, n_merges = self.reporter("merge"), self.count * (self.count - 1) // 2
            merges = merging.exact(self._labels, self._store, self._method, self._engine)
            for done, ((p, q), merged) in enumerate(merges, 1):
                labels = merged.labels
                self._write_edges(f"batch_{p}_batch_{q}", merged.edges)
                report(done, n_merges)
            return labels

    def scores_with(self, representatives: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the score of each image with its representative, NaN where it has none."""
        scores = np.full(len(self.files), np.nan)
        chosen = np.unique(representatives[representatives >= 0])
        if not len(chosen):
            return scores
        with self._clock("scores"):
            centers = merging.take(self._store, self._labels, chosen)
            offsets = merging.starts(self._labels)
            for batch in range(self.count):
                mine = slice(offsets[batch], offsets[batch + 1])
                local = np.flatnonzero(representatives[mine] >= 0)
                center = np.searchsorted(chosen, representatives[mine][local])
                scores[mine][local] = self._method.scores(
                    centers, self._store.get(batch), self._engine, center, local
                )
        return scores

    def _write_edges(self, stage: str, edges: NDArray[np.void] | None) -> None:
        if edges is not None:
            self.n_edges += len(edges)
            results.write_similarities(self._target, stage, edges, self.files)
