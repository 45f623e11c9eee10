"""File names: as tables show them, and unique in a folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

__all__ = ["escape_name", "place", "unescape_name"]

_MAX_BYTES = 255
_MAX_EXTENSION_BYTES = 32
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-fA-F]{2}))")


def escape_name(name: str) -> str:
    r"""Return `name` as tables show it: an undecodable byte as `\xNN`, a backslash as `\\`.

    The result is plain text: any UTF-8 file or terminal can take it.
    """
    doubled = name.replace("\\", "\\\\")
    return doubled.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unescape_name(text: str) -> str:
    r"""Return the name that `escape_name` shows as `text`; a lone backslash stands for itself."""
    if "\\" not in text:
        return text
    name = _ESCAPE.sub(_unescaped, text)
    # Bytes that were escaped one by one may be a character together: one file has one name.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[str]) -> str:
    if match[1] is None:
        return "\\"
    return bytes([int(match[1], 16)]).decode("utf-8", "surrogateescape")


def place(files: Iterable[str], folders: Iterable[str], *, reserved: Collection[str] = ()) -> list[str]:
    """Return a path in its folder for each file, no two the same.

    A file keeps its name. Where an earlier file of the list has that name in that folder, or it is
    a `reserved` one, `_2`, `_3`, … goes before the extension, passing over names other files have.
    Names that a case-insensitive or Unicode-normalising disk holds for the same are the same here,
    so the folders can be copied to one.
    """
    names = [(folder, file.rpartition("/")[2]) for file, folder in zip(files, folders, strict=True)]
    keys = [(folder, _folded(name)) for folder, name in names]
    taken = set(keys)
    unusable = {_folded(name) for name in reserved}
    numbers: dict[tuple[str, str], int] = {}  # the last number used for a name
    placed = []
    for (folder, name), key in zip(names, keys, strict=True):
        free = name
        if key in numbers or key[1] in unusable:
            number = numbers.get(key, 1)
            while (folder, _folded(free)) in taken:
                number += 1
                free = _numbered(name, number)
            taken.add((folder, _folded(free)))
            numbers[key] = number
        else:
            numbers[key] = 1
        placed.append(f"{folder}/{free}")
    return placed


def _folded(name: str) -> str:
    """Return what names that differ only in case or normal form have in common (Unicode D145)."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _numbered(name: str, number: int) -> str:
    """Return `name` with `_number` before its extension, cut to the longest name a disk takes."""
    stem, dot, extension = name.rpartition(".")
    if not stem.strip(".") or _n_bytes(extension) > _MAX_EXTENSION_BYTES:
        stem, dot, extension = name, "", ""  # a dot in a name, but no extension behind it
    tail = f"_{number}{dot}{extension}"
    while _n_bytes(stem + tail) > _MAX_BYTES:
        stem = stem[:-1]
    return stem + tail


def _n_bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
