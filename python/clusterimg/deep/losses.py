"""What a reconstruction lacks: losses that a training lowers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError
from .choices import LOSSES
from .feature_networks import FeatureNetwork, feature_network
from .pictures import PictureShape

__all__ = ["Loss", "Perceptual", "make_loss"]

# Features alone lose colours. With weights 0, 1, 10, 30, 100 (efficientnet-lite0, 8 objects of COIL-100 at
# 32 pixels, 16 epochs, one seed) mean colours are off by .171, .056, .025, .013, .009, and the distance of
# features is least with 30: .419, .377, .332, .326, .347. The ARI of KMeans is .559, .557, .561, .598, .593.
PIXEL_WEIGHT = 30.0
LEAST_SQUARE = 1e-3


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


class Perceptual(Loss):
    """Distance of what a frozen network sees in reconstruction and picture (Johnson et al. 2016).

    For each picture and layer it is the mean squared difference of features, divided by the mean square of
    the picture's own features (at least 0.001), so that layers and networks of any scale count alike; mean
    over layers and pictures. To that come `pixel_weight` times the mean squared difference of pixels, as
    features alone say little of colours and brightness (Ledig et al. 2017 compare such mixes).
    """

    def __init__(self, network: FeatureNetwork, pixel_weight: float = PIXEL_WEIGHT) -> None:
        super().__init__({"loss": "perceptual", **network.facts, "pixel_weight": pixel_weight})
        self.network = network
        self.pixel_weight = pixel_weight

    def forward(self, reconstruction: Tensor, pictures: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        with torch.no_grad():
            wanted = self.network(pictures)
        terms = [_relative(had, want) for had, want in zip(self.network(reconstruction), wanted, strict=True)]
        pixels = functional.mse_loss(reconstruction, pictures)
        return torch.stack(terms).mean() + self.pixel_weight * pixels


def make_loss(
    name: str,
    *,
    network: str = "vgg19",
    weights: str | Path | None = None,
    layers: Sequence[str] | None = None,
    channels: int = 3,
    size: int = 64,
    device: torch.device | str = "cpu",
) -> Loss:
    """Return the loss called `name`, on `device`.

    Parameters
    ----------
    name : `mse`, `l1` or `perceptual`
    network, weights, layers : of the perceptual loss, as in `feature_network`; the others refuse the last two
    channels, size : of the pictures it will compare

    Raises `UsageError`, and for the perceptual loss `ModelError` and `MissingExtra` as in `feature_network`.
    """
    if name not in LOSSES:
        raise UsageError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    PictureShape(size, channels)
    if name == "perceptual":
        return Perceptual(feature_network(network, weights, layers)).to(device)
    if weights is not None or layers is not None:
        raise UsageError(f"weights and layers are for the perceptual loss, got loss {name!r}")
    return (Squared if name == "mse" else Absolute)({"loss": name}).to(device)


def _relative(had: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference over the mean square of what was wanted, a mean over pictures."""
    difference = (had - wanted).float().square().flatten(1).mean(1)
    whole = wanted.float().square().flatten(1).mean(1)
    # a picture without features would else outweigh all others
    return (difference / whole.clamp_min(LEAST_SQUARE)).mean()
