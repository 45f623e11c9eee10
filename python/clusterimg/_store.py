"""Features kept as files: those of a batch are in memory only while they are worked with.

The files are chunks of a few thousand images, written as soon as these are extracted, so that a run that
was cut off has lost little, and a later one finds again what it can still use: the features of a file of
the same name, size and time, under the same method, image policy and decoders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._distinct import distinct
from ._files import write_arrays
from ._names import escape_name
from ._types import Features, Ragged
from .errors import ResultError

__all__ = ["Place", "Store"]


_MEMBERS = {
    *("about", "names", "stamps", "decoders", "method", "shapes", "featureless", "near_flat", "digests"),
    *("values", "offsets", "value_shapes"),
}
"""What a chunk may hold."""


class Place(NamedTuple):
    """Where the store has the features of an image; what decoded it; size and time of the file then."""

    chunk: int
    row: int
    decoder: str
    size: int
    mtime_ns: int


class Store:
    """The features of one run in chunks; a batch is a list of places in them.

    about : what features must agree in to be comparable; chunks that differ are not seen
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._about = json.loads(json.dumps(about))
        self._recent: tuple[int, Features] | None = None
        self._empty: Features | None = None
        self._batches: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # chunks and rows
        self._spans: dict[int, tuple[bytes, bytes]] = {}  # lowest and highest name of each chunk
        for number in self._numbers():
            try:
                with self._opened(number) as arrays:
                    if json.loads(str(arrays["about"])) == self._about:
                        names = _names(arrays)
                        self._spans[number] = (min(names), max(names))
            except ResultError:  # its images are read again
                continue
        self._next = max(self._numbers(), default=-1) + 1

    def find(self, files: Sequence[str], stamps: NDArray[np.int64] | None = None) -> list[Place | None]:
        """Return where the features of each file are, or None; `stamps` (n, 2) must agree, if given."""
        wanted = {os.fsencode(file): k for k, file in enumerate(files)}
        places: list[Place | None] = [None] * len(files)
        low, high = min(wanted, default=b""), max(wanted, default=b"")
        for number, (first, last) in self._spans.items():
            if last < low or high < first:
                continue
            with self._opened(number) as arrays:
                decoders, known = json.loads(str(arrays["decoders"])), arrays["stamps"].tolist()
                for row, name in enumerate(_names(arrays)):
                    k = wanted.get(name)
                    if k is not None and (stamps is None or stamps[k].tolist() == known[row]):
                        places[k] = Place(number, row, decoders[row], *known[row])
        return places

    def add(
        self, files: Sequence[str], stamps: NDArray[np.int64], decoders: Sequence[str], features: Features
    ) -> list[Place]:
        """Keep the features of some files as a chunk."""
        number, self._next = self._next, self._next + 1
        names = [os.fsencode(file) for file in files]
        arrays = _as_arrays(features) | {
            "about": np.array(json.dumps(self._about)),
            "names": np.frombuffer(b"\0".join(names), np.uint8),
            "stamps": stamps,
            "decoders": np.array(json.dumps(list(decoders))),
        }
        write_arrays(self._path(number), arrays)
        self._spans[number] = (min(names), max(names))
        facts = zip(range(len(files)), decoders, *stamps.T.tolist(), strict=True)
        return [Place(number, *fact) for fact in facts]

    def put(self, places: Sequence[Place], fresh: Mapping[int, Features], *, empty: Features) -> Features:
        """Make these places the next batch and return its features; chunks in `fresh` are not read."""
        chunks = np.array([place.chunk for place in places], np.int64)
        rows = np.array([place.row for place in places], np.int64)
        self._batches.append((chunks, rows))
        self._empty = empty
        features = self._gather(chunks, rows, fresh)
        self._recent = (len(self._batches) - 1, features)
        return features

    def get(self, batch: int) -> Features:
        """Return the features of a batch. Those asked for last stay in memory."""
        if self._recent is None or self._recent[0] != batch:
            self._recent = None
            self._recent = (batch, self._gather(*self._batches[batch], {}))
        return self._recent[1]

    def take(self, places: Sequence[Place], *, empty: Features) -> Features:
        """Return the features at these places, of which no batch is made."""
        chunks = np.array([place.chunk for place in places], np.int64)
        rows = np.array([place.row for place in places], np.int64)
        return self._gather(chunks, rows, {}) if len(places) else empty

    def _gather(
        self, chunks: NDArray[np.int64], rows: NDArray[np.int64], fresh: Mapping[int, Features]
    ) -> Features:
        if not len(chunks) and self._empty is not None:
            return self._empty
        order = np.argsort(chunks, kind="stable")
        parts = []
        for number in distinct(chunks).tolist():
            features = fresh[number] if number in fresh else self._load(number)
            wanted = rows[order][chunks[order] == number]
            is_all = np.array_equal(wanted, np.arange(len(features)))
            parts.append(features if is_all else features.take(wanted))
        joined = parts[0] if len(parts) == 1 else Features.concatenate(parts)
        return joined if (np.diff(order) > 0).all() else joined.take(np.argsort(order))

    def _load(self, number: int) -> Features:
        with self._opened(number) as arrays:
            return _as_features(arrays)

    @contextmanager
    def _opened(self, number: int) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Give the arrays of a chunk, read as they are asked for."""
        path = self._path(number)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                yield arrays
        except MemoryError:
            raise
        except Exception as error:  # NumPy and zipfile raise nearly anything for a damaged file
            shown = escape_name(str(path))
            raise ResultError(
                f"{shown} is damaged: delete it, and --resume reads its images again"
            ) from error

    def forget_unused(self) -> None:
        """Delete the chunks of which no batch has an image."""
        used = {number for chunks, _ in self._batches for number in chunks.tolist()}
        for number in set(self._numbers()) - used:
            self._path(number).unlink(missing_ok=True)
            self._spans.pop(number, None)

    def _numbers(self) -> list[int]:
        """Return the numbers of all chunks in the folder, rising."""
        stems = (path.stem.partition("_")[2] for path in self._folder.glob("features_*.npz"))
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._folder / f"features_{number:06}.npz"


def _names(arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    return arrays["names"].tobytes().split(b"\0")


def _as_arrays(features: Features) -> dict[str, NDArray[Any]]:
    values = features.values
    arrays = {
        "values": values.values if isinstance(values, Ragged) else values,
        "shapes": features.shapes,
        "featureless": features.featureless,
        "near_flat": features.near_flat,
        "digests": features.digests,
        "method": np.array(json.dumps([features.method, dict(features.params)])),
    }
    if isinstance(values, Ragged):
        arrays["offsets"] = values.offsets
        if values.shapes is not None:
            arrays["value_shapes"] = values.shapes
    return arrays


def _as_features(arrays: Mapping[str, NDArray[Any]]) -> Features:
    if not set(arrays) <= _MEMBERS:  # a changed name would pass for a member that is left out
        raise ValueError(f"members must be some of {sorted(_MEMBERS)}, got {sorted(arrays)}")
    method, params = json.loads(str(arrays["method"]))
    values: NDArray[Any] | Ragged = arrays["values"]
    if "offsets" in arrays:
        values = Ragged(arrays["values"], arrays["offsets"], arrays.get("value_shapes"))
    names = ("shapes", "featureless", "near_flat", "digests")
    return Features(method, params, values, *(arrays[name] for name in names))
