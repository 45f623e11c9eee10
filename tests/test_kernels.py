"""Every kernel on every engine: equal to the definition pair for pair, at the edges of tiles and lanes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, target
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import clusterimg as ci
from clusterimg import EDGE_DTYPE, Ragged, UsageError, _core, kernels
from clusterimg.backends import Engine, reference, report, select

# Lanes and bands of SSIM are 8 and 32 images, tiles are 32 x 16 (template), 64 x 256 (counts), 8 x 8
# (descriptors).
IMAGE_COUNTS = (0, 1, 2, 15, 16, 17, 31, 32, 33, 65)
CODE_COUNTS = (0, 1, 2, 63, 64, 65, 255, 256, 257, 300)
SET_COUNTS = (0, 1, 2, 7, 8, 9, 17)

RUNNABLE = [name for name, reason in report().items() if reason is None]
COMPILED = [name for name in RUNNABLE if name != "reference"]

ImageSet = Callable[[int, int, int], np.ndarray]


class Case(NamedTuple):
    """One kernel on one kind of input; `shape` is what the maker of the input takes."""

    kernel: str
    shape: tuple[int, ...]
    counts: Sequence[int]
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        words = [self.kernel, "x".join(map(str, self.shape)), *(str(value) for _, value in self.options)]
        return "-".join(word for word in words if word)


CASES = [
    Case("ssim", (7, 7), IMAGE_COUNTS),
    *(Case("ssim", size, IMAGE_COUNTS[:-1]) for size in ((7, 8), (8, 7), (9, 31), (7, 80), (64, 64))),
    Case("template", (7, 8), IMAGE_COUNTS),
    *(Case("template", size, IMAGE_COUNTS[:-1]) for size in ((1, 1), (9, 31), (64, 64))),
    Case("sliding", (), (0, 1, 2, 17)),
    *(Case("hamming", (n_words,), CODE_COUNTS) for n_words in (1, 2, 9, 64)),
    *(Case("signature", (n_slots,), CODE_COUNTS) for n_slots in (1, 3, 128)),
    *(
        Case("descriptor", (), SET_COUNTS, (("rule", rule), ("max_distance", most)))
        for rule, most in (("ratio", 40), ("absolute", 40), ("absolute", 0), ("relative", 40))
    ),
]
ALL_CASES = pytest.mark.parametrize("case", CASES, ids=str)
RULES = ("ratio", "absolute", "relative")
REFERENCE_MOST = 17  # images: it scores pair by pair


# --- inputs ---


def make_codes(n: int, n_words: int) -> np.ndarray:
    """Return codes among which all distances occur: random ones with more and more bits flipped."""
    rng = np.random.default_rng([n, n_words])
    bits = rng.integers(0, 2, (n, 64 * n_words), dtype=np.uint8)
    for k in range(1, n):
        if k % 3:
            bits[k] = bits[k - 1]
            bits[k, rng.permutation(bits.shape[1])[: k % 29]] ^= 1
    bits[n // 2] = bits[0]
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


def make_signatures(n: int, n_slots: int) -> np.ndarray:
    rng = np.random.default_rng([n, n_slots])
    return rng.integers(0, 4, (n, n_slots), dtype=np.uint32) << np.uint32(30)


def make_descriptors(n: int) -> Ragged:
    """Return sets of 0 to 40 descriptors drawn from few, so that duplicates and ties abound."""
    rng = np.random.default_rng(n)
    pool = rng.integers(0, 256, (24, 32), dtype=np.uint8)
    sets = []
    for k in range(n):
        rows = pool[rng.integers(0, len(pool), (0, 1, 2, 7, 8, 9, 40)[k % 7])].copy()
        flips = rng.integers(0, 60) if k % 2 else 1
        for row in rows[::2]:
            row[rng.integers(0, 32, flips)] ^= np.uint8(1) << rng.integers(0, 8, flips, dtype=np.uint8)
        sets.append(rows)
    return Ragged.from_arrays(sets, empty=np.empty((0, 32), np.uint8))


def make_ragged(image_set: ImageSet) -> Ragged:
    """Return images of which some fit inside others and some do not."""
    sizes = [(9, 31), (9, 30), (7, 8), (1, 1), (31, 9), (20, 20), (1, 40), (40, 1), (9, 31)]
    images = [image for k, size in enumerate(sizes) for image in image_set(2, *size)[: 1 + (k < 8)]]
    return Ragged.from_images(images)


def make_values(case: Case, image_set: ImageSet) -> Any:
    n = max(case.counts)
    if case.kernel == "sliding":
        return make_ragged(image_set)
    if case.kernel == "descriptor":
        return make_descriptors(n)
    if case.kernel == "hamming":
        return make_codes(n, *case.shape)
    if case.kernel == "signature":
        return make_signatures(n, *case.shape)
    return image_set(n, *case.shape)


# --- the definition, pair by pair ---


def matched_share(a: np.ndarray, b: np.ndarray, rule: str, max_distance: int) -> float:
    if not (len(a) and len(b)):
        return 0.0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(a, b)
    distances = [match.distance for match in matches]
    if not distances:
        return 0.0
    if rule == "absolute":
        return sum(d <= max_distance for d in distances) / len(distances)
    if rule == "relative":
        return sum(d < 0.75 * max(distances) for d in distances) / len(distances)
    if min(len(a), len(b)) < 2:
        return 0.0
    table = (np.unpackbits(a, axis=1)[:, None] != np.unpackbits(b, axis=1)).sum(axis=2)
    from_a, from_b = np.sort(table, axis=1)[:, 1], np.sort(table, axis=0)[1]
    seconds = [min(from_a[match.queryIdx], from_b[match.trainIdx]) for match in matches]
    return sum(d <= 0.75 * second for d, second in zip(distances, seconds, strict=True)) / len(distances)


def define(case: Case, values: Any) -> np.ndarray:
    """Return the scores (n, n) float64 of all pairs, both orders, by definition."""
    n = len(values)
    if case.kernel == "hamming":
        bits = np.unpackbits(values.view(np.uint8), axis=1)
        return np.array([(bits == row).sum(axis=1) / bits.shape[1] for row in bits])
    if case.kernel == "signature":
        return np.array([(values == row).sum(axis=1) / values.shape[1] for row in values])
    one = {
        "ssim": reference.canonical_ssim,
        "template": reference.canonical_template,
        "sliding": reference.canonical_template,
        "descriptor": lambda a, b: matched_share(a, b, **dict(case.options)),
    }[case.kernel]
    scores = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            scores[i, j] = scores[j, i] = one(values[i], values[j])
    return scores


@pytest.fixture(scope="session")
def defined(image_set: ImageSet) -> Callable[[Case], tuple[Any, np.ndarray]]:
    """Give the largest input of a case, and its scores by definition."""

    @cache
    def give(case: Case) -> tuple[Any, np.ndarray]:
        values = make_values(case, image_set)
        return values, define(case, values)

    return give


def part(values: Any, start: int, stop: int) -> Any:
    return values.take(np.arange(start, stop)) if isinstance(values, Ragged) else values[start:stop]


def kernel_of(case: Case) -> str:
    return "template" if case.kernel == "sliding" else case.kernel


def edges_above(scores: np.ndarray, threshold: float, *, triangle: bool) -> np.ndarray:
    """Return the edges that a table of scores holds."""
    found = scores > threshold
    if triangle:
        found &= np.triu(np.ones_like(found), 1)
    i, j = np.nonzero(found)
    edges = np.empty(len(i), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = i, j, scores[i, j]
    return edges


def assert_same_edges(got: np.ndarray, wanted: np.ndarray) -> None:
    """Fail unless the edges are the same, scores bit for bit."""
    assert got.dtype == EDGE_DTYPE
    for field in ("i", "j"):
        np.testing.assert_array_equal(got[field], wanted[field])
    np.testing.assert_array_equal(got["score"].view(np.uint64), wanted["score"].view(np.uint64))


def thresholds(scores: np.ndarray) -> list[float]:
    """Return thresholds that keep all pairs, none and some, one of them some pair's own score."""
    finite = scores[np.isfinite(scores)]
    some = [float(np.quantile(finite, 0.6, method="lower")), 0.5] if len(finite) else []
    return [-np.inf, *some, 2.0]


