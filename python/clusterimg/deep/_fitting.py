"""From pictures to a trained autoencoder: everything put together, with the state to go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _versions
from ..errors import ModelError, UsageError
from ._examples import Examples, pictures_digest
from ._loop import DivergedError, Loop
from ._objective import Objective
from ._parameters import Parameters
from ._precision import choose_precision
from ._storing import read_content, shown, write_content
from .autoencoder import Architecture, Autoencoder
from .checkpoint import Trained, weights_digest
from .devices import device_for, with_threads
from .losses import make_loss

__all__ = ["fit_pictures"]

_FORMAT, _VERSION = "clusterimg training", 1
_WANTED = "the state of an unfinished training"

Pictures = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]


def fit_pictures(
    pictures: Pictures,
    architecture: Architecture,
    parameters: Parameters,
    *,
    state: Path | None,
    resume: bool,
    policy: Mapping[str, str],
    progress: Progress | None,
) -> Trained:
    """Return the network trained on pictures; see `training.fit`."""
    _check_pictures(pictures, architecture)
    device = device_for(parameters.device)
    precision = choose_precision(parameters.precision, device)
    with with_threads(parameters.threads):
        n_threads = torch.get_num_threads()
        objective = _objective(architecture, parameters, device)
        loop = _loop(pictures, architecture, parameters, objective, device, precision)
        about = {} if state is None else _about(pictures, architecture, parameters, objective)
        if state is not None and resume and state.exists():
            _go_on(loop, state, about)
        _run(loop, state, about, parameters, progress)
    outcome = {**loop.outcome(), "device": device.type, "precision": precision, "threads": n_threads}
    network = loop.network.cpu()
    facts = {
        "architecture": asdict(architecture),
        "training": parameters.as_dict(),
        "loss": dict(objective.loss.facts),
        "outcome": outcome,
        "policy": dict(policy),
        "versions": _versions.versions(of_networks=True),
        "history": loop.record.history,
        "digest": weights_digest(network.state_dict()),
    }
    return Trained(network, facts)


def _check_pictures(pictures: Pictures, architecture: Architecture) -> None:
    side = architecture.size
    wanted = (architecture.channels, side, side)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != wanted:
        shape = f"uint8 (n, {', '.join(map(str, wanted))})"
        raise UsageError(f"pictures must be {shape}, got {pictures.dtype} {pictures.shape}")
    if len(pictures) < 2:
        text = "a training needs two images at least, one to learn from and one to judge by"
        raise UsageError(f"{text}, got {len(pictures)}")


def _objective(architecture: Architecture, parameters: Parameters, device: torch.device) -> Objective:
    loss = make_loss(
        parameters.loss,
        network=parameters.perceptual_network,
        weights=parameters.perceptual_weights,
        layers=parameters.perceptual_layers,
        channels=architecture.channels,
        size=architecture.size,
        device=device,
    )
    return Objective(loss, parameters.contrastive)


def _loop(
    pictures: Pictures,
    architecture: Architecture,
    parameters: Parameters,
    objective: Objective,
    device: torch.device,
    precision: str,
) -> Loop:
    generator = torch.Generator().manual_seed(parameters.seed)
    network = Autoencoder(architecture, generator)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    examples = Examples(
        pictures,
        batch_size=parameters.batch_size,
        validation=parameters.validation,
        seed=parameters.seed,
        device=device,
    )
    return Loop(network, objective, examples, parameters, device=device, precision=precision)


def _run(
    loop: Loop,
    state: Path | None,
    about: Mapping[str, Any],
    parameters: Parameters,
    progress: Progress | None,
) -> None:
    def save(content: dict[str, Any]) -> None:
        assert state is not None
        write_content(state, {**about, "state": content})

    def show(done: int, total: int) -> None:
        assert progress is not None
        progress("training", done, total)

    try:
        loop.run(None if state is None else save, None if progress is None else show)
    except torch.cuda.OutOfMemoryError:
        advice = f"give a smaller batch_size than {parameters.batch_size}, or device cpu"
        raise ModelError(f"the memory of the GPU is not enough: {advice}") from None
    except DivergedError:  # going on from the state would end the same way
        if state is not None:
            with suppress(OSError):
                state.unlink(missing_ok=True)
        raise


# --- the state of an unfinished training ---


def _about(
    pictures: Pictures, architecture: Architecture, parameters: Parameters, objective: Objective
) -> dict[str, Any]:
    """Return what a state is about: it can be gone on from with the very same only."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "parameters": {**asdict(architecture), **parameters.decisive()},
        "loss": dict(objective.loss.facts),
        "n_pictures": len(pictures),
        "pictures": pictures_digest(pictures),
    }


def _go_on(loop: Loop, path: Path, about: Mapping[str, Any]) -> None:
    """Bring a training to where the state in a file was.

    Raises
    ------
    ModelError : the file is damaged or something else
    UsageError : it is of other pictures or parameters; the text names what differs
    """
    content = read_content(path, _WANTED)
    advice = "give the same again, or --overwrite to begin anew"
    if content.get("format") != _FORMAT or content.get("version") != _VERSION:
        raise ModelError(f"{shown(path)} is not {_WANTED}, or of another version of clusterimg: {advice}")
    try:
        changes = _changes(content, about)
        if not changes:
            loop.restore(content["state"])
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ModelError(f"{shown(path)} is not {_WANTED}: {told}") from None
    if changes:
        raise UsageError(f"can't go on with the training in {shown(path)}: {'; '.join(changes)}: {advice}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs."""
    old, new = before["parameters"], now["parameters"]
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changes = [f"{name} was {old.get(name)}, is {new.get(name)}" for name in names]
    if not names and before["loss"] != now["loss"]:
        changes.append(f"the loss was {before['loss']}, is {now['loss']}")
    if before["n_pictures"] != now["n_pictures"]:
        changes.append(f"there were {before['n_pictures']:,} images, there are {now['n_pictures']:,}")
    elif not names and before["pictures"] != now["pictures"]:
        changes.append("the images are not the same")
    return changes
