"""One file written, copied or linked: whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._names import escape_name
from .errors import ResultError

__all__ = [
    "NO_LINKS",
    "TEMPORARY",
    "can_link_inside",
    "copy",
    "copy_facts",
    "hardlink",
    "link_inside",
    "relative_link",
    "replacing",
    "stamps",
    "symlink",
    "why_changed",
    "why_unreadable",
    "write_arrays",
    "write_error",
]

TEMPORARY = ".clusterimg-tmp"
"""Name of an unfinished file; `results.plan` gives it to no image. One at a time in a folder."""

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or choose an --out on another disk",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose an --out on another disk",
    errno.EXDEV: "a hard link can't reach across file systems: use --transfer copy, "
    "or an --out on the file system of the images",
    errno.EROFS: "the file system is read-only: choose another --out",
    errno.ENAMETOOLONG: "the path is too long for this file system: choose a shorter --out",
}

NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
"""What a file system says that has no links, or not for this user or this file."""


def write_error(path: Path, error: OSError) -> ResultError:
    """Return the `ResultError` that names `path`, and says what to do where that is known."""
    what = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return ResultError(f"can't write {escape_name(str(path))}: {what}")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary name beside `target`; what was written there becomes `target` at the end.

    After an error or an interrupt nothing is left of it, and an older `target` is as it was.
    """
    temporary = target.with_name(TEMPORARY)
    # A leftover of a killed run may be a hard link to an original: opening it for writing would
    # empty the original, so it is unlinked first.
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a `.npz` file, and return once it is on the disk. Raises `ResultError`."""
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise write_error(path, error) from error


def copy(source: Path, target: Path) -> None:
    """Copy the content, time and mode; of a link, those of the file it leads to."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        copy_facts(source, temporary)


def copy_facts(source: Path, target: Path) -> None:
    """Give `target` the time, mode and attributes of `source`, as far as its file system keeps them."""
    with suppress(PermissionError):  # FAT and some network disks keep no modes: no reason to refuse
        shutil.copystat(source, target)


def hardlink(source: Path, target: Path) -> None:
    """Link the file itself, also where the source is a symbolic link to it."""
    with replacing(target) as temporary:
        temporary.hardlink_to(source.resolve(strict=True))


def symlink(source: Path, target: Path) -> None:
    """Link to the absolute path of the file itself, so that the link survives a move of the result."""
    with replacing(target) as temporary:
        temporary.symlink_to(source.resolve(strict=True))


def link_inside(out: Path, source: str, target: str) -> None:
    """Make `out/target` a link to `out/source`, one that holds when `out` is moved.

    Symbolic and relative; a hard link where the file system or the system's rights refuse that.
    """
    with replacing(out / target) as temporary:
        try:
            temporary.symlink_to(relative_link(source, target))
        except (OSError, NotImplementedError):
            temporary.hardlink_to(out / source)


def relative_link(source: str, target: str) -> str:
    """Return what the symbolic link `target` holds to lead to `source`, both relative to one folder."""
    return "../" * target.count("/") + source


def can_link_inside(out: Path, source: str, target: str) -> bool:
    """Return whether `link_inside` works there, by trying: FAT, for one, has no links of any kind."""
    try:
        link_inside(out, source, target)
        (out / target).unlink()
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


def stamps(folder: Path, files: Sequence[str]) -> NDArray[np.int64]:
    """Return size and mtime_ns of each file, (n, 2) int64; -1 for one that has vanished."""
    root, found = os.fspath(folder), []
    for file in files:
        try:
            status = os.stat(f"{root}/{file}")  # noqa: PTH116  a Path for each of a million files takes a while
            found.append((status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):  # ValueError: a null character in the name
            found.append((-1, -1))
    return np.array(found, np.int64).reshape(-1, 2)


def why_unreadable(source: Path) -> str | None:
    """Return why `source` can't be read from its first to its last byte, or None if it can."""
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # opening a pipe would wait for ever
            return "is no longer a file"
        with source.open("rb") as stream:
            while stream.read(1 << 20):
                pass
    except FileNotFoundError:
        return "vanished before it could be handed over"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    return None


def why_changed(source: Path, size: int, mtime_ns: int) -> str | None:
    """Return why `source` is not the file that was listed, or None if size and time are still the same."""
    try:
        status = source.stat()
    except FileNotFoundError:
        return "vanished before it could be handed over"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    if not stat.S_ISREG(status.st_mode):
        return "is no longer a file"
    same = (status.st_size, status.st_mtime_ns) == (size, mtime_ns)
    return None if same else "changed while the run was at work"
