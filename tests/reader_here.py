"""A reader of images that is no process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from clusterimg._versions import decoder_versions
from clusterimg.backends import Engine
from clusterimg.errors import ImageError
from clusterimg.extraction import Item, read_item
from clusterimg.methods import Method


class ReaderHere:
    """Reads images in this process, quickly: that of its own has tests of its own."""

    def __init__(self, method: Method, engine: Engine, *, decode: str) -> None:
        self._method, self._engine, self._decode = method, engine, decode

    def __enter__(self) -> ReaderHere:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self) -> Mapping[str, str]:
        return decoder_versions()

    def read(self, folder: Path, files: Iterable[str]) -> Iterator[Item | ImageError]:
        for file in files:
            try:
                yield read_item(folder / file, self._method, self._engine, self._decode)
            except ImageError as error:
                yield error
