"""Small pictures of a folder's files for the window: each decoded once, and only when it is looked at."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

__all__ = ["Pictures", "Shown"]

_SIDE = 160
_KEPT = 500
_BREADTH, _LINES = 14, 4  # of a reason that stands in the picture's place


@dataclass(frozen=True, slots=True)
class Shown:
    """The pixels of a picture, (h, w, 3) uint8 RGB; or without them, why there are none."""

    pixels: NDArray[np.uint8] | None
    reason: str = ""


class Pictures:
    """The pictures of files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Shown] = {}

    def shown(self, file: str) -> Shown:
        """Return what is known of a file's picture so far."""
        return self._loaded.get(file, Shown(None, "…"))

    def load(self, file: str) -> bool:
        """Load the picture of a file; return whether it was not loaded before."""
        if file in self._loaded:
            return False
        if len(self._loaded) >= _KEPT:
            del self._loaded[next(iter(self._loaded))]  # the one loaded first
        self._loaded[file] = _picture(self._folder / file)
        return True


def _picture(path: Path) -> Shown:
    import cv2

    from .._thumbnails import thumbnail

    try:
        jpeg = thumbnail(path, _SIDE)
    except ImageError as error:
        return Shown(None, textwrap.fill(str(error), _BREADTH, max_lines=_LINES, placeholder="…"))
    except OSError as error:
        return Shown(None, textwrap.fill(error.strerror or "can't be read", _BREADTH))
    pixels: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return Shown(np.ascontiguousarray(pixels[:, :, ::-1]))
