"""Template matching at the edges of registers, pieces, tiles and transforms; bounds that drop no pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterimg import EDGE_DTYPE, Ragged, _core, kernels
from clusterimg.backends import reference
from pictures import noisy, picture

QUIET = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = [
    (1, 1),
    (1, 9),
    (5, 7),
    (8, 8),
    (13, 29),
    (31, 33),
    (32, 32),
    (64, 64),
    (1, 1023),
    (1, 1025),
    (33, 63),
]


def extremes(n: int, height: int, width: int) -> np.ndarray:
    """Return flat, saturated, equal, nearly equal, natural and noisy images."""
    rng = np.random.default_rng([n, height, width])
    noise = rng.integers(0, 256, (height, width))
    scene = picture(1, max(width, 8), max(height, 8))[:height, :width]
    nearly = scene.copy()
    nearly.flat[-1] ^= 1
    kinds = [
        np.zeros_like(noise),
        np.full_like(noise, 255),
        scene,
        scene,
        nearly,
        noisy(scene, 2),
        noise,
        255 - noise,
        np.where(noise > 127, 255, 0),
        np.full_like(noise, 1),
        rng.integers(0, 2, (height, width)),
        picture(2, max(width, 8), max(height, 8))[:height, :width],
    ]
    images = [kinds[k % len(kinds)] if k % 5 else noisy(kinds[k % len(kinds)], k) for k in range(n)]
    return np.stack(images).astype(np.uint8)


def scores_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the scores of all pairs of images of one size, from int64 sums."""
    x = a.reshape(len(a), -1).astype(np.int64)
    y = b.reshape(len(b), -1).astype(np.int64)
    energy_x, energy_y = (x * x).sum(axis=1)[:, None], (y * y).sum(axis=1)[None]
    distance = (energy_x + energy_y - 2 * (x @ y.T)).astype(float)
    norm = np.sqrt(energy_x.astype(float) * energy_y.astype(float))
    error = np.where(norm == 0, distance != 0, distance / np.where(norm == 0, 1, norm))
    return 1.0 - np.minimum(1.0, error)


def edges_above(scores: np.ndarray, threshold: float, *, triangle: bool) -> np.ndarray:
    i, j = np.nonzero(np.triu(scores > threshold, 1) if triangle else scores > threshold)
    return np.array(list(zip(i, j, scores[i, j], strict=True)), EDGE_DTYPE)


def canonical(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    return np.array([[reference.canonical_template(x, y) for y in b] for x in a])


# --- images of one size ---


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 65])
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_edges_are_those_of_int64_sums(isa: str, size: tuple[int, int], n: int) -> None:
    images = extremes(n, *size)
    scores = scores_of(images, images)
    for threshold in (-1.0, 0.0, 0.5, 0.991):
        got = _core.template_edges(images, threshold=threshold, n_threads=1)
        np.testing.assert_array_equal(got, edges_above(scores, threshold, triangle=True))
        got = _core.template_edges(images[:3], images, threshold=threshold, n_threads=1)
        np.testing.assert_array_equal(got, edges_above(scores[:3], threshold, triangle=False))
    np.testing.assert_array_equal(_core.template_matrix(images, n_threads=1), scores.astype(np.float32))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_tiles_and_bands_of_more_images(isa: str, n_threads: int) -> None:
    images = extremes(260, 12, 11)
    scores = scores_of(images, images)
    for threshold in (-1.0, 0.3, 0.95):
        got = _core.template_edges(images, threshold=threshold, n_threads=n_threads)
        np.testing.assert_array_equal(got, edges_above(scores, threshold, triangle=True))


@pytest.mark.parametrize("size", [(200, 300), (256, 256), (1, 33000)], ids="{0[0]}x{0[1]}".format)
def test_sums_of_large_images_do_not_overflow(isa: str, size: tuple[int, int]) -> None:
    """More pixels than one band keeps, than an int32 has room for, and all of them white."""
    images = np.full((6, *size), 255, np.uint8)
    images[1, 0, 0] = 254
    images[2] = 254
    images[3, ::2] = 0
    images[4:] = extremes(2, *size)
    scores = scores_of(images, images)
    for threshold in (-1.0, 0.5):
        got = _core.template_edges(images, threshold=threshold, n_threads=1)
        np.testing.assert_array_equal(got, edges_above(scores, threshold, triangle=True))
    i, j = np.divmod(np.arange(36, dtype=np.int32), np.int32(6))
    np.testing.assert_array_equal(_core.template_scores(images, i=i, j=j), scores.ravel())


