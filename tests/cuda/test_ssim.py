"""The CUDA kernel of mean SSIM: the edges of the canonical scores, and a fast score close to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, target
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from clusterimg.backends import cpp, reference
from pictures import synthetic_images

Images = NDArray[np.uint8]

# ssim_error of cuda/ssim.cuh, and what the rounding of a matrix to float32 adds.
ERROR = 2.4e-6 + 6e-8

SIZES = [(7, 7), (7, 8), (8, 7), (13, 14), (14, 13), (24, 24), (38, 9), (39, 9), (47, 9), (9, 39), (64, 64)]
# Around the 4 rows of a warp, 16 of a block, 32 images of a group, 96 columns of a block.
COUNTS = [0, 1, 2, 4, 5, 16, 17, 32, 33, 65, 96, 97, 113, 193]


def pictures(n: int, height: int, width: int, seed: int = 0) -> Images:
    """Return noisy gradients; every third is a near-copy of the one before."""
    rng = np.random.default_rng([seed, n, height, width])
    y, x = np.mgrid[:height, :width]
    made: list[NDArray[np.float64]] = []
    for k in range(n):
        if k % 3 == 2:
            made.append(made[-1] + rng.normal(0, rng.choice([1, 5, 12]), y.shape))
        else:
            a, b, c = rng.normal(0, 4, 3)
            made.append(rng.uniform(30, 220) + a * x + b * y + 20 * np.sin(c * x) + rng.normal(0, 6, y.shape))
    stack = np.stack(made) if made else np.empty((0, height, width))
    return np.clip(np.rint(stack), 0, 255).astype(np.uint8)


def extremes(height: int, width: int) -> Images:
    """Return images whose sums and variances are large, small, or nearly cancel."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(5)
    near = [
        np.full(y.shape, grey) + (rng.random(y.shape) < share)
        for grey in (0, 127, 253)
        for share in (0.1, 0.9)
    ]
    steps = [np.where(x >= at, 255, 254) for at in (1, width // 2, width - 1)]
    return np.stack([*synthetic_images(height, width), *near, *steps]).astype(np.uint8)


def canonical(images: Images, others: Images | None = None) -> NDArray[np.float64]:
    """Return the canonical scores of all pairs."""
    right = images if others is None else others
    i, j = np.divmod(np.arange(len(images) * len(right), dtype=np.int32), np.int32(max(1, len(right))))
    return cpp.ssim_scores(images, right, i=i, j=j).reshape(len(images), len(right))


def assert_as_cpp(cuda: Any, images: Images, thresholds: Any, others: Images | None = None) -> None:
    """Compare edges bit for bit and, of one set, components."""
    for threshold in thresholds:
        got = cuda.ssim_edges(images, others, threshold=threshold)
        assert got.tobytes() == cpp.ssim_edges(images, others, threshold=threshold).tobytes(), threshold
        if others is None:
            np.testing.assert_array_equal(
                cuda.ssim_components(images, threshold=threshold),
                cpp.ssim_components(images, threshold=threshold),
                str(threshold),
            )


def assert_close(cuda: Any, images: Images, others: Images | None = None) -> float:
    """Compare the matrix with the canonical scores; return the largest error."""
    wrong = np.abs(cuda.ssim_matrix(images, others) - canonical(images, others))
    assert wrong.max(initial=0) < ERROR
    return float(wrong.max(initial=0))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(cuda: Any, size: tuple[int, int]) -> None:
    step = 1 + size[0] * size[1] // 1000
    images = np.concatenate([extremes(*size)[::step], pictures(6, *size)])
    assert_close(cuda, images)
    assert_as_cpp(cuda, images, [0.5])


@pytest.mark.parametrize("n", COUNTS)
def test_counts(cuda: Any, n: int) -> None:
    images, others = pictures(n, 8, 7), pictures(37, 8, 7, seed=1)
    assert_close(cuda, images)
    assert_close(cuda, images, others)
    assert_close(cuda, others[:5], images)
    assert_as_cpp(cuda, images, [0.8])
    assert_as_cpp(cuda, others, [0.8], images)


def test_wide_and_tall(cuda: Any) -> None:
    """Many windows either way: sums are put away in between, and stay exact."""
    for size in ((7, 400), (300, 8), (40, 70)):
        images = np.concatenate([extremes(*size)[::3], pictures(3, *size)])
        assert_close(cuda, images)
        assert_as_cpp(cuda, images, [0.9])


def test_running_sums_stay_exact(cuda: Any) -> None:
    """Products of one sign take the running sums as far from where they begin as they come."""
    ends = np.stack([np.full((90, 7), grey, np.uint8) for grey in (0, 255, 1, 254)])
    ends[2:, ::3, ::2] ^= 1
    assert_close(cuda, ends)
    assert_as_cpp(cuda, ends, [-0.5, 0.999])


def test_reference(cuda: Any) -> None:
    images = pictures(7, 24, 24)
    np.testing.assert_array_equal(
        cuda.ssim_edges(images, threshold=0.3), reference.ssim_edges(images, threshold=0.3)
    )
    np.testing.assert_allclose(cuda.ssim_matrix(images), reference.ssim_matrix(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(13, 24), (17, 9)], ids=str)
def test_every_pixel_counts(cuda: Any, size: tuple[int, int]) -> None:
    """One pixel changed anywhere changes the score as the canonical formula says."""
    height, width = size
    base = pictures(1, height, width)[0]
    changed = np.repeat(base[None], height * width, axis=0)
    changed.reshape(len(changed), -1)[np.arange(len(changed)), np.arange(len(changed))] ^= 128
    wanted = canonical(base[None], changed)[0]
    assert (wanted < 1).all()
    got = cuda.ssim_matrix(base[None], changed)[0]
    np.testing.assert_allclose(got, wanted, atol=ERROR, rtol=0)
    assert (got < 1 - 10 * ERROR).all()


def test_neighbours_in_memory_do_not_count(cuda: Any) -> None:
    """What is before and behind an image, and beside a row, is not part of it."""
    images = pictures(40, 9, 11)
    alone = cuda.ssim_matrix(images[17:18], images[20:21])
    assert cuda.ssim_matrix(images)[17, 20] == alone[0, 0]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    noise[17], noise[20] = images[17], images[20]
    assert cuda.ssim_matrix(noise)[17, 20] == alone[0, 0]


def test_every_threshold_that_is_a_score(cuda: Any) -> None:
    """A score equal to the threshold is not similar; a hair below it is."""
    images = np.concatenate([extremes(9, 8)[::3], pictures(6, 9, 8)])
    scores = np.unique(canonical(images)[np.triu_indices(len(images), 1)])
    for score in scores[:: len(scores) // 6]:
        assert_as_cpp(cuda, images, [score, np.nextafter(score, -9)])


def alike(height: int, width: int) -> Images:
    """Return images whose windows are all of one kind, so that the bound of a group is what it loses."""
    y, x = np.mgrid[:height, :width]
    flat = [np.full(y.shape, grey) for grey in (0, 3, 60, 100, 130, 200, 255)]
    waves = [128 + height * np.where((x + y) % 2, size, -size) for size in (1, 2, 3)]
    ramps = [120 + slope * (x - width // 2) for slope in (1, 2, 3, 4)] + [120 + 2 * (y - height // 2)]
    made: Images = np.clip(np.stack([*flat, *waves, *ramps]), 0, 255).astype(np.uint8)
    return made


@pytest.mark.parametrize("size", [(9, 9), (8, 40)], ids=str)
def test_the_bound_drops_no_pair_that_is_just_above(cuda: Any, size: tuple[int, int]) -> None:
    images = alike(*size)
    scores = canonical(images)
    for i, j in list(zip(*np.nonzero(np.triu(scores > 0.3, 1)), strict=True))[::7]:
        threshold = np.nextafter(scores[i, j], -9)
        (edge,) = cuda.ssim_edges(images[[i]], images[[j]], threshold=threshold)
        assert edge["score"] == scores[i, j]


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays(np.uint8, (10, 11), elements=st.integers(0, 255)),
    arrays(np.int8, (10, 11), elements=st.integers(-9, 9)),
    st.floats(0.5, 1.5),
    st.integers(-60, 60),
)
def test_the_bound_of_changed_images(cuda: Any, image: Images, noise: Any, gain: float, more: int) -> None:
    """Whatever is done to an image: it is found at a threshold just below the score."""
    other = np.clip(gain * image + more + noise, 0, 255).astype(np.uint8)
    (score,) = canonical(image[None], other[None])[0]
    found = cuda.ssim_edges(image[None], other[None], threshold=np.nextafter(score, -9))
    assert found["score"].tolist() == [score]


@pytest.mark.parametrize("threshold", [-np.inf, -1.0, 0.0, 0.63, 1 - 1e-12, 1.0, 1.5, np.inf])
def test_thresholds(cuda: Any, threshold: float) -> None:
    assert_as_cpp(cuda, pictures(50, 12, 10), [threshold])


def test_pairs_that_the_fast_score_gets_most_wrong(cuda: Any) -> None:
    """The canonical score decides them too; a tolerance 20 times smaller would lose or unite some."""
    images = np.concatenate([extremes(39, 9), pictures(6, 39, 9)])
    wanted = canonical(images)
    wrong = np.where(np.triu(wanted > -1, 1), cuda.ssim_matrix(images) - wanted, 0)
    assert max(-wrong.min(), wrong.max()) > ERROR / 20
    below = np.unravel_index(wrong.argmin(), wrong.shape)
    (edge,) = cuda.ssim_edges(
        images[[below[0]]], images[[below[1]]], threshold=np.nextafter(wanted[below], -9)
    )
    assert edge["score"] == wanted[below]
    above = list(np.unravel_index(wrong.argmax(), wrong.shape))
    labels = cuda.ssim_components(images[above], threshold=wanted[tuple(above)])
    assert labels.tolist() == [-1, -1]


GREYS = st.sampled_from([0, 1, 2, 126, 127, 128, 129, 253, 254, 255])


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(np.uint8, (4, 10, 8), elements=GREYS | st.integers(0, 255)))
@example(np.full((4, 10, 8), 255, np.uint8))
def test_error_of_the_fast_score(cuda: Any, images: Images) -> None:
    target(assert_close(cuda, images))
