"""The record of every file operation, by which a run can be continued or undone.

`manifest.jsonl` begins with `{"version", "folder"}`; then each line is one operation, on the disk before
the operation begins:

    {"op": "table", "target"}                                                   a table, a file of ours
    {"op": "folder", "target"}
    {"op": "move" | "copy" | "hardlink" | "symlink", "source", "target", "size", "mtime_ns"}
    {"op": "link", "source", "target"}                                          of a batch folder
    {"op": "merged", "target"}                 a merge into that result folder may have moved files on
    {"op": "undone", "target"}                 the operation with that target is taken back

Targets, and the source of a `link`, are relative to the result folder; other sources to `folder`, or
absolute. Names are shown as in the tables. A line says that the operation may have happened, not that it
did: what is on the disk decides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ._files import TEMPORARY
from ._names import escape_name, unescape_name
from .errors import ResultError

__all__ = ["MANIFEST", "Entry", "Manifest", "Record", "read_manifest", "sync_folder"]

MANIFEST = "manifest.jsonl"
"""Its name in the result folder."""

_VERSION = 1
_TRANSFERS = ("move", "copy", "hardlink", "symlink")
_NEEDS_SOURCE = (*_TRANSFERS, "link")
_OPERATIONS = ("table", "folder", *_NEEDS_SOURCE, "merged", "undone")


class Entry(NamedTuple):
    """One operation; size and time are those of the source when it was handed over."""

    op: str
    source: str
    target: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a manifest says.

    folder : where the images are, or were
    entries : operations that were not undone, in order, each target once
    tables : files of ours in the result folder
    merged_into : result folders that may have files of this one
    """

    folder: Path
    entries: tuple[Entry, ...]
    tables: tuple[str, ...]
    merged_into: tuple[str, ...]

    def moves(self) -> dict[str, str]:
        """Return the target of each file that was moved, by the path that it had."""
        return {str(self.folder / entry.source): entry.target for entry in self.entries if entry.op == "move"}


