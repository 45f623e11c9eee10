"""The CUDA kernel of template matching of images of any sizes: tiles, pieces, bounds, black images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import as_core
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg import Ragged
from clusterimg.backends import cpp, reference

Image = NDArray[np.uint8]
THRESHOLDS = (-np.inf, -0.5, 0.0, 0.6, 0.95, 1.0)
ONE_ORDER = pytest.mark.parametrize("cuda", ["shuffled"], indirect=True)
PIECE = 128  # columns of a piece of a template; 90 rows of that width


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a short call is the making of large buffers."""
    monkeypatch.setenv("CLUSTERIMG_CUDA_MEMORY", "4M")


def random_images(shapes: Sequence[tuple[int, int]], seed: int = 0) -> list[Image]:
    """Return windows of one scene of these shapes, some of them noisy, black or flat."""
    rng = np.random.default_rng(seed)
    height, width = np.max(shapes, axis=0)
    scene = np.add.outer(np.arange(height) * 3, np.arange(width) * 2) % 200 + rng.integers(
        0, 56, (height, width)
    )
    images = []
    for k, (h, w) in enumerate(shapes):
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        image = scene[y : y + h, x : x + w] + (k % 3 == 1) * rng.integers(-9, 10, (h, w))
        flat = {4: 0, 6: 255}.get(k % 9)
        images.append(np.clip(image if flat is None else np.full_like(image, flat), 0, 255).astype(np.uint8))
    return images


def assert_as_cpp(
    cuda: Any, a: Sequence[Image], b: Sequence[Image] | None = None, thresholds: Sequence[float] = THRESHOLDS
) -> None:
    """Compare matrices, and edges and components at some thresholds."""
    left, right = Ragged.from_images(list(a)), None if b is None else Ragged.from_images(list(b))
    as_core.assert_joins("template", cuda, left, right, thresholds)


def test_small_shapes(cuda: Any) -> None:
    """Every shape up to 5 x 5, so every number of positions of a tile of 4 x 4; some don't fit."""
    shapes = [(h, w) for h in range(1, 6) for w in range(1, 6)]
    assert_as_cpp(cuda, random_images(shapes), thresholds=(-np.inf, 0.9))


@ONE_ORDER
@pytest.mark.parametrize("width", [1, 3, 4, 5, 7, 8, 9, 31, 33])
def test_widths_of_templates(cuda: Any, width: int) -> None:
    """Rows of words of 4 pixels, filled up to 8; images begin anywhere in a word."""
    shapes = [(9, width + 11), (6, width), (9, width + 10), (7, width + 1), (9, width), (6, width)]
    assert_as_cpp(cuda, random_images(shapes, width))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (4, 4), (5, 3), (16, 32), (17, 32), (16, 33), (2, 270)])
def test_numbers_of_positions(cuda: Any, rows: int, cols: int) -> None:
    """32 tiles of 4 x 4 positions at a time."""
    images = random_images([(rows + 6, cols + 4)] * 2, rows)
    templates = random_images([(7, 5)] * 3, cols)
    templates[0] = images[0][rows - 1 :, cols - 1 :].copy()  # at the last position
    assert_as_cpp(cuda, images, templates)
    assert_as_cpp(cuda, templates, images, thresholds=(0.5,))


@pytest.mark.parametrize(
    "shape", [(3, PIECE), (3, PIECE + 1), (90, PIECE), (91, PIECE - 1), (100, 2 * PIECE + 9), (1536, 1)]
)
def test_pieces_of_templates(cuda: Any, shape: tuple[int, int]) -> None:
    h, w = shape
    large = random_images([(h + 5, w + 6), (h + 1, w), (h, w)], h + w)
    assert_as_cpp(cuda, large, [large[0][3 : 3 + h, 5 : 5 + w], *random_images([shape], 1)], (0.5, 0.9))


@ONE_ORDER
def test_as_reference(cuda: Any) -> None:
    images = Ragged.from_images(random_images([(9, 8), (7, 7), (9, 8), (5, 8), (8, 6), (7, 7), (3, 9)]))
    got = cuda.template_edges(images, threshold=0.5)
    np.testing.assert_array_equal(got, reference.template_edges(images, threshold=0.5))


def test_black_images(cuda: Any) -> None:
    """The error is 0 where a black template meets a black patch, else 1 where the norm is 0."""
    black, speck, white = (np.full((7, 9), level, np.uint8) for level in (0, 0, 255))
    speck[3, 4] = 1
    small = [
        np.zeros((3, 4), np.uint8),
        np.zeros((7, 9), np.uint8),
        np.zeros((4, 9), np.uint8),
        speck[2:5, 3:6],
    ]
    assert_as_cpp(cuda, [black, speck, white], small)


