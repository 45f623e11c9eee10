"""The whole flow, from a folder to a result folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

import clusterimg as ci
from clusterimg import _core
from clusterimg._memory import batch_size_for, parse_memory
from clusterimg.backends import report
from clusterimg.methods import METHODS
from pictures import Grey, blend, groups, noisy, partition, picture, save

ALL_METHODS = sorted(METHODS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups())


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", ALL_METHODS)
def test_alike_pictures_become_clusters(folder: Path, method: str) -> None:
    result = ci.run(folder, method=method)
    expected = {frozenset(f"{copy}_{group}.png" for copy in range(3)) for group in range(4)}
    expected |= {frozenset([f"single_{k}.png"]) for k in range(3)}
    assert partition(result.files, result.labels) == expected
    assert result.out == folder.parent / "photos_clustered"


def test_result_folder_holds_what_the_tables_say(folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    result = ci.run(folder)
    table = rows(result.out / "clusters.csv")
    assert [row["file"] for row in table] == list(result.files)
    for row, label, representative in zip(table, result.labels, result.representatives, strict=True):
        home = f"cluster_{label}" if label >= 0 else "outliers"
        assert row["target"] == f"result/{home}/{row['file']}"
        assert (result.out / row["target"]).read_bytes() == (folder / row["file"]).read_bytes()
        assert row["representative"] == (result.files[representative] if label >= 0 else "")
        link = result.out / f"batch_{row['batch']}" / home / row["file"]
        assert link.is_symlink()
        assert link.resolve() == (result.out / row["target"]).resolve()
    assert rows(result.out / "skipped.csv") == [{"file": "notes.txt", "reason": "not an image"}]
    pairs = pq.read_table(result.out / "similarities_batch_0.parquet").to_pylist()
    assert all(result.files[pair["i"]] == pair["file_i"] for pair in pairs)
    assert {(pair["i"], pair["j"]) for pair in pairs} >= {(0, 4), (0, 8)}
    summary = json.loads((result.out / "run.json").read_text())
    assert summary["counts"]["images"] == 15
    assert summary["parameters"]["threshold"] == METHODS["imagehash"]().threshold
    assert summary["backend"]["name"] == "cpp"
    state = sorted(path.name for path in (result.out / ".clusterimg").iterdir())
    assert state == ["decision.npz", "features_000000.npz"]


@pytest.mark.parametrize("method", ALL_METHODS)
def test_scores_are_those_with_the_representative(folder: Path, method: str) -> None:
    result = ci.run(folder, method=method, transfer="none", batch_size=5, merge="exact")
    # Score the whole folder as paths, which takes the method's default size as run does.
    matrix = ci.similarity_matrix([folder / file for file in result.files], method=method)
    clustered = np.flatnonzero(result.labels >= 0)
    np.testing.assert_allclose(
        result.scores[clustered], matrix[clustered, result.representatives[clustered]], atol=1e-5
    )
    assert np.isnan(result.scores[result.labels < 0]).all()


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 14])
def test_exact_in_many_batches_equals_one_batch(folder: Path, method: str, batch_size: int) -> None:
    images = groups()
    copies = {"00_copy.png": images["2_3.png"], "zz_copy.png": images["0_0.png"]}
    blank = np.full((90, 120), 255, np.uint8)
    save(folder, copies | {"1_blank.png": blank, "9_blank.png": blank})
    one = ci.run(folder, method=method, out=folder.parent / "one", transfer="none")
    many = ci.run(
        folder,
        method=method,
        out=folder.parent / "many",
        transfer="none",
        batch_size=batch_size,
        merge="exact",
    )
    assert many.summary["counts"]["batches"] == -(-len(one.files) // batch_size)
    assert many.files == one.files
    np.testing.assert_array_equal(many.labels, one.labels)
    np.testing.assert_array_equal(many.representatives, one.representatives)
    np.testing.assert_array_equal(many.scores, one.scores)
    assert one.labels[one.files.index("1_blank.png")] == one.labels[one.files.index("9_blank.png")] >= 0


def chain(x: Grey, y: Grey) -> tuple[dict[str, Grey], float]:
    """Return a, b in one batch, c, b' in the next, and a threshold under which only neighbours are alike."""
    between = blend(x, y, 0.5)
    images = {"0_a.png": x, "1_b.png": between, "2_c.png": y, "3_b.png": noisy(between, 7, 1.0)}
    matrix = ci.similarity_matrix(list(images.values()), method="ssim", size=(64, 64))
    apart, alike = matrix[0, 2], min(matrix[0, 1], matrix[2, 3], matrix[1, 3])
    assert apart < alike
    return images, float((apart + alike) / 2)


def test_representatives_miss_what_only_members_show_and_exact_finds_it(tmp_path: Path) -> None:
    images, threshold = chain(picture(1), picture(2))
    folder = save(tmp_path / "photos", images)
    options = {"method": "ssim", "threshold": threshold, "batch_size": 2, "transfer": "none"}
    apart = ci.run(folder, out=tmp_path / "apart", **options)
    np.testing.assert_array_equal(apart.labels, [0, 0, 1, 1])
    joined = ci.run(folder, out=tmp_path / "joined", merge="exact", **options)
    np.testing.assert_array_equal(joined.labels, [0, 0, 0, 0])
    np.testing.assert_array_equal(joined.batch_labels, [0, 0, 0, 0])


