"""Linkages, must-links and cannot-links of a run: over batches, merges, resumes and results."""

from __future__ import annotations

import csv
import json
import os
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clusterimg as ci
from clusterimg import EDGE_DTYPE, ResultError, UsageError
from clusterimg._linking import Linking
from clusterimg.backends import select
from clusterimg.clustering import LINKAGES
from clusterimg.results import escape_name
from commands import call_here, error_of
from pictures import Grey, blend, groups, noisy, partition, picture, save
from test_environment import rows
from test_linkage import by_definition
from test_pipeline import interrupt_at

pytestmark = pytest.mark.usefixtures("read_here")

OPTIONS: dict[str, Any] = {"method": "ssim", "threshold": 0.8, "size": (32, 24), "transfer": "none"}


def walk() -> dict[str, Grey]:
    """Return pictures on the way from one to another and on, in no order, some of them twice."""
    x, y, z = (picture(k, 64, 48) for k in (1, 2, 3))
    images = [blend(x, y, k / 10) for k in range(11)] + [blend(y, z, k / 7) for k in range(1, 8)]
    images += [*images[3:14:5], images[3], np.full((48, 64), 9, np.uint8), noisy(x, 4)]
    names = np.random.default_rng(5).permutation(len(images))
    return {f"{name:02}.png": image for name, image in zip(names, images, strict=True)}


