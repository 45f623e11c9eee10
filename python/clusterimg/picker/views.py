"""Which view of the curve a person gets to choose on: a page, a window or a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._browsers import why_no_browser
from .curve import ThresholdCurve

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["VIEWS", "ask", "can_ask", "view_for"]

VIEWS = ("page", "window", "table")


def ask(
    curve: ThresholdCurve,
    folder: Path,
    *,
    ui: str,
    console: Console,
    announce: Callable[[str], None],
) -> float | None:
    """Return the threshold that a person chose on one of the views, or None.

    ui : one of `VIEWS`
    console : the terminal for the table
    announce : tells the person where the page is
    """
    if ui == "page":
        from .serving import choose_on_page

        return choose_on_page(curve, folder, announce=announce)
    if ui == "window":
        from .window import choose_in_window

        return choose_in_window(curve, folder)
    from .table import choose_in_table

    return choose_in_table(curve, console)


def view_for(ui: str, *, is_terminal: bool) -> str:
    """Return the view that `auto` means here: a page where a browser can open, a table in a terminal.

    Raises `UsageError` where a view can't be had: no one would see it.
    """
    if ui == "window":
        from .window import why_no_window

        reason = why_no_window()
        if reason is not None:
            raise UsageError(f"no window can be opened: {reason}; try --ui page or --ui table")
    if ui != "auto":
        return ui
    if why_no_browser() is None:
        return "page"
    if is_terminal:
        return "table"
    raise UsageError(
        "nobody can be asked: there is no browser and no terminal here; give --threshold a number or auto, "
        "or --ui page to serve the page"
    )


def can_ask(*, is_terminal: bool) -> bool:
    """Return whether there is somebody to ask: a display or a terminal."""
    return is_terminal or why_no_browser() is None
