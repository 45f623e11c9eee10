"""Versions of this package and of the libraries whose arithmetic a result depends on."""

from __future__ import annotations

__all__ = ["version", "versions"]

_LIBRARIES = ("numpy", "opencv-python-headless", "Pillow", "pyarrow")


def version() -> str:
    """Return the version of this package."""
    from importlib import metadata  # here and below: its import takes as long as all of ours

    return metadata.version("clusterimg")


def versions() -> dict[str, str]:
    """Return name and version of this package, Python, and the libraries that decide a result."""
    import platform
    from importlib import metadata

    found = {"clusterimg": version(), "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:  # another build of it, such as opencv-python
            found[library] = "installed under another name"
    return found
