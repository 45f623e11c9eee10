"""Passes of the perceptual hash, compiled by Numba: csrc/features/phash.hpp, csrc/kernels/phash.hpp."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._numba_jit import compiled, fixed

__all__ = ["low_frequencies", "resize_square"]

BITS = 32 - 8 - 2  # fraction of a weight


@lru_cache(maxsize=8)
def _resample_table(n_in: int, n_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return Pillow's Lanczos tables: for each output pixel the first input, how many, their weights."""
    taps = math.ceil(3.0 * max(n_in / n_out, 1.0)) * 2 + 1
    first, count = np.empty(n_out, np.int64), np.empty(n_out, np.int64)
    weights = np.zeros((n_out, taps), np.int32)
    _fill_table(n_in, n_out, first, count, weights, np.empty(taps))
    return first, count, weights


@lru_cache(maxsize=2)
def _cosines(size: int, n_low: int) -> NDArray[np.float64]:
    cosines = np.empty((size, n_low))
    _fill_cosines(size, n_low, cosines)
    return cosines


@compiled
def _fill_cosines(size: Any, n_low: Any, cosines: Any) -> None:
    """Write 2 cos(pi k (2 n + 1) / (2 size))."""
    for n in range(size):
        for k in range(n_low):
            angle = math.pi * np.float64(k) * np.float64(2 * n + 1) / np.float64(2 * size)
            cosines[n, k] = 2.0 * math.cos(angle)


@compiled
def _sinc(x: Any) -> Any:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


@compiled
def _fill_table(n_in: Any, n_out: Any, first: Any, count: Any, weights: Any, tap: Any) -> None:
    """Stretch the filter by the scale, normalise in float64, round half away from zero."""
    scale = np.float64(n_in) / np.float64(n_out)
    stretch = max(scale, 1.0)
    support = 3.0 * stretch
    for k in range(n_out):
        center = (np.float64(k) + 0.5) * scale
        begin: Any = max(np.int64(center - support + 0.5), 0)
        end: Any = min(np.int64(center + support + 0.5), n_in)
        total = 0.0
        for x in range(begin, end):
            at = (np.float64(x) - center + 0.5) * (1.0 / stretch)
            weight = _sinc(at) * _sinc(at / 3.0) if -3.0 <= at < 3.0 else 0.0
            tap[x - begin] = weight
            total += weight
        first[k], count[k] = begin, end - begin
        for t in range(end - begin):
            weight = tap[t] / total if total != 0.0 else tap[t]
            share = weight * (1 << BITS)
            weights[k, t] = np.int32(share - 0.5 if share < 0 else share + 0.5)


@compiled
def _round(total: Any) -> Any:
    return max(0, min(255, total >> BITS))


@compiled
def _resample_rows(image: Any, first: Any, count: Any, weights: Any, out: Any) -> None:
    """Shrink the width: image (height, width) uint8 to out (height, n_out) uint8."""
    for y in range(len(image)):
        for k in range(len(first)):
            pixels, taps = image[y][first[k] : first[k] + count[k]], weights[k][: count[k]]
            total = np.int32(1 << (BITS - 1))
            for t in range(len(taps)):
                total = np.int32(total + np.int32(pixels[t]) * taps[t])
            out[y, k] = _round(total)


@compiled
def _resample_columns(image: Any, first: Any, count: Any, weights: Any, out: Any) -> None:
    """Shrink the height: image (height, width) uint8 to out (n_out, width) uint8."""
    totals = np.empty(image.shape[1], np.int32)
    for k in range(len(first)):
        totals[:] = 1 << (BITS - 1)
        for t in range(count[k]):
            pixels, weight = image[first[k] + t], weights[k, t]
            for x in range(len(totals)):
                totals[x] += np.int32(pixels[x]) * weight
        row = out[k]
        for x in range(len(totals)):
            row[x] = _round(totals[x])


@compiled
def _fill_low(image: Any, cosines: Any, rows: Any, low: Any) -> None:
    """Write the low corner of the DCT-II of a square image, in the order of csrc/kernels/phash.hpp."""
    size, n_low = cosines.shape
    rows[:] = 0.0
    low[:] = 0.0
    for y in range(size):
        pixels = image[y]
        for k in range(n_low):
            cosine, row = cosines[y, k], rows[k]
            for x in range(size):
                row[x] += cosine * np.float64(pixels[x])
    for k in range(n_low):
        row, out = rows[k], low[k]
        for x in range(size):
            value, cosine = row[x], cosines[x]
            for frequency in range(n_low):
                out[frequency] += value * cosine[frequency]


def _resize_width(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = image.shape
    if width == size:
        return image
    out = np.empty((height, size), np.uint8)
    _resample_rows(fixed(image), *_resample_table(width, size), out)
    return out


def _resize_height(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = image.shape
    if height == size:
        return image
    out = np.empty((size, width), np.uint8)
    _resample_columns(fixed(image), *_resample_table(height, size), out)
    return out


def resize_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return Pillow 13's resize((size, size), LANCZOS): which pass goes first shows in the rounding."""
    height, width = image.shape
    if height > size and height - size > 2 * (width - size):
        return _resize_width(_resize_height(image, size), size)
    return _resize_height(_resize_width(image, size), size)


def low_frequencies(image: NDArray[np.uint8], n_low: int) -> NDArray[np.float64]:
    """Return the (n_low, n_low) corner of the unnormalised DCT-II of a square image."""
    size = len(image)
    rows, low = np.empty((n_low, size)), np.empty((n_low, n_low))
    _fill_low(fixed(image), _cosines(size, n_low), rows, low)
    return low
