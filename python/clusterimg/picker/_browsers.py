"""Opening an address in a browser, where that helps: on a display, never in the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

__all__ = ["open_quietly", "why_no_browser"]

IN_TERMINAL = {"www-browser", "links", "links2", "elinks", "lynx", "w3m", "browsh", "carbonyl", "chawan"}
"""Browsers that would take over the terminal in which a person waits for our next line."""

OPEN = "import sys, webbrowser; webbrowser.get().open(sys.argv[1])"


def why_no_browser() -> str | None:
    """Return why no browser can be opened for a person here; None if one can."""
    import webbrowser

    if os.environ.get("SSH_CONNECTION"):
        return "this is a shell on another machine"
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display and sys.platform not in ("darwin", "win32"):
        return "there is no display"
    if not sys.executable:
        return "there is no Python program to start one with"
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return "there is no browser"
    name = os.path.basename(getattr(browser, "name", ""))  # noqa: PTH119 - a command, maybe without a path
    return f"{name} would need the terminal" if name in IN_TERMINAL else None


def open_quietly(address: str) -> None:
    """Open an address in the browser that Python prefers, without waiting for it.

    In a process of its own, and a session of its own: what browsers say doesn't come into the terminal,
    Ctrl-C doesn't end them, and one that stays in front doesn't keep us waiting.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", OPEN, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return  # the address is announced anyway
    threading.Thread(target=process.wait, daemon=True).start()
