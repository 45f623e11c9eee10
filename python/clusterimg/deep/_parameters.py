"""What a training is told: parameters with their defaults, checked before anything is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import UsageError
from .choices import CONTRASTIVE_WEIGHT, DEVICES, LOSSES, NETWORKS, PRECISIONS

__all__ = ["Parameters", "parse_duration"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_FREE_ON_RESUME = ("device", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How a network is trained.

    loss : "mse", "l1" or "perceptual"; the next three belong to "perceptual"
    perceptual_network : whose features are compared
    perceptual_weights : file of its weights; None takes those it comes with
    perceptual_layers : the layers compared, by name; None takes the network's usual ones
    contrastive : weight of the contrastive term beside the loss; 0 leaves it out
    epochs : times every image is seen, at most
    batch_size : images a step
    learning_rate : the highest of the schedule
    patience : epochs without a gain after which the learning rate falls; once it does, after which it ends
    validation : share of the images that is kept apart to judge by
    seed : of the first weights, the split and the order of the images
    device : "auto" (cuda, else mps, else cpu) or one of them
    precision : "float32", "mixed" (half of it in 16 bits) or "auto": mixed on cuda
    time_budget : seconds, or text such as "90s", "10m", "1h"; None for no end
    threads : of the CPU; 0 for all cores
    """

    loss: str = "mse"
    perceptual_network: str = "vgg19"
    perceptual_weights: str | None = None
    perceptual_layers: tuple[str, ...] | None = None
    contrastive: float = CONTRASTIVE_WEIGHT
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    patience: int = 10
    validation: float = 0.1
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    time_budget: float | str | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, LOSSES)
        _check_choice("perceptual_network", self.perceptual_network, NETWORKS)
        _check_choice("device", self.device, DEVICES)
        _check_choice("precision", self.precision, PRECISIONS)
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("seed", 0), ("threads", 0)):
            _check_count(name, getattr(self, name), least)
        _check_number("contrastive", self.contrastive, 0.0, math.inf, "0 (left out) or more")
        _check_number("learning_rate", self.learning_rate, 1e-12, math.inf, "above 0")
        _check_number("validation", self.validation, 1e-12, 1 - 1e-12, "a share between 0 and 1")
        object.__setattr__(self, "time_budget", parse_duration(self.time_budget))
        object.__setattr__(self, "perceptual_layers", _layers(self.perceptual_layers))
        if self.perceptual_weights is not None:
            object.__setattr__(self, "perceptual_weights", str(self.perceptual_weights))
        self._check_perceptual()

    def _check_perceptual(self) -> None:
        """Refuse what would have no effect."""
        if self.loss == "perceptual":
            return
        defaults = {"perceptual_network": NETWORKS[0], "perceptual_weights": None, "perceptual_layers": None}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                raise UsageError(f"{name} belongs to the loss perceptual, but the loss is {self.loss}")

    def as_dict(self) -> dict[str, Any]:
        """Return them as plain values, the layers as a list."""
        values = asdict(self)
        if self.perceptual_layers is not None:
            values["perceptual_layers"] = list(self.perceptual_layers)
        return values

    def decisive(self) -> dict[str, Any]:
        """Return those that a training can't change on its way."""
        return {name: value for name, value in self.as_dict().items() if name not in _FREE_ON_RESUME}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all."""
        return tuple(field.name for field in fields(cls))


def parse_duration(duration: float | str | None) -> float | None:
    """Return seconds from seconds or from text such as "90", "90s", "10m", "1.5h"; None stays None."""
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", str(duration).strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        wanted = "time_budget must be seconds above 0, or text such as 90s, 10m or 1h"
        raise UsageError(f"{wanted}, got {duration}")
    return seconds


def _layers(layers: Sequence[str] | None) -> tuple[str, ...] | None:
    if layers is None:
        return None
    found = tuple(layers.replace(",", " ").split() if isinstance(layers, str) else layers)
    if not found:
        raise UsageError("perceptual_layers must name a layer at least, got none")
    return found


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_number(name: str, value: object, low: float, high: float, wanted: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not math.isfinite(value):  # type: ignore[operator, arg-type]
        raise UsageError(f"{name} must be {wanted}, got {value!r}")
