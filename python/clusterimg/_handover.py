"""Files handed over as planned, each operation in the manifest before it begins."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from ._files import (
    can_link_inside,
    copy,
    hardlink,
    link_inside,
    symlink,
    why_changed,
    why_unreadable,
    write_error,
)
from ._manifest import MANIFEST, Entry, Manifest
from ._moving import find_original, finish_move, move
from ._names import escape_name
from ._types import Skip
from .errors import ResultError

__all__ = ["HAND_OVER", "Handover", "Operation", "Plan", "apply", "obsolete"]

HAND_OVER: Mapping[str, Callable[[Path, Path], None]] = {
    "copy": copy,
    "move": move,
    "hardlink": hardlink,
    "symlink": symlink,
}
"""For each transfer, the function `(source, target)` that does it."""

_OPERATIONS_PER_COMMIT = 256
"""So many share the wait for the disk; after a kill, as many lines at most say what did not happen."""

Item = TypeVar("Item")
Progress = Callable[[int, int], None] | None


class Operation(NamedTuple):
    """One file to hand over, or one link to make; size and time are those when it was listed."""

    source: str
    target: str
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where.

    folders, batch_folders : those to create under the result folder, also if they stay empty
    transfers : for image k, `transfers[k]`: from FOLDER to its place in the result
    links : for image k, `links[k]`: from its target to its place in a batch folder; or empty
    """

    folders: tuple[str, ...]
    batch_folders: tuple[str, ...]
    transfers: tuple[Operation, ...]
    links: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Handover:
    """What `apply` did.

    targets : for each image its path relative to the result folder, empty where there is none
    skips : files that were gone, changed or unreadable when their turn came
    has_batch_folders : False where none were planned, or the file system has no links of any kind
    """

    targets: tuple[str, ...]
    skips: tuple[Skip, ...]
    has_batch_folders: bool


def apply(
    plan: Plan,
    folder: Path,
    out: Path,
    manifest: Manifest,
    *,
    transfer: str = "copy",
    progress: Progress = None,
) -> Handover:
    """Hand the files of `folder` over as planned, then make the links of the batch folders.

    What the manifest says was done before, and is there, is not done again.

    Parameters
    ----------
    plan : Plan
        What goes where.
    folder, out : Path
        Where the images are; the result folder.
    manifest : Manifest
        Of `out`.
    transfer : str
        `copy` (with time and mode; of a linked file, its content), `move` (a linked file is copied:
        the link stays), `hardlink` (to the file itself, also where FOLDER has a symbolic link to
        it), `symlink` (absolute, to the file itself, so the result may be moved), or `none`: no
        folders, no files.
    progress : callable
        Called as `progress(done, total)` after each file and each link.

    Raises
    ------
    ResultError
        `out` can't be written: no space, no rights, no hard links. Every file is whole, in its old
        place or its new one.
    """
    if transfer == "none":
        return Handover(("",) * len(plan.transfers), (), False)
    known = {entry.target: entry.op for entry in manifest.record.entries}
    moves = manifest.record.moves()
    if transfer == "move":
        moves.update((str(folder.resolve() / source), target) for source, target, *_ in plan.transfers)
    work = _Work(folder, out, manifest, known, moves)
    try:
        _check_space(plan.transfers, work, transfer)
        has_links = bool(plan.batch_folders) and can_link_inside(out, MANIFEST, ".clusterimg/link")
        n_files, n_links = len(plan.transfers), len(plan.links) if has_links else 0
        work.make_folders(plan.folders)
        reasons = []
        for reason in work.transfer(plan.transfers, transfer):
            reasons.append(reason)
            if progress is not None:
                progress(len(reasons), n_files + n_links)
        if has_links:
            work.make_folders(plan.batch_folders)
            for n, _ in enumerate(work.link(plan.links, reasons), n_files + 1):
                if progress is not None:
                    progress(n, n_files + n_links)
    except OSError as error:
        raise write_error(out, error) from error
    done = list(zip(plan.transfers, reasons, strict=True))
    targets = tuple(operation.target if reason is None else "" for operation, reason in done)
    skips = tuple(Skip(operation.source, reason) for operation, reason in done if reason is not None)
    return Handover(targets, skips, has_links)


def obsolete(plan: Plan, entries: Sequence[Entry], transfer: str) -> list[Entry]:
    """Return the operations that were done before and are none of this plan."""
    if transfer == "none":
        return list(entries)
    operations = (transfer, "copy") if transfer == "move" else (transfer,)
    handed = {operation.target: operation for operation in plan.transfers}
    linked = {link.target: link for link in plan.links}
    folders = {*plan.folders, *plan.batch_folders}

    def is_planned(entry: Entry) -> bool:
        if entry.op == "folder":
            return entry.target in folders
        if entry.op == "link":
            link = linked.get(entry.target)
            return link is not None and link.source == entry.source
        return entry.op in operations and handed.get(entry.target) == entry[1:]

    return [entry for entry in entries if not is_planned(entry)]


