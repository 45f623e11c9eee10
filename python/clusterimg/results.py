"""The result folder: planned, then filled. The only code that touches originals.

It knows files, labels and edges, never where they came from. The order of calls in a run:

    prepare(out, folder)                 before any work: refuses a folder that is in use
    plan(files, labels, …)               pure: what goes where
    apply(plan, folder, out, …)          hands the files over, then links the batch folders
    write_clusters, write_skipped, …     the tables
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._files import HAND_OVER, TEMPORARY, can_link_inside, link_inside, why_unreadable, write_error
from ._manifest import Manifest
from ._names import escape_name, place, unescape_name
from ._tables import (
    read_clusters,
    read_table,
    write_clusters,
    write_run,
    write_similarities,
    write_skipped,
)
from ._types import Skip
from .errors import UsageError

__all__ = [
    "MANIFEST",
    "STATE_FOLDER",
    "TRANSFERS",
    "Handover",
    "Operation",
    "Plan",
    "abandon",
    "apply",
    "escape_name",
    "plan",
    "prepare",
    "read_clusters",
    "read_table",
    "remove_state",
    "unescape_name",
    "write_clusters",
    "write_run",
    "write_similarities",
    "write_skipped",
]

TRANSFERS = (*HAND_OVER, "none")
"""What `--transfer` takes."""

MANIFEST = "manifest.jsonl"
STATE_FOLDER = ".clusterimg"
"""Folder in the result for features and edges, kept for later commands."""


class Operation(NamedTuple):
    """One file to hand over, or one link to make."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where.

    folders, batch_folders : those to create under the result folder, also if they stay empty
    transfers : for image k, `transfers[k]`: from FOLDER into `result/`
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
    skips : files that were gone or unreadable when their turn came
    has_batch_folders : False where none were planned, or the file system has no links of any kind
    """

    targets: tuple[str, ...]
    skips: tuple[Skip, ...]
    has_batch_folders: bool


def prepare(out: Path, folder: Path, *, transfer: str = "copy") -> None:
    """Create the empty result folder `out` for the images of `folder`.

    Raises
    ------
    UsageError
        `out` holds something, is `folder` or holds it, or can't hold hard links to it. (`out` may
        lie inside `folder`; whoever lists the images leaves it out.)
    ResultError
        `out` can't be created.
    """
    if transfer not in TRANSFERS:
        raise UsageError(f"transfer must be one of {', '.join(TRANSFERS)}, got {transfer!r}")
    shown = escape_name(str(out))
    try:
        resolved = folder.resolve()
        if out.resolve() in (resolved, *resolved.parents):
            raise UsageError(f"{shown} is or holds the folder of the images: choose another --out")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{shown} exists and is not an empty folder: choose another --out")
        parent = next(path for path in (out, *out.resolve().parents) if path.exists())
        if transfer == "hardlink" and parent.stat().st_dev != folder.stat().st_dev:
            raise UsageError(f"{shown} is on another file system, where no hard link reaches: use copy")
        out.mkdir(parents=True, exist_ok=True)
        (out / STATE_FOLDER).mkdir()
    except OSError as error:
        raise write_error(out, error) from error


def abandon(out: Path) -> None:
    """Take back what `prepare` and the work before `apply` wrote; never touches anything else."""
    remove_state(out)
    for table in out.glob("similarities_*.parquet"):
        table.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: somebody else put something there
        out.rmdir()


def remove_state(out: Path) -> None:
    """Delete the features and edges kept in the result folder."""
    shutil.rmtree(out / STATE_FOLDER, ignore_errors=True)


def plan(
    files: Sequence[str],
    labels: NDArray[np.int32],
    batches: NDArray[np.integer[Any]],
    batch_labels: NDArray[np.int32],
    *,
    batch_folders: bool = True,
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
    batch_folders : bool
        Whether to plan `batch_k/`.

    Notes
    -----
    A file keeps its name, byte for byte, unless two files of one name meet in one folder: then the
    first in the order of `files` keeps it, and the others get `_2`, `_3`, … before the extension.
    """
    for name, array in (("labels", labels), ("batches", batches), ("batch_labels", batch_labels)):
        if array.shape != (len(files),):
            raise UsageError(f"{name} must have shape ({len(files)},), got {array.shape}")
    homes = [f"result/{_folder_of(label)}" for label in labels.tolist()]
    targets = place(files, homes, reserved=(TEMPORARY,))
    batch_homes, links = [], []
    if batch_folders:
        pairs = zip(batches.tolist(), batch_labels.tolist(), strict=True)
        own = [f"batch_{batch}/{_folder_of(label)}" for batch, label in pairs]
        links = list(map(Operation, targets, place(files, own, reserved=(TEMPORARY,))))
        batch_homes = [f"batch_{batch}/outliers" for batch in np.unique(batches).tolist()] + own
    return Plan(
        tuple(dict.fromkeys(["result/outliers", *homes])),
        tuple(dict.fromkeys(batch_homes)),
        tuple(map(Operation, files, targets)),
        tuple(links),
    )


