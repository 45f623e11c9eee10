"""The files of a folder: which entries can be images, and why the others can't."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ._types import Skip
from .errors import UsageError

__all__ = ["Listing", "find", "os_reason", "why_not_regular"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder, and what in it was left out.

    files : paths relative to the folder with `/`, in the order of their bytes
    skipped : in the same order
    """

    files: tuple[str, ...]
    skipped: tuple[Skip, ...]


def find(folder: Path | str, *, recursive: bool = False, exclude: Path | str | None = None) -> Listing:
    """Return the files in a folder, and what in it can't be one, with the reason.

    Every regular file is listed, whatever its extension, and every link to one. Nothing is opened.

    Parameters
    ----------
    folder : the folder to look into
    recursive : whether to enter its subfolders; links to folders are never entered
    exclude : a subfolder not to enter, such as the result of an earlier run

    Raises
    ------
    UsageError : `folder` is missing, not a folder, or can't be read
    """
    files: list[str] = []
    skipped: list[Skip] = []
    for name, reason in _walk(folder, recursive, None if exclude is None else os.path.realpath(exclude)):
        if reason is None:
            files.append(name)
        else:
            skipped.append(Skip(name, reason))
    files.sort(key=os.fsencode)
    skipped.sort(key=lambda skip: os.fsencode(skip.file))
    return Listing(tuple(files), tuple(skipped))


def _walk(folder: Path | str, recursive: bool, excluded: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each entry that counts, and why it is left out or None."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(Path(folder, prefix)) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_file(follow_symlinks=False):
                        yield name, None
                    elif not entry.is_dir(follow_symlinks=False):
                        reason = _why_no_file(entry)
                        if recursive or reason != _LINK_TO_FOLDER:
                            yield name, reason
                    elif recursive and os.path.realpath(entry.path) != excluded:
                        pending.append(name + "/")
        except (OSError, ValueError) as error:
            if not prefix:
                wanted = "folder must be a folder that can be read"
                raise UsageError(f"{wanted}, got {os.fspath(folder)!r}: {os_reason(error)}") from None
            yield prefix.rstrip("/"), f"folder can't be read: {os_reason(error)}"


_LINK_TO_FOLDER = "link to a folder"


def _why_no_file(entry: os.DirEntry[str]) -> str | None:
    """Return why a link or special file can't be read as a file, or None if it can."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "broken link"
    except OSError as error:
        return os_reason(error)
    return _LINK_TO_FOLDER if stat.S_ISDIR(mode) else why_not_regular(mode)


def why_not_regular(mode: int) -> str | None:
    """Return why what has this mode is no file that can be read, or None if it is one."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return f"not a file: {kinds.get(stat.S_IFMT(mode), 'device')}"


def os_reason(error: OSError | ValueError) -> str:
    """Return for people why the system can't do what was asked."""
    return (getattr(error, "strerror", None) or str(error)).lower()
