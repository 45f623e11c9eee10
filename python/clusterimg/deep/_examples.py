"""The pictures of a training: which are kept apart, in which order they come, how they reach the device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .pictures import in_blocks

__all__ = ["Examples", "pictures_digest", "split"]

Pictures = NDArray[np.uint8]
Indices = NDArray[np.int64]

_SPLIT, _ORDER = 1, 2  # which of the random numbers of a seed


def split(n: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Return the indices to train on and those to judge by, each rising; at least one of each (n >= 2)."""
    order = np.random.default_rng([seed, _SPLIT]).permutation(n)
    apart = min(max(round(share * n), 1), n - 1)
    return np.sort(order[apart:]), np.sort(order[:apart])


def pictures_digest(pictures: Pictures) -> str:
    """Return a SHA-256 of all pictures and their shape."""
    state = hashlib.sha256(np.array(pictures.shape, "<i8").tobytes())
    for block in in_blocks(len(pictures), 1024):
        state.update(np.ascontiguousarray(pictures[block]).data)
    return state.hexdigest()


class Examples:
    """Batches of pictures on a device.

    Parameters
    ----------
    pictures : (n, channels, size, size) uint8, may be mapped from the disk
    batch_size : images a batch at most; an epoch's batches differ in size by one at most, since a last one
        of a few images would have a noisy gradient and, under batch normalisation, worse

    Attributes
    ----------
    n_training, n_validation : images of each part
    n_batches : batches an epoch
    """

    def __init__(
        self, pictures: Pictures, *, batch_size: int, validation: float, seed: int, device: torch.device
    ) -> None:
        self._pictures, self._seed, self._device = pictures, seed, device
        self._training, self._validation = split(len(pictures), validation, seed)
        self.n_training, self.n_validation = len(self._training), len(self._validation)
        self.n_batches = -(-self.n_training // batch_size)
        self._batch_size = batch_size
        self._epoch, self._order = -1, self._training

    def batch(self, epoch: int, number: int) -> torch.Tensor:
        """Return a batch of an epoch as float32 (n, channels, size, size) in [0, 1].

        What it holds follows from the seed, the epoch and its number alone.
        """
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, _ORDER, epoch])
            self._epoch, self._order = epoch, random.permutation(self._training)
        start, end = (self.n_training * k // self.n_batches for k in (number, number + 1))
        return self._on_device(np.sort(self._order[start:end]))  # rising: as they lie on the disk

    def validation_batches(self) -> Iterator[torch.Tensor]:
        """Yield all validation images in batches, always the same."""
        n_batches = -(-self.n_validation // self._batch_size)
        for number in range(n_batches):
            start, end = (self.n_validation * k // n_batches for k in (number, number + 1))
            yield self._on_device(self._validation[start:end])

    def _on_device(self, indices: Indices) -> torch.Tensor:
        batch = torch.from_numpy(self._pictures[indices])
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        else:
            batch = batch.to(self._device)
        return batch.to(torch.float32, memory_format=torch.channels_last).div_(255)