def _check_space(transfers: Sequence[Operation], work: _Work, transfer: str) -> None:
    """Say that the disk is too small before it is full."""
    device = work.out.stat().st_dev
    wanted = 0
    for source, target, size, _ in transfers:
        is_across = transfer == "move" and _device(work.folder / source) not in (None, device)
        if target not in work.known and (transfer == "copy" or is_across):
            wanted += size
    free = shutil.disk_usage(work.out).free
    if wanted > free:
        raise ResultError(
            f"{escape_name(str(work.out))} has {free / 1e9:,.3f} GB free, the images need "
            f"{wanted / 1e9:,.3f} GB: free some space, choose an --out on another disk, "
            "or --transfer hardlink, symlink or none"
        )


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:  # gone: it will need no space
        return None


@dataclass(frozen=True, slots=True)
class _Work:
    """Where a hand-over takes place.

    known : each target that the manifest had before, and its op
    moves : the target of each file that was or will be moved, by its path
    """

    folder: Path
    out: Path
    manifest: Manifest
    known: Mapping[str, str]
    moves: Mapping[str, str]

    def make_folders(self, folders: Sequence[str]) -> None:
        for target in folders:
            if target not in self.known:
                self.manifest.add("folder", target=target)
        self.manifest.commit()
        for target in folders:
            (self.out / target).mkdir(parents=True, exist_ok=True)

    def transfer(self, operations: Sequence[Operation], transfer: str) -> Iterator[str | None]:
        """Do the operations; yield for each why its file was left out, or None."""
        for group in _groups(operations):
            reasons = [self._prepare(operation, transfer) for operation in group]
            self.manifest.commit()
            for operation, reason in zip(group, reasons, strict=True):
                yield self._hand_over(operation, transfer) if reason is None else reason

    def _prepare(self, operation: Operation, transfer: str) -> str | None:
        """Announce an operation that is still to be done; return what speaks against it, or None."""
        source, target, size, mtime_ns = operation
        op = _op(self.folder / source, transfer)
        if self._is_done(operation):
            reason, is_new = None, self.known[target] != op  # a copy of which the original goes now
        else:
            reason = why_changed(self._original(source), size, mtime_ns)
            is_new = reason is None
        if is_new:
            self.manifest.add(op, source=source, target=target, size=size, mtime_ns=mtime_ns)
        return reason

    def _hand_over(self, operation: Operation, transfer: str) -> str | None:
        source, target = self.folder / operation.source, self.out / operation.target
        op = _op(source, transfer)
        if self._is_done(operation):
            if op == "move":
                finish_move(source, target)
            return None
        original = self._original(operation.source)
        try:
            _check_free(target)
            HAND_OVER[op](original, target)
            if op == "copy" and (reason := why_changed(original, *operation[2:])):  # while it was copied
                target.unlink()
                return reason
        except OSError as error:
            # The system seldom says which side failed, so the source is read again to find out.
            if reason := why_unreadable(original):
                return reason
            if op == "move" and _is_of_source(error, source, target):
                return f"can't be moved: {error.strerror}"
            raise write_error(target, error) from error
        return None

    def link(self, links: Sequence[Operation], reasons: Sequence[str | None]) -> Iterator[None]:
        """Make the links of the batch folders to the files that were handed over."""
        wanted = [link if reason is None else None for link, reason in zip(links, reasons, strict=True)]
        for group in _groups(wanted):
            for link in group:
                if link and not self._is_done(link):
                    self.manifest.add("link", source=link.source, target=link.target)
            self.manifest.commit()
            for link in group:
                if link and not self._is_done(link):
                    _check_free(self.out / link.target)
                    link_inside(self.out, link.source, link.target)
                yield

    def _original(self, source: str) -> Path:
        """Return what is to be handed over: for a link, the file that it leads to, wherever that is now."""
        path = self.folder / source
        return find_original(path, self.out, self.moves) if path.is_symlink() else path

    def _is_done(self, operation: Operation) -> bool:
        return operation.target in self.known and os.path.lexists(self.out / operation.target)


def _check_free(target: Path) -> None:
    if os.path.lexists(target):  # nobody but the owner of the folder can have put it there
        raise FileExistsError(errno.EEXIST, "there is a file that is not from this run", str(target))


def _is_of_source(error: OSError, source: Path, target: Path) -> bool:
    """Return whether a move failed since its source can't be read or removed."""
    if error.filename != str(source):
        return False
    # Of a link or rename the system names both. Either may be meant, unless we can write beside the target.
    is_forbidden = error.errno in (errno.EACCES, errno.EPERM)
    return error.filename2 is None or (is_forbidden and os.access(target.parent, os.W_OK))


def _op(source: Path, transfer: str) -> str:
    return "copy" if transfer == "move" and source.is_symlink() else transfer


def _groups(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _OPERATIONS_PER_COMMIT):
        yield items[start : start + _OPERATIONS_PER_COMMIT]
