"""How many of the similar pairs are chance: the fall of the curve where images are unlike, continued."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import ThresholdCurve

__all__ = ["UnlikePairs", "chain_free", "unlike_pairs"]

_FALL = 5.0
"""The slope is that over so many times fewer pairs: from 3 to 10 the mean F1 changes by less than .005."""

_LEAST_SEEN = 30
"""At the end of the slope so many pairs must have been scored: fewer are noise."""

_HIGHEST = 1 - 1e-6
"""Above it no threshold is looked for: only copies of an image score as high."""

_OF_MATCHES = ("orb",)
"""Methods whose score is a share of matches: by chance it falls as a power of its odds."""

_STRICT = 0.1
"""Chains show against the clusters that are there with so many times as many unlike pairs."""

_GROWTH = 2
"""So many times as large as then the largest cluster may be."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnlikePairs:
    """The pairs of a curve, and how many of them are of unlike images.

    Unlike images thin out as a power of their distance `1 - score`. On logarithmic scales that is a
    straight line. Where it is steepest nearly all pairs are unlike, and the line goes on from there.

    thresholds, pairs, images : (m,) of the curve
    expected : (m,) of the pairs, those of unlike images
    begin : from this place on the line tells; before it nearly all pairs are unlike
    slope : the power
    """

    thresholds: Numbers
    pairs: Numbers
    images: Numbers
    expected: Numbers
    begin: int
    slope: float
    _places: Numbers
    _logarithm: float  # of the pairs at `begin`
    _is_of_matches: bool

    def threshold_for(self, share: float) -> float | None:
        """Return the lowest threshold with at most `share` unlike pairs for each clustered image.

        None, if it would have to lie above all scores but those of copies.
        """
        begin = self.begin
        with np.errstate(divide="ignore"):
            allowed = np.log(share * self.images[begin:])
        wanted = self._places[begin] + (self._logarithm - allowed) / self.slope
        wanted = np.maximum(wanted, self._places[begin:])
        ends = np.append(self._places[begin + 1 :], _place(np.array([_HIGHEST]), self._is_of_matches))
        found = np.flatnonzero(wanted < ends)
        if not len(found):
            return None
        place = float(wanted[found[0]])
        return float(1 / (1 + np.exp(-place)) if self._is_of_matches else -np.expm1(-place))


def chain_free(curve: ThresholdCurve, unlike: UnlikePairs, share: float) -> float:
    """Return the lowest threshold at which no chain has begun; 0 where the curve can't tell.

    The line may fall too fast for what scores a method gives to unlike images. Then they show as one
    cluster that grows and grows, here to more than twice the largest one of ten times fewer unlike
    pairs than `share`.
    """
    strict = unlike.threshold_for(_STRICT * share)
    if strict is None:
        return 0.0
    allowed = _GROWTH * max(curve.at(strict).largest, 2)
    chains = np.flatnonzero((curve.largest > allowed) & (curve.thresholds <= strict))
    if not len(chains) or chains[-1] + 1 >= len(curve.thresholds):
        return 0.0
    return min(float(curve.thresholds[chains[-1] + 1]), strict)


def unlike_pairs(curve: ThresholdCurve) -> UnlikePairs | None:
    """Return which pairs of a curve are chance; None where its shape doesn't tell."""
    is_of_matches = curve.method in _OF_MATCHES
    useful = curve.thresholds > 0 if is_of_matches else np.ones(len(curve.thresholds), bool)
    thresholds, pairs, images = curve.thresholds[useful], curve.pairs[useful], curve.images[useful]
    if not len(thresholds):
        return None
    places = _place(thresholds, is_of_matches)
    falling = pairs - pairs[-1]  # those that no threshold of the curve separates are copies
    seen = min(1.0, 2 * curve.n_sample / max(curve.n_images, 1))  # of all pairs, as a share
    found = _steepest(places, falling, max(float(curve.n_images), _LEAST_SEEN / max(seen, 1e-12)))
    if found is None:
        return None
    slope, begin = found
    logarithm = float(np.log(falling[begin]))
    line = np.exp(np.minimum(logarithm - slope * (places - places[begin]), 700))
    expected = np.where(np.arange(len(pairs)) < begin, pairs, np.minimum(line, pairs))
    return UnlikePairs(thresholds, pairs, images, expected, begin, slope, places, logarithm, is_of_matches)


def _steepest(places: Numbers, pairs: Numbers, least: float) -> tuple[float, int] | None:
    """Return the steepest slope over a fall by `_FALL` to `least` pairs or more, and where it ends."""
    ends = np.searchsorted(-pairs, -pairs / _FALL)
    starts = np.flatnonzero((ends < len(pairs)) & (pairs > 0))
    starts = starts[pairs[ends[starts]] >= least]
    if not len(starts):
        return None
    ends = ends[starts]
    apart = np.maximum(places[ends] - places[starts], 1e-9)  # scores may differ by next to nothing
    slopes = np.log(pairs[starts] / pairs[ends]) / apart
    best = int(np.argmax(slopes))
    return float(slopes[best]), int(ends[best])


def _place(thresholds: Numbers, is_of_matches: bool) -> Numbers:
    """Return where thresholds lie on the scale on which the fall is a straight line."""
    places = -np.log1p(-thresholds)
    return places + np.log(thresholds) if is_of_matches else places