def table(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """Write pairs of files as a person's table of them."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("file_a", "file_b"), *pairs])
    return path


def pairs_of(out: Path, name: str) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads((out / "run.json").read_text())["constraints"][name]]


def assert_held(result: ci.Result, must: list[tuple[str, str]], cannot: list[tuple[str, str]]) -> None:
    clusters = partition(result.files, result.labels)
    for pair in must:
        assert any(set(pair) <= cluster for cluster in clusters), pair
    for pair in cannot:
        assert not any(set(pair) <= cluster for cluster in clusters), pair


def some_constraints(seed: int, names: list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return pairs that don't contradict each other: no file is must-linked twice, and no pair is both."""
    mixed = np.random.default_rng(seed).permutation(names).tolist()
    must = [(mixed[0], mixed[1]), (mixed[2], mixed[3])]
    cannot = [(mixed[1], mixed[2]), (mixed[4], mixed[5]), (mixed[0], mixed[6]), (mixed[7], mixed[8])]
    return must, cannot


# --- batches ---


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_clusters_are_those_of_the_definition_for_any_batch_size(
    tmp_path: Path, linkage: str, seed: int
) -> None:
    images = walk()
    folder = save(tmp_path / "photos", images)
    names = sorted(images)
    must, cannot = some_constraints(seed, names) if seed else ([], [])
    pairs = ci.similar_pairs([images[name] for name in names], method="ssim", threshold=0.8, size=(32, 24))
    numbers = [[(names.index(a), names.index(b)) for a, b in given] for given in (must, cannot)]
    wanted = by_definition(pairs.tolist(), len(names), linkage, *numbers)
    for batch_size in (100, 9, 4, 1) if seed else (100, 9, 4):
        result = ci.run(
            folder,
            out=tmp_path / f"in {batch_size}",
            linkage=linkage,
            must_link=must,
            cannot_link=cannot,
            merge="exact",
            batch_size=batch_size,
            **OPTIONS,
        )
        assert list(result.files) == names
        np.testing.assert_array_equal(result.labels, wanted)
        assert_held(result, must, cannot)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_names_of_files_decide_nothing(tmp_path: Path, linkage: str) -> None:
    """MinHash scores have 128 values at most, so ties are many."""
    images = walk() | groups(3, 3, 2)
    found = []
    for seed in range(3):
        names = np.random.default_rng(seed).permutation(len(images))
        name_of = {old: f"{new:03}.png" for old, new in zip(images, names, strict=True)}
        folder = save(tmp_path / f"photos {seed}", {name_of[old]: image for old, image in images.items()})
        result = ci.run(
            folder,
            method="minhash",
            threshold=0.2,
            linkage=linkage,
            merge="exact",
            batch_size=8,
            transfer="none",
        )
        old_of = {new: old for old, new in name_of.items()}
        found.append(partition([old_of[file] for file in result.files], result.labels))
    # Identical images may change places with each other.
    kinds = {image.tobytes(): name for name, image in images.items()}
    kind = {name: kinds[image.tobytes()] for name, image in images.items()}
    shown = [sorted(sorted(kind[name] for name in cluster) for cluster in one) for one in found]
    assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize("linkage", ["complete", "average"])
def test_between_equal_scores_the_images_decide_and_not_their_places(linkage: str) -> None:
    digests = np.random.default_rng(1).integers(0, 256, (5, 16), dtype=np.uint8)
    chain = [(0, 1), (1, 2), (2, 3), (3, 4)]
    found = set()
    for place in permutations(range(5)):
        ends = sorted(tuple(sorted((place[i], place[j]))) for i, j in chain)
        edges = np.array([(i, j, 0.5) for i, j in ends], EDGE_DTYPE)
        there = np.empty_like(digests)
        there[list(place)] = digests
        labels = Linking(linkage).of_all(edges, [""] * 5, there, select())[list(place)]
        found.add(tuple((labels[:, None] == labels).ravel().tolist()))
    assert len(found) == 1


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("merge", ["representatives", "exact"])
@pytest.mark.parametrize("batch_size", [2, 9])
def test_constraints_hold_over_batches(tmp_path: Path, linkage: str, merge: str, batch_size: int) -> None:
    images = walk()
    folder = save(tmp_path / "photos", images)
    options = {**OPTIONS, "linkage": linkage, "merge": merge, "batch_size": batch_size}
    for seed in range(2):
        must, cannot = some_constraints(seed, sorted(images))
        result = ci.run(
            folder, out=tmp_path / str(seed), threads=1, must_link=must, cannot_link=cannot, **options
        )
        assert_held(result, must, cannot)
        if merge == "representatives":  # a cluster of a batch stays together
            whole = [set(cluster) for cluster in partition(result.files, result.labels)]
            for batch in range(result.summary["counts"]["batches"]):
                mine = result.batches == batch
                files = [file for file, is_mine in zip(result.files, mine, strict=True) if is_mine]
                for cluster in partition(files, result.batch_labels[mine]):
                    assert any(cluster <= other for other in whole)


def test_a_must_link_over_two_batches_is_no_way_around_a_cannot_link(tmp_path: Path) -> None:
    """a is like p and b is like q; a and b belong together, p and q must not meet."""
    x, y = picture(1), picture(2)
    images = {"0_a.png": x, "1_p.png": noisy(x, 1), "2_b.png": y, "3_q.png": noisy(y, 2)}
    folder = save(tmp_path / "photos", images)
    must, cannot = [("2_b.png", "0_a.png")], [("1_p.png", "3_q.png")]
    result = ci.run(folder, batch_size=2, must_link=must, cannot_link=cannot)
    assert result.labels.tolist() == [0, 0, 0, -1]
    assert result.batch_labels.tolist() == [0, 0, -1, -1]
    assert rows(result.out / "refused.csv") == [
        {
            "file_a": "2_b.png",
            "file_b": "3_q.png",
            "score": repr(float(result.refused["score"][0])),
            "cannot_a": "1_p.png",
            "cannot_b": "3_q.png",
        }
    ]
    assert result.refused[["i", "j", "reason"]].tolist() == [(2, 3, 0)]
    assert result.summary["counts"]["refused"] == 1
    assert result.scores[2] < 0.7  # what it is, however they came together


def test_outliers_that_belong_together_are_compared_with_others(tmp_path: Path) -> None:
    x, y = picture(1), picture(2)
    images = {"0.png": x, "1.png": y, "2.png": noisy(y, 1), "3.png": noisy(y, 2), "4.png": picture(3)}
    folder = save(tmp_path / "photos", images)
    options = {"batch_size": 2, "transfer": "none"}
    plain = ci.run(folder, out=tmp_path / "plain", **options)
    assert plain.labels.tolist() == [-1, -1, 0, 0, -1]
    result = ci.run(folder, out=tmp_path / "bound", must_link=[("1.png", "4.png")], **options)
    assert result.labels.tolist() == [-1, 0, 0, 0, 0]


@pytest.mark.parametrize("merge", ["representatives", "no"])
def test_stricter_linkages_keep_groups_of_one_batch_apart(tmp_path: Path, merge: str) -> None:
    x, y = picture(1, 64, 48), picture(2, 64, 48)
    shares = {"0.png": 0.1, "1.png": 0.04, "2.png": 0.2, "3.png": 0.26}  # 1 0 2 3 on the way from x to y
    images = {name: blend(x, y, share) for name, share in shares.items()} | {"4.png": picture(3, 64, 48)}
    folder = save(tmp_path / "photos", images)
    matrix = ci.similarity_matrix([images[name] for name in sorted(images)], method="ssim", size=(32, 24))
    threshold = float((matrix[0, 2] + max(matrix[1, 2], matrix[0, 3])) / 2)
    assert max(matrix[1, 2], matrix[0, 3]) < threshold < matrix[0, 2] < min(matrix[0, 1], matrix[2, 3])
    options = {**OPTIONS, "threshold": threshold, "batch_size": 4, "merge": merge}
    chained = ci.run(folder, out=tmp_path / "chained", **options)
    assert chained.labels.tolist() == chained.batch_labels.tolist() == [0, 0, 0, 0, -1]
    strict = ci.run(folder, out=tmp_path / "strict", linkage="complete", **options)
    assert strict.labels.tolist() == strict.batch_labels.tolist() == [0, 0, 1, 1, -1]


@pytest.mark.parametrize("merge", ["representatives", "exact"])
def test_unusable_files_and_no_files(tmp_path: Path, merge: str) -> None:
    folder = save(tmp_path / "photos", {"a.png": picture(1), "c.png": picture(2)})
    for name in ("b.png", "d.png", "e.png", "f.png"):
        (folder / name).write_bytes(b"no image")
    must, cannot = [("a.png", "b.png"), ("b.png", "c.png")], [("d.png", "a.png")]
    result = ci.run(folder, batch_size=2, merge=merge, linkage="average", must_link=must, cannot_link=cannot)
    assert result.labels.tolist() == [0, 0]  # through the unusable one, too
    assert result.summary["constraints"]["without_effect"] == [
        ("a.png", "b.png"),
        ("b.png", "c.png"),
        ("a.png", "d.png"),
    ]
    nothing = save(tmp_path / "nothing", {})
    (nothing / "a.png").write_bytes(b"no image")
    empty = ci.run(nothing, linkage="complete", merge=merge)
    assert empty.labels.tolist() == []


# --- what may be asked for ---


@pytest.mark.parametrize(
    ("must", "cannot", "kind", "message"),
    [
        ([("a.png", "x.png")], None, UsageError, "must_link names x.png, not among the images"),
        (None, [("y", "x"), ("x", "a.png")], UsageError, "cannot_link names [axy].* and 1 more, not among"),
        ([("a.png", "a.png")], None, UsageError, "must_link, place 0: a.png is paired with itself"),
        ([("a.png",)], None, UsageError, "must_link must be a path or pairs of files, got .* at place 0"),
        (["ab"], None, UsageError, "must_link must be a path or pairs of files, got 'ab' at place 0"),
        ([("a.png", "")], None, UsageError, "must_link, place 0: a pair needs two files"),
        (
            [("a.png", "b.png"), ("b.png", "c.png")],
            [("c.png", "a.png")],
            UsageError,
            "cannot_link holds a.png and c.png, which must_link joins, directly or through others",
        ),
        ("no such.csv", None, ResultError, "can't read no such.csv"),
    ],
)
def test_wrong_constraints_are_named_before_anything_is_written(
    tmp_path: Path, must: Any, cannot: Any, kind: type[Exception], message: str
) -> None:
    folder = save(tmp_path / "photos", {f"{name}.png": picture(k) for k, name in enumerate("abc")})
    with pytest.raises(kind, match=message):
        ci.run(folder, must_link=must, cannot_link=cannot)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("file_a,file_b\na.png,a.png\n", 2, "pairs.csv, line 2: a.png is paired with itself"),
        ("file_a,file_b\na.png,\n", 2, "pairs.csv, line 2: a pair needs two files, got 'a.png' and ''"),
        ("a.png,b.png\n", 3, "pairs.csv, line 1: the header must have file_a, file_b, got 'a.png,b.png'"),
        ("file_a,file_b\na.png\n", 3, "pairs.csv, line 2: expected 2 cells as in the header, got 1"),
        ("file_a,file_b\na.png,z.png\n", 2, "must_link names z.png, not among the images"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, code: int, message: str) -> None:
    folder = save(tmp_path / "photos", {"a.png": picture(1), "b.png": picture(2)})
    (tmp_path / "pairs.csv").write_text(text)
    done = call_here("run", folder, "--must-link", tmp_path / "pairs.csv")
    assert message in error_of(done, code)
    assert not (tmp_path / "photos_clustered").exists()


def test_the_command_line_tells_of_linkage_and_constraints(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\\.png")
    images = {odd: picture(1), "b.png": picture(2), "c.png": noisy(picture(1), 1), "d.png": picture(4)}
    folder = save(tmp_path / "photos", images)
    must = table(tmp_path / "must.csv", [(escape_name(odd), "b.png"), ("b.png", escape_name(odd))])
    cannot = table(tmp_path / "cannot.csv", [("c.png", "b.png")])
    out = tmp_path / "out"
    done = call_here(
        "run", folder, "--out", out, "--linkage", "average", "--must-link", must, "--cannot-link", cannot
    )
    assert done.returncode == 0, done
    assert "\nlinkage average\n1 must-link, 1 cannot-link\n" in done.stdout
    assert "\n1 similar pair refused under cannot-links: listed in refused.csv\n" in done.stdout
    clusters = {row["file"]: row["cluster"] for row in rows(out / "clusters.csv")}
    assert clusters == {"b.png": "0", "c.png": "-1", "d.png": "-1", r"\xff\\.png": "0"}
    [refused] = rows(out / "refused.csv")
    assert (refused["file_a"], refused["file_b"], refused["cannot_a"]) == ("c.png", r"\xff\\.png", "b.png")
    run = json.loads((out / "run.json").read_text())
    assert run["parameters"]["linkage"] == "average"
    assert run["parameters"]["must_link"] == str(must)
    assert run["counts"]["refused"] == 1
    plain = call_here("run", folder, "--out", tmp_path / "plain")
    assert "linkage" not in plain.stdout and "link" not in plain.stdout.replace("linkage", "")
    assert not (tmp_path / "plain" / "refused.csv").exists()


# --- going on with a result ---


def test_resume_finds_again_only_what_the_constraints_change(tmp_path: Path) -> None:
    images = groups(2, 3, 2)
    folder = save(tmp_path / "photos", images)
    names = sorted(images)
    cannot = table(tmp_path / "cannot.csv", [(names[0], names[2])])
    run = ("run", folder, "--batch-size", 4, "--resume", "--cannot-link", cannot, "--json")

    def done(*more: object) -> dict[str, Any]:
        finished = call_here(*run, *more)
        assert finished.returncode == 0, finished
        found: dict[str, Any] = json.loads(finished.stdout)
        return found

    out = tmp_path / "photos_clustered"
    assert done()["reused"] == {"features": 0, "batches": 0}
    first, refused = (out / "clusters.csv").read_bytes(), (out / "refused.csv").read_bytes()
    assert refused.count(b"\n") > 1

    assert done()["reused"] == {"features": 8, "batches": 0}  # nothing was found again
    assert ((out / "clusters.csv").read_bytes(), (out / "refused.csv").read_bytes()) == (first, refused)

    table(cannot, [(names[2], names[0]), (names[0], names[2])])  # says the same
    assert done()["reused"] == {"features": 8, "batches": 0}

    table(cannot, [(names[0], names[1])])
    changed = done()
    assert changed["reused"] == {"features": 8, "batches": 2}  # the pairs are the same, the clusters are not
    assert changed["constraints"]["cannot_link"] == [[names[0], names[1]]]
    assert (out / "refused.csv").read_bytes() != refused

    assert done("--linkage", "complete")["reused"] == {"features": 8, "batches": 2}
    table(cannot, [])
    assert done()["counts"]["refused"] == 0
    assert not (out / "refused.csv").exists()
    fresh = call_here("run", folder, "--batch-size", 4, "--out", tmp_path / "fresh")
    assert fresh.returncode == 0
    assert (out / "clusters.csv").read_bytes() == (tmp_path / "fresh" / "clusters.csv").read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "fresh").iterdir()}


