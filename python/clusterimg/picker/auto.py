"""A threshold from the shape of the curve alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .curve import CurvePoint, ThresholdCurve
from .unlike import UnlikePairs, chain_free, unlike_pairs

__all__ = ["Choice", "choose_automatically"]

TOLERANCE = 0.03
"""Unlike pairs for each clustered image. Chosen by benchmarks/bench_thresholds.py."""

_WIDTH = math.sqrt(10)
"""The interval is from so many times as many unlike pairs to so many times fewer."""

_LEAST_CONFIDENCE = 0.5
_LEAST_PAIRS = 5
_STEP = 10_000
"""Thresholds are rounded up to 1 / _STEP: nobody wants to type more digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A threshold that was chosen, and how sure that is.

    threshold : below 1
    confidence : from 0 to 1: of the alike pairs found at `low`, the share that is found at `high` too
    is_default : whether it is the method's own threshold, since nothing better could be told
    reason : why this one, in a sentence or two for a person
    low, high : thresholds that might be as good lie between them
    """

    threshold: float
    confidence: float
    is_default: bool
    reason: str
    low: float
    high: float


def choose_automatically(curve: ThresholdCurve, *, tolerance: float = TOLERANCE) -> Choice:
    """Return the threshold at which images begin to be alike, as the shape of the curve shows it.

    The rule: as the threshold rises, the pairs of unlike images become fewer along a line that is
    straight on logarithmic scales (pairs against `1 - score`); the threshold is where this line,
    continued from where it is steepest, promises 3 unlike pairs for each 100 images in clusters. If
    chains reach higher, it is where they end: the largest cluster may be twice what it is with ten
    times fewer unlike pairs, no more.

    Unlike pairs grow with the square of the number of images, clustered images do not: of two
    folders with curves of one shape the larger one gets the higher threshold, as chains demand.

    The confidence is the share of the alike pairs that are found whether three times more or three
    times fewer unlike pairs are allowed: 1 where the curve has a gap. Below 0.5, and where the line
    can't be seen (too few images, nothing but copies), or less than 5 pairs lie above it (nothing is
    alike), the choice is `curve.default`, and `reason` says why.

    Parameters
    ----------
    tolerance : float
        Unlike pairs for each clustered image, in place of 0.03.
    """
    if curve.n_images < 2 or curve.pairs[0] <= 0:
        return default_choice(curve, "No two images are similar at any threshold")
    unlike = unlike_pairs(curve)
    if unlike is None:
        few = curve.pairs[0] < 10 * curve.n_images
        why = "There are too few pairs" if few else "The number of pairs does not fall far enough"
        return default_choice(curve, f"{why} to see where unlike images end")
    return _choice(curve, unlike, tolerance)


def default_choice(curve: ThresholdCurve, why: str, confidence: float = 0.0) -> Choice:
    """Return the method's own threshold, with the reason for it."""
    return Choice(
        threshold=curve.default,
        confidence=confidence,
        is_default=True,
        reason=f"{why}: {curve.default:g} is the default of {curve.method}.",
        low=curve.default,
        high=curve.default,
    )


def _choice(curve: ThresholdCurve, unlike: UnlikePairs, tolerance: float) -> Choice:
    shares = tolerance * _WIDTH, tolerance, tolerance / _WIDTH
    low, cut, high = map(unlike.threshold_for, shares)
    if low is None or cut is None:
        return default_choice(curve, "No pairs stand out from those of unlike images")
    chains_end = chain_free(curve, unlike, tolerance)
    threshold = _rounded(max(cut, chains_end))
    point = replace(curve.at(threshold), threshold=threshold)
    seen = point.pairs * min(1.0, 2 * curve.n_sample / curve.n_images)
    if seen < _LEAST_PAIRS:
        return default_choice(curve, f"Only {seen:.0f} pairs that were scored stand out from unlike images")
    at_low = _alike(curve.at(low), shares[0])
    at_high = 0.0 if high is None else _alike(curve.at(max(high, threshold)), shares[2])
    confidence = min(at_high / at_low, 1.0) if at_low > 0 else 0.0
    if high is None or confidence < _LEAST_CONFIDENCE:
        return default_choice(curve, "Alike and unlike images pass into each other", confidence)
    return Choice(
        threshold=threshold,
        confidence=confidence,
        is_default=False,
        reason=_reason(point, tolerance) if cut >= chains_end else _chains(point),
        low=min(low, threshold),
        high=max(high, threshold),
    )


def _alike(point: CurvePoint, share: float) -> float:
    """Return how many pairs are alike, where the others are so many for each clustered image."""
    return max(point.pairs - share * point.images, 0.0)


def _reason(point: CurvePoint, tolerance: float) -> str:
    unlike = tolerance * point.images
    return f"At {point.threshold:g} there should be {_few(unlike)} of unlike images among {_found(point)}."


def _chains(point: CurvePoint) -> str:
    return (
        f"Below {point.threshold:g} one cluster grows and grows, as chains do; above it are {_found(point)}."
    )


def _found(point: CurvePoint) -> str:
    return f"{point.pairs:,.0f} similar pairs of {point.images:,.0f} images"


def _few(count: float) -> str:
    return f"some {count:,.0f} pairs" if count >= 2 else "hardly a pair"


def _rounded(threshold: float) -> float:
    rounded = math.ceil(threshold * _STEP) / _STEP
    return rounded if rounded < 1 else threshold
