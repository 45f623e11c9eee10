"""A convolutional autoencoder: pictures to a few numbers each, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError
from .pictures import PictureShape

__all__ = ["Architecture", "Autoencoder"]

MAX_CHANNELS = 128
MAX_BOTTLENECK = 1 << 18
GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The dimensions of an autoencoder.

    size, channels : of its pictures, (channels, size, size)
    width : channels of the first stage; each further stage has twice as many, up to 128
    latent : numbers that a picture becomes
    depth : stages; each halves height and width, so `size` must be divisible by 2 ** depth

    Raises `UsageError` for what can't be built.
    """

    size: int = 64
    channels: int = 3
    width: int = 16
    latent: int = 64
    depth: int = 4

    def __post_init__(self) -> None:
        PictureShape(self.size, self.channels)
        for name, value, most in (("width", self.width, 1024), ("latent", self.latent, 4096)):
            if not 1 <= value <= most:
                raise UsageError(f"{name} must be 1 to {most}, got {value}")
        if not 1 <= self.depth <= 8:
            raise UsageError(f"depth must be 1 to 8, got {self.depth}")
        step = 2**self.depth
        if self.size % step:
            near = [side for side in (self.size // step * step, -(-self.size // step) * step) if side >= 8]
            nearest = " or ".join(str(side) for side in near)
            wanted = f"size must be divisible by {step} with depth {self.depth}"
            raise UsageError(f"{wanted}, got {self.size}: take {nearest}, or a smaller depth")
        if self.n_bottleneck > MAX_BOTTLENECK:
            taken = f"size {self.size}, depth {self.depth} and width {self.width}"
            raise UsageError(
                f"{taken} leave {self.n_bottleneck} numbers before the bottleneck, more than "
                f"{MAX_BOTTLENECK}: take a greater depth"
            )

    @property
    def shape(self) -> PictureShape:
        """The pictures that it takes."""
        return PictureShape(self.size, self.channels)

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels before the first stage and after each."""
        most = max(MAX_CHANNELS, self.width)
        return self.channels, *(min(self.width << stage, most) for stage in range(self.depth))

    @property
    def n_bottleneck(self) -> int:
        """Numbers of a picture after the last stage."""
        side = self.size >> self.depth
        return self.stages[-1] * side * side


class Upsampled(nn.Module):
    """Twice the height and width: every pixel four times, then a 3x3 convolution, in one step.

    Doubling pixels leaves no checkerboards (Odena et al. 2016). Both steps are linear, so they are one
    transposed convolution of stride 2, whose 4x4 kernel sums the 3x3 one over 2x2 windows: 4 products
    for each pixel and channel in place of 9.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` (n, inputs, h, w) as (n, outputs, 2 h, 2 w)."""
        wide = functional.pad(self.weight, (1, 1, 1, 1))
        rows = wide[:, :, 1:] + wide[:, :, :-1]
        kernel = rows[..., 1:] + rows[..., :-1]
        return functional.conv_transpose2d(values, kernel, self.bias, stride=2, padding=1)


class Autoencoder(nn.Module):
    """Pictures to `latent` numbers each and back.

    Parameters
    ----------
    architecture : its dimensions
    generator : of the initial weights, on the CPU; None takes seed 0. torch's own is never used.

    Pictures are float (n, channels, size, size) in [0, 1], and so are reconstructions. Latents are float
    (n, latent). What becomes of a picture doesn't depend on the others: normalisation is by groups of
    channels of one picture (Wu and He 2018). With the defaults a picture takes 11.3 million multiply-adds,
    with the backward pass 33.5 million.
    """

    def __init__(self, architecture: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        stages = architecture.stages
        side = architecture.size >> architecture.depth
        down: list[nn.Module] = []
        for before, after in pairwise(stages):
            convolution = _empty(nn.Conv2d, before, after, 3, stride=2, padding=1)
            down += [convolution, _normalised(after), nn.ReLU(inplace=True)]
        up: list[nn.Module] = []
        for before, after in zip(stages[:0:-1], stages[-2::-1], strict=True):
            up += [_normalised(before), nn.ReLU(inplace=True), Upsampled(before, after)]
        self.encoder = nn.Sequential(
            *down, nn.Flatten(), _empty(nn.Linear, architecture.n_bottleneck, architecture.latent)
        )
        self.decoder = nn.Sequential(
            _empty(nn.Linear, architecture.latent, architecture.n_bottleneck),
            nn.Unflatten(1, (stages[-1], side, side)),
            *up,
            nn.Sigmoid(),
        )
        _initialise(self, torch.Generator().manual_seed(0) if generator is None else generator)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents (n, latent) of pictures."""
        latents: Tensor = self.encoder(pictures - 0.5)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures that latents stand for."""
        pictures: Tensor = self.decoder(latents)
        return pictures

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the reconstructions of pictures."""
        return self.decode(self.encode(pictures))


def _empty(module: type[nn.Module], *args: int, **options: int) -> nn.Module:
    """Return a module whose weights are not drawn yet: its own drawing would use torch's generator."""
    build: Callable[..., nn.Module] = nn.utils.skip_init
    return build(module, *args, **options)


def _normalised(channels: int) -> nn.Module:
    """Return a normalisation over groups of at least `GROUP` channels, where there are so many."""
    groups = next(n for n in range(max(1, channels // GROUP), 0, -1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights for rectified units (He et al. 2015), biases zero."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, Upsampled)):
            weight = module.weight
            inputs = weight.shape[0] * 9 if isinstance(module, Upsampled) else weight[0].numel()
            gain = 1.0 if isinstance(module, nn.Linear) else 2.0
            nn.init.normal_(weight, 0.0, (gain / inputs) ** 0.5, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
