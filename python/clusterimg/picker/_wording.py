"""How the views of the curve say its numbers, thresholds and file names to people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._names import escape_name

if TYPE_CHECKING:
    from .curve import CurvePoint, ThresholdCurve

__all__ = [
    "about",
    "basis",
    "between",
    "clusters_line",
    "compact_interval",
    "estimate",
    "images_line",
    "interval",
    "is_known",
    "pairs_line",
    "sentence",
    "share",
    "shortened",
    "shown_name",
    "step_of",
    "threshold_at",
    "threshold_text",
]


def about(value: float, low: float, high: float, *, most: float = math.inf) -> str:
    """Return "about 1,200 (900 to 1,600)" for a number that lies in an interval; "1,234" where it is known.

    The interval is rounded outwards, but never past `most`, the largest number there can be.
    """
    if is_known(low, high):
        return f"{value:,.0f}"
    return f"about {estimate(value, low, high, most=most)} ({interval(low, high, most=most)})"


def is_known(low: float, high: float) -> bool:
    """Return whether an interval leaves nothing open."""
    return low == high


def estimate(value: float, low: float, high: float, *, most: float = math.inf) -> str:
    """Return a number rounded to what its interval tells of it."""
    if is_known(low, high):
        return f"{value:,.0f}"
    unit = _unit(value, low, high)
    return _said(min(round(value / unit) * unit, most))


def interval(low: float, high: float, *, most: float = math.inf) -> str:
    """Return "900 to 1,600" or "11 to 14 million", rounded outwards."""
    low_unit, high_unit = _unit(low, low, high), _unit(high, low, high)
    first, last = math.floor(low / low_unit) * low_unit, min(math.ceil(high / high_unit) * high_unit, most)
    (_, name), (size, other) = _size(first), _size(last)
    if name != other:  # "1 to 14 million" might mean either
        return f"{first:,.0f} to {last:,.0f}"
    return f"{_in_units(first, size)} to {_in_units(last, size)}{name}"


def _said(value: float) -> str:
    """Return "12,300", or "1.23 million": of an estimate nobody wants to count the zeros."""
    size, name = _size(value)
    return _in_units(value, size) + name


def _size(value: float) -> tuple[int, str]:
    for size, name in ((10**9, " billion"), (10**6, " million")):
        if value >= size:
            return size, name
    return 1, ""


def _in_units(value: float, size: int) -> str:
    if size == 1:
        return f"{value:,.0f}"
    return f"{value / size:,.6f}".rstrip("0").rstrip(".")


def compact_interval(low: float, high: float) -> str:
    """Return "900-1.6k", as short as can be: two digits, rounded outwards."""
    return f"{_compact(low, math.floor)}-{_compact(high, math.ceil)}"


def _compact(value: float, rounded: Callable[[float], int]) -> str:
    unit = 10 ** max(_digits(value) - 1, 0)
    whole = rounded(value / unit) * unit
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if whole >= size:
            return f"{whole / size:g}{letter}"
    return f"{whole}"


def _unit(value: float, low: float, high: float) -> int:
    """Return the power of ten to which a number is rounded: two digits stay, more in a narrow interval."""
    width = max((high - low) / 2, 1)
    return int(10 ** max(min(_digits(width), _digits(value) - 1), 0))


def _digits(value: float) -> int:
    return math.floor(math.log10(value)) if value >= 1 else 0


def share(value: float, of: float) -> str:
    """Return a share such as "17 %"; only none is "0 %" and only all is "100 %"."""
    if not of or not value:
        return "0 %"
    percent = 100 * value / of
    if percent < 1:
        return "under 1 %"
    return f"{percent if value >= of else min(percent, 99):.0f} %"


def between(low: float, below: float) -> float:
    """Return the number with the fewest decimals that is at least `low` and less than `below`.

    As a threshold it does what `low` does, if `below` is the next threshold at which anything changes.
    """
    for decimals in range(1, 16):
        scale = 10.0**decimals
        candidate = math.ceil(low * scale) / scale
        if low <= candidate < below:
            return candidate
    return low


def step_of(curve: ThresholdCurve, threshold: float) -> int:
    """Return which of the thresholds of a curve gives the numbers of any other, as `curve.at` does."""
    return max(int(curve.thresholds.searchsorted(threshold, side="right")) - 1, 0)


def threshold_at(curve: ThresholdCurve, k: int) -> float:
    """Return a short threshold that does what `thresholds[k]` does; the default is as it is."""
    low = float(curve.thresholds[k])
    if k == step_of(curve, curve.default) and low <= curve.default:
        return curve.default
    return between(low, float(curve.thresholds[k + 1]) if k + 1 < len(curve.thresholds) else 1.0)


def threshold_text(threshold: float) -> str:
    """Return a threshold as it can be given to `--threshold` again, with two decimals at least."""
    text = repr(float(threshold))
    if "e" in text or len(text.partition(".")[2]) >= 2:
        return text
    return f"{threshold:.2f}"


def pairs_line(point: CurvePoint) -> str:
    """Return how many similar pairs there would be."""
    pairs = "pair" if point.pairs_high == 1 else "pairs"
    return f"{about(point.pairs, point.pairs_low, point.pairs_high)} similar {pairs}"


def images_line(curve: ThresholdCurve, point: CurvePoint) -> str:
    """Return how many images would be in clusters, and their share."""
    found = about(point.images, point.images_low, point.images_high, most=curve.n_images)
    return f"{found} images in clusters, {share(point.images, curve.n_images)} of all"


def clusters_line(curve: ThresholdCurve, point: CurvePoint) -> str:
    """Return how many clusters there would be, or are in the sample."""
    where = "" if curve.is_exact else " in the sample"
    if not point.clusters:
        return f"no cluster{where}"
    clusters = "1 cluster" if point.clusters == 1 else f"{point.clusters:,} clusters"
    return f"{clusters}{where}, {'' if point.clusters == 1 else 'the largest '}of {point.largest:,} images"


def sentence(curve: ThresholdCurve, threshold: float) -> str:
    """Return what a threshold would give, in one line."""
    point = curve.at(threshold)
    lines = (pairs_line(point), images_line(curve, point), clusters_line(curve, point))
    return f"threshold {threshold_text(threshold)}: {'; '.join(lines)}"


def basis(curve: ThresholdCurve) -> str:
    """Return what the numbers rest on."""
    if curve.n_images < 2:
        return f"{_images(curve.n_images)}: there is no pair to compare."
    if not len(curve.examples) and not curve.pairs.any():
        return f"{_images(curve.n_images)}: no two of them are similar, whatever the threshold."
    if curve.is_exact:
        return f"Exact: all {curve.n_images:,} images were compared with each other."
    return (
        f"Expected for all {curve.n_images:,} images, with 95 % intervals: a sample of {curve.n_sample:,} "
        "was compared with all of them. Clusters are those of the sample."
    )


def _images(count: int) -> str:
    return f"{count:,} image" if count == 1 else f"{count:,} images"


def shown_name(name: str) -> str:
    """Return a file name as plain text in one line, in which no character does what it stands for."""
    return _ACTING.sub(_escaped, escape_name(name))


_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, line ends, and those that turn the direction of the text after them."""


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` (3 or more), its middle left out where it is longer.

    Names of one folder tend to differ at their ends.
    """
    if len(text) <= length:
        return text
    tail = (length - 1) * 3 // 5
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
