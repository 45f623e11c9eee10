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
        self._open: set[str] = set()
        self._closed_at: float | None = None

    def note(self, name: str, is_open: bool) -> None:
        """Note that a page was opened or closed."""
        with self._lock:
            if is_open and len(self._open) < MAX_PAGES:
                self._open.add(name)
                self._closed_at = None
            elif name in self._open:
                self._open.remove(name)
                self._closed_at = None if self._open else time.monotonic()

    def were_closed(self, seconds: float) -> bool:
        """Return whether the last page has been closed for so long; True only once for each time."""
        with self._lock:
            if self._closed_at is None or time.monotonic() - self._closed_at < seconds:
                return False
            self._closed_at = None
            return True