@pytest.mark.parametrize(
    "other",
    [
        [(0, 1, 0.5)],
        [(0, 1, 0.5), (0, 3, 0.25)],
        [(0, 1, np.nextafter(0.5, 1)), (0, 2, 0.25)],
        [(1, 0, 0.5), (0, 2, 0.25)],
        [(0, 2, 0.25), (0, 1, 0.5)],
    ],
)
def test_comparison_of_edges_fails_on_a_difference(other: list[tuple[int, int, float]]) -> None:
    edges = np.array([(0, 1, 0.5), (0, 2, 0.25)], EDGE_DTYPE)
    assert_same_edges(edges, edges.copy())
    with pytest.raises(AssertionError):
        assert_same_edges(np.array(other, EDGE_DTYPE), edges)


# --- all pairs of one set, of two sets, listed pairs, dense ---


@ALL_CASES
def test_edges_of_one_set_equal_the_definition(engine: Engine, defined: Any, case: Case) -> None:
    values, scores = defined(case)
    for n in (0, 1, 9) if engine.report.name == "reference" else case.counts:
        for threshold in thresholds(scores):
            got = engine.edges(kernel_of(case), part(values, 0, n), threshold=threshold, **dict(case.options))
            assert_same_edges(got, edges_above(scores[:n, :n], threshold, triangle=True))


@ALL_CASES
def test_edges_of_two_sets_equal_the_definition(engine: Engine, defined: Any, case: Case) -> None:
    values, scores = defined(case)
    n = min(len(values), REFERENCE_MOST) if engine.report.name == "reference" else len(values)
    for n_rows in (0, 1, 17):
        for rows, columns in [((0, n_rows), (min(n_rows, n), n)), ((max(n - n_rows, 0), n), (0, n))]:
            sets = part(values, *rows), part(values, *columns)
            got = engine.edges(kernel_of(case), *sets, threshold=0.4, **dict(case.options))
            block = scores[slice(*rows), slice(*columns)]
            assert_same_edges(got, edges_above(block, 0.4, triangle=False))


@ALL_CASES
def test_scores_of_listed_pairs_equal_the_definition(engine: Engine, defined: Any, case: Case) -> None:
    values, scores = defined(case)
    rng = np.random.default_rng(0)
    n_pairs = 60 if engine.report.name == "reference" else 600
    i, j = rng.integers(0, len(values), (2, n_pairs)).astype(np.int32)
    got = engine.scores(kernel_of(case), values, values, i=i, j=j, **dict(case.options))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, scores[i, j])
    within = engine.scores(kernel_of(case), values, i=i[:9], j=j[:9], **dict(case.options))
    np.testing.assert_array_equal(within, scores[i[:9], j[:9]])


@ALL_CASES
def test_matrix_is_the_definition_within_its_tolerance(engine: Engine, defined: Any, case: Case) -> None:
    values, scores = defined(case)
    name, options = kernel_of(case), dict(case.options)
    if engine.report.name == "reference":
        n = min(len(values), REFERENCE_MOST)
        values, scores = part(values, 0, n), scores[:n, :n]
    square = engine.matrix(name, values, **options)
    assert square.dtype == np.float32
    np.testing.assert_allclose(square, scores, rtol=0, atol=1e-5)
    if case.kernel != "template":  # OpenCV's own noise makes the reference differ by the order
        np.testing.assert_array_equal(square, square.T)
    n = len(values) // 3
    block = engine.matrix(name, part(values, 0, n), part(values, n, len(values)), **options)
    np.testing.assert_allclose(block, scores[:n, n:], rtol=0, atol=1e-5)
    for few in (0, 1):
        few_scores = engine.matrix(name, part(values, 0, few), **options)
        np.testing.assert_allclose(few_scores, scores[:few, :few], rtol=0, atol=1e-5)