# --- sketches ---


def test_the_bound_of_sketches_is_met(isa: str) -> None:
    """Flat images have nothing but their means: a bound a thousandth too tight drops these pairs."""
    images = np.stack([np.full((30, 30), grey, np.uint8) for grey in (40, 60, 80, 86, 90, 97, 120, 180, 255)])
    scores = scores_of(images, images)
    checked = 0
    for i, j in zip(*np.triu_indices(len(images), 1), strict=True):
        if not 0 < scores[i, j] < 1:
            continue
        below = np.nextafter(scores[i, j], 0)
        for threshold, kept in ((below, 1), (scores[i, j], 0)):
            pair = _core.template_edges(images[[i]], images[[j]], threshold=threshold, n_threads=1)
            assert len(pair) == kept
        checked += scores[i, j] < 0.5
    assert checked >= 5  # there a thousandth of the error is more than the slack


@QUIET
@given(st.data())
def test_sketches_drop_no_pair(data: st.DataObject) -> None:
    """Thresholds beside scores, for images of few blocks, of noise, and in between."""
    height, width = data.draw(st.integers(8, 40)), data.draw(st.integers(8, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    blocks = rng.integers(0, 256, (6, 5, 6))
    rows, columns = np.arange(height) * 5 // height, np.arange(width) * 6 // width
    smooth = blocks[:, rows][:, :, columns]
    strength = data.draw(st.sampled_from([0, 1, 5, 40, 255]))
    images = np.clip(smooth + rng.integers(-strength, strength + 1, smooth.shape), 0, 255).astype(np.uint8)
    images[3:] = np.clip(images[:3] * data.draw(st.floats(0.5, 1.5)), 0, 255).astype(np.uint8)
    scores = scores_of(images, images)
    for score in np.unique(scores[np.triu_indices(6, 1)]):
        for threshold in (np.nextafter(score, -1), score):
            got = _core.template_edges(images, threshold=threshold, n_threads=1)
            np.testing.assert_array_equal(got, edges_above(scores, threshold, triangle=True))


# --- images of any sizes ---

PAIRS = [
    ((1, 1), (1, 1)),
    ((5, 7), (1, 1)),
    ((5, 7), (5, 6)),
    ((9, 40), (1, 33)),
    ((40, 9), (33, 1)),
    ((16, 16), (16, 16)),
    ((17, 31), (8, 9)),
    ((33, 33), (4, 4)),
    ((64, 64), (48, 48)),
    ((65, 70), (64, 17)),
    ((70, 129), (33, 47)),
    ((128, 40), (100, 16)),
]


@pytest.mark.parametrize("sizes", PAIRS, ids=str)
def test_sliding_is_the_definition(isa: str, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    large, small = (list(extremes(12, *size)) for size in sizes)
    small[4] = np.ascontiguousarray(large[5][-sizes[1][0] :, -sizes[1][1] :])  # found in a corner
    scores = canonical(large, small)
    images, templates = Ragged.from_images(large), Ragged.from_images(small)
    for a, b, wanted in ((images, templates, scores), (templates, images, scores.T)):
        parts = [(part.values.ravel(), part.offsets, part.shapes) for part in (a, b)]
        for threshold in (-np.inf, 0.2, 0.9):
            got = _core.sliding_edges(*parts, threshold=threshold, n_threads=1)
            np.testing.assert_array_equal(got, edges_above(wanted, threshold, triangle=False))
    matrix = kernels.template_matrix(images, templates, backend="cpp")
    np.testing.assert_array_equal(matrix, scores.astype(np.float32))


def test_sliding_of_many_sizes_in_one_call(isa: str) -> None:
    rng = np.random.default_rng(0)
    images = [extremes(12, *rng.integers(5, 60, 2))[k % 12] for k in range(30)]
    scores = canonical(images, images)
    for threshold in (-np.inf, 0.5):
        got = kernels.template_edges(Ragged.from_images(images), threshold=threshold, backend="cpp")
        np.testing.assert_array_equal(got, edges_above(scores, threshold, triangle=True))


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (32, 128), (160, 160)], ids=str)
def test_the_bounds_of_sliding_are_met(isa: str, size: tuple[int, int], side: int) -> None:
    """Flat squares have nothing but their means: a bound a thousandth too tight drops these pairs."""
    rng = np.random.default_rng(side)
    for spread in (30, 100):
        grid = rng.integers(128 - spread, 128 + spread, (size[0] // side, size[1] // side))
        image = np.kron(grid, np.ones((side, side))).astype(np.uint8)
        templ = np.clip(image[: size[0] // 2, : size[1] // 2] + rng.integers(5, 40), 0, 255).astype(np.uint8)
        score = reference.canonical_template(image, templ)
        ragged = Ragged.from_images([image, templ])
        for threshold, kept in ((np.nextafter(score, 0), [score]), (score, [])):
            edges = kernels.template_edges(ragged, threshold=threshold, backend="cpp")
            assert edges["score"].tolist() == kept


@QUIET
@given(st.data())
def test_sliding_bounds_drop_no_position(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(8, 70)), data.draw(st.integers(8, 70))
    small = data.draw(st.integers(4, height)), data.draw(st.integers(4, width))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    cell = data.draw(st.sampled_from([1, 3, 8, 70]))
    grid = rng.integers(0, 256, (height // cell + 1, width // cell + 1))
    image = np.kron(grid, np.ones((cell, cell)))[:height, :width]
    if data.draw(st.booleans()):
        image = image // 32 * 8  # dark, with many positions that tie
    y, x = rng.integers(0, height - small[0] + 1), rng.integers(0, width - small[1] + 1)
    templ = image[y : y + small[0], x : x + small[1]] + rng.integers(0, 30, small)
    pair = [np.clip(part, 0, 255).astype(np.uint8) for part in (image, templ)]
    score = reference.canonical_template(*pair)
    ragged = Ragged.from_images(pair)
    for threshold, kept in ((np.nextafter(score, -1), [score]), (score, []), (-np.inf, [score])):
        edges = kernels.template_edges(ragged, threshold=threshold, backend="cpp")
        assert edges["score"].tolist() == kept


def all_errors(image: np.ndarray, templ: np.ndarray) -> np.ndarray:
    """Return the errors of all positions, unclamped; infinite where the norm is 0."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.int64), templ.shape)
    t = templ.astype(np.int64)
    dots = np.einsum("yxuv,uv->yx", windows, t)
    energies = (windows**2).sum(axis=(2, 3))
    norms = np.sqrt(float((t * t).sum()) * energies)
    distances = ((t * t).sum() + energies - 2 * dots).astype(float)
    return np.divide(distances, norms, out=np.full(norms.shape, np.inf), where=norms > 0)


@pytest.mark.parametrize("size", [(64, 64), (70, 90), (128, 40)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "bright", "checks", "halves", "speck"])
def test_bounds_from_transforms_are_below_all_errors_but_not_by_much(
    isa: str, kind: str, size: tuple[int, int]
) -> None:
    """The margin is of the worst that a transform may round, a hundred times what is seen here."""
    rng = np.random.default_rng(size)
    y, x = np.mgrid[: size[0], : size[1]]
    image = {
        "noise": rng.integers(0, 256, size),
        "bright": rng.integers(250, 256, size),
        "checks": 255 * ((y + x) % 2),
        "halves": np.where(x < size[1] // 2, 3, 252),
        "speck": 255 * (y * x == 77),
    }[kind].astype(np.uint8)
    templ = np.clip(image[2 : size[0] // 2, 1 : size[1] // 2].astype(int) + 1, 1, 255).astype(np.uint8)
    errors = all_errors(image, templ)
    bounds = _core.sliding_bounds(image, templ).astype(float)
    known = np.isfinite(errors)
    assert (bounds[known] * (1 - 2**-18) <= errors[known]).all()
    assert (errors[known] - bounds[known] < 1e-2 * (1 + errors[known])).all()


def test_positions_that_all_tie_are_all_right(isa: str) -> None:
    """A flat image, stripes and a black one: every bound is the same, and black on black is no error."""
    stripes = np.tile(np.array([0, 255], np.uint8), (60, 30))
    flat = np.full((60, 60), 200, np.uint8)
    black = np.zeros((60, 60), np.uint8)
    images = [stripes, flat, black, stripes[:40, 1:41].copy(), flat[:40, :40] // 2, black[:40, :40].copy()]
    scores = canonical(images, images)
    got = kernels.template_edges(Ragged.from_images(images), threshold=-np.inf, backend="cpp")
    np.testing.assert_array_equal(got, edges_above(scores, -np.inf, triangle=True))
