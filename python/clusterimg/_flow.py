"""What `run` and `merge` share: the place to work in, the hand-over of what was found, the summary."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images, results
from ._decision import Decision
from ._linking import Linking
from ._reporting import remove_obsolete, told
from ._types import BackendReport, Progress, Skip
from ._versions import versions
from .backends import Engine
from .batches import Batches, Clock, digest_of
from .clustering import first_members
from .deep.options import groups_by_models
from .errors import FilesSkipped, ResultError, UsageError
from .merging import MERGES
from .methods import Classic
from .methods.deep import Deep

__all__ = [
    "SHARED",
    "Job",
    "Result",
    "about",
    "check_options",
    "decided",
    "earlier",
    "finished",
    "given_as",
    "put_back",
    "strictly",
    "workplace",
]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. Image k is `files[k]`.

    out : the result folder
    files : paths relative to the folder of the images, with `/`
    labels, batch_labels : (n,) int32, cluster in the result and in its batch, -1 for an outlier
    batches : (n,) int32
    representatives : (n,) index of the first image of the cluster, -1 for an outlier
    scores : (n,) float64, score with the representative, NaN for an outlier
    refused : similar pairs that cannot-links keep apart: structured array i, j, score, reason (the place
        of the cannot-link in `summary["constraints"]["cannot_link"]`), the strongest first
    targets : where each file went, relative to `out` (under `dry_run`: where it would); empty for a
        file that was not handed over
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
    targets: tuple[str, ...]
    skipped: tuple[Skip, ...]
    refused: NDArray[np.void]
    backend: BackendReport
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for, every default filled in.

    asked : the parameters as they came, which `run.json` tells
    source, target : folder of the images, result folder
    choice : how the threshold was chosen, if it was not given
    products : names of other files that this run has in the result folder
    training : what came of training a network, if one was trained for this run
    linking : how similar pairs become clusters
    """

    asked: Mapping[str, Any]
    source: Path
    target: Path
    method: Classic
    engine: Engine
    linking: Linking
    memory: int
    batch_size: int
    transfer: str
    merge: str
    batch_folders: bool
    keep_features: bool
    strict: bool
    resume: bool
    overwrite: bool
    dry_run: bool
    progress: Progress | None
    choice: Mapping[str, Any] | None = None
    products: frozenset[str] = frozenset()
    training: Mapping[str, Any] | None = None


SHARED = ("transfer", "merge", "batch_folders", "keep_features", "strict", "resume", "overwrite", "dry_run")
"""Options that reach a job as they were asked for."""


