"""What the process does that reads images: decode the files it is told, extract features, say what came.

It is expendable: a decoder may crash or hang in it, print what it likes, and be killed at any moment.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import threading
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
    worker = _Worker(method, engine, tasks, sink)
    threading.Thread(target=_take_tasks, args=(source, tasks), daemon=True).start()
    for _ in range(engine.n_threads - 1):
        threading.Thread(target=worker.work, daemon=True).start()
    hello = _frames.pack({"versions": decoder_versions()})
    _point_at_nothing(2)  # from here on nobody reads what libraries print
    worker.say(hello)
    worker.work()  # the main thread is one of them


def _take_tasks(source: IO[bytes], tasks: SimpleQueue[_frames.Frame]) -> None:
    """Pass on what the parent tells. Once it is gone, end at once, whatever is being decoded."""
    while task := _frames.read(source):
        tasks.put(task)
    os.kill(os.getpid(), signal.SIGKILL)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return our ends of the pipes to the parent, out of reach of what libraries print or read."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
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


class _Worker:
    """Does tasks, in several threads at once."""

    def __init__(
        self, method: Method, engine: Engine, tasks: SimpleQueue[_frames.Frame], sink: IO[bytes]
    ) -> None:
        self._method, self._engine = method, engine
        self._tasks, self._sink = tasks, sink
        self._lock = threading.Lock()

    def say(self, frame: bytes, *, now: bool = True) -> None:
        """Write a frame; unless it has to arrive now, it may go out with the next one."""
        with self._lock:
            self._sink.write(frame)
            if now:
                self._sink.flush()

    def work(self) -> None:
        """Do tasks for ever."""
        while True:
            try:
                header, path = self._tasks.get_nowait()
            except Empty:
                self.say(b"")
                header, path = self._tasks.get()
            self.say(_frames.pack({"began": header["index"]}))
            self.say(self._answer(header["index"], path), now=False)

    def _answer(self, index: int, path: bytes) -> bytes:
        """Return what became of a file. Whatever is wrong with one file must not cost the others."""
        try:
            item = read_item(Path(os.fsdecode(path)), self._method, self._engine)
            return _frames.pack_item(index, item)
        except ImageError as error:
            reason = str(error)
        except MemoryError:
            reason = "not enough memory"
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            reason = f"{self._method.name} can't use it: {type(error).__name__}: {text}"
        return _frames.pack({"index": index, "reason": reason})
