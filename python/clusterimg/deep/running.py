"""What a run needs of the deep path: its method, before and after there is a network."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._flow import Job
from .._memory import parse_memory
from .._optional import require
from ..batches import digest_of
from ..errors import UsageError
from ..methods.deep import DEFAULT_THRESHOLD, Deep
from ..results import STATE_FOLDER, Manifest, write_json
from ._model_files import ModelFiles
from .embedding import Embedder, embedder
from .grouping import DeepModels
from .options import check_deep, groups_by_models
from .pictures import Pictures

__all__ = ["kept_method", "planned", "trained"]

MODEL = "autoencoder.pt"


def planned(asked: Mapping[str, Any], memory: int) -> Deep:
    """Return the method of a deep run. Where its network is still to be trained, it can't embed yet."""
    check_deep(asked)
    network = _network(asked)
    if network is None:
        require("torch", extra="deep")
        known: dict[str, Any] = {"about": {"name": "autoencoder", "dimensions": _latent(asked)}}
    else:
        known = _of(network)
    if groups_by_models(asked):
        require("sklearn", extra="deep")
        require("matplotlib", extra="deep")
        return DeepModels(**known, **_grouping(asked), memory=memory)
    threshold = asked["threshold"]  # it may be a word that says how to find one
    return Deep(**known, threshold=threshold if isinstance(threshold, int | float) else DEFAULT_THRESHOLD)


def kept_method(parameters: Mapping[str, Any], about: Mapping[str, Any]) -> Deep:
    """Return the method of a finished run, to compare or group the embeddings that it kept."""
    if parameters.get("threshold") is None:
        return DeepModels(about=about, **_grouping(parameters), memory=parse_memory(None))
    return Deep(about=about, threshold=float(parameters["threshold"]))


def _of(network: Embedder) -> dict[str, Any]:
    return {"about": network.about, "embed": network, "reads": Pictures(network.shape)}


def _grouping(asked: Mapping[str, Any]) -> dict[str, Any]:
    models = asked.get("models")
    if isinstance(models, Mapping):
        raise UsageError("models must be a list of texts such as 'kmeans:n_clusters=5,10', got a dictionary")
    given = {
        "models": None if models is None else tuple([models] if isinstance(models, str) else models),
        "rule": asked.get("selection"),
        "pca": asked.get("pca"),
        "whiten": asked.get("whiten"),
        "seed": asked.get("seed"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _network(asked: Mapping[str, Any]) -> Embedder | None:
    """Return the network of a run; None if it is to be trained."""
    options = {"device": asked["device"], "n_threads": asked["threads"]}
    if asked["model"] is not None:
        return embedder(Path(asked["model"]), **options)
    if isinstance(asked["embedding"], str) and asked["embedding"] == "autoencoder":
        return None
    return embedder(asked["embedding"], **options)


def _latent(asked: Mapping[str, Any]) -> int:
    """Return the dimensions of an autoencoder that is to be trained, once its options are checked."""
    from ._parameters import Parameters
    from .autoencoder import Architecture
    from .training import train

    if not isinstance(asked["training"] or {}, Mapping):
        wanted = "a dictionary such as {'epochs': 100}"
        raise UsageError(f"training must be {wanted}, got {asked['training']!r}")
    given = _training(asked)
    known = set(inspect.signature(train).parameters) - {"images", "out", "recursive", "resume", "overwrite"}
    if unknown := sorted(set(given) - known):
        raise UsageError(f"training has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    Parameters(**{name: value for name, value in given.items() if name in Parameters.names()})
    sizes = {field.name for field in fields(Architecture)}
    latent: int = Architecture(**{name: value for name, value in given.items() if name in sizes}).latent
    return latent


def _training(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `train`, with defaults of the run where it has them."""
    shared = {name: asked[name] for name in ("seed", "device", "threads")}
    return {**shared, **(asked["training"] or {})}


def trained(
    job: Job,
    out: Path,
    manifest: Manifest,
    files: Sequence[str],
    stamps: NDArray[np.int64],
    *,
    before: Callable[[], None],
) -> Job:
    """Return the job with an autoencoder that was trained on the files; it lies in `out`, with its plots.

    What an earlier run left there is used, or gone on with, if it is of the same files and options.
    `before` is called before files are read.
    """
    from .checkpoint import load
    from .training import train

    written = ModelFiles(out / MODEL)
    key = out / STATE_FOLDER / "training.json"
    options = _training(job.asked)
    wanted = digest_of(options, list(files), stamps)
    is_same = _read_key(key) == wanted
    if not (is_same and written.model.exists()):
        before()
        for path in (*written.lasting(), written.state, written.pictures):
            manifest.add_table(path.name)
        write_json(key, {"key": wanted})
        paths = [job.source / file for file in files]
        resumed = is_same and written.state.exists()
        train(paths, out=written.model, **options, resume=resumed, overwrite=True, progress=job.progress)
    model = load(written.model)
    network = embedder(model, device=job.asked["device"], n_threads=job.asked["threads"])
    products = frozenset(path.name for path in written.lasting())
    assert isinstance(job.method, Deep)
    told = {name: model.facts[name] for name in ("training", "outcome")}
    return replace(job, method=replace(job.method, **_of(network)), products=products, training=told)


def _read_key(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: trained again
        return None
