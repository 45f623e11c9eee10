"""Files of tensors and plain values: written whole or not at all, read without trusting what they hold."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .._files import write_error
from .._names import escape_name
from ..errors import ModelError

__all__ = ["read_content", "shown", "write_content", "write_whole"]

_TEMPORARY = ".clusterimg-tmp"


def shown(path: Path) -> str:
    """Return a path as texts show it."""
    return escape_name(str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, and rename it once it is on the disk. Raises `ModelError`.

    After an error nothing is left of it, and an older file is as it was.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    try:
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ModelError(str(write_error(path, error))) from error


def write_content(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain containers. Raises `ModelError`."""
    buffer = io.BytesIO()
    with _with_checksums():
        torch.save(dict(content), buffer)
    write_whole(path, buffer.getvalue())


def read_content(path: Path, wanted: str) -> dict[str, Any]:
    """Return what `write_content` wrote, its tensors on the CPU.

    Nothing in the file is run. `wanted` names what it should be, for the texts.

    Raises
    ------
    ModelError : it is missing, can't be read, or is anything else, whatever its bytes
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{shown(path)} is missing: wanted {wanted}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{shown(path)} can't be read: {reason}") from None
    if reason := _why_damaged(data):
        raise ModelError(f"{shown(path)} is not {wanted}: {reason}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files of other kinds, which are refused anyway
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the content is a stranger's: it can make torch raise anything
        raise ModelError(f"{shown(path)} is not {wanted}: {_why_unreadable(error)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{shown(path)} is not {wanted}: it holds a {type(content).__name__}")
    return content


def _why_unreadable(error: Exception) -> str:
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "weights_only" in str(error):  # torch tells how to read it nevertheless
        return "it holds more than tensors and plain values, which could run code when it is read"
    return f"torch says: {told[:200]}"


def _why_damaged(data: bytes) -> str | None:
    """Return why the bytes are no whole zip archive, which is what torch writes, or None if they are."""
    if not data:
        return "the file is empty"
    if not data.startswith(b"PK\x03\x04"):
        return "it does not begin as one"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                return "its parts are compressed, which torch never does"
            broken = archive.testzip()
    except Exception:  # zipfile raises much beside BadZipFile, such as NotImplementedError or struct.error
        return "it is cut short or damaged"
    return None if broken is None else "it is damaged: a checksum is wrong"


@contextmanager
def _with_checksums() -> Iterator[None]:
    """Have torch write the checksums of the archive, whatever its user has chosen; torch 2.4 always does."""
    chosen = getattr(torch.serialization, "get_crc32_options", lambda: True)()
    if chosen:
        yield
        return
    torch.serialization.set_crc32_options(True)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(chosen)
