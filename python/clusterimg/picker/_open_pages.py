"""Which pages are open in browsers, so that somebody who closed the last one is told how to go on."""

from __future__ import annotations

import threading
import time

__all__ = ["Pages"]

MAX_PAGES = 100


class Pages:
    """Which pages are open, as they say themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, bool] = {}
        self._said: dict[str, int] = {}
        self._closed_at: float | None = None

    def note(self, name: str, count: int, is_open: bool) -> None:
        """Note that a page was opened or closed, unless it has said something later: of a higher count."""
        with self._lock:
            is_new = name not in self._open
            if (is_new and len(self._open) == MAX_PAGES) or count <= self._said.get(name, -1):
                return
            self._open[name], self._said[name] = is_open, count
            if is_open:
                self._closed_at = None
            elif not is_new and not any(self._open.values()):
                self._closed_at = time.monotonic()

    def were_closed(self, seconds: float) -> bool:
        """Return whether the last page has been closed for so long; True only once for each time."""
        with self._lock:
            if self._closed_at is None or time.monotonic() - self._closed_at < seconds:
                return False
            self._closed_at = None
            return True
