"""The points at which a process can be killed: the moment before each change it makes to a folder, and the
middle of each write.

Imported by `kill_harness`, which forks the processes that are to be killed.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Which argument of an audit event is the path that is changed.
CHANGES = {
    "open": 0,
    "os.chmod": 0,
    "os.chown": 0,
    "os.link": 1,
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rename": 1,
    "os.rmdir": 0,
    "os.setxattr": 0,
    "os.symlink": 1,
    "os.truncate": 0,
    "os.utime": 0,
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Point(NamedTuple):
    """Where a process ends.

    number : of the change that it is about to make
    limit : None: it ends there; else it goes on, but no file can grow beyond so many bytes, and the system
        ends it in the middle of the write that tries. (By SIGXFSZ, which like SIGKILL lets it do nothing.)
    what : the change, or the write, and to what it is
    """

    number: int
    limit: int | None
    what: str


class Watch:
    """Sees every change that this process makes below some folders, and ends it at a point.

    is_on : whether changes are looked at
    points : those that came by, if it is not ended
    """

    def __init__(self, roots: tuple[Path, ...], until: Point | None, tell: Callable[[str], None]) -> None:
        self._roots = tuple(f"{root}/" for root in roots)
        self._until, self._tell = until, tell
        self.is_on = True
        self._n_seen = 0
        self._growing: dict[str, tuple[int, int]] = {}  # inode and size of each file being written
        self.points: list[Point] = []

    def begin(self) -> None:
        """Watch from now on."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        fsync = os.fsync

        def watched_fsync(handle: int) -> None:  # the only change of ours that is not audited
            self._see("fsync", _path_of(handle))
            fsync(handle)

        os.fsync = watched_fsync
        sys.addaudithook(self._hear)

    def end(self) -> None:
        """See what was written last, and watch no more."""
        if self.is_on:
            self._find_growth()
            self.is_on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in CHANGES:
            return
        path = arguments[CHANGES[event]]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        self._see(event.removeprefix("os."), _path_of(path) if isinstance(path, int) else os.fsdecode(path))

    def _see(self, change: str, path: str) -> None:
        # shutil.rmtree gives names relative to an open folder, which is always the state of a result.
        if not self.is_on or not (path.startswith(self._roots) or not path.startswith("/")):
            return
        self._find_growth()
        what = f"{change} {self._kind(path)}"
        self._n_seen += 1
        if self._until is None:
            self.points.append(Point(self._n_seen, None, what))
        elif self._until.number == self._n_seen:
            self._end_here(what)
        if change == "open":
            self._growing[path] = _inode_and_size(path)

    def _end_here(self, what: str) -> None:
        assert self._until is not None
        if self._until.limit is None:
            self._tell(what)
            os.kill(os.getpid(), signal.SIGKILL)
        self._tell(self._until.what)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._until.limit, hard))

    def _find_growth(self) -> None:
        """Make a point of each write since the last change: in the middle of what it added."""
        for path, (inode, size) in list(self._growing.items()):
            self._growing[path] = now = _inode_and_size(path)
            before = size if now[0] == inode and now[1] >= size else 0
            if now[1] > before and self._until is None:
                middle = before + (now[1] - before) // 2
                self.points.append(Point(self._n_seen, middle, f"write {self._kind(path)}"))
            if now[0] == 0:
                del self._growing[path]

    def _kind(self, path: str) -> str:
        """Return what a path is to a user."""
        root = next((root for root in self._roots if path.startswith(root)), None)
        if root is None:
            return "state"
        place, _, rest = path.removeprefix(root).partition("/")
        if place.startswith("photos"):
            return "original"
        if rest.startswith(".clusterimg/"):
            return "state"
        if rest.endswith("manifest.jsonl"):
            return "manifest"
        return "result" if "/" in rest or rest.startswith(("result", "batch_")) else "table"


def _path_of(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def _inode_and_size(path: str) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return (status.st_ino, status.st_size) if stat.S_ISREG(status.st_mode) else (0, 0)


def forked(work: Callable[[Callable[[str], None]], Any]) -> tuple[int, str, Any]:
    """Do some work in a fork; return the signal that ended it or 0, what it told, and what it returned.

    An exception comes back as its traceback, under `told`, with the signal -1.
    """
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(here)

            def tell(text: str) -> None:
                os.write(there, pickle.dumps((0, text, None)))

            try:
                said = (0, "", work(tell))
            except BaseException:
                said = (-1, traceback.format_exc(), None)
            with open(there, "wb") as pipe:  # noqa: PTH123
                pipe.write(pickle.dumps(said))
        finally:
            os._exit(0)
    os.close(there)
    with open(here, "rb") as pipe:  # noqa: PTH123
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    said = pickle.loads(data) if data else (0, "", None)
    return (os.WTERMSIG(status), said[1], None) if os.WIFSIGNALED(status) else said
