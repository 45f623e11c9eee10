"""Runs that are not told their threshold: a function chooses on the curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clusterimg as ci
from clusterimg.errors import UsageError
from clusterimg.picker import ThresholdCurve
from clusterimg.picker.auto import choose_automatically
from pictures import groups, partition, save

pytestmark = pytest.mark.usefixtures("read_here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups(3, 3, 2))


class Person:
    """Chooses a threshold, and remembers what was shown."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self.curves: list[ThresholdCurve] = []

    def __call__(self, curve: ThresholdCurve, folder: Path) -> float | None:
        assert all((folder / file).exists() for file in curve.files)
        self.curves.append(curve)
        return self.threshold


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_person_is_asked_once_and_obeyed(folder: Path, batch_size: int | None) -> None:
    person = Person(0.8)
    options = {"method": "ssim", "batch_size": batch_size, "merge": "exact", "transfer": "none"}
    result = ci.run(folder, threshold="ask", choose=person, **options)  # type: ignore[arg-type]
    [curve] = person.curves
    assert curve.n_images == len(result.files) == 11
    assert curve.is_exact
    told = ci.run(folder, threshold=0.8, out=folder.with_name("told"), **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(result.labels, told.labels)
    assert curve.at(0.8).images == (told.labels >= 0).sum()
    assert result.summary["parameters"]["threshold"] == 0.8
    assert result.summary["threshold_choice"] == {"way": "ask", "threshold": 0.8}
    assert told.summary["threshold_choice"] is None
    kept = json.loads((result.out / "threshold_curve.json").read_text())
    assert kept["pairs"] == curve.pairs.tolist()
    assert kept["choice"]["threshold"] == 0.8
    assert not (told.out / "threshold_curve.json").exists()


def test_after_its_end_a_run_asks_again_and_reads_no_image(folder: Path) -> None:
    ci.run(folder, threshold="ask", choose=Person(0.8), method="ssim")
    person = Person(0.1)
    again = ci.run(folder, threshold="ask", choose=person, method="ssim", resume=True)
    assert len(person.curves) == 1
    assert again.summary["reused"]["features"] == 11
    assert again.summary["parameters"]["threshold"] == 0.1


def test_a_run_that_was_cut_off_does_not_ask_again(folder: Path) -> None:
    class Cut(Exception):
        pass

    def cut(stage: str, done: int, total: int) -> None:
        if stage == "pairs":
            raise Cut

    with pytest.raises(Cut):
        ci.run(folder, threshold="ask", choose=Person(0.8), method="ssim", progress=cut)
    nobody = Person(None)
    result = ci.run(folder, threshold="ask", choose=nobody, method="ssim", resume=True)
    assert not nobody.curves
    assert result.summary["parameters"]["threshold"] == 0.8


def test_a_choice_for_other_images_or_by_another_sample_is_not_kept(folder: Path) -> None:
    class Cut(Exception):
        pass

    def cut(stage: str, done: int, total: int) -> None:
        if stage == "pairs":
            raise Cut

    with pytest.raises(Cut):
        ci.run(folder, threshold="ask", choose=Person(0.8), method="ssim", progress=cut)
    (folder / "single_0.png").unlink()
    person = Person(0.7)
    with pytest.raises(Cut):
        ci.run(folder, threshold="ask", choose=person, method="ssim", resume=True, progress=cut)
    assert len(person.curves) == 1
    result = ci.run(folder, threshold="ask", choose=person, method="ssim", resume=True, sample=5)
    assert len(person.curves) == 2
    assert not person.curves[1].is_exact
    assert result.summary["parameters"]["threshold"] == 0.7


def test_a_damaged_curve_is_made_again(folder: Path) -> None:
    out = ci.run(folder, threshold="ask", choose=Person(0.8)).out
    for text in (b"{", b'{"key": 1}', b"\xff", b'{"key": 3, "choice": []}'):
        (out / "run.json").unlink()
        (out / "threshold_curve.json").write_bytes(text)
        person = Person(0.8)
        ci.run(folder, threshold="ask", choose=person, resume=True)
        assert len(person.curves) == 1


def test_another_run_in_the_folder_takes_the_curve_away(folder: Path) -> None:
    out = ci.run(folder, threshold="ask", choose=Person(0.8)).out
    ci.run(folder, threshold=0.8, resume=True)
    assert not (out / "threshold_curve.json").exists()
    ci.run(folder, threshold="ask", choose=Person(0.8), resume=True)
    assert (out / "threshold_curve.json").exists()
    ci.run(folder, threshold=0.8, overwrite=True)
    assert not (out / "threshold_curve.json").exists()


def test_a_dry_run_asks_and_leaves_nothing(folder: Path) -> None:
    result = ci.run(folder, threshold="ask", choose=Person(0.8), dry_run=True)
    assert not result.out.exists()
    assert result.summary["threshold_choice"] == {"way": "ask", "threshold": 0.8}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threshold": "ask"}, "needs someone to ask"),
        ({"threshold": "guess"}, "a number or one of ask, auto, got 'guess'"),
        ({"threshold": "ask", "choose": Person(None)}, "no threshold was chosen"),
        ({"threshold": "ask", "choose": Person(1.0)}, "must be below 1"),
        ({"threshold": "ask", "choose": Person(float("nan"))}, "must be below 1"),
        ({"threshold": "ask", "choose": Person(0.5), "sample": 0}, "sample must be 1 or more, got 0"),
        ({"threshold": 0.5, "threshold_pairs": "pairs.csv"}, "not both"),
    ],
)
def test_it_says_what_is_wrong(folder: Path, options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        ci.run(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [None, 5])
def test_a_rule_chooses(folder: Path, batch_size: int | None) -> None:
    result = ci.run(folder, threshold="auto", method="ssim", merge="exact", batch_size=batch_size)
    choice = result.summary["threshold_choice"]
    assert choice["way"] == "auto"
    assert choice["threshold"] == result.summary["parameters"]["threshold"]
    assert 0 <= choice["confidence"] <= 1
    assert choice["reason"]
    found = choose_automatically(ci.threshold_curve(folder, method="ssim"))
    assert found.threshold == choice["threshold"]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_labelled_pairs_choose(folder: Path, tmp_path: Path, batch_size: int | None) -> None:
    names = sorted(path.name for path in folder.iterdir())
    grouped = [name for name in names if not name.startswith("single")]
    table = ["file_a,file_b,same"]
    for k, a in enumerate(grouped):
        table += [f"{a},{b},{'yes' if a[-5] == b[-5] else 'no'}" for b in grouped[:k]]
    table.append("gone.png,single_0.png,no")
    (tmp_path / "pairs.csv").write_text("\n".join(table) + "\n")
    result = ci.run(
        folder, threshold_pairs=tmp_path / "pairs.csv", method="ssim", batch_size=batch_size, merge="exact"
    )
    assert partition(result.files, result.labels) == {
        *(frozenset(name for name in grouped if name[-5] == group) for group in "012"),
        frozenset({"single_0.png"}),
        frozenset({"single_1.png"}),
    }
    choice = result.summary["threshold_choice"]
    assert choice["way"] == "pairs"
    assert choice["pairs"] == 36
    [unknown] = choice["unknown_files"]
    assert (unknown.file, "line 38" in unknown.reason) == ("gone.png", True)


def test_a_folder_of_nothing_readable_is_not_asked_about(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"nothing")
    person = Person(0.5)
    result = ci.run(tmp_path / "photos", threshold="ask", choose=person)
    assert not person.curves
    assert not result.files
