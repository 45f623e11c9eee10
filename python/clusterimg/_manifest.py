"""The record of every file operation, by which a run can be undone.

`manifest.jsonl` begins with `{"version", "folder", "transfer"}`; then each line is one operation,
written before it happens:

    {"op": "folder", "target"}
    {"op": "copy" | "hardlink" | "symlink", "source", "target", "size", "mtime_ns"}
    {"op": "link", "source", "target"}

Targets, and the source of a `link`, are relative to the result folder, other sources to `folder`.
Names are shown as in the tables. An operation that then failed leaves its line, and no target.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ._names import escape_name
from .errors import ResultError

__all__ = ["Manifest"]


class Manifest(AbstractContextManager["Manifest"]):
    """The record of operations: one JSON object a line, with the system before its operation starts."""

    def __init__(self, path: Path, folder: Path, transfer: str) -> None:
        if path.exists():
            raise ResultError(f"{escape_name(str(path))} exists: files were handed over before")
        self._stream = path.open("x", encoding="utf-8", newline="\n")
        self._write({"version": 1, "folder": escape_name(str(folder.resolve())), "transfer": transfer})

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, op: str, *, source: str = "", target: str, **facts: int) -> None:
        """Record an operation that comes next."""
        names = {"source": escape_name(source)} if source else {}
        self._write({"op": op, **names, "target": escape_name(target), **facts})

    def _write(self, record: dict[str, Any]) -> None:
        # Flushed to the system: a killed process loses no line. (A crash of the machine could, but
        # nothing here takes anything away from an original.)
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()
