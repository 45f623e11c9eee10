"""The CUDA kernel of template matching of images of one size: blocks, stages, pieces, thresholds."""

from __future__ import annotations

from typing import Any

import as_core
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.backends import cpp, reference

Images = NDArray[np.uint8]
SIDE = 128  # images on each side of a block of pairs; a warp has 32 or 64 of them
STAGE = 64  # pixels at a time
ONE_ORDER = pytest.mark.parametrize("cuda", ["shuffled"], indirect=True)
CAPABILITIES = {"tensor": (9, 0), "plain": (7, 5)}


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a short call is the making of large buffers."""
    monkeypatch.setenv("CLUSTERIMG_CUDA_MEMORY", "4M")


@pytest.fixture(params=CAPABILITIES)
def tile(request: pytest.FixtureRequest, cuda: Any, machine: Any) -> str:
    """Which of the two ways to add up products the device takes."""
    machine.capability(0, *CAPABILITIES[request.param])
    return str(request.param)


def images_of(n: int, height: int, width: int) -> Images:
    """Return near copies of few noisy images, among them flat and saturated ones."""
    rng = np.random.default_rng([n, height, width])
    noise = rng.integers(0, 256, (5, height, width))
    kinds = np.concatenate([noise, np.where(noise[:2] > 127, 255, 0), np.zeros_like(noise[:1])])
    kinds = np.concatenate([kinds, np.full_like(noise[:1], 255), np.full_like(noise[:1], 1)])
    changes = rng.integers(-20, 21, (n, height, width)) * rng.integers(0, 2, (n, 1, 1))
    images: Images = np.clip(kinds[np.arange(n) % len(kinds)] + changes, 0, 255).astype(np.uint8)
    return images


def assert_as_cpp(cuda: Any, a: Images, b: Images | None = None, thresholds: Any = (0.0, 0.6, 0.97)) -> None:
    """Compare matrices, and edges and components at some thresholds."""
    as_core.assert_joins("template", cuda, a, b, thresholds)


@pytest.mark.parametrize("n", [1, 2, 33, 65, SIDE, SIDE + 1])
def test_numbers_of_images(cuda: Any, tile: str, n: int) -> None:
    assert_as_cpp(cuda, images_of(n, 3, 5))


@ONE_ORDER
@pytest.mark.parametrize("n_pixels", [1, 3, 4, 15, 16, 17, STAGE - 1, STAGE, STAGE + 1, 2 * STAGE, 1000])
def test_numbers_of_pixels(cuda: Any, tile: str, n_pixels: int) -> None:
    assert_as_cpp(cuda, images_of(10, 1, n_pixels))


@pytest.mark.parametrize(("n_rows", "n_cols"), [(1, SIDE + 2), (SIDE + 2, 1), (40, 70), (SIDE, 3)])
def test_rectangles(cuda: Any, tile: str, n_rows: int, n_cols: int) -> None:
    assert_as_cpp(cuda, images_of(n_rows, 4, 5), images_of(n_cols, 4, 5))


@ONE_ORDER
def test_groups_of_blocks(cuda: Any) -> None:
    """Blocks are taken in groups of 16 rows of them: 18 rows and 2 columns."""
    a, b = images_of(17 * SIDE + 1, 1, 2), images_of(SIDE + 1, 1, 2)
    np.testing.assert_array_equal(cuda.template_matrix(a, b), cpp.template_matrix(a, b))
    edges = cuda.template_edges(a, b, threshold=0.999)
    np.testing.assert_array_equal(edges, cpp.template_edges(a, b, threshold=0.999))


@ONE_ORDER
@pytest.mark.parametrize("threshold", [-np.inf, -0.5, -1e-300, -0.0, 0.0, 1.0 - 2.0**-53, 1.0, 1.5, np.inf])
def test_thresholds(cuda: Any, tile: str, threshold: float) -> None:
    assert_as_cpp(cuda, images_of(14, 5, 7), None, (threshold,))


@ONE_ORDER
def test_as_reference(cuda: Any, tile: str) -> None:
    images = images_of(12, 6, 6)
    got = cuda.template_edges(images, threshold=0.5)
    np.testing.assert_array_equal(got, reference.template_edges(images, threshold=0.5))


def just_below(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nextafter(scores, -np.inf)


@ONE_ORDER
def test_no_pair_is_lost_just_above_the_threshold(cuda: Any, tile: str) -> None:
    """The rough errors of half of all pairs are rounded up: their bound must have room for it."""
    images = images_of(10, 5, 8)
    i, j = (k.astype(np.int32) for k in np.triu_indices(len(images), 1))
    scores = cpp.template_scores(images, None, i=i, j=j)
    for score in np.unique(scores):
        edges = cuda.template_edges(images, threshold=float(just_below(score)))
        assert set(zip(edges["i"], edges["j"], strict=True)) == set(
            zip(i[scores >= score], j[scores >= score], strict=True)
        )
        equal = cuda.template_edges(images, threshold=float(score))
        assert len(equal) == (scores > score).sum()


@ONE_ORDER
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_images(cuda: Any, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    low, high = sorted(data.draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    images = rng.integers(low, high + 1, (6, height, width)).astype(np.uint8)
    images[3] = np.minimum(255, 2 * images[0].astype(int))  # the same direction, another length
    i, j = np.array([[0, 0, 1], [3, 1, 2]], np.int32)
    scores = cpp.template_scores(images, None, i=i, j=j)
    for threshold in [*just_below(scores), *scores]:
        edges = cpp.template_edges(images, threshold=threshold)
        np.testing.assert_array_equal(cuda.template_edges(images, threshold=threshold), edges)


@pytest.mark.parametrize(
    ("n_pixels", "capability"),
    [(66051, "plain"), (66052, "plain"), (131072 + 80, "plain"), (66600, "tensor")],
)
def test_sums_beyond_32_bits(core: Any, machine: Any, n_pixels: int, capability: str) -> None:
    """255 and 1 are 2^32 apart from 66573 pixels on, their energies 2^32 from 66052 on."""
    machine.capability(0, *CAPABILITIES[capability])
    images = np.full((4, 1, n_pixels), 255, np.uint8)
    images[1] = 1
    images[2, 0, ::2] = 254
    images[3, 0, -1] = 0
    np.testing.assert_array_equal(core.template_matrix(images)[0], cpp.template_matrix(images)[0])
    assert 0.9 < cpp.template_matrix(images)[0, 2] < 1


@ONE_ORDER
def test_small_memory_and_lists(cuda: Any, core: Any) -> None:
    """Blocks that come one after another, and a list that is too short for their edges."""
    images = images_of(300, 2, 3)
    wanted = cpp.template_edges(images, threshold=0.2)
    got = core.template_edges(images, threshold=0.2, list_capacity=1)
    np.testing.assert_array_equal(got, wanted)
