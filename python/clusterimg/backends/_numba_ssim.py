"""Mean SSIM, compiled by Numba: formulas and error bound of csrc/kernels/ssim.hpp, csrc/joins/ssim.hpp.

One pair at a time, along the rows of both images: LLVM turns the loops over x into vectors. A float32
score from statistics kept for each image proposes, the canonical float64 one decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_jit import compiled

__all__ = ["TILE_ERROR", "canonical_listed", "ssim_tile", "statistics"]

TILE_ERROR = 1e-5
"""How far the float32 score may stray from the canonical one.

A window strays by less than 20 u of 1, u = 2^-24, as in csrc/joins/ssim.hpp; here down to 8 windows are
added in float32, the rest in float64. 28 u < 1.7e-6, and less for the rows that a pair is dropped after.
"""

STEP = 8  # rows of windows between two looks at whether a pair can still be similar
WINDOW = 7
C1 = (0.01 * 255) * (0.01 * 255) * (49 * 49)
C2 = (0.03 * 255) * (0.03 * 255) * (49 * 48)
HALF_C1, HALF_C2 = np.float32(C1 / 2), np.float32(C2 / 2)
FLOAT_C1, FLOAT_C2 = np.float32(C1), np.float32(C2)


@compiled
def _seven(column: Any, x: Any) -> Any:
    """Return the sum of a window's seven columns."""
    total = column[x] + column[x + 1] + column[x + 2] + column[x + 3]
    return np.int32(total + column[x + 4] + column[x + 5] + column[x + 6])


@compiled
def statistics(images: Any, sums: Any, energy: Any, spread: Any) -> None:
    """Write the window statistics of images (n, height, width) uint8, each (n, down, across).

    sums int16: Sa; energy float32: Sa^2 + c1 / 2; spread float32: 49 Saa - Sa^2 + c2 / 2
    """
    n, height, width = images.shape
    column, square = np.empty(width, np.int32), np.empty(width, np.int32)
    for k in range(n):
        column[:] = 0
        square[:] = 0
        for y in range(height):
            entering = images[k, y]
            for x in range(width):
                grey = np.int32(entering[x])
                column[x] += grey
                square[x] += np.int32(grey * grey)
            if y + 1 < WINDOW:
                continue
            top = y + 1 - WINDOW
            to_sum, to_energy, to_spread = sums[k, top], energy[k, top], spread[k, top]
            for x in range(width + 1 - WINDOW):
                s, q = _seven(column, x), _seven(square, x)
                power = np.int32(s * s)
                to_sum[x] = s
                to_energy[x] = np.float32(power) + HALF_C1
                to_spread[x] = np.float32(np.int32(49 * q - power)) + HALF_C2
            leaving = images[k, top]
            for x in range(width):
                grey = np.int32(leaving[x])
                column[x] -= grey
                square[x] -= np.int32(grey * grey)


@compiled
def _fast_score(
    a: Any, sums_a: Any, energy_a: Any, spread_a: Any, b: Any, sums_b: Any, energy_b: Any, spread_b: Any,
    least: Any, column: Any, score: Any,
) -> Any:  # fmt: skip
    """Return the float32 mean SSIM of two images, or -inf once it can't be above `least`.

    A window scores at most 1, so the mean is at most that of the windows seen and 1 for the rest.
    column (width) int32, score (across) float32: scratch
    """
    height, width = a.shape
    down, across = height + 1 - WINDOW, width + 1 - WINDOW
    column[:] = 0
    score[:] = 0
    total = 0.0
    for y in range(height):
        in_a, in_b = a[y], b[y]
        if y < WINDOW:
            for x in range(width):
                column[x] += np.int32(in_a[x]) * np.int32(in_b[x])
        else:
            out_a, out_b = a[y - WINDOW], b[y - WINDOW]
            for x in range(width):
                column[x] += np.int32(in_a[x]) * np.int32(in_b[x]) - np.int32(out_a[x]) * np.int32(out_b[x])
        if y + 1 < WINDOW:
            continue
        top = y + 1 - WINDOW
        sa, sb, ea, eb, va, vb = (
            sums_a[top], sums_b[top], energy_a[top], energy_b[top], spread_a[top], spread_b[top]
        )  # fmt: skip
        for x in range(across):
            means = np.int32(np.int32(sa[x]) * np.int32(sb[x]))
            covariance = np.int32(49 * _seven(column, x) - means)
            above = (np.float32(np.int32(2 * means)) + FLOAT_C1) * (
                np.float32(np.int32(2 * covariance)) + FLOAT_C2
            )
            score[x] += above / ((ea[x] + eb[x]) * (va[x] + vb[x]))
        if top % STEP == STEP - 1 or top + 1 == down:
            total += _drain(score)
            if total + (down - top - 1) * across <= least * (down * across):
                return -np.inf
    return np.float64(np.float32(total / (down * across)))


