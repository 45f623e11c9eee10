"""One process at a time in a result folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._names import escape_name
from .errors import ResultError

__all__ = ["locked"]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the result folder `out` for this process; the system lets go of it when the process ends.

    The lock is on the folder itself, so that nothing is left behind. A file system without locks is
    trusted not to be used twice at once.

    Raises
    ------
    ResultError
        Another process holds it.
    """
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            shown = escape_name(str(out))
            raise ResultError(
                f"{shown} is in use by another run: wait for it, or choose another --out"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
