"""Where networks work: which device, how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import UsageError
from .choices import DEVICES

__all__ = ["device_for", "placed", "with_threads"]


def device_for(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` takes cuda, then mps, then the CPU.

    Raises `UsageError` with the reason if a named one can't be used.
    """
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not (kind == "cuda" and index.isdecimal())):
        raise UsageError(f"device must be one of {', '.join(DEVICES)}, got {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    has_mps = torch.backends.mps.is_available()
    n_cuda = torch.cuda.device_count() if kind != "mps" else 0  # without starting CUDA
    if kind == "auto":
        return torch.device("cuda" if n_cuda else "mps" if has_mps else "cpu")
    if kind == "mps" and not has_mps:
        raise UsageError("device mps can't be used: this torch, or this machine, has no Metal")
    if kind == "cuda" and int(index or 0) >= n_cuda:
        built = torch.version.cuda
        found = f"torch finds {n_cuda} CUDA devices" if built else "this torch was built without CUDA"
        raise UsageError(f"device {name} can't be used: {found}")
    return torch.device(name)


def placed(module: torch.nn.Module, device: str) -> tuple[torch.nn.Module, torch.device]:
    """Return the module on the device called so, and the device."""
    place = device_for(device)
    return module.to(place), place


@contextmanager
def with_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads in the `with` block; 0 leaves it to torch."""
    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