def just_below(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nextafter(scores, -np.inf)


def assert_kept_at_every_score(cuda: Any, a: Sequence[Image], b: Sequence[Image]) -> None:
    """Ask for what is just above and what is at each score: bounds must leave room for rounding."""
    left, right = Ragged.from_images(list(a)), Ragged.from_images(list(b))
    i, j = (k.astype(np.int32).ravel() for k in np.indices((len(a), len(b))))
    scores = np.unique(cpp.template_scores(left, right, i=i, j=j))
    scores = scores[scores > 0]
    for threshold in [*just_below(scores), *scores]:
        np.testing.assert_array_equal(
            cuda.template_edges(left, right, threshold=threshold),
            cpp.template_edges(left, right, threshold=threshold),
        )


@ONE_ORDER
def test_bounds_where_they_are_tight(cuda: Any) -> None:
    """A patch that is a multiple of the template has just the error that energies allow."""
    rng = np.random.default_rng(3)
    base = [rng.integers(20, 60, (4, 5)) for _ in range(4)]
    images = [np.pad(2 * image, 1).astype(np.uint8) for image in base[:2]]  # one position is good
    templates = [(k * image).astype(np.uint8) for image in base[:3] for k in (1, 3)]
    assert_kept_at_every_score(cuda, images, templates)
    assert_kept_at_every_score(cuda, [np.asarray(2 * image, np.uint8) for image in base], templates[:4])


def test_positions_that_are_nearly_as_good(cuda: Any) -> None:
    """The best error so far cuts off later positions, but none that is better by the least."""
    rng = np.random.default_rng(5)
    templ = rng.integers(0, 200, (4, 40))
    worse = templ + rng.integers(0, 50, templ.shape)
    image = np.zeros((4, 1200), int)
    for k in range(7):  # 128 positions of one row are scored at a time
        image[:, 160 * k : 160 * k + 40] = worse
        worse = worse.copy()
        worse.flat[np.argmax(worse > templ)] -= 1
    images = [image.astype(np.uint8), image[:, ::-1].astype(np.uint8)]
    assert_as_cpp(cuda, images, [templ.astype(np.uint8), templ[:, ::-1].astype(np.uint8)])


@ONE_ORDER
def test_errors_that_differ_in_their_last_bits(cuda: Any) -> None:
    """Errors 2^-24 apart are one float32: the bound must leave the later and better one to float64."""
    images, templates = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        templ = rng.integers(40, 216, (100, 100))
        templ[50, 50] = 0
        first = templ + rng.choice([-40, 40], templ.shape)
        first[50, 50] = 1
        better = first.copy()
        better[50, 50] = 0
        between = rng.integers(0, 256, (100, 60))  # 128 positions of one row are scored at a time
        images.append(np.hstack([first, between, better]).astype(np.uint8))
        templates.append(templ.astype(np.uint8))
    left, right = Ragged.from_images(images), Ragged.from_images(templates)
    edges = cuda.template_edges(left, right, threshold=0.9)
    np.testing.assert_array_equal(edges, cpp.template_edges(left, right, threshold=0.9))
    assert len(edges) == len(images)


@ONE_ORDER
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_images(cuda: Any, data: st.DataObject) -> None:
    sides = st.integers(1, 14)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    high = data.draw(st.integers(1, 256))
    shapes = data.draw(st.lists(st.tuples(sides, sides), min_size=2, max_size=5))
    images = [rng.integers(0, high, shape).astype(np.uint8) for shape in shapes]
    assert_kept_at_every_score(cuda, images, images)


@ONE_ORDER
@pytest.mark.parametrize("n_pixels", [66051, 66052])
def test_sums_beyond_32_bits(cuda: Any, n_pixels: int) -> None:
    """A set is scored in 64 bits where an image of it has 66052 pixels."""
    images = [
        np.full((1, n_pixels - k), level, np.uint8) for k, level in ((0, 255), (3, 255), (9, 1), (0, 254))
    ]
    images[1][0, ::5] = 0
    assert_as_cpp(cuda, images, thresholds=(0.5,))


@ONE_ORDER
def test_tall_and_wide(cuda: Any) -> None:
    """No two of these fit inside each other: -inf, which no threshold is below."""
    images = [np.ones(shape, np.uint8) for shape in ((1, 9), (9, 1), (3, 3), (2, 5))]
    ragged = Ragged.from_images(images)
    matrix = cuda.template_matrix(ragged)
    np.testing.assert_array_equal(matrix, cpp.template_matrix(ragged))
    assert np.isneginf(matrix).sum() == 12
    assert len(cuda.template_edges(ragged, threshold=-np.inf)) == 0
