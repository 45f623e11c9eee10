"""Finished results that are to be joined: their tables, their features, what their runs were told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import results as tables
from ._linking import NamePairs, read_pairs
from ._store import Place, Store
from ._types import Skip
from .clustering import check_linkage
from .errors import ResultError, UsageError
from .methods import Classic, create
from .methods.deep import Deep

__all__ = ["CONSTRAINTS", "OF_MODELS", "Part", "opened", "shown"]

CONSTRAINTS = ("must_link", "cannot_link")
OF_MODELS = ("models", "selection", "pca", "whiten", "seed")
_OPTIONS = ("method", "threshold", "size", "scale", "hash_size", "orb_rule")


@dataclass(frozen=True, slots=True)
class Part:
    """One of the results to be joined.

    out : its folder
    record : what its manifest says
    options : parameters of its run that decide features and pairs
    features : what its features agree in
    table : its images
    linkage : that of its run
    known : the must-links and cannot-links of its run
    """

    out: Path
    record: tables.Record
    options: Mapping[str, Any]
    features: Mapping[str, Any]
    table: tables.ClustersTable
    linkage: str
    known: Mapping[str, NamePairs]

    @property
    def is_plain(self) -> bool:
        """Whether its clusters are the components of the similar pairs, and nothing else was known."""
        return self.linkage == "components" and not any(self.known.values())

    def method(self, threshold: float | None = None) -> Classic:
        """Return the method of its run, with its threshold or another."""
        given = dict(self.options) if threshold is None else {**self.options, "threshold": threshold}
        try:
            if given["method"] == Deep.name:
                from .deep.running import kept_method

                return kept_method(given, self.features["params"])
            method: Classic = create(**{name: given[name] for name in _OPTIONS[1:]}, name=given["method"])
        except (TypeError, ValueError) as error:
            raise ResultError(f"{shown(self.out / tables.RUN)}: parameters: {error}") from error
        return method

    def located(self) -> tuple[Store, list[Place]]:
        """Return its features, and where they are of each image."""
        store = Store(self.out / tables.STATE_FOLDER, self.features)
        places = [place for place in store.find(self.table.files) if place is not None]
        if len(places) < len(self.table):
            raise ResultError(
                f"{shown(self.out)} lacks the features of {len(self.table) - len(places)} of "
                f"{len(self.table)} images: make it again, and keep the features"
            )
        return store, places

    def edges(self, batch: int, images: NDArray[np.intp]) -> NDArray[np.void] | None:
        """Return the edges of a batch, indices within it, or None if its table does not serve."""
        try:
            table = tables.read_similarities(self.out / tables.similarities_name(f"batch_{batch}"))
        except ResultError:  # they are found again
            return None
        edges, first = table.edges, images[0]
        edges["i"] -= first
        edges["j"] -= first
        is_inside = edges["i"].min(initial=0) >= 0 and edges["j"].max(initial=0) < len(images)
        return edges if is_inside and images[-1] - first == len(images) - 1 else None

    def sources(self, prefix: str) -> Iterator[str]:
        """Yield where each image is now, under `prefix` or absolute."""
        moved = {entry.target for entry in self.record.entries if entry.op == "move"}
        for file, target in zip(self.table.files, self.table.targets, strict=True):
            here = self.out.resolve() / target
            has_it = bool(target) and here.exists()
            if has_it and (target in moved or not (self.record.folder / file).exists()):
                yield str(here)
            else:
                yield prefix + file

    def skipped(self, prefix: str) -> Iterator[Skip]:
        """Yield the files that could not be used."""
        for _, (file, reason) in tables.read_table(self.out / tables.SKIPPED, ("file", "reason")):
            yield Skip(prefix + tables.unescape_name(file), tables.unescape_name(reason))


def shown(path: Path) -> str:
    return tables.escape_name(str(path))


def opened(folders: Sequence[Path], stack: ExitStack) -> list[Part]:
    """Return the results, read and held for this process."""
    if not folders:
        raise UsageError("results must be one or more result folders, got none")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("results must be different folders, got one of them twice")
    parts = []
    for folder in folders:
        run = tables.read_run(folder)
        stack.enter_context(tables.locked(folder))
        options = {name: run["parameters"].get(name) for name in (*_OPTIONS, *OF_MODELS)}
        if isinstance(options["size"], list):
            options["size"] = tuple(options["size"])
        if not (isinstance(run.get("features"), dict) and isinstance(run["features"].get("decoders"), dict)):
            raise ResultError(f"{shown(folder / tables.RUN)}: features and their decoders must be objects")
        record = tables.read_manifest(folder / tables.MANIFEST)
        features = {**run["features"], "policy": run["image_policy"]}
        table = tables.read_clusters_table(folder)
        part = Part(folder, record, options, features, table, *_linking_of(folder, run))
        part.method()  # damaged parameters are told before they are compared
        n_images = run["counts"].get("images")
        if len(part.table) != n_images:
            raise ResultError(
                f"{shown(folder / tables.CLUSTERS)} must list {n_images} images, as {tables.RUN} says, "
                f"got {len(part.table)}"
            )
        parts.append(part)
    return parts


def _linking_of(folder: Path, run: Mapping[str, Any]) -> tuple[str, dict[str, NamePairs]]:
    """Return the linkage and the constraints of a run; a result from before there were any has none."""
    linkage, held = run["parameters"].get("linkage", "components"), run.get("constraints", {})
    try:
        check_linkage(linkage)
        if not isinstance(held, dict):
            raise UsageError(f"constraints must be an object, got {type(held).__name__}")
        return linkage, {name: read_pairs(tuple(held.get(name, ())), name) for name in CONSTRAINTS}
    except (TypeError, ValueError) as error:
        raise ResultError(f"{shown(folder / tables.RUN)}: {error}") from error
