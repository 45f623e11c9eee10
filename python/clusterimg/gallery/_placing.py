"""The report folder: made out of sight, then put in place as a whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .. import results as tables
from .._files import write_error
from ..errors import UsageError
from ._finished import Finished

__all__ = ["FOLDER", "check_place", "placed"]

FOLDER = "report"
"""Its name in the result folder."""

_OURS = re.compile(r"index\.html|gallery\.css|[a-z]+\.js|thumbs/[0-9]{5,}\.jpg")
_NEW, _OLD = "report-new", "report-old"


def check_place(finished: Finished, folder: Path) -> None:
    """Check, touching nothing, that a report can be put into `folder`.

    Raises
    ------
    UsageError
        It holds what no report does, or lies where a run would take its thumbnails for images.
    """
    shown = tables.escape_name(str(folder))
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise UsageError(f"{shown} exists and is no folder: choose another --out")
    real, out, images = (Path(os.path.realpath(path)) for path in (folder, finished.out, finished.folder))
    inside = _below(real, out)
    if inside is None and _below(real, images) is not None:
        raise UsageError(f"{shown} lies in the folder of the images: choose another --out")
    if inside is not None and inside != FOLDER:
        raise UsageError(f"in a result folder a report is named {FOLDER}: leave out --out, or choose another")
    for file in _files_of(folder):
        is_ours = _OURS.fullmatch(file) and (inside is None or f"{inside}/{file}" in finished.record.tables)
        if not is_ours:
            raise UsageError(f"{shown} holds {tables.escape_name(file)}, which is not of a report")


def _below(path: Path, folder: Path) -> str | None:
    """Return the path relative to the folder, if it is in it or is it."""
    return path.relative_to(folder).as_posix() if path == folder or folder in path.parents else None


def _files_of(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            yield Path(parent, name).relative_to(folder).as_posix()


@contextmanager
def placed(finished: Finished, folder: Path, names: Collection[str]) -> Iterator[Path]:
    """Give a folder to write a report into; at the end of the block it becomes `folder`.

    `names` are the files it will have. After an error or an interrupt an older report is as it was.
    """
    inside = _below(Path(os.path.realpath(folder)), Path(os.path.realpath(finished.out)))
    try:
        with ExitStack() as stack:
            if inside is None:
                folder.parent.mkdir(parents=True, exist_ok=True)
                # Within one file system, so that a rename does it.
                hidden = folder.with_name(f".{folder.name}-clusterimg")
            else:
                hidden = finished.out / tables.STATE_FOLDER
            hidden.mkdir(exist_ok=True)
            stack.callback(_remove_empty, hidden)
            new, old = hidden / _NEW, hidden / _OLD
            for leftover in (new, old):  # of one that was killed
                shutil.rmtree(leftover, ignore_errors=True)
                stack.callback(shutil.rmtree, leftover, ignore_errors=True)
            new.mkdir()
            yield new
            if inside is not None:
                _record(finished, [f"{inside}/{name}" for name in names])
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _record(finished: Finished, names: Collection[str]) -> None:
    """Note in the manifest that the files are ours, before they are there."""
    known = set(finished.record.tables)
    with tables.Manifest(finished.out, finished.folder) as manifest:
        for name in names:
            if name not in known:
                manifest.add("table", target=name)
        manifest.commit()