@ALL_CASES
def test_matrix_has_the_same_bytes_on_all_instruction_sets_and_threads(defined: Any, case: Case) -> None:
    values, _ = defined(case)
    function = getattr(kernels, f"{kernel_of(case)}_matrix")
    before, found = _core.isa(), set()
    for isa in _core.isas():
        _core.use_isa(isa)
        for n_threads in (1, 2, 5):
            found.add(function(values, n_threads=n_threads, backend="cpp", **dict(case.options)).tobytes())
    _core.use_isa(before)
    assert len(found) == 1


# --- at the threshold ---


@pytest.mark.parametrize("n_words", [1, 9])
def test_hamming_score_at_a_threshold_is_not_similar(engine: Engine, n_words: int) -> None:
    n_bits = 64 * n_words
    bits = np.tri(n_bits + 1, n_bits, -1, dtype=np.uint8)  # row k has k bits set
    codes = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    for differing in range(n_bits + 1):
        threshold = (n_bits - differing) / n_bits
        first = max(differing - 2, 0)
        got = engine.edges("hamming", codes[:1], codes[first : differing + 2], threshold=threshold)
        np.testing.assert_array_equal(got["j"], np.arange(differing - first))


@pytest.mark.parametrize("n_slots", [1, 3, 49, 100, 128])
def test_signature_score_at_a_threshold_is_not_similar(engine: Engine, n_slots: int) -> None:
    signatures = np.tri(n_slots + 1, n_slots, -1, dtype=np.uint32)
    for differing in range(n_slots + 1):
        threshold = (n_slots - differing) / n_slots
        first = max(differing - 2, 0)
        got = engine.edges(
            "signature", signatures[:1], signatures[first : differing + 2], threshold=threshold
        )
        np.testing.assert_array_equal(got["j"], np.arange(differing - first))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.kernel in ("ssim", "template", "sliding", "descriptor")], ids=str
)
def test_score_at_a_threshold_is_not_similar(engine: Engine, defined: Any, case: Case) -> None:
    values, scores = defined(case)
    n = min(len(values), 17 if engine.report.name == "cpp" else 9)
    few, scores = part(values, 0, n), scores[:n, :n]
    own = np.unique(scores[np.triu_indices(n, 1)])
    own = own[np.isfinite(own)]
    for score in own[:: 1 + len(own) // (12 if engine.report.name == "cpp" else 5)]:
        for threshold in (score, np.nextafter(score, -np.inf)):
            got = engine.edges(kernel_of(case), few, threshold=float(threshold), **dict(case.options))
            assert_same_edges(got, edges_above(scores, threshold, triangle=True))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 49, 128])
def test_multiples_of_a_decimal_threshold(engine: Engine, n: int) -> None:
    """Shares such as 0.3 are not the float64 quotient: both sides must ask the same division."""
    signatures = np.tri(n + 1, n, -1, dtype=np.uint32)
    shares = np.array([(n - k) / n for k in range(n + 1)])
    for threshold in np.linspace(0, 1, 21):
        got = engine.edges("signature", signatures[:1], signatures, threshold=float(threshold))
        np.testing.assert_array_equal(got["j"], np.flatnonzero(shares > threshold))


# --- the canonical scores against outsiders ---

EXTREMES = st.sampled_from([0, 1, 127, 254, 255])


