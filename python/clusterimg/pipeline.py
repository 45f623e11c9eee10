"""run(): a folder of images becomes a result folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images, merging, results
from ._memory import batch_size_for, parse_memory
from ._types import BackendReport, Progress, Skip
from ._versions import versions
from .backends import Engine, select
from .batches import Batches, Clock
from .clustering import first_members
from .errors import FilesSkipped, UsageError
from .methods import Classic, create

__all__ = ["Result", "run"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. Image k is `files[k]`.

    out : the result folder
    files : paths relative to the folder of the images, with `/`
    labels, batch_labels : (n,) int32, cluster in the result and in its batch, -1 for an outlier
    batches : (n,) int32
    representatives : (n,) index of the first image of the cluster, -1 for an outlier
    scores : (n,) float64, score with the representative, NaN for an outlier
    skipped : files that were left out, with reasons
    backend : what did the pair work
    summary : what `run.json` holds
    """

    out: Path
    files: tuple[str, ...]
    labels: NDArray[np.int32]
    batches: NDArray[np.int32]
    batch_labels: NDArray[np.int32]
    representatives: NDArray[np.intp]
    scores: NDArray[np.float64]
    skipped: tuple[Skip, ...]
    backend: BackendReport
    summary: Mapping[str, Any]


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
    batch_folders: bool = True,
    keep_features: bool = True,
    strict: bool = False,
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
        The result folder, new or empty; `FOLDER_clustered` beside the folder, if not given.
    transfer : str
        How files get into it: `copy`, `hardlink`, `symlink`, or `none` for the tables only.
    merge : str
        How clusters of several batches are joined: by their `representatives`, or `exact`.
    batch_size : int
        Images a batch; what fits into the memory, if not given.
    memory : int or str
        Bytes, or text such as "2G"; a quarter of the machine's, if not given.
    threads : int
        0 for all cores this process may use.
    backend : str
        `auto`, `cpp` or `reference`.
    recursive : bool
        Whether to take the images of subfolders too.
    size, scale : (width, height), float
        Common size of the images, or the multiple of their own size, for methods that have one.
    hash_size : int
        Bits a side of the perceptual hash.
    orb_rule : str
        What makes a match good: `ratio`, `absolute` or `relative`.
    batch_folders : bool
        Whether to link the clusters of each batch into `batch_k/`.
    keep_features : bool
        Whether to keep the features and edges of each batch in `.clusterimg/`.
    strict : bool
        Whether skipped files end the (complete) run with `FilesSkipped`.
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
    job = _job(asked)
    clock = Clock()
    with clock("list"):
        listing = images.find(job.source, recursive=recursive, exclude=job.target)
    if not listing.files:
        raise UsageError(f"{folder} holds no files" + ("" if recursive else " (subfolders need recursive)"))

    results.prepare(job.target, job.source, transfer=transfer)
    batches = Batches(job.source, job.target, job.method, job.engine, progress, clock)
    try:
        batches.cluster(listing.files, job.batch_size)
        labels = batches.merge(exactly=merge == "exact")
        representatives = first_members(labels)
        scores = batches.scores_with(representatives)
    except BaseException:
        results.abandon(job.target)
        raise

    with clock("hand over"):
        plan = results.plan(
            batches.files, labels, batches.numbers, batches.labels, batch_folders=batch_folders
        )
        report = batches.reporter("files")
        done = results.apply(plan, job.source, job.target, transfer=transfer, progress=report)
    skipped = (*listing.skipped, *batches.skipped, *done.skips)
    with clock("tables"):
        results.write_clusters(
            job.target,
            batches.files,
            labels=labels,
            batches=batches.numbers,
            batch_labels=batches.labels,
            representatives=representatives,
            scores=scores,
            targets=done.targets,
        )
        results.write_skipped(job.target, skipped)
        if not keep_features:
            results.remove_state(job.target)
    summary = _summary(asked, job, batches, labels, len(skipped), clock)
    results.write_run(job.target, summary)
    result = Result(
        out=job.target,
        files=tuple(batches.files),
        labels=labels,
        batches=batches.numbers,
        batch_labels=batches.labels,
        representatives=representatives,
        scores=scores,
        skipped=skipped,
        backend=job.engine.report,
        summary=summary,
    )
    if strict and skipped:
        raise FilesSkipped(f"{len(skipped)} files were skipped: see {job.target / 'skipped.csv'}", result)
    return result


@dataclass(frozen=True, slots=True)
class _Job:
    """The parameters of a run, checked and resolved."""

    source: Path
    target: Path
    method: Classic
    engine: Engine
    memory: int
    batch_size: int


def _job(asked: Mapping[str, Any]) -> _Job:
    """Return what was asked for, every default filled in. Touches no file."""
    if asked["merge"] not in merging.MERGES:
        raise UsageError(f"merge must be one of {', '.join(merging.MERGES)}, got {asked['merge']!r}")
    if asked["batch_size"] is not None and asked["batch_size"] < 1:
        raise UsageError(f"batch_size must be 1 or more, got {asked['batch_size']}")
    options = {name: asked[name] for name in ("threshold", "size", "scale", "hash_size", "orb_rule")}
    method = create(asked["method"], **options)
    if method.threshold >= 1:
        raise UsageError(f"threshold must be below 1, the highest score there is, got {method.threshold:g}")
    memory = parse_memory(asked["memory"])
    source = Path(asked["folder"])
    beside = source.resolve().with_name(f"{source.resolve().name}_clustered")
    return _Job(
        source=source,
        target=beside if asked["out"] is None else Path(asked["out"]),
        method=method,
        engine=select(asked["backend"], n_threads=asked["threads"]),
        memory=memory,
        batch_size=asked["batch_size"] or batch_size_for(method.item_bytes, memory),
    )


def _summary(
    asked: Mapping[str, Any],
    job: _Job,
    batches: Batches,
    labels: NDArray[np.int32],
    n_skipped: int,
    clock: Clock,
) -> dict[str, Any]:
    """Return what `run.json` holds."""
    resolved = {
        "folder": job.source,
        "out": job.target,
        "method": job.method.name,
        "threshold": job.method.threshold,
        "memory": job.memory,
        "batch_size": job.batch_size,
        "threads": job.engine.report.n_threads,
    }
    return {
        "parameters": {**asked, **resolved},
        "method_parameters": {**job.method.params, **job.method.kernel_options},
        "merge": asked["merge"] if batches.count > 1 else "one batch: nothing to merge",
        "image_policy": images.POLICY,
        "backend": job.engine.report,
        "versions": versions(),
        "counts": {
            "images": len(labels),
            "skipped": n_skipped,
            "batches": batches.count,
            "clusters": int(labels.max(initial=-1)) + 1,
            "clustered": int((labels >= 0).sum()),
            "outliers": int((labels < 0).sum()),
            "pairs": batches.n_edges,
            "decoders": batches.decoders,
        },
        "featureless": batches.featureless,
        "near_flat": batches.near_flat,
        "seconds": clock.seconds,
    }
