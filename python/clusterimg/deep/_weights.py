"""Files of pretrained weights."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ModelError

__all__ = ["digest", "draw", "read_weights", "take"]


def read_weights(path: Path, network: str) -> dict[str, Tensor]:
    """Return the state dict in a file, on the CPU. Raises `ModelError` that names the file."""
    if not path.is_file():
        raise ModelError(f"the weights of {network} are not at {path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own remarks on how old the format of a file is
            # a file of weights must hold nothing that runs when it is read
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ModelError(f"{path} can't be read as weights of {network}: {reason[:200]}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ModelError(f"{path} holds no state dict (names and tensors), so no weights of {network}")
    return dict(state)


def take(module: nn.Module, state: Mapping[str, Tensor], path: Path, network: str) -> None:
    """Give a module its weights, as float32. Raises `ModelError` unless they are all there, and no others."""
    own = module.state_dict()
    missing, other = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or other:
        named = f"{missing[0]} is missing" if missing else f"{other[0]} is not one of its weights"
        raise ModelError(f"{path} holds the weights of another network than {network}: {named}")
    taken = {}
    for name, value in state.items():
        if value.shape != own[name].shape:
            wanted, came = tuple(own[name].shape), tuple(value.shape)
            raise ModelError(f"{path}: {name} of {network} must have shape {wanted}, got {came}")
        if not value.isfinite().all():
            raise ModelError(f"{path} is damaged: {name} of {network} holds numbers that are not finite")
        taken[name] = value.to(own[name].dtype)
    module.load_state_dict(taken, assign=True)


def draw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return a module, built on the meta device, with random weights for rectified units (He et al. 2015)."""
    generator = torch.Generator().manual_seed(seed)
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()  # ones and zeros: no random numbers
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, math.sqrt(2 / part.weight[0].numel()), generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    value = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            value.update(block)
    return value.hexdigest()
