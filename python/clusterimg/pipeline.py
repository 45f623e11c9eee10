"""run(): a folder of images becomes a result folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images, results
from ._files import TEMPORARY
from ._flow import (
    SHARED,
    Job,
    Result,
    about,
    check_options,
    decided,
    earlier,
    finished,
    put_back,
    strictly,
    workplace,
)
from ._memory import batch_size_for, parse_memory
from ._reader import Reader
from ._reporting import with_report
from ._store import Store
from ._types import Progress, Skip
from .backends import select
from .batches import Batches, Clock, digest_of
from .errors import UsageError
from .methods import create

__all__ = ["Result", "run"]


def run(
    folder: str | os.PathLike[str],
    *,
    method: str = "imagehash",
    threshold: float | None = None,
    out: str | os.PathLike[str] | None = None,
    transfer: str = "copy",
    merge: str = "representatives",
    batch_size: int | None = None,
    memory: int | str | None = None,
    threads: int = 0,
    backend: str = "auto",
    recursive: bool = False,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    orb_rule: str | None = None,
    decode: str = "exact",
    batch_folders: bool = True,
    keep_features: bool = True,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    report: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Cluster the images of a folder into a result folder.

    Parameters
    ----------
    folder : path
        The images. Every file is tried, whatever its extension; what can't be read is listed.
    method : str
        `imagehash` (`phash`), `ssim`, `minhash`, `orb` or `tm`.
    threshold : float
        Images are similar if their score is above it. The method's default, if not given.
    out : path
        The result folder, new or empty unless resumed or overwritten; `FOLDER_clustered` beside the
        folder, if not given.
    transfer : str
        How files get into it: `copy`, `move` (`undo` puts them back), `hardlink`, `symlink`, or
        `none` for the tables only.
    merge : str
        How clusters of several batches are joined: by their `representatives`, `exact`, or `no`:
        the files go into `batch_k/`, for `merge` to join them.
    batch_size : int
        Images a batch; what fits into the memory, if not given.
    memory : int or str
        Bytes, or text such as "2G"; a quarter of the machine's, if not given.
    threads : int
        0 for all cores this process may use.
    backend : str
        `auto`, `cpp`, `numba` or `reference`.
    recursive : bool
        Whether to take the images of subfolders too.
    size, scale : (width, height), float
        Common size of the images, or the multiple of their own size, for methods that have one.
    hash_size : int
        Bits a side of the perceptual hash.
    orb_rule : str
        What makes a match good: `ratio`, `absolute` or `relative`.
    decode : str
        `exact`, or `fast`: large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, which is quicker
        and changes the features a little.
    batch_folders : bool
        Whether to link the clusters of each batch into `batch_k/`.
    keep_features : bool
        Whether to keep the features and edges of each batch in `.clusterimg/`.
    strict : bool
        Whether skipped files end the (complete) run with `FilesSkipped`.
    resume : bool
        Whether to go on with the result in `out`, if there is one: what is still true of it is used,
        what is not is found again, and the files handed over are brought up to date.
    overwrite : bool
        Whether to delete the result in `out` first. Refused if moved files or files of others are there.
    dry_run : bool
        Whether to find the clusters only, and write nothing into `out`.
    report : bool
        Whether to make the page to look at the result, as `clusterimg.report` does.
    progress : callable
        `progress(stage, done, total)`, called now and then.

    Raises
    ------
    UsageError
        A parameter is wrong, or `out` is in use.
    ResultError
        The result can't be written.
    FilesSkipped
        Under `strict`; its `result` is the complete result.
    """
    asked = {name: value for name, value in locals().items() if name != "progress"}
    job = _job(asked, progress)
    clock = Clock()
    results.check_place(job.target, job.source, transfer=transfer)
    with clock("list"):
        listing = images.find(job.source, recursive=recursive, exclude=job.target)
    with workplace(job) as (out, manifest), Reader(job.method, job.engine, decode=decode) as reader:
        moved = results.moved(job.target)
        moved.update(_links_to(moved, job.source, listing.skipped))
        with clock("list"):
            files, stamps = _with_moved(job.source, listing.files, moved)
            skipped = tuple(skip for skip in listing.skipped if skip.file not in moved)
        if not files:
            hint = "" if recursive else " (subfolders need recursive)"
            raise UsageError(f"{folder} holds no files{hint}")
        features = about(job.method, decode, reader.start())
        inputs = _inputs(job, features, files, stamps)
        decision = earlier(out, inputs)
        reused = {"features": 0 if decision is None else len(decision.files), "batches": 0}
        if decision is None:
            store = Store(out / results.STATE_FOLDER, features)
            if None in store.find(list(moved), np.array(list(moved.values()))):
                _read_again(job, out, manifest)
            batches = Batches(out, manifest, store, job.method, job.engine, progress, clock)
            batches.cluster(job.source, files, stamps, job.batch_size, reader)
            labels = batches.merge(merge)
            decision = decided(job, batches, labels, about=features, skipped=skipped)
            decision.save(out / results.STATE_FOLDER, inputs)
            store.forget_unused()
            reused = batches.reused
        result = finished(job, out, manifest, decision, clock, reused)
    return strictly(job, with_report(job, result))


