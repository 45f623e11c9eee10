from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from clusterimg import demo
from clusterimg.errors import MissingExtra, ResultError, UsageError

pytest.importorskip("skimage", reason="the demo photos ship with scikit-image")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "photos"
    demo.make_demo(folder)
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with folder.with_name(f"{folder.name}_labels.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_labels_match_the_files(made: Path) -> None:
    rows = rows_of(made)
    assert list(rows[0]) == ["file", "group", "variant"]
    assert [row["file"] for row in rows] == sorted({p.name for p in made.iterdir()} - {"notes.jpg"})


def test_has_groups_of_copies_and_singles(made: Path) -> None:
    groups = [row["group"] for row in rows_of(made)]
    sizes = [groups.count(group) for group in set(groups)]
    assert sizes.count(1) == 5
    assert sum(4 <= size <= 7 for size in sizes) == 13
    assert len(sizes) == 18


def test_every_image_decodes_and_is_small(made: Path) -> None:
    for row in rows_of(made):
        with Image.open(made / row["file"]) as image:
            image.load()
            # a border may go beyond the size of the photo by 2 % on each side
            assert 64 < max(image.size) <= 532


def test_an_edit_changes_the_picture_and_keeps_its_subject(made: Path) -> None:
    for row in rows_of(made):
        if row["variant"] in {"original", "other_eye"}:
            continue
        original, copy = made / f"{row['group']}.jpg", made / row["file"]
        same_bytes = original.read_bytes() == copy.read_bytes()
        assert same_bytes == (row["variant"] == "same_bytes")
        with Image.open(original) as a, Image.open(copy) as b:
            grey_a, grey_b = (i.convert("L").resize((16, 16)).tobytes() for i in (a, b))
        differences = [abs(x - y) for x, y in zip(grey_a, grey_b, strict=True)]
        assert sum(differences) / len(differences) < 45, row


def test_one_file_is_no_image(made: Path) -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(made / "notes.jpg")


def test_same_seed_same_bytes_other_seed_other_copies(made: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "photos", tmp_path / "other"
    demo.make_demo(again)
    demo.make_demo(other, seed=1)
    assert contents(again) == contents(made)
    assert rows_of(again) == rows_of(made)
    assert rows_of(other) != rows_of(made)


def test_refuses_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="choose another"):
        demo.make_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.jpg"]


def test_refuses_to_replace_a_table(tmp_path: Path) -> None:
    (tmp_path / "photos_labels.csv").write_text("mine")
    with pytest.raises(UsageError, match="choose another"):
        demo.make_demo(tmp_path / "photos")
    assert (tmp_path / "photos_labels.csv").read_text() == "mine"


def test_names_the_extra_without_scikit_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(MissingExtra, match=r"clusterimg\[demo\]"):
        demo.make_demo(tmp_path / "photos")
    assert not (tmp_path / "photos").exists()


def test_names_a_photo_that_did_not_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_COPIED", ("nobody.png",))
    with pytest.raises(ResultError, match=r"nobody\.png"):
        demo.make_demo(tmp_path / "photos")