def check_options(asked: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that can't be, or not together."""
    if asked["merge"] not in MERGES:
        raise UsageError(f"merge must be one of {', '.join(MERGES)}, got {asked['merge']!r}")
    if asked["transfer"] not in results.TRANSFERS:
        raise UsageError(f"transfer must be one of {', '.join(results.TRANSFERS)}, got {asked['transfer']!r}")
    if asked["batch_size"] is not None and asked["batch_size"] < 1:
        raise UsageError(f"batch_size must be 1 or more, got {asked['batch_size']}")
    threshold = asked["threshold"]
    if isinstance(threshold, int | float) and threshold >= 1:
        raise UsageError(f"threshold must be below 1, the highest score there is, got {threshold:g}")
    if asked["resume"] and asked["overwrite"]:
        raise UsageError("resume goes on with a result, overwrite deletes it: give one of them")


def given_as(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return how constraints were given: the path of a table, how many pairs, or None."""
    given = {name: asked[name] for name in ("must_link", "cannot_link")}
    network = asked.get("embedding")
    if network is not None and not isinstance(network, str | os.PathLike):
        network = getattr(network, "__qualname__", type(network).__name__)
    return {"embedding": network} | {
        name: pairs if pairs is None or isinstance(pairs, str | os.PathLike) else f"{len(pairs)} pairs"
        for name, pairs in given.items()
    }


def about(method: Classic, decode: str, decoders: Mapping[str, Any]) -> dict[str, Any]:
    """Return what features must agree in to be comparable."""
    return {
        "method": method.name,
        "params": dict(method.params),
        "policy": images.policy(decode),
        "decoders": dict(decoders),
    }


@contextmanager
def workplace(job: Job) -> Iterator[tuple[Path, results.Manifest]]:
    """Give the result folder, claimed, and its manifest; for a dry run a temporary one."""
    if not job.dry_run:
        with results.claimed(job.target, job.source, resume=job.resume, overwrite=job.overwrite) as manifest:
            yield job.target, manifest
        return
    results.check_free(job.target, job.source, resume=job.resume, overwrite=job.overwrite)
    with tempfile.TemporaryDirectory(prefix="clusterimg-") as folder:
        out = Path(folder, "result")
        with results.claimed(out, job.source) as manifest:
            if job.resume:
                _borrow_features(job.target, out)
            yield out, manifest


def _borrow_features(target: Path, out: Path) -> None:
    for chunk in (target / results.STATE_FOLDER).glob("features_*.npz"):
        (out / results.STATE_FOLDER / chunk.name).symlink_to(chunk.resolve())


def earlier(out: Path, inputs: str) -> Decision | None:
    """Return what an earlier run found from the same inputs, if that is all there is to find, or None."""
    decision = Decision.load(out / results.STATE_FOLDER, inputs)
    if decision is not None and decision.skipped and (out / results.RUN).exists():
        decision = None  # it came to its end: perhaps the files can be read by now
    if decision is not None and not all(_is_whole(out / name) for name in decision.facts["tables"]):
        decision = None
    if decision is None:
        results.remove_tables(
            out, (*results.FINAL_TABLES, results.REFUSED)
        )  # they tell of what is no longer so
    return decision


def _is_whole(table: Path) -> bool:
    """Return whether a table of similar pairs is there, and undamaged."""
    try:
        results.read_similarities(table)
    except ResultError:
        return False
    return True


def put_back(out: Path, manifest: results.Manifest) -> None:
    """Put back what an earlier run moved, to be found where it was."""
    if any(entry.op == "move" for entry in manifest.record.entries):
        _take_back(out, manifest, manifest.record.entries)


def _take_back(out: Path, manifest: results.Manifest, entries: Sequence[results.Entry]) -> None:
    """Take operations back; raise `ResultError` where that would overwrite or delete what is not ours."""
    undone = results.take_back(out, manifest, entries, updating=True)
    if undone.kept:
        first = undone.kept[0]
        raise ResultError(
            f"{results.escape_name(str(out))} can't be brought up to date: "
            f"{results.escape_name(first.file)} {first.reason}: move it elsewhere, then --resume"
        )


def decided(
    job: Job,
    batches: Batches,
    labels: NDArray[np.int32],
    *,
    about: Mapping[str, Any],
    skipped: tuple[Skip, ...],
    sources: tuple[str, ...] = (),
) -> Decision:
    """Return what the batches found, with the score of each image with its representative."""
    representatives = first_members(labels)
    return Decision(
        files=tuple(batches.files),
        sources=sources or tuple(batches.files),
        stamps=batches.stamps,
        batches=batches.numbers,
        batch_labels=batches.batch_labels,
        labels=labels,
        representatives=representatives,
        scores=batches.scores_with(representatives),
        refused=batches.refused(labels),
        skipped=skipped,
        facts={
            "merge": job.merge if batches.count > 1 else "one batch: nothing to merge",
            "features": dict(about),
            "batches": batches.count,
            "pairs": batches.n_edges,
            "tables": batches.tables,
            "decoders": dict(batches.decoders),
            "featureless": batches.featureless,
            "near_flat": batches.near_flat,
            "without_effect": job.linking.without_effect(batches.files),
            "selections": batches.selections,
            "plots": batches.plots,
        },
    )


def finished(
    job: Job,
    out: Path,
    manifest: results.Manifest,
    decision: Decision,
    clock: Clock,
    reused: Mapping[str, int],
) -> Result:
    """Hand the files over as decided, write the tables, and return the result."""
    plan = results.plan(
        decision.files,
        decision.labels,
        decision.batches,
        decision.batch_labels,
        stamps=decision.stamps,
        sources=decision.sources,
        batch_folders=job.batch_folders,
        merged=job.merge != "no",
    )
    transfer = "none" if job.dry_run else job.transfer
    with clock("hand over"):
        obsolete = results.obsolete(plan, manifest.record.entries, transfer)
        if obsolete:
            _take_back(out, manifest, obsolete)
        report = None if job.progress is None else partial(job.progress, "files")
        done = results.apply(plan, job.source, out, manifest, transfer=transfer, progress=report)
    if job.dry_run and job.transfer != "none":
        done = results.Handover(tuple(operation.target for operation in plan.transfers), (), False)
    names = dict(zip(decision.sources, decision.files, strict=True))
    left_out = (Skip(names[skip.file], skip.reason) for skip in done.skips)
    decision = replace(decision, skipped=(*decision.skipped, *left_out))
    with clock("tables"):
        before = told(out)
        written = _write_tables(job, out, manifest, decision, done.targets)
        remove_obsolete(out, manifest, written, is_same=told(out) == before)
        if not (job.keep_features or job.asked["report"]):
            results.remove_state(out)
    summary = _summary(job, decision, clock, reused)
    manifest.add_table(results.RUN)
    results.write_run(out, summary)
    return Result(
        out=job.target,
        files=decision.files,
        labels=decision.labels,
        batches=decision.batches,
        batch_labels=decision.batch_labels,
        representatives=decision.representatives,
        scores=decision.scores,
        targets=done.targets,
        skipped=decision.skipped,
        refused=decision.refused,
        backend=job.engine.report,
        summary=summary,
    )


def strictly(job: Job, result: Result) -> Result:
    """Return the result; under `strict` raise it as `FilesSkipped` if files were skipped."""
    if job.strict and result.skipped:
        where = f": see {result.out / results.SKIPPED}" if not job.dry_run else ""
        raise FilesSkipped(f"{len(result.skipped)} files were skipped{where}", result)
    return result


def _write_tables(
    job: Job, out: Path, manifest: results.Manifest, decision: Decision, targets: tuple[str, ...]
) -> set[str]:
    """Write what a finished run has, and return the names of its tables."""
    manifest.add_table(results.CLUSTERS)
    results.write_clusters(
        out,
        decision.files,
        labels=decision.labels,
        batches=decision.batches,
        batch_labels=decision.batch_labels,
        representatives=decision.representatives,
        scores=decision.scores,
        targets=targets,
    )
    manifest.add_table(results.SKIPPED)
    results.write_skipped(out, decision.skipped)
    written = {*results.FINAL_TABLES, *decision.facts["tables"], *decision.facts.get("plots", ())}
    if job.choice is not None:
        written.add(results.CURVE)
    written.update(job.products)
    if job.linking.cannot:
        manifest.add_table(results.REFUSED)
        results.write_refused(out, decision.refused, decision.files, job.linking.cannot)
        written.add(results.REFUSED)
    return written


def _summary(job: Job, decision: Decision, clock: Clock, reused: Mapping[str, int]) -> dict[str, Any]:
    """Return what `run.json` holds."""
    facts, labels = decision.facts, decision.labels
    features = dict(facts["features"])
    policy = features.pop("policy")
    resolved = {
        "out": job.target,
        "method": job.method.name,
        "threshold": None if groups_by_models(job.asked) else job.method.threshold,
        "linkage": job.linking.linkage,
        "memory": job.memory,
        "batch_size": job.batch_size,
        "threads": job.engine.report.n_threads,
    }
    return {
        "folder": job.source.resolve(),
        "parameters": {**job.asked, **resolved},
        "method_parameters": {**job.method.params, **job.method.kernel_options},
        "threshold_choice": job.choice,
        "merge": facts["merge"],
        "constraints": {
            "must_link": job.linking.must,
            "cannot_link": job.linking.cannot,
            "digest": digest_of(job.linking.must, job.linking.cannot),
            "without_effect": facts["without_effect"],
        },
        "image_policy": policy,
        "features": features,
        "backend": job.engine.report,
        "versions": versions(features["decoders"], of_networks=isinstance(job.method, Deep)),
        "counts": {
            "images": len(labels),
            "skipped": len(decision.skipped),
            "batches": facts["batches"],
            "clusters": int(labels.max(initial=-1)) + 1,
            "clustered": int((labels >= 0).sum()),
            "outliers": int((labels < 0).sum()),
            "pairs": facts["pairs"],
            "refused": len(decision.refused),
            "decoders": facts["decoders"],
        },
        "training": job.training,
        "selections": facts.get("selections", []),
        "plans": clock.plans,
        "reused": dict(reused),
        "featureless": facts["featureless"],
        "near_flat": facts["near_flat"],
        "seconds": clock.seconds,
    }