class Manifest(AbstractContextManager["Manifest"]):
    """A manifest being written: add the lines of some operations, commit, and only then do them.

    record : what it said when it was opened, or last reloaded
    """

    def __init__(self, out: Path, folder: Path) -> None:
        """Begin the manifest of the result folder `out`, or go on with the one that is there."""
        self._path = out / MANIFEST
        is_new = _cut_torn_line(self._path) == 0
        self.record = Record(folder.resolve(), (), (), ()) if is_new else read_manifest(self._path)
        self._stream = self._path.open("a", encoding="utf-8", newline="\n")
        self._pending: list[str] = []
        self._remove_leftovers(out)
        if is_new:
            self._append({"version": _VERSION, "folder": escape_name(str(self.record.folder))})
            self.commit()
            sync_folder(out)

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, op: str, *, source: str = "", target: str, **facts: int) -> None:
        """Note an operation that may begin after the next `commit`."""
        names = {"source": escape_name(source)} if source else {}
        self._append({"op": op, **names, "target": escape_name(target), **facts})

    def add_table(self, name: str) -> None:
        """Note, and commit, that a table of that name is about to be written."""
        self.add("table", target=name)
        self.commit()

    def reload(self) -> None:
        """Commit, and bring `record` up to date."""
        self.commit()
        self.record = read_manifest(self._path)

    def commit(self) -> None:
        """Return once every line is on the disk: neither a kill nor a power cut loses one."""
        if not self._pending:
            return
        self._stream.write("".join(self._pending))
        self._pending.clear()
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _remove_leftovers(self, out: Path) -> None:
        """Remove the unfinished files that a killed process left: here, and where its undo was at work."""
        entries = self.record.entries
        folders = {entry.target for entry in entries if entry.op == "folder"}
        before = {os.path.dirname(entry.source) for entry in entries if entry.op == "move"}  # noqa: PTH120
        for folder in (
            out,
            *(out / name for name in folders),
            *(self.record.folder / name for name in before),
        ):
            with suppress(OSError):  # mostly there is none
                (folder / TEMPORARY).unlink()

    def _append(self, record: Mapping[str, Any]) -> None:
        self._pending.append(json.dumps(record, ensure_ascii=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk, if its file system can tell."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems sync no folders
            os.fsync(handle)
    finally:
        os.close(handle)


def _cut_torn_line(path: Path) -> int:
    """Cut what follows the last whole line (its operation has not begun) and return the size."""
    if not path.exists():
        return 0
    with path.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if stream.read() == b"\n":
            return size
        stream.seek(0)
        return stream.truncate(stream.read().rfind(b"\n") + 1)


def read_manifest(path: Path) -> Record:
    """Return what the manifest `path` says; a last line that breaks off is passed over.

    Raises
    ------
    ResultError
        It can't be read or is damaged; the text names the file and the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ResultError(f"can't read {escape_name(str(path))}: {error.strerror or error}") from error
    if not lines:
        raise _damaged(path, 1, "it must begin with a version and a folder")
    folder = _folder_of(path, _parsed(path, 1, lines[0]))
    entries: dict[str, Entry] = {}
    tables: dict[str, None] = {}
    merged_into: dict[str, None] = {}
    for number, line in enumerate(lines[1:], 2):
        entry = _entry_of(path, number, _parsed(path, number, line))
        if entry.op == "undone":
            entries.pop(entry.target, None)
        elif entry.op == "merged":
            merged_into[entry.target] = None
        elif entry.op == "table":
            tables[entry.target] = None
        else:
            entries.pop(entry.target, None)  # one that is done again comes last
            entries[entry.target] = entry
    return Record(folder, tuple(entries.values()), tuple(tables), tuple(merged_into))


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number, "it must be one JSON object") from error
    if not isinstance(record, dict):
        raise _damaged(path, number, "it must be one JSON object")
    return record


def _folder_of(path: Path, header: Mapping[str, Any]) -> Path:
    version = header.get("version")
    if type(version) is not int or version != _VERSION:
        raise _damaged(path, 1, f"version must be {_VERSION}, got {version!r:.40}")
    folder = Path(_name(path, 1, header, "folder"))
    if not folder.is_absolute():
        raise _damaged(path, 1, f"folder must be an absolute path, got {header['folder']!r:.200}")
    return folder


def _entry_of(path: Path, number: int, record: Mapping[str, Any]) -> Entry:
    op = record.get("op")
    if op not in _OPERATIONS:
        raise _damaged(path, number, f"op must be one of {', '.join(_OPERATIONS)}, got {op!r:.40}")
    target = _name(path, number, record, "target")
    source = _name(path, number, record, "source") if op in _NEEDS_SOURCE else ""
    if op != "merged" and not _stays_inside(target):
        raise _damaged(path, number, f"target must stay inside the result folder, got {target!r:.200}")
    if op == "link" and not _stays_inside(source):
        raise _damaged(path, number, f"source must stay inside the result folder, got {source!r:.200}")
    size, mtime_ns = record.get("size", 0), record.get("mtime_ns", 0)
    if type(size) is not int or type(mtime_ns) is not int:
        raise _damaged(path, number, "size and mtime_ns must be whole numbers")
    return Entry(op, source, target, size, mtime_ns)


def _name(path: Path, number: int, record: Mapping[str, Any], key: str) -> str:
    text = record.get(key)
    name = unescape_name(text) if isinstance(text, str) and _is_path(text) else ""
    if not _is_path(name):
        raise _damaged(path, number, f"{key} must be a path, got {text!r:.200}")
    return name


def _is_path(name: str) -> bool:
    """Return whether the file system could have a file of that name."""
    try:
        return bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _stays_inside(name: str) -> bool:
    """Return whether a path can't lead out of the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _damaged(path: Path, number: int, what: str) -> ResultError:
    return ResultError(f"{escape_name(str(path))}, line {number}: {what}")
