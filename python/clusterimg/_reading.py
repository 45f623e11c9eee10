"""From files to features in the store: what an earlier run left is used, the rest is read.

Features are kept in chunks, written as soon as they are made: a run that is killed loses little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._reader import Reader
from ._store import Place, Store
from ._types import Features, Skip
from .errors import ImageError
from .extraction import Item, features_of
from .methods import Classic

__all__ = ["PartsOfStore", "ReadBatch", "Reading"]

_CHUNK_IMAGES = 4096
_CHUNK_BYTES = 32 << 20
_CHUNK_SECONDS = 20.0
"""At most so much is lost of the features when a run is killed."""


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch of files that can be used.

    places : where their features are
    fresh : the chunks made for them, by number
    """

    files: list[str]
    places: list[Place]
    fresh: dict[int, Features] = field(default_factory=dict)


class Reading:
    """Reads the files of a folder, batch by batch.

    skipped : the files that can't be used, with reasons
    n_reused : how many features an earlier run left
    """

    def __init__(self, source: Path, store: Store, method: Classic, reader: Reader) -> None:
        self._source, self._store, self._method, self._reader = source, store, method, reader
        self.skipped: list[Skip] = []
        self.n_reused = 0

    def batches(
        self,
        files: Sequence[str],
        stamps: NDArray[np.int64],
        batch_size: int,
        report: Callable[[int, int], None],
    ) -> Iterator[ReadBatch]:
        """Yield the batches, each as soon as it is read."""
        for start in range(0, len(files), batch_size):
            batch = slice(start, start + batch_size)

            def of_all(done: int, start: int = start) -> None:
                report(start + done, len(files))

            yield self._batch(files[batch], stamps[batch], of_all)

    def _batch(
        self, files: Sequence[str], stamps: NDArray[np.int64], report: Callable[[int], None]
    ) -> ReadBatch:
        places = self._store.find(files, stamps)
        unread = [k for k, place in enumerate(places) if place is None]
        n_found = len(files) - len(unread)
        self.n_reused += n_found
        chunk = _Chunk(self._store, self._method, files, stamps, places)
        try:
            items = self._reader.read(self._source, [files[k] for k in unread])
            for done, (k, item) in enumerate(zip(unread, items, strict=True), n_found + 1):
                if isinstance(item, ImageError):
                    self.skipped.append(Skip(files[k], str(item)))
                else:
                    chunk.add(k, item)
                report(done)
        finally:  # an interrupted run, too, keeps what it has
            chunk.flush()
        kept = [(file, place) for file, place in zip(files, places, strict=True) if place is not None]
        return ReadBatch([file for file, _ in kept], [place for _, place in kept], chunk.made)


class PartsOfStore(Sequence[Features]):
    """The features of batches that were read, one batch in memory at a time.

    batches, files : all of them
    """

    def __init__(self, store: Store, batches: Iterable[ReadBatch], method: Classic) -> None:
        # What was made of them is forgotten: it is in the store.
        self.batches = [ReadBatch(batch.files, batch.places) for batch in batches]
        self._store, self._empty = store, features_of([], method)
        self._recent: tuple[int, Features] | None = None
        self.files = [file for batch in self.batches for file in batch.files]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, k: Any) -> Any:
        if not 0 <= k < len(self):
            raise IndexError(k)
        if self._recent is None or self._recent[0] != k:
            self._recent = None
            self._recent = (k, self._store.take(self.batches[k].places, empty=self._empty))
        return self._recent[1]


class _Chunk:
    """Features on their way into the store.

    made : the chunks that were written, by number
    """

    def __init__(
        self,
        store: Store,
        method: Classic,
        files: Sequence[str],
        stamps: NDArray[np.int64],
        places: list[Place | None],
    ) -> None:
        self._store, self._method = store, method
        self._files, self._stamps, self._places = files, stamps, places
        self._items: list[tuple[int, Item]] = []
        self._began = time.monotonic()
        self.made: dict[int, Features] = {}

    def add(self, k: int, item: Item) -> None:
        """Take the features of `files[k]`; write a chunk when it is time to."""
        self._items.append((k, item))
        n_bytes = len(self._items) * (0 if item.value is None else item.value.nbytes)
        is_late = time.monotonic() - self._began > _CHUNK_SECONDS
        if len(self._items) == _CHUNK_IMAGES or n_bytes > _CHUNK_BYTES or is_late:
            self.flush()

    def flush(self) -> None:
        """Write what was taken, and enter it into `places`."""
        items, self._items, self._began = self._items, [], time.monotonic()
        if not items:
            return
        chosen = [k for k, _ in items]
        features = features_of([item for _, item in items], self._method)
        decoders = [item.decoder for _, item in items]
        files = [self._files[k] for k in chosen]
        made = self._store.add(files, self._stamps[chosen], decoders, features)
        self.made[made[0].chunk] = features
        for k, place in zip(chosen, made, strict=True):
            self._places[k] = place
