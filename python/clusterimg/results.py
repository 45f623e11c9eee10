"""The result folder: planned, then filled. The only code that touches originals.

It knows files, labels and edges, never where they came from. The order of calls in a run:

    check_place(out, folder)             before any work: refuses a folder that can't serve
    with claimed(out, folder):           creates it, or goes on with it; held for this process alone
        plan(files, labels, …)           pure: what goes where
        apply(plan, folder, out, …)      hands the files over, then links the batch folders
        write_clusters, …                the tables
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._distinct import distinct
from ._files import TEMPORARY, stamps, write_error
from ._handover import HAND_OVER, Handover, Operation, Plan, apply, obsolete
from ._lock import locked
from ._manifest import MANIFEST, Entry, Manifest, Record, read_manifest
from ._names import escape_name, place, unescape_name
from ._similarities import read_similarities, similarities_name, write_similarities
from ._table_readers import ClustersTable, read_clusters, read_clusters_table, read_run, read_table
from ._tables import run_text, write_clusters, write_json, write_refused, write_run, write_skipped
from .errors import UsageError
from .undoing import take_back, why_kept

__all__ = [
    "CLUSTERS",
    "CURVE",
    "FINAL_TABLES",
    "MANIFEST",
    "REFUSED",
    "RUN",
    "SKIPPED",
    "STATE_FOLDER",
    "TRANSFERS",
    "ClustersTable",
    "Entry",
    "Handover",
    "Manifest",
    "Operation",
    "Plan",
    "Record",
    "apply",
    "check_free",
    "check_place",
    "claimed",
    "escape_name",
    "locked",
    "moved",
    "obsolete",
    "plan",
    "read_clusters",
    "read_clusters_table",
    "read_manifest",
    "read_run",
    "read_similarities",
    "read_table",
    "remove_state",
    "remove_tables",
    "run_text",
    "similarities_name",
    "stamps",
    "take_back",
    "unescape_name",
    "write_clusters",
    "write_json",
    "write_refused",
    "write_run",
    "write_similarities",
    "write_skipped",
]

REFUSED = "refused.csv"
"""The table of similar pairs that cannot-links keep apart; only a run with such constraints has it."""

CLUSTERS, SKIPPED, RUN = FINAL_TABLES = ("clusters.csv", "skipped.csv", "run.json")
"""The tables of a finished run."""

CURVE = "threshold_curve.json"
"""The curve on which the threshold was chosen, and what was chosen."""

TRANSFERS = (*HAND_OVER, "none")
"""What `--transfer` takes."""

STATE_FOLDER = ".clusterimg"
"""Folder in the result for features and edges, kept for later commands."""


def check_place(out: Path, folder: Path, *, transfer: str = "copy") -> None:
    """Check, touching nothing, that `out` can be the result folder for the images of `folder`.

    Raises
    ------
    UsageError
        It is `folder` or holds it, is a file, or can't take the transfer. (It may lie inside
        `folder`; whoever lists the images leaves it out.)
    """
    if transfer not in TRANSFERS:
        raise UsageError(f"transfer must be one of {', '.join(TRANSFERS)}, got {transfer!r}")
    shown = escape_name(str(out))
    try:
        if os.path.lexists(out) and not out.is_dir():
            raise UsageError(f"{shown} exists and is no folder: choose another --out")
        resolved = Path(os.path.realpath(folder))
        if out.resolve() in (resolved, *resolved.parents):
            raise UsageError(f"{shown} is or holds the folder of the images: choose another --out")
        parent = next(path for path in (out, *out.resolve().parents) if path.exists())
        if transfer == "hardlink" and parent.stat().st_dev != folder.stat().st_dev:
            raise UsageError(f"{shown} is on another file system, where no hard link reaches: use copy")
        if transfer == "move" and not os.access(folder, os.W_OK):
            raise UsageError(f"{escape_name(str(folder))} is read-only, so nothing can be moved: use copy")
    except OSError as error:
        raise write_error(out, error) from error


@contextmanager
def claimed(out: Path, folder: Path, *, resume: bool = False, overwrite: bool = False) -> Iterator[Manifest]:
    """Create the result folder `out` for the images of `folder`, hold it, and give its manifest.

    After an error or an interrupt all that was found stays there, for `resume`; if nothing was found
    yet, all is as it was before.

    Raises
    ------
    UsageError
        As `check_free`.
    ResultError
        `out` can't be written, or another process holds it.
    """
    with ExitStack() as stack:
        try:
            is_new = not out.exists()
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out))
            if _is_unused(out):
                stack.push(partial(_abandon, out, is_new))
            check_free(out, folder, resume=resume, overwrite=overwrite)
            if overwrite:
                _clear(out)
            (out / STATE_FOLDER).mkdir(exist_ok=True)
            manifest = stack.enter_context(Manifest(out, folder))
        except OSError as error:
            raise write_error(out, error) from error
        yield manifest


def check_free(out: Path, folder: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    """Check, touching nothing, that the folder `out` is empty, or can be gone on with or overwritten.

    Raises
    ------
    UsageError
        It holds what no run wrote, or a result, and that is not to be gone on with or overwritten;
        or it can't be: it is of another folder, or what was handed over can't be taken back.
    """
    if not out.exists() or _is_unused(out):
        return
    if not (out / MANIFEST).exists():
        raise UsageError(f"{escape_name(str(out))} holds files that are not from a run: choose another --out")
    if overwrite:
        _check_clearable(out)
    elif resume:
        _check_same_folder(out, folder)
    else:
        raise UsageError(
            f"{escape_name(str(out))} holds a result: --resume goes on with it, --overwrite replaces it, "
            "or choose another --out"
        )


def _is_unused(out: Path) -> bool:
    """Return whether a folder holds nothing, or no more than a run leaves that is killed at its start."""
    names = {path.name for path in out.iterdir()}
    return names <= {STATE_FOLDER, MANIFEST} and not (MANIFEST in names and _is_begun(out))


def _is_begun(out: Path) -> bool:
    """Return whether there is a manifest with a whole line; a run cut off before that did nothing else."""
    if not (out / MANIFEST).exists():
        return False
    with (out / MANIFEST).open("rb") as stream:
        return b"\n" in stream.readline()


def _check_same_folder(out: Path, folder: Path) -> None:
    before, now = read_manifest(out / MANIFEST).folder, folder.resolve()
    if before != now:
        shown = (escape_name(str(path)) for path in (out, before, now))
        raise UsageError("{} is a result of {}, not of {}: choose another --out".format(*shown))


def _check_clearable(out: Path) -> None:
    record = read_manifest(out / MANIFEST)
    shown = escape_name(str(out))
    if _moved(out, record):
        raise UsageError(f"{shown} holds moved originals: put them back first, by undo {shown}")
    if kept := why_kept(out, record):
        raise UsageError(f"{shown} can't be overwritten: {escape_name(kept.file)} {kept.reason}")
    if foreign := _foreign(out, record):
        raise UsageError(f"{shown} can't be overwritten: {escape_name(foreign)} is not from a run")


def _abandon(out: Path, is_new: bool, kind: type[BaseException] | None, *_: object) -> None:
    """After an error, remove the beginnings of a result if nothing in them is worth keeping."""
    manifest, state = out / MANIFEST, out / STATE_FOLDER
    if kind is None:
        return
    with suppress(OSError):  # what is told is the error that came before
        if set(out.iterdir()) <= {manifest, state} and not any(state.glob("*")):
            if state.exists():
                state.rmdir()
            manifest.unlink(missing_ok=True)
            if is_new:
                out.rmdir()


def _clear(out: Path) -> None:
    """Delete all that runs wrote into the result folder `out`; the folder itself stays."""
    if not _is_begun(out):
        return
    record = read_manifest(out / MANIFEST)
    with Manifest(out, record.folder) as manifest:
        take_back(out, manifest, record.entries)
    remove_tables(out, record.tables)
    remove_state(out)
    (out / MANIFEST).unlink()


def remove_tables(out: Path, names: Iterable[str]) -> None:
    """Delete tables of ours that are of no use any more, and the folders that only held such."""
    folders: set[PurePosixPath] = set()
    for name in names:
        (out / name).unlink(missing_ok=True)
        folders.update(PurePosixPath(name).parents[:-1])
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):  # gone already, or it holds something else
            (out / folder).rmdir()


def _foreign(out: Path, record: Record) -> str | None:
    """Return a file of the result folder that no run wrote, or None."""
    ours = {MANIFEST, *record.tables, *(entry.target for entry in record.entries)}
    for parent, folders, files in os.walk(out):
        prefix = Path(parent).relative_to(out).as_posix()
        if prefix == ".":
            folders[:] = [name for name in folders if name != STATE_FOLDER]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            path = name if prefix == "." else f"{prefix}/{name}"
            if path not in ours and name != TEMPORARY:
                return path
    return None


def moved(out: Path) -> dict[str, tuple[int, int]]:
    """Return size and mtime_ns of the files that were moved into the result folder `out` and are there."""
    return _moved(out, read_manifest(out / MANIFEST)) if _is_begun(out) else {}


def _moved(out: Path, record: Record) -> dict[str, tuple[int, int]]:
    return {
        entry.source: (entry.size, entry.mtime_ns)
        for entry in record.entries
        if entry.op == "move" and os.path.lexists(out / entry.target)
    }


def remove_state(out: Path) -> None:
    """Delete the features and edges kept in the result folder."""
    shutil.rmtree(out / STATE_FOLDER, ignore_errors=True)


def plan(
    files: Sequence[str],
    labels: NDArray[np.int32],
    batches: NDArray[np.integer[Any]],
    batch_labels: NDArray[np.int32],
    *,
    stamps: NDArray[np.int64],
    sources: Sequence[str] = (),
    batch_folders: bool = True,
    merged: bool = True,
) -> Plan:
    """Return what goes where. Touches no file.

    Parameters
    ----------
    files : sequence of str
        Paths relative to FOLDER with `/`; image k is `files[k]`.
    labels, batch_labels : (n,) int32
        Cluster in the result and in its batch, -1 for an outlier.
    batches : (n,) int
        Batch of each image, from 0.
    stamps : (n, 2) int64
        Size and mtime_ns of each file when it was listed.
    sources : sequence of str
        Where the images are, relative to FOLDER or absolute; their `files`, if not given.
    batch_folders : bool
        Whether to plan `batch_k/` with links into `result/`.
    merged : bool
        False: there is no `result/`, the files themselves go into `batch_k/`.

    Notes
    -----
    A file keeps its name, byte for byte, unless two files of one name meet in one folder: then the
    first in the order of `files` keeps it, and the others get `_2`, `_3`, … before the extension.
    """
    for name, array in (("labels", labels), ("batches", batches), ("batch_labels", batch_labels)):
        if array.shape != (len(files),):
            raise UsageError(f"{name} must have shape ({len(files)},), got {array.shape}")
    homes = [f"result/{_folder_of(label)}" for label in labels.tolist()]
    pairs = zip(batches.tolist(), batch_labels.tolist(), strict=True)
    batch_homes = [f"batch_{batch}/{_folder_of(label)}" for batch, label in pairs]
    all_homes = ["result/outliers", *homes]
    all_batch_homes = [f"batch_{batch}/outliers" for batch in distinct(batches).tolist()] + batch_homes
    if not merged:
        homes, all_homes, batch_folders = batch_homes, all_batch_homes, False
    targets = place(files, homes, reserved=(TEMPORARY,))
    facts = zip(sources or files, targets, *stamps.T.tolist(), strict=True)
    links = place(files, batch_homes, reserved=(TEMPORARY,)) if batch_folders else []
    return Plan(
        folders=tuple(dict.fromkeys(all_homes)),
        batch_folders=tuple(dict.fromkeys(all_batch_homes)) if batch_folders else (),
        transfers=tuple(Operation(*fact) for fact in facts),
        links=tuple(map(Operation, targets, links)),
    )


def _folder_of(label: int) -> str:
    return "outliers" if label < 0 else f"cluster_{label}"
