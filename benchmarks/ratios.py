"""How a kernel compares with a peer: both in one process, in turn, CPU time, one thread.

A `peers_<kernel>.py` beside this file has `rows()`, which yields one `Row` for each line of the table
of ratios; `bench_peers.py` measures them all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table: two calls that answer the same question.

    `ours` and `theirs` take nothing; what they return goes to `agree`, which asserts that the answers
    are the same. `pairs` is how many distinct pairs a call of ours answers, and `their_pairs` a call of
    the peer's where it is given a part of the work because all of it would take minutes.
    """

    kernel: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    pairs: float
    agree: Callable[[Any, Any], None]
    their_pairs: float | None = None
    prototype: float | None = None
    goal: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """What a row came to: the median of the rounds' ratios with their least and most, and pairs/s."""

    row: Row
    ratio: float
    least: float
    most: float
    ours_first: float
    ours_rate: float
    theirs_rate: float


def cpu_seconds(call: Callable[[], Any], at_least: float = 0.05) -> float:
    """Return the CPU seconds of one call, from as many as `at_least` seconds take."""
    calls, start = 0, time.process_time()
    while True:
        call()
        calls += 1
        spent = time.process_time() - start
        if spent >= at_least:
            return spent / calls


def measure(row: Row, rounds: int = 5) -> Measured:
    """Return the ratio of a row over `rounds` rounds in turn, after a first call of both."""
    start = time.process_time()
    ours = row.ours()
    first = time.process_time() - start
    row.agree(ours, row.theirs())
    times = [(cpu_seconds(row.ours), cpu_seconds(row.theirs)) for _ in range(rounds)]
    their_pairs = row.their_pairs or row.pairs
    ratios = [theirs / their_pairs * row.pairs / ours for ours, theirs in times]
    return Measured(
        row,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        first,
        row.pairs / statistics.median(t[0] for t in times),
        their_pairs / statistics.median(t[1] for t in times),
    )


if __name__ == "__main__":
    import importlib
    import sys

    for name in sys.argv[1:]:  # such as peers_ssim
        for row in importlib.import_module(name).rows():
            m = measure(row)
            print(
                f"{row.kernel} | {row.peer}: {m.ratio:.1f}x ({m.least:.1f} to {m.most:.1f}), "
                f"{m.ours_rate:.3g} against {m.theirs_rate:.3g} pairs/s; "
                f"prototype {row.prototype}, goal {row.goal}"
            )
