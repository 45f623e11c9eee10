"""The curve as a table, and a prompt to choose by: for a terminal, over SSH too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ._rows import changing, telling
from ._wording import (
    basis,
    compact_interval,
    estimate,
    interval,
    is_known,
    sentence,
    share,
    shown_name,
    step_of,
    threshold_at,
    threshold_text,
)
from .curve import ThresholdCurve

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["choose_in_table", "table"]

Steps = NDArray[np.intp]

_EXAMPLES = 4
"""Pairs listed above a threshold, and as many below."""

_ROOMY = 72
"""Columns at which a table without intervals has one line a row."""

_OTHER_LINES, _FEWEST, _MOST = 12, 5, 16
"""Lines beside the rows that should be seen with them; rows there are in any terminal, and at most."""

_LAYOUTS = ("beside", "under", "narrow")
"""Where intervals stand: in columns of their own; below their number; and that in the fewest columns."""


def table(curve: ThresholdCurve, n_rows: int = 12, *, width: int | None = None) -> Table:
    """Return a table of up to `n_rows` thresholds at which much changes, the highest first.

    The method's own threshold is among them, and marked. `width` is that of the terminal: without one
    the table is as wide as it likes.
    """
    return _fitting(curve, telling(curve, changing(curve), max(n_rows, 3)), width)


def choose_in_table(
    curve: ThresholdCurve, console: Console, ask: Callable[[str], str] | None = None
) -> float:
    """Show the table, ask until a threshold is chosen, and return it.

    `ask(prompt)` returns a line, as `input` does; by default what is typed into the console's terminal.

    Raises
    ------
    UsageError
        The input ended before anything was chosen.
    KeyboardInterrupt
        Ctrl-C was pressed, or `q` typed.
    """
    dialog = _Dialog(curve, console)
    dialog.show()
    dialog.explain()
    prompt = f"threshold [{threshold_text(curve.default)}]: "
    while True:
        try:
            line = ask(prompt) if ask is not None else console.input(prompt, markup=False, emoji=False)
        except (EOFError, KeyboardInterrupt) as end:
            dialog.say("")  # the prompt's line is over
            if isinstance(end, KeyboardInterrupt):
                raise
            raise UsageError(
                "no threshold was chosen before the input ended: choose one, or give --threshold a number"
            ) from None
        chosen = dialog.answer(line)
        if chosen is not None:
            return chosen


# --- the table ---


def _fitting(curve: ThresholdCurve, steps: Steps, width: int | None) -> Table:
    """Return the table in the widest layout for which there is room."""
    from rich.console import Console
    from rich.measure import Measurement

    if width is None:
        return _laid_out(curve, steps, "beside")
    roomy = Console(width=10_000, file=None, quiet=True)
    for layout in _LAYOUTS:
        found = _laid_out(curve, steps, layout)
        if Measurement.get(roomy, roomy.options, found).maximum <= width:
            break
    return found


def _laid_out(curve: ThresholdCurve, steps: Steps, layout: str) -> Table:
    from rich.table import Table

    narrow = layout == "narrow"
    beside = layout == "beside" and not curve.is_exact
    gap = 1 if narrow else 2
    found = Table(
        box=None, padding=(0, gap, 0, 0), pad_edge=False, caption=basis(curve), caption_justify="left"
    )
    columns = [("", "dim"), ("score\nabove" if narrow else "threshold", "bold"), ("similar\npairs", "")]
    columns += [("\n95 % interval", "dim")] * beside
    columns += [("images" if narrow else "clustered\nimages", "")] + [("\n95 % interval", "dim")] * beside
    columns += [("clusters,\nlargest", "")] if narrow else [("share", ""), ("clusters", ""), ("largest", "")]
    for header, style in columns:
        is_interval = header.startswith("\n")
        found.add_column(
            header.lstrip() if is_interval else header,
            style=style,
            justify="left" if is_interval or header.startswith(("threshold", "score")) else "right",
            overflow="fold",
            vertical="top",
        )
    marked = step_of(curve, curve.default)
    for number, k in enumerate(steps[::-1].tolist(), start=1):
        cells = _cells(curve, k, layout)
        found.add_row(str(number), *cells, style="bold green" if k == marked else None)
    return found


def _cells(curve: ThresholdCurve, k: int, layout: str) -> list[str]:
    threshold = threshold_at(curve, k)
    point = curve.at(threshold)
    mark = " *" if k == step_of(curve, curve.default) else ""
    cells = [threshold_text(threshold) + mark]
    narrow = layout == "narrow"
    of_all = share(point.images, curve.n_images)
    for value, low, high, most in (
        (point.pairs, point.pairs_low, point.pairs_high, math.inf),
        (point.images, point.images_low, point.images_high, curve.n_images),
    ):
        number = estimate(value, low, high, most=most)
        around = (
            ""
            if is_known(low, high)
            else compact_interval(low, high)
            if narrow
            else interval(low, high, most=most)
        )
        if layout == "beside":
            cells += [number] if curve.is_exact else [number, around]
        else:
            cells.append(f"{number}\n{around}" if around else number)
    if narrow:
        return [*cells, f"{point.clusters:,}\n{point.largest:,}"]
    return [*cells, of_all, f"{point.clusters:,}", f"{point.largest:,}"]


# --- the prompt ---


class _Dialog:
    """What was shown, and what an answer means after it."""

    def __init__(self, curve: ThresholdCurve, console: Console) -> None:
        self._curve, self._console = curve, console
        self._ranges = [changing(curve)]  # the whole curve, then ever less of it

    def show(self) -> None:
        """Print the table of the range looked at."""
        self._console.print(_fitting(self._curve, self._shown(), self._console.width))

    def _shown(self) -> Steps:
        lines = 1 if self._curve.is_exact and self._console.width >= _ROOMY else 2
        rows = (self._console.height - _OTHER_LINES) // lines
        return telling(self._curve, self._ranges[-1], min(max(rows, _FEWEST), _MOST))

    def explain(self) -> None:
        """Print what can be typed."""
        default = threshold_text(self._curve.default)
        for text in (
            f"Enter takes {default}, the method's own threshold (*). Or type a threshold, or the number "
            "of a row.",
            "+3 shows finer rows around row 3 (+0.9: around 0.9), - goes back; p 3 lists pairs just above "
            "and below; q leaves; ? says this again.",
        ):
            self.say(text)

    def say(self, text: str) -> None:
        """Print text as it is, whatever it looks like."""
        from rich.text import Text

        encoding = self._console.encoding
        self._console.print(Text(text.encode(encoding, "backslashreplace").decode(encoding)))

    def answer(self, line: str) -> float | None:
        """Return the threshold that was chosen; for anything else do what was asked."""
        line = line.strip().lower()
        if not line:
            return self._curve.default
        if line in ("q", "quit", "exit"):
            raise KeyboardInterrupt
        if line in ("?", "h", "help"):
            self.explain()
        elif line == "-":
            self._go_back()
        elif line[0] == "+":
            self._look_closer(line[1:])
        elif line[0] == "p":
            self._list_pairs(line[1:])
        else:
            return self._chosen(line)
        return None

    def _chosen(self, text: str) -> float | None:
        threshold = self._threshold(text)
        if threshold is not None:
            self.say(sentence(self._curve, threshold))
        return threshold

    def _threshold(self, text: str) -> float | None:
        """Return the threshold that a text stands for, or say why it stands for none."""
        text, shown = text.strip(), self._shown()
        if text.isdecimal() and int(text) > 0:
            if int(text) > len(shown):
                self.say(f"there is no row {int(text)}: the last one is {len(shown)}")
                return None
            return threshold_at(self._curve, int(shown[-int(text)]))
        try:
            threshold = float(text.replace(",", "."))
        except ValueError:
            self.say(
                f"wanted a threshold such as {threshold_text(self._curve.default)}, or the number of "
                f"a row from 1 to {len(shown)}, got {shown_name(text)!r} (? for help)"
            )
            return None
        lowest = min(float(self._curve.thresholds[0]), self._curve.default)
        if not lowest <= threshold < 1:
            self.say(
                f"a threshold must be at least {threshold_text(lowest)}, where the curve begins, and "
                f"less than 1, got {text}"
            )
            return None
        return threshold

    def _look_closer(self, text: str) -> None:
        around = self._threshold(text) if text.strip() else self._curve.default
        if around is None:
            return
        shown, k = self._shown(), step_of(self._curve, around)
        below, above = shown[shown < k], shown[shown > k]
        low = below[-1] if len(below) else shown[0]
        high = above[0] if len(above) else shown[-1]
        steps = self._ranges[0]
        finer = steps[(steps >= low) & (steps <= high)]
        if np.isin(finer, shown).all():
            self.say(f"nothing changes around {threshold_text(around)} but what the table shows")
            return
        self._ranges.append(finer)
        self.show()

    def _go_back(self) -> None:
        if len(self._ranges) == 1:
            self.say("this is the whole curve")
            return
        self._ranges.pop()
        self.show()

    def _list_pairs(self, text: str) -> None:
        threshold = self._threshold(text) if text.strip() else self._curve.default
        if threshold is None:
            return
        above, below = self._curve.examples_near(threshold, _EXAMPLES)
        shown = threshold_text(threshold)
        for title, pairs in (
            (f"just above {shown}, so similar:", above[::-1]),
            (f"not above {shown}, so not similar:", below),
        ):
            self.say(title if len(pairs) else f"{title} none of the pairs that were kept to be shown")
            for i, j, score in pairs.tolist():
                start = f"  {score:<9.6g} "
                self.say(start + shown_name(self._curve.files[i]))
                self.say(" " * len(start) + shown_name(self._curve.files[j]))