def _folder_of(label: int) -> str:
    return "outliers" if label < 0 else f"cluster_{label}"


def apply(
    plan: Plan,
    folder: Path,
    out: Path,
    *,
    transfer: str = "copy",
    progress: Callable[[int, int], None] | None = None,
) -> Handover:
    """Hand the files of `folder` over as planned, then make the links of the batch folders.

    Parameters
    ----------
    plan : Plan
        What goes where.
    folder, out : Path
        Where the images are; the result folder, made by `prepare`.
    transfer : str
        `copy` (with time and mode; of a linked file, its content), `hardlink` (to the file itself,
        also where FOLDER has a symbolic link to it), `symlink` (absolute, to the file itself, so
        the result may be moved), or `none`: no folders, no files, a manifest of one line.
    progress : callable
        Called as `progress(done, total)` after each file and each link.

    Raises
    ------
    ResultError
        `out` can't be written: no space, no rights, no hard links. The originals are as they were,
        and no file is there in part.
    """
    if transfer not in TRANSFERS:
        raise UsageError(f"transfer must be one of {', '.join(TRANSFERS)}, got {transfer!r}")
    try:
        with Manifest(out / MANIFEST, folder, transfer) as manifest:
            if transfer == "none":
                return Handover(("",) * len(plan.transfers), (), False)
            has_batch_folders = bool(plan.batch_folders) and can_link_inside(
                out, MANIFEST, f"{STATE_FOLDER}/link"
            )
            links = plan.links if has_batch_folders else ()
            n_files, total = len(plan.transfers), len(plan.transfers) + len(links)
            _make_folders(plan.folders, out, manifest)
            tracked = _tracked(plan.transfers, 0, total, progress)
            targets, skips = _hand_over(tracked, folder, out, transfer, manifest)
            if has_batch_folders:
                _make_folders(plan.batch_folders, out, manifest)
                _link(zip(_tracked(links, n_files, total, progress), targets, strict=True), out, manifest)
            return Handover(tuple(targets), tuple(skips), has_batch_folders)
    except OSError as error:
        raise write_error(out, error) from error


def _tracked(
    operations: Sequence[Operation], before: int, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Operation]:
    """Yield the operations, and report each once its turn is over."""
    for done, operation in enumerate(operations, before + 1):
        yield operation
        if progress is not None:
            progress(done, total)


def _make_folders(folders: Iterable[str], out: Path, manifest: Manifest) -> None:
    for target in folders:
        manifest.add("folder", target=target)
        (out / target).mkdir(parents=True, exist_ok=True)


def _hand_over(
    operations: Iterable[Operation], folder: Path, out: Path, transfer: str, manifest: Manifest
) -> tuple[list[str], list[Skip]]:
    """Do the transfers; return the targets, empty where a source was at fault, and those sources."""
    targets, skips = [], []
    for file, target in operations:
        source = folder / file
        try:
            status = source.stat()
            manifest.add(
                transfer, source=file, target=target, size=status.st_size, mtime_ns=status.st_mtime_ns
            )
            HAND_OVER[transfer](source, out / target)
            targets.append(target)
        except OSError as error:
            # The system seldom says which side failed, so the source is read again to find out.
            reason = why_unreadable(source)
            if reason is None:
                raise write_error(out / target, error) from error
            targets.append("")
            skips.append(Skip(file, reason))
    return targets, skips


def _link(pairs: Iterable[tuple[Operation, str]], out: Path, manifest: Manifest) -> None:
    """Make the links of the batch folders to the files that were handed over."""
    for (source, target), handed_over in pairs:
        if handed_over:
            manifest.add("link", source=source, target=target)
            link_inside(out, source, target)
