"""A screen of our own to open windows on, with a pointer and keys: Xvfb, and X's XTEST by ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Found = TypeVar("Found")

WITHIN = 60.0  # seconds in which anything that is waited for must come, on a busy machine
KEYS = {"enter": 0xFF0D, "escape": 0xFF1B, "up": 0xFF52, "down": 0xFF54, "home": 0xFF50, "end": 0xFF57}
KEYS |= {"pageup": 0xFF55, "pagedown": 0xFF56}


def why_no_screen() -> str | None:
    """Return what is missing to have a screen and to press its keys."""
    if shutil.which("Xvfb") is None:
        return "Xvfb is not installed"
    for name in ("X11", "Xtst"):
        if ctypes.util.find_library(name) is None:
            return f"lib{name} is not installed"
    return None


def wait_for(find: Callable[[], Found | None], what: str) -> Found:
    """Return what `find` finds, as soon as it does."""
    end = time.monotonic() + WITHIN
    while time.monotonic() < end:
        found = find()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {WITHIN:g} s")


@contextmanager
def screen(width: int = 1200, height: int = 800) -> Iterator[Screen]:
    """Give a screen, and put it away at the end."""
    reader, writer = os.pipe()
    size = ["-screen", "0", f"{width}x{height}x24", "-dpi", "96"]  # at which windows aren't scaled
    command = ["Xvfb", "-displayfd", str(writer), *size, "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        try:
            with os.fdopen(reader) as stream:  # ends where the server fails
                number = stream.readline().strip()
            assert number, "Xvfb did not start"
            found = Screen(f":{number}")
            yield found
            found.close()
        finally:
            server.terminate()


class _Event(ctypes.Structure):
    """XClientMessageEvent, at the length of an XEvent."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("rest", ctypes.c_long * 24),
    ]


class Screen:
    """An X display, with a pointer and a keyboard; its windows have no frames and stand in the corner."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._x11, self._test = (ctypes.CDLL(f"lib{lib}.so.6") for lib in ("X11", "Xtst"))
        for function in ("XOpenDisplay", "XKeysymToKeycode", "XDefaultRootWindow", "XInternAtom"):
            getattr(self._x11, function).restype = ctypes.c_ulong
        self._display = ctypes.c_void_p(self._x11.XOpenDisplay(name.encode()))
        assert self._display, f"no display {name}"
        self._root = ctypes.c_ulong(self._x11.XDefaultRootWindow(self._display))

    def close(self) -> None:
        self._x11.XCloseDisplay(self._display)

    def _flush(self) -> None:
        self._x11.XSync(self._display, 0)

    def move(self, x: float, y: float) -> None:
        self._test.XTestFakeMotionEvent(self._display, -1, round(x), round(y), 0)
        self._flush()

    def click(self, button: int = 1) -> None:
        for pressed in (1, 0):
            self._test.XTestFakeButtonEvent(self._display, button, pressed, 0)
        self._flush()

    def press(self, key: str) -> None:
        symbol = KEYS.get(key) or ord(key)
        code = self._x11.XKeysymToKeycode(self._display, ctypes.c_ulong(symbol))
        assert code, f"no key {key}"
        for pressed in (1, 0):
            self._test.XTestFakeKeyEvent(self._display, code, pressed, 0)
        self._flush()

    def windows(self, above: int | None = None) -> dict[str, int]:
        """Return the windows that have a title, by it."""
        root, parent = ctypes.c_ulong(), ctypes.c_ulong()
        children, n = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
        window = ctypes.c_ulong(above or self._root.value)
        query = (ctypes.byref(part) for part in (root, parent, children, n))
        if not self._x11.XQueryTree(self._display, window, *query):
            return {}
        inside = [children[k] for k in range(n.value)]
        found = {}
        for child in inside:
            title = ctypes.c_char_p()
            if (
                self._x11.XFetchName(self._display, ctypes.c_ulong(child), ctypes.byref(title))
                and title.value
            ):
                found[title.value.decode()] = child
            found |= self.windows(child)
        return found

    def ask_to_close(self, title: str) -> None:
        """Do what the button in a window's frame does."""
        protocols, delete = (
            self._x11.XInternAtom(self._display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        window = self.windows()[title]
        event = _Event(type=33, send_event=1, window=window, message_type=protocols, format=32)
        event.data[0] = delete
        self._x11.XSendEvent(self._display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
        self._flush()

    def shot(self) -> Any:
        """Return what is on the screen, as a PIL image."""
        from PIL import ImageGrab

        return ImageGrab.grab(xdisplay=self.name)

    def pixels(self) -> NDArray[np.uint8]:
        return np.asarray(self.shot().convert("RGB"))
