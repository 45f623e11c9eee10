"""What a training makes small: the loss of the reconstruction and, if asked for, a contrastive term."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from .autoencoder import Autoencoder
    from .losses import Loss

__all__ = ["Objective", "generator_for"]


def generator_for(device: torch.device, *numbers: int) -> torch.Generator:
    """Return a generator of random numbers that follow from `numbers` alone."""
    seed = int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed >> 1)  # torch takes 63 bits


class Objective:
    """The loss of a network on a batch, a scalar: mean over the batch.

    Parameters
    ----------
    loss : of a reconstruction and the pictures
    contrastive : weight of the contrastive term between the latents of the pictures and those of other
        views of them; 0 leaves it out
    """

    def __init__(self, loss: Loss, contrastive: float) -> None:
        self.loss, self._contrastive = loss, contrastive

    def __call__(
        self, network: Autoencoder, pictures: torch.Tensor, random: torch.Generator | None
    ) -> torch.Tensor:
        """Return the loss; `random` makes the other views."""
        if not self._contrastive or random is None or len(pictures) < 2:  # one picture has nothing to differ
            return self._reconstruction(network(pictures), pictures)
        from .contrastive import augmented, contrastive_loss

        latents = network.encode(pictures)
        others = network.encode(augmented(pictures, random))
        term: torch.Tensor = contrastive_loss(latents.float(), others.float())
        return self._reconstruction(network.decode(latents), pictures) + self._contrastive * term

    def _reconstruction(self, reconstruction: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.loss(reconstruction.float(), pictures)
        return value
