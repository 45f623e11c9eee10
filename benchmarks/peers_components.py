"""Connected components against SciPy's: from five million edges to labels of a million nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from clusterimg import EDGE_DTYPE, backends
from ratios import Row

N_NODES, N_EDGES = 1_000_000, 5_000_000


def rows() -> Iterator[Row]:
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, N_NODES, (2, N_EDGES))
    # As most photo libraries: many small groups, and nothing else.
    group = rng.integers(0, N_NODES // 10, N_EDGES)
    k, m = group * 10 + rng.integers(0, 10, (2, N_EDGES))
    yield row("uniform random edges, one large component", i, j)
    yield row("groups of ten", k, m)


def row(name: str, i: np.ndarray, j: np.ndarray) -> Row:
    edges = sorted_edges(i, j)
    engine = backends.select("cpp", n_threads=1)
    weights = np.ones(len(edges))  # SciPy converts all others to these

    def theirs() -> Any:
        graph = csr_matrix((weights, (edges["i"], edges["j"])), (N_NODES, N_NODES))
        return connected_components(graph, directed=False)

    return Row(
        kernel=f"components, 1 M nodes, 5 M edges: {name}",
        peer="SciPy `connected_components`, matrix made of the same edges",
        ours=lambda: engine.components(edges, N_NODES),
        theirs=theirs,
        pairs=len(edges),
        agree=same_components,
        prototype=36,
        goal=50,
        note="pairs/s are edges/s",
    )


def sorted_edges(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    low, high = np.minimum(i, j)[i != j], np.maximum(i, j)[i != j]
    order = np.lexsort((high, low))
    edges = np.empty(len(order), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = low[order], high[order], 0.9
    return edges


def same_components(ours: np.ndarray, theirs: tuple[int, np.ndarray]) -> None:
    """Theirs number lone nodes too: compare what is together."""
    n_components, labels = theirs
    together = np.bincount(labels, minlength=n_components)[labels] > 1
    np.testing.assert_array_equal(ours >= 0, together)
    _, first = np.unique(labels[together], return_inverse=True)
    pairs = np.unique(np.stack([ours[together], first]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
