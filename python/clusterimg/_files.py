"""One file written, copied or linked: whole, or not at all."""

from __future__ import annotations

import errno
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ._names import escape_name
from .errors import ResultError

__all__ = [
    "HAND_OVER",
    "TEMPORARY",
    "can_link_inside",
    "link_inside",
    "replacing",
    "why_unreadable",
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

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


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


def _copy(source: Path, target: Path) -> None:
    """Copy the content, time and mode; of a link, those of the file it leads to."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        # FAT and some network disks keep no modes: no reason to refuse the copy.
        with suppress(PermissionError):
            shutil.copystat(source, temporary)


def _hardlink(source: Path, target: Path) -> None:
    """Link the file itself, also where the source is a symbolic link to it."""
    with replacing(target) as temporary:
        temporary.hardlink_to(source.resolve(strict=True))


def _symlink(source: Path, target: Path) -> None:
    """Link to the absolute path of the file itself, so that the link survives a move of the result."""
    with replacing(target) as temporary:
        temporary.symlink_to(source.resolve(strict=True))


HAND_OVER: Mapping[str, Callable[[Path, Path], None]] = {
    "copy": _copy,
    "hardlink": _hardlink,
    "symlink": _symlink,
}
"""For each transfer, the function `(source, target)` that does it."""


def link_inside(out: Path, source: str, target: str) -> None:
    """Make `out/target` a link to `out/source`, one that holds when `out` is moved.

    Symbolic and relative; a hard link where the file system or the system's rights refuse that.
    """
    with replacing(out / target) as temporary:
        try:
            temporary.symlink_to("../" * target.count("/") + source)
        except (OSError, NotImplementedError):
            temporary.hardlink_to(out / source)


def can_link_inside(out: Path, source: str, target: str) -> bool:
    """Return whether `link_inside` works there, by trying: FAT, for one, has no links of any kind."""
    try:
        link_inside(out, source, target)
        (out / target).unlink()
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


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
