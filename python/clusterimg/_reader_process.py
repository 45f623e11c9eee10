"""The handle of the process that reads images: start it, tell it what to do, hear what it says, kill it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from . import _frames
from .errors import ClusterimgError

__all__ = ["ReaderProcess"]

# The path is set before anything is imported, so that the child finds what we found, and nothing else.
_START = "import sys; sys.path[:] = sys.argv[1:]; from clusterimg._reader_child import main; main()"

_CHUNK = 1 << 16
_SLOT = 8  # bytes: an index
_TICK = 0.25  # should a signal end up in another thread, it is noticed that soon


class ReaderProcess:
    """A process of its own that reads images, until it is closed.

    It is a fresh interpreter, not a fork: forking a program with threads may leave locks locked for ever.
    It is in a session of its own, so that Ctrl-C in a terminal reaches us only, and we decide.

    Neither side can wait for the other for ever: it always takes what we send, whatever its decoders do,
    and we send and receive what the pipes take and have, no more.

    Attributes
    ----------
    versions : of its decoders, by name
    seconds : for how long we have listened to it; time in which we did something else doesn't count
    """

    def __init__(self, job: Mapping[str, Any], method: bytes) -> None:
        """Start it and wait until it is ready. `job` and `method` are what it is told first."""
        self.versions: Mapping[str, str] = {}
        self.seconds = 0.0
        self._outgoing = bytearray()
        self._incoming = _frames.Unpacker()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._slots = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        try:
            self._slots.write(b"\xff" * _SLOT * job["n_threads"])  # -1 in each
            self._process = self._spawn()
        except OSError as error:
            self._close_files()
            raise ClusterimgError(f"the process that reads images can't start: {error}") from None
        try:
            self.send(_frames.pack({**job, "slots": self._slots.fileno()}, method))
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *(entry for entry in sys.path if isinstance(entry, str))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            pass_fds=[self._slots.fileno()],
            bufsize=0,
            start_new_session=True,
            # Its threads decode; more of them for matrices, of which it multiplies none, would only spin.
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
        )
        assert process.stdin is not None and process.stdout is not None
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        return process

    def _wait_until_ready(self) -> None:
        while not self.versions:
            frames = self.receive()
            if frames is None:
                self._complaints.seek(0)
                lines = self._complaints.read().decode(errors="replace").strip().splitlines()
                said = lines[-1] if lines else self.why_ended()
                raise ClusterimgError(f"the process that reads images can't start: {said}")
            for header, _ in frames:
                self.versions = header["versions"]

    def send(self, frame: bytes) -> None:
        """Send a frame, now or while receiving."""
        self._outgoing += frame
        try:
            del self._outgoing[: os.write(self._to, self._outgoing)]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it has ended, which `receive` will find
            self._outgoing.clear()

    def receive(self) -> list[_frames.Frame] | None:
        """Return what it has said, after a moment at most; None once it has ended."""
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        if self._outgoing:
            poll.register(self._to, select.POLLOUT)
        started = time.monotonic()
        ready = dict(poll.poll(_TICK * 1000))
        # No more than was asked for: both of us may have been frozen meanwhile, with the container.
        self.seconds += min(time.monotonic() - started, _TICK)
        if self._to in ready:
            self.send(b"")
        if self._from not in ready:
            return []
        data = os.read(self._from, _CHUNK)
        return list(self._incoming.feed(data)) if data else None

    def working(self) -> list[int]:
        """Return which file each of its threads is working on, by index, or -1; also once it has ended."""
        slots = os.pread(self._slots.fileno(), os.fstat(self._slots.fileno()).st_size, 0)
        return memoryview(slots).cast("q").tolist()

    def why_ended(self) -> str:
        """Return why it ended by itself, as a reason for the file that it was reading."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "its decoder closed the pipe"
        if code == -signal.SIGKILL:
            return "its decoder was killed, perhaps for lack of memory"
        if code < 0:
            return f"crashed its decoder ({(signal.strsignal(-code) or f'signal {-code}').lower()})"
        return f"its decoder ended the process (exit code {code})"

    def close(self) -> None:
        """Kill it at once, whatever it is doing."""
        with self._process:  # closes the pipes, then waits
            self._process.kill()
        self._close_files()

    def _close_files(self) -> None:
        self._complaints.close()
        self._slots.close()
