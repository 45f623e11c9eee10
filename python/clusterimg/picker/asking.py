"""threshold_curve(): a folder, or images, to the curve of all thresholds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import images as files_of
from .._asked_methods import method_asked, method_of
from .._reader import Reader
from .._reading import PartsOfStore, Reading
from .._store import Store
from .._types import Features, Progress
from ..backends import Engine, select
from ..errors import UsageError
from ..methods import Classic
from ..similarity import Image, extract
from .building import curve_of
from .curve import ThresholdCurve

__all__ = ["threshold_curve"]

_PART = 100_000
"""Images of which the features are in memory at once."""


def threshold_curve(
    images: str | os.PathLike[str] | Sequence[Image] | Features,
    *,
    method: str = "imagehash",
    sample: int = 2000,
    seed: int = 0,
    recursive: bool = False,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    orb_rule: str | None = None,
    embedding: Any = None,
    decode: str = "exact",
    backend: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
) -> ThresholdCurve:
    """Return what every threshold would give: a sample of the images is compared with all of them.

    Parameters
    ----------
    images : path, or sequence of paths or of grey arrays, or Features
        A folder, of which files that can't be read are left out; or as for `similar_pairs`.
    sample : int
        How many images, drawn at random by `seed`, are compared with all others. If that is all of
        them the numbers are exact.
    recursive : bool
        Whether to take the images of subfolders too.
    embedding : str, path, torch.nn.Module or callable
        Of `deep`: what `deep.embed` takes; `efficientnet-lite0`, if not given.
    progress : callable
        `progress(stage, done, total)`, called now and then.

    Other parameters are those of `run`.

    Returns
    -------
    ThresholdCurve, with numbers for all images and their 95 % intervals.

    Raises
    ------
    UsageError
        A parameter is wrong, or the folder holds no image that can be read.
    """
    if sample < 1:
        raise UsageError(f"sample must be 1 or more, got {sample}")
    options = {"size": size, "scale": scale, "hash_size": hash_size, "orb_rule": orb_rule}
    engine = select(backend, n_threads=threads)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("curve", done, total)

    def curve(parts: Sequence[Features], files: Sequence[str], chosen: Classic) -> ThresholdCurve:
        return curve_of(parts, files, chosen, engine, sample=sample, seed=seed, progress=report)

    if isinstance(images, str | os.PathLike):
        chosen = method_asked(method, options, embedding, None, threads)
        with tempfile.TemporaryDirectory(prefix="clusterimg-") as folder:
            parts = _read(Path(images), recursive, decode, chosen, engine, Path(folder), progress)
            return curve(parts, parts.files, chosen)
    if isinstance(images, Features):
        features = images
        chosen = method_of(features, None, orb_rule)
    else:
        chosen = method_asked(method, options, embedding, None, threads)
        features = extract(
            images,
            method=method,
            size=size,
            scale=scale,
            hash_size=hash_size,
            embedding=embedding,
            decode=decode,
            backend=backend,
            n_threads=threads,
            errors="skip",
        )
    return curve([features], _names_of(images), chosen)


def _names_of(images: Sequence[Image] | Features) -> list[str]:
    """Return the paths of images; numbers for those that have none."""
    if isinstance(images, Features):
        return [str(k) for k in range(len(images))]
    return [os.fspath(one) if isinstance(one, str | os.PathLike) else str(k) for k, one in enumerate(images)]


def _read(
    folder: Path,
    recursive: bool,
    decode: str,
    method: Classic,
    engine: Engine,
    place: Path,
    progress: Progress | None,
) -> PartsOfStore:
    """Read the images of a folder into a store in `place`."""
    from ..results import stamps

    files_of.policy(decode)
    listing = files_of.find(folder, recursive=recursive, exclude=place)
    if not listing.files:
        hint = "" if recursive else " (subfolders need recursive)"
        raise UsageError(f"{folder} holds no files{hint}")

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("features", done, total)

    store = Store(place, {})
    with Reader(method, engine, decode=decode) as reader:
        reader.start()
        reading = Reading(folder, store, method, reader)
        batches = reading.batches(listing.files, stamps(folder, listing.files), _PART, report)
        parts = PartsOfStore(store, batches, method)
    if not parts.files:
        raise UsageError(f"{folder} holds no image that can be read: {reading.skipped[0].reason}")
    return parts
