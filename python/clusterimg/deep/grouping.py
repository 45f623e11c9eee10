"""Embeddings grouped by cluster models, of which the best is taken: how a deep run clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._types import Features
from ..backends import Engine
from ..clustering import number_by_appearance
from ..errors import UsageError
from ..methods import Clusters
from ..methods.deep import NO_THRESHOLD, Deep
from ._scores import most_scored
from .choices import RULES
from .cluster_models import parse_models
from .embedding import check_pca, reduced
from .merging import Batched, choose_merge, grouped, sampled
from .selection import Selection, choose

__all__ = ["DeepModels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepModels(Deep):
    """Embeddings whose clusters are those of the best of several cluster models; it has no threshold.

    models : what `parse_models` takes; None for its defaults
    rule : how the best is found, one of `RULES`
    pca, whiten : what is done to the embeddings of a batch first, as `embed` does it
    seed : of everything that is drawn
    memory : bytes that models which are fitted at once may take
    """

    stage: ClassVar[str] = "models"

    threshold: float = NO_THRESHOLD
    models: tuple[str, ...] | None = None
    rule: str = RULES[0]
    pca: int | None = None
    whiten: bool = False
    seed: int = 0
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UsageError(f"selection must be one of {', '.join(RULES)}, got {self.rule!r}")
        check_pca(self.pca)
        if self.models is not None:  # what is wrong with them is said before images are read
            parse_models(self.models, 100)

    @property
    def decides(self) -> Mapping[str, Any]:
        """Models, rule, and what is done to the embeddings."""
        models = None if self.models is None else list(self.models)
        reducing = {"pca": self.pca, "whiten": self.whiten}
        return {"models": models, "selection": self.rule, **reducing, "seed": self.seed}

    def cluster(
        self, features: Features, engine: Engine, progress: Callable[[int, int], None] | None = None
    ) -> Clusters:
        """Return the clusters of the best model. Copies of an image share its cluster."""
        first, unique = self._unique(features)
        vectors = np.asarray(features.take_values(unique))
        [points] = self._reduced(vectors)
        selection = choose(
            points,
            parse_models(self.models, len(points)),
            seed=self.seed,
            memory=self.memory,
            n_jobs=engine.n_threads,
            rule=self.rule,
            progress=progress,
        )
        labels = _with_copies(selection.labels, first, unique)
        return Clusters(labels, None, _Told(selection, points))

    def join(
        self,
        groups: NDArray[np.int64],
        starts: NDArray[np.int64],
        features_of: Callable[[NDArray[Any]], Features],
        engine: Engine,
        progress: Callable[[int, int], None] | None = None,
    ) -> Clusters:
        """Return the clusters of all batches: those of the best model over a medoid of each group."""
        batch = np.searchsorted(starts, np.flatnonzero(groups >= 0), side="right")
        if not len(batch) or batch[0] == batch[-1]:  # nothing to join
            return Clusters(number_by_appearance(groups), None)
        images = Batched(starts, features_of)
        found = grouped(groups, images)
        if len(found.medoids) < 2:
            return Clusters(found.places, None)
        vectors = images.vectors_of(found.medoids)
        members = sampled(found, vectors, most=most_scored(self.memory), seed=self.seed)
        points, seen = self._reduced(vectors, images.vectors_of(members))
        labels, selection = choose_merge(
            points,
            seen,
            found.places[members],
            self.models,
            n_images=len(groups),
            outliers=float((groups < 0).mean()),
            seed=self.seed,
            memory=self.memory,
            n_jobs=engine.n_threads,
            rule=self.rule,
            progress=progress,
        )
        merged = np.where(found.places >= 0, labels[found.places], -1)
        return Clusters(number_by_appearance(merged), None, _Told(selection, seen))

    def _reduced(self, *vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return vectors in their common principal components, where that is asked for."""
        if not (self.pca or self.whiten):
            return list(vectors)
        together = reduced(np.concatenate(vectors), self.pca, whiten=self.whiten)
        return np.split(together, np.cumsum([len(each) for each in vectors])[:-1])


def _with_copies(
    found: NDArray[np.int32], first: NDArray[np.intp], unique: NDArray[np.intp]
) -> NDArray[np.int32]:
    """Return the labels of all images: those of first copies, and copies of outliers as clusters."""
    groups = np.full(len(first), -1, np.int64)
    groups[unique] = found
    groups = groups[first]
    is_copied = np.bincount(first, minlength=len(first))[first] > 1
    of_copies = (groups < 0) & is_copied
    groups[of_copies] = len(first) + first[of_copies]
    return number_by_appearance(groups)


class _Told:
    """How the clusters of a stage were chosen, as `run.json` and two pictures tell it."""

    def __init__(self, selection: Selection, points: NDArray[np.float32]) -> None:
        self._selection, self._points = selection, points

    def as_json(self) -> dict[str, Any]:
        """Return the table of all candidates, and which was taken."""
        best = self._selection.best
        return {"best": None if best is None else best.name, **self._selection.as_json()}

    def plots(self, stage: str) -> list[str]:
        """Return the names of the pictures that `draw` makes."""
        return [f"models_{stage}.png", f"projection_{stage}.png"]

    def draw(self, folder: Path, stage: str) -> None:
        """Draw the metrics over the candidates, and the points with their clusters."""
        from .selection_plots import save_projection, save_scores

        scores, projection = (folder / name for name in self.plots(stage))
        save_scores(self._selection, scores)
        save_projection(self._points, self._selection, projection)