def _job(asked: Mapping[str, Any], progress: Progress | None) -> Job:
    """Return what was asked for, every default filled in. Touches no file."""
    check_options(asked)
    images.policy(asked["decode"])
    options = {name: asked[name] for name in ("threshold", "size", "scale", "hash_size", "orb_rule")}
    method = create(asked["method"], **options)
    memory = parse_memory(asked["memory"])
    source = Path(asked["folder"])
    real = Path(os.path.realpath(source))  # resolve() raises for a loop of links, which find() names
    beside = real.with_name(f"{real.name}_clustered")
    return Job(
        asked=asked,
        source=source,
        target=beside if asked["out"] is None else Path(asked["out"]),
        method=method,
        engine=select(asked["backend"], n_threads=asked["threads"]),
        memory=memory,
        batch_size=asked["batch_size"] or batch_size_for(method.item_bytes, memory),
        progress=progress,
        **{name: asked[name] for name in SHARED},
    )


def _read_again(job: Job, out: Path, manifest: results.Manifest) -> None:
    """Put back moved files, whose features can't be used again."""
    if job.dry_run:
        shown = results.escape_name(str(job.target))
        raise UsageError(f"{shown} holds moved originals that must be read again: undo {shown} first")
    put_back(out, manifest)


def _links_to(
    moved: Mapping[str, tuple[int, int]], folder: Path, skipped: Sequence[Skip]
) -> dict[str, tuple[int, int]]:
    """Return which files that can't be used are links to moved ones, with the stamps of those."""
    stamps = {os.path.realpath(folder / file): stamp for file, stamp in moved.items()} if skipped else {}
    leads_to = ((skip.file, os.path.realpath(folder / skip.file)) for skip in skipped)
    return {file: stamps[path] for file, path in leads_to if path in stamps}


def _with_moved(
    folder: Path, files: Sequence[str], moved: Mapping[str, tuple[int, int]]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the files of the folder as if nothing had been moved out of it, with their stamps."""
    files = [file for file in files if PurePosixPath(file).name != TEMPORARY]  # of an undo that was killed
    found = {**moved, **dict(zip(files, results.stamps(folder, files).tolist(), strict=True))}
    ordered = sorted(found, key=os.fsencode)
    return ordered, np.array([found[file] for file in ordered], np.int64).reshape(-1, 2)


def _inputs(job: Job, features: Mapping[str, Any], files: Sequence[str], stamps: NDArray[np.int64]) -> str:
    """Return a text that names all that decides the clusters."""
    options = dict(job.method.kernel_options)
    return digest_of(features, options, job.method.threshold, job.merge, job.batch_size, list(files), stamps)
