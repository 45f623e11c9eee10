"""undo(): a hand-over taken back, from the manifest.

Nothing a person made or changed since is overwritten or deleted, nor is the last copy of anything: such
files stay where they are, and are listed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ._files import TEMPORARY, relative_link, why_changed, write_error
from ._lock import locked
from ._manifest import MANIFEST, Entry, Manifest, Record, read_manifest
from ._moving import find_original, has_one_name, is_same, move
from ._names import escape_name
from ._types import Skip

__all__ = ["Undone", "take_back", "undo"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did.

    restored : files moved back to where they were
    removed : copies and links deleted
    kept : files of the result folder that stay there, with reasons; another undo will try again
    missing : moved files that are neither in the result folder nor where they were; another undo will
        look for them again
    """

    restored: int
    removed: int
    kept: tuple[Skip, ...]
    missing: tuple[Skip, ...]


def undo(
    result: str | os.PathLike[str], *, progress: Callable[[str, int, int], None] | None = None
) -> Undone:
    """Put moved files back where they were, and delete copies and links that are as they were made.

    Tables, features and the manifest stay: `run` with `resume` can go on from them, and a second undo
    finds nothing left to do.

    Parameters
    ----------
    result : path
        A result folder, wherever it is now.
    progress : callable
        `progress("undo", done, total)`.

    Raises
    ------
    ResultError
        There is no manifest or it is damaged, another process uses the folder, or a file can't be
        moved or deleted (no space, no rights): call it again once that is mended.
    """
    out = Path(result)
    read_manifest(out / MANIFEST)  # a folder without one is left as it is
    report = None if progress is None else partial(progress, "undo")
    try:
        with locked(out), Manifest(out, out) as manifest:
            return take_back(out, manifest, manifest.record.entries, report)
    except OSError as error:
        raise write_error(out, error) from error


def take_back(
    out: Path,
    manifest: Manifest,
    entries: Sequence[Entry],
    progress: Callable[[int, int], None] | None = None,
    *,
    updating: bool = False,
) -> Undone:
    """Take operations of a manifest back, the last one first, and note it there.

    When `updating`, the copy of what an original was before somebody edited it is of no use any more.
    """
    folder, moves = manifest.record.folder, manifest.record.moves()
    counts = {_MOVE_BACK: 0, _DELETE: 0, _DELETE_FOLDER: 0, _NOTHING: 0}
    kept: list[Skip] = []
    missing: list[Skip] = []
    try:
        for done, entry in enumerate(reversed(entries), 1):
            try:
                action = _judge(entry, out, manifest.record, moves, updating=updating)
                _perform(action, out / entry.target, folder / entry.source)
                counts[action] += 1
                manifest.add("undone", target=entry.target)
            except _Missing as reason:
                missing.append(Skip(entry.source, str(reason)))
            except _Kept as reason:
                if not (entry.op == "folder" and any(s.file.startswith(entry.target + "/") for s in kept)):
                    kept.append(Skip(entry.target, str(reason)))
            except OSError as error:
                at_fault = _at_fault(error, out / entry.target, folder / entry.source)
                raise write_error(at_fault, error) from error
            if progress is not None:
                progress(done, len(entries))
    finally:
        manifest.reload()
    return Undone(counts[_MOVE_BACK], counts[_DELETE], tuple(kept), tuple(missing))


def _at_fault(error: OSError, target: Path, source: Path) -> Path:
    """Return which of the two can't be written; where the system names both, it is the new name."""
    is_target = error.filename2 is None and error.filename in (None, str(target))
    return target if is_target else source


def why_kept(out: Path, record: Record) -> Skip | None:
    """Return the first file that an undo would keep, with its reason, or None. Touches nothing."""
    moves = record.moves()
    for entry in record.entries:
        try:
            _judge(entry, out, record, moves)
        except _Missing:
            pass
        except _Kept as reason:
            return Skip(entry.target, str(reason))
    return None


_NOTHING, _DELETE, _MOVE_BACK, _DELETE_FOLDER = "nothing", "delete", "move back", "delete folder"


class _Kept(Exception):
    """The target stays where it is. The text is the reason."""


class _Missing(Exception):
    """There is no target, and no source either. The text says so."""


