"""merge(): results of earlier runs become one, from the features that they kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from . import results as tables
from ._distinct import distinct
from ._flow import (
    SHARED,
    Job,
    Result,
    check_options,
    decided,
    earlier,
    finished,
    given_as,
    put_back,
    strictly,
    workplace,
)
from ._linking import Given, Linking, read_pairs
from ._memory import parse_memory
from ._parts import CONSTRAINTS, OF_MODELS, Part, opened, shown
from ._reporting import with_report
from ._store import Place, Store
from ._types import Progress
from .backends import select
from .batches import Batches, Clock, digest_of
from .errors import UsageError
from .extraction import features_of
from .merging import groups_of
from .methods import Classic

__all__ = ["merge"]


def merge(
    results: Sequence[str | os.PathLike[str]],
    *,
    threshold: float | None = None,
    linkage: str | None = None,
    must_link: Given | None = None,
    cannot_link: Given | None = None,
    out: str | os.PathLike[str] | None = None,
    transfer: str = "copy",
    merge: str = "representatives",
    threads: int = 0,
    backend: str = "auto",
    batch_folders: bool = True,
    keep_features: bool = True,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    report: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Join the results of earlier runs of one method into a new one; no image is read again.

    Images are taken from where they are now: with `transfer="move"` those of a result that moved them
    move on, and the undo of the new result puts them back into the old one. A `file` is relative to
    the folder that all their folders lie in.

    Parameters
    ----------
    results : sequence of paths
        One or more result folders. One makes sense after `run(…, merge="no")`.
    threshold : float
        That of the results, if not given; another one is applied inside them too.
    linkage : str
        As for `run`; that of the results, if not given. Unless it is `components` and there are no
        constraints, the clusters of all batches are found anew, as a run over them would.
    must_link, cannot_link : path or pairs of files
        As for `run`, names as in the `clusters.csv` that is made. If not given, the constraints of the
        results hold; if given, they take the place of those, also if they are none.
    out : path
        The result folder, as for `run`; `RESULT_merged` beside the first, if not given.
    merge : str
        `representatives`: the first images of the clusters of all results are compared; `exact`: all
        images of all batches.
    transfer, threads, backend, batch_folders, keep_features, strict, resume, overwrite, dry_run,
    report, progress
        As for `run`.

    Raises
    ------
    UsageError
        A parameter is wrong, or the results are not of one method with one set of parameters.
    ResultError
        A result is damaged, in use, or has no features; the new one can't be written.
    FilesSkipped
        Under `strict`; its `result` is the complete result.
    """
    asked = {name: value for name, value in locals().items() if name not in ("results", "progress")}
    clock = Clock()
    with ExitStack() as stack:
        parts = opened([Path(path) for path in results], stack)
        job = _job(parts, asked, progress)
        with workplace(job) as (place, manifest):
            result = _merged(job, parts, place, manifest, clock)
    return strictly(job, with_report(job, result))


def _linking(parts: Sequence[Part], asked: Mapping[str, Any], base: Path) -> Linking:
    """Return the linkage and constraints asked for, or those of the results."""
    linkages = {part.linkage for part in parts}
    if asked["linkage"] is None and len(linkages) > 1:
        raise UsageError(
            f"the results have different linkages ({', '.join(sorted(linkages))}): give the one to use"
        )
    pairs = [read_pairs(_carried(parts, asked, base, name), name) for name in CONSTRAINTS]
    return Linking(asked["linkage"] or parts[0].linkage, *pairs)


def _carried(parts: Sequence[Part], asked: Mapping[str, Any], base: Path, name: str) -> Given:
    if asked[name] is not None:
        given: Given = asked[name]
        return given
    prefixes = [_prefix(part, base) for part in parts]
    return [
        (prefix + a, prefix + b)
        for part, prefix in zip(parts, prefixes, strict=True)
        for a, b in part.known[name]
    ]


