"""What can open a window here, and what keeps one from opening."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

__all__ = ["find_backend", "why_no_window"]

_QTS = ("PyQt6", "PySide6", "PyQt5", "PySide2")

_QT_OPENS = """
from matplotlib.backends.backend_qtagg import FigureCanvas
from matplotlib.figure import Figure
FigureCanvas.new_manager(Figure(), 1)
"""

_SECONDS = 30.0


def why_no_window() -> str | None:
    """Return why no window can be opened here, or None where one can."""
    return find_backend()[1]


def find_backend() -> tuple[str, str | None]:
    """Return the matplotlib module of the first toolkit that can open a window, and why none can."""
    if importlib.util.find_spec("matplotlib") is None:
        return "", "matplotlib is not installed: pip install 'clusterimg[plot]'"
    if _no_display():
        return "", "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    reasons = []
    for name, why_not in (("tkagg", _why_no_tk), ("qtagg", _why_no_qt)):
        reason = why_not()
        if reason is None:
            return f"matplotlib.backends.backend_{name}", None
        reasons.append(reason)
    return "", "no window toolkit can be used: " + "; ".join(reasons)


def _no_display() -> bool:
    if sys.platform in ("win32", "cygwin", "darwin"):
        return False
    return not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _why_no_tk() -> str | None:
    try:
        import tkinter
    except ImportError:
        return "tkinter is not installed (on Debian and Ubuntu: apt install python3-tk)"
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError as error:
        return f"tkinter: {error}"
    return None


def _why_no_qt() -> str | None:
    installed = [name for name in _QTS if importlib.util.find_spec(name) is not None]
    if not installed:
        return "Qt is not installed (pip install PyQt6)"
    # Where Qt can't reach the display it ends the process: this must not be ours.
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _QT_OPENS], capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{installed[0]}: no window within {_SECONDS:g} s"
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or [f"it ended with {tried.returncode}"]
        return f"{installed[0]}: {said[-1] if said[0].startswith('Traceback') else said[0]}"
    return None
