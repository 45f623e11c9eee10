"""Threshold curves as the tests of their views need them, with pictures on the disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clusterimg._types import EDGE_DTYPE
from clusterimg.picker.curve import ThresholdCurve
from pictures import picture


def made_curve(
    folder: Path,
    *,
    n_pictures: int = 60,
    n_images: int = 20_000,
    n_sample: int = 2000,
    n_thresholds: int = 120,
    n_examples: int = 200,
    **changes: Any,
) -> ThresholdCurve:
    """Return a curve over a folder, in which the first pictures are written.

    It falls from some 200,000 pairs at .40 to none near .99, with wide intervals where pairs are few.
    Example k is of the pictures k and k + 1, in a circle. `changes` are fields to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{k:03d}.jpg" if k % 3 else f"2019/summer/IMG_{k:04d}.jpg" for k in range(n_pictures)]
    for k, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(cv2.imencode(".jpg", coloured(k))[1].tobytes())
    files += [f"other_{k}.jpg" for k in range(n_images - n_pictures)]
    thresholds = np.round(np.linspace(0.4, 0.99, n_thresholds), 6)
    place = np.linspace(0, 1, n_thresholds)
    pairs = np.floor(n_images * (10 * np.exp(-12 * place) + 0.06 * (1 - place)) * 0.999)
    images = np.floor(n_images * (1 - place) ** 2 * 0.8)
    spread = 0.0 if n_sample >= n_images else 1.0
    rng = np.random.default_rng(0)
    examples = np.zeros(n_examples, EDGE_DTYPE)
    examples["i"] = np.arange(n_examples) % (n_pictures - 1)
    examples["j"] = examples["i"] + 1
    examples["score"] = np.sort(rng.uniform(0.35, 1.0, n_examples))
    fields = {
        "method": "imagehash",
        "params": {"hash_size": 16, "highfreq_factor": 4},
        "default": 0.69,
        "files": tuple(files),
        "n_sample": n_sample,
        "thresholds": thresholds,
        "pairs": pairs,
        "pairs_low": np.maximum(0, pairs - spread * 6 * np.sqrt(pairs)),
        "pairs_high": pairs + spread * (8 * np.sqrt(pairs) + 37),
        "images": images,
        "images_low": np.maximum(0, images - spread * 3 * np.sqrt(images)),
        "images_high": np.minimum(n_images, images + spread * (4 * np.sqrt(images) + 20)),
        "clusters": np.maximum(0, 300 - np.abs(np.arange(n_thresholds) - 60) * 5).astype(np.int64),
        "largest": np.floor(1800 * np.exp(-6 * place)).astype(np.int64),
        "examples": examples,
    }
    return ThresholdCurve(**{**fields, **changes})


def coloured(seed: int) -> np.ndarray:
    """Return a colour picture, wide, tall or square."""
    width, height = ((200, 150), (150, 200), (180, 180))[seed % 3]
    return np.dstack([picture(1000 * seed + channel, width, height) for channel in range(3)])


def empty_curve(n_images: int, n_sample: int | None = None) -> ThresholdCurve:
    """Return a curve without any similar pair, over files that don't exist."""
    thresholds = np.array([0.5, 0.69, 0.9])
    zeros, counts = np.zeros(3), np.zeros(3, np.int64)
    n_sample = n_images if n_sample is None else n_sample
    high = zeros if n_sample == n_images else zeros + 37
    return ThresholdCurve(
        method="ssim",
        params={},
        default=0.7,
        files=tuple(f"{k}.png" for k in range(n_images)),
        n_sample=n_sample,
        thresholds=thresholds,
        pairs=zeros,
        pairs_low=zeros,
        pairs_high=high,
        images=zeros,
        images_low=zeros,
        images_high=high,
        clusters=counts,
        largest=counts,
        examples=np.empty(0, EDGE_DTYPE),
    )


def one_threshold(curve: ThresholdCurve, k: int) -> ThresholdCurve:
    """Return the curve with nothing but its threshold `k`."""
    arrays = ("thresholds", "pairs", "pairs_low", "pairs_high", "images", "images_low", "images_high")
    kept = {name: getattr(curve, name)[k : k + 1] for name in (*arrays, "clusters", "largest")}
    return dataclasses.replace(curve, **kept)