def test_representatives_join_clusters_of_different_batches(folder: Path) -> None:
    result = ci.run(folder, transfer="none", batch_size=7)
    assert result.summary["counts"]["batches"] == 3
    whole = ci.run(folder, out=folder.parent / "whole", transfer="none")
    # Batches of 7 hold at least one pair of groups 0 to 2 twice: their representatives are alike.
    together = partition(result.files, result.labels)
    assert all(any(part <= cluster for cluster in partition(whole.files, whole.labels)) for part in together)
    merged = pq.read_table(result.out / "similarities_representatives.parquet").to_pylist()
    for pair in merged:
        assert result.labels[pair["i"]] == result.labels[pair["j"]]
        assert result.batches[pair["i"]] != result.batches[pair["j"]]


@pytest.mark.usefixtures("read_here")  # so that features are made on the instruction set, too
@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("merge", ["representatives", "exact"])
def test_clusters_are_the_same_on_every_engine(folder: Path, method: str, merge: str) -> None:
    runs = [("cpp", isa, threads) for isa in _core.isas() for threads in (1, 2, 5)]
    usual, tables = _core.isa(), []
    runs += [(name, usual, 2) for name, reason in report().items() if name != "cpp" and reason is None]
    try:
        for number, (backend, isa, threads) in enumerate(runs):
            _core.use_isa(isa)
            result = ci.run(
                folder,
                method=method,
                merge=merge,
                batch_size=6,
                transfer="none",
                out=folder.parent / f"run_{number}",
                backend=backend,
                threads=threads,
            )
            tables.append((result.out / "clusters.csv").read_bytes())
    finally:
        _core.use_isa(usual)
    assert len(set(tables)) == 1


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("method", ALL_METHODS)
def test_exact_does_not_depend_on_the_order_of_files(tmp_path: Path, method: str) -> None:
    images = groups()
    shuffled = np.random.default_rng(3).permutation(len(images))
    new_name = dict(zip(images, (f"{k:02}.png" for k in shuffled), strict=True))
    found = []
    for number, names in enumerate(({name: name for name in images}, new_name)):
        folder = save(tmp_path / f"photos_{number}", {names[name]: image for name, image in images.items()})
        result = ci.run(folder, method=method, merge="exact", batch_size=4, transfer="none")
        old_name = {new: old for old, new in names.items()}
        found.append(partition([old_name[file] for file in result.files], result.labels))
    assert found[0] == found[1]


@pytest.mark.parametrize("method", ALL_METHODS)
def test_copies_of_a_blank_page_cluster_under_every_method(tmp_path: Path, method: str) -> None:
    images = {f"page_{k:03}.png": np.full((40, 30), 255, np.uint8) for k in range(200)}
    folder = save(tmp_path / "pages", images | {"photo.png": picture(1)})
    result = ci.run(folder, method=method, transfer="none")
    np.testing.assert_array_equal(result.labels, [0] * 200 + [-1])
    assert result.summary["counts"]["pairs"] == 199
    assert len(result.summary["near_flat"]) == 200
    assert result.summary["featureless"] == (
        [] if method in ("ssim", "tm") else [f"page_{k:03}.png" for k in range(200)]
    )


def test_nearly_constant_images_are_featureless_under_imagehash(tmp_path: Path) -> None:
    flat = np.full((150, 200), 30, np.uint8)
    images = {f"frame_{k}.png": noisy(flat, k, 0.4) for k in range(3)}
    result = ci.run(save(tmp_path / "frames", images | {"copy.png": images["frame_0.png"]}))
    assert partition(result.files, result.labels) == {
        frozenset({"copy.png", "frame_0.png"}),
        frozenset({"frame_1.png"}),
        frozenset({"frame_2.png"}),
    }
    assert len(result.summary["featureless"]) == 4


def test_same_names_in_subfolders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    x = picture(5)
    images = {"a/x.png": x, "b/x.png": noisy(x, 1), "c/x.png": noisy(x, 2), "x.png": picture(6)}
    folder = save(tmp_path / "photos", images)
    result = ci.run(folder, recursive=True)
    targets = [row["target"] for row in rows(result.out / "clusters.csv")]
    assert targets == [f"result/cluster_0/x{end}.png" for end in ("", "_2", "_3")] + ["result/outliers/x.png"]
    for file, target in zip(result.files, targets, strict=True):
        assert (result.out / target).read_bytes() == (folder / file).read_bytes()


