"""What a person sees while a command works. Each shows `(stage, done, total)`, within a `with` block.

Within a block of `paused()` it leaves the terminal to others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO

__all__ = ["Bars", "Lines", "Shown", "Silent", "shown"]


def shown(stream: TextIO, *, quiet: bool) -> Shown:
    """Return what shows progress on standard error, the stream: nothing, bars on a terminal, else lines."""
    if quiet:
        return Silent()
    return Bars() if stream.isatty() else Lines(stream)


class Silent:
    """Says nothing."""

    paused = nullcontext

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class Lines:
    """A line now and then, for logs: at most one in ten seconds, and one at the end of a long stage."""

    SECONDS = 10.0
    paused = nullcontext

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._stage, self._start, self._last, self._first = "", 0.0, 0.0, 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._stage:
            self._stage, self._start, self._last = stage, now, now
            self._first = done if done < total else 0  # what was done before this process
        ends_long_stage = done == total and self._last > self._start
        if now - self._last < self.SECONDS and not ends_long_stage:
            return
        self._last = now
        rate = (done - self._first) / (now - self._start)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        self._stream.write(f"{stage} {done:,} of {total:,}, {rate:,.0f}/s{left}\n")
        self._stream.flush()


class Bars:
    """Bars with rate and time left, for a terminal."""

    def __enter__(self) -> Bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._tasks: dict[str, Any] = {}
        self._bars = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, rate="")
        task = self._bars.tasks[self._tasks[stage]]
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        self._bars.update(self._tasks[stage], completed=done, total=total, rate=rate)


Shown = Silent | Lines | Bars
