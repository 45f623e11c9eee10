"""Moving one file: at every moment its content is whole under the old name, the new name, or both.

A move never replaces a file. Where links work it is a link under the new name, which the system refuses
if that is taken, and the end of the old name. Across file systems it is a copy that is on the disk and
compared with its source before the source goes.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ._files import NO_LINKS, TEMPORARY, copy_facts
from ._manifest import sync_folder

__all__ = ["find_original", "finish_move", "has_one_name", "is_same", "move"]


def move(source: Path, target: Path) -> None:
    """Give the file `source` the name `target`.

    Raises
    ------
    FileExistsError
        `target` exists, of whatever kind.
    OSError
        Anything else that the system says. The source is as it was, and there is no target.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EXDEV:
            _copy_across(source, target)
        elif error.errno in NO_LINKS:
            _rename(source, target)
            return
        else:
            raise
    _remove(source, target)


def _remove(source: Path, target: Path) -> None:
    """Remove the source of a complete target; if that can't be, the target."""
    try:
        source.unlink()
    except FileNotFoundError:  # somebody else did: now the target is the only one
        pass
    except OSError:
        target.unlink()
        raise


def _rename(source: Path, target: Path) -> None:
    """Move where there are no links: between the check and the rename a name could be taken."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, target)
        _remove(source, target)


def _copy_across(source: Path, target: Path) -> None:
    """Copy to another file system: written to the disk, read back and compared, then named."""
    temporary = target.with_name(TEMPORARY)
    temporary.unlink(missing_ok=True)
    before = source.lstat()
    try:
        shutil.copyfile(source, temporary, follow_symlinks=False)
        copy_facts(source, temporary)
        with suppress(OSError):  # only root may give files away
            os.chown(temporary, before.st_uid, before.st_gid)
        _sync(temporary)
        is_equal, after = _equal(source, temporary), source.lstat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise OSError(errno.EBUSY, "it is being written to", str(source))
        if not is_equal:
            raise OSError(errno.EIO, "what was read back differs from what was written")
        move(temporary, target)
        sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Return once the content is on the disk; what is read next comes from there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def find_original(path: Path, out: Path, moves: Mapping[str, str]) -> Path:
    """Return the file that `path` is or leads to; where it is in the result `out` if it was moved there.

    `moves` has its target there, by the path that it had. A link in a folder may lead to a file of that
    folder, which is moved while the link stays.
    """
    real = os.path.realpath(path)
    is_moved = real in moves and not os.path.lexists(real)
    return out / moves[real] if is_moved else Path(real)


def finish_move(source: Path, target: Path) -> bool:
    """Remove the source of a move that ended before that; return whether it is gone.

    The target is complete, since it has its name only then. A source that is not the same file any more
    is somebody's new one, and stays.
    """
    if not os.path.lexists(source):
        return True
    if not is_same(source, target):
        return False
    _sync(target)  # it may be a mere copy, if that is what a run before this one was asked for
    source.unlink()
    return True


def is_same(one: Path, other: Path) -> bool:
    """Return whether two names are of regular files, not links, of the same content."""
    first, second = one.lstat(), other.lstat()
    if not (stat.S_ISREG(first.st_mode) and stat.S_ISREG(second.st_mode)):
        return False
    if os.path.samestat(first, second):
        return not has_one_name(one, other)
    return first.st_size == second.st_size and _equal(one, other)


def has_one_name(one: Path, other: Path) -> bool:
    """Return whether two paths lead, through linked folders, to one name: who removes it loses the file."""
    first, second = one.stat(), other.stat()
    if not os.path.samestat(first, second):
        return False
    return first.st_nlink == 1 or (one.name == other.name and one.parent.samefile(other.parent))


def _equal(one: Path, other: Path) -> bool:
    """Compare the contents. (filecmp would trust a comparison it made before.)"""
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            block = first.read(1 << 20)
            if block != second.read(1 << 20):
                return False
            if not block:
                return True
