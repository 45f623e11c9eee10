"""Linkages and constraints on similar pairs: against a definition that tries everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg import EDGE_DTYPE, UsageError, _linkage
from clusterimg.clustering import LINKAGES, number_by_appearance
from clusterimg.methods import Classic
from pictures import blend, noisy, picture

Scored = tuple[int, int, float]
Couples = list[tuple[int, int]]

STRICTER = [linkage for linkage in LINKAGES if linkage != "components"]


def edge_array(edges: list[Scored]) -> np.ndarray:
    return np.array(edges, EDGE_DTYPE)


# --- the definition ---


def by_definition(edges: list[Scored], n: int, linkage: str, must: Couples, cannot: Couples) -> np.ndarray:
    """Return the labels by looking at all pairs of all groups again and again."""
    ordered = sorted(edges, key=lambda edge: (-edge[2], edge[0], edge[1]))
    rank = {frozenset(edge[:2]): place for place, edge in enumerate(ordered)}
    groups = [{k} for k in range(n)]

    def home(k: int) -> set[int]:
        return next(group for group in groups if k in group)

    def join(x: set[int], y: set[int]) -> None:
        if x is not y:
            groups.remove(y)
            x |= y

    def may_meet(x: set[int], y: set[int]) -> bool:
        return not any({a, b} & x and {a, b} & y for a, b in cannot)

    for i, j in must:
        join(home(i), home(j))
    if linkage == "components":
        for i, j, _ in ordered:
            if home(i) is not home(j) and may_meet(home(i), home(j)):
                join(home(i), home(j))
    while linkage != "components":
        found = []
        for p, x in enumerate(groups):
            for q, y in enumerate(groups[:p]):
                ranks = [rank[pair] for a in x for b in y if (pair := frozenset((a, b))) in rank]
                share = len(ranks) / (len(x) * len(y))
                if share >= _linkage.LEAST_SHARE[linkage] and may_meet(x, y):
                    found.append((-share, max(ranks), p, q))
        if not found:
            break
        _, _, p, q = min(found)
        join(groups[q], groups[p])
    return number_by_appearance(
        np.array([groups.index(home(k)) if len(home(k)) > 1 else -1 for k in range(n)], np.int64)
    )


@st.composite
def graphs(draw: st.DrawFn, distinct: bool = False) -> tuple[list[Scored], int]:
    n = draw(st.integers(2, 11))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=len(pairs)))
    if distinct:
        scores = draw(st.permutations([k / 64 for k in range(1, 1 + len(chosen))]))
    else:
        scores = draw(
            st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.0]), min_size=len(chosen), max_size=len(chosen))
        )
    return [(i, j, score) for (i, j), score in zip(chosen, scores, strict=True)], n


def couples(draw: Any, n: int, most: int) -> Couples:
    couple = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] != pair[1])
    found: Couples = draw(st.lists(couple, max_size=most))
    return found


@pytest.fixture(params=["rounds", "chain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let all be joined in rounds, or all but the first round by the chain."""
    monkeypatch.setattr(_linkage, "_FEW", {"rounds": 0.0, "chain": 2.0}[request.param])
    yield


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("linkage", LINKAGES)
def test_clusters_are_those_of_the_definition(linkage: str) -> None:
    @settings(deadline=None, max_examples=150)
    @given(graphs(), st.data())
    def check(graph: tuple[list[Scored], int], data: st.DataObject) -> None:
        edges, n = graph
        must, cannot = couples(data.draw, n, 2), couples(data.draw, n, 4)
        labels = ci.components(edge_array([(i, j, 1.0) for i, j in must]), n)
        assume(not any(labels[i] == labels[j] >= 0 for i, j in cannot))
        found = ci.link(edge_array(edges), n, linkage=linkage, must_link=must, cannot_link=cannot)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, by_definition(edges, n, linkage, must, cannot))

    check()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("linkage", LINKAGES)
def test_the_order_of_images_and_pairs_plays_no_part(linkage: str) -> None:
    @settings(deadline=None, max_examples=80)
    @given(graphs(distinct=True), st.data())
    def check(graph: tuple[list[Scored], int], data: st.DataObject) -> None:
        edges, n = graph
        cannot = couples(data.draw, n, 3)
        place = data.draw(st.permutations(range(n)))
        moved = [(place[i], place[j], score) for i, j, score in data.draw(st.permutations(edges))]
        there = [(place[i], place[j]) for i, j in cannot]
        before = ci.link(edge_array(edges), n, linkage=linkage, cannot_link=cannot)
        after = ci.link(edge_array(moved), n, linkage=linkage, cannot_link=there)
        np.testing.assert_array_equal(number_by_appearance(after[list(place)]), before)

    check()


