"""The union-find of the devices: the root of a component is its lowest item, whatever the order of pairs."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import emulated
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Items = NDArray[np.int32]
Pairs = NDArray[np.integer]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build united.cu for the CPU."""
    reason = emulated.why_not()
    if reason is not None:
        pytest.skip(reason)
    target = tmp_path_factory.mktemp("united") / "united.so"
    cuda, here = emulated.ROOT / "cuda", Path(__file__).parent
    sources = [here / "united.cu", cuda / "union_find.cu", emulated.EMULATION / "knobs.cpp"]
    includes = [f"-I{folder}" for folder in (emulated.EMULATION, emulated.ROOT / "csrc", cuda)]
    command = [emulated.COMPILER, *emulated.FLAGS, *includes, "-include", "cuda_runtime.h", "-shared"]
    subprocess.run([*command, "-x", "c++", *map(str, sources), "-o", str(target)], check=True)
    return target


@pytest.fixture(params=emulated.ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    """One order of threads and blocks after another."""
    found: str = request.param
    return found


@pytest.fixture(params=[1, 4])
def union_find(request: pytest.FixtureRequest, built: Path, order: str) -> Iterator[ctypes.CDLL]:
    """The library, on a machine where so many OS threads run blocks at once."""
    machine = emulated.Machine(built)
    machine.reset()
    machine.order(order, seed=1)
    machine.os_threads(request.param)
    yield ctypes.CDLL(str(built))
    machine.reset()


def roots_of(union_find: ctypes.CDLL, n: int, pairs: Pairs) -> Items:
    """Return the root of each of n items after the pairs were united."""
    listed, roots = np.ascontiguousarray(pairs, np.int32), np.empty(n, np.int32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (listed, roots)]
    assert union_find.united(n, pointers[0], len(pairs), pointers[1]) == 0
    return roots


def lowest(n: int, pairs: Pairs) -> Items:
    """Return the lowest item of each item's component, by SciPy."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    roots: Items = first[component].astype(np.int32)
    return roots


def assert_lowest(union_find: ctypes.CDLL, n: int, pairs: Pairs) -> None:
    np.testing.assert_array_equal(roots_of(union_find, n, pairs), lowest(n, pairs))


@pytest.mark.parametrize("shape", ["chain", "backward", "star", "star at the end", "halves", "complete"])
def test_shapes(union_find: ctypes.CDLL, shape: str) -> None:
    n = 1500
    k = np.arange(n - 1)
    pairs = {
        "chain": np.stack([k, k + 1], axis=1),
        "backward": np.stack([k + 1, k], axis=1)[::-1],
        "star": np.stack([np.zeros(n - 1, int), k + 1], axis=1),
        "star at the end": np.stack([k, np.full(n - 1, n - 1)], axis=1),
        "halves": np.concatenate([np.stack([k[: -1 - d], k[1 + d :]], axis=1) for d in (1, 3, 15)]),
        "complete": np.argwhere(np.triu(np.ones((70, 70)), 1)),
    }[shape]
    assert_lowest(union_find, n, pairs)


@pytest.mark.parametrize("seed", range(4))
def test_random_pairs(union_find: ctypes.CDLL, seed: int) -> None:
    """Fewer pairs than items leave many components, more leave one that all threads work on."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 2000))
    for n_pairs in (1, n // 2, n, 4 * n):
        assert_lowest(union_find, n, rng.integers(0, n, (n_pairs, 2)))