def test_no_table_tells_of_what_is_no_longer_so(tmp_path: Path) -> None:
    images = groups(2, 2, 0)
    folder = save(tmp_path / "photos", images)
    names = sorted(images)
    result = ci.run(folder, cannot_link=[(names[0], names[2])])
    assert (result.out / "refused.csv").exists()
    with pytest.raises(KeyboardInterrupt):
        ci.run(folder, resume=True, threshold=0.7, progress=interrupt_at("pairs", 6))
    assert not (result.out / "clusters.csv").exists()
    assert not (result.out / "refused.csv").exists()


def test_overwrite_knows_the_table(tmp_path: Path) -> None:
    images = groups(2, 2, 0)
    folder = save(tmp_path / "photos", images)
    names = sorted(images)
    first = ci.run(folder, cannot_link=[(names[0], names[2])])
    assert (first.out / "refused.csv").exists()
    again = ci.run(folder, overwrite=True)
    assert not (again.out / "refused.csv").exists()


@pytest.mark.parametrize("linkage", LINKAGES)
def test_a_dry_run_finds_the_same(tmp_path: Path, linkage: str) -> None:
    images = groups(2, 3, 2)
    folder = save(tmp_path / "photos", images)
    names = sorted(images)
    options = {"linkage": linkage, "cannot_link": [(names[0], names[2])], "batch_size": 4}
    dry = ci.run(folder, dry_run=True, **options)
    wet = ci.run(folder, **options)
    np.testing.assert_array_equal(dry.labels, wet.labels)
    np.testing.assert_array_equal(dry.refused, wet.refused)
    assert len(dry.refused)