@pytest.mark.parametrize(
    ("linkage", "labels"),
    [
        ("components", [0, 0, 0, 0, 0, -1]),
        ("complete", [0, 0, 1, 1, -1, -1]),
        ("average", [0, 0, 1, 1, 1, -1]),
    ],
)
def test_a_chain(linkage: str, labels: list[int]) -> None:
    chain = [(0, 1, 0.9), (1, 2, 0.6), (2, 3, 0.8), (3, 4, 0.7)]
    np.testing.assert_array_equal(ci.link(edge_array(chain), 6, linkage=linkage), labels)


def test_average_joins_at_half_of_the_pairs_and_not_below() -> None:
    square = [(0, 1, 0.9), (2, 3, 0.9)]
    half = [*square, (0, 2, 0.5), (1, 3, 0.5)]
    np.testing.assert_array_equal(ci.link(edge_array(half), 4, linkage="average"), [0, 0, 0, 0])
    np.testing.assert_array_equal(ci.link(edge_array(half[:3]), 4, linkage="average"), [0, 0, 1, 1])
    np.testing.assert_array_equal(ci.link(edge_array(half), 4, linkage="complete"), [0, 0, 1, 1])


@pytest.mark.parametrize("linkage", LINKAGES)
def test_must_links_need_no_similarity_and_hold_through_others(linkage: str) -> None:
    edges = edge_array([(0, 1, 0.9)])
    labels = ci.link(edges, 6, linkage=linkage, must_link=[(1, 4), (5, 4)], cannot_link=[(1, 2)])
    assert labels[1] == labels[4] == labels[5] == 0
    assert labels[2] == labels[3] == -1
    assert labels[0] == (0 if linkage == "components" else -1)  # similar to one of three


@pytest.mark.parametrize("linkage", LINKAGES)
def test_the_strongest_pair_decides_to_whom_an_image_goes(linkage: str) -> None:
    edges = edge_array([(0, 1, 0.8), (1, 2, 0.9)])
    labels = ci.link(edges, 3, linkage=linkage, cannot_link=[(2, 0)])
    np.testing.assert_array_equal(labels, [-1, 0, 0])


# --- many images ---