def _judge(
    entry: Entry, out: Path, record: Record, moves: Mapping[str, str], *, updating: bool = False
) -> str:
    """Return what takes an operation back; raise `_Kept` or `_Missing` where nothing may."""
    source, target = record.folder / entry.source, out / entry.target
    if entry.op == "folder":
        if target.is_symlink():
            raise _Kept("was changed since")
        is_there = target.is_dir() or (target.parent.is_dir() and not os.path.lexists(target))
        return _DELETE_FOLDER if is_there else _NOTHING
    if entry.op == "move":
        return _judge_move(source, target, record.merged_into)
    if not os.path.lexists(target):
        return _NOTHING
    if entry.op == "link":
        is_ours = _is_link_to(target, relative_link(entry.source, entry.target))
        is_ours = is_ours or _is_hard_link(target, out / entry.source)
    elif entry.op == "symlink":
        is_ours = _is_link_to(target, os.path.realpath(source))
    elif target.is_symlink():
        is_ours = False
    elif _is_last(target, find_original(source, out, moves), None if updating else entry):
        raise _Kept(f"is all that is left of {escape_name(str(source))}")
    else:
        is_ours = _is_as_recorded(target, entry) or _is_hard_link(target, source)
    if not is_ours:
        raise _Kept("was changed since")
    return _DELETE


def _judge_move(source: Path, target: Path, merged_into: Sequence[str]) -> str:
    is_back = os.path.lexists(source)
    if not os.path.lexists(target):
        if is_back:
            return _NOTHING
        gone = "is neither in the result folder nor where it was"
        if merged_into:
            raise _Kept(f"{gone}; undo {' and '.join(map(escape_name, merged_into))} first, it may be there")
        raise _Missing(gone)
    if not is_back and not stat.S_ISREG(target.lstat().st_mode):
        raise _Kept("is no longer a file")
    if not is_back:
        return _MOVE_BACK
    if is_same(target, source):  # the move was cut off before its end
        return _DELETE
    raise _Kept(f"{escape_name(str(source))} exists again")


def _perform(action: str, target: Path, source: Path) -> None:
    if action == _DELETE:
        target.unlink()
    elif action == _MOVE_BACK:
        try:
            source.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
                raise
            shown = escape_name(str(source.parent))
            raise _Kept(f"can't be put back: {shown} is no longer a folder") from None
        try:
            move(target, source)
        except FileExistsError:
            raise _Kept(f"{escape_name(str(source))} exists again") from None
    elif action == _DELETE_FOLDER:
        _remove_folder(target)


def _remove_folder(folder: Path) -> None:
    (folder / TEMPORARY).unlink(missing_ok=True)  # of a copy that was cut off
    try:
        folder.rmdir()
    except FileNotFoundError:  # a kill came after its parent was made, and before it
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise _Kept("holds files that are not from this run") from None
    with suppress(OSError):  # result/ itself goes with the last folder in it
        folder.parent.rmdir()


def _is_last(target: Path, original: Path, entry: Entry | None) -> bool:
    """Return whether a copy or hard link is all that is left of its original.

    Given its entry, also whether nothing else has the content that the original had then.
    """
    if not original.is_file() or has_one_name(original, Path(os.path.realpath(target))):
        return True
    if entry is None or why_changed(original, entry.size, entry.mtime_ns) is None:
        return False
    return _is_as_recorded(target, entry) and not is_same(target, original)


def _is_link_to(target: Path, text: str) -> bool:
    return target.is_symlink() and str(target.readlink()) == text


def _is_hard_link(target: Path, source: Path) -> bool:
    """Return whether these are two names of one file, so that its changes show under either."""
    if not stat.S_ISREG(target.lstat().st_mode) or not source.exists():
        return False
    return target.samefile(source) and not has_one_name(target, Path(os.path.realpath(source)))


def _is_as_recorded(target: Path, entry: Entry) -> bool:
    status = target.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        return False
    # Many file systems round times, FAT to two seconds.
    units = (1, 100, 10**3, 10**6, 10**9, 2 * 10**9)
    return any(entry.mtime_ns // unit * unit == status.st_mtime_ns for unit in units)
