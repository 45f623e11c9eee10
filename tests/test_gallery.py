"""The report of a result: its numbers against brute force, its files, and its place in the result folder."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import clusterimg as ci
from clusterimg import gallery
from clusterimg._types import EDGE_DTYPE
from clusterimg.backends import select
from clusterimg.clustering import first_members
from clusterimg.gallery import _chains, _columns, _pairs, _sprites
from clusterimg.methods import create
from commands import call_here, error_of
from pictures import blend, groups, noisy, picture, save

pytestmark = pytest.mark.usefixtures("read_here")

Data = dict[str, Any]


def script(path: Path, name: str) -> Any:
    """Return the value that a data script sets, by other means than those that wrote it."""
    text = path.read_text(encoding="ascii")
    found = re.fullmatch(rf"window\.{name} = JSON\.parse\('(.*)'\);\n", text)
    assert found is not None
    literal = found[1]
    assert not re.search(r"(?<!\\)(?:\\\\)*'", literal)
    return json.loads(re.sub(r"\\(['\\])", r"\1", literal))


def data_of(report: gallery.Report | Path) -> Data:
    folder = report.index.parent if isinstance(report, gallery.Report) else report
    data = script(folder / "data.js", "clusterimgReport")
    assert isinstance(data, dict)
    return data


def pair_scores(report: gallery.Report, data: Data) -> list[list[float | None]]:
    """Return the scores of all pairs of each cluster, as the page reads them."""
    text = script(report.index.with_name("pairs.js"), "clusterimgPairs")
    codes = np.frombuffer(base64.b64decode(text), "<u2").tolist()
    parts, start = [], 0
    for size in data["clusters"]["size"]:
        end = start + (size * (size - 1) // 2 if size <= data["allPairs"] else 0)
        parts.append([None if code == 0 else (code - 1) / 65534 * 2 - 1 for code in codes[start:end]])
        start = end
    assert start == len(codes)
    return parts


def chained() -> dict[str, np.ndarray]:
    """Return pictures of which each is like the next, and the first unlike the last; a group; a single."""
    a, b = picture(1), picture(2)
    chain = {f"chain_{k}.png": blend(a, b, k / 8) for k in range(9)}
    return chain | {f"group_{k}.png": noisy(picture(7), k) for k in range(3)} | {"single.png": picture(9)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("gallery") / "photos", chained())


@pytest.fixture
def result(photos: Path, tmp_path: Path) -> ci.Result:
    return ci.run(photos, out=tmp_path / "out", method="ssim", threshold=0.8)


# --- the forest ---


def edges_of(triples: list[tuple[int, int, float]]) -> np.ndarray:
    return np.array(sorted(triples), EDGE_DTYPE)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, np.ndarray]:
    n = draw(st.integers(1, 12))
    pairs = list(itertools.combinations(range(n), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    scores = [draw(st.integers(0, 6)) / 8 for _ in chosen]  # few levels, so that many are equal
    return n, edges_of([(*pair, score) for pair, score in zip(chosen, scores, strict=True)])


def kruskal(n: int, edges: np.ndarray) -> list[tuple[int, int, float]]:
    part = list(range(n))
    taken = []
    for i, j, score in sorted(edges.tolist(), key=lambda edge: (-edge[2], edge[0], edge[1])):
        if part[i] != part[j]:
            part = [part[i] if each == part[j] else each for each in part]
            taken.append((i, j, score))
    return sorted(taken)


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_the_forest_is_kruskals(graph: tuple[int, np.ndarray]) -> None:
    n, edges = graph
    assert _chains.forest_of(edges, n, select()).tolist() == kruskal(n, edges)


@given(graphs(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_tables_one_by_one_give_the_forest_of_all(graph: tuple[int, np.ndarray], n_tables: int) -> None:
    n, edges = graph
    labels = select().components(edges, n)
    tables = [edges[k::n_tables] for k in range(n_tables)]
    links = _chains.links_of(tables, labels, select())
    assert links.forest.tolist() == kruskal(n, edges)
    assert links.n_similar.sum() == len(edges)


def test_pairs_of_different_clusters_are_passed_over() -> None:
    edges = edges_of([(0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.9)])
    links = _chains.links_of([edges], np.array([0, 0, 1, 1], np.int32), select())
    assert links.forest.tolist() == [(0, 1, 0.9), (2, 3, 0.9)]
    assert links.n_similar.tolist() == [1, 1]


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_parents_lead_to_the_first_image_of_the_cluster(graph: tuple[int, np.ndarray]) -> None:
    n, edges = graph
    labels = select().components(edges, n)
    first = first_members(labels)
    trees = _chains.root_trees(_chains.forest_of(edges, n, select()), labels, first)
    assert trees.n_trees.tolist() == [1] * (labels.max(initial=-1) + 1)
    scores = {(i, j): score for i, j, score in edges.tolist()}
    for image in np.flatnonzero(labels >= 0).tolist():
        k = image
        while trees.parents[k] >= 0:
            parent = int(trees.parents[k])
            assert trees.scores[k] == scores[min(k, parent), max(k, parent)]
            k = parent
        assert k == first[image]


def test_a_cluster_that_no_listed_pairs_hold_together_says_so() -> None:
    edges = edges_of([(0, 1, 0.9), (2, 3, 0.9)])
    labels = np.zeros(5, np.int32)
    trees = _chains.root_trees(edges, labels, np.zeros(5, np.int64))
    assert trees.n_trees.tolist() == [3]


# --- the pairs ---


def brute(result: ci.Result) -> np.ndarray:
    method = result.summary["parameters"]["method"]
    paths = [Path(result.summary["folder"]) / file for file in result.files]
    return ci.similarity_matrix(paths, method=method).astype(float)


def test_numbers_are_those_of_the_full_matrix(result: ci.Result) -> None:
    report = gallery.report(result)
    data, scores = data_of(report), brute(result)
    index = [result.files.index(file) for file in data["files"]]
    clusters = data["clusters"]
    assert clusters["size"] == [9, 3]
    start = 0
    for c, all_scores in enumerate(pair_scores(report, data)):
        size = clusters["size"][c]
        members = index[start : start + size]
        pairs = list(itertools.combinations(range(size), 2))
        wanted = [scores[members[i], members[j]] for i, j in pairs]
        np.testing.assert_allclose(all_scores, wanted, atol=4e-5)
        low = int(np.argmin(wanted))
        i, j, widest = clusters["wide"][c]
        assert {i, j} == {start + pairs[low][0], start + pairs[low][1]}
        assert widest == pytest.approx(wanted[low], abs=2e-6)
        assert clusters["similar"][c] == sum(score > 0.8 for score in wanted)
        assert clusters["scored"][c] == len(wanted)
        similar = [(i, j, scores[members[i], members[j]]) for i, j in pairs]
        tree = kruskal(size, edges_of([edge for edge in similar if edge[2] > 0.8]))
        assert len(tree) == size - 1
        assert clusters["weak"][c][2] == pytest.approx(min(edge[2] for edge in tree), abs=2e-6)
        for k in range(start + 1, start + size):
            assert data["scores"][k] == pytest.approx(scores[members[0], index[k]], abs=2e-6)
        start += size
    assert clusters["wide"][0][2] < 0.8 < clusters["weak"][0][2]  # it is a chain, and shows as one
    assert clusters["wide"][1][2] > 0.8


@pytest.mark.parametrize("name, threshold", [("imagehash", 0.6), ("minhash", 0.2), ("orb", 0.2), ("tm", 0.5)])
def test_numbers_of_every_method(name: str, threshold: float, tmp_path: Path) -> None:
    images = {
        **groups(n_groups=2),
        "wide.png": picture(0, 300, 120),
        "white.png": np.full((40, 60), 255, np.uint8),
    }
    images["white_2.png"] = images["white.png"]
    folder = save(tmp_path / "photos", images)
    run = ci.run(folder, out=tmp_path / "out", method=name, threshold=threshold, batch_size=4, merge="exact")
    report = gallery.report(run)
    data, scores = data_of(report), brute(run)
    start = 0
    for all_scores in pair_scores(report, data):
        members = [run.files.index(file) for file in data["files"][start:]]
        size = next(m for m in range(2, len(members) + 1) if m * (m - 1) // 2 == len(all_scores))
        wanted = [scores[i, j] for i, j in itertools.combinations(members[:size], 2)]
        got = [-math.inf if score is None else score for score in all_scores]
        np.testing.assert_allclose(got, wanted, atol=4e-5)
        start += size
    assert start >= 6


def test_the_order_is_by_size_then_representative_then_score(result: ci.Result) -> None:
    data = data_of(gallery.report(result))
    assert data["clusters"]["size"] == sorted(data["clusters"]["size"], reverse=True)
    assert data["files"][0] == "chain_0.png"
    assert data["files"][9] == "group_0.png"
    assert data["files"][12:] == ["single.png"]
    for start, end in ((0, 9), (9, 12)):
        others = data["scores"][start + 1 : end]
        assert others == sorted(others, reverse=True)
    flags = [bool(flag & _columns.NOT_LIKE_REPRESENTATIVE) for flag in data["flags"]]
    assert flags == [score is not None and not score > 0.8 for score in data["scores"]]
    assert any(flags)


def test_a_large_cluster_is_sampled_and_its_widest_pair_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "ALL_PAIRS", 8)
    rng = np.random.default_rng(0)
    shares = np.sort(rng.uniform(0, 1, 60))
    a, b = picture(1, 64, 64), picture(2, 64, 64)
    images = [blend(a, b, share) for share in shares]
    method = create("ssim", threshold=0.5)
    features = ci.extract(images, method="ssim")
    members = np.arange(60)[np.argsort(np.abs(shares - 0.5), kind="stable")]
    taken: list[int] = []

    def take(images: np.ndarray) -> ci.Features:
        taken.append(len(images))
        return features.take(images)

    small = members[:5]
    found = list(
        _pairs.closeness([members, small], take, method, select(), images_at_once=10)  # type: ignore[arg-type]
    )
    assert taken == [60, 5]
    matrix = ci.similarity_matrix(images, method="ssim").astype(float)
    low = np.unravel_index(np.argmin(matrix), matrix.shape)
    assert set(found[0].widest[:2]) == set(map(int, low))
    assert found[0].scores is None
    assert (found[0].scored, found[1].scored) == (28, 10)
    assert found[1].scores is not None


@pytest.mark.parametrize("at_once, slices", [(5, [(0, 2), (2, 3), (3, 4)]), (100, [(0, 4)]), (1, None)])
def test_clusters_are_taken_as_many_as_fit(at_once: int, slices: list[tuple[int, int]] | None) -> None:
    found = [(part.start, part.stop) for part in _pairs.grouped([2, 3, 9, 1], at_once)]
    assert found == (slices or [(k, k + 1) for k in range(4)])
    assert list(_pairs.grouped([], at_once)) == []


@given(st.lists(st.floats(-1, 1), max_size=20))
def test_scores_of_pairs_survive_their_two_bytes(scores: list[float]) -> None:
    close = _pairs.Closeness((0, 1, 0.0), 0, 0, np.array([*scores, -math.inf]))
    codes = np.frombuffer(base64.b64decode(_columns.pairs_text([close])), "<u2")
    assert codes[-1] == 0
    np.testing.assert_allclose((codes[:-1].astype(float) - 1) / 65534 * 2 - 1, scores, atol=2e-5)
    assert (codes[:-1] > 0).all()


def test_without_features_it_tells_what_the_tables_tell(photos: Path, tmp_path: Path) -> None:
    run = ci.run(photos, out=tmp_path / "out", method="ssim", threshold=0.8, keep_features=False)
    report = gallery.report(run)
    data, scores = data_of(report), brute(run)
    assert report.without_pairs == data["whyNoPairs"] == "the features were not kept"
    index = [run.files.index(file) for file in data["files"]]
    i, j, widest = data["clusters"]["wide"][0]
    with_first = [scores[index[0], index[k]] for k in range(1, 9)]
    assert (i, widest) == (0, pytest.approx(min(with_first), abs=2e-6))
    assert j == 1 + int(np.argmin(with_first))
    chain = index[:9]
    similar = sum(scores[a, b] > 0.8 for a, b in itertools.combinations(chain, 2))
    assert (data["clusters"]["similar"][0], data["clusters"]["scored"][0]) == (similar, 36)
    assert data["clusters"]["weak"][0] is not None
    assert pair_scores(report, data | {"allPairs": 0}) == [[], []]
    assert not (run.out / ".clusterimg").exists()


def test_features_of_some_images_missing_is_said(result: ci.Result) -> None:
    run = json.loads((result.out / "run.json").read_text())
    run["features"]["params"] = {"size": [8, 8], "scale": None}
    (result.out / "run.json").write_text(json.dumps(run))
    assert gallery.report(result.out).without_pairs == "the features of 13 of 13 images are missing"


def test_damaged_features_are_no_reason_to_refuse(result: ci.Result) -> None:
    chunk = next((result.out / ".clusterimg").glob("features_*.npz"))
    whole = chunk.read_bytes()
    # The names stay whole, the values don't.
    at = whole.index(b"values.npy") + 400
    chunk.write_bytes(whole[:at] + bytes(200) + whole[at + 200 :])
    report = gallery.report(result.out)
    assert "is damaged" in report.without_pairs


# --- thumbnails ---


def cell_of(report: gallery.Report, data: Data, k: int) -> Image.Image:
    made = data["thumbnails"]
    sprite = Image.open(report.index.parent / _sprites.sprite_name(k // made["perSprite"]))
    x, y = k % made["perSprite"] % made["perRow"], k % made["perSprite"] // made["perRow"]
    cell = made["cell"]
    box = (x * cell, y * cell, x * cell + made["widths"][k], y * cell + made["heights"][k])
    assert box[2] <= sprite.width and box[3] <= sprite.height
    return sprite.crop(box)


@pytest.mark.parametrize("n_images", [1, 7, 8, 9, 64, 65])
def test_each_thumbnail_is_in_its_place(n_images: int, tmp_path: Path) -> None:
    shades = {f"{k:03}.png": np.full((40, 60), 3 * k + 20, np.uint8) for k in range(n_images)}
    folder = save(tmp_path / "photos", shades)
    (tmp_path / "new").mkdir()
    paths: list[Path | None] = [folder / name for name in sorted(shades)]
    seen: list[tuple[int, int]] = []
    made = _sprites.write_sprites(
        tmp_path / "new", paths, side=36, n_threads=2, progress=lambda done, total: seen.append((done, total))
    )
    assert made.cell == 48 and made.sizes == [(36, 24)] * n_images and made.reasons == {}
    assert seen[-1] == (n_images, n_images)
    names = [path.name for path in sorted((tmp_path / "new" / "thumbs").iterdir())]
    assert names == [Path(_sprites.sprite_name(k)).name for k in range(_sprites.n_sprites(n_images))]
    data = {
        "thumbnails": {
            "cell": made.cell,
            "perRow": 8,
            "perSprite": 64,
            "widths": [36] * n_images,
            "heights": [24] * n_images,
        }
    }
    report = gallery.Report(tmp_path / "new" / "index.html", n_images, (), "")
    for k in range(n_images):
        values = np.asarray(cell_of(report, data, k).convert("L"), int)
        assert abs(values - (3 * k + 20)).max() <= 3


def test_what_has_no_thumbnail_has_a_reason(result: ci.Result, photos: Path) -> None:
    (result.out / result.targets[result.files.index("single.png")]).write_bytes(b"\x89PNG\r\n\x1a\n")
    chain = result.files.index("chain_3.png")
    (result.out / result.targets[chain]).unlink()  # the original is shown instead
    report = gallery.report(result)
    assert [skip.file for skip in report.unreadable] == ["single.png"]
    data = data_of(report)
    k = data["files"].index("single.png")
    assert data["thumbnails"]["reasons"] == {str(k): report.unreadable[0].reason}
    assert data["thumbnails"]["widths"][k] == 0 < data["thumbnails"]["widths"][0]
    shown = cell_of(report, data, data["files"].index("chain_3.png")).convert("L")
    original = Image.open(photos / "chain_3.png").resize(shown.size)
    assert np.abs(np.asarray(shown, float) - np.asarray(original, float)).mean() < 12


def test_without_thumbnails_there_are_none(result: ci.Result) -> None:
    report = gallery.report(result, thumbnails=False)
    assert data_of(report)["thumbnails"] is None
    assert not (report.index.parent / "thumbs").exists()


@pytest.mark.parametrize("size", [31, 513])
def test_the_size_of_thumbnails_has_bounds(size: int, result: ci.Result) -> None:
    with pytest.raises(ci.UsageError, match="32 to 512"):
        gallery.report(result, thumbnail_size=size)


# --- what it tells ---


HOSTILE = (
    b"<img src=x onerror=alert(1)>.png",
    b"</script><script>alert(1)<!--.png",  # in a folder named <
    b"quote\"s'and`ticks.png",
    "line\u2028end\u2029.png".encode(),
    b"undecodable \xff\xfe.png",
    b"back\\slash '); alert(1); ('.png",
    b"%41 100% ?#&.png",
    b"new\nline\ttab.png",
    "\u202egnp.exe".encode(),
    "emoji \U0001f600.png".encode(),
)


def hostile(folder: Path) -> Path:
    (folder / "<").mkdir(parents=True)
    image = picture(3)
    for k, name in enumerate(HOSTILE):
        save(folder, {"plain.png": noisy(image, k)})
        (folder / "plain.png").rename(folder / os.fsdecode(name))
    (folder / "not <b>an image").write_bytes(b"text")
    return folder


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "<b>'\" \udcff")
    run = ci.run(folder, out=tmp_path / "out", method="ssim", threshold=0.5, recursive=True)
    report = gallery.report(run)
    data = data_of(report)  # pure ASCII, or it can't be read
    assert sorted(map(os.fsencode, data["files"])) == sorted(HOSTILE)
    assert data["title"] == folder.name
    assert data["skipped"] == [["not <b>an image", "not an image"]]
    text = (report.index.parent / "data.js").read_bytes()
    assert b"\n" not in text[:-1] and b"\r" not in text
    # What is not data is the same in every report.
    page = Path(gallery.__file__).with_name("page")
    for name in gallery._PAGE:
        assert (report.index.parent / name).read_bytes() == (page / name).read_bytes()


def test_nothing_in_the_page_leads_elsewhere() -> None:
    for path in Path(gallery.__file__).with_name("page").iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name
        assert "innerHTML" not in text and "fetch(" not in text and "eval(" not in text
        assert "XMLHttpRequest" not in text and "document.write" not in text


def test_it_tells_of_the_run(photos: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", {**chained(), "white.png": np.full((60, 60), 255, np.uint8)})
    save(folder, {"white_2.png": np.full((60, 60), 255, np.uint8)})
    (folder / "notes.txt").write_text("no image")
    run = ci.run(folder, out=tmp_path / "out", method="imagehash")
    data = data_of(gallery.report(run))
    assert data["threshold"] == run.summary["parameters"]["threshold"]
    assert data["skipped"] == [["notes.txt", "not an image"]]
    assert data["run"]["backend"]["name"] == run.backend.name
    assert data["run"]["seconds"].keys() == run.summary["seconds"].keys()
    flags = dict(zip(data["files"], data["flags"], strict=True))
    assert flags["white.png"] & _columns.FEATURELESS and flags["white_2.png"] & _columns.FEATURELESS
    for flag, state in ((_columns.FEATURELESS, "featureless"), (_columns.NEAR_FLAT, "near_flat")):
        assert {file for file, flags_of in flags.items() if flags_of & flag} == set(run.summary[state])
    assert data["curve"] is None


CURVE = {
    "method": "ssim",
    "default": 0.8,
    "thresholds": [0.1, 0.5, 0.9],
    "pairs": [30, 10, 1],
    "pairs_low": [25, 8, 0],
    "pairs_high": [40, 12, 2.5],
    "images": [13, 9, 2],
    "files": ["a.png"],
}


@pytest.mark.parametrize(
    "change, is_shown",
    [
        ({}, True),
        ({"pairs": [1, 2]}, False),
        ({"thresholds": []}, False),
        ({"pairs_low": "x"}, False),
        ({"pairs_high": [1, 2, "x"]}, False),
    ],
)
def test_the_threshold_curve_is_shown_where_there_is_one(
    change: dict[str, Any], is_shown: bool, result: ci.Result
) -> None:
    (result.out / "threshold_curve.json").write_text(json.dumps(CURVE | change))
    curve = data_of(gallery.report(result))["curve"]
    assert (curve is not None) == is_shown
    if is_shown:
        assert curve["pairs_high"] == [40, 12, 2.5] and "files" not in curve


# --- every kind of result ---


@pytest.mark.parametrize("transfer", ["copy", "move", "hardlink", "symlink", "none"])
@pytest.mark.parametrize("merge", ["representatives", "exact", "no"])
def test_files_are_found_wherever_they_are(transfer: str, merge: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", {**groups(), "sub/0_0.png": picture(55)})
    run = ci.run(
        folder,
        out=tmp_path / "out",
        transfer=transfer,
        merge=merge,
        batch_size=6,
        recursive=True,
        report=True,
    )
    report_folder = run.out / "report"
    data = data_of(report_folder)
    assert data["thumbnails"]["reasons"] == {}
    assert data["resultPath"] == ".."
    assert data["clusters"]["label"] == sorted(
        range(int(run.labels.max()) + 1), key=lambda c: (-int((run.labels == c).sum()), c)
    )
    of_cluster = np.repeat(data["clusters"]["label"], data["clusters"]["size"]).tolist()
    for k, file in enumerate(data["files"]):
        label = of_cluster[k] if k < len(of_cluster) else -1
        home = f"cluster_{label}" if label >= 0 else "outliers"
        target = data["targets"].get(str(k), f"result/{home}/{Path(file).name}")  # as the page does
        assert target == run.targets[run.files.index(file)]
        if target:
            assert (report_folder / data["resultPath"] / target).is_file()
        else:
            assert transfer == "none" and (Path(data["folder"]) / file).is_file()
    if merge == "representatives":
        assert data["clusters"]["parts"] == [1] * len(data["clusters"]["size"])
        assert data["batches"]


def test_a_merged_result(tmp_path: Path) -> None:
    images = groups(n_groups=3, n_copies=4)
    names = sorted(images)
    parts = []
    for k in range(2):
        folder = save(tmp_path / f"photos_{k}", {name: images[name] for name in names[k::2]})
        parts.append(ci.run(folder, out=tmp_path / f"out_{k}", transfer="move").out)
    merged = ci.merge(parts, out=tmp_path / "all", transfer="none", report=True)
    data = data_of(merged.out / "report")
    # The files are in the results that were merged, which moved them there.
    assert data["thumbnails"]["reasons"] == {}
    for k, file in enumerate(data["files"]):
        source = data["sources"][str(k)]
        assert Path(source).is_file() and Path(source).name == Path(file).name
    assert data["clusters"]["size"] == [4, 4, 4]
    assert data["clusters"]["parts"] == [1, 1, 1]


def test_a_result_without_clusters(tmp_path: Path) -> None:
    run = ci.run(save(tmp_path / "photos", {"a.png": picture(1), "b.png": picture(2)}), report=True)
    data = data_of(run.out / "report")
    assert data["clusters"]["size"] == [] and data["files"] == ["a.png", "b.png"]
    assert data["thumbnails"]["widths"] == [160, 160]


def test_a_result_without_images(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "text").write_text("no image")
    run = ci.run(folder, report=True)
    data = data_of(run.out / "report")
    assert data["files"] == [] and data["skipped"] == [["text", "not an image"]]
    assert list((run.out / "report" / "thumbs").iterdir()) == []


def test_no_kept_features_are_used_before_they_go(photos: Path, tmp_path: Path) -> None:
    run = ci.run(photos, out=tmp_path / "out", method="ssim", threshold=0.8, keep_features=False, report=True)
    assert data_of(run.out / "report")["whyNoPairs"] == ""
    assert not (run.out / ".clusterimg").exists()


def test_a_dry_run_makes_none(photos: Path, tmp_path: Path) -> None:
    ci.run(photos, out=tmp_path / "out", dry_run=True, report=True)
    assert not (tmp_path / "out").exists()


# --- its place ---


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_it_is_replaced_as_a_whole(result: ci.Result) -> None:
    report = gallery.report(result, thumbnail_size=64)
    first = tree(report.index.parent)
    again = gallery.report(result, thumbnails=False)
    assert again.index == report.index
    assert set(tree(again.index.parent)) == {name for name in first if not name.startswith("thumbs/")}
    assert [p.name for p in (result.out / ".clusterimg").iterdir() if p.name.startswith("report")] == []


@pytest.mark.parametrize("place", ["copyfile", "write_sprites", "rename"])
def test_after_an_error_the_old_one_is_as_it_was(
    place: str, result: ci.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(gallery.report(result).index.parent)

    def fail(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    if place == "rename":
        rename = Path.rename

        def fail_once(self: Path, target: Path) -> Path:
            if self.name == "report":
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail_once)
    else:
        monkeypatch.setattr(gallery.shutil if place == "copyfile" else gallery, place, fail)
    with pytest.raises(KeyboardInterrupt):
        gallery.report(result, thumbnail_size=64)
    assert tree(result.out / "report") == before
    assert not list((result.out / ".clusterimg").glob("report*"))


def test_what_a_killed_one_left_is_no_hindrance(result: ci.Result) -> None:
    for name in ("report-new", "report-old"):
        save(result.out / ".clusterimg" / name, {"x.png": picture(1)})
    gallery.report(result)
    assert not list((result.out / ".clusterimg").glob("report*"))


def test_files_of_others_are_never_deleted(result: ci.Result) -> None:
    report = gallery.report(result)
    mine = report.index.with_name("notes.txt")
    mine.write_text("mine")
    with pytest.raises(ci.UsageError, match=r"holds notes\.txt, which is not of a report"):
        gallery.report(result)
    with pytest.raises(ci.UsageError, match=r"report/notes\.txt is not from a run"):
        ci.run(result.summary["folder"], out=result.out, method="ssim", overwrite=True)
    assert mine.read_text() == "mine"


def test_a_folder_that_nobody_recorded_is_not_taken_for_ours(result: ci.Result) -> None:
    (result.out / "report").mkdir()
    (result.out / "report" / "index.html").write_text("mine")
    with pytest.raises(ci.UsageError, match="not of a report"):
        gallery.report(result)


def test_overwrite_and_undo_know_it(result: ci.Result, photos: Path) -> None:
    gallery.report(result)
    undone = ci.undo(result.out)
    assert undone.kept == () and undone.missing == ()
    assert (result.out / "report" / "index.html").exists()  # as the tables do, it stays
    data = data_of(gallery.report(result.out))  # of the originals
    assert data["thumbnails"]["reasons"] == {} and set(data["targets"].values()) == {""}
    ci.run(photos, out=result.out, method="ssim", threshold=0.8, overwrite=True)
    assert not (result.out / "report").exists()


def test_resume_keeps_it_while_it_holds(result: ci.Result, photos: Path) -> None:
    before = tree(gallery.report(result).index.parent)
    same = {"out": result.out, "method": "ssim", "resume": True}
    ci.run(photos, threshold=0.8, **same)
    assert tree(result.out / "report") == before
    ci.run(photos, threshold=0.95, **same)
    assert not (result.out / "report").exists()
    ci.run(photos, threshold=0.95, report=True, **same)
    assert (result.out / "report" / "index.html").exists()


def test_it_can_be_elsewhere(result: ci.Result, photos: Path, tmp_path: Path) -> None:
    before = tree(result.out)
    place = tmp_path / "pages" / "new <report>"
    report = gallery.report(result, out=place)
    data = data_of(report)
    assert (place / data["resultPath"]).resolve() == result.out.resolve()
    assert tree(result.out) == before
    gallery.report(result, out=place)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    (place / "mine").write_text("")
    for out, reason in (
        (place, "holds mine, which is not of a report"),
        (photos / "report", "in the folder of the images"),
        (result.out / "page", "is named report"),
        (result.out, "is named report"),
        (photos / "single.png", "is no folder"),
    ):
        with pytest.raises(ci.UsageError, match=reason):
            gallery.report(result, out=out)


# --- refusals ---


@pytest.mark.parametrize(
    "file, change, reason",
    [
        ("manifest.jsonl", None, r"can't read .*manifest\.jsonl"),
        ("clusters.csv", None, r"can't read .*clusters\.csv"),
        ("clusters.csv", (",chain_0.png,", ",x.png,"), "line 2: representative must be an image of"),
        ("clusters.csv", (",1.0,", ",one,"), "score must be a number"),
        ("run.json", ('"images": 13', '"images": 12'), "must list 12 images"),
        ("run.json", ('"threshold": 0.8', '"threshold": "x"'), "must have a threshold"),
        ("similarities_batch_0.parquet", (), "similarities_batch_0.parquet: damaged"),
    ],
)
def test_a_damaged_result_is_named(
    file: str, change: tuple[str, ...] | None, reason: str, result: ci.Result
) -> None:
    path = result.out / file
    if change is None:
        path.unlink()
    elif change:
        text = path.read_text()
        assert change[0] in text
        path.write_text(text.replace(*change, 1))
    else:
        path.write_bytes(b"x")
    with pytest.raises(ci.ResultError, match=reason):
        gallery.report(result.out)
    assert not (result.out / "report").exists()


def test_a_result_in_use_is_refused(result: ci.Result) -> None:
    from clusterimg.results import locked

    with locked(result.out), pytest.raises(ci.ResultError, match="in use"):
        gallery.report(result.out)


# --- the command line ---


def test_the_command(result: ci.Result, tmp_path: Path) -> None:
    done = call_here("report", result.out)
    index = result.out / "report" / "index.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"13 images: {index}\n", "")
    done = call_here("report", result.out, "--out", tmp_path / "page", "--thumbnail-size", 64, "--json")
    told = json.loads(done.stdout)
    assert told == {
        "index": str(tmp_path / "page" / "index.html"),
        "images": 13,
        "unreadable": [],
        "without_pairs": "",
    }
    assert data_of(tmp_path / "page")["thumbnails"]["cell"] == 64
    done = call_here("report", result.out, "--no-thumbnails", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert data_of(result.out / "report")["thumbnails"] is None
    assert "32 to 512" in error_of(call_here("report", result.out, "--thumbnail-size", 5), 2)
    assert "manifest.jsonl" in error_of(call_here("report", tmp_path))
    assert "No such file" in error_of(call_here("report", tmp_path / "gone"))


def test_run_and_merge_make_it(photos: Path, tmp_path: Path) -> None:
    done = call_here("run", photos, "--out", tmp_path / "out", "--report")
    assert f"report: {tmp_path / 'out' / 'report' / 'index.html'}" in done.stdout
    done = call_here("merge", tmp_path / "out", "--out", tmp_path / "merged", "--report", "--strict")
    assert done.returncode == 0 and (tmp_path / "merged" / "report" / "index.html").exists()


def test_what_has_no_thumbnail_is_told(result: ci.Result) -> None:
    for file in ("single.png", "chain_2.png"):
        (result.out / result.targets[result.files.index(file)]).write_bytes(b"")
    done = call_here("report", result.out)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "clusterimg: no thumbnail: chain_2.png empty file",
        "clusterimg: no thumbnail: single.png empty file",
    ]
