"""Mean SSIM, compiled by Numba: formulas and error bound of csrc/kernels/ssim.hpp, csrc/joins/ssim.hpp.

Along the rows of both images, of which small ones lie side by side: LLVM turns the loops over x into
vectors. A float32 score from statistics kept for each image proposes, the canonical float64 one decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_jit import add32, compiled, mul32, sub32

__all__ = ["TILE_ERROR", "canonical_listed", "ssim_tile", "statistics", "stride_of"]

TILE_ERROR = 1e-5
"""How far the float32 score may stray from the canonical one.

A window strays by less than 20 u of 1, u = 2^-24, as in csrc/joins/ssim.hpp; here down to 8 windows are
added in float32, the rest in float64. 28 u < 1.7e-6, and less for the rows that a pair is dropped after.
"""

LANES = 8
STEP = 8  # rows of windows between two looks at whether a pair can still be similar
WINDOW = 7
C1 = (0.01 * 255) * (0.01 * 255) * (49 * 49)
C2 = (0.03 * 255) * (0.03 * 255) * (49 * 48)
HALF_C1, HALF_C2 = np.float32(C1 / 2), np.float32(C2 / 2)
FLOAT_C1, FLOAT_C2 = np.float32(C1), np.float32(C2)


def stride_of(width: int) -> int:
    """Return the pixels of a row, filled up to whole vectors."""
    return -(-width // LANES) * LANES


@compiled
def _seven(column: Any, x: Any) -> Any:
    """Return the sum of a window's seven columns."""
    total = column[x] + column[x + 1] + column[x + 2] + column[x + 3]
    return np.int32(total + column[x + 4] + column[x + 5] + column[x + 6])


@compiled
def statistics(images: Any, stride: Any, across: Any, sums: Any, energy: Any, spread: Any) -> None:
    """Write the window statistics of images (n, height, width) uint8, each (n, down, width).

    A row of width may be several images' rows, `stride` apart; each has a window at its first `across`
    pixels. sums int16: Sa; energy float32: Sa^2 + c1 / 2; spread float32: 49 Saa - Sa^2 + c2 / 2. Where
    there is no window the spread is infinite and so the score 0.
    """
    n, height, width = images.shape
    column, square = np.empty(width + WINDOW - 1, np.int32), np.empty(width + WINDOW - 1, np.int32)
    for k in range(n):
        column[:] = 0
        square[:] = 0
        for y in range(height):
            for x in range(width):
                column[x] = add32(column[x], images[k, y, x])
                square[x] = add32(square[x], mul32(images[k, y, x], images[k, y, x]))
            if y + 1 < WINDOW:
                continue
            top = y + 1 - WINDOW
            for x in range(width):
                s, q = _seven(column, x), _seven(square, x)
                power = mul32(s, s)
                sums[k, top, x] = s
                energy[k, top, x] = np.float32(power) + HALF_C1
                spread[k, top, x] = np.float32(sub32(mul32(49, q), power)) + HALF_C2
            for image in range(0, width, stride):
                for x in range(image + across, image + stride):
                    sums[k, top, x], energy[k, top, x], spread[k, top, x] = 0, 1, np.inf
            for x in range(width):
                column[x] = sub32(column[x], images[k, top, x])
                square[x] = sub32(square[x], mul32(images[k, top, x], images[k, top, x]))


