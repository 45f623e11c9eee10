"""The batches of a run: features, edges and labels of each, then the merge of all.

What an earlier run in the same result folder left is used wherever it was made from the same things:
features by file, the pairs of a batch by the key in their table.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import merging, results
from ._distinct import distinct
from ._linking import REFUSED_DTYPE, Linking
from ._reading import ReadBatch
from ._store import Place, Store
from ._types import Features, Progress, no_edges
from .backends import Engine
from .clustering import number_by_appearance
from .errors import ResultError
from .extraction import features_of
from .methods import Classic, Clusters

__all__ = ["Batches", "Clock", "digest_of"]


def digest_of(*parts: Any) -> str:
    """Return a text that is the same for the same parts: arrays, or what JSON knows."""
    state = hashlib.sha256()
    for part in parts:
        data = part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part).encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


class Clock:
    """Seconds of wall time by stage, and the ways in which pairs were found."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.plans: list[str] = []

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
    featureless, near_flat : files in these states
    decoders : how many images each decoder read
    n_edges : similar pairs in all tables
    n_reused : of how many batches an earlier run left the pairs
    tables : names of the tables written
    selections, plots : how clusters were chosen, where a method chooses; names of the pictures of that
    """

    def __init__(
        self,
        target: Path,
        manifest: results.Manifest,
        store: Store,
        method: Classic,
        engine: Engine,
        progress: Progress | None,
        clock: Clock,
        linking: Linking,
    ) -> None:
        self._target, self._manifest, self._store = target, manifest, store
        self._method, self._engine, self._linking = method, engine, linking
        self._progress, self._clock = progress, clock
        self._labels: list[NDArray[np.int32]] = []
        self._stamps = [np.empty((0, 2), np.int64)]
        self._digests: list[NDArray[np.uint8]] = []
        self.files: list[str] = []
        self.featureless: list[str] = []
        self.near_flat: list[str] = []
        self.decoders: Counter[str] = Counter()
        self.n_edges = 0
        self.n_reused = 0
        self.tables: list[str] = []
        self.selections: list[dict[str, Any]] = []
        self.plots: list[str] = []

    @property
    def count(self) -> int:
        """Number of batches."""
        return len(self._labels)

    @property
    def batch_labels(self) -> NDArray[np.int32]:
        """Cluster of each image in its batch, -1 for an outlier."""
        return np.concatenate([np.empty(0, np.int32), *self._labels])

    @property
    def numbers(self) -> NDArray[np.int32]:
        """Batch of each image."""
        return np.repeat(np.arange(self.count, dtype=np.int32), [len(labels) for labels in self._labels])

    @property
    def stamps(self) -> NDArray[np.int64]:
        """Size and mtime_ns of each file, (n, 2)."""
        return np.concatenate(self._stamps)

    def reporter(self, stage: str) -> Callable[[int, int], None]:
        """Return the function that reports `(done, total)` of a stage."""
        progress = self._progress
        if progress is None:
            return lambda done, total: None
        return lambda done, total: progress(stage, min(done, total), total)

    def cluster(self, batches: Iterable[ReadBatch]) -> None:
        """Find the clusters of all batches, one after another."""
        waiting = iter(batches)
        while True:
            with self._clock("features"):  # it is read when it is asked for
                batch = next(waiting, None)
            if batch is None:
                return
            self.add(batch.files, batch.places, batch.fresh)

    # --- clusters ---

    def add(
        self,
        files: Sequence[str],
        places: Sequence[Place],
        fresh: dict[int, Features],
        *,
        known: NDArray[np.void] | None = None,
    ) -> None:
        """Make the next batch of files whose features are in the store, and find its clusters.

        `known` are its edges, indices within the batch, if the caller has them.
        """
        stage, first = f"batch_{self.count}", len(self.files)
        stamps = np.array([place[3:] for place in places], np.int64).reshape(-1, 2)
        with self._clock("features"):
            features = self._store.put(places, fresh, empty=features_of([], self._method))
        self.files += files
        self._stamps.append(stamps)
        self._digests.append(features.digests)
        self.decoders.update(place.decoder for place in places)
        self.featureless += [files[k] for k in np.flatnonzero(features.featureless).tolist()]
        self.near_flat += [files[k] for k in np.flatnonzero(features.near_flat).tolist()]
        key = self._key(stage, first, list(files), stamps)
        with self._clock(self._method.stage):
            edges = self._left_behind(stage, key, first) if known is None else known
            self.n_reused += edges is not None
            if edges is not None:
                labels = self._engine.components(edges, len(files))
            else:
                labels, edges, selection = self._cluster(features)
                self._tell(stage, selection)
            if edges is not None and not self._linking.is_plain:
                labels = self._linking.of_batch(edges, files, features.digests, self._engine)
        self._labels.append(labels)
        if edges is not None:
            self._write_edges(stage, _shifted(edges, first), key)

    def _cluster(self, features: Features) -> Clusters:
        plan = self._method.plan(features, self._engine)
        if plan and plan not in self._clock.plans:
            self._clock.plans.append(plan)
        return self._method.cluster(features, self._engine, self.reporter(self._method.stage))

    def _tell(self, stage: str, selection: Any) -> None:
        """Keep how the clusters of a stage were chosen, and draw it."""
        if selection is None:
            return
        self.selections.append({"of": stage, **selection.as_json()})
        with self._clock("plots"):
            for name in selection.plots(stage):
                self._manifest.add_table(name)
                self.plots.append(name)
            selection.draw(self._target, stage)

    # --- merge ---

    def merge(self, how: str, groups: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Return the labels of all images, the clusters of different batches joined as `how` says.

        `groups` are the images known to belong together, if those are not the clusters of the batches.
        """
        starts = merging.starts(self._labels)
        groups = merging.groups_of(self._labels) if groups is None else groups
        with self._clock("merge"):
            if how == "no" or self.count < 2:
                return number_by_appearance(groups)
            if how == "representatives":
                merged = self._by_representatives(groups, starts)
                self._tell(how, merged.selection)
                if merged.edges is not None:
                    self._write_edges(how, merged.edges)
                return merged.labels
            report, n_merges = self.reporter("merge"), self.count * (self.count - 1) // 2
            merges = merging.exact(groups, starts, self._store, self._method, self._engine)
            for done, ((p, q), merged) in enumerate(merges, 1):
                labels = merged.labels
                if merged.edges is not None:
                    self._write_edges(f"batch_{p}_batch_{q}", merged.edges)
                report(done, n_merges)
            if not self._linking.is_plain:
                digests = np.concatenate(self._digests)
                labels = self._linking.of_all(self._all_edges(), self.files, digests, self._engine)
            return labels

    def _by_representatives(self, groups: NDArray[np.int64], starts: NDArray[np.int64]) -> merging.Merged:
        if self._linking.is_plain:
            report = self.reporter("merge")
            return merging.representatives(groups, starts, self._store, self._method, self._engine, report)
        bonds = self._linking.bonds(self.files)
        return merging.linked_representatives(
            groups, bonds, starts, self._store, self._method, self._engine, self._linking
        )

    def _all_edges(self) -> NDArray[np.void]:
        """Return the pairs of all tables written."""
        return np.concatenate(
            [no_edges(), *(results.read_similarities(self._target / name).edges for name in self.tables)]
        )

    def refused(self, labels: NDArray[np.int32]) -> NDArray[np.void]:
        """Return the similar pairs that cannot-links keep apart, REFUSED_DTYPE, the strongest first."""
        found = [np.empty(0, REFUSED_DTYPE)]
        for name in self.tables if self._linking.cannot else ():
            edges = results.read_similarities(self._target / name).edges
            found.append(self._linking.refused(edges, self.files, labels))
        refused = np.concatenate(found)
        return refused[np.lexsort((refused["j"], refused["i"], -refused["score"]))]

    def scores_with(self, representatives: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the score of each image with its representative, NaN where it has none."""
        scores = np.full(len(self.files), np.nan)
        chosen = distinct(representatives[representatives >= 0])
        if not len(chosen):
            return scores
        with self._clock("scores"):
            starts = merging.starts(self._labels)
            centers = merging.take(self._store, starts, chosen)
            for batch in range(self.count):
                mine = slice(starts[batch], starts[batch + 1])
                local = np.flatnonzero(representatives[mine] >= 0)
                center = np.searchsorted(chosen, representatives[mine][local])
                scores[mine][local] = self._method.scores(
                    centers, self._store.get(batch), self._engine, center, local
                )
        return scores

    # --- tables ---

    def _key(self, *parts: Any) -> str:
        """Return what names the pairs found in these parts, under this method and threshold."""
        method = self._method
        return digest_of(method.name, dict(method.params), dict(method.decides), *parts)

    def _left_behind(self, stage: str, key: str, first: int) -> NDArray[np.void] | None:
        """Return the edges of a batch from the table that an earlier run wrote, if it is of the same key."""
        path = self._target / results.similarities_name(stage)
        if not path.exists():
            return None
        try:
            table = results.read_similarities(path)
        except ResultError:  # damaged: they are found again
            return None
        return _shifted(table.edges, -first) if table.key == key else None

    def _write_edges(self, stage: str, edges: NDArray[np.void], key: str = "") -> None:
        self.n_edges += len(edges)
        self.tables.append(results.similarities_name(stage))
        with self._clock("tables"):
            self._manifest.add_table(self.tables[-1])
            results.write_similarities(self._target, stage, edges, self.files, key=key)


def _shifted(edges: NDArray[np.void], first: int) -> NDArray[np.void]:
    """Return edges with `first` added to the indices of their images."""
    moved = edges.copy()
    moved["i"] += first
    moved["j"] += first
    return moved