def _job(parts: Sequence[Part], asked: Mapping[str, Any], progress: Progress | None) -> Job:
    """Return what was asked for, every default filled in, after a check that the results agree."""
    first = parts[0]
    for part in parts[1:]:
        for name in ("method", "params", "policy"):
            one, other = first.features.get(name), part.features.get(name)
            if one != other:
                one, other = _differing(one, other)
                raise UsageError(
                    f"results must agree in {name}: {shown(first.out)} has {one}, "
                    f"{shown(part.out)} has {other}"
                )
        if part.method().kernel_options != first.method().kernel_options:
            raise UsageError(f"results must agree in orb_rule: {shown(first.out)}, {shown(part.out)}")
        if any(part.options[name] != first.options[name] for name in OF_MODELS[:-1]):
            raise UsageError(f"results must agree in their models: {shown(first.out)}, {shown(part.out)}")
        if asked["threshold"] is None and part.options["threshold"] != first.options["threshold"]:
            raise UsageError("the results have different thresholds: give the one to use")
    asked = {**first.options, **{name: value for name, value in asked.items() if value is not None}}
    asked = {
        "out": None,
        "batch_size": None,
        "recursive": True,
        **dict.fromkeys(("linkage", *CONSTRAINTS)),
        **asked,
        "results": [part.out for part in parts],
    }
    check_options(asked)
    if asked["merge"] == "no":
        raise UsageError("merge must be representatives or exact, got 'no'")
    base = Path(os.path.commonpath([part.record.folder for part in parts]))
    linking = _linking(parts, asked, base)
    beside = first.out.resolve().with_name(f"{first.out.resolve().name}_merged")
    target = beside if asked["out"] is None else Path(asked["out"])
    for part in parts:
        for folder in (part.out, part.record.folder):
            tables.check_place(target, folder)
    return Job(
        asked={**asked, **given_as(asked)},
        source=base,
        target=target,
        method=first.method(asked["threshold"]),
        engine=select(asked["backend"], n_threads=asked["threads"]),
        linking=linking,
        memory=parse_memory(None),
        batch_size=0,
        progress=progress,
        **{name: asked[name] for name in SHARED},
    )


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Return of two objects only the entries in which they differ; of anything else the whole."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return {key: one.get(key) for key in keys}, {key: other.get(key) for key in keys}


def _merged(job: Job, parts: Sequence[Part], out: Path, manifest: tables.Manifest, clock: Clock) -> Result:
    """Join the results in the new folder `out`."""
    prefixes = [_prefix(part, job.source) for part in parts]
    files = [prefix + file for part, prefix in zip(parts, prefixes, strict=True) for file in part.table.files]
    twice, count = Counter(files).most_common(1)[0] if files else ("", 0)
    if count > 1:
        raise UsageError(f"{tables.escape_name(twice)} is in {count} of the results: an image may be in one")
    features = {**parts[0].features, "decoders": _decoders(parts)}
    pairs = list(zip(parts, prefixes, strict=True))
    skipped = tuple(skip for part, prefix in pairs for skip in part.skipped(prefix))
    job.linking.check([*files, *(skip.file for skip in skipped)])
    found = [part.located() for part in parts]
    stamps = [place[3:] for _, places in found for place in places]
    method = job.method
    inputs = digest_of(features, dict(method.decides), job.merge, files, stamps, job.linking.key)
    decision = earlier(out, inputs)
    reused = {"features": len(files), "batches": 0}
    if decision is None:
        put_back(out, manifest)
        store = Store(out / tables.STATE_FOLDER, features)
        batches = Batches(out, manifest, store, method, job.engine, job.progress, clock, job.linking)
        for part, (kept, places), prefix in zip(parts, found, prefixes, strict=True):
            _add(part, kept, places, prefix, store, batches, method)
        is_same = all(part.options["threshold"] == method.threshold and part.is_plain for part in parts)
        serve = is_same and job.linking.is_plain  # the clusters of the results
        groups = groups_of([part.table.labels for part in parts]) if serve else None
        labels = batches.merge(job.merge, groups)
        sources = tuple(source for part, prefix in pairs for source in part.sources(prefix))
        decision = decided(job, batches, labels, about=features, skipped=skipped, sources=sources)
        decision.save(out / tables.STATE_FOLDER, inputs)
        store.forget_unused()
        reused["batches"] = batches.n_reused
    if job.transfer == "move" and not job.dry_run:
        for part in parts:
            with tables.Manifest(part.out, part.record.folder) as before:
                before.add("merged", target=str(job.target.resolve()))
                before.commit()
    return finished(job, out, manifest, decision, clock, reused)


def _prefix(part: Part, base: Path) -> str:
    """Return what goes before a file of the part to make it relative to the folder of all parts."""
    prefix = part.record.folder.relative_to(base).as_posix()
    return "" if prefix == "." else prefix + "/"


def _decoders(parts: Sequence[Part]) -> dict[str, str]:
    """Return the versions of the decoders that read the images of the parts."""
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, version in part.features["decoders"].items():
            found.setdefault(name, {})[str(version)] = None
    return {name: ", ".join(versions) for name, versions in found.items()}


def _add(
    part: Part,
    kept: Store,
    places: Sequence[Place],
    prefix: str,
    store: Store,
    batches: Batches,
    method: Classic,
) -> None:
    """Add the batches of a part, features and all."""
    for batch in distinct(part.table.batches).tolist():
        images = np.flatnonzero(part.table.batches == batch)
        files = [prefix + part.table.files[k] for k in images.tolist()]
        mine = [places[k] for k in images.tolist()]
        stamps = np.array([place[3:] for place in mine], np.int64)
        features = kept.put(mine, {}, empty=features_of([], method))
        there = store.add(files, stamps, [place.decoder for place in mine], features)
        is_same = part.options["threshold"] == method.threshold
        known = part.edges(batch, images) if is_same else None
        batches.add(files, there, {there[0].chunk: features}, known=known)
