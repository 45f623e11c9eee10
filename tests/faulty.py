"""A method that misbehaves for pictures of certain greys: what broken decoders do, on demand.

It is imported by the process that reads images, so it imports little.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from clusterimg.methods import Method


def _shout() -> None:
    os.write(1, b"noise on standard output\n" * 1000)
    os.write(2, b"noise on standard error\n" * 1000)


def _hang_with_the_gil() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def _raise(error: BaseException) -> None:
    raise error


FAULTS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "segfault": lambda: ctypes.string_at(0),
    "abort": lambda: signal.raise_signal(signal.SIGABRT),
    "killed": lambda: signal.raise_signal(signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "sleep": lambda: time.sleep(30),
    "doze": lambda: time.sleep(0.2),
    "gil": _hang_with_the_gil,
    "noise": _shout,
    "memory": lambda: _raise(MemoryError()),
    "error": lambda: _raise(ZeroDivisionError("one\ntwo")),
    "big": lambda: None,
}
LEVELS = {name: 20 * k for k, name in enumerate(FAULTS)}


@dataclass(frozen=True)
class Faulty(Method):
    """Its feature is the shape of the picture. Each picture it begins is noted in `log`, with its process."""

    name: ClassVar[str] = "faulty"
    threshold: float = 0.5
    log: str = ""

    @property
    def params(self) -> Mapping[str, Any]:
        return {}

    @property
    def item_bytes(self) -> int:
        return 8

    def extract(self, grey: NDArray[np.uint8], engine: Any) -> NDArray[Any] | None:
        if self.log:
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(log, f"{number_of(grey.shape)} {os.getpid()}\n".encode())
            os.close(log)
        fault = list(FAULTS)[round(int(grey[0, 0]) / 20)]
        FAULTS[fault]()
        return np.zeros((1000, 1000)) if fault == "big" else np.array(grey.shape, np.int32)

    def collect(self, values: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
        return np.array(values)

    def cluster(self, features: Any, engine: Any, progress: Any = None) -> Any:
        raise NotImplementedError


def number_of(shape: tuple[int, ...]) -> int:
    """Return which picture of `write_pictures` has this shape."""
    return (shape[0] - 1) * 100 + shape[1] - 1


def write_pictures(folder: Path, faults: Mapping[int, str], n_files: int) -> list[str]:
    """Write pictures of different shapes into a folder, some with faults; return their names."""
    folder.mkdir(exist_ok=True)
    files = [f"{k:05}.jpg" for k in range(n_files)]
    for k, file in enumerate(files):
        picture = np.full((k // 100 + 1, k % 100 + 1), LEVELS[faults.get(k, "nothing")], np.uint8)
        (folder / file).write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    return files


class Doomed(Faulty):
    """Ends the process that reads images whenever it is told to read a file, before it begins."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _doomed, ()


def _doomed() -> Faulty:
    from clusterimg import _frames

    read = _frames.read
    _frames.read = lambda stream: read(stream) and os._exit(1)
    return Faulty()
