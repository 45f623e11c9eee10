"""Which values of an array are equal. `numpy.unique` would import numpy.ma, which takes 10 ms of a start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct", "first_equal"]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values of a one-dimensional array, rising."""
    ordered = np.sort(values)
    return ordered[_begins(ordered)]


def first_equal(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return for each value the index of the first one equal to it (its own if it is the first)."""
    order = np.argsort(values, kind="stable")
    begins = _begins(values[order])
    first = np.empty(len(values), np.intp)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def _begins(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where in a sorted array another value begins."""
    begins = np.ones(len(ordered), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    return begins
