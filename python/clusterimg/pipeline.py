"""run(): a folder of images becomes a result folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images, results
from ._choosing import Choose, check_choice, is_open, with_threshold
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
    given_as,
    put_back,
    strictly,
    workplace,
)
from ._linking import Given, Linking, read_pairs
from ._memory import batch_size_for, parse_memory
from ._reader import Reader
from ._reading import PartsOfStore, ReadBatch, Reading
from ._reporting import with_report
from ._store import Store
from ._types import Progress, Skip
from .backends import select
from .batches import Batches, Clock, digest_of
from .deep.options import MOST_IMAGES, check_classic, groups_by_models
from .errors import UsageError
from .methods import create
from .methods.deep import Deep

__all__ = ["Result", "run"]


def run(
    folder: str | os.PathLike[str],
    *,
    method: str = "imagehash",
    threshold: float | str | None = None,
    threshold_pairs: str | os.PathLike[str] | None = None,
    sample: int = 2000,
    seed: int = 0,
    linkage: str = "components",
    must_link: Given | None = None,
    cannot_link: Given | None = None,
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
    embedding: Any = "autoencoder",
    model: str | os.PathLike[str] | None = None,
    training: Mapping[str, Any] | None = None,
    models: Sequence[str] | None = None,
    selection: str | None = None,
    pca: int | None = None,
    whiten: bool = False,
    device: str = "auto",
    batch_folders: bool = True,
    keep_features: bool = True,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    report: bool = False,
    progress: Progress | None = None,
    choose: Choose | None = None,
) -> Result:
    """Cluster the images of a folder into a result folder.

    Parameters
    ----------
    folder : path
        The images. Every file is tried, whatever its extension; what can't be read is listed.
    method : str
        `imagehash` (`phash`), `ssim`, `minhash`, `orb`, `tm`, or `deep`: a network sees the images, and
        the best of several cluster models groups what it sees.
    threshold : float or str
        Images are similar if their score is above it. The method's default, if not given. `auto`: a
        rule finds it on the curve of `threshold_curve`; `ask`: `choose` is asked. With `deep` a threshold
        makes clusters of pairs with such a cosine, as the other methods do, in place of cluster models.
    threshold_pairs : path
        Finds the threshold by pairs that a person labelled: a CSV table `file_a,file_b,same`, names as
        in `clusters.csv`, same yes or no; a few dozen are enough.
    sample, seed : int
        How many images, and which, are compared with all others for that curve.
    linkage : str
        `components`: similar images share a cluster, directly or through others. Against chains:
        `complete`: all images of a cluster are similar to each other; `average`: of the pairs between
        two clusters that are joined, half or more are similar. See `link`.
    must_link : path or pairs of files
        A CSV table with the columns `file_a` and `file_b`, names as in `clusters.csv`, or the pairs:
        such images share a cluster, whatever their scores.
    cannot_link : path or pairs of files
        The same for images that must not share a cluster. Similar pairs are taken from the strongest
        down; those that would join two such images are refused, and listed in `refused.csv`.
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
        `cpp`, `cuda`, `numba`, `reference`, or `auto`: `cpp`, and `cuda` where a device is likely to be
        faster.
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
    embedding : str, path, torch.nn.Module or callable
        Of `deep`: `autoencoder`, which is trained on the images; `efficientnet-lite0`, which comes
        trained; or what `deep.embed` takes.
    model : path
        Of `deep`: an autoencoder that `train` made, in place of training one.
    training : mapping
        Of `deep`: options of `deep.train` for the autoencoder, such as `{"loss": "perceptual"}`.
    models, selection : sequence of str, str
        Of `deep`: cluster models with lists of their parameters, such as `["kmeans:n_clusters=5,10",
        "dbscan:eps=0.3,0.5"]`; how the best is found. See `deep.cluster_models` and `deep.selection`.
    pca, whiten : int, bool
        Of `deep`: group so many principal components of the embeddings, whitened or not.
    device : str
        Of `deep`: `auto`, `cpu`, `cuda` or `mps`.
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
    choose : callable
        `choose(curve, folder)` returns the threshold, for `ask`.

    Raises
    ------
    UsageError
        A parameter is wrong, or `out` is in use.
    ResultError
        The result can't be written.
    FilesSkipped
        Under `strict`; its `result` is the complete result.
    """
    asked = {name: value for name, value in locals().items() if name not in ("progress", "choose")}
    check_choice(asked, choose)
    job = _job(asked, progress)
    clock = Clock()
    results.check_place(job.target, job.source, transfer=transfer)
    with clock("list"):
        listing = images.find(job.source, recursive=recursive, exclude=job.target)
    with ExitStack() as stack:
        out, manifest = stack.enter_context(workplace(job))
        moved = results.moved(job.target)
        moved.update(_links_to(moved, job.source, listing.skipped))
        with clock("list"):
            files, stamps = _with_moved(job.source, listing.files, moved)
            job.linking.check([*files, *(skip.file for skip in listing.skipped)])
            skipped = tuple(skip for skip in listing.skipped if skip.file not in moved)
        if not files:
            hint = "" if recursive else " (subfolders need recursive)"
            raise UsageError(f"{folder} holds no files{hint}")
        job = _with_network(job, out, manifest, moved, files, stamps, clock)
        reader = stack.enter_context(Reader(job.method, job.engine, decode=decode))
        features = about(job.method, decode, reader.start())
        store = Store(out / results.STATE_FOLDER, features)
        reading = Reading(job.source, store, job.method, reader)
        read: Iterable[ReadBatch] = _read(job, out, manifest, moved, store, reading, files, stamps)
        if is_open(asked):  # every image is read before the threshold is chosen
            with clock("features"):
                parts = PartsOfStore(store, read, job.method)
            job = with_threshold(job, out, manifest, parts, features, stamps, clock, choose)
            read = parts.batches
        inputs = _inputs(job, features, files, stamps)
        decision = earlier(out, inputs)
        reused = {"features": 0 if decision is None else len(decision.files), "batches": 0}
        if decision is None:
            batches = Batches(out, manifest, store, job.method, job.engine, progress, clock, job.linking)
            batches.cluster(read)
            labels = batches.merge(merge)
            skipped = (*skipped, *reading.skipped)
            decision = decided(job, batches, labels, about=features, skipped=skipped)
            decision.save(out / results.STATE_FOLDER, inputs)
            store.forget_unused()
            reused = {"features": reading.n_reused, "batches": batches.n_reused}
        result = finished(job, out, manifest, decision, clock, reused)
    return strictly(job, with_report(job, result))


def _job(asked: Mapping[str, Any], progress: Progress | None) -> Job:
    """Return what was asked for, every default filled in. Touches no image."""
    check_options(asked)
    images.policy(asked["decode"])
    memory = parse_memory(asked["memory"])
    method = _method(asked, memory)
    source = Path(asked["folder"])
    linking = Linking(
        asked["linkage"],
        *(read_pairs(asked[name], name) for name in ("must_link", "cannot_link")),
    )
    real = Path(os.path.realpath(source))  # resolve() raises for a loop of links, which find() names
    beside = real.with_name(f"{real.name}_clustered")
    return Job(
        asked={**asked, **given_as(asked)},
        source=source,
        target=beside if asked["out"] is None else Path(asked["out"]),
        method=method,
        engine=select(asked["backend"], n_threads=asked["threads"]),
        linking=linking,
        memory=memory,
        batch_size=asked["batch_size"] or _batch_size(asked, method, memory),
        progress=progress,
        **{name: asked[name] for name in SHARED},
    )


def _method(asked: Mapping[str, Any], memory: int) -> Any:
    """Return the method that was asked for; a deep one whose network is to be trained can't embed yet."""
    if asked["method"] == Deep.name:
        from .deep.running import planned

        return planned(asked, memory)
    check_classic(asked)
    options = {name: asked[name] for name in ("threshold", "size", "scale", "hash_size", "orb_rule")}
    if is_open(asked):
        options["threshold"] = None
    return create(asked["method"], **options)