@st.composite
def extreme_pairs(draw: st.DrawFn, *, most: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Draw two images of one size and few grey levels: flat ones, specks, checkerboards, stripes."""
    shape = draw(st.tuples(st.integers(7, most), st.integers(7, most)))
    return tuple(draw(arrays(np.uint8, shape, elements=EXTREMES)) for _ in range(2))  # type: ignore[return-value]


def compiled_score(kernel: str, a: np.ndarray, b: np.ndarray) -> float:
    """Return the one score that the compiled backends agree on."""
    zero = np.zeros(1, np.int32)
    found = {float(select(name).scores(kernel, a[None], b[None], i=zero, j=zero)[0]) for name in COMPILED}
    (score,) = found
    return score


@settings(deadline=None, max_examples=150)
@given(extreme_pairs())
def test_canonical_ssim_is_one_formula_in_every_language(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    canonical = reference.canonical_ssim(a, b)
    assert compiled_score("ssim", a, b) == canonical
    assert compiled_score("ssim", b, a) == canonical
    assert compiled_score("ssim", a, a) == 1.0
    metrics = pytest.importorskip("skimage.metrics")
    assert canonical == pytest.approx(metrics.structural_similarity(a, b), abs=1e-6)


@settings(deadline=None, max_examples=150)
@given(extreme_pairs())
def test_canonical_template_score_is_one_formula_in_every_language(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    a, b = pair
    canonical = reference.canonical_template(a, b)
    assert compiled_score("template", a, b) == canonical
    assert compiled_score("template", b, a) == canonical
    assert compiled_score("template", a, a) == 1.0
    if a.any() and b.any():
        error = float(cv2.matchTemplate(a, b, cv2.TM_SQDIFF_NORMED)[0, 0])
        assert canonical == pytest.approx(1 - error, abs=1e-5)


def test_ssim_matrix_equals_scikit_image_on_photos(photos: list[np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    images = np.stack([cv2.resize(photo, (96, 80), interpolation=cv2.INTER_AREA) for photo in photos])
    wanted = [[metrics.structural_similarity(a, b) for b in images] for a in images]
    np.testing.assert_allclose(kernels.ssim_matrix(images, backend="cpp"), wanted, rtol=0, atol=1e-5)
    edges = kernels.ssim_edges(images, threshold=-1.0, backend="cpp")
    rows, columns = np.triu_indices(len(images), 1)
    np.testing.assert_allclose(edges["score"], np.array(wanted)[rows, columns], rtol=0, atol=1e-6)


def test_template_matrix_equals_opencv_on_photos(photos: list[np.ndarray]) -> None:
    images = [cv2.resize(p, (40 + 3 * (k % 3), 36 + 2 * (k % 2))) for k, p in enumerate(photos)]
    matrix = kernels.template_matrix(Ragged.from_images(images), backend="cpp")
    for i, a in enumerate(images):
        for j, b in enumerate(images):
            small, large = (a, b) if a.shape[0] <= b.shape[0] and a.shape[1] <= b.shape[1] else (b, a)
            if small.shape[0] <= large.shape[0] and small.shape[1] <= large.shape[1]:
                error = cv2.matchTemplate(large, small, cv2.TM_SQDIFF_NORMED).min()
                assert matrix[i, j] == pytest.approx(1 - error, abs=1e-5)
            else:
                assert matrix[i, j] == -np.inf


# --- the float32 tile of SSIM ---

TILE_ERROR = 1e-5  # ssim_tile_error of csrc/joins/ssim.hpp, which the join relies on


def tile_deviation(images: np.ndarray) -> float:
    """Return how far the float32 scores of all pairs stray from the canonical ones."""
    images = np.ascontiguousarray(images, np.uint8)
    n = len(images)
    i, j = np.divmod(np.arange(n * n, dtype=np.int32), np.int32(n))
    canonical = _core.ssim_scores(images, images, i=i, j=j).reshape(n, n)
    fast = [kernels.ssim_matrix(images, images, backend=name) for name in COMPILED]
    return float(np.abs(np.stack(fast) - canonical).max())


@pytest.mark.parametrize("shape", [(7, 7), (7, 69), (7, 70), (7, 71), (7, 134), (7, 2000), (128, 128)])
def test_ssim_tile_error_holds_on_extreme_images(image_set: ImageSet, shape: tuple[int, int]) -> None:
    """Flat images, where each of the 64 sums of a row rounds the same way, stray furthest."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    flat = [np.full(shape, grey) for grey in range(0, 256, 3 if y.size < 999 else 17)]
    boards = [
        np.where((y // period + x // period) % 2, low, high)
        for period in (1, 2, 7)
        for low, high in [(0, 255), (255, 0), (0, 1), (1, 0), (254, 255), (255, 254), (100, 140)]
    ]
    specks = []
    for grey in (0, 127, 255):
        for odd in (0, 1, 254, 255):
            specks.append(np.full(shape, grey))
            specks[-1][shape[0] // 2, shape[1] // 2] = odd
            specks.append(np.full(shape, grey))
            specks[-1][::7, ::7] = odd
    images = np.concatenate([np.stack([*flat, *boards, *specks]).astype(np.uint8), image_set(24, *shape)])
    assert tile_deviation(images) < TILE_ERROR / 2


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (4, 7, 7), elements=st.integers(0, 255)), st.integers(9, 24))
@example(np.zeros((4, 7, 7), np.uint8), 10)
def test_ssim_tile_error_holds_where_all_windows_are_alike(tiles: np.ndarray, repeats: int) -> None:
    """A 7 x 7 tile repeated has nearly equal windows everywhere, so that roundings add up."""
    deviation = tile_deviation(np.tile(tiles, (1, 1, repeats)))
    target(deviation * 1e6, label="deviation in 1e-6")
    assert deviation < TILE_ERROR / 2


# --- template matching ---


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [
        ((4, 4, 0), (4, 4, 0), 1.0),
        ((4, 4, 0), (4, 4, 1), 0.0),
        ((4, 4, 0), (3, 2, 0), 1.0),
        ((4, 4, 0), (3, 2, 9), 0.0),
        ((4, 4, 9), (3, 2, 0), 0.0),
        ((4, 4, 100), (4, 4, 200), 0.5),
        ((4, 4, 255), (3, 2, 255), 1.0),
        ((4, 3, 9), (3, 4, 9), -np.inf),
        ((1, 1, 7), (1, 1, 7), 1.0),
    ],
)
def test_template_score_of_flat_images(
    engine: Engine, a: tuple[int, int, int], b: tuple[int, int, int], score: float
) -> None:
    """Black on black is equal; black on anything else has norm 0 and is not."""
    images = Ragged.from_images([np.full((h, w), grey, np.uint8) for h, w, grey in (a, b)])
    matrix = engine.matrix("template", images)
    np.testing.assert_allclose([matrix[0, 1], matrix[1, 0]], score, rtol=0, atol=1e-5)
    edges = engine.edges("template", images, threshold=-1.0)
    assert_same_edges(edges, np.array([(0, 1, score)] if score >= 0 else [], EDGE_DTYPE))


def test_template_finds_black_patch_inside_image(engine: Engine) -> None:
    image = np.full((6, 9), 200, np.uint8)
    black = np.zeros((2, 3), np.uint8)
    assert engine.edges("template", Ragged.from_images([image, black]), threshold=0.0).size == 0
    image[3:5, 4:7] = 0
    (edge,) = engine.edges("template", Ragged.from_images([image, black]), threshold=0.0)
    assert edge["score"] == 1.0


@pytest.mark.parametrize("shape", [(200, 200), (1, 33025), (1, 33026), (1, 40000), (40000, 1), (1, 65537)])
@pytest.mark.parametrize("grey", [254, 255])
def test_template_sums_are_exact_above_the_int32_block(shape: tuple[int, int], grey: int) -> None:
    """33025 products of 255 x 255 fill an int32."""
    images = np.full((3, *shape), 255, np.uint8)
    images[1] = grey
    images[2, 0, 0] = 0
    for scored in (images, Ragged.from_images(list(images))):
        wanted = [reference.canonical_template(images[i], images[j]) for i, j in [(0, 1), (0, 2), (1, 2)]]
        for name in COMPILED:
            edges = kernels.template_edges(scored, threshold=-1.0, backend=name)
            np.testing.assert_array_equal(edges["score"], wanted)


def test_wide_template_slides_exactly() -> None:
    rng = np.random.default_rng(0)
    images = [np.full((2, 40001), 255, np.uint8), np.full((1, 40000), 255, np.uint8)]
    images[0][1] = rng.integers(200, 256, 40001)
    images[1][0, ::7] = 0
    for name in COMPILED:
        (edge,) = kernels.template_edges(Ragged.from_images(images), threshold=-1.0, backend=name)
        assert edge["score"] == reference.canonical_template(*images)


# --- descriptors ---


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_descriptor_matches_are_those_of_opencv(data: st.DataObject) -> None:
    """Few distinct descriptors: nearly every nearest neighbour is a tie."""
    few = st.lists(st.integers(0, 5), max_size=9)
    pool = np.zeros((6, 32), np.uint8)
    pool[1:, 0] = [1, 2, 3, 255, 254]
    pool[5, 1:9] = 255
    sets = [pool[data.draw(few)].reshape(-1, 32) for _ in range(2)]
    ragged = Ragged.from_arrays(sets, empty=np.empty((0, 32), np.uint8))
    for rule, most in (("ratio", 0), ("absolute", 0), ("absolute", 2), ("relative", 0)):
        wanted = matched_share(*sets, rule, most)
        for name in COMPILED:
            got = kernels.descriptor_matrix(ragged, rule=rule, max_distance=most, backend=name)
            assert got[0, 1] == got[1, 0] == np.float32(wanted)


@pytest.mark.parametrize("max_distance", [0, 40, 255, 256])
def test_descriptors_of_an_image_match_themselves(engine: Engine, max_distance: int) -> None:
    sets = make_descriptors(14)
    sizes = np.diff(sets.offsets)
    matrix = engine.matrix("descriptor", sets, rule="absolute", max_distance=max_distance)
    np.testing.assert_array_equal(np.diag(matrix), sizes > 0)
    relative = engine.matrix("descriptor", sets, rule="relative", max_distance=max_distance)
    np.testing.assert_array_equal(np.diag(relative), 0)


@pytest.fixture(scope="session")
def orb_matches(photos: list[np.ndarray]) -> tuple[Ragged, dict[str, list[float]]]:
    """Descriptors of photos, and what OpenCV's matcher finds among them under each rule."""
    orb = cv2.ORB_create(500)
    noisy = [cv2.GaussianBlur(photo, (3, 3), 0) for photo in photos[:3]]
    sets = [orb.detectAndCompute(photo, None)[1] for photo in [*photos[:4], *noisy]]
    pairs = list(combinations(sets, 2))
    wanted = {rule: [matched_share(*pair, rule, 40) for pair in pairs] for rule in RULES}
    return Ragged.from_arrays(sets, empty=np.empty((0, 32), np.uint8)), wanted


def test_orb_descriptors_of_photos_match_as_in_opencv(engine: Engine, orb_matches: Any) -> None:
    sets, wanted = orb_matches
    for rule in RULES[:1] if engine.report.name == "reference" else RULES:
        got = engine.edges("descriptor", sets, threshold=-1.0, rule=rule, max_distance=40)
        np.testing.assert_array_equal(got["score"], wanted[rule])


# --- images of unequal size ---


def test_ssim_of_unequal_sizes_is_no_score(engine: Engine, image_set: ImageSet) -> None:
    images = [*image_set(3, 7, 8), *image_set(2, 8, 7), image_set(1, 9, 9)[0], *image_set(5, 7, 8)[3:]]
    ragged = Ragged.from_images(images)
    scores = np.array([[reference.canonical_ssim(a, b) for b in images] for a in images])
    assert np.isneginf(scores).any()
    assert np.isfinite(scores).any()
    assert_same_edges(
        engine.edges("ssim", ragged, threshold=-np.inf), edges_above(scores, -np.inf, triangle=True)
    )
    rows, columns = ragged.take(np.arange(4)), ragged.take(np.arange(2, 8))
    assert_same_edges(
        engine.edges("ssim", rows, columns, threshold=0.0),
        edges_above(scores[:4, 2:], 0.0, triangle=False),
    )
    np.testing.assert_allclose(engine.matrix("ssim", ragged), scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(engine.matrix("ssim", rows, columns), scores[:4, 2:], rtol=0, atol=1e-5)
    i, j = np.divmod(np.arange(64, dtype=np.int32), np.int32(8))
    np.testing.assert_array_equal(engine.scores("ssim", ragged, i=i, j=j), scores.ravel())


# --- inputs of clusterimg.kernels ---

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 9), dtype=np.uint8)
CODES = make_codes(6, 2)
SIGNATURES = make_signatures(6, 5)
RAGGED = Ragged.from_images(list(IMAGES))
DESCRIPTORS = make_descriptors(8)
PLAIN = {"ssim": IMAGES, "template": IMAGES, "hamming": CODES, "signature": SIGNATURES}


