"""--resume, --overwrite, --dry-run, --merge no: a result gone on with is that of a run from nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clusterimg as ci
from pictures import groups, partition, picture, save
from reader_here import ReaderHere
from test_pipeline import interrupt_at

pytestmark = pytest.mark.usefixtures("read_here")

N_IMAGES = 7


def photos(folder: Path) -> Path:
    """Save pictures that have the same times wherever they are, one of them in a subfolder."""
    images = groups(2, 2, 2) | {"sub/0_0.png": picture(0)}
    save(folder, images)
    for k, name in enumerate(sorted(images)):
        os.utime(folder / name, ns=(10**18 + k, 10**18 + k))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos")


def run(folder: Path, **options: Any) -> ci.Result:
    return ci.run(folder, **{"recursive": True, **options})


_made: dict[str, Path] = {}


@pytest.fixture
def from_nothing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give the result folder of a run over the same pictures elsewhere; each is made once."""

    def make(**options: Any) -> Path:
        key = str(sorted(options.items()))
        if key not in _made:
            _made[key] = run(photos(tmp_path_factory.mktemp("fresh") / "photos"), **options).out
        return _made[key]

    return make


def assert_same(out: Path, fresh: Path) -> None:
    """Check that two result folders hold the same tables and files."""
    kinds = ("*.csv", "*.parquet", "result/*/*", "batch_*/*/*")
    found, expected = (
        {str(path.relative_to(root)): path.read_bytes() for kind in kinds for path in root.glob(kind)}
        for root in (out, fresh)
    )
    assert found == expected
    trees = [{str(path.relative_to(root)) for path in root.rglob("*")} for root in (out, fresh)]
    features = [{name for name in tree if name.startswith(".clusterimg/features_")} for tree in trees]
    assert trees[0] - features[0] == trees[1] - features[1]


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time and content of all there is, folders too."""
    return {
        str(path): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            os.fsencode(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# --- the same again ---


@pytest.mark.parametrize("transfer", ["copy", "move", "hardlink", "symlink", "none"])
def test_a_finished_run_is_not_done_again(
    folder: Path, transfer: str, monkeypatch: pytest.MonkeyPatch, from_nothing: Callable[..., Path]
) -> None:
    options = {"transfer": transfer, "batch_size": 3}
    fresh = from_nothing(**options)
    first = run(folder, **options)
    before = snapshot(first.out)
    monkeypatch.setattr(ReaderHere, "read", lambda *_: pytest.fail("an image was read"))
    again = run(folder, **options, resume=True)
    assert again.summary["reused"] == {"features": N_IMAGES, "batches": 0}
    assert again.targets == first.targets
    written_again = {str(first.out), *(str(first.out / name) for name in ("clusters.csv", "skipped.csv"))}
    written_again |= {str(first.out / name) for name in ("run.json", "manifest.jsonl", ".clusterimg")}
    after = snapshot(first.out)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= written_again
    assert (first.out / "clusters.csv").read_bytes() == (fresh / "clusters.csv").read_bytes()


def test_resume_without_a_result_begins_one(folder: Path, from_nothing: Callable[..., Path]) -> None:
    result = run(folder, resume=True)
    assert result.summary["reused"] == {"features": 0, "batches": 0}
    assert_same(result.out, from_nothing())


@pytest.mark.parametrize("at", [0, 1, 3])
def test_pairs_of_batches_are_used_again(
    folder: Path, at: int, monkeypatch: pytest.MonkeyPatch, from_nothing: Callable[..., Path]
) -> None:
    """After an interrupt in the merge, or in a later batch, nothing of the earlier ones is done again."""
    with pytest.raises(KeyboardInterrupt):
        run(folder, batch_size=2, merge="exact", progress=interrupt_at("merge", at) if at else _in_pairs())
    again = run(folder, batch_size=2, merge="exact", resume=True)
    assert again.summary["reused"] == {"features": 7, "batches": 4} if at else {"features": 6, "batches": 2}
    assert_same(again.out, from_nothing(batch_size=2, merge="exact"))


def _in_pairs() -> Any:
    calls = iter([None, None, KeyboardInterrupt])

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "pairs" and done == total and (error := next(calls)) is not None:
            raise error

    return progress


# --- with other parameters ---

CHANGES: list[tuple[dict[str, Any], int]] = [
    ({"threshold": 0.97}, N_IMAGES),
    ({"threshold": -1.0}, N_IMAGES),
    ({"method": "ssim", "size": (32, 24)}, 0),
    ({"hash_size": 8}, 0),
    ({"batch_size": 2}, N_IMAGES),
    ({"batch_size": 3, "merge": "exact"}, N_IMAGES),
    ({"batch_size": 3, "merge": "no"}, N_IMAGES),
    ({"transfer": "hardlink"}, N_IMAGES),
    ({"transfer": "symlink"}, N_IMAGES),
    ({"transfer": "none"}, N_IMAGES),
    ({"transfer": "move"}, N_IMAGES),
    ({"batch_folders": False}, N_IMAGES),
    ({"recursive": False}, N_IMAGES - 1),
]


@pytest.mark.parametrize(("change", "n_reused"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_changed_parameters_bring_the_result_up_to_date(
    folder: Path, change: dict[str, Any], n_reused: int, from_nothing: Callable[..., Path]
) -> None:
    before = contents(folder)
    out = run(folder).out
    (out / "mine.txt").write_text("mine")
    again = run(folder, **change, resume=True)
    assert again.summary["reused"]["features"] == n_reused
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert_same(out, from_nothing(**change))
    back = run(folder, resume=True)
    assert back.summary["reused"]["features"] == (N_IMAGES if n_reused else 0)
    assert_same(out, from_nothing())
    assert contents(folder) == before


MOVED_CHANGES = [
    {"threshold": 0.97},
    {"threshold": -1.0},
    {"method": "ssim"},
    {"batch_size": 3},
    {"batch_size": 3, "merge": "no"},
    {"transfer": "copy"},
    {"transfer": "none"},
]


@pytest.mark.parametrize("change", MOVED_CHANGES, ids=str)
def test_a_moved_result_is_brought_up_to_date(
    folder: Path, change: dict[str, Any], from_nothing: Callable[..., Path]
) -> None:
    before = contents(folder)
    out = run(folder, transfer="move").out
    assert contents(folder) == {}
    again = run(folder, **{"transfer": "move", **change}, resume=True)
    assert again.summary["reused"]["features"] == (0 if "method" in change else N_IMAGES)
    assert_same(out, from_nothing(**{"transfer": "move", **change}))
    assert ci.undo(out).kept == ()
    assert contents(folder) == before


def test_without_features_images_are_read_again(folder: Path) -> None:
    before = contents(folder)
    out = run(folder, transfer="move", keep_features=False).out
    assert not (out / ".clusterimg").exists()
    again = run(folder, transfer="move", resume=True)
    assert again.summary["reused"] == {"features": 0, "batches": 1}
    assert len(again.files) == N_IMAGES
    assert ci.undo(out).kept == ()
    assert contents(folder) == before


def test_a_result_of_another_folder_is_not_gone_on_with(folder: Path) -> None:
    other = photos(folder.with_name("other"))
    out = run(folder).out
    before = snapshot(out)
    with pytest.raises(
        ci.UsageError, match=rf"is a result of {folder}, not of {other}: choose another --out"
    ):
        run(other, out=out, resume=True)
    assert snapshot(out) == before


# --- changes in the folder ---


@pytest.mark.parametrize("transfer", ["symlink", "none"])
def test_added_deleted_and_edited_files_are_noticed(folder: Path, transfer: str) -> None:
    out = run(folder, transfer=transfer).out
    save(folder, {"new.png": picture(1), "sub/new.png": picture(77), "1_1.png": picture(9)})
    os.utime(folder / "single_0.png", ns=(8, 8))  # the same content: only its time says otherwise
    (folder / "0_0.png").unlink()
    fresh = run(folder, transfer=transfer, out=folder.with_name("fresh"))
    again = run(folder, transfer=transfer, resume=True)
    assert again.summary["reused"]["features"] == N_IMAGES - 3
    assert_same(out, fresh.out)


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_added_files_are_handed_over(folder: Path, transfer: str) -> None:
    """After a move the folder holds only what came since."""
    out = run(folder, transfer=transfer).out
    later = photos(folder.with_name("later"))
    for place in (folder, later):
        save(place, {"new.png": picture(1), "sub/new.png": picture(77)})
        for k, name in enumerate(("new.png", "sub/new.png")):
            os.utime(place / name, ns=(k, k))
    again = run(folder, transfer=transfer, resume=True)
    assert again.summary["reused"]["features"] == N_IMAGES
    assert_same(out, run(later, transfer=transfer).out)


def test_the_copy_of_an_edited_file_is_replaced(folder: Path) -> None:
    out = run(folder).out
    save(folder, {"single_0.png": picture(0)})
    run(folder, resume=True)
    assert_same(out, run(folder, out=folder.with_name("fresh")).out)


def test_the_last_copy_of_a_deleted_file_is_kept(folder: Path) -> None:
    out = run(folder).out
    original = folder / "single_0.png"
    data = original.read_bytes()
    original.unlink()
    with pytest.raises(ci.ResultError, match=rf"single_0\.png is all that is left of {original}"):
        run(folder, resume=True)
    (out / "result" / "outliers" / "single_0.png").rename(folder.with_name("kept.png"))
    assert folder.with_name("kept.png").read_bytes() == data
    run(folder, resume=True)
    assert_same(out, run(folder, out=folder.with_name("fresh")).out)


def test_a_file_that_can_be_read_by_now_is_taken(folder: Path, from_nothing: Callable[..., Path]) -> None:
    good = (folder / "0_0.png").read_bytes()
    (folder / "0_0.png").write_bytes(good[:100])
    os.utime(folder / "0_0.png", ns=(5, 5))
    assert len(run(folder).skipped) == 1
    assert len(run(folder, resume=True).skipped) == 1
    (folder / "0_0.png").write_bytes(good)
    os.utime(folder / "0_0.png", ns=(10**18, 10**18))
    again = run(folder, resume=True)
    assert again.skipped == ()
    assert again.summary["reused"]["features"] == N_IMAGES - 1
    assert_same(again.out, from_nothing())


# --- changes in the result ---


@pytest.mark.parametrize(
    "change", [{"threshold": -1.0}, {"transfer": "none"}, {"transfer": "hardlink"}], ids=str
)
def test_a_copy_somebody_edited_is_never_deleted(
    folder: Path, change: dict[str, Any], from_nothing: Callable[..., Path]
) -> None:
    before, out = contents(folder), run(folder).out
    edited = out / "result" / "outliers" / "single_0.png"
    edited.write_bytes(b"edited")
    for options in (change, {"overwrite": True}):
        error = ci.UsageError if "overwrite" in options else ci.ResultError
        with pytest.raises(error, match=r"result/outliers/single_0\.png was changed since"):
            run(folder, **{"resume": "overwrite" not in options, **options})
        assert edited.read_bytes() == b"edited"
        assert contents(folder) == before
    edited.rename(folder.with_name("edited.png"))
    run(folder, **change, resume=True)
    assert_same(out, from_nothing(**change))


def test_a_file_somebody_put_into_a_cluster_is_never_deleted(
    folder: Path, from_nothing: Callable[..., Path]
) -> None:
    out = run(folder).out
    mine = out / "result" / "cluster_1" / "mine.txt"
    mine.write_text("mine")
    assert run(folder, resume=True).summary["reused"]["features"] == N_IMAGES
    with pytest.raises(ci.ResultError, match="result/cluster_1 holds files that are not from this run"):
        run(folder, threshold=-1.0, resume=True)
    assert mine.read_text() == "mine"
    mine.unlink()
    run(folder, threshold=-1.0, resume=True)
    assert_same(out, from_nothing(threshold=-1.0))


def test_a_file_in_the_way_is_never_overwritten(folder: Path, from_nothing: Callable[..., Path]) -> None:
    out = run(folder, transfer="none").out
    mine = out / "result" / "outliers" / "single_0.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(
        ci.ResultError, match=f"can't write {mine}: there is a file that is not from this run"
    ):
        run(folder, transfer="move", resume=True)
    assert mine.read_text() == "mine"
    mine.unlink()
    run(folder, transfer="copy", resume=True)
    assert_same(out, from_nothing())


def test_a_copy_somebody_deleted_is_made_again(folder: Path, from_nothing: Callable[..., Path]) -> None:
    out = run(folder).out
    shutil.rmtree(out / "result" / "cluster_0")
    (out / "batch_0" / "cluster_1" / "1_1.png").unlink()
    run(folder, resume=True)
    assert_same(out, from_nothing())


def test_a_moved_file_somebody_edited_is_kept(folder: Path) -> None:
    out = run(folder, transfer="move").out
    (out / "result" / "outliers" / "single_0.png").write_bytes(b"edited")
    again = run(folder, transfer="move", threshold=-1.0, resume=True)
    left_out = {skip.file: skip.reason for skip in again.skipped}
    assert left_out == {"single_0.png": "changed while the run was at work"}
    assert (folder / "single_0.png").read_bytes() == b"edited"
    assert ci.undo(out).kept == ()
    assert len(contents(folder)) == N_IMAGES


def test_a_moved_file_somebody_deleted_is_missed_by_nobody(folder: Path) -> None:
    out = run(folder, transfer="move").out
    (out / "result" / "outliers" / "single_0.png").unlink()
    again = run(folder, transfer="move", resume=True)
    assert "single_0.png" not in again.files
    assert len(again.files) == N_IMAGES - 1
    assert ci.undo(out).restored == N_IMAGES - 1


def test_resume_after_undo_moves_again(folder: Path) -> None:
    first = run(folder, transfer="move")
    ci.undo(first.out)
    again = run(folder, transfer="move", resume=True)
    assert again.summary["reused"]["features"] == N_IMAGES
    assert again.targets == first.targets
    assert contents(folder) == {}


# --- overwrite ---


@pytest.mark.parametrize("transfer", ["copy", "hardlink", "symlink", "none"])
def test_overwrite_leaves_nothing_of_the_old_result(
    folder: Path, transfer: str, from_nothing: Callable[..., Path]
) -> None:
    before = contents(folder)
    run(folder, method="ssim", batch_size=2, transfer=transfer, overwrite=True)
    result = run(folder, overwrite=True)
    assert result.summary["reused"] == {"features": 0, "batches": 0}
    assert_same(result.out, from_nothing())
    assert contents(folder) == before


def test_overwrite_refuses_moved_originals_until_they_are_back(
    folder: Path, from_nothing: Callable[..., Path]
) -> None:
    out = run(folder, transfer="move").out
    before = snapshot(out)
    with pytest.raises(ci.UsageError, match=f"holds moved originals: put them back first, by undo {out}"):
        run(folder, overwrite=True)
    assert snapshot(out) == before
    ci.undo(out)
    assert_same(run(folder, overwrite=True).out, from_nothing())


@pytest.mark.parametrize(
    "where", ["mine.txt", "result/mine.txt", "batch_0/cluster_0/mine.txt", "mine/mine.txt"]
)
def test_overwrite_refuses_what_is_not_from_a_run(folder: Path, where: str) -> None:
    out = run(folder).out
    (out / where).parent.mkdir(exist_ok=True)
    (out / where).write_text("mine")
    before = snapshot(out)
    with pytest.raises(ci.UsageError, match=f"can't be overwritten: {where} is not from a run"):
        run(folder, overwrite=True)
    assert snapshot(out) == before


def test_overwrite_refuses_to_delete_the_last_copy(folder: Path) -> None:
    out = run(folder).out
    (folder / "single_0.png").unlink()
    before = snapshot(out)
    with pytest.raises(ci.UsageError, match=r"single_0\.png is all that is left of"):
        run(folder, overwrite=True)
    assert snapshot(out) == before


# --- dry run ---


@pytest.mark.parametrize("first", [None, "copy", "move"])
@pytest.mark.parametrize(
    "change", [{}, {"threshold": -1.0}, {"method": "ssim"}, {"transfer": "move"}], ids=str
)
def test_a_dry_run_writes_nothing(
    folder: Path, first: str | None, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = folder.with_name("tmp")
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if first:
        run(folder, transfer=first)
    before = snapshot(folder.parent)
    options = {**change, "resume": first is not None}
    if first == "move" and "method" in change:
        with pytest.raises(ci.UsageError, match="holds moved originals that must be read again: undo"):
            run(folder, **options, dry_run=True)
        dry = None
    else:
        dry = run(folder, **options, dry_run=True)
    if first == "copy":
        run(folder, **change, overwrite=True, dry_run=True)
    after = snapshot(folder.parent)
    for moment in (before, after):
        moment.pop(str(temporary))  # its own time has changed
    assert after == before
    real = run(folder, **options)
    if dry is not None:
        assert dry.out == real.out
        assert (dry.files, dry.targets, dry.skipped) == (real.files, real.targets, real.skipped)
        np.testing.assert_array_equal(dry.labels, real.labels)
        assert dry.summary["counts"] == real.summary["counts"]


def test_a_dry_run_refuses_what_a_run_would_refuse(folder: Path) -> None:
    out = run(folder, transfer="move").out
    before = snapshot(folder.parent)
    for options, message in (
        ({}, "holds a result"),
        ({"overwrite": True}, "holds moved originals"),
        ({"out": folder}, "is or holds the folder of the images"),
    ):
        with pytest.raises(ci.UsageError, match=message):
            run(folder, **options, dry_run=True)
    (out / "result" / "mine.txt").write_text("mine")
    ci.undo(out)
    with pytest.raises(ci.UsageError, match=r"mine\.txt is not from a run"):
        run(folder, overwrite=True, dry_run=True)
    assert set(snapshot(folder.parent)) < set(before) | {str(out / "result" / "mine.txt")} | set(
        snapshot(folder)
    )


# --- merge no ---


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_without_a_merge_files_go_into_their_batches(folder: Path, transfer: str) -> None:
    before = contents(folder)
    result = run(folder, merge="no", batch_size=3, transfer=transfer)
    assert not (result.out / "result").exists()
    assert not (result.out / "similarities_representatives.parquet").exists()
    for file, target, batch, label in zip(
        result.files, result.targets, result.batches, result.batch_labels, strict=True
    ):
        home = "outliers" if label < 0 else f"cluster_{label}"
        assert target == f"batch_{batch}/{home}/{Path(file).name}"
        assert not (result.out / target).is_symlink()
        assert (result.out / target).read_bytes() == before[file][0]
    names = [f"{batch}/{file}" for batch, file in zip(result.batches, result.files, strict=True)]
    batches = [
        ci.run(part, out=folder.with_name(f"out_{k}"), transfer="none")
        for k, part in enumerate(_parts_of(folder.with_name("parts"), result, before))
    ]
    expected = set()
    for k, part in enumerate(batches):
        flat = {f"{k}/{file.replace('+', '/')}": file for file in part.files}
        expected |= {
            frozenset(name for name, file in flat.items() if file in cluster)
            for cluster in partition(part.files, part.labels)
        }
    assert partition(names, result.labels) == expected
    assert ci.undo(result.out).kept == ()
    assert contents(folder) == before


def _parts_of(place: Path, result: ci.Result, files: dict[str, tuple[bytes, int]]) -> list[Path]:
    """Save the images of each batch in a folder of their own."""
    for file, batch in zip(result.files, result.batches, strict=True):
        path = place / str(batch) / file.replace("/", "+")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[file][0])
    return sorted(place.iterdir())


# --- damage ---

DAMAGE = {
    "emptied": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "one byte": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x40]) + data[len(data) // 2 + 1 :]
    ),
    "something else": lambda data: b"something else\n" * 20,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        ".clusterimg/features_000000.npz",
        ".clusterimg/decision.npz",
        "similarities_batch_0.parquet",
        "clusters.csv",
        "run.json",
        "manifest.jsonl",
    ],
)
@pytest.mark.parametrize("threshold", [None, 0.97])
def test_damage_is_mended_or_named(
    folder: Path, name: str, damage: str, threshold: float | None, from_nothing: Callable[..., Path]
) -> None:
    out = run(folder).out
    path = out / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    try:
        run(folder, threshold=threshold, resume=True)
    except ci.ResultError as error:
        assert str(out if damage == "cut off" else path) in str(error)
        if name != "manifest.jsonl":
            path.unlink()
            run(folder, threshold=threshold, resume=True)
    if name != "manifest.jsonl":
        assert_same(out, from_nothing(threshold=threshold))
