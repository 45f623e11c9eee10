"""Template matching by exact integer dot products, compiled by Numba: csrc/kernels/template.hpp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._numba_jit import compiled

__all__ = ["BUDGET", "dot_tile", "energies", "keep_tile", "slide_listed"]

BLOCK = 4096  # pixels a time: two rows and two columns of them stay in the first cache
INT32_BLOCK = 32768  # products of two bytes that an int32 holds: 2^31 / 255^2 = 33025, rounded down
BUDGET = 20_000_000  # products before a call returns, so that Ctrl-C gets in


@compiled
def _error(energy_a: Any, energy_b: Any, dot: Any) -> Any:
    """Return the error of a template against a patch, from exact sums, in one order."""
    distance = np.float64(energy_a + energy_b - 2 * dot)
    norm = math.sqrt(np.float64(energy_a) * np.float64(energy_b))
    if norm == 0.0:
        return 0.0 if distance == 0.0 else 1.0
    return min(1.0, distance / norm)


# --- images of one size ---


@compiled
def energies(images: Any, energy: Any) -> None:
    """Write the sum of squares of each image (n, n_pixels) uint8 to energy (n,) int64."""
    for k in range(len(images)):
        total = np.int64(0)
        for start in range(0, images.shape[1], INT32_BLOCK):
            row = images[k][start : start + INT32_BLOCK]
            part = np.int32(0)
            for p in range(len(row)):
                part = np.int32(part + np.int32(row[p]) * np.int32(row[p]))
            total += part
        energy[k] = total


@compiled
def dot_tile(a: Any, b: Any, dots: Any) -> None:
    """Write the dot products of a (n_a, n_pixels) and b (n_b, n_pixels) uint8: dots int64.

    Two rows by two columns at once share what they load; dots has n_a and n_b filled up to even numbers.
    """
    dots[:] = 0
    for start in range(0, a.shape[1], BLOCK):
        stop = min(start + BLOCK, a.shape[1])
        for i in range(0, len(a), 2):
            x0, x1 = a[i][start:stop], a[min(i + 1, len(a) - 1)][start:stop]
            for j in range(0, len(b), 2):
                y0, y1 = b[j][start:stop], b[min(j + 1, len(b) - 1)][start:stop]
                d00, d01, d10, d11 = _four_dots(x0, x1, y0, y1)
                dots[i, j] += d00
                dots[i, j + 1] += d01
                dots[i + 1, j] += d10
                dots[i + 1, j + 1] += d11


@compiled
def _four_dots(x0: Any, x1: Any, y0: Any, y1: Any) -> Any:
    """Return the dot products of two rows and two columns of at most `INT32_BLOCK` pixels."""
    d00 = d01 = d10 = d11 = np.int32(0)
    for p in range(len(x0)):
        u, v, s, t = np.int32(x0[p]), np.int32(x1[p]), np.int32(y0[p]), np.int32(y1[p])
        d00 = np.int32(d00 + u * s)
        d01 = np.int32(d01 + u * t)
        d10 = np.int32(d10 + v * s)
        d11 = np.int32(d11 + v * t)
    return d00, d01, d10, d11


@compiled
def keep_tile(
    dots: Any, energy_a: Any, energy_b: Any, i: Any, j: Any, triangle: Any, threshold: Any,
    found_i: Any, found_j: Any, score: Any,
) -> Any:  # fmt: skip
    """Return how many pairs score above the threshold (all, where it is nan), written to the last three.

    dots may have more rows and columns than energy_a and energy_b, which say how many there are.
    """
    n = 0
    for p in range(len(energy_a)):
        for q in range(max(i + p + 1 - j, 0) if triangle else 0, len(energy_b)):
            value = 1.0 - _error(energy_a[p], energy_b[q], dots[p, q])
            if not value <= threshold:
                found_i[n] = i + p
                found_j[n] = j + q
                score[n] = value
                n += 1
    return n


# --- images of any sizes: the smaller slides inside the larger ---


@compiled
def _dot(image: Any, stride: Any, templ: Any, width: Any) -> Any:
    """Return the dot product of a flat template and the patch that a flat image begins with."""
    total = np.int64(0)
    for v in range(len(templ) // width):
        for start in range(0, width, INT32_BLOCK):
            stop = min(start + INT32_BLOCK, width)
            t, p = templ[v * width + start : v * width + stop], image[v * stride + start : v * stride + stop]
            part = np.int32(0)
            for u in range(len(t)):
                part = np.int32(part + np.int32(t[u]) * np.int32(p[u]))
            total += part
    return total


@compiled
def _dots(image: Any, stride: Any, templ: Any, width: Any) -> Any:
    """Return the dot products of a template and four patches side by side, which all fit."""
    d0 = d1 = d2 = d3 = np.int64(0)
    for v in range(len(templ) // width):
        for start in range(0, width, INT32_BLOCK):
            stop = min(start + INT32_BLOCK, width)
            t, p = (
                templ[v * width + start : v * width + stop],
                image[v * stride + start : v * stride + stop + 3],
            )
            s0 = s1 = s2 = s3 = np.int32(0)
            for u in range(len(t)):
                grey = np.int32(t[u])
                s0 = np.int32(s0 + grey * np.int32(p[u]))
                s1 = np.int32(s1 + grey * np.int32(p[u + 1]))
                s2 = np.int32(s2 + grey * np.int32(p[u + 2]))
                s3 = np.int32(s3 + grey * np.int32(p[u + 3]))
            d0 += s0
            d1 += s1
            d2 += s2
            d3 += s3
    return d0, d1, d2, d3


@compiled
def _column_energy(image: Any, width: Any, energy: Any) -> None:
    """Write the sum of squares of each column of a flat image."""
    energy[:] = 0
    for y in range(len(image) // width):
        row = image[y * width : (y + 1) * width]
        for x in range(width):
            energy[x] += np.int32(row[x]) * np.int32(row[x])


@compiled
def _span(
    image: Any, stride: Any, x: Any, stop: Any, templ: Any, width: Any, templ_energy: Any, energy: Any
) -> Any:
    """Return the least error of a template at positions x to stop of the image's first row."""
    least = 1.0
    patch_energy = np.int64(0)
    for u in range(x, x + width - 1):
        patch_energy += energy[u]
    while x < stop:
        if x + 4 <= stop:
            n, dots = 4, _dots(image[x:], stride, templ, width)
        else:
            one = _dot(image[x:], stride, templ, width)
            n, dots = 1, (one, one, one, one)
        for k in range(n):
            patch_energy += energy[x + width - 1]
            least = min(least, _error(templ_energy, patch_energy, dots[k]))
            patch_energy -= energy[x]
            x += 1
    return least


