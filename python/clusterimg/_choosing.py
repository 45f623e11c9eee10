"""The threshold of a run that is told none: a person, a rule or labelled pairs choose on the curve.

The curve and what was chosen are kept in the result folder: a run that was cut off goes on with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import results
from ._flow import Job
from ._reading import PartsOfStore
from .batches import Clock, digest_of
from .errors import UsageError
from .picker.auto import choose_automatically
from .picker.building import curve_of
from .picker.curve import ThresholdCurve
from .picker.labelled import LabelledPair, choose_by_pairs, read_pairs, score_pairs

__all__ = ["WAYS", "Choose", "check_choice", "is_open", "with_threshold"]

WAYS = ("ask", "auto")
"""What a threshold may be beside a number."""

Choose = Callable[[ThresholdCurve, Path], float | None]
"""Lets a person choose: gets the curve and the folder of the images; None if nothing was chosen."""


def is_open(asked: Mapping[str, Any]) -> bool:
    """Return whether the threshold is still to be chosen."""
    return isinstance(asked["threshold"], str) or asked["threshold_pairs"] is not None


def check_choice(asked: Mapping[str, Any], choose: Choose | None) -> None:
    """Raise `UsageError` for a threshold that is no number and no way to find one."""
    threshold = asked["threshold"]
    if isinstance(threshold, str) and threshold not in WAYS:
        raise UsageError(f"threshold must be a number or one of {', '.join(WAYS)}, got {threshold!r}")
    if threshold is not None and asked["threshold_pairs"] is not None:
        raise UsageError("give a threshold or threshold_pairs to find it by, not both")
    if threshold == "ask" and choose is None:
        raise UsageError("threshold='ask' needs someone to ask: give choose, a function of curve and folder")
    if asked["threshold_pairs"] is not None:
        read_pairs(Path(asked["threshold_pairs"]))  # what is wrong with it is said before images are read
    if asked["sample"] < 1:
        raise UsageError(f"sample must be 1 or more, got {asked['sample']}")


def with_threshold(
    job: Job,
    out: Path,
    manifest: results.Manifest,
    parts: PartsOfStore,
    about: Mapping[str, Any],
    stamps: NDArray[np.int64],
    clock: Clock,
    choose: Choose | None,
) -> Job:
    """Return the job with the threshold that was chosen for these images."""
    if not parts.files:  # nothing to choose by
        return job
    asked = job.asked
    way, sample, seed = asked["threshold"] or "pairs", asked["sample"], asked["seed"]
    pairs = read_pairs(Path(asked["threshold_pairs"])) if way == "pairs" else []
    labels = [astuple(pair)[:3] for pair in pairs]
    options = dict(job.method.kernel_options)
    key = digest_of(dict(about), options, way, labels, sample, seed, parts.files, stamps)
    choice = _earlier(out, key, way)
    if choice is None:
        with clock("curve"):
            curve = curve_of(
                parts,
                parts.files,
                job.method,
                job.engine,
                sample=sample,
                seed=seed,
                progress=lambda done, total: _report(job, done, total),
            )
        with clock("choice"):
            choice = {"way": way, **_chosen(job, curve, parts, pairs, choose)}
        manifest.add_table(results.CURVE)
        results.write_json(out / results.CURVE, {"key": key, "choice": choice, **curve.as_json()})
    method = replace(job.method, threshold=choice["threshold"])  # type: ignore[type-var]
    return replace(job, method=method, choice=choice)


def _report(job: Job, done: int, total: int) -> None:
    if job.progress is not None:
        job.progress("curve", done, total)


def _chosen(
    job: Job,
    curve: ThresholdCurve,
    parts: PartsOfStore,
    pairs: Sequence[LabelledPair],
    choose: Choose | None,
) -> dict[str, Any]:
    if pairs:
        scores, same, skips = score_pairs(parts.files, pairs, parts, job.method, job.engine)
        left_out = {"pairs": len(scores), "unknown_files": skips}
        return {**asdict(choose_by_pairs(scores, same, curve)), **left_out}
    if job.asked["threshold"] == "auto":
        return asdict(choose_automatically(curve))
    assert choose is not None  # check_choice saw to it
    threshold = choose(curve, job.source)
    if threshold is None:
        raise UsageError("no threshold was chosen: run again, or give --threshold a number")
    if not (math.isfinite(threshold) and threshold < 1):
        raise UsageError(f"threshold must be below 1, the highest score there is, got {threshold:g}")
    return {"threshold": float(threshold)}


def _earlier(out: Path, key: str, way: str) -> dict[str, Any] | None:
    """Return what was chosen in a run that was cut off, of the same images; a rule chooses the same again.

    A person who asks again after the end of a run wants to choose anew.
    """
    path = out / results.CURVE
    if not path.exists() or (way == "ask" and (out / results.RUN).exists()):
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key and math.isfinite(kept["choice"]["threshold"]):
            return dict(kept["choice"])
    except (OSError, ValueError, KeyError, TypeError):  # damaged: chosen again
        pass
    return None
