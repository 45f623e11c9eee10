"""Runs by the deep path: the same result folder, merge, resume and undo as the other methods have."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clusterimg as ci
from clusterimg._messages import summary
from clusterimg._options import parser
from clusterimg.cli import main
from pictures import noisy, partition, picture, save

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TRAINING = {"size": 16, "width": 4, "latent": 8, "depth": 2, "epochs": 4}


def quarters(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    n, channels, size, _ = pictures.shape
    parts = pictures.reshape(n, channels, 4, size // 4, 4, size // 4) / 255.0
    means = parts.mean(axis=(1, 3, 5)).reshape(n, -1)
    return (means - means.mean(axis=1, keepdims=True)).astype(np.float32)


QUARTERS: dict[str, Any] = {"method": "deep", "embedding": quarters, "threads": 1}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of five groups of six alike pictures, in turn."""
    images = {
        f"{k}_{group}.png": noisy(picture(group), 31 * group + k) for k in range(6) for group in range(5)
    }
    return save(tmp_path / "photos", images)


def groups(files: tuple[str, ...]) -> NDArray[np.int32]:
    return np.array([int(file[2]) for file in files], np.int32)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_cluster_models_find_the_groups(photos: Path, tmp_path: Path) -> None:
    result = ci.run(photos, **QUARTERS, out=tmp_path / "out")
    assert partition(result.files, result.labels) == partition(result.files, groups(result.files))
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    [selection] = told["selections"]
    assert selection["of"] == "batch_0" and selection["best"]
    assert sum(row["chosen"] for row in selection["candidates"]) == 1
    assert told["parameters"]["threshold"] is None and told["parameters"]["embedding"] == "quarters"
    for name in ("models_batch_0.png", "projection_batch_0.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    for row in rows(tmp_path / "out" / "clusters.csv"):
        assert row["file"][1:] == row["representative"][1:] and float(row["score"]) > 0.9
        assert (tmp_path / "out" / row["target"]).exists()


def test_batches_are_merged_by_representatives(photos: Path, tmp_path: Path) -> None:
    result = ci.run(photos, **QUARTERS, out=tmp_path / "out", batch_size=15)
    assert [each["of"] for each in result.summary["selections"]] == ["batch_0", "batch_1", "representatives"]
    assert set(result.batches.tolist()) == {0, 1}
    assert partition(result.files, result.labels) == partition(result.files, groups(result.files))


@pytest.mark.parametrize(("size", "options"), [(18, {}), (12, {"pca": 6})])
def test_batches_of_different_groups(tmp_path: Path, size: int, options: dict[str, Any]) -> None:
    """Files in the order of their groups: most groups are in one batch, and no other is like them."""
    images = {f"{k // 6}_{k % 6}.png": noisy(picture(k // 6), k) for k in range(36)}
    folder = save(tmp_path / "sorted", images)
    result = ci.run(folder, **QUARTERS, **options, out=tmp_path / "out", batch_size=size)
    truth = np.array([int(file[0]) for file in result.files], np.int32)
    assert partition(result.files, result.labels) == partition(result.files, truth)
    assert result.summary["selections"][-1]["of"] == "representatives"
    assert (tmp_path / "out" / "projection_representatives.png").exists()


@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_last_batch_of_any_size(photos: Path, tmp_path: Path, last: int) -> None:
    result = ci.run(photos, **QUARTERS, out=tmp_path / "out", batch_size=30 - last)
    assert result.summary["counts"]["batches"] == 2 and len(result.labels) == 30
    first = result.batches == 0
    assert partition(result.files[: 30 - last], result.labels[first]) == partition(
        result.files[: 30 - last], groups(result.files)[first]
    )


def test_results_are_merged_later_without_the_network(photos: Path, tmp_path: Path) -> None:
    ci.run(photos, **QUARTERS, out=tmp_path / "out", batch_size=15, merge="no")
    merged = ci.merge([tmp_path / "out"], out=tmp_path / "merged")
    names = tuple(Path(file).name for file in merged.files)
    assert partition(names, merged.labels) == partition(names, groups(names))
    assert not ci.report(tmp_path / "merged").unreadable


def test_few_alike_and_no_images(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        folder = save(tmp_path / f"in_{n}", {f"{k}.png": picture(k) for k in range(n)})
        result = ci.run(folder, **QUARTERS, out=tmp_path / f"out_{n}")
        assert (result.labels == -1).all()
    [selection] = result.summary["selections"]
    assert "there are 3" in selection["note"] and "silhouette" not in summary(result, verbose=False)
    folder = save(tmp_path / "copies", {f"{k}.png": picture(k // 2) for k in range(4)})
    result = ci.run(folder, **QUARTERS, out=tmp_path / "out")
    assert result.labels.tolist() == [0, 0, 1, 1]


def test_a_threshold_makes_clusters_of_pairs(photos: Path, tmp_path: Path) -> None:
    options = {**QUARTERS, "threshold": 0.95}
    result = ci.run(photos, **options, out=tmp_path / "out", batch_size=11, merge="exact", linkage="complete")
    assert partition(result.files, result.labels) == partition(result.files, groups(result.files))
    assert not result.summary["selections"] and list((tmp_path / "out").glob("similarities_*"))
    auto = ci.run(photos, **{**QUARTERS, "threshold": "auto"}, out=tmp_path / "auto", dry_run=True)
    assert auto.summary["threshold_choice"]["way"] == "auto"


def test_the_report_tells_what_grouped(photos: Path, tmp_path: Path) -> None:
    ci.run(photos, **QUARTERS, out=tmp_path / "out", models=["kmeans:n_clusters=5"], report=True)
    data = (tmp_path / "out" / "report" / "data.js").read_text()
    assert '"grouped": "kmeans:n_clusters=5"' in data or '"grouped":"kmeans:n_clusters=5"' in data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["kmean"]}, "no cluster model 'kmean'"),
        ({"selection": "best"}, "selection must be one of"),
        ({"pca": 1}, "pca must be a whole number of 2"),
        ({"merge": "exact"}, "merge exact compares pairs"),
        ({"linkage": "complete"}, "linkage and constraints are for similar pairs"),
        ({"must_link": [("a", "b")]}, "linkage and constraints are for similar pairs"),
        ({"threshold": 0.9, "models": ["kmeans"]}, "models is for cluster models"),
        ({"size": (8, 8)}, "size is an option of other methods"),
        ({"embedding": "autoencoder", "training": {"epoch": 3}}, "training has no epoch"),
        ({"embedding": "autoencoder", "training": {"epochs": 0}}, "epochs must be"),
        ({"training": {"epochs": 3}}, "there is a network already"),
        ({"embedding": "autoencoder", "training": "epochs=3"}, "training must be a dictionary"),
        ({"models": {"kmeans": {"n_clusters": [3]}}}, "models must be a list of texts"),
        ({"pca": 2.5}, "pca must be a whole number"),
        ({"model": "some.pt"}, "give embedding or model"),
    ],
)
def test_what_does_not_go_together_is_refused(photos: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ci.UsageError, match=message):
        ci.run(photos, **{**QUARTERS, **options})
    assert not photos.with_name("photos_clustered").exists()


def test_other_methods_have_none_of_its_options(photos: Path) -> None:
    with pytest.raises(ci.UsageError, match="models is an option of method deep, not of ssim"):
        ci.run(photos, method="ssim", models=["kmeans"])
    with pytest.raises(ci.UsageError, match="embedding is an option of method deep, not of ssim"):
        ci.similar_pairs([picture(0)], method="ssim", embedding=quarters)
    with pytest.raises(ci.UsageError, match="method deep has no hash_size"):
        ci.similar_pairs([picture(0)], method="deep", hash_size=8)


# --- an autoencoder trained on the way ---


def test_an_autoencoder_is_trained_kept_and_used_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"method": "deep", "training": TRAINING, "threads": 1, "device": "cpu"}
    first = ci.run(photos, **options, out=out)
    for name in (
        "autoencoder.pt",
        "autoencoder_loss.png",
        "autoencoder_loss.csv",
        "autoencoder_reconstructions.png",
    ):
        assert (out / name).stat().st_size
    made = (out / "autoencoder.pt").stat().st_mtime_ns
    again = ci.run(photos, **options, out=out, resume=True)
    assert (out / "autoencoder.pt").stat().st_mtime_ns == made
    assert again.summary["reused"]["features"] == 30
    np.testing.assert_array_equal(first.labels, again.labels)
    by_model = ci.run(photos, method="deep", model=out / "autoencoder.pt", threads=1, out=tmp_path / "other")
    np.testing.assert_array_equal(first.labels, by_model.labels)
    save(photos, {"new.png": picture(77)})
    more = ci.run(photos, **options, out=out, resume=True)
    assert len(more.labels) == 31 and (out / "autoencoder.pt").stat().st_mtime_ns != made
    ci.undo(out)
    left = {path.name for path in out.iterdir()}
    assert "result" not in left


def test_moved_files_are_grouped_anew_without_reading_them(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"method": "deep", "training": TRAINING, "threads": 1, "device": "cpu"}
    ci.run(photos, **options, out=out, transfer="move")
    result = ci.run(photos, **options, out=out, transfer="move", resume=True, models=["kmeans:n_clusters=3"])
    assert result.summary["selections"][0]["best"] == "kmeans:n_clusters=3"
    assert result.labels.max() == 2 and not list(photos.iterdir())
    ci.undo(out)
    assert len(list(photos.iterdir())) == 30


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "clusterimg", *map(str, arguments)]


def test_the_command(photos: Path, tmp_path: Path) -> None:
    training = [f"{name}={value}" for name, value in TRAINING.items()]
    models = ["kmeans:n_clusters=4,5", "hdbscan:min_cluster_size=3"]
    call = command(
        *("run", photos, "--method", "deep", "--out", tmp_path / "out", "--threads", 1, "--device", "cpu"),
        *("--training", *training, "loss=l1", "--models", *models, "--selection", "mean-rank"),
    )
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "embedding autoencoder: 8 numbers of pictures of 16x16, colour" in done.stdout
    assert "batch_0: " in done.stdout and "of 3 candidates" in done.stdout and "silhouette" in done.stdout
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["parameters"]["training"]["loss"] == "l1" and told["parameters"]["training"]["epochs"] == 4
    assert "training ended: all epochs are done (epochs); best validation loss (l1 + 0.05 con" in done.stdout
    assert told["training"]["outcome"]["epochs"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--training", "epochs=many"], "invalid int value: 'many'"),
        (["--training", "ep=1"], "argument --training: there is no ep; there are batch_size, channels, "),
        (["--training", "loss=l1", "perceptual_network=efficientnet-lite0"], "perceptual_network belongs to"),
        (["--models", "kmeans", "--models", "dbscan:eps=near"], "dbscan:eps=near"),
        (["--models", "agglomerative:n_clusters=3,linkage=ward,metric=cosine"], "Ward can only work with"),
        (["--models", "agglomerative:n_clusters=none"], "n_clusters and distance_threshold"),
        (["--model", "nofile.pt"], "nofile.pt is missing: wanted "),
    ],
)
def test_wrong_options_of_the_command(
    photos: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["run", str(photos), "--method", "deep", *arguments])
    except SystemExit as error:
        code = int(str(error))
    assert code in (2, 3) and message in capsys.readouterr().err
    assert not photos.with_name("photos_clustered").exists()


def test_options_given_twice_are_put_together() -> None:
    words = ["--training", "epochs=3", "size=32", "--training", "loss=l1", "size=16"]
    words += ["--models", "kmeans", "--models", "dbscan", "hdbscan"]
    read = parser().parse_args(["run", "photos", *words])
    assert read.training == {"epochs": 3, "size": 16, "loss": "l1"}
    assert read.models == ["kmeans", "dbscan", "hdbscan"]


def test_a_run_killed_in_its_training_goes_on(photos: Path, tmp_path: Path) -> None:
    long = {**TRAINING, "epochs": 100_000, "patience": 100_000, "time_budget": "3s"}
    out = tmp_path / "out"
    call = command(
        *("run", photos, "--method", "deep", "--out", out, "--threads", 1, "--models", "kmeans:n_clusters=5"),
        *("--training", *(f"{name}={value}" for name, value in long.items())),
    )
    pictures = out / "autoencoder.pt.pictures"
    with subprocess.Popen(call, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not (pictures.exists() and pictures.stat().st_size == 30 * 3 * 16 * 16):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert len(list(photos.iterdir())) == 30 and not (out / "autoencoder.pt").exists()
    done = subprocess.run([*call, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "autoencoder.pt").exists() and not pictures.exists()


def test_without_the_extra_the_error_names_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ci.MissingExtra, match=r"this needs torch: pip install 'clusterimg\[deep\]'"):
        ci.run(photos, method="deep")
