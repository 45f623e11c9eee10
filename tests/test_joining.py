"""merge: results of earlier runs become one, as if their folders had been one from the start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clusterimg as ci
from clusterimg import results
from clusterimg.methods import METHODS
from pictures import Grey, groups, noisy, partition, picture, save
from test_pipeline import chain
from test_resume import DAMAGE, contents, snapshot

pytestmark = pytest.mark.usefixtures("read_here")

ALL_METHODS = sorted(METHODS)
TRANSFERS = ("copy", "move", "hardlink", "symlink", "none")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three folders in one; a name means something else in each, and groups are spread over all."""
    images = groups(3, 3, 2)
    homes: dict[str, dict[str, Grey]] = {name: {} for name in "abc"}
    for name, image in images.items():
        first, _, second = name.removesuffix(".png").partition("_")
        home = "abc"[int(second) % 3] if first == "single" else "abc"[int(first)]
        homes[home][f"{len(homes[home])}.png"] = image
    homes["b"]["twin.png"] = noisy(images["0_1.png"], 99)
    return [save(tmp_path / "all" / name, members) for name, members in homes.items()]


def results_of(folders: list[Path], **options: Any) -> list[Path]:
    return [
        ci.run(folder, out=folder.parent.with_name(f"{folder.name} result"), **options).out
        for folder in folders
    ]


def together(folders: list[Path], **options: Any) -> ci.Result:
    """Return what one run over all folders finds."""
    whole = folders[0].parent
    return ci.run(whole, recursive=True, transfer="none", out=whole.with_name("together"), **options)


def assert_equal(found: ci.Result, expected: ci.Result) -> None:
    assert found.files == expected.files
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.representatives, expected.representatives)
    np.testing.assert_array_equal(found.scores, expected.scores)


# --- what is found ---


@pytest.mark.parametrize("n_parts", [2, 3])
@pytest.mark.parametrize("method", ALL_METHODS)
def test_an_exact_merge_equals_one_run(folders: list[Path], method: str, n_parts: int) -> None:
    parts = results_of(folders[:n_parts], method=method, transfer="none", batch_size=3)
    shutil.rmtree(folders[2]) if n_parts == 2 else None
    merged = ci.merge(parts, merge="exact", transfer="none")
    assert_equal(merged, together(folders, method=method))
    assert merged.out == parts[0].with_name("a result_merged")
    assert merged.summary["counts"]["batches"] > n_parts
    assert merged.summary["merge"] == "exact"
    assert merged.labels.max() == 2


@pytest.mark.parametrize("threshold", [0.5, 0.97, -1.0])
@pytest.mark.parametrize("merge", ["exact", "representatives"])
def test_another_threshold_holds_inside_the_parts_too(
    folders: list[Path], threshold: float, merge: str
) -> None:
    parts = results_of(folders, method="ssim", transfer="none")
    merged = ci.merge(parts, threshold=threshold, merge=merge, transfer="none")
    fresh = [
        ci.run(
            folder,
            method="ssim",
            threshold=threshold,
            transfer="none",
            out=folder.with_name(f"{folder.name}_new"),
        )
        for folder in folders
    ]
    np.testing.assert_array_equal(merged.batch_labels, np.concatenate([part.labels for part in fresh]))
    if merge == "exact":
        for part in fresh:
            shutil.rmtree(part.out)
        assert_equal(merged, together(folders, method="ssim", threshold=threshold))
    assert merged.summary["parameters"]["threshold"] == threshold


def test_representatives_miss_what_only_members_show(tmp_path: Path) -> None:
    images, threshold = chain(picture(1), picture(2))
    names = list(images)
    folders = [
        save(tmp_path / "all" / name, {file: images[file] for file in members})
        for name, members in (("a", names[:2]), ("b", names[2:]))
    ]
    parts = results_of(folders, method="ssim", threshold=threshold, transfer="none")
    apart = ci.merge(parts, transfer="none", out=tmp_path / "apart")
    np.testing.assert_array_equal(apart.labels, [0, 0, 1, 1])
    joined = ci.merge(parts, transfer="none", merge="exact", out=tmp_path / "joined")
    np.testing.assert_array_equal(joined.labels, [0, 0, 0, 0])


