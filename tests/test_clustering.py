"""Edges to labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg import EDGE_DTYPE, UsageError
from clusterimg.backends import Engine, report, select
from clusterimg.clustering import first_members, number_by_appearance

RUNNABLE = [name for name, reason in report().items() if reason is None]


def edge_array(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array([(i, j, 0.5) for i, j in pairs], EDGE_DTYPE)


def flood(pairs: list[tuple[int, int]], n: int) -> list[int]:
    """Return the labels by walking from each image in turn."""
    neighbours: dict[int, set[int]] = {k: set() for k in range(n)}
    for i, j in pairs:
        if i != j:
            neighbours[i].add(j)
            neighbours[j].add(i)
    labels, n_clusters = [-1] * n, 0
    for start in range(n):
        if labels[start] >= 0 or not neighbours[start]:
            continue
        waiting = [start]
        while waiting:
            k = waiting.pop()
            if labels[k] < 0:
                labels[k] = n_clusters
                waiting.extend(neighbours[k])
        n_clusters += 1
    return labels


@pytest.mark.parametrize(
    ("pairs", "n", "labels"),
    [
        ([], 0, []),
        ([], 3, [-1, -1, -1]),
        ([(0, 1)], 2, [0, 0]),
        ([(2, 4), (0, 3)], 5, [0, -1, 1, 0, 1]),
        ([(3, 4), (0, 1), (1, 4)], 5, [0, 0, -1, 0, 0]),
        ([(1, 1)], 2, [-1, -1]),
        ([(1, 2), (2, 1), (1, 2)], 4, [-1, 0, 0, -1]),
        ([(4, 3), (3, 2), (2, 1), (1, 0)], 5, [0, 0, 0, 0, 0]),
    ],
)
def test_components_are_numbered_by_first_appearance(
    engine: Engine, pairs: list[tuple[int, int]], n: int, labels: list[int]
) -> None:
    got = engine.components(edge_array(pairs), n)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, np.array(labels, np.int32))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int]:
    n = draw(st.integers(1, 40))
    node = st.integers(0, n - 1)
    return draw(st.lists(st.tuples(node, node), max_size=50)), n


@settings(deadline=None, max_examples=200)
@given(graphs(), st.randoms(use_true_random=False))
def test_components_of_any_graph(graph: tuple[list[tuple[int, int]], int], random: Any) -> None:
    pairs, n = graph
    wanted = np.array(flood(pairs, n), np.int32)
    for backend in RUNNABLE:
        np.testing.assert_array_equal(ci.components(edge_array(pairs), n, backend=backend), wanted)
    random.shuffle(pairs)
    turned = [(j, i) if random.random() < 0.5 else (i, j) for i, j in pairs]
    np.testing.assert_array_equal(ci.components(edge_array(turned), n), wanted)


def assert_as_scipy(labels: np.ndarray, edges: np.ndarray) -> None:
    """Check that the labels are SciPy's components, numbered by first appearance."""
    sparse = pytest.importorskip("scipy.sparse")
    n = len(labels)
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges["i"], edges["j"])), shape=(n, n))
    _, wanted = sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(wanted)[wanted]
    np.testing.assert_array_equal(labels < 0, sizes == 1)
    pairs = np.unique(np.stack([labels, wanted])[:, labels >= 0], axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    _, first = np.unique(labels[labels >= 0], return_index=True)
    np.testing.assert_array_equal(first, np.sort(first))


@pytest.mark.parametrize("n_edges", [500, 3000, 20_000])
def test_components_of_a_large_graph_equal_scipy(n_edges: int) -> None:
    edges = np.zeros(n_edges, EDGE_DTYPE)
    edges["i"], edges["j"] = np.random.default_rng(n_edges).integers(0, 5000, (2, n_edges))
    assert_as_scipy(ci.components(edges, 5000), edges)


# The core unites 2048 edges at a time and fetches what is 32 further on, where there is such an edge.
LENGTHS = [2047, 2048, 2049, 2079, 2080, 2081, 4096, 4128, 9999]
ENDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "uniform": lambda rng, n: rng.integers(0, 8000, (2, n)),
    "groups of ten": lambda rng, n: rng.integers(0, 300, n) * 10 + rng.integers(0, 10, (2, n)),
    "star": lambda rng, n: np.stack([np.full(n, 4000), rng.integers(0, 10_000, n)]),
    "path": lambda rng, n: np.add.outer([0, 1], np.arange(n)),
    "scattered path": lambda rng, n: rng.permutation(n + 1)[np.add.outer([0, 1], np.arange(n))],
}