def _batch_size(asked: Mapping[str, Any], method: Any, memory: int) -> int:
    fitting = batch_size_for(method.item_bytes, memory)
    return min(fitting, MOST_IMAGES) if groups_by_models(asked) else fitting


def _with_network(
    job: Job,
    out: Path,
    manifest: results.Manifest,
    moved: Mapping[str, tuple[int, int]],
    files: Sequence[str],
    stamps: NDArray[np.int64],
    clock: Clock,
) -> Job:
    """Return the job with its network, trained where it has to be: a deep one; any other as it is."""
    if not isinstance(job.method, Deep) or job.method.embed is not None:
        return job
    from .deep.running import trained

    with clock("training"):

        def before() -> None:
            if moved:
                _read_again(job, out, manifest)

        return trained(job, out, manifest, files, stamps, before=before)


def _read(
    job: Job,
    out: Path,
    manifest: results.Manifest,
    moved: Mapping[str, tuple[int, int]],
    store: Store,
    reading: Reading,
    files: Sequence[str],
    stamps: NDArray[np.int64],
) -> Iterator[ReadBatch]:
    """Yield the batches, read as they are asked for."""
    if None in store.find(list(moved), np.array(list(moved.values()))):
        _read_again(job, out, manifest)

    def report(done: int, total: int) -> None:
        if job.progress is not None:
            job.progress("features", done, total)

    yield from reading.batches(files, stamps, job.batch_size, report)


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
    found = (features, dict(job.method.decides), job.merge, job.batch_size, list(files), stamps)
    return digest_of(*found, job.linking.key)