@compiled
def _fast_scores(
    a: Any, sums_a: Any, energy_a: Any, spread_a: Any, b: Any, sums_b: Any, energy_b: Any, spread_b: Any,
    least: Any, n_windows: Any, column: Any, score: Any, totals: Any,
) -> Any:  # fmt: skip
    """Write the sums of the window scores of images side by side; false once none can be above `least`.

    A window scores at most 1, so the mean is at most that of the windows seen and 1 for the rest.
    a, b (height, width) uint8; totals (images) float64; column (width + 6) int32, score (width) float32:
    scratch
    """
    height, width = a.shape
    down = height + 1 - WINDOW
    column[:] = 0
    score[:] = 0
    totals[:] = 0
    for y in range(height):
        if y < WINDOW:
            for x in range(width):
                column[x] = add32(column[x], mul32(a[y, x], b[y, x]))
        else:
            out = y - WINDOW
            for x in range(width):
                change = sub32(mul32(a[y, x], b[y, x]), mul32(a[out, x], b[out, x]))
                column[x] = add32(column[x], change)
        if y + 1 < WINDOW:
            continue
        top = y + 1 - WINDOW
        for x in range(width):
            means = mul32(sums_a[top, x], sums_b[top, x])
            covariance = sub32(mul32(49, _seven(column, x)), means)
            luminance = np.float32(add32(means, means)) + FLOAT_C1
            above = luminance * (np.float32(add32(covariance, covariance)) + FLOAT_C2)
            energy = energy_a[top, x] + energy_b[top, x]
            score[x] += above / (energy * (spread_a[top, x] + spread_b[top, x]))
        if top % STEP == STEP - 1 or top + 1 == down:
            rest = (down - top - 1) * (n_windows // down)
            if _drain(score, totals) + rest <= least * n_windows:
                return False
    return True


@compiled
def _drain(score: Any, totals: Any) -> Any:
    """Add the scores of each image to its total, in float64 and four parts side by side; clear them.

    Returns the largest total.
    """
    stride, largest = len(score) // len(totals), -np.inf
    for k in range(len(totals)):
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for x in range(k * stride, (k + 1) * stride, 4):
            t0 += np.float64(score[x])
            t1 += np.float64(score[x + 1])
            t2 += np.float64(score[x + 2])
            t3 += np.float64(score[x + 3])
        totals[k] += (t0 + t1) + (t2 + t3)
        largest = max(largest, totals[k])
    score[:] = 0
    return largest


@compiled
def ssim_tile(
    a: Any, sums_a: Any, energy_a: Any, spread_a: Any, b: Any, sums_b: Any, energy_b: Any, spread_b: Any,
    side_by_side: Any, n_windows: Any, n_b: Any, i: Any, j: Any, triangle: Any, least: Any,
    found_i: Any, found_j: Any, score: Any,
) -> Any:  # fmt: skip
    """Return how many pairs of a tile score above `least` in float32 (all, where it is nan).

    b (groups, height, width) uint8 holds n_b images, so many side by side; a (n_a, height, width) each
    image as often; both with their `statistics`. i, j the indices of the first of each; triangle: only
    pairs i < j; found_i, found_j int32, score float64 (n_a * n_b)
    """
    width = a.shape[2]
    column, row = np.empty(width + WINDOW - 1, np.int32), np.empty(width, np.float32)
    totals = np.empty(side_by_side, np.float64)
    n = 0
    for p in range(len(a)):
        first = max(i + p + 1 - j, 0) if triangle else 0
        for group in range(first // side_by_side, len(b)):
            kept = _fast_scores(
                a[p], sums_a[p], energy_a[p], spread_a[p],
                b[group], sums_b[group], energy_b[group], spread_b[group],
                least, n_windows, column, row, totals,
            )  # fmt: skip
            if not kept:
                continue
            start = group * side_by_side
            for q in range(max(first, start), min(n_b, start + side_by_side)):
                value = np.float64(np.float32(totals[q - start] / n_windows))
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
                means, power_a, power_b = mul32(sa, sb), mul32(sa, sa), mul32(sb, sb)
                covariance = sub32(mul32(49, sab), means)
                above = (2.0 * means + C1) * (2.0 * covariance + C2)
                powers = add32(power_a, power_b)
                spreads = add32(sub32(mul32(49, saa), power_a), sub32(mul32(49, sbb), power_b))
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
    for x in range(len(row_a)):
        p, q = row_a[x], row_b[x]
        signed_p, signed_q = mul32(sign, p), mul32(sign, q)
        ca[x] = add32(ca[x], signed_p)
        cb[x] = add32(cb[x], signed_q)
        caa[x] = add32(caa[x], mul32(signed_p, p))
        cbb[x] = add32(cbb[x], mul32(signed_q, q))
        cab[x] = add32(cab[x], mul32(signed_p, q))