# --- results that are merged ---


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("merge", ["representatives", "exact"])
def test_a_merge_keeps_linkage_and_constraints(tmp_path: Path, linkage: str, merge: str) -> None:
    """A merge of results equals the run over all their images in the same batches."""
    images = walk()
    names = sorted(images)
    for k, name in enumerate(names):
        save(tmp_path / "all" / "ab"[k >= 12], {name: images[name]})
    a, b = names[:12], names[12:]
    must = {"a": [(a[0], a[5])], "b": [(b[2], b[3])]}
    cannot = {"a": [(a[5], a[7]), (a[1], a[2])], "b": [(b[2], b[4])]}
    options = {**OPTIONS, "linkage": linkage, "merge": merge, "batch_size": 6}
    parts = [
        ci.run(
            tmp_path / "all" / x,
            out=tmp_path / f"result {x}",
            must_link=must[x],
            cannot_link=cannot[x],
            **options,
        )
        for x in "ab"
    ]
    joined = ci.merge([part.out for part in parts], merge=merge, transfer="none")
    every = [[(f"{x}/{p}", f"{x}/{q}") for x in "ab" for p, q in given[x]] for given in (must, cannot)]
    whole = ci.run(
        tmp_path / "all",
        out=tmp_path / "whole",
        recursive=True,
        must_link=every[0],
        cannot_link=every[1],
        **options,
    )
    assert joined.files == whole.files
    np.testing.assert_array_equal(joined.labels, whole.labels)
    np.testing.assert_array_equal(joined.refused, whole.refused)
    assert joined.summary["parameters"]["linkage"] == linkage
    assert pairs_of(joined.out, "must_link") == pairs_of(whole.out, "must_link")
    assert joined.summary["constraints"]["digest"] == whole.summary["constraints"]["digest"]
    assert_held(joined, *every)

    anew = ci.merge(
        [part.out for part in parts],
        out=tmp_path / "anew",
        merge=merge,
        transfer="none",
        linkage="components",
        must_link=[],
        cannot_link=[("b/" + b[2], "a/" + a[0])],
    )
    fresh = ci.run(
        tmp_path / "all",
        out=tmp_path / "fresh",
        recursive=True,
        **{**options, "linkage": "components"},
        cannot_link=[("a/" + a[0], "b/" + b[2])],
    )
    np.testing.assert_array_equal(anew.labels, fresh.labels)
    none = ci.merge(
        [part.out for part in parts],
        out=tmp_path / "none",
        merge=merge,
        transfer="none",
        linkage="components",
        must_link=[],
        cannot_link=[],
    )
    free = ci.run(
        tmp_path / "all", out=tmp_path / "free", recursive=True, **{**options, "linkage": "components"}
    )
    np.testing.assert_array_equal(none.labels, free.labels)