def call(kernel: str, what: str, *values: Any, **options: Any) -> np.ndarray:
    if what == "edges":
        options = {"threshold": 0.1, **options}
    return getattr(kernels, f"{kernel}_{what}")(*values, **options)


@pytest.mark.parametrize("what", ["edges", "matrix"])
@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize("kernel", PLAIN)
def test_wrong_arrays_are_usage_errors(kernel: str, backend: str, what: str) -> None:
    good = PLAIN[kernel]
    for bad in (good.astype(np.float64), good.astype(np.int64), good.astype(object), good.astype(">f4")):
        with pytest.raises(UsageError, match=f"must be {good.dtype.name}, got {bad.dtype}"):
            call(kernel, what, bad, backend=backend)
    for bad in (good[0], good[None], good[..., :0], good.reshape(-1)[0]):
        with pytest.raises(UsageError, match=r"must (have|be)"):
            call(kernel, what, bad, backend=backend)
    with pytest.raises(UsageError, match="others must have shape"):
        call(kernel, what, good, np.ascontiguousarray(good[..., 1:]), backend=backend)
    with pytest.raises(UsageError, match=r"must be .*, got float32"):
        call(kernel, what, good, good.astype(np.float32), backend=backend)


@pytest.mark.parametrize("kernel", ["ssim", "template"])
def test_images_are_of_one_kind(kernel: str) -> None:
    with pytest.raises(UsageError, match="others must be of the kind of the first"):
        call(kernel, "edges", IMAGES, RAGGED)
    with pytest.raises(UsageError, match="flat uint8 pixels and shapes"):
        call(kernel, "edges", DESCRIPTORS)
    with pytest.raises(UsageError, match="flat uint8 pixels and shapes"):
        call(kernel, "edges", Ragged(RAGGED.values.astype(np.int8), RAGGED.offsets, RAGGED.shapes))
    for shapes in (RAGGED.shapes[:-1], RAGGED.shapes * 2, RAGGED.shapes * np.int32([-1, -1])):
        with pytest.raises(UsageError, match=r"shapes must give|at least"):
            call(kernel, "edges", Ragged(RAGGED.values, RAGGED.offsets, shapes))


