"""Versions of this package and of the libraries whose arithmetic a result depends on."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress

from . import __version__

__all__ = ["decoder_versions", "networks_installed", "versions"]

_DECODERS = {"opencv": "cv2", "Pillow": "PIL"}
_NETWORKS = {"torch": "torch", "scikit-learn": "sklearn"}


def versions(decoders: Mapping[str, str] | None = None, *, of_networks: bool = False) -> dict[str, str]:
    """Return name and version of this package, Python, and the libraries that decide a result.

    `decoders` is what `decoder_versions` returned in the process that used them, if it was not this one;
    `of_networks` adds the libraries of the deep path that are in use.
    """
    in_use = {name: module for name, module in _NETWORKS.items() if of_networks and module in sys.modules}
    return {
        "clusterimg": __version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        **(decoder_versions() if decoders is None else decoders),
        "pyarrow": _version("pyarrow"),
        **{name: _version(module) for name, module in in_use.items()},
    }


def networks_installed() -> dict[str, str]:
    """Return name and version of the libraries of the deep path, without importing them."""
    from importlib import metadata  # takes a while, and other commands need it not

    found = {}
    for name in _NETWORKS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found or {"deep": "needs torch and scikit-learn: pip install 'clusterimg[deep]'"}


def decoder_versions() -> dict[str, str]:
    """Return name and version of the libraries that decode images."""
    return {name: _version(module) for name, module in _DECODERS.items()}


def _version(module: str) -> str:
    # Its own attribute: importlib.metadata would take longer than the import, done by now anyway.
    return str(importlib.import_module(module).__version__)