@pytest.mark.parametrize("order", ["sorted", "sorted backwards", "turned", "shuffled"])
@pytest.mark.parametrize("shape", ENDS)
def test_components_of_edges_in_any_order_equal_scipy(shape: str, order: str) -> None:
    rng = np.random.default_rng(5)
    for n_edges in LENGTHS:
        ends = np.sort(ENDS[shape](rng, n_edges), axis=0)
        i, j = ends[:, rng.permutation(n_edges) if order == "shuffled" else np.lexsort(ends[::-1])]
        edges = np.zeros(n_edges, EDGE_DTYPE)
        edges["i"], edges["j"] = (j, i) if order == "turned" else (i, j)
        edges = edges[::-1].copy() if order == "sorted backwards" else edges
        assert_as_scipy(ci.components(edges, 10_000), edges)


@pytest.mark.parametrize("place", [0, 3, 4, 2047, 2048, 3966, 3967, 3968, 3998, 3999])
@pytest.mark.parametrize("pair", [(0, 500), (-1, 3), (500, 0), (3, -1), (-(2**31), 2**31 - 1)])
def test_the_core_names_the_first_edge_without_its_images(place: int, pair: tuple[int, int]) -> None:
    if "cpp" not in RUNNABLE:
        pytest.skip(f"no compiled core: {report()['cpp']}")
    edges = np.zeros(4000, EDGE_DTYPE)
    edges["i"], edges["j"] = np.arange(4000) % 499, 499
    edges["i"][place:], edges["j"][place:] = pair
    with pytest.raises(
        ValueError, match=rf"edge {place} must join images below 500, got \({pair[0]}, {pair[1]}\)"
    ):
        select("cpp").components(edges, 500)


@pytest.mark.parametrize(
    ("edges", "n"),
    [
        (edge_array([(0, 3)]), 3),
        (edge_array([(-1, 2)]), 3),
        (edge_array([(0, 1)]), 0),
        (edge_array([(0, 1)])[None], 2),
        (np.zeros((4, 3)), 9),
        (np.zeros(2, [("i", "<i8"), ("j", "<i8"), ("score", "<f8")]), 9),
    ],
)
def test_wrong_edges_are_usage_errors(edges: np.ndarray, n: int) -> None:
    with pytest.raises(UsageError, match="edges must"):
        ci.components(edges, n)


def test_edges_may_be_strided_and_read_only() -> None:
    edges = edge_array([(0, 1), (5, 6), (1, 2), (6, 7)])
    edges.flags.writeable = False
    np.testing.assert_array_equal(ci.components(edges[::2], 4), [0, 0, 0, -1])


@settings(deadline=None)
@given(st.lists(st.integers(-3, 6), max_size=30))
def test_renumbering_keeps_the_groups(groups: list[int]) -> None:
    labels = number_by_appearance(np.array(groups, np.int64))
    seen: dict[int, int] = {}
    wanted = [-1 if group < 0 else seen.setdefault(group, len(seen)) for group in groups]
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.array(wanted, np.int32))
    first = first_members(labels)
    np.testing.assert_array_equal(first, [-1 if k < 0 else wanted.index(k) for k in wanted])


@pytest.mark.parametrize("n_images", [1, 2, 31, 33, 70])
@pytest.mark.parametrize("threshold", [-1.0, 0.3, 0.7, 0.9])
def test_components_without_edges_are_those_of_the_edges(
    engine: Engine, image_set: Callable[[int, int, int], np.ndarray], n_images: int, threshold: float
) -> None:
    if engine.report.name == "reference":
        pytest.skip("reference has the way by edges only")
    images = image_set(n_images, 9, 8)
    codes = np.packbits(images[:, :8] > 127, axis=-1).reshape(n_images, 8).view(np.uint64)
    slots = (images[:, 0] // 64).astype(np.uint32)
    for kernel, values in (("ssim", images), ("hamming", codes), ("template", images), ("signature", slots)):
        edges = engine.edges(kernel, values, threshold=threshold)
        expected = engine.components(edges, n_images)
        np.testing.assert_array_equal(engine.clusters(kernel, values, threshold=threshold), expected)


@pytest.mark.parametrize("threshold", [0.5, 0.99, 1.0])
def test_library_clusters_are_the_components_of_the_similar_pairs(
    photos: list[np.ndarray], threshold: float
) -> None:
    images = [photo[:h, :w] for photo in photos for h, w in ((90, 100), (85, 100), (90, 100), (60, 60))]
    images.insert(0, np.zeros((30, 30), np.uint8))
    for method in ("imagehash", "ssim", "minhash", "tm", "orb"):
        features = ci.extract(images, method=method)
        pairs = ci.similar_pairs(features, threshold=threshold)
        expected = ci.kernels.components(pairs, len(images))
        np.testing.assert_array_equal(ci.cluster(features, threshold=threshold), expected)
