"""What one threshold gives, beside the curve: its numbers in words, and pictures of the pairs next to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._pictures import Pictures, Shown
from ._wording import (
    clusters_line,
    images_line,
    pairs_line,
    shortened,
    shown_name,
    step_of,
    threshold_text,
)
from .curve import ThresholdCurve

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

__all__ = ["ACCENT", "INK", "LINE", "PALE", "WARM", "Examples", "Numbers"]

INK, PALE, LINE, ACCENT, WARM = "#1c2733", "#6b7785", "#1f6f8b", "#c2410c", "#8a6d1d"
_EMPTY = "#f1f3f5"

_LEFT, _RIGHT = 0.6, 0.985
"""Where the panel begins and ends in the figure."""

N_EXAMPLES = 3
"""Pairs shown above the cut, and as many below."""

_ROWS = (0.618, 0.521, 0.424, 0.266, 0.169, 0.072)
"""Bottoms of the rows of examples in the figure, three above the cut and three below."""

_FRAME = (0.073, 0.09)
"""Width and height of one picture in it."""

_CUT = 0.405
"""Height of the line between them."""


class Numbers:
    """What the threshold gives, in words."""

    def __init__(self, figure: Figure, curve: ThresholdCurve, *, is_beside: bool) -> None:
        """`is_beside`: beside the curve, else within its frame, where there is room above it."""
        self._curve = curve
        left, right, top = (_LEFT, _RIGHT, 0.88) if is_beside else (0.57, 0.955, 0.82)
        self._threshold = figure.text(left, top, "", size=21, weight="bold", color=ACCENT, va="center")
        self._note = figure.text(right, top, "", size=9, color=WARM, va="center", ha="right")
        heights = (top - 0.042, top - 0.073, top - 0.104)
        self._lines = [figure.text(left, height, "", size=9.5, va="center") for height in heights]

    def artists(self) -> list[Artist]:
        """Return what changes."""
        return [self._threshold, self._note, *self._lines]

    def show(self, threshold: float) -> None:
        """Say what a threshold gives."""
        curve, point = self._curve, self._curve.at(threshold)
        self._threshold.set_text(threshold_text(threshold))
        is_same = step_of(curve, threshold) == step_of(curve, curve.default)
        note = "the method's own" if threshold == curve.default else "does what the method's own does"
        self._note.set_text(note if is_same else "")
        lines = (pairs_line(point), images_line(curve, point), clusters_line(curve, point))
        for text, line in zip(self._lines, lines, strict=True):
            text.set_text(line)


class Examples:
    """Pictures of the pairs next to the cut, the highest score on top, as a ladder through it."""

    def __init__(self, figure: Figure, curve: ThresholdCurve, pictures: Pictures) -> None:
        self._curve, self._pictures = curve, pictures
        self._drawable = _drawable()
        self._pairs: list[tuple[int, int, float] | None] = []
        self._rows = [_Row(figure, _LEFT, bottom) for bottom in _ROWS]
        self._titles = [
            figure.text(_LEFT, height, "", size=9, weight="bold", va="center")
            for height in (0.728, _CUT - 0.025)
        ]
        figure.add_artist(_line())

    def artists(self) -> list[Artist]:
        """Return what changes."""
        return [*self._titles, *(artist for row in self._rows for artist in row.artists())]

    def show(self, threshold: float) -> None:
        """Show the pairs next to a threshold."""
        above, below = self._curve.examples_near(threshold, N_EXAMPLES)
        empty: list[tuple[int, int, float] | None] = [None] * N_EXAMPLES
        # The nearest to the cut is next to it on both sides.
        pairs = [*(empty + above[::-1].tolist())[-N_EXAMPLES:], *(below.tolist() + empty)[:N_EXAMPLES]]
        self._pairs = pairs
        self._titles[0].set_text("just above the cut: similar" if len(above) else "no example above the cut")
        self._titles[1].set_text("not above it: not similar" if len(below) else "no example below it")
        for row, pair in zip(self._rows, pairs, strict=True):
            self._fill(row, pair)

    def load(self) -> bool:
        """Load one picture that is missing; return whether there was one."""
        files = (self._curve.files[k] for pair in self._pairs if pair for k in pair[:2])
        if not any(self._pictures.load(file) for file in files):
            return False
        for row, pair in zip(self._rows, self._pairs, strict=True):
            self._fill(row, pair)  # a file may be in several
        return True

    def _fill(self, row: _Row, pair: tuple[int, int, float] | None) -> None:
        if pair is None:
            row.clear()
            return
        names = [self._curve.files[k] for k in pair[:2]]
        row.fill(
            f"{pair[2]:.6g}",
            [self._drawable(shortened(shown_name(name), 34)) for name in names],
            [self._pictures.shown(name) for name in names],
        )


def _line() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([_LEFT, _RIGHT], [_CUT, _CUT], color=ACCENT, linewidth=1.4)


class _Row:
    """Two pictures side by side, with their score and names."""

    def __init__(self, figure: Figure, left: float, bottom: float) -> None:
        self._frames = [_Frame(figure, (left + k * 0.077, bottom, *_FRAME)) for k in range(2)]
        middle = bottom + _FRAME[1] / 2
        self._score: Text = figure.text(left + 0.162, middle + 0.027, "", size=10, weight="bold", va="center")
        self._names: list[Text] = [
            figure.text(left + 0.162, middle - 0.0015 - 0.024 * k, "", size=8, va="center", parse_math=False)
            for k in range(2)
        ]

    def artists(self) -> list[Artist]:
        return [self._score, *self._names, *(frame.axes for frame in self._frames)]

    def clear(self) -> None:
        for text in (self._score, *self._names):
            text.set_text("")
        for frame in self._frames:
            frame.clear()

    def fill(self, score: str, names: list[str], pictures: list[Shown]) -> None:
        self._score.set_text(score)
        for text, name in zip(self._names, names, strict=True):
            text.set_text(name)
        for frame, picture in zip(self._frames, pictures, strict=True):
            frame.fill(picture)


class _Frame:
    """One picture, or why there is none."""

    def __init__(self, figure: Figure, box: tuple[float, float, float, float]) -> None:
        self.axes = figure.add_axes(box)
        self.axes.set_xticks([])
        self.axes.set_yticks([])
        self.axes.spines[:].set_visible(False)
        self.axes.set_facecolor(_EMPTY)
        blank = np.zeros((1, 1, 3), np.uint8)
        self._image: AxesImage = self.axes.imshow(blank, interpolation="antialiased")
        look: dict[str, Any] = {"size": 7, "color": PALE, "ha": "center", "va": "center"}
        self._reason = self.axes.text(0.5, 0.5, "", transform=self.axes.transAxes, parse_math=False, **look)

    def clear(self) -> None:
        self.axes.set_visible(False)

    def fill(self, picture: Shown) -> None:
        self.axes.set_visible(True)
        self._reason.set_text(picture.reason)
        self._image.set_visible(picture.pixels is not None)
        self.axes.set_frame_on(picture.pixels is None)
        if picture.pixels is None:
            self.axes.set_aspect("auto")
            return
        self.axes.set_aspect("equal")
        height, width = picture.pixels.shape[:2]
        self._image.set_data(picture.pixels)
        self._image.set_extent((0, width, height, 0))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)


def _drawable() -> Callable[[str], str]:
    """Return a function that replaces what the font lacks by boxes: matplotlib would warn at each drawing."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    has = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    return lambda text: "".join(c if ord(c) in has else "\N{WHITE SQUARE}" for c in text)
