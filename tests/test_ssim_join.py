"""The SSIM join: its edges are those of all canonical scores, and its bound never drops too much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, target
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from clusterimg.backends.reference import canonical_ssim

_core = pytest.importorskip("clusterimg._core")

Images = NDArray[np.uint8]

# ssim_loss_share and ssim_loss_margin of csrc/joins/ssim_bound.hpp
SHARE, MARGIN = 1 / 256 + 1 / 16384, 0.002


def all_scores(images: Images, others: Images) -> NDArray[np.float64]:
    i, j = np.divmod(np.arange(len(images) * len(others), dtype=np.int32), np.int32(len(others)))
    return _core.ssim_scores(images, others, i=i, j=j, n_threads=1).reshape(len(images), len(others))


def assert_edges(images: Images, threshold: float, scores: NDArray[np.float64]) -> None:
    i, j = np.nonzero(np.triu(scores > threshold, 1))
    got = _core.ssim_edges(images, threshold=threshold, n_threads=1)
    np.testing.assert_array_equal(got["i"], i)
    np.testing.assert_array_equal(got["j"], j)
    np.testing.assert_array_equal(got["score"], scores[i, j])


def pictures(n: int, height: int, width: int, seed: int = 0) -> Images:
    """Return smooth shapes with noise, every third a near-copy of the one before."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 8.0
    made: list[NDArray[np.float64]] = []
    for k in range(n):
        if k % 3 == 2:
            made.append(made[-1] * rng.uniform(0.7, 1.1) + rng.normal(0, rng.choice([1, 5, 12]), y.shape))
            continue
        waves = rng.normal(0, 1, (5, 3))
        shape = sum(np.sin(a * x + b * y + 6 * c) for a, b, c in waves)
        made.append(rng.uniform(20, 200) + rng.uniform(5, 50) * np.asarray(shape) + rng.normal(0, 4, y.shape))
    return np.clip(np.rint(np.stack(made)), 0, 255).astype(np.uint8)


