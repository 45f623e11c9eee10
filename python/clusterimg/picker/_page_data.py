"""What the page shows of a curve: numbers, the words for them, and the pairs with their pictures."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError
from ._wording import (
    basis,
    estimate,
    interval,
    is_known,
    share,
    shown_name,
    step_of,
    threshold_at,
    threshold_text,
)

if TYPE_CHECKING:
    from .curve import ThresholdCurve

__all__ = ["Figures", "about", "figures", "labels", "page_data"]

MAX_PICTURES = 400
MAX_PICTURE_BYTES = 3 * 2**20
SIDE = 96
NEAR_DEFAULT = 12
"""So many pairs beside the default have pictures before those elsewhere."""


def page_data(curve: ThresholdCurve, folder: Path) -> dict[str, Any]:
    """Return what the script of the page reads, ready for JSON."""
    told = [figures(curve, k) for k in range(len(curve.thresholds))]
    edges, pictures = _examples(curve, folder)
    return {
        "thresholds": curve.thresholds.tolist(),
        "labels": labels(curve),
        "usual": step_of(curve, curve.default),
        "default": curve.default,
        "exact": curve.is_exact,
        "bare": curve.n_images < 2,
        "pairs": _short(curve.pairs),
        "low": _short(curve.pairs_low),
        "high": _short(curve.pairs_high),
        "shares": [each.shares for each in told],
        "texts": {
            "pairs": [each.pairs for each in told],
            "images": [each.images for each in told],
            "share": [each.share for each in told],
        },
        "clusters": curve.clusters.tolist(),
        "largest": curve.largest.tolist(),
        "edges": edges,
        "pictures": pictures,
    }


def _short(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def labels(curve: ThresholdCurve) -> list[str]:
    """Return for each step the shortest threshold that lies in it, as people would type it.

    The step of the default has the default. All have as many decimals, unless one has many.
    """
    texts = [threshold_text(threshold_at(curve, k)) for k in range(len(curve.thresholds))]
    decimals = max(_decimals(text) for text in texts)
    decimals = decimals if decimals <= 4 else 3
    return [text if "e" in text else text + "0" * (decimals - _decimals(text)) for text in texts]


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


# --- numbers for people ---


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said of one threshold: `(number, interval)` each, no interval where the number is known."""

    pairs: tuple[str, str]
    images: tuple[str, str]
    share: str
    shares: tuple[float, float, float]


def figures(curve: ThresholdCurve, k: int) -> Figures:
    """Return the words for step `k`."""
    n = max(1, curve.n_images)
    images = (float(curve.images[k]), float(curve.images_low[k]), float(curve.images_high[k]))
    middle, low, high = (min(1.0, round(value / n, 5)) for value in images)
    return Figures(
        pairs=_said(float(curve.pairs[k]), float(curve.pairs_low[k]), float(curve.pairs_high[k])),
        images=_said(*images, most=n),
        share=share(images[0], n).replace(" ", "\N{NO-BREAK SPACE}"),
        shares=(low, middle, high),
    )


def _said(value: float, low: float, high: float, most: float = math.inf) -> tuple[str, str]:
    number = estimate(value, low, high, most=most)
    if is_known(low, high):
        return number, ""
    return f"about {number}", interval(low, high, most=most)


def _param(value: object) -> str:
    """Return a parameter as the command line takes it."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def about(curve: ThresholdCurve) -> str:
    """Return where the numbers come from."""
    given = {key: value for key, value in curve.params.items() if value is not None}
    values = ", ".join(f"{key.replace('_', ' ')} {_param(value)}" for key, value in given.items())
    method = shown_name(f"{curve.method} ({values})" if values else curve.method)
    if curve.n_images < 2:
        return f"Method: {method}."
    meaning = "Two images are similar if their score is above the threshold; similar ones make clusters."
    rests_on = f" {basis(curve)}" if curve.pairs.any() else ""  # else a notice says it
    return f"{meaning}{rests_on} Scores by {method}."


# --- examples ---


def _examples(curve: ThresholdCurve, folder: Path) -> tuple[list[list[Any]], list[dict[str, str]]]:
    """Return the pairs that have pictures, rising by score, and each of these pictures once."""
    places: dict[int, int] = {}  # of an image, among the pictures
    wanted: list[int] = []
    for edge in _by_need(curve):
        pair = [image for image in curve.examples[edge][["i", "j"]].tolist() if image not in places]
        if len(places) + len(pair) <= MAX_PICTURES:
            wanted.append(edge)
            places.update({image: len(places) + k for k, image in enumerate(pair)})
    pictures = _pictures([curve.files[image] for image in places], folder)
    within = np.cumsum([len(each.get("source", "")) for each in pictures]) <= MAX_PICTURE_BYTES * 4 / 3
    edges = []
    for edge in sorted(wanted):
        i, j, score = curve.examples[edge].tolist()
        if within[places[i]] and within[places[j]]:
            edges.append([places[i], places[j], score, _score(score)])
    return edges, [each for each, fits in zip(pictures, within.tolist(), strict=True) if fits]


def _score(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 1 else f"{score:g}"


def _by_need(curve: ThresholdCurve) -> Iterator[int]:
    """Yield every example once: those nearest the default first, then spread ever finer over all."""
    n = len(curve.examples)
    middle = int(np.searchsorted(curve.examples["score"], curve.default, side="right"))
    near = range(max(0, middle - NEAR_DEFAULT), min(n, middle + NEAR_DEFAULT))
    yield from near
    n_bits = max(1, (n - 1).bit_length())
    for k in range(1 << n_bits):
        spread = int(f"{k:0{n_bits}b}"[::-1], 2)
        if spread < n and spread not in near:
            yield spread


def _pictures(files: list[str], folder: Path) -> list[dict[str, str]]:
    from .._thumbnails import thumbnail

    def picture(file: str) -> dict[str, str]:
        name = shown_name(file)
        try:
            data = thumbnail(folder / file, SIDE)
        except ImageError as error:
            return {"name": name, "reason": shown_name(str(error))}
        return {"name": name, "source": "data:image/jpeg;base64," + base64.b64encode(data).decode()}

    with ThreadPoolExecutor() as threads:
        try:
            return list(threads.map(picture, files))
        except BaseException:  # Ctrl-C: don't make the rest first
            threads.shutdown(wait=False, cancel_futures=True)
            raise
