"""How much memory a run may use, how many images of a batch fit into it, and how it is handed back."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import UsageError

__all__ = ["batch_size_for", "keep_freed_memory", "parse_memory"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

# Beside its feature an image takes its path, digest, labels and shares of the tables.
_BYTES_BESIDE = 1024


def parse_memory(memory: int | str | None) -> int:
    """Return bytes from bytes, from text such as "512M" or "2G", or a quarter of the machine's memory."""
    if memory is None:
        return _machine_memory() // 4
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(memory).strip(), re.IGNORECASE)
    n_bytes = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if n_bytes < 1 << 20:
        raise UsageError(f"memory must be a number of bytes of at least 1M, such as 512M or 2G, got {memory}")
    return n_bytes


def batch_size_for(item_bytes: int, memory: int) -> int:
    """Return how many images make a batch: their features are held twice while they are collected.

    Half of the memory is left to decoding, to edges and to the other batch of an exact merge.
    """
    return max(1, memory // 2 // (2 * item_bytes + _BYTES_BESIDE))


def _machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the control group it is limited to."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 4 MB instead of handing them back to the system each time.

    Decoders allocate and free a few hundred kB for each image; fetching those pages from the system
    anew takes a quarter of the time of a decode. A setting of the whole process: for programs, not
    for a library to make.
    """
    import ctypes

    m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(m_mmap_threshold, 4 << 20)
    mallopt(m_trim_threshold, 64 << 20)
