"""The curve in a matplotlib window to choose in, or as a picture in a file."""

from __future__ import annotations

import importlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import replacing, write_error
from .._names import escape_name
from .._optional import require
from ..errors import UsageError
from ._drawing import SIZE, Drawing, style
from ._pictures import Pictures
from ._rows import changing
from ._toolkits import find_backend, why_no_window
from ._wording import step_of, threshold_at
from .curve import ThresholdCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["choose_in_window", "save_plot", "why_no_window"]

FORMATS = (".png", ".svg", ".pdf")

_TICK_MS = 20
"""So often what has moved is drawn anew, pictures are loaded and Ctrl-C is looked for."""

_LOADING = 0.05
"""Seconds of loading pictures at a time."""

_HINT = (
    "click or Enter: use this threshold    arrows, PageUp, PageDown, Home, End: move    "
    "d: default    l: linear or log    Esc: leave"
)

_PAGE = 10


def save_plot(
    curve: ThresholdCurve,
    path: str | Path,
    *,
    folder: str | Path | None = None,
    threshold: float | None = None,
) -> None:
    """Write the curve as a picture: PNG, SVG or PDF, as the end of `path` says. Needs no display.

    It shows what `threshold` gives, the method's own one by default; and with the `folder` of the
    images some pairs next to it.

    Raises
    ------
    UsageError, MissingExtra, ResultError
        Another format was wanted; matplotlib is not installed; the file can't be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        wanted = ", ".join(FORMATS)
        raise UsageError(f"a plot must end in one of {wanted}, got {escape_name(str(path))!r}")
    require("matplotlib", extra="plot")
    from matplotlib.figure import Figure

    with style():
        drawing = Drawing(Figure(SIZE), curve, None if folder is None else Pictures(Path(folder)), "")
        drawing.move_to(curve.default if threshold is None else threshold)
        while drawing.load():
            pass
        _write(drawing.figure, path)


def _write(figure: Figure, path: Path) -> None:
    """Write a figure, the same bytes each time."""
    kind = path.suffix.lower()[1:]
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=150, metadata=undated)
    except OSError as error:
        raise write_error(path, error) from error


def choose_in_window(curve: ThresholdCurve, folder: str | Path) -> float | None:
    """Show the curve in a window until a threshold is chosen, and return it.

    `folder` holds the images of the curve. Escape and the window's own button to close it give None.

    Raises
    ------
    MissingExtra, UsageError
        matplotlib is not installed; no window can be opened, and why: see `why_no_window`.
    KeyboardInterrupt
        Ctrl-C was pressed in the terminal.
    """
    require("matplotlib", extra="plot")
    backend, reason = find_backend()
    if reason is not None:
        raise UsageError(f"can't open a window: {reason}")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with style(), rc_context({"toolbar": "None"}):
        figure = Figure(SIZE, dpi=100)
        canvas = importlib.import_module(backend).FigureCanvas
        manager = canvas.new_manager(figure, 1)
        return _Chooser(Drawing(figure, curve, Pictures(Path(folder)), _HINT), manager).chosen()


class _Chooser:
    """A window, from its opening to the choice."""

    def __init__(self, drawing: Drawing, manager: Any) -> None:
        self._drawing, self._manager, self._canvas = drawing, manager, manager.canvas
        self._curve = drawing.curve
        self._steps = changing(drawing.curve)
        self._chosen: float | None = None
        self._is_open, self._is_interrupted = True, False
        self._error: BaseException | None = None
        self._still: Any = None  # the picture without what moves
        self._has_moved = False
        for artist in drawing.moving():
            artist.set_animated(True)
        # matplotlib's own keys would zoom, save and close.
        self._canvas.mpl_disconnect(manager.key_press_handler_id)
        self._canvas.callbacks.exception_handler = self._fail
        for event, answer in (
            ("draw_event", self._on_draw),
            ("resize_event", self._on_resize),
            ("motion_notify_event", self._on_motion),
            ("button_press_event", self._on_click),
            ("key_press_event", self._on_key),
            ("close_event", self._on_close),
        ):
            self._canvas.mpl_connect(event, answer)

    def chosen(self) -> float | None:
        """Open the window, and return what was chosen once it is closed."""
        self._manager.set_window_title("clusterimg: choose the threshold")
        self._manager.show()
        timer = self._canvas.new_timer(interval=_TICK_MS)
        timer.add_callback(self._on_tick)
        with _interrupts(self._interrupt):
            timer.start()
            self._canvas.start_event_loop(0)
            timer.stop()
            if self._is_open:
                self._manager.destroy()
        if self._error is not None:
            raise self._error
        return self._chosen

    def _end(self, chosen: float | None = None) -> None:
        self._chosen = chosen
        self._canvas.stop_event_loop()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._end()

    def _interrupt(self) -> None:
        self._is_interrupted = True

    # What happens in the window.

    def _on_tick(self) -> None:
        if self._is_interrupted:
            self._end()
            return
        if self._has_moved and self._still is not None:
            self._canvas.restore_region(self._still)
            self._draw_moving()
            self._canvas.blit(self._drawing.figure.bbox)
            return  # what the pointer does comes before pictures
        end = time.monotonic() + _LOADING
        while self._drawing.load():
            self._has_moved = True
            if time.monotonic() > end:
                break

    def _on_resize(self, event: Any) -> None:
        self._drawing.rescale()  # a drawing follows

    def _on_draw(self, event: Any) -> None:
        self._still = self._canvas.copy_from_bbox(self._drawing.figure.bbox)
        self._draw_moving()

    def _draw_moving(self) -> None:
        self._has_moved = False
        for artist in self._drawing.moving():
            self._drawing.figure.draw_artist(artist)

    def _on_close(self, event: Any) -> None:
        self._is_open = False
        self._end(self._chosen)

    def _on_motion(self, event: Any) -> None:
        if event.inaxes is self._drawing.axes:
            self._move_to(self._pointed_at(event))

    def _on_click(self, event: Any) -> None:
        if event.inaxes is self._drawing.axes and event.button == 1:
            self._end(self._pointed_at(event))

    def _on_key(self, event: Any) -> None:
        key = (event.key or "").lower()
        if key == "enter":
            self._end(self._drawing.threshold)
        elif key in ("escape", "q", "ctrl+w", "cmd+w"):
            self._end()
        elif key == "l":
            self._drawing.use_log_scale(not self._drawing.is_log)
            self._canvas.draw_idle()
        elif key == "d":
            self._move_to(self._curve.default)
        elif key in _MOVES:
            self._move_by(_MOVES[key])

    def _move_by(self, steps: float) -> None:
        """Move to one of the next thresholds at which anything changes."""
        here = step_of(self._curve, self._drawing.threshold)
        if steps > 0:
            place = int(np.searchsorted(self._steps, here, side="right")) - 1
        else:
            place = int(np.searchsorted(self._steps, here, side="left"))
        place = int(min(max(place + steps, 0), len(self._steps) - 1))
        self._move_to(threshold_at(self._curve, int(self._steps[place])))

    def _move_to(self, threshold: float) -> None:
        if threshold != self._drawing.threshold:
            self._drawing.move_to(threshold)
            self._has_moved = True

    def _pointed_at(self, event: Any) -> float:
        """Return the threshold under the pointer, with as many decimals as a pixel can tell apart."""
        low, high = self._drawing.axes.get_ylim()
        pixel = (high - low) / max(self._drawing.axes.bbox.height, 1)
        decimals = max(math.ceil(-math.log10(pixel)), 2)
        threshold = round(float(event.ydata), decimals)
        lowest = min(float(self._curve.thresholds[0]), self._curve.default)
        highest = max(threshold_at(self._curve, len(self._curve.thresholds) - 1), self._curve.default)
        return min(max(threshold, lowest), highest)


_MOVES = {
    **{"up": 1, "left": 1, "down": -1, "right": -1, "pageup": _PAGE, "pagedown": -_PAGE},
    **{"home": math.inf, "end": -math.inf},
}
"""Up and to the left on the curve are higher thresholds."""


@contextmanager
def _interrupts(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on Ctrl-C within the block, and let Ctrl-C do what it does elsewhere after it.

    Toolkits swallow a KeyboardInterrupt that is raised within their callbacks.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed = []

    def remember(number: int, frame: Any) -> None:
        pressed.append(number)
        interrupt()

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)