def test_images_below_the_ssim_window_are_usage_errors() -> None:
    for images in (IMAGES[:, :6], IMAGES[:, :, :6], Ragged.from_images([IMAGES[0], IMAGES[0, :6]])):
        with pytest.raises(UsageError, match="at least 7 pixels"):
            kernels.ssim_edges(images, threshold=0.5)


def test_wrong_descriptors_are_usage_errors() -> None:
    values, offsets = DESCRIPTORS.values, DESCRIPTORS.offsets
    for bad in (Ragged(values.astype(np.int8), offsets), Ragged(np.hstack([values] * 2), offsets), RAGGED):
        with pytest.raises(UsageError, match="descriptors must"):
            kernels.descriptor_edges(bad, threshold=0.5)
    with pytest.raises(UsageError, match="others must be Ragged, got ndarray"):
        kernels.descriptor_edges(DESCRIPTORS, values, threshold=0.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rule must be ratio, absolute or relative, got 'near'"):
        kernels.descriptor_edges(DESCRIPTORS, threshold=0.5, rule="near")  # type: ignore[arg-type]
    for max_distance in (-1, 257, 3.5):
        with pytest.raises(UsageError, match="max_distance must be a whole number from 0 to 256"):
            kernels.descriptor_edges(DESCRIPTORS, threshold=0.5, max_distance=max_distance)


@pytest.mark.parametrize("offsets", [[], [1, 20], [0, 19], [0, 21], [0, 9, 8, 20], [[0, 20]]])
def test_wrong_offsets_are_usage_errors(offsets: list[Any]) -> None:
    with pytest.raises(UsageError, match="offsets must rise from 0"):
        Ragged(np.zeros((20, 32), np.uint8), np.array(offsets, np.int64))


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize(
    "ragged",
    [
        pytest.param(Ragged(RAGGED.values.repeat(2)[::2], RAGGED.offsets, RAGGED.shapes), id="strided"),
        pytest.param(Ragged(RAGGED.values, RAGGED.offsets.astype(np.int32), RAGGED.shapes), id="offsets32"),
        pytest.param(Ragged(RAGGED.values, RAGGED.offsets, RAGGED.shapes.astype(np.int64)), id="shapes64"),
    ],
)
def test_ragged_of_other_layout_is_taken(ragged: Ragged, backend: str) -> None:
    for kernel in ("ssim", "template"):
        wanted = call(kernel, "edges", RAGGED)
        assert_same_edges(call(kernel, "edges", ragged, backend=backend), wanted)


def test_descriptors_with_32_bit_offsets_are_taken() -> None:
    narrow = Ragged(DESCRIPTORS.values, DESCRIPTORS.offsets.astype(np.int32))
    assert_same_edges(
        kernels.descriptor_edges(narrow, threshold=0.1), kernels.descriptor_edges(DESCRIPTORS, threshold=0.1)
    )


@pytest.mark.parametrize("shapes", [np.full(5, 72, np.int32), np.full((5, 3), 2, np.int32)])
def test_shapes_of_another_form_are_usage_errors(shapes: np.ndarray) -> None:
    with pytest.raises(UsageError, match="shapes must"):
        kernels.template_edges(Ragged(RAGGED.values, RAGGED.offsets, shapes), threshold=0.1)


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize("kernel", ["ssim", "template"])
@pytest.mark.parametrize("shape", [(0, 0, 0), (0, 5, 5), (0, 7, 7)])
def test_no_images_have_no_edges(kernel: str, backend: str, shape: tuple[int, int, int]) -> None:
    none = np.empty(shape, np.uint8)
    assert_same_edges(call(kernel, "edges", none, backend=backend), np.empty(0, EDGE_DTYPE))
    assert call(kernel, "matrix", none, backend=backend).shape == (0, 0)


def test_nan_is_no_threshold() -> None:
    for kernel, values in {**PLAIN, "descriptor": DESCRIPTORS}.items():
        with pytest.raises(UsageError, match="threshold must be a number, got nan"):
            call(kernel, "edges", values, threshold=np.nan)


def test_negative_threads_are_usage_errors() -> None:
    with pytest.raises(UsageError, match=r"threads must be 0 .* or more, got -1"):
        kernels.hamming_edges(CODES, threshold=0.5, n_threads=-1)


def test_more_threads_than_work_change_nothing() -> None:
    codes = make_codes(300, 1)
    many = kernels.hamming_edges(codes, threshold=0.5, n_threads=64)
    assert_same_edges(many, kernels.hamming_edges(codes, threshold=0.5, n_threads=1))


@pytest.mark.parametrize("what", ["edges", "matrix"])
@pytest.mark.parametrize("kernel", PLAIN)
def test_layout_of_arrays_plays_no_part(kernel: str, what: str) -> None:
    plain = PLAIN[kernel]
    wanted = call(kernel, what, plain)
    wide = np.zeros((*plain.shape[:-1], 2 * plain.shape[-1]), plain.dtype)
    wide[..., ::2] = plain
    unaligned = np.frombuffer(b"x" + plain.tobytes(), np.uint8)[1:].view(plain.dtype).reshape(plain.shape)
    for values in (wide[..., ::2], np.asfortranarray(plain), plain[::-1][::-1], unaligned, plain.tolist()):
        if isinstance(values, list):
            values = np.array(values, plain.dtype)
        np.testing.assert_array_equal(call(kernel, what, values), wanted)
        np.testing.assert_array_equal(call(kernel, what, values, plain), call(kernel, what, plain, plain))


def test_bytes_of_descriptors_may_begin_anywhere() -> None:
    plain = DESCRIPTORS.values
    shifted = np.frombuffer(b"x" + plain.tobytes(), np.uint8)[1:].reshape(plain.shape)
    got = kernels.descriptor_edges(Ragged(shifted, DESCRIPTORS.offsets), threshold=-1.0)
    np.testing.assert_array_equal(got, kernels.descriptor_edges(DESCRIPTORS, threshold=-1.0))


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize("what", ["edges", "matrix"])
def test_inputs_are_read_only(backend: str, what: str) -> None:
    for kernel, values in {**PLAIN, "template ragged": RAGGED, "descriptor": DESCRIPTORS}.items():
        kernel = kernel.split()[0]
        held = [values] if isinstance(values, np.ndarray) else [values.values, values.offsets, values.shapes]
        held = [array for array in held if array is not None]
        before = [array.copy() for array in held]
        wanted = call(kernel, what, values, backend=backend)
        for array in held:
            array.flags.writeable = False
        try:
            np.testing.assert_array_equal(call(kernel, what, values, backend=backend), wanted)
        finally:
            for array in held:
                array.flags.writeable = True
        for array, copy in zip(held, before, strict=True):
            np.testing.assert_array_equal(array, copy)


# --- the core refuses what would make it read elsewhere ---

OFFSETS = np.array([0, 2, 6], np.int64)
WORDS = np.zeros((6, 4), np.uint64)
SHAPES = np.array([[1, 2], [2, 2]], np.int32)
PIXELS = np.zeros(6, np.uint8)
ZEROS = np.zeros(3, np.int32)


@pytest.mark.parametrize(
    ("function", "arguments", "options"),
    [
        ("hamming_edges", [CODES.astype(np.int64)], {"threshold": 0.5}),
        ("hamming_edges", [CODES[0]], {"threshold": 0.5}),
        ("hamming_edges", [CODES[:, :0]], {"threshold": 0.5}),
        ("hamming_edges", [CODES[:, ::2]], {"threshold": 0.5}),
        ("hamming_edges", [CODES, CODES[:, :1].copy()], {"threshold": 0.5}),
        ("hamming_edges", [CODES], {"threshold": "high"}),
        ("hamming_edges", [CODES], {}),
        ("hamming_matrix", [CODES, SIGNATURES], {}),
        ("signature_edges", [SIGNATURES, SIGNATURES[0]], {"threshold": 0.5}),
        ("ssim_edges", [IMAGES[:, :6]], {"threshold": 0.5}),
        ("ssim_edges", [IMAGES, IMAGES[:, :7].copy()], {"threshold": 0.5}),
        ("ssim_edges", [IMAGES[0]], {"threshold": 0.5}),
        ("ssim_matrix", [IMAGES.transpose(0, 2, 1)], {}),
        ("template_matrix", [IMAGES[:, :0]], {}),
        ("hamming_scores", [CODES], {"i": ZEROS, "j": ZEROS[:2]}),
        ("hamming_scores", [CODES], {"i": ZEROS, "j": ZEROS - 1}),
        ("hamming_scores", [CODES], {"i": ZEROS + 6, "j": ZEROS}),
        ("hamming_scores", [CODES], {"i": ZEROS, "j": ZEROS.astype(np.int64)}),
        ("hamming_scores", [CODES], {"i": ZEROS[None], "j": ZEROS[None]}),
        ("hamming_scores", [CODES, CODES[:2]], {"i": ZEROS, "j": ZEROS + 2}),
        ("sliding_edges", [(PIXELS, OFFSETS + 1, SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS * 2, SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS[:0], SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS[None], SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS[None], OFFSETS, SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS, SHAPES[:1])], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS, SHAPES * 2)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS, -SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS, SHAPES.ravel())], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, np.array([0, 8, 6]), SHAPES)], {"threshold": 0.5}),
        ("sliding_edges", [(PIXELS, OFFSETS)], {"threshold": 0.5}),
        ("sliding_edges", [PIXELS], {"threshold": 0.5}),
        ("descriptor_edges", [(WORDS, np.array([0, 7]))], {"threshold": 0.5, "max_distance": 4}),
        ("descriptor_edges", [(WORDS, OFFSETS + 1)], {"threshold": 0.5, "max_distance": 4}),
        ("descriptor_edges", [(WORDS, np.array([0, 8, 6]))], {"threshold": 0.5, "max_distance": 4}),
        ("descriptor_edges", [(WORDS[:, :3].copy(), OFFSETS)], {"threshold": 0.5, "max_distance": 4}),
        ("descriptor_edges", [(WORDS, OFFSETS)], {"threshold": 0.5, "max_distance": -1}),
        ("components", [np.array([(0, 3, 1.0)], EDGE_DTYPE), 3], {}),
        ("components", [np.array([(-1, 0, 1.0)], EDGE_DTYPE), 3], {}),
        ("components", [np.zeros((1, 1), EDGE_DTYPE), 3], {}),
        ("components", [np.zeros(3), 3], {}),
        ("components", [np.zeros(0, EDGE_DTYPE), -1], {}),
        ("phash", [np.zeros((0, 3), np.uint8)], {"hash_size": 8, "highfreq_factor": 4}),
        ("phash", [np.zeros(3, np.uint8)], {"hash_size": 8, "highfreq_factor": 4}),
        ("phash", [IMAGES[0]], {"hash_size": 7, "highfreq_factor": 4}),
        ("phash", [IMAGES[0]], {"hash_size": 72, "highfreq_factor": 4}),
        ("phash", [IMAGES[0]], {"hash_size": 0, "highfreq_factor": 4}),
        ("phash", [IMAGES[0]], {"hash_size": 8, "highfreq_factor": 0}),
        ("phash", [IMAGES[0]], {"hash_size": 8, "highfreq_factor": 17}),
        ("use_isa", ["pdp-11"], {}),
    ],
)
def test_core_refuses_wrong_input(function: str, arguments: list[Any], options: dict[str, Any]) -> None:
    if function.startswith("descriptor"):
        options = {**options, "rule": "absolute"}
    with pytest.raises((ValueError, TypeError)):
        getattr(_core, function)(*arguments, **options)


