"""The exceptions this package raises on purpose.

ClusterimgError
├── UsageError (ValueError)          a parameter is wrong: what was wanted, what came
│   └── BackendUnavailable           a backend was asked for by name and can't run here
├── MissingExtra (ImportError)       an optional library is needed: which extra to install
├── DeviceError                      a GPU failed at its work: which, at what, and how to go on
├── ImageError                       one image can't be used: why (the reason in skipped.csv)
├── ModelError                       a trained model, or the weights of a network, can't be written or read
├── ResultError                      a result folder or one of its files can't be written or read
└── FilesSkipped                     the run is complete, but files were skipped and it was strict

DeviceWarning (RuntimeWarning)       a GPU failed, and the work was done without it
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BackendUnavailable",
    "ClusterimgError",
    "DeviceError",
    "DeviceWarning",
    "FilesSkipped",
    "ImageError",
    "MissingExtra",
    "ModelError",
    "ResultError",
    "UsageError",
]


class ClusterimgError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(ClusterimgError, ValueError):
    """A parameter is wrong. The text says what was wanted and what came."""


class BackendUnavailable(UsageError):
    """A backend was named that can't run on this machine. The text says why."""


class MissingExtra(ClusterimgError, ImportError):
    """An optional library is needed and not installed. The text names the extra."""


class DeviceError(ClusterimgError):
    """A GPU failed: it was lost, or has no room for the smallest piece. The text says how to go on."""


class ImageError(ClusterimgError):
    """One image can't be used. The text is the reason, as `skipped.csv` shows it."""


class ModelError(ClusterimgError):
    """A trained model, or the weights of a network, can't be written or read. The text names the file."""


class ResultError(ClusterimgError):
    """A result folder, or a file in it, can't be written or read. The text names it."""


class FilesSkipped(ClusterimgError):
    """A strict run is complete, but had to skip files. `result` is what it found."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class DeviceWarning(RuntimeWarning):
    """A GPU that `auto` had chosen failed; another backend does its work. The text says which, and why."""
