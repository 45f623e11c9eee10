"""Which few thresholds of a curve tell the most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._wording import step_of
from .curve import ThresholdCurve

__all__ = ["changing", "telling"]


def changing(curve: ThresholdCurve) -> NDArray[np.intp]:
    """Return a step for each set of numbers: the lowest one with them, or the default's."""
    numbers = np.column_stack([curve.pairs, curve.images, curve.clusters, curve.largest])
    differs = np.ones(len(numbers), bool)
    differs[1:] = (numbers[1:] != numbers[:-1]).any(axis=1)
    default = step_of(curve, curve.default)
    differs[np.flatnonzero(differs[: default + 1])[-1]] = False
    differs[default] = True
    return np.flatnonzero(differs)


def telling(curve: ThresholdCurve, steps: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Return up to `n` (3 or more) of the rising `steps`: both ends, the default's, and such between them
    that the numbers change as evenly as can be from one to the next.
    """
    if len(steps) <= n:
        return steps
    places = _places(curve)[steps]
    default = int(np.searchsorted(steps, step_of(curve, curve.default)))
    is_inside = default < len(steps) and steps[default] == step_of(curve, curve.default)
    chosen = sorted({0, len(steps) - 1, *([default] if is_inside else [])})
    while len(chosen) < n:
        ends = np.array(chosen)
        jumps = np.abs(places[ends[1:]] - places[ends[:-1]]).sum(axis=1)
        jumps[np.diff(ends) < 2] = -1.0  # nothing between
        widest = int(jumps.argmax())
        chosen.insert(widest + 1, _middle(places, chosen[widest], chosen[widest + 1]))
    return steps[chosen]


def _places(curve: ThresholdCurve) -> NDArray[np.float64]:
    """Return where each step lies: what people compare, each brought to 0..1."""
    columns = [curve.thresholds, np.log1p(curve.pairs), curve.images, np.log1p(curve.largest)]
    return np.column_stack([(column - column.min()) / max(np.ptp(column), 1e-300) for column in columns])


def _middle(places: NDArray[np.float64], start: int, end: int) -> int:
    """Return the place between two others that halves the way from one to the other best."""
    inner = places[start + 1 : end]
    before = np.abs(inner - places[start]).sum(axis=1)
    after = np.abs(inner - places[end]).sum(axis=1)
    return start + 1 + int(np.abs(before - after).argmin())
