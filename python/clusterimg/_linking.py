"""How the similar pairs of a run become clusters: its linkage, and what a person knows of its files.

Constraints are about the final clusters, and batches are clustered one after another. So what one batch
has put together is known to the next: there, too, it belongs together, and is held apart from the same
images. Nothing has to be undone when batches are merged.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._distinct import first_equal
from ._linkage import keys_of
from ._names import escape_name, unescape_name
from ._table_readers import read_table
from .backends import Engine
from .clustering import Known, check_linkage, linked
from .errors import UsageError

__all__ = ["REFUSED_DTYPE", "Given", "Linking", "NamePairs", "read_pairs"]

NamePairs = tuple[tuple[str, str], ...]
Given = str | os.PathLike[str] | Sequence[tuple[str | os.PathLike[str], str | os.PathLike[str]]]
"""Pairs of files: a CSV table with the columns file_a and file_b, or the pairs themselves."""

REFUSED_DTYPE = np.dtype([("i", "<i4"), ("j", "<i4"), ("score", "<f8"), ("reason", "<i4")])
"""A similar pair that a cannot-link keeps apart; `reason` is the place of that one among them."""

Digests = NDArray[np.uint8]
"""(n, 16), equal for identical images."""

_COLUMNS = ("file_a", "file_b")


def read_pairs(given: Given | None, name: str) -> NamePairs:
    """Return pairs of files, each once and in one order; `name` is that of the parameter.

    Raises
    ------
    ResultError
        The table can't be read or is damaged.
    UsageError
        What came are not pairs, or a file is paired with itself.
    """
    if given is None:
        return ()
    found: dict[tuple[str, str], None] = {}
    for where, a, b in _rows(given, name):
        if not (a and b):
            raise UsageError(
                f"{where}: a pair needs two files, got {escape_name(a)!r} and {escape_name(b)!r}"
            )
        if a == b:
            raise UsageError(f"{where}: {escape_name(a)} is paired with itself")
        found[(a, b) if os.fsencode(a) < os.fsencode(b) else (b, a)] = None
    return tuple(sorted(found, key=lambda pair: (os.fsencode(pair[0]), os.fsencode(pair[1]))))


def _rows(given: Given, name: str) -> Iterable[tuple[str, str, str]]:
    """Yield where each pair stands, and its two files."""
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        for line, (a, b) in read_table(path, _COLUMNS):
            yield f"{escape_name(str(path))}, line {line}", unescape_name(a), unescape_name(b)
        return
    for k, pair in enumerate(given):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(f, str | os.PathLike) for f in pair):
            raise UsageError(f"{name} must be a path or pairs of files, got {pair!r} at place {k}")
        a, b = (file if isinstance(file, str) else Path(file).as_posix() for file in pair)
        yield f"{name}, place {k}", a, b


class Linking:
    """The linkage of a run and its constraints, with what the batches so far have put together.

    linkage : one of `LINKAGES`
    must, cannot : the constraints, as `read_pairs` gives them
    """

    def __init__(self, linkage: str = "components", must: NamePairs = (), cannot: NamePairs = ()) -> None:
        check_linkage(linkage)
        self.linkage, self.must, self.cannot = linkage, must, cannot
        self._set_of: dict[str, int] = {}
        """For each file of a constraint, the set of files that must come together with it."""
        for pair in (*must, *cannot):
            for file in pair:
                self._set_of.setdefault(file, len(self._set_of))
        self._parent = list(range(len(self._set_of)))
        for a, b in must:
            self._unite(self._set_of[a], self._set_of[b])
        for a, b in cannot:
            if self._root(self._set_of[a]) == self._root(self._set_of[b]):
                shown = f"{escape_name(a)} and {escape_name(b)}"
                raise UsageError(
                    f"cannot_link holds {shown}, which must_link joins, directly or through others"
                )
        self._at_first = list(self._parent)

    @property
    def is_plain(self) -> bool:
        """Whether clusters are the components of the similar pairs, and nothing else is known."""
        return self.linkage == "components" and not self._set_of

    @property
    def key(self) -> list[Any]:
        """What decides the clusters."""
        return [self.linkage, list(self.must), list(self.cannot)]

    def check(self, files: Collection[str]) -> None:
        """Raise `UsageError` unless all constraints are about these files."""
        there = set(files)
        for name, pairs in (("must_link", self.must), ("cannot_link", self.cannot)):
            missing = {file: None for pair in pairs for file in pair if file not in there}
            if missing:
                others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise UsageError(
                    f"{name} names {escape_name(next(iter(missing)))}{others}, not among the images: "
                    "names must be as in clusters.csv, relative to the folder"
                )

    def without_effect(self, files: Collection[str]) -> list[tuple[str, str]]:
        """Return the constraints with a file that could not be used."""
        there = set(files)
        return [pair for pair in (*self.must, *self.cannot) if not there.issuperset(pair)]

    # --- labels ---

    def of_batch(
        self, edges: NDArray[np.void], files: Sequence[str], digests: Digests, engine: Engine
    ) -> NDArray[np.int32]:
        """Return the labels of a batch, and remember what came together."""
        known = self._of_bonds(self.bonds(files), digests)
        labels = linked(edges, len(files), self.linkage, known, engine)
        self._remember(labels, known.bonds)
        return labels

    def of_all(
        self, edges: NDArray[np.void], files: Sequence[str], digests: Digests, engine: Engine
    ) -> NDArray[np.int32]:
        """Return the labels of all images from all similar pairs; what batches put together is forgotten."""
        self._parent = list(self._at_first)
        return linked(edges, len(files), self.linkage, self._of_bonds(self.bonds(files), digests), engine)

    def bonds(self, files: Sequence[str]) -> NDArray[np.int64]:
        """Return for each file the number of the set that belongs together with it, -1 for none."""
        sets = (self._set_of.get(file, -1) for file in files)
        found = (number if number < 0 else self._root(number) for number in sets)
        return np.fromiter(found, np.int64, len(files))

    def of_groups(
        self, edges: NDArray[np.void], bonds: NDArray[np.int64], digests: Digests, engine: Engine
    ) -> NDArray[np.int32]:
        """Return the labels of groups that one image each stands for, from the pairs of those images."""
        return linked(edges, len(bonds), self.linkage, self._of_bonds(bonds, digests), engine)

    def _of_bonds(self, bonds: NDArray[np.int64], digests: Digests) -> Known:
        equal = np.ascontiguousarray(digests).view("V16").reshape(-1)
        order = np.empty(len(bonds), np.int64)
        order[np.argsort(equal, kind="stable")] = np.arange(len(bonds))  # names of files decide nothing
        known = Known(bonds, np.empty((0, 2), np.int64), first_equal(equal).astype(np.int64), order)
        image_of = dict(zip(bonds[::-1].tolist(), range(len(bonds) - 1, -1, -1), strict=True))
        sets = {
            tuple(sorted((self._root(self._set_of[a]), self._root(self._set_of[b])))) for a, b in self.cannot
        }
        apart = [(image_of[a], image_of[b]) for a, b in sorted(sets) if a in image_of and b in image_of]
        return replace(known, apart=np.array(apart, np.int64).reshape(-1, 2))

    def _remember(self, labels: NDArray[np.int32], bonds: NDArray[np.int64]) -> None:
        named = np.flatnonzero((bonds >= 0) & (labels >= 0))
        first = named[first_equal(labels[named])]
        for a, b in zip(bonds[named].tolist(), bonds[first].tolist(), strict=True):
            self._unite(a, b)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def _unite(self, a: int, b: int) -> None:
        low, high = sorted((self._root(a), self._root(b)))
        self._parent[high] = low

    # --- what was refused ---

    def refused(
        self, edges: NDArray[np.void], files: Sequence[str], labels: NDArray[np.int32]
    ) -> NDArray[np.void]:
        """Return the pairs, REFUSED_DTYPE, whose images lie in clusters that a cannot-link keeps apart."""
        home = np.where(labels >= 0, labels, len(labels) + np.arange(len(labels)))
        image_of = {file: k for k, file in enumerate(files) if file in self._set_of}
        stand_in: dict[int, int] = {}  # an image of each must-linked set; others of it may be unusable
        for file, image in image_of.items():
            stand_in.setdefault(self._static_root(file), image)
        reasons: dict[int, int] = {}
        for k, pair in enumerate(self.cannot):
            ends = [stand_in.get(self._static_root(file), -1) for file in pair]
            if min(ends) >= 0:
                reasons.setdefault(int(keys_of(home[ends[:1]], home[ends[1:]])[0]), k)
        found = keys_of(home[edges["i"]], home[edges["j"]])
        chosen = np.flatnonzero(np.isin(found, np.fromiter(reasons, np.int64, len(reasons))))
        refused = np.empty(len(chosen), REFUSED_DTYPE)
        for name in ("i", "j", "score"):
            refused[name] = edges[name][chosen]
        refused["reason"] = [reasons[key] for key in found[chosen].tolist()]
        return refused

    def _static_root(self, file: str) -> int:
        number = self._set_of[file]
        while self._at_first[number] != number:
            number = self._at_first[number]
        return number