@compiled
def _drain(score: Any) -> Any:
    """Return the sum of float32 scores, in float64 and in four parts side by side; clear them."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    n = len(score)
    for x in range(0, n - 3, 4):
        t0 += np.float64(score[x])
        t1 += np.float64(score[x + 1])
        t2 += np.float64(score[x + 2])
        t3 += np.float64(score[x + 3])
    for x in range(n - n % 4, n):
        t0 += np.float64(score[x])
    score[:] = 0
    return (t0 + t1) + (t2 + t3)


@compiled
def ssim_tile(
    a: Any, sums_a: Any, energy_a: Any, spread_a: Any, b: Any, sums_b: Any, energy_b: Any, spread_b: Any,
    i: Any, j: Any, triangle: Any, least: Any, found_i: Any, found_j: Any, score: Any,
) -> Any:  # fmt: skip
    """Return how many pairs of a tile score above `least` in float32 (all, where it is nan).

    a (n_a, height, width), b (n_b, height, width) uint8 with their `statistics`; i, j the indices of
    the first of each; triangle: only pairs i < j; found_i, found_j int32, score float64 (n_a * n_b)
    """
    width = a.shape[2]
    column, row = np.empty(width, np.int32), np.empty(width + 1 - WINDOW, np.float32)
    n = 0
    for p in range(len(a)):
        for q in range(max(i + p + 1 - j, 0) if triangle else 0, len(b)):
            value = _fast_score(
                a[p], sums_a[p], energy_a[p], spread_a[p], b[q], sums_b[q], energy_b[q], spread_b[q],
                least, column, row,
            )  # fmt: skip
            if not value <= least:
                found_i[n] = i + p
                found_j[n] = j + q
                score[n] = value
                n += 1
    return n


@compiled
def canonical_listed(a: Any, b: Any, i: Any, j: Any, score: Any) -> None:
    """Write the canonical mean SSIM of each pair `a[i[k]]`, `b[j[k]]` of (height, width) uint8 images.

    Window scores are added down each column of windows first, then along the row of column sums.
    """
    _, height, width = a.shape
    down, across = height + 1 - WINDOW, width + 1 - WINDOW
    columns = np.empty((5, width), np.int32)
    column_score = np.empty(across, np.float64)
    for k in range(len(i)):
        columns[:] = 0
        column_score[:] = 0.0
        ca, cb, caa, cbb, cab = columns[0], columns[1], columns[2], columns[3], columns[4]
        for y in range(height):
            _enter(columns, a[i[k], y], b[j[k], y], 1)
            if y + 1 < WINDOW:
                continue
            for x in range(across):
                sa, sb = _seven(ca, x), _seven(cb, x)
                saa, sbb, sab = _seven(caa, x), _seven(cbb, x), _seven(cab, x)
                means, covariance = np.int32(sa * sb), np.int32(49 * sab - sa * sb)
                above = (2.0 * means + C1) * (2.0 * covariance + C2)
                powers = np.int32(sa * sa + sb * sb)
                spreads = np.int32((49 * saa - sa * sa) + (49 * sbb - sb * sb))
                column_score[x] += above / ((powers + C1) * (spreads + C2))
            _enter(columns, a[i[k], y + 1 - WINDOW], b[j[k], y + 1 - WINDOW], -1)
        total = 0.0
        for x in range(across):
            total += column_score[x]
        score[k] = total / np.float64(across * down)


@compiled
def _enter(columns: Any, row_a: Any, row_b: Any, sign: Any) -> None:
    """Add the pixels of one row to the column sums Sa, Sb, Saa, Sbb, Sab, or take them away."""
    ca, cb, caa, cbb, cab = columns[0], columns[1], columns[2], columns[3], columns[4]
    s = np.int32(sign)
    for x in range(len(row_a)):
        p, q = np.int32(row_a[x]), np.int32(row_b[x])
        ca[x] += s * p
        cb[x] += s * q
        caa[x] += s * p * p
        cbb[x] += s * q * q
        cab[x] += s * p * q