def test_out_inside_the_folder_is_not_taken_for_images(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", groups(2, 2, 0))
    result = ci.run(folder, out=folder / "sorted", recursive=True)
    assert len(result.files) == 4


def test_moved_files_are_where_the_table_says_and_come_back(folder: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    result = ci.run(folder, transfer="move")
    assert not list(folder.iterdir())
    for file, target in zip(result.files, result.targets, strict=True):
        moved = result.out / target
        assert (moved.read_bytes(), moved.stat().st_mtime_ns) == before[file]
    undone = ci.undo(result.out)
    assert (undone.restored, undone.removed, undone.kept, undone.missing) == (15, 15, (), ())
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert after == before


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink", "none"])
def test_originals_stay_as_they_are(folder: Path, transfer: str) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    result = ci.run(folder, transfer=transfer)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert (result.out / "result").exists() == (transfer != "none")


def test_only_unreadable_files_give_an_empty_result(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "empty.jpg").touch()
    result = ci.run(folder)
    assert result.files == ()
    assert [skip.reason for skip in result.skipped] == ["empty file"]
    assert rows(result.out / "clusters.csv") == []
    assert (result.out / "result" / "outliers").is_dir()


@pytest.mark.parametrize("method", ALL_METHODS)
def test_one_image_is_an_outlier(tmp_path: Path, method: str) -> None:
    result = ci.run(save(tmp_path / "one", {"a.png": picture(1)}), method=method)
    np.testing.assert_array_equal(result.labels, [-1])


def test_strict_raises_after_the_run_is_complete(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ci.FilesSkipped, match="1 files were skipped") as raised:
        ci.run(folder, strict=True)
    assert (raised.value.result.out / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "sift"}, "method must be one of"),
        ({"threshold": float("nan")}, "finite"),
        ({"threshold": 10}, "threshold must be below 1, the highest score there is, got 10"),
        ({"merge": "maybe"}, "merge must be one of"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"transfer": "teleport"}, "transfer must be one of"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"memory": "much"}, "memory must be"),
        ({"threads": -1}, "threads must be 0"),
        ({"backend": "abacus"}, "backend must be one of"),
        ({"hash_size": 12}, "multiple of 8"),
        ({"size": (64, 64)}, "imagehash has no size; methods that have it"),
        ({"method": "ssim", "size": (5, 64)}, "at least 7 pixels"),
        ({"method": "ssim", "size": (64, 64), "scale": 0.5}, "size or scale"),
        ({"method": "orb", "orb_rule": "lucky"}, "orb_rule must be one of"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_written(
    folder: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ci.UsageError, match=message):
        ci.run(folder, **options)
    assert not (folder.parent / "photos_clustered").exists()


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(ci.UsageError, match=r"holds no files \(subfolders need recursive\)"):
        ci.run(tmp_path)
    with pytest.raises(ci.UsageError, match="missing"):
        ci.run(tmp_path / "missing")


def interrupt_at(stage: str, at: int) -> Callable[[str, int, int], None]:
    """Return a progress function that raises what Ctrl-C does."""

    def progress(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, at):
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_keeps_what_it_found(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ci.run(folder, progress=interrupt_at("features", 5))
    out = folder.parent / "photos_clustered"
    assert sorted(path.name for path in out.iterdir()) == [".clusterimg", "manifest.jsonl"]
    assert [path.name for path in (out / ".clusterimg").iterdir()] == ["features_000000.npz"]
    assert ci.run(folder, resume=True).summary["reused"] == {"features": 5, "batches": 0}


def test_a_run_that_found_nothing_yet_leaves_no_result_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", {})
    with pytest.raises(ci.UsageError, match="holds no files"):
        ci.run(folder)
    (folder / "empty.png").touch()
    with pytest.raises(KeyboardInterrupt):
        ci.run(folder, progress=interrupt_at("features", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.jsonl").touch()
    with pytest.raises(KeyboardInterrupt):  # a folder that was there before stays
        ci.run(folder, out=out, resume=True, progress=interrupt_at("features", 1))
    assert out.is_dir()


def test_progress_rises_to_the_total_of_each_stage(folder: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    ci.run(
        folder,
        method="orb",
        batch_size=10,
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    assert {"features", "files"} <= set(seen)
    assert seen["features"] == [(done, 15) for done in range(1, 16)]
    assert seen["files"][-1] == (30, 30)  # 15 files and 15 links
    for steps in seen.values():
        assert all(done <= total for done, total in steps)


def test_features_and_batch_folders_can_be_left_out(folder: Path) -> None:
    result = ci.run(folder, keep_features=False, batch_folders=False)
    names = {path.name for path in result.out.iterdir()}
    assert "batch_0" not in names
    assert ".clusterimg" not in names


def test_scale_compares_images_of_one_size_only(tmp_path: Path) -> None:
    x = picture(3)
    images = {"a.png": x, "b.png": noisy(x, 1), "large.png": cv2.resize(x, (240, 180))}
    result = ci.run(save(tmp_path / "photos", images), method="ssim", scale=0.5, transfer="none")
    np.testing.assert_array_equal(result.labels, [0, 0, -1])


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("2G", 2 << 30), ("512M", 512 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), (5 << 20, 5 << 20)],
)
def test_memory_is_bytes_or_text(text: str | int, n_bytes: int) -> None:
    assert parse_memory(text) == n_bytes


def test_a_batch_fits_into_the_memory() -> None:
    assert batch_size_for(4096, 1 << 30) * 2 * 4096 < 1 << 30
    assert batch_size_for(1 << 40, 1 << 30) == 1
