"""From a sample to all: estimates with their 95 % intervals.

A simple random sample of `n` of `n_all` images without replacement; what is seen of each is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["share_interval", "total_interval"]

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

Numbers = NDArray[np.float64]


def share_interval(hits: Numbers, n: int, n_all: int) -> tuple[Numbers, Numbers, Numbers]:
    """Return how many of all images have what `hits` of the sample have: estimate, low, high.

    Wilson's score interval (Wilson 1927), for the sample size that counts when a good part of all was
    drawn: n (n_all - 1) / (n_all - n).
    """
    if n >= n_all:
        return hits, hits, hits
    share = hits / n
    counts = n * (n_all - 1) / (n_all - n)
    center = (share + _Z**2 / (2 * counts)) / (1 + _Z**2 / counts)
    half = _Z / (1 + _Z**2 / counts) * np.sqrt(share * (1 - share) / counts + _Z**2 / (4 * counts**2))
    # The share lies between them, but for rounding at its ends.
    low, high = np.clip(center - half, 0, share), np.clip(center + half, share, 1)
    return n_all * share, n_all * low, n_all * high


def total_interval(
    sums: Numbers, squares: Numbers, largest: Numbers, n: int, n_all: int
) -> tuple[Numbers, Numbers, Numbers]:
    """Return the sum of a count over all images: estimate, low, high.

    sums, squares, largest : of the counts seen in the sample: their sum, that of their squares, the
        largest of them

    The gamma interval for sums of weighted Poisson counts (Fay and Feuer 1997): few images hold most of
    the pairs, and what lies far from normal it takes better than a standard error does; it tells also
    of what can be where nothing was seen. What the sample holds is known: the interval is narrower by
    the root of the part that is not in it.
    """
    scale = n_all / n
    if n >= n_all:
        return sums, sums, sums
    more = np.maximum(largest, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(sums > 0, squares / (2 * sums) * _chi_square(-_Z, 2 * sums**2 / squares), 0.0)
    wider, spread = sums + more, squares + more**2
    high = spread / (2 * wider) * _chi_square(_Z, 2 * wider**2 / spread)
    unseen = np.sqrt(1 - n / n_all)
    return scale * sums, scale * (sums - (sums - low) * unseen), scale * (sums + (high - sums) * unseen)


def _chi_square(z: float, freedom: Numbers) -> Numbers:
    """Return the point of chi-square that the normal distribution has at `z` (Wilson, Hilferty 1931)."""
    part = 2 / (9 * freedom)
    cubed: Numbers = freedom * np.maximum(1 - part + z * np.sqrt(part), 0) ** 3
    return cubed