def extremes(height: int, width: int) -> Images:
    """Return flat images, boards and stripes, and some that differ from them in one pixel or grey."""
    y, x = np.mgrid[:height, :width]
    found = [np.full(y.shape, grey) for grey in (0, 1, 127, 128, 254, 255)]
    for period in (1, 2, 7):
        for low, high in ((0, 255), (254, 255), (0, 1), (100, 140)):
            board = np.where((y // period + x // period) % 2, low, high)
            found += [board, low + high - board, np.where(y // period % 2, low, high)]
    for base in (found[0], found[5], found[6]):
        odd = base.copy()
        odd[height // 2, width // 2] = 255 - odd[height // 2, width // 2]
        found += [odd, np.clip(base + 1, 0, 255), base.copy()]
    found += [x * 255 // max(1, width - 1), 255 - x * 255 // max(1, width - 1), (x + y) % 256]
    return np.stack(found).astype(np.uint8)


@pytest.mark.parametrize("width", range(7, 26))
def test_canonical_score_is_the_reference_for_any_end_of_a_row(isa: str, width: int) -> None:
    """Rows end inside, at and just behind a word of eight pixels, next to other images' pixels."""
    images = np.concatenate([extremes(17, width), pictures(3, 17, width)])
    images = images[:: max(1, len(images) // 9)].copy()
    wanted = [[canonical_ssim(a, b) for b in images] for a in images]
    np.testing.assert_array_equal(all_scores(images, images), wanted)


SIZES = [(7, 7), (8, 8), (7, 50), (50, 7), (13, 29), (24, 24), (64, 64)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_join_finds_what_all_canonical_scores_say(isa: str, size: tuple[int, int]) -> None:
    for images in (pictures(33, *size), extremes(*size)):
        scores = all_scores(images, images)
        exact = np.unique(scores[scores < 1])[:: max(1, scores.size // 8)]
        for threshold in (-1.0, 0.0, 0.29, 0.3, 0.5, 0.63, 0.7, 0.9, 0.99, 0.999999, 1.0, 1.5, *exact):
            assert_edges(images, float(threshold), scores)
            assert_edges(images, float(np.nextafter(threshold, -2)), scores)


@pytest.mark.parametrize("n_images", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 41, 65])
def test_join_at_the_edges_of_tiles(isa: str, n_images: int) -> None:
    images = pictures(n_images, 12, 15, seed=n_images)
    scores = all_scores(images, images)
    for threshold in (0.2, 0.6, 0.9):
        assert_edges(images, threshold, scores)
    others = pictures(19, 12, 15, seed=3)
    scores = all_scores(images, others)
    for threshold in (0.2, 0.6):
        got = _core.ssim_edges(images, others, threshold=threshold)
        i, j = np.nonzero(scores > threshold)
        np.testing.assert_array_equal(np.stack([got["i"], got["j"]]), np.stack([i, j]))
        np.testing.assert_array_equal(got["score"], scores[i, j])


@pytest.mark.parametrize("size", [(7, 7), (24, 24), (31, 70), (70, 71), (75, 140)], ids=str)
def test_matrix_and_edges_are_the_same_bytes_for_every_isa_and_team(size: tuple[int, int]) -> None:
    images = np.concatenate([pictures(35, *size), extremes(*size)])
    found = set()
    for name in _core.isas():
        _core.use_isa(name)
        for n_threads in (1, 2, 5):
            matrix = _core.ssim_matrix(images, n_threads=n_threads)
            edges = [_core.ssim_edges(images, threshold=t, n_threads=n_threads) for t in (0.4, 0.63)]
            found.add((matrix.tobytes(), *(e.tobytes() for e in edges)))
    assert len(found) == 1
    np.testing.assert_allclose(matrix, all_scores(images, images), rtol=0, atol=5e-6)


def upper_bounds(images: Images) -> NDArray[np.float64]:
    """Return what the join takes a pair's score to be at most."""
    return 1 - ((1 - SHARE) * _core.ssim_losses(images) - MARGIN)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bound_is_above_every_score(isa: str, size: tuple[int, int]) -> None:
    images = np.concatenate([pictures(20, *size), extremes(*size)])
    assert (upper_bounds(images) >= all_scores(images, images)).all()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays(np.uint8, (2, 11, 12), elements=st.integers(0, 255)),
    st.integers(0, 255),
    st.sampled_from([1, 2, 4, 16, 64]),
)
@example(np.zeros((2, 11, 12), np.uint8), 0, 1)
def test_bound_is_above_any_score(noise: Images, base: int, flatter: int) -> None:
    """Noise, flattened around a grey to come near the constants, where roundings weigh most."""
    low = noise // flatter
    near = np.clip(base + low.astype(int) - 128 // flatter, 0, 255).astype(np.uint8)
    images = np.concatenate([noise, near, 255 - near])
    slack = upper_bounds(images) - all_scores(images, images)
    target(-float(slack.min()))
    assert slack.min() >= 0


def lossless_steps() -> list[tuple[Images, float]]:
    """Return images whose pairs lose what the bound says, and the share that its steps may miss.

    Flat images lose luminance alone, the same in every window. In one window, contrasts of one
    texture of mean 128 differ in no direction, and of plain ramps nothing is left over. Ramps over
    many windows differ a little in luminance, which the bound takes at its worst in each group.
    """
    tile = np.random.default_rng(5).integers(-20, 21, (7, 7))
    tile -= tile[::-1, ::-1]
    y, x = np.mgrid[:21, :27]
    column = np.arange(49).reshape(7, 7) % 7 - 3
    return [
        (np.stack([np.full((21, 27), grey) for grey in (0, 3, 20, 90, 255)]).astype(np.uint8), 0.002),
        (np.stack([128 + k * tile for k in (0, 1, 2, 3)]).astype(np.uint8), 0.002),
        (np.stack([128 + k * column for k in (-9, -2, 0, 3, 20)]).astype(np.uint8), 0.002),
        (
            np.stack(
                [128 + k * (x - 13) + m * (y - 10) for k, m in ((-2, 1), (2, 1), (0, 0), (1, -4))]
            ).astype(np.uint8),
            0.03,
        ),
    ]


@pytest.mark.parametrize("case", range(4))
def test_bound_a_thousandth_tighter_would_fail(isa: str, case: int) -> None:
    """The loss that the bound finds, before its margins, is the true one where nothing is lost."""
    images, missed = lossless_steps()[case]
    true, found = 1 - all_scores(images, images), _core.ssim_losses(images)
    ratio = found[true > 0.15] / true[true > 0.15]
    assert len(ratio) >= 6
    assert ratio.min() > 1 - missed
    assert ratio.max() < 1.0008  # roundings of z
    if case < 3:
        assert ratio.max() * 1.001 > 1.0008


@pytest.mark.parametrize("side", [24, 64])
def test_join_drops_most_pairs_of_unlike_pictures(side: int) -> None:
    """The bound is worth its time: unlike pictures need no canonical score."""
    images = pictures(40, side, side)[[k for k in range(40) if k % 3 == 0]]
    off = ~np.eye(len(images), dtype=bool)
    assert np.mean(upper_bounds(images)[off] > 0.7) < 0.25
