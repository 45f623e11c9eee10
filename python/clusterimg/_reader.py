"""Reading the images of a run in a process of its own: a file that crashes or hangs it costs that file only.

The parent keeps the account. It sees which files have begun and not finished, so when the process dies, or
one of them takes too long, these are the suspects: a single one is the culprit; several are tried again, each
alone in a new process. The others in flight, results that had not arrived among them, are read once more.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from . import _frames
from ._reader_process import ReaderProcess
from .backends import Engine
from .errors import ClusterimgError, ImageError
from .extraction import Item
from .images import SECONDS_PER_FILE
from .methods import Method

__all__ = ["Reader"]

_IN_FLIGHT_PER_THREAD = 16
_ENDS_IN_A_ROW = 3


class Reader:
    """Reads images and extracts their features in a process of its own.

    The process is started when a file is to be read, used for all that follow, and killed when the
    context is left.

    Parameters
    ----------
    method, engine : what extracts the features, and in how many threads; the process makes its own engine
        of the same backend, or of the core in place of a device. The method must be importable there.
    decode : "exact" or "fast"
    seconds_per_file : a file that takes longer is skipped

    Attributes
    ----------
    versions : of the decoders, by name; None before the process was first started
    """

    def __init__(
        self,
        method: Method,
        engine: Engine,
        *,
        decode: str = "exact",
        seconds_per_file: float = SECONDS_PER_FILE,
    ) -> None:
        n_threads = engine.n_threads or engine.backend.resolve_threads(0)
        self._window = _IN_FLIGHT_PER_THREAD * n_threads
        self._job = {
            "backend": engine.reads_with,
            "n_threads": n_threads,
            "n_at_once": self._window // 2,
            "decode": decode,
        }
        self._method = pickle.dumps(method)
        self._seconds_per_file = seconds_per_file
        self._process: ReaderProcess | None = None
        self._ends = 0  # in a row, with no file begun
        self.versions: Mapping[str, str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> Mapping[str, str]:
        """Start the process, if there is none, and return the versions of its decoders."""
        return self._started().versions

    def close(self) -> None:
        """Kill the process, if there is one, without waiting for what it is reading."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def read(self, folder: Path, files: Iterable[str]) -> Iterator[Item | ImageError]:
        """Yield what became of each file (relative to `folder`), in their order.

        Ahead of what was yielded, at most sixteen files a thread are taken. Finish or close one iterator
        before the next is begun: what ends it early, kills the process.

        Raises
        ------
        ClusterimgError : the process can't start, or ends again and again with no file to blame
        """
        root = os.fsencode(folder.absolute())  # the process stays where it was started
        account = _Account(files, self._window)
        try:
            self._send(account, root)
            while account.in_flight:
                self._listen(account)
                yield from account.take_results()
                self._send(account, root)
        except BaseException:
            self.close()
            raise

    def _started(self) -> ReaderProcess:
        if self._process is None:
            self._process = ReaderProcess(self._job, self._method)
            self.versions = self._process.versions
        return self._process

    def _send(self, account: _Account, root: bytes) -> None:
        """Send the files that are to go now; a suspect goes to a process of its own."""
        files = account.next_files()
        if not files:
            return
        if account.on_trial:
            self.close()
        paths = [(index, os.path.join(root, os.fsencode(file))) for index, file in files]  # noqa: PTH118
        self._started().send(b"".join(_frames.pack({"index": index}, path) for index, path in paths))

    def _listen(self, account: _Account) -> None:
        """Enter into the account what the process says, or that it ended, or hangs."""
        process = self._process
        assert process is not None
        frames = process.receive()
        for header, payload in frames or ():
            account.enter(header, payload)
        account.watch(process.working(), process.seconds)
        if frames is None:
            self._replace(account, process.why_ended())
        elif not frames and account.oldest < process.seconds - self._seconds_per_file:
            # Not while it has something to say: more may wait in the pipe behind that.
            self._replace(account, f"took longer than {self._seconds_per_file:g} s to read")

    def _replace(self, account: _Account, reason: str) -> None:
        """Give up the process; what it was reading is to blame, or whatever ends it with no file begun."""
        self._ends = 0 if account.begun else self._ends + 1
        if self._ends == _ENDS_IN_A_ROW:
            raise ClusterimgError(f"the process that reads images ended {self._ends} times: {reason}")
        self.close()
        account.blame(reason)


class _Account:
    """Which files wait, which are in flight, and what became of the others.

    in_flight : the files sent and not finished
    begun : those of them that have begun, and when that was seen first
    on_trial : whether the file in flight is a suspect, alone
    """

    def __init__(self, files: Iterable[str], window: int) -> None:
        self._new = enumerate(files)
        self._window = window
        self._names: dict[int, str] = {}  # of the files taken and not finished
        self._again: list[int] = []
        self._suspects: list[int] = []
        self._results: dict[int, Item | ImageError] = {}
        self._n_yielded = 0
        self.in_flight: set[int] = set()
        self.begun: dict[int, float] = {}
        self.on_trial = False

    def next_files(self) -> list[tuple[int, str]]:
        """Return index and name of the files to send now: none, several, or one suspect."""
        if self.in_flight and (self.on_trial or len(self.in_flight) > self._window // 2):
            return []  # several at once wake the process less often
        self.on_trial = bool(self._suspects)
        if self.on_trial:
            files = [self._suspects.pop()]
        else:
            files, self._again = self._again, []
            room = self._window - len(self._names) - len(self._results)
            new = dict(islice(self._new, room))
            self._names.update(new)
            files += new
        self.in_flight.update(files)
        return [(index, self._names[index]) for index in files]

    def enter(self, header: dict[str, Any], payload: bytes) -> None:
        """Enter what the process said."""
        if "reason" in header:
            self._finish(header["index"], ImageError(header["reason"]))
        else:
            self._finish(header["index"], _frames.unpack_item(header, payload))

    def watch(self, working: Iterable[int], now: float) -> None:
        """Enter what the process is working on."""
        self.begun = {index: self.begun.get(index, now) for index in working if index in self.in_flight}

    def take_results(self) -> Iterator[Item | ImageError]:
        """Yield the results that are next in order, and forget them."""
        while self._n_yielded in self._results:
            result = self._results.pop(self._n_yielded)
            self._n_yielded += 1
            yield result

    @property
    def oldest(self) -> float:
        """When the file began that has taken the longest."""
        return min(self.begun.values(), default=math.inf)

    def blame(self, reason: str) -> None:
        """Find whose fault it is that the process is gone.

        A single file that had begun is the culprit. Several go on trial: a crash tells nothing of the
        thread it came from, and a decoder that hangs may keep all threads from going on.
        """
        if len(self.begun) == 1:
            self._finish(next(iter(self.begun)), ImageError(reason))
        self._suspects += sorted(self.begun, reverse=True)
        self._again = sorted(self.in_flight.difference(self.begun)) + self._again
        self.in_flight.clear()
        self.begun.clear()

    def _finish(self, index: int, result: Item | ImageError) -> None:
        self._results[index] = result
        self.in_flight.discard(index)
        self.begun.pop(index, None)
        del self._names[index]
