"""Views of a picture that should have alike latents, and the loss that says how alike they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UsageError

__all__ = ["TEMPERATURE", "augmented", "contrastive_loss"]

TEMPERATURE = 0.5

SMALLEST_CROP = 0.5  # of the area
DEGREES = 15.0
BRIGHTNESS, CONTRAST, COLOUR = 0.3, 0.3, 0.2


@torch.no_grad()
def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return another view of each picture: cropped, turned, perhaps mirrored, other brightness and colours.

    Parameters
    ----------
    pictures : float (n, channels, size, size) in [0, 1], on any device; so is the result
    generator : every random number is drawn from it, on its own device, which may be another

    A crop has half the area or more and is shown at the full size; the picture turns by up to 15 degrees.
    What lies outside is the nearest pixel of the border.
    """
    grid = functional.affine_grid(_frames(pictures, generator), list(pictures.shape), align_corners=False)
    views = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return _recoloured(views, generator)


def contrastive_loss(latents_a: Tensor, latents_b: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return NT-Xent (Chen et al. 2020, A simple framework for contrastive learning): a scalar, at least 0.

    Parameters
    ----------
    latents_a, latents_b : (n, latent), two views of the same n pictures
    temperature : greater than 0; lower looks more at the nearest of the other pictures

    Of the cosines of a view with the 2 n - 1 others, the one with its twin should stand out: cross-entropy
    of their softmax at that temperature, mean over the 2 n views.
    """
    if not (0 < temperature < math.inf):
        raise UsageError(f"temperature must be greater than 0, got {temperature}")
    if latents_a.shape != latents_b.shape or latents_a.ndim != 2:
        came = f"{tuple(latents_a.shape)} and {tuple(latents_b.shape)}"
        raise UsageError(f"latents of two views must have the same shape (n, latent), got {came}")
    n = len(latents_a)
    # half precision would lose the small differences of cosines that a low temperature stretches
    with torch.autocast(latents_a.device.type, enabled=False):
        views = functional.normalize(torch.cat([latents_a, latents_b]).float(), dim=1)
        scores = views @ views.T / temperature
        itself = torch.eye(2 * n, dtype=torch.bool, device=scores.device)
        twin = torch.arange(2 * n, device=scores.device).roll(n)
        return functional.cross_entropy(scores.masked_fill(itself, -torch.inf), twin)


def _frames(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return (n, 2, 3): where in its picture each view looks."""
    n = len(pictures)

    def between(least: float, most: float) -> Tensor:
        return least + (most - least) * torch.rand(n, generator=generator, device=generator.device)

    side = between(SMALLEST_CROP, 1.0).sqrt()
    angle = between(-DEGREES, DEGREES) * (math.pi / 180)
    mirror = torch.where(between(0.0, 1.0) < 0.5, -1.0, 1.0)
    right, below = between(-1.0, 1.0) * (1 - side), between(-1.0, 1.0) * (1 - side)
    cosine, sine = side * angle.cos(), side * angle.sin()
    rows = [cosine * mirror, -sine, right, sine * mirror, cosine, below]
    return torch.stack(rows, 1).reshape(n, 2, 3).to(pictures)


def _recoloured(views: Tensor, generator: torch.Generator) -> Tensor:
    """Return views times a factor, with stretched contrast, and each channel times its own factor."""
    n, channels = views.shape[:2]

    def factors(columns: int, strength: float) -> Tensor:
        drawn = torch.rand(n, columns, 1, 1, generator=generator, device=generator.device)
        return (1 + strength * (2 * drawn - 1)).to(views)

    bright = views * factors(1, BRIGHTNESS)
    if channels > 1:
        bright = bright * factors(channels, COLOUR)
    mean = bright.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, bright, factors(1, CONTRAST)).clamp_(0, 1)
