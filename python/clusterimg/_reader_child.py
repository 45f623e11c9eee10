"""What the process does that reads images: decode the files it is told, extract features, say what came.

It is expendable: a decoder may crash or hang in it, print what it likes, and be killed at any moment.
"""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from . import _frames
from ._memory import keep_freed_memory
from ._versions import decoder_versions
from .backends import Engine, select
from .errors import ImageError
from .extraction import read_item
from .methods import Method

__all__ = ["main"]

_BUFFER = 1 << 15
_PATIENCE = 0.03
"""At most so many bytes, and those that came within so many seconds, wait to be sent."""


def main() -> None:
    """Read the files named on standard input until it ends; write to standard output what they hold."""
    source, sink = _take_pipes()
    _be_expendable()
    job = _frames.read(source)
    if job is None:
        return
    header, pickled = job
    method = pickle.loads(pickled)  # our own parent made it
    engine = select(header["backend"], n_threads=header["n_threads"])
    tasks: SimpleQueue[_frames.Frame] = SimpleQueue()
    slots = memoryview(mmap.mmap(header["slots"], 0)).cast("q")
    worker = _Worker(method, engine, header["decode"], tasks, _Outbox(sink, header["n_at_once"]), slots)
    threading.Thread(target=_take_tasks, args=(source, tasks), daemon=True).start()
    for slot in range(1, engine.n_threads):
        threading.Thread(target=worker.work, args=(slot,), daemon=True).start()
    hello = _frames.pack({"versions": decoder_versions()})
    _point_at_nothing(2)  # from here on nobody reads what libraries print
    sink.write(hello)
    sink.flush()
    worker.work(0)  # the main thread is one of them


def _take_tasks(source: IO[bytes], tasks: SimpleQueue[_frames.Frame]) -> None:
    """Pass on what the parent tells. Once it is gone, end at once, whatever is being decoded."""
    while task := _frames.read(source):
        tasks.put(task)
    os.kill(os.getpid(), signal.SIGKILL)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return our ends of the pipes to the parent, out of reach of what libraries print or read."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", _BUFFER)
    _point_at_nothing(0)
    _point_at_nothing(1)
    return source, sink


def _point_at_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def _be_expendable() -> None:
    """Leave no core file; if memory runs out, be the process that goes, not our parent."""
    keep_freed_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


class _Outbox:
    """Frames on their way to the parent: several at once, which wakes it less often."""

    def __init__(self, sink: IO[bytes], n_at_once: int) -> None:
        self._sink, self._n_at_once = sink, n_at_once
        self._n_waiting, self._sent = 0, 0.0
        self._lock = threading.Lock()

    def put(self, frame: bytes) -> None:
        """Take a frame. Send it with those that wait, if they are many or the last went long ago."""
        with self._lock:
            self._sink.write(frame)
            self._n_waiting += 1
            if self._n_waiting == self._n_at_once or time.monotonic() - self._sent > _PATIENCE:
                self._send()

    def send(self) -> None:
        """Send the frames that wait."""
        with self._lock:
            if self._n_waiting:
                self._send()

    def _send(self) -> None:
        self._sink.flush()
        self._n_waiting, self._sent = 0, time.monotonic()


class _Worker:
    """Does tasks, in several threads at once."""

    def __init__(
        self,
        method: Method,
        engine: Engine,
        decode: str,
        tasks: SimpleQueue[_frames.Frame],
        outbox: _Outbox,
        slots: memoryview[int],
    ) -> None:
        self._method, self._engine, self._decode = method, engine, decode
        self._tasks, self._outbox, self._slots = tasks, outbox, slots

    def work(self, slot: int) -> None:
        """Do tasks for ever. The parent sees in the thread's slot on which file it is working."""
        while True:
            try:
                header, path = self._tasks.get_nowait()
            except Empty:
                self._outbox.send()
                header, path = self._tasks.get()
            self._slots[slot] = header["index"]
            answer = self._answer(header["index"], path)
            self._slots[slot] = -1
            self._outbox.put(answer)

    def _answer(self, index: int, path: bytes) -> bytes:
        """Return what became of a file. Whatever is wrong with one file must not cost the others."""
        try:
            item = read_item(Path(os.fsdecode(path)), self._method, self._engine, self._decode)
            return _frames.pack_item(index, item)
        except ImageError as error:
            reason = str(error)
        except MemoryError:
            reason = "not enough memory"
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            reason = f"{self._method.name} can't use it: {type(error).__name__}: {text}"
        return _frames.pack({"index": index, "reason": reason})
