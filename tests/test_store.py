"""Features and decisions kept as files: found again, put together in any order, refused when damaged."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg._decision import Decision
from clusterimg._linking import REFUSED_DTYPE
from clusterimg._store import Place, Store
from clusterimg._types import Features, Ragged, Skip
from clusterimg.errors import ResultError

ABOUT = {"method": "m", "params": {"size": (8, 8)}, "decoders": {"x": "1"}}
KINDS = ["dense", "ragged", "images", "sizes"]
HOSTILE = [os.fsdecode(b"\xff\n.jpg"), "sub folder/a b.jpg", "\N{CAT FACE}", "back\\slash"]


def features_of(numbers: Sequence[int], kind: str = "dense") -> Features:
    """Return the features of images that are told apart by a number, in one of the forms that methods use.

    dense, ragged : rows of one length, of different ones
    images : flattened images of different sizes
    sizes : images, dense where all have one size, as `tm` keeps them
    """
    shapes = np.array([(1 + k % 3, 1 + k % 2) for k in numbers], np.int32).reshape(-1, 2)
    pictures = [np.full(shape, k % 251, np.uint8) for k, shape in zip(numbers, shapes.tolist(), strict=True)]
    values: NDArray[Any] | Ragged
    if kind == "dense":
        values = np.array([(k, k * k) for k in numbers], np.uint64).reshape(-1, 2)
    elif kind == "ragged":
        rows = [np.full((k % 4, 3), k, np.float32) for k in numbers]
        values = Ragged.from_arrays(rows, empty=np.empty((0, 3), np.float32))
    elif kind == "images" or len({picture.shape for picture in pictures}) != 1:
        values = Ragged.from_images(pictures)
    else:
        values = np.stack(pictures)
    return Features(
        "m",
        {"kind": kind},
        values,
        shapes,
        np.array([k % 5 == 0 for k in numbers], bool),
        np.array([k % 7 == 0 for k in numbers], bool),
        np.array([np.frombuffer(b"%16d" % k, np.uint8) for k in numbers], np.uint8).reshape(-1, 16),
    )


def names_of(numbers: Sequence[int]) -> list[str]:
    return [f"sub/{k:04}.jpg" for k in numbers]


def stamps_of(numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.array([(k, 10**18 + k) for k in numbers], np.int64).reshape(-1, 2)


def add(store: Store, numbers: Sequence[int], kind: str = "dense") -> list[Place]:
    decoders = ["cv2" if k % 2 else "pillow" for k in numbers]
    return store.add(names_of(numbers), stamps_of(numbers), decoders, features_of(numbers, kind))


def assert_same(got: Features, wanted: Features) -> None:
    assert (got.method, dict(got.params), len(got)) == (wanted.method, dict(wanted.params), len(wanted))
    for name in ("shapes", "featureless", "near_flat", "digests"):
        found, expected = getattr(got, name), getattr(wanted, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    for k in range(len(wanted)):
        np.testing.assert_array_equal(got.values[k], wanted.values[k])
        assert got.values[k].dtype == wanted.values[k].dtype
        assert got.values[k].shape == wanted.values[k].shape


def test_the_comparison_sees_a_difference() -> None:
    with pytest.raises(AssertionError):
        assert_same(features_of([1, 2], "ragged"), features_of([1, 6], "ragged"))


# Finding


@pytest.mark.parametrize("again", [False, True], ids=["in the same process", "opened again"])
def test_files_are_found_by_name_and_stamp(tmp_path: Path, again: bool) -> None:
    store = Store(tmp_path, ABOUT)
    first, second = add(store, [1, 3, 5]), add(store, [2, 4])
    assert first[1] == Place(0, 1, "cv2", 3, 10**18 + 3)
    assert second[1] == Place(1, 1, "pillow", 4, 10**18 + 4)
    if again:
        store = Store(tmp_path, ABOUT)
    numbers = [4, 9, 1, 5, 0, 3]
    wanted = [second[1], None, first[0], first[2], None, first[1]]
    assert store.find(names_of(numbers)) == wanted
    assert store.find(names_of(numbers), stamps_of(numbers)) == wanted
    other = stamps_of(numbers)
    other[0, 0] += 1  # another size
    other[2, 1] += 1  # another time
    assert store.find(names_of(numbers), other) == [None, None, None, first[2], None, first[1]]
    assert store.find([]) == []


def test_any_name_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path, ABOUT)
    numbers = range(len(HOSTILE))
    places = store.add(HOSTILE, stamps_of(numbers), ["cv2"] * len(HOSTILE), features_of(numbers))
    for found in (store, Store(tmp_path, ABOUT)):
        assert found.find(HOSTILE) == places
        assert found.find(["a b.jpg", "back", ""]) == [None] * 3


def test_a_file_that_was_added_twice_is_found_where_its_stamp_is(tmp_path: Path) -> None:
    store = Store(tmp_path, ABOUT)
    old = add(store, [1])
    new = store.add(names_of([1]), stamps_of([2]), ["cv2"], features_of([2]))
    assert store.find(names_of([1]), stamps_of([1])) == old
    assert store.find(names_of([1]), stamps_of([2])) == new


def test_chunks_of_other_parameters_are_not_seen_and_not_overwritten(tmp_path: Path) -> None:
    add(Store(tmp_path, ABOUT), [1, 2])
    other = Store(tmp_path, ABOUT | {"params": {"size": (8, 9)}})
    assert other.find(names_of([1, 2])) == [None, None]
    assert add(other, [1])[0].chunk == 1
    assert Store(tmp_path, ABOUT).find(names_of([1, 2])) == [
        Place(0, 0, "cv2", 1, 10**18 + 1),
        Place(0, 1, "pillow", 2, 10**18 + 2),
    ]


def test_other_files_in_the_folder_are_none_of_its_business(tmp_path: Path) -> None:
    for name in ("features_x.npz", "features_.npz", "features_7.txt", "edges.npz", "features_²³.npz"):
        (tmp_path / name).write_text("nonsense")
    store = Store(tmp_path, ABOUT)
    assert store.find(names_of([1])) == [None]
    assert add(store, [1])[0].chunk == 0
    store.forget_unused()
    assert len(list(tmp_path.iterdir())) == 5


# Gathering


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_its_features_in_its_own_order(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path, ABOUT)
    chunks = [[5, 3, 8], [1], [9, 2, 7, 4], [11, 5 + 6, 17]]
    places = {k: place for chunk in chunks for k, place in zip(chunk, add(store, chunk, kind), strict=True)}
    batches = [[5, 3, 8], [4, 5, 1, 9, 3], [8], [11, 17], sorted(places), sorted(places, reverse=True)]
    for batch in batches:
        chosen = [places[k] for k in batch]
        assert_same(store.put(chosen, {}, empty=features_of([], kind)), features_of(batch, kind))
    for number in (4, 0, 5, 0):
        assert_same(store.get(number), features_of(batches[number], kind))


def test_what_was_asked_for_last_stays_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path, ABOUT)
    places = add(store, [1, 2, 3])
    features = store.put(places, {}, empty=features_of([]))
    store.put(places[:1], {}, empty=features_of([]))
    (tmp_path / "features_000000.npz").rename(tmp_path / "away")
    assert_same(store.get(1), features_of([1]))
    with pytest.raises(ResultError, match=r"features_000000\.npz is damaged"):
        store.get(0)
    (tmp_path / "away").rename(tmp_path / "features_000000.npz")
    assert_same(store.get(0), features)


def test_fresh_chunks_are_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path, ABOUT)
    old, new = add(store, [1, 2]), add(store, [3, 4])
    (tmp_path / "features_000001.npz").unlink()
    got = store.put([new[1], old[0], new[0]], {1: features_of([3, 4])}, empty=features_of([]))
    assert_same(got, features_of([4, 1, 3]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path, ABOUT)
    places = add(store, [1], kind)
    assert_same(store.put([], {}, empty=features_of([], kind)), features_of([], kind))
    store.put(places, {}, empty=features_of([], kind))
    assert len(store.get(0)) == 0
    assert_same(store.get(1), features_of([1], kind))


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_any_batches_of_any_chunks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    numbers = data.draw(st.permutations(range(sum(sizes))))
    store = Store(tmp_path_factory.mktemp("store"), ABOUT)
    places: dict[int, Place] = {}
    fresh: dict[int, Features] = {}
    for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True):
        chunk = numbers[end - size : end]
        places |= zip(chunk, add(store, chunk, kind), strict=True)
        if data.draw(st.booleans()):
            fresh[places[chunk[0]].chunk] = features_of(chunk, kind)
    if data.draw(st.booleans()):
        store = Store(store._folder, ABOUT)
    batches = data.draw(st.lists(st.lists(st.sampled_from(numbers), max_size=8), max_size=4))
    for batch in batches:
        found = store.find(names_of(sorted(set(batch))), stamps_of(sorted(set(batch))))
        assert found == [places[k] for k in sorted(set(batch))]
        got = store.put([places[k] for k in batch], fresh, empty=features_of([], kind))
        assert_same(got, features_of(batch, kind))
    for number in data.draw(st.permutations(range(len(batches)))):
        assert_same(store.get(number), features_of(batches[number], kind))


def test_unused_chunks_are_deleted(tmp_path: Path) -> None:
    add(Store(tmp_path, {"other": 1}), [1])
    store = Store(tmp_path, ABOUT)
    used, unused = add(store, [2, 3]), add(store, [4])
    store.put(used[:1], {}, empty=features_of([]))
    store.put([], {}, empty=features_of([]))
    store.forget_unused()
    assert [path.name for path in tmp_path.iterdir()] == ["features_000001.npz"]
    assert store.find(names_of([2, 3, 4])) == [*used, None]
    assert_same(store.get(0), features_of([2]))
    assert add(store, [5])[0].chunk > unused[0].chunk, "no number is given twice"


# Damaged


@pytest.mark.parametrize("kind", ["dense", "images"])
def test_a_chunk_that_is_cut_off_is_absent_at_opening(tmp_path: Path, kind: str) -> None:
    places = add(Store(tmp_path, ABOUT), [1, 2], kind)
    add(Store(tmp_path, ABOUT), [3], kind)
    path = tmp_path / "features_000000.npz"
    whole = path.read_bytes()
    for n_bytes in range(0, len(whole), 19):
        path.write_bytes(whole[:n_bytes])
        store = Store(tmp_path, ABOUT)
        assert [place is None for place in store.find(names_of([1, 2, 3]))] == [True, True, False]
    path.write_bytes(whole)
    assert Store(tmp_path, ABOUT).find(names_of([1, 2])) == places


def test_a_damaged_chunk_is_absent_or_named_but_never_wrong(tmp_path: Path) -> None:
    """Whatever byte is another one: at opening, when files are looked for, or when features are read."""
    add(Store(tmp_path, ABOUT), [1, 2], "ragged")
    path = tmp_path / "features_000000.npz"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"absent": 0, "named": 0, "as it was": 0}
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            store = Store(tmp_path, ABOUT)
            found = [found for found in store.find(names_of([1, 2]), stamps_of([1, 2])) if found]
            if len(found) == 2:
                assert_same(
                    store.put(found, {}, empty=features_of([], "ragged")), features_of([1, 2], "ragged")
                )
            outcomes["as it was" if found else "absent"] += 1
        except ResultError as error:
            assert str(error) == f"{path} is damaged: delete it, and --resume reads its images again"
            outcomes["named"] += 1
    assert all(outcomes.values()), outcomes


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY\x01\0", None, "array", "pickle", "member"],
)
def test_something_else_in_the_place_of_a_chunk(tmp_path: Path, content: bytes | str | None) -> None:
    store = Store(tmp_path, ABOUT)
    places = add(store, [1, 2])
    path = tmp_path / "features_000000.npz"
    path.unlink()
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with path.open("wb") as stream:
            if content == "array":
                np.save(stream, np.arange(3))
            elif content == "pickle":
                np.savez(stream, about=np.array(json.dumps(ABOUT)), names=np.array([{}], object))
            else:
                np.savez(stream, about=np.array("{"))
    with pytest.raises(ResultError, match=r"features_000000\.npz is damaged: delete it, and --resume"):
        store.find(names_of([1]))
    with pytest.raises(ResultError, match=r"features_000000\.npz is damaged: delete it, and --resume"):
        store.put(places, {}, empty=features_of([]))
    again = Store(tmp_path, ABOUT)
    assert again.find(names_of([1])) == [None]
    assert add(again, [1])[0].chunk == 1


def test_a_store_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "gone", ABOUT)
    with pytest.raises(ResultError, match=r"can't write .*gone/features_000000\.npz: No such file"):
        add(store, [1])


# Decisions


def decision_of(files: Sequence[str]) -> Decision:
    n = len(files)
    return Decision(
        files=tuple(files),
        sources=tuple(f"/elsewhere/{file}" for file in files),
        stamps=stamps_of(range(n)),
        batches=np.arange(n, dtype=np.int32) // 2,
        batch_labels=np.arange(n, dtype=np.int32) % 2 - 1,
        labels=np.full(n, -1, np.int32),
        representatives=np.arange(n, dtype=np.intp) - 1,
        scores=np.array([math.nan if k % 2 else 0.1 + 0.2 for k in range(n)]),
        skipped=tuple(Skip(file, f"why {file}") for file in files),
        refused=np.array([(k, k + 1, 0.5, 0) for k in range(n)], REFUSED_DTYPE),
        facts={"merge": "exact", "pairs": 3, "near_flat": list(files), "nested": {"a": [1.5, None, True]}},
    )


@pytest.mark.parametrize("files", [HOSTILE, []], ids=["hostile names", "no files"])
def test_a_decision_comes_back(tmp_path: Path, files: list[str]) -> None:
    decision = decision_of(files)
    decision.save(tmp_path, "inputs")
    found = Decision.load(tmp_path, "inputs")
    assert found is not None
    for name in ("files", "sources", "skipped", "facts"):
        assert getattr(found, name) == getattr(decision, name)
    for name in ("stamps", "batches", "batch_labels", "labels", "representatives", "scores", "refused"):
        np.testing.assert_array_equal(getattr(found, name), getattr(decision, name))
        assert getattr(found, name).dtype == getattr(decision, name).dtype
    assert Decision.load(tmp_path, "other inputs") is None
    decision_of(["a"]).save(tmp_path, "other inputs")
    assert Decision.load(tmp_path, "inputs") is None, "only the last one is kept"
    assert [path.name for path in tmp_path.iterdir()] == ["decision.npz"]


def test_no_decision_and_a_damaged_one_are_none(tmp_path: Path) -> None:
    assert Decision.load(tmp_path, "inputs") is None
    decision_of(HOSTILE).save(tmp_path, "inputs")
    path = tmp_path / "decision.npz"
    whole = path.read_bytes()
    for n_bytes in range(0, len(whole), 11):
        path.write_bytes(whole[:n_bytes])
        assert Decision.load(tmp_path, "inputs") is None
    path.unlink()
    path.mkdir()
    assert Decision.load(tmp_path, "inputs") is None
    path.rmdir()
    with path.open("wb") as stream:
        np.save(stream, np.arange(3))
    assert Decision.load(tmp_path, "inputs") is None


def test_a_decision_of_which_a_byte_is_another_is_none_or_as_it_was(tmp_path: Path) -> None:
    decision = decision_of(HOSTILE)
    decision.save(tmp_path, "inputs")
    path = tmp_path / "decision.npz"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    n_found = 0
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        found = Decision.load(tmp_path, "inputs")
        if found is not None:
            n_found += 1
            assert (found.files, found.skipped, found.facts) == (
                HOSTILE_TUPLE,
                decision.skipped,
                decision.facts,
            )
            np.testing.assert_array_equal(found.stamps, decision.stamps)
            np.testing.assert_array_equal(found.scores, decision.scores)
    assert n_found < len(whole) / 6


HOSTILE_TUPLE = tuple(HOSTILE)


def test_a_decision_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"can't write .*gone/decision\.npz: No such file"):
        decision_of(["a"]).save(tmp_path / "gone", "inputs")
    assert list(tmp_path.iterdir()) == []
