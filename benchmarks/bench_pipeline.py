"""Whole runs by stages: decode and features, pairs, clusters, hand-over. `whole_runs.py` has the rest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import pytest

import clusterimg as ci
import data

N_IMAGES = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for k, picture in enumerate(data.pictures(N_IMAGES, 256)):
        cv2.imwrite(str(folder / f"{k:04}.jpg"), cv2.resize(picture, (500, 375)))
    return folder


@pytest.mark.parametrize("method", ["imagehash", "ssim", "minhash", "tm", "orb"])
@pytest.mark.benchmark(group=f"run, {N_IMAGES} JPEGs of 500x375", timer=time.perf_counter)
def test_run(benchmark: Any, folder: Path, tmp_path: Path, method: str) -> None:
    results = []

    def run() -> None:
        out = tmp_path / f"result_{len(results)}"
        results.append(ci.run(folder, method=method, out=out, transfer="copy", threads=2))

    benchmark.pedantic(run, rounds=3, iterations=1)
    assert len({tuple(result.labels) for result in results}) == 1
    benchmark.extra_info.update(
        method=method, n_images=N_IMAGES, seconds=[result.summary["seconds"] for result in results]
    )