@pytest.mark.parametrize("offsets", [[0, 8, 6], [0, 4, 2, 6]])
def test_core_names_offsets_that_fall(offsets: list[int]) -> None:
    falling = np.array(offsets, np.int64)
    options = {"threshold": 0.5, "rule": "absolute", "max_distance": 40}
    with pytest.raises(ValueError, match="offsets must never fall"):
        _core.descriptor_edges((WORDS, falling), **options)
    with pytest.raises(ValueError, match="offsets must never fall"):
        _core.sliding_edges((PIXELS, falling, SHAPES), threshold=0.5)


def test_core_takes_a_nan_threshold_as_above_everything() -> None:
    for function, values in ((_core.hamming_edges, CODES), (_core.ssim_edges, IMAGES)):
        assert len(function(values, threshold=np.nan)) == 0


# --- threads, signals, progress ---

N_LONG = 200_000  # codes of 256 bits, beyond the radius of the index: seconds of work


def long_join(**options: Any) -> np.ndarray:
    codes = np.random.default_rng(0).integers(0, 2**64, (options.pop("n", 30_000), 4), dtype=np.uint64)
    return _core.hamming_edges(codes, threshold=0.69, **options)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_progress_rises(n_threads: int) -> None:
    n, seen = 20_000, []
    long_join(n=n, n_threads=n_threads, progress=seen.append)
    assert seen
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= n * (n + 1) / 2 + 256 * n


