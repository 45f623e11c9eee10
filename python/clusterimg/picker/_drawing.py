"""The curve as a matplotlib figure: the same in a window and in a saved picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ._panel import ACCENT, INK, LINE, PALE, WARM, Examples, Numbers
from ._pictures import Pictures
from ._wording import basis, threshold_text
from .curve import ThresholdCurve

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["SIZE", "Drawing", "plain", "style"]

SIZE = (11.0, 7.2)
"""Of the figure at first, in inches."""

CURVE_BOX = (0.085, 0.125, 0.47, 0.745)
"""Left, bottom, width and height of the curve in the figure."""

_WIDE_BOX = (0.085, 0.125, 0.88, 0.745)
"""The same where no pictures are beside it."""

_MANY_PAIRS = 1000
"""From so many on, numbers of pairs are on a logarithmic axis at first."""


def plain(axes: Axes) -> None:
    """Give axes a pale grid behind what they show, and no frame but the two scales."""
    axes.grid(color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab4be")


@contextmanager
def style() -> Iterator[None]:
    """Draw in our own style within the block, whatever the user's settings are."""
    import matplotlib.style

    ours = {"font.family": "DejaVu Sans", "font.size": 9.5, "axes.unicode_minus": False}
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    hashes = {"svg.hashsalt": "clusterimg", "svg.fonttype": "path"}
    with matplotlib.style.context(["default", {**ours, **colours, **hashes}]):
        yield


class Drawing:
    """A figure of the curve, and of what one threshold gives, which can be moved.

    threshold : the one shown
    axes : those of the curve
    """

    def __init__(self, figure: Figure, curve: ThresholdCurve, pictures: Pictures | None, hint: str) -> None:
        """`pictures` are those of the example pairs, if they are to be shown; `hint` stands at the bottom."""
        self.figure, self.curve, self._pictures = figure, curve, pictures
        self.threshold = curve.default
        self.axes = _axes_of_curve(figure, curve, CURVE_BOX if pictures is not None else _WIDE_BOX)
        figure.text(0.085, 0.962, _title(curve), size=13, weight="bold", va="center")
        figure.text(0.085, 0.928, basis(curve), size=9, color=PALE, va="center")
        figure.text(0.085, 0.022, hint, size=9, color=PALE, va="center")
        self._sizes: dict[Text, float] = {}
        self._cut = self.axes.axhline(self.threshold, color=ACCENT, linewidth=1.4, zorder=4)
        (self._dot,) = self.axes.plot([0], [0], "o", color=ACCENT, markersize=7, zorder=6)
        (self._span,) = self.axes.plot(
            [0, 0], [0, 0], color=ACCENT, linewidth=4, alpha=0.45, solid_capstyle="butt", zorder=5
        )
        self._numbers = Numbers(figure, curve, is_beside=pictures is not None)
        self._examples = None if pictures is None else Examples(figure, curve, pictures)
        self.use_log_scale(bool(curve.pairs_high.max() >= _MANY_PAIRS))
        self.move_to(self.threshold)

    @property
    def is_log(self) -> bool:
        """Whether the numbers of pairs are on a logarithmic axis."""
        return str(self.axes.get_xscale()) != "linear"

    def rescale(self) -> None:
        """Bring all texts to the size of the figure, so that they never overlap."""
        from matplotlib.text import Text

        width, height = self.figure.get_size_inches()
        scale = min(max(min(width / SIZE[0], height / SIZE[1]), 0.5), 2.0)
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontsize(self._sizes.setdefault(text, float(text.get_fontsize())) * scale)
        self.axes.tick_params(labelsize=9.5 * scale)

    def use_log_scale(self, wanted: bool) -> None:
        """Put the numbers of pairs on a logarithmic axis, on which 0 has a place too, or on a linear one."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

        most = max(float(self.curve.pairs_high.max()), 1.0)
        axis = self.axes.xaxis
        if wanted:
            least = float(self.curve.pairs_low.min())
            self.axes.set_xscale("symlog", linthresh=1.0, linscale=0.4)
            self.axes.set_xlim(10 ** math.floor(math.log10(least)) if least >= 10 else -0.15, most * 1.6)
            axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0))
        else:
            self.axes.set_xscale("linear")
            self.axes.set_xlim(-most * 0.02, most * 1.03)
            axis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))

    def move_to(self, threshold: float) -> None:
        """Show what a threshold gives."""
        self.threshold = threshold
        point = self.curve.at(threshold)
        self._cut.set_ydata([threshold, threshold])
        self._dot.set_data([point.pairs], [threshold])
        self._span.set_data([point.pairs_low, point.pairs_high], [threshold, threshold])
        self._numbers.show(threshold)
        if self._examples is not None:
            self._examples.show(threshold)

    def moving(self) -> list[Artist]:
        """Return what changes when the threshold is moved, in the order in which it is drawn."""
        examples = [] if self._examples is None else self._examples.artists()
        return [self._span, self._cut, self._dot, *self._numbers.artists(), *examples]

    def load(self) -> bool:
        """Load one picture that is missing from the view; return whether there was one."""
        return self._examples is not None and self._examples.load()


def _title(curve: ThresholdCurve) -> str:
    return f"What each threshold of {curve.method} gives"


def _tick(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:,.0f}"


def _axes_of_curve(figure: Figure, curve: ThresholdCurve, box: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(box)
    top = 1.0
    bottom = min(float(curve.thresholds[0]), curve.default)
    margin = 0.02 * max(top - bottom, 1e-6)
    axes.set_ylim(bottom - margin, top + margin)
    ends = np.concatenate([curve.thresholds, [top]])
    heights = np.repeat(ends, 2)[1:-1]
    if not curve.is_exact:
        axes.fill_betweenx(
            heights,
            np.repeat(curve.pairs_low, 2),
            np.repeat(curve.pairs_high, 2),
            color=LINE,
            alpha=0.2,
            lw=0,
        )
    axes.plot(np.repeat(curve.pairs, 2), heights, color=LINE, linewidth=2, zorder=3)
    axes.axhline(curve.default, color=WARM, linewidth=1.2, linestyle=(0, (5, 3)), zorder=2)
    axes.text(
        0.99,
        curve.default,
        f"default {threshold_text(curve.default)}",
        transform=axes.get_yaxis_transform(),
        size=8.5,
        color=WARM,
        ha="right",
        va="bottom",
    )
    axes.set_xlabel("similar pairs" if curve.is_exact else "expected similar pairs")
    axes.set_ylabel("threshold: similar means a score above it")
    plain(axes)
    return axes