def test_results_of_different_linkages_need_one_to_be_given(tmp_path: Path) -> None:
    for x, linkage in (("a", "components"), ("b", "complete")):
        save(tmp_path / x, {"0.png": picture(1), "1.png": picture(2)})
        ci.run(tmp_path / x, linkage=linkage, out=tmp_path / f"of {x}", transfer="none")
    both = [tmp_path / "of a", tmp_path / "of b"]
    with pytest.raises(UsageError, match=r"different linkages \(complete, components\): give the one to use"):
        ci.merge(both)
    assert ci.merge(both, linkage="average", merge="exact", transfer="none").labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (3, "constraints must be an object, got int"),
        ({"must_link": [["0.png"]]}, "must_link must be a path or pairs of files"),
        ({"cannot_link": 7}, "not iterable"),
    ],
)
def test_damaged_constraints_are_named(tmp_path: Path, held: Any, message: str) -> None:
    save(tmp_path / "a", {"0.png": picture(1), "1.png": picture(2)})
    out = ci.run(tmp_path / "a", transfer="none").out
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "constraints": held}))
    with pytest.raises(ResultError, match=f"run.json: .*{message}"):
        ci.merge([out])


def test_a_result_from_before_there_were_linkages_can_be_merged(tmp_path: Path) -> None:
    save(tmp_path / "a", groups(2, 2, 1))
    result = ci.run(tmp_path / "a", transfer="none")
    run = json.loads((result.out / "run.json").read_text())
    del run["constraints"]
    for name in ("linkage", "must_link", "cannot_link"):
        del run["parameters"][name]
    (result.out / "run.json").write_text(json.dumps(run))
    merged = ci.merge([result.out], transfer="none", dry_run=True)
    np.testing.assert_array_equal(merged.labels, result.labels)
