"""In how many bits a network computes while it is trained."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..errors import UsageError

__all__ = ["choose_precision", "in_precision"]


def choose_precision(name: str, device: torch.device) -> str:
    """Return "float32" or "mixed"; "auto" is mixed on cuda alone.

    Mixed means 16 bits where they do: float16, with a scaled loss, on cuda; bfloat16 on a CPU, where it is
    slower unless the CPU has instructions for it.

    Raises
    ------
    UsageError : mixed precision was asked for on mps
    """
    if name == "auto":
        return "mixed" if device.type == "cuda" else "float32"
    if name == "mixed" and device.type == "mps":
        raise UsageError("precision mixed works on cuda and cpu, got device mps: give float32")
    return name


def in_precision(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network computes in that precision."""
    if precision == "float32":
        return nullcontext()
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype)
