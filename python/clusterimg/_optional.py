"""Imports of libraries that come with an extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingExtra

__all__ = ["require"]


def require(module: str, *, extra: str) -> ModuleType:
    """Return the imported `module`, or raise `MissingExtra` that names the `extra` to install.

    A library that is installed but broken raises its own error: hiding it would send people to
    install what they have.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = module.split(".")[0]
        raise MissingExtra(f"this needs {package}: pip install 'clusterimg[{extra}]'") from error