def near_on_a_line(n: int, seed: int) -> list[Scored]:
    """Return the pairs of points on a line that are near each other: one long chain."""
    points = np.sort(np.random.default_rng(seed).uniform(0, n / 6, n))
    i, j = np.nonzero(np.triu(np.abs(points[:, None] - points) < 1, 1))
    return [(int(a), int(b), float(1 - abs(points[a] - points[b]) / 2)) for a, b in zip(i, j, strict=True)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("linkage", LINKAGES)
def test_many_images(linkage: str) -> None:
    edges = near_on_a_line(90, 1)
    cannot = [(0, 2), (40, 50), (41, 44)]
    for apart in ([], cannot):
        found = ci.link(edge_array(edges), 90, linkage=linkage, cannot_link=apart)
        np.testing.assert_array_equal(found, by_definition(edges, 90, linkage, [], apart))


def test_pairs_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = near_on_a_line(600, 2)
    assert len(edges) > 3000
    monkeypatch.setattr(_linkage, "_BLOCK", 1 << 11)
    cannot = [(k, k + 40) for k in range(0, 560, 40)]
    found = ci.link(edge_array(edges), 600, cannot_link=cannot)
    group = list(range(600))
    for i, j, _ in sorted(edges, key=lambda edge: (-edge[2], edge[0], edge[1])):
        a, b = group[i], group[j]
        if a != b and not any({group[x], group[y]} == {a, b} for x, y in cannot):
            group = [a if home == b else home for home in group]
    sizes = np.bincount(group, minlength=600)
    wanted = number_by_appearance(np.where(sizes[group] > 1, group, -1))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("seed", range(3))
def test_constraints_hold_in_a_large_random_graph(linkage: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 3000
    i, j = rng.integers(0, n, (2, 12_000))
    key = np.unique(np.minimum(i, j) * n + np.maximum(i, j))
    edges = np.empty(len(key), EDGE_DTYPE)
    edges["i"], edges["j"] = key // n, key % n
    edges["score"] = rng.integers(1, 100, len(key)) / 100
    edges = edges[edges["i"] != edges["j"]]
    must, cannot = rng.permutation(n)[:200].reshape(-1, 2), rng.permutation(n)[:200].reshape(-1, 2)
    bound = ci.components(edge_array([(a, b, 1.0) for a, b in must.tolist()]), n)
    cannot = cannot[(bound[cannot[:, 0]] != bound[cannot[:, 1]]) | (bound[cannot[:, 0]] < 0)]
    labels = ci.link(edges, n, linkage=linkage, must_link=must, cannot_link=cannot)
    assert (labels[must[:, 0]] == labels[must[:, 1]]).all() and (labels[must] >= 0).all()
    ends = labels[cannot]
    assert ((ends[:, 0] != ends[:, 1]) | (ends[:, 0] < 0)).all()
    if linkage == "complete":
        is_free = (bound < 0)[:, None] & (labels >= 0)[:, None]
        together = (labels[:, None] == labels) & is_free & is_free.T
        assert np.count_nonzero(np.triu(together, 1)) <= np.count_nonzero(
            labels[edges["i"]] == labels[edges["j"]]
        )


@pytest.mark.parametrize("linkage", STRICTER)
def test_scores_that_rise_along_a_chain_take_no_round_each(
    linkage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []
    one = _linkage._each_others_best
    monkeypatch.setattr(_linkage, "_each_others_best", lambda *args: rounds.append(1) or one(*args))
    n = 3000
    edges = np.zeros(n - 1, EDGE_DTYPE)
    edges["i"], edges["j"] = np.arange(n - 1), np.arange(1, n)
    edges["score"] = np.linspace(0.5, 0.9, n - 1)
    labels = ci.link(edges, n, linkage=linkage)
    np.testing.assert_array_equal(labels, np.arange(n) // 2)
    assert len(rounds) == 1


def test_no_image_and_no_edge() -> None:
    for linkage in LINKAGES:
        assert ci.link(np.empty(0, EDGE_DTYPE), 0, linkage=linkage).tolist() == []
        assert ci.link(np.empty(0, EDGE_DTYPE), 2, linkage=linkage, cannot_link=[(0, 1)]).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linkage": "single"}, "linkage must be one of components, complete, average, got 'single'"),
        ({"must_link": [(0, 3)]}, "must_link must pair images 0 to 2, got 0 to 3"),
        ({"cannot_link": [(-1, 1)]}, "cannot_link must pair images 0 to 2, got -1 to 1"),
        ({"cannot_link": [(1, 1)]}, "cannot_link must pair two different images, got 1 with itself"),
        ({"must_link": [(0.5, 1)]}, "must_link must be pairs of image numbers"),
        ({"must_link": [0, 1]}, "must_link must be pairs of image numbers"),
        (
            {"must_link": [(0, 1), (1, 2)], "cannot_link": [(2, 0)]},
            r"cannot_link holds \(2, 0\), which must_link joins, directly or through others",
        ),
    ],
)
def test_wrong_parameters_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ci.link(edge_array([(0, 1, 0.5)]), 3, **options)


# --- images ---


def walk() -> list[np.ndarray]:
    """Return pictures on the way from one to another and on, some twice or three times, and a blank one."""
    x, y, z = (picture(k, 64, 48) for k in (1, 2, 3))
    images = [blend(x, y, k / 10) for k in range(11)] + [blend(y, z, k / 7) for k in range(1, 8)]
    return [*images, *images[3:14:5], images[3], np.full((48, 64), 9, np.uint8), noisy(x, 4)]


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_clusters_of_images_are_those_of_all_their_pairs(linkage: str, threshold: float) -> None:
    features = ci.extract(walk(), method="ssim", size=(32, 24))
    pairs = ci.similar_pairs(features, threshold=threshold)
    # 3, 18, 21 are identical, and so are 8 and 19, 13 and 20
    for must, cannot in (([], []), ([(0, 22)], []), ([], [(3, 18), (8, 9), (19, 2)]), ([(8, 20)], [(8, 19)])):
        found = ci.cluster(features, threshold=threshold, linkage=linkage, must_link=must, cannot_link=cannot)
        wanted = by_definition(pairs.tolist(), len(features), linkage, must, cannot)
        np.testing.assert_array_equal(found, wanted)


def test_one_cannot_link_among_many_copies_takes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(1, 40, 40)] * 20_000
    features = ci.extract(images[:2], method="imagehash")
    features = features.take(np.zeros(20_000, np.intp))
    labels = ci.cluster(features, linkage="complete", cannot_link=[(5, 7)])
    assert labels[7] == -1
    assert (np.delete(labels, 7) == 0).all()


def test_components_without_constraints_hold_no_list_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    features = ci.extract(walk(), method="ssim", size=(32, 24))
    monkeypatch.setattr(Classic, "edges", lambda *_: pytest.fail("a list of the similar pairs was made"))
    assert ci.cluster(features, threshold=0.8, linkage="components", must_link=[], cannot_link=()).max() >= 0
