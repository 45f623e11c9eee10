"""Versions of this package and of the libraries whose arithmetic a result depends on."""

from __future__ import annotations

import importlib
import platform

from . import __version__

__all__ = ["versions"]

_LIBRARIES = {"numpy": "numpy", "opencv": "cv2", "Pillow": "PIL", "pyarrow": "pyarrow"}


def versions() -> dict[str, str]:
    """Return name and version of this package, Python, and the libraries that decide a result."""
    # Their own attribute: importlib.metadata would take longer than the imports, done by now anyway.
    found = {name: str(importlib.import_module(module).__version__) for name, module in _LIBRARIES.items()}
    return {"clusterimg": __version__, "python": platform.python_version(), **found}
