"""What a reconstruction lacks: losses that a training lowers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError

__all__ = ["LOSSES", "Loss", "make_loss"]

LOSSES = ("mse", "l1", "perceptual")


class Loss(nn.Module):
    """A distance of reconstructions from pictures, both float (n, channels, size, size): the mean over all.

    facts : what a checkpoint says of it
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.facts = dict(facts)

    def forward(self, reconstruction: Tensor, pictures: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        raise NotImplementedError


class Squared(Loss):
    """Mean squared difference of pixels."""

    def forward(self, reconstruction: Tensor, pictures: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return functional.mse_loss(reconstruction, pictures)


class Absolute(Loss):
    """Mean absolute difference of pixels."""

    def forward(self, reconstruction: Tensor, pictures: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return functional.l1_loss(reconstruction, pictures)


def make_loss(
    name: str,
    *,
    network: str = "vgg19",
    weights: Any = None,
    layers: Any = None,
    channels: int = 3,
    size: int = 64,
    device: torch.device | str = "cpu",
) -> Loss:
    """Return the loss called `name`, on `device`. Raises `UsageError` for another name."""
    if name == "mse":
        return Squared({"loss": name}).to(device)
    if name == "l1":
        return Absolute({"loss": name}).to(device)
    raise UsageError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