@compiled
def slide_listed(
    pixels_a: Any, offsets_a: Any, shapes_a: Any, pixels_b: Any, offsets_b: Any, shapes_b: Any,
    i: Any, j: Any, budget: Any, cursor: Any, score: Any,
) -> Any:  # fmt: skip
    """Write the score of each pair `(i[k], j[k])`; -inf where neither fits inside the other.

    Flat images uint8 with offsets int64 and shapes (n, 2) int32. Returns whether all is done; if not,
    the budget is spent: call again with the same cursor (3,) int64, zeros at first: pair, y, x.
    """
    k, y, x = cursor
    while k < len(i) and budget > 0:
        a, b = (
            pixels_a[offsets_a[i[k]] : offsets_a[i[k] + 1]],
            pixels_b[offsets_b[j[k]] : offsets_b[j[k] + 1]],
        )
        (ha, wa), (hb, wb) = shapes_a[i[k]], shapes_b[j[k]]
        height, width, image, templ_height, templ_width, templ = ha, wa, a, hb, wb, b
        if hb > ha or wb > wa:
            height, width, image, templ_height, templ_width, templ = hb, wb, b, ha, wa, a
        if y == 0 and x == 0:
            score[k] = 0.0
        if templ_height > height or templ_width > width:
            score[k] = -np.inf
            y = np.int64(height)
        else:
            y, x, spent, best = _slide(image, height, width, templ, templ_height, templ_width, y, x, budget)
            score[k] = max(score[k], best)
            budget -= spent
        if y + templ_height > height:
            k, y, x = k + 1, np.int64(0), np.int64(0)
    cursor[0], cursor[1], cursor[2] = k, y, x
    return k == len(i)


@compiled
def _slide(
    image: Any, height: Any, width: Any, templ: Any, templ_height: Any, templ_width: Any,
    y: Any, x: Any, budget: Any,
) -> Any:  # fmt: skip
    """Return the next position, what was spent and the best score of some positions from (y, x) on."""
    across, area = width - templ_width + 1, np.int64(templ_height) * templ_width
    energy = np.empty(width, np.int64)
    _column_energy(templ, templ_width, energy[:templ_width])
    templ_energy = energy[:templ_width].sum()
    spent, best = np.int64(0), 0.0
    while y + templ_height <= height and spent < budget:
        rows = image[y * width :]
        if spent == 0:
            _column_energy(rows[: templ_height * width], width, energy)
            spent += np.int64(templ_height) * width
        n = min(across - x, max(np.int64(4), (budget - spent) // area))
        best = max(best, 1.0 - _span(rows, width, x, x + n, templ, templ_width, templ_energy, energy))
        spent += n * area
        x += n
        if x == across:
            if y + templ_height < height:
                for u in range(width):
                    out, entering = np.int64(rows[u]), np.int64(rows[templ_height * width + u])
                    energy[u] += entering * entering - out * out
            x = np.int64(0)
            y += 1
    return y, x, spent, best