@pytest.mark.parametrize("n_threads", [1, 2])
def test_progress_that_raises_ends_the_join(n_threads: int) -> None:
    def give_up(done: int) -> None:
        raise RuntimeError(f"enough at {done >= 0}")

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="enough at True"):
        long_join(n=N_LONG, n_threads=n_threads, progress=give_up)
    assert time.monotonic() - start < 2
    assert len(long_join(n=100, n_threads=n_threads)) == 0  # and the core goes on working


def test_other_threads_run_during_a_join() -> None:
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.002):
            ticks.append(time.monotonic())

    def end_later(_: int) -> None:
        if time.monotonic() > start + 0.4:
            raise TimeoutError

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        long_join(n=N_LONG, n_threads=1, progress=end_later)
    done.set()
    ticker.join()
    assert sum(start < t < start + 0.4 for t in ticks) > 20  # the core asks for signals 8 times


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_child_works_after_a_parallel_region() -> None:
    """GNU OpenMP would hang in the child: the core is single-threaded there."""
    script = (
        "import os, signal, sys, numpy as np\nfrom clusterimg import kernels\n"
        "codes = np.random.default_rng(0).integers(0, 2**64, (2000, 1), dtype=np.uint64)\n"
        "join = lambda: kernels.hamming_edges(codes, threshold=0.7, n_threads=2)\n"
        "parent = join()\n"
        "pid = os.fork()\n"
        "same = lambda: len(parent) and (join() == parent).all()\n"
        "if not pid:\n    signal.alarm(15)\n    os._exit(0 if same() else 7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    assert subprocess.run(command, check=False).returncode == 0


def test_two_python_threads_join_at_once() -> None:
    codes = make_codes(257, 2)
    wanted = kernels.hamming_edges(codes, threshold=0.5, n_threads=1)
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(kernels.hamming_edges(codes, threshold=0.5, n_threads=2))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for edges in found:
        assert_same_edges(edges, wanted)


def test_kernels_are_documented_and_exported() -> None:
    for kernel in ("ssim", "hamming", "template", "descriptor", "signature"):
        for what in ("edges", "matrix"):
            name = f"{kernel}_{what}"
            assert name in kernels.__all__
            assert getattr(kernels, name).__doc__
    assert ci.kernels is kernels
    assert Path(kernels.__file__).name == "kernels.py"
