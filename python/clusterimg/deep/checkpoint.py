"""A trained autoencoder, and the file that holds one: tensors and plain values, checked before use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._types import Skip
from ..errors import ModelError, UsageError
from ._storing import read_content, shown, write_content
from .autoencoder import Architecture, Autoencoder
from .devices import device_for

__all__ = ["FORMAT", "VERSION", "Trained", "load", "save", "weights_digest"]

FORMAT = "clusterimg autoencoder"
VERSION = 1
"""Of the format. Raised when an older clusterimg could misread a new file."""

_WANTED = "a model of clusterimg train"
_FACTS = ("architecture", "training", "loss", "outcome", "policy", "versions", "history", "digest")


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained autoencoder and what is known of it.

    autoencoder : in evaluation mode
    facts : plain values. architecture; training: its parameters; loss: what it was exactly; outcome: why it
        ended, best validation loss, speed, device and more; policy: how files became pictures; versions;
        history: an entry for each look at the validation images; digest: SHA-256 of the weights
    skipped : files that could not be trained on, with reasons; not kept in a file
    """

    autoencoder: Autoencoder
    facts: Mapping[str, Any]
    skipped: tuple[Skip, ...] = ()

    @property
    def architecture(self) -> Architecture:
        """Sizes of the network, and what pictures it takes."""
        return Architecture(**self.facts["architecture"])


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256 of names, types, shapes and values, whatever the device and the layout in memory."""
    state = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        state.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def save(trained: Trained, path: Path | str) -> None:
    """Write a model into a file, whole or not at all. Raises `ModelError`."""
    weights = trained.autoencoder.state_dict()
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"the model is not saved: its weights {name} are not all numbers")
    # A clone: a view would drag the whole of what it looks at into the file.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    facts = {**trained.facts, "digest": weights_digest(plain)}
    write_content(
        Path(path), {"format": FORMAT, "version": VERSION, "facts": _plain(facts), "weights": plain}
    )


def load(path: Path | str, device: str = "cpu") -> Trained:
    """Return the model of a file, in evaluation mode on a device: auto, cpu, cuda or mps.

    Raises
    ------
    ModelError : the file is missing, damaged, made by a newer clusterimg, or something else; the text says
    UsageError : the device can't be used
    """
    place, path = device_for(device), Path(path)
    content = read_content(path, _WANTED)
    facts, weights = _checked(content, path)
    try:
        autoencoder = Autoencoder(Architecture(**facts["architecture"]))
    except (TypeError, UsageError, ValueError, RuntimeError) as error:
        raise _wrong(path, f"its architecture can't be built: {str(error).splitlines()[0]}") from None
    if reason := _why_unfit(autoencoder.state_dict(), weights):
        raise _wrong(path, reason)
    if weights_digest(weights) != facts["digest"]:
        raise _wrong(path, "it is damaged: the weights are not those that were saved (their digest differs)")
    autoencoder.load_state_dict(weights)
    return Trained(autoencoder.to(place).eval(), facts)


def _checked(content: Mapping[Any, Any], path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return facts and weights of a file, if they are what they should be. Raises `ModelError`."""
    if content.get("format") != FORMAT:
        raise _wrong(path, "torch wrote it, but for something else")
    version = content.get("version")
    if not isinstance(version, int) or version < 1:
        raise _wrong(path, f"its version is {version!r}")
    if version > VERSION:
        newer = f"a newer clusterimg wrote it (format {version}, this one reads {VERSION})"
        raise ModelError(f"{shown(path)} can't be read: {newer}: update clusterimg")
    facts, weights = content.get("facts"), content.get("weights")
    if not isinstance(facts, dict) or not isinstance(weights, dict):
        raise _wrong(path, "it holds no facts or no weights")
    missing = [name for name in _FACTS if name not in facts]
    if missing or not isinstance(facts["architecture"], dict):
        raise _wrong(path, f"its facts lack {', '.join(missing) or 'an architecture'}")
    if not all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
        raise _wrong(path, "its weights are not all tensors")
    return facts, weights


def _why_unfit(wanted: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return why weights don't fit a network, or None if they do."""
    if missing := [name for name in wanted if name not in weights]:
        return f"weights are missing, such as {missing[0]}"
    if unknown := [name for name in weights if name not in wanted]:
        return f"it has weights that its architecture has not, such as {str(unknown[0])[:100]}"
    for name, tensor in wanted.items():
        if (found := weights[name]).shape != tensor.shape or found.dtype != tensor.dtype:
            return f"{name} must be {_kind(tensor)}, got {_kind(found)}"
    return None


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _wrong(path: Path, reason: str) -> ModelError:
    return ModelError(f"{shown(path)} is not {_WANTED}: {reason}")


def _plain(value: Any) -> Any:
    """Return a value as dicts, lists and plain values, which is all that a file may hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's numbers among them
    raise TypeError(f"facts must be plain values, got {type(value).__name__}")
