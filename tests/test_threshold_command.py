"""`python -m clusterimg threshold`, as a process without terminal or display: it saves, or prints."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clusterimg as ci
from pictures import groups, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups(3, 3, 2))


def threshold(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterimg", "threshold", str(folder), *map(str, arguments)]
    nobody = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=nobody, stdin=subprocess.DEVNULL, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_it_prints_a_table_and_what_a_rule_takes(folder: Path) -> None:
    done = threshold(folder, "--method", "ssim")
    assert done.returncode == 0, done.stderr
    assert "0.63" in done.stdout  # the default has its row
    assert "auto takes " in done.stdout
    assert "Exact: all 11 images" in done.stdout
    assert list(folder.parent.iterdir()) == [folder]  # nothing is left behind


def test_json_is_the_curve(folder: Path) -> None:
    done = threshold(folder, "--method", "ssim", "--json")
    told, curve = json.loads(done.stdout), ci.threshold_curve(folder, method="ssim")
    assert told["thresholds"] == curve.thresholds.tolist()
    assert told["pairs"] == curve.pairs.tolist()
    assert told["chosen"] is None
    assert told["auto"]["threshold"] < 1


def test_a_sample_is_that_of_the_seed(folder: Path) -> None:
    one, same, other = (
        json.loads(threshold(folder, "--json", "--sample", 4, "--seed", seed).stdout) for seed in (1, 1, 2)
    )
    assert one["n_sample"] == 4
    assert one == same
    assert one["examples"] != other["examples"]


def test_it_saves_page_and_table(folder: Path, tmp_path: Path) -> None:
    page, table = tmp_path / "curve é.html", tmp_path / "curve.csv"
    done = threshold(folder, "--html", page, "--csv", table)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("saved ") == 2
    assert done.stdout.startswith("auto takes ")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!")
    assert "http://" not in text.replace("http://www.w3.org/", "")
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    curve = ci.threshold_curve(folder)
    np.testing.assert_array_equal([float(row["threshold"]) for row in rows], curve.thresholds)
    np.testing.assert_array_equal([float(row["images"]) for row in rows], curve.images)
    assert threshold(folder, "--csv", table, "--quiet").stdout == ""


def test_it_saves_a_picture(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: clusterimg[plot]")
    done = threshold(folder, "--png", tmp_path / "curve.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--ui", "table"], 2, "--threshold"),  # the end of the input, at once
        (["--sample", "0"], 2, "sample must be 1 or more"),
        (["--csv", "/nowhere/curve.csv"], 3, "can't write /nowhere/curve.csv"),
        (["--method", "ssim", "--hash-size", "8"], 2, "ssim has no hash_size"),
    ],
)
def test_it_says_what_is_wrong(folder: Path, arguments: list[str], code: int, problem: str) -> None:
    done = threshold(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert problem in done.stderr


def test_nobody_to_ask_is_said_before_an_image_is_read(folder: Path) -> None:
    command = [sys.executable, "-m", "clusterimg", "run", str(folder), "--threshold", "ask"]
    nobody = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(command, capture_output=True, text=True, env=nobody, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "nobody can be asked" in done.stderr
    assert not folder.with_name("photos_clustered").exists()