def test_first_images_of_clusters_are_compared_and_outliers_are_not(tmp_path: Path) -> None:
    x, y = picture(1), picture(2)
    a = {"0.png": x, "1.png": noisy(x, 1), "2.png": y}
    b = {"0.png": noisy(x, 2), "1.png": noisy(x, 3), "2.png": noisy(y, 4)}
    folders = [save(tmp_path / "all" / name, images) for name, images in (("a", a), ("b", b))]
    merged = ci.merge(results_of(folders), out=tmp_path / "merged")
    np.testing.assert_array_equal(merged.labels, [0, 0, -1, 0, 0, -1])  # y and its copy stay apart
    np.testing.assert_array_equal(merged.batches, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(merged.representatives, [0, 0, -1, 0, 0, -1])
    table = results.read_similarities(merged.out / "similarities_representatives.parquet")
    assert [(edge["i"], edge["j"]) for edge in table.edges] == [(0, 3)]


@pytest.mark.parametrize("merge", ["representatives", "exact"])
@pytest.mark.parametrize("transfer", ["copy", "move", "none"])
def test_merging_the_batches_of_one_result_equals_a_run_that_did_at_once(
    folders: list[Path], merge: str, transfer: str
) -> None:
    whole = folders[0].parent
    before = contents(whole)
    options: dict[str, Any] = {"recursive": True, "batch_size": 4}
    once = ci.run(whole, **options, merge=merge, transfer="none", out=whole.with_name("once"))
    part = ci.run(whole, **options, merge="no", transfer=transfer, out=whole.with_name("part"))
    merged = ci.merge([part.out], merge=merge, transfer=transfer)
    assert_equal(merged, once)
    np.testing.assert_array_equal(merged.batches, once.batches)
    np.testing.assert_array_equal(merged.batch_labels, once.batch_labels)
    for out in (merged.out, part.out):
        assert ci.undo(out).kept == ()
    assert contents(whole) == before


@pytest.mark.parametrize("transfer", ["none", "move"])
def test_merge_of_a_merge(folders: list[Path], transfer: str) -> None:
    before = contents(folders[0].parent)
    expected = together(folders)
    a, b, c = results_of(folders, transfer=transfer)
    ab = ci.merge([a, b], merge="exact", transfer=transfer, out=a.with_name("ab")).out
    merged = ci.merge([ab, c], merge="exact", transfer=transfer, out=a.with_name("abc"))
    assert_equal(merged, expected)
    assert_files(merged, before)
    for out in (merged.out, ab, c, b, a):
        assert ci.undo(out).kept == ()
    assert contents(folders[0].parent) == before


def test_the_order_of_results_changes_no_cluster(folders: list[Path]) -> None:
    parts = results_of(folders, transfer="none")
    merges = [
        ci.merge(order, merge="exact", transfer="none", out=parts[0].with_name(f"merged_{k}"))
        for k, order in enumerate((parts, parts[::-1]))
    ]
    assert partition(merges[0].files, merges[0].labels) == partition(merges[1].files, merges[1].labels)


# --- where files come from and go to ---


def assert_files(merged: ci.Result, before: dict[str, tuple[bytes, int]]) -> None:
    """Check that every file is where the result says, with its bytes and time."""
    if merged.summary["parameters"]["transfer"] == "none":
        assert set(merged.targets) == {""}
        return
    for file, target in zip(merged.files, merged.targets, strict=True):
        path = merged.out / target
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before[file]


@pytest.mark.parametrize("after", TRANSFERS)
@pytest.mark.parametrize("first", TRANSFERS)
def test_files_are_taken_from_where_they_are(folders: list[Path], first: str, after: str) -> None:
    whole = folders[0].parent
    before = contents(whole)
    parts = results_of(folders[:2], transfer=first)
    kept = [contents(part / "result") for part in parts]
    merged = ci.merge(parts, transfer=after)
    assert merged.skipped == ()
    assert_files(merged, {file: before[file] for file in merged.files})
    if first != "move" and after != "move":
        assert [contents(part / "result") for part in parts] == kept
    left = contents(whole)
    if after == "move" or first == "move":
        assert set(left) == {f"c/{path.name}" for path in folders[2].iterdir()}
    else:
        assert left == before
    for out in (merged.out, *parts):
        undone = ci.undo(out)
        assert (undone.kept, undone.missing) == ((), ())
        assert not (out / "result").exists()
    assert contents(whole) == before


def test_where_only_copies_are_left_they_are_taken(folders: list[Path]) -> None:
    before = contents(folders[0].parent)
    parts = results_of(folders[:2], transfer="copy")
    shutil.rmtree(folders[0])
    merged = ci.merge(parts)
    assert_files(merged, before)
    assert all(undone.restored == 0 for undone in [ci.undo(merged.out)])


def test_moves_are_undone_last_first(folders: list[Path]) -> None:
    """A part whose files moved on says where to; after the undo of the merge, all come back."""
    before = contents(folders[0].parent)
    a, b = results_of(folders[:2], transfer="move")
    held = [contents(part / "result") for part in (a, b)]
    merged = ci.merge([a, b], transfer="move")
    early = ci.undo(a)
    assert early.restored == 0
    n_files = len(held[0])
    assert len([skip for skip in early.kept if str(merged.out) in skip.reason]) == n_files
    assert early.kept[-1].reason.endswith(f"undo {merged.out} first, it may be there")
    assert_files(merged, before)
    assert ci.undo(merged.out).restored == n_files + len(held[1])
    found = [contents(part / "result") for part in (a, b)]
    assert found == held
    for part in (a, b):
        assert ci.undo(part).kept == ()
    assert contents(folders[0].parent) == before


def test_files_keep_apart_whatever_their_folders(tmp_path: Path) -> None:
    images = {"x.png": picture(1), "y.png": noisy(picture(1), 1)}
    places = {"one/a": "one/a/", "two/deep/b": "two/deep/b/", "one": "one/"}
    parts = [
        ci.run(save(tmp_path / place, images), out=tmp_path / f"out_{k}").out
        for k, place in enumerate(places)
    ]
    merged = ci.merge(parts)
    assert merged.files == tuple(prefix + name for prefix in places.values() for name in images)
    assert sorted(Path(target).name for target in merged.targets) == [
        "x.png", "x_2.png", "x_3.png", "y.png", "y_2.png", "y_3.png",
    ]  # fmt: skip
    alone = ci.merge(parts[:1], out=tmp_path / "alone")
    assert alone.files == ("x.png", "y.png")
    within = ci.merge([parts[2], parts[0]], out=tmp_path / "within")
    assert within.files == ("x.png", "y.png", "a/x.png", "a/y.png")


# --- what is refused ---


def test_an_image_may_be_in_one_result_only(folders: list[Path], tmp_path: Path) -> None:
    a = ci.run(folders[0]).out
    again = ci.run(folders[0], out=tmp_path / "again").out
    with pytest.raises(ci.UsageError, match=r"0\.png is in 2 of the results: an image may be in one"):
        ci.merge([a, again])
    whole = ci.run(folders[0].parent, recursive=True, out=tmp_path / "whole").out
    with pytest.raises(ci.UsageError, match=r"a/0\.png is in 2 of the results"):
        ci.merge([whole, a], out=tmp_path / "merged")
    with pytest.raises(ci.UsageError, match="different folders, got one of them twice"):
        ci.merge([a, a / ".." / a.name])
    with pytest.raises(ci.UsageError, match="one or more result folders, got none"):
        ci.merge([])
    assert not list(tmp_path.glob("*merged*"))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"method": "ssim"}, {"method": "tm"}, "agree in method: .*a result has ssim, .*b result has tm"),
        ({"method": "tm"}, {"method": "tm", "size": (48, 40)}, r"agree in params: .*\[32, 32\].*\[48, 40\]"),
        ({}, {"hash_size": 8}, "agree in params"),
        ({"method": "orb"}, {"method": "orb", "orb_rule": "absolute"}, "agree in orb_rule"),
        ({}, {"threshold": 0.9}, "different thresholds: give the one to use"),
    ],
)
def test_results_that_disagree_are_refused(
    folders: list[Path], one: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    parts = [
        results_of([folder], **options)[0] for folder, options in zip(folders, (one, other), strict=False)
    ]
    before = snapshot(folders[0].parent.parent)
    with pytest.raises(ci.UsageError, match=message):
        ci.merge(parts)
    assert snapshot(folders[0].parent.parent) == before
    if "threshold" in other:
        assert len(ci.merge(parts, threshold=0.8).files) == 9


def test_a_result_without_features_is_refused(folders: list[Path]) -> None:
    a, b = results_of(folders[:2])
    shutil.rmtree(b / ".clusterimg")
    with pytest.raises(ci.ResultError, match=f"{b} lacks the features of 5 of 5 images: make it again"):
        ci.merge([a, b])
    assert not a.with_name("a result_merged").exists()


@pytest.mark.parametrize("out", ["a result", "all/a", "all", ".", "b result"])
def test_out_must_be_a_place_of_its_own(folders: list[Path], out: str) -> None:
    parts = results_of(folders[:2])
    before = snapshot(folders[0].parent.parent)
    with pytest.raises(ci.UsageError):
        ci.merge(parts, out=folders[0].parent.parent / out)
    with pytest.raises(ci.UsageError):
        ci.merge(parts, out=folders[0].parent.parent / out, overwrite=True)
    assert snapshot(folders[0].parent.parent) == before


def test_a_result_in_use_is_named(folders: list[Path]) -> None:
    a, b = results_of(folders[:2])
    with results.locked(b), pytest.raises(ci.ResultError, match=f"{b} is in use by another run"):
        ci.merge([a, b])
    with results.locked(b), pytest.raises(ci.ResultError, match=f"{b} is in use by another run"):
        ci.merge([a, b], dry_run=True)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "clusters.csv",
        "manifest.jsonl",
        ".clusterimg/features_000000.npz",
        "similarities_batch_0.parquet",
    ],
)
def test_damage_is_named_or_of_no_matter(folders: list[Path], name: str, damage: str) -> None:
    expected = together(folders[:2])
    parts = results_of(folders[:2])
    path = parts[1] / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    try:
        merged = ci.merge(parts, merge="exact", transfer="none")
    except ci.ClusterimgError as error:
        assert str(parts[1]) in str(error)
        assert not parts[0].with_name("a result_merged").exists()
        return
    known = [file for file in expected.files if not file.startswith("c/")]
    assert list(merged.files) == known


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parameters", {}),
        ("parameters", {"method": "sift"}),
        ("parameters", {"method": "imagehash", "threshold": "high"}),
        ("parameters", {"method": "imagehash", "size": [1]}),
        ("parameters", {"method": ["imagehash"]}),
        ("features", None),
        ("features", {}),
        ("image_policy", {"a": 1}),
        ("folder", 3),
    ],
)
def test_a_run_file_with_other_values_is_an_error_that_names_it(
    folders: list[Path], key: str, value: Any
) -> None:
    import json

    part = results_of(folders[:1])[0]
    summary = json.loads((part / "run.json").read_text())
    (part / "run.json").write_text(json.dumps({**summary, key: value}))
    try:
        ci.merge([part])
    except ci.ClusterimgError as error:
        assert str(part) in str(error)


