"""What each kernel of the Numba backend prepares, and how large its tiles are.

A threshold of None is that of a matrix: every pair is kept. A tile takes some milliseconds at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Ragged
from ..errors import UsageError
from . import _numba_counts as counts
from . import _numba_descriptor as matching
from . import _numba_ssim as structural
from . import _numba_template as templates
from ._numba_bands import Found, Join, Scan, Tick
from ._numba_components import label, unite
from ._numba_jit import fixed

__all__ = ["components", "descriptor", "hamming", "signature", "sliding", "ssim", "template"]

Indices = NDArray[np.int32]

TILE_BYTES = 1 << 18  # of columns: they stay in the second cache
TILE_PIXELS = 20_000_000
SSIM_WIDTH = 96  # pixels of images side by side: the work at the ends of a row matters little
EDGES_AT_ONCE = 1 << 20


def hamming(codes: Any, others: Any, threshold: float | None) -> Join:
    """Return the join of codes (n, n_words) uint64."""
    tile, listed = counts.hamming_tile, counts.hamming_listed
    return _counted(codes, others, 64 * codes.shape[1], threshold, tile, listed)


def signature(signatures: Any, others: Any, threshold: float | None) -> Join:
    """Return the join of signatures (n, n_slots) uint32."""
    tile, listed = counts.signature_tile, counts.signature_listed
    return _counted(signatures, others, signatures.shape[1], threshold, tile, listed)


def _counted(a: Any, others: Any, total: int, threshold: float | None, tile: Any, listed: Any) -> Join:
    b, triangle = _sides(a, others)
    near = total if threshold is None else total - _least_count_above(threshold, total)

    def open_band(first: int, last: int) -> Scan:
        found = _buffers((last - first) * min(cols, len(b)))

        def scan(left: int, right: int, tick: Tick) -> Found:
            if near < 0:
                return _first(found, 0)
            planes = fixed(np.ascontiguousarray(b[left:right].T))
            upper = triangle and threshold is not None
            return _first(found, tile(fixed(a[first:last]), planes, first, left, upper, near, *found))

        return scan

    def score(i: Indices, j: Indices, tick: Tick) -> NDArray[np.float64]:
        scores = np.empty(len(i))
        listed(fixed(a), fixed(b), fixed(i), fixed(j), scores)
        return scores

    row_bytes = a.shape[1] * a.itemsize
    cols = min(4096, max(counts.COLUMNS, TILE_BYTES // row_bytes))
    chunk = max(256, (1 << 22) // row_bytes)
    return Join(
        n_rows=len(a), n_cols=len(b), triangle=triangle, rows=128, cols=cols,
        open_band=open_band, listed=_checked(score, len(a), len(b)), chunk=chunk,
    )  # fmt: skip


def _least_count_above(threshold: float, total: int) -> int:
    """Return the least count with count / total > threshold, or total + 1: the very division decides."""
    above = np.arange(total + 1) / total > threshold
    return int(above.argmax()) if above.any() else total + 1


def ssim(images: Any, others: Any, threshold: float | None) -> Join:
    """Return the join of images (n, height, width) uint8 of one size."""
    b, triangle = _sides(images, others)
    height, width = images.shape[1:]
    windows = max(1, (height - 6) * (width - 6))
    least = np.nan if threshold is None else float(threshold) - structural.TILE_ERROR

    def canonical(i: Indices, j: Indices, tick: Tick) -> NDArray[np.float64]:
        scores = np.empty(len(i))
        step = max(1, 2_000_000 // windows)
        for k in range(0, len(i), step):
            part = slice(k, k + step)
            structural.canonical_listed(fixed(images), fixed(b), fixed(i[part]), fixed(j[part]), scores[part])
            tick(0)
        return scores

    def open_band(first: int, last: int) -> Scan:
        rows, found = _windows(images[first:last], beside, True), _buffers((last - first) * min(cols, len(b)))

        def scan(left: int, right: int, tick: Tick) -> Found:
            upper = triangle and threshold is not None
            columns = _windows(b[left:right], beside, False)
            sizes = (beside, windows, right - left)
            n = structural.ssim_tile(*rows, *columns, *sizes, first, left, upper, least, *found)
            tick(0)
            i, j, score = _first(found, n)
            if threshold is None or not n:
                return i, j, score
            return _above(threshold, i, j, canonical(i, j, tick))

        return scan

    beside = max(1, SSIM_WIDTH // structural.stride_of(width))
    rows_at_once = min(32, max(1, int((5e7 / windows) ** 0.5)))
    cols = min(512, rows_at_once * 16, max(1, TILE_BYTES // (windows * 10 + height * width)))
    return Join(
        n_rows=len(images), n_cols=len(b), triangle=triangle, rows=rows_at_once, cols=cols,
        open_band=open_band, listed=_checked(canonical, len(images), len(b)),
    )  # fmt: skip


def _windows(images: Any, n: int, repeated: bool) -> tuple[Any, ...]:
    """Return images n side by side, or each image n times, with the statistics of their windows."""
    n_images, height, width = images.shape
    stride, across = structural.stride_of(width), width - 6
    n_groups = n_images if repeated else -(-n_images // n)
    wide = np.zeros((n_groups * (1 if repeated else n), height, stride), np.uint8)
    wide[:n_images, :, :width] = images
    if not repeated and n > 1:
        wide = wide.reshape(n_groups, n, height, stride).transpose(0, 2, 1, 3).reshape(n_groups, height, -1)
    shape = (n_groups, height - 6, wide.shape[2])
    arrays = [np.empty(shape, dtype) for dtype in (np.int16, np.float32, np.float32)]
    structural.statistics(fixed(wide), stride, across, *arrays)
    return tuple(fixed(np.tile(array, n) if repeated and n > 1 else array) for array in (wide, *arrays))


def template(images: Any, others: Any, threshold: float | None) -> Join:
    """Return the join of images (n, height, width) uint8 of one size."""
    b, triangle = _sides(images, others)
    n_pixels = images.shape[1] * images.shape[2]
    # Nothing is at most nan, which therefore keeps every pair; as a threshold it keeps none.
    at_least = np.nan if threshold is None else np.inf if np.isnan(threshold) else float(threshold)

    def known(a: Any) -> tuple[Any, Any]:
        pixels, energy = fixed(a.reshape(len(a), n_pixels)), np.empty(len(a), np.int64)
        templates.energies(pixels, energy)
        return pixels, fixed(energy)

    def open_band(first: int, last: int) -> Scan:
        rows, row_energy = known(images[first:last])
        found = _buffers((last - first) * min(cols, len(b)))

        def scan(left: int, right: int, tick: Tick) -> Found:
            columns, energy = known(b[left:right])
            dots = np.empty((len(rows) + len(rows) % 2, len(columns) + len(columns) % 2), np.int64)
            templates.dot_tile(rows, columns, dots)
            upper = triangle and threshold is not None
            n = templates.keep_tile(dots, row_energy, energy, first, left, upper, at_least, *found)
            return _first(found, n)

        return scan

    at_once = max(1, TILE_PIXELS // n_pixels)
    cols = min(16, at_once)
    return Join(
        n_rows=len(images), n_cols=len(b), triangle=triangle, rows=min(32, at_once), cols=cols,
        open_band=open_band, listed=sliding(_ragged(images), _ragged(others), None).listed,
    )  # fmt: skip


def sliding(images: Any, others: Any, threshold: float | None) -> Join:
    """Return the join of images of any sizes: the smaller slides inside the larger."""
    b, triangle = _sides(images, others)

    def score(i: Indices, j: Indices, tick: Tick) -> NDArray[np.float64]:
        scores, cursor = np.empty(len(i)), np.zeros(3, np.int64)
        sides = [fixed(part) for side in (images, b) for part in (side.values, side.offsets, side.shapes)]
        while not templates.slide_listed(*sides, fixed(i), fixed(j), templates.BUDGET, cursor, scores):
            tick(0)
        return scores

    return _listed_join(images, b, triangle, threshold, score)


def descriptor(
    descriptors: Ragged, others: Ragged | None, threshold: float | None, rule: str, max_distance: int
) -> Join:
    """Return the join of sets of 256-bit descriptors (total, 32) uint8."""
    b, triangle = _sides(descriptors, others)
    sides = [array for side in (descriptors, b) for array in (_words(side), fixed(side.offsets))]
    most_a, most_b = (int(np.diff(side.offsets).max(initial=1)) for side in (descriptors, b))
    number = matching.RULES.index(rule)

    def score(i: Indices, j: Indices, tick: Tick) -> NDArray[np.float64]:
        scores, cursor = np.empty(len(i)), np.zeros(2, np.int64)
        nearest = np.empty((2, most_a), np.int32), np.empty((2, most_b), np.int32)
        scratch = (*nearest, np.empty((4, most_b), np.uint64))
        pairs, rules = (fixed(i), fixed(j)), (number, max_distance)
        while not matching.match_listed(*sides, *pairs, *rules, matching.BUDGET, cursor, *scratch, scores):
            tick(0)
        return scores

    return _listed_join(descriptors, b, triangle, threshold, score)


def _listed_join(a: Ragged, b: Ragged, triangle: bool, threshold: float | None, score: Any) -> Join:
    """Return a join that scores the pairs of a tile one by one."""

    def open_band(first: int, last: int) -> Scan:
        def scan(left: int, right: int, tick: Tick) -> Found:
            i = np.repeat(np.arange(first, last, dtype=np.int32), right - left)
            j = np.tile(np.arange(left, right, dtype=np.int32), last - first)
            if threshold is None:
                return i, j, score(i, j, tick)
            if triangle:
                i, j = i[i < j], j[i < j]
            return _above(threshold, i, j, score(i, j, tick))

        return scan

    return Join(
        n_rows=len(a), n_cols=len(b), triangle=triangle, rows=16, cols=16,
        open_band=open_band, listed=_checked(score, len(a), len(b)),
    )  # fmt: skip


def components(edges: NDArray[np.void], n_images: int) -> NDArray[np.int32]:
    """Return component labels by first appearance, -1 where an image has no edge."""
    _check_indices("edges", edges["i"], n_images)
    _check_indices("edges", edges["j"], n_images)
    parent, labels = np.arange(n_images, dtype=np.int32), np.empty(n_images, np.int32)
    for k in range(0, len(edges), EDGES_AT_ONCE):
        part = fixed(edges[k : k + EDGES_AT_ONCE])
        unite(parent, part["i"], part["j"])
    label(parent, labels)
    return labels


# --- what joins share ---


def _sides(a: Any, others: Any) -> tuple[Any, bool]:
    """Return the second set, and whether it is the first."""
    return (a, True) if others is None else (others, False)


def _buffers(n_pairs: int) -> Found:
    return np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32), np.empty(n_pairs)


def _first(found: Found, n: int) -> Found:
    return found[0][:n], found[1][:n], found[2][:n]


def _above(threshold: float, i: Indices, j: Indices, score: NDArray[np.float64]) -> Found:
    keep = score > threshold
    return i[keep], j[keep], score[keep]


def _checked(score: Any, n_rows: int, n_cols: int) -> Any:
    """Return `score` of listed pairs, after a look at their indices: compiled code would read elsewhere."""

    def checked(i: Any, j: Any, tick: Tick) -> Any:
        _check_indices("i", i, n_rows)
        _check_indices("j", j, n_cols)
        return score(np.ascontiguousarray(i, np.int32), np.ascontiguousarray(j, np.int32), tick)

    return checked


def _check_indices(name: str, indices: Any, n: int) -> None:
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        raise UsageError(f"{name} must be 0 to {n - 1}, got {indices.min()} to {indices.max()}")


def _ragged(images: Any) -> Any:
    """Return images of one size as images of any sizes, without a copy."""
    if images is None:
        return None
    n, height, width = images.shape
    offsets = np.arange(n + 1, dtype=np.int64) * (height * width)
    return Ragged(images.reshape(-1), offsets, np.full((n, 2), (height, width), np.int32))


def _words(descriptors: Ragged) -> NDArray[np.uint64]:
    """Return bytes (total, 32) as 64-bit words (total, 4); bytes may begin anywhere, words may not."""
    return fixed(np.require(descriptors.values.view(np.uint64), requirements=["ALIGNED"]))