# --- resume, overwrite, dry run ---


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_a_merge_is_gone_on_with(folders: list[Path], transfer: str) -> None:
    before = contents(folders[0].parent)
    parts = results_of(folders, transfer="move")
    options: dict[str, Any] = {"transfer": transfer, "merge": "exact"}

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "files" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ci.merge(parts, **options, progress=interrupt)
    merged = ci.merge(parts, **options, resume=True)
    assert_files(merged, before)
    table = (merged.out / "clusters.csv").read_bytes()
    again = ci.merge(parts, **options, resume=True)
    assert (merged.out / "clusters.csv").read_bytes() == table
    assert_files(again, before)
    other = ci.merge(parts, transfer=transfer, merge="exact", threshold=-1.0, resume=True)
    assert_files(other, before)
    assert other.labels.tolist() != merged.labels.tolist()
    for out in (merged.out, *parts):
        assert ci.undo(out).kept == ()
    assert contents(folders[0].parent) == before


def test_overwrite_replaces_a_merge_of_copies_only(folders: list[Path]) -> None:
    parts = results_of(folders, transfer="move")
    first = ci.merge(parts)
    again = ci.merge(parts, merge="exact", overwrite=True)
    assert again.out == first.out
    assert not (again.out / "similarities_representatives.parquet").exists()
    ci.merge(parts, transfer="move", resume=True)
    with pytest.raises(
        ci.UsageError, match=f"holds moved originals: put them back first, by undo {first.out}"
    ):
        ci.merge(parts, overwrite=True)


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_a_dry_run_of_a_merge_writes_nothing(folders: list[Path], transfer: str) -> None:
    parts = results_of(folders, transfer="move")
    before = snapshot(folders[0].parent.parent)
    dry = ci.merge(parts, merge="exact", transfer=transfer, dry_run=True)
    assert snapshot(folders[0].parent.parent) == before
    real = ci.merge(parts, merge="exact", transfer=transfer)
    assert (dry.out, dry.files, dry.targets) == (real.out, real.files, real.targets)
    assert_equal(dry, real)


def test_skipped_files_are_told_again(folders: list[Path]) -> None:
    (folders[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(folders[1] / "pipe.png")
    parts = results_of(folders)
    merged = ci.merge(parts)
    assert [skip.file for skip in merged.skipped] == ["a/broken.png", "b/pipe.png"]
    with pytest.raises(ci.FilesSkipped, match="2 files were skipped"):
        ci.merge(parts, strict=True, overwrite=True)


def test_a_moved_file_that_changed_is_skipped_by_the_name_it_had(folders: list[Path]) -> None:
    parts = results_of(folders[:2], transfer="move")
    table = results.read_clusters_table(parts[0])
    (parts[0] / table.targets[0]).write_bytes(b"edited")
    merged = ci.merge(parts, transfer="copy")
    assert [skip.file for skip in merged.skipped] == [f"a/{table.files[0]}"]
    assert merged.targets[merged.files.index(f"a/{table.files[0]}")] == ""
