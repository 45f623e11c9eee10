"""Each method against the library that defines it, on photos and on images that are hard to describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import clusterimg as ci
from clusterimg import Ragged, UsageError, _core, methods
from clusterimg.backends import Engine, reference, report, select
from clusterimg.methods import ALIASES, METHODS, create
from clusterimg.methods.minhash import signature, strongest_corners

NAMES = tuple(METHODS)
RUNNABLE = [name for name, reason in report().items() if reason is None]
PILLOW = tuple(int(part) for part in PIL.__version__.split(".")[:1])


def flat(grey: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.full((height, width), grey, np.uint8)


def waves(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Return a picture made by integers alone, so that it's the same everywhere."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    return ((x * x * (seed + 2) // 97 + y * y * (seed + 5) // 61 + x * y // 13) % 256).astype(np.uint8)


def blocks() -> np.ndarray:
    """Return blocks of random grey, unlike anything in `waves`."""
    greys = np.random.RandomState(0).randint(0, 256, (30, 40)).astype(np.uint8)
    return np.kron(greys, np.ones((4, 4), np.uint8))


def square(top: int, left: int) -> np.ndarray:
    image = flat(0, 64, 64)
    image[top : top + 12, left : left + 12] = 255
    return image


# --- one known answer for each method; a method without a row fails ---


class Row(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    score: float
    options: dict[str, Any]


KNOWN = {
    # the luminance term alone: (2 * 100 * 200 + C1) / (100^2 + 200^2 + C1)
    "ssim": Row(flat(100), flat(200), (40000 + 6.5025) / (50000 + 6.5025), {}),
    # (200 - 100)^2 / (100 * 200) of each pixel
    "tm": Row(flat(100), flat(200), 0.5, {}),
    # their corners share no place
    "minhash": Row(square(6, 6), square(40, 40), 0.0, {}),
    # 22 bits differ, says ImageHash 4.3
    "imagehash": Row(waves(0), waves(1), 1 - 22 / 64, {"hash_size": 8}),
    "orb": Row(waves(0), blocks(), 0.0, {"orb_rule": "absolute"}),
}


@pytest.mark.parametrize("method", NAMES)
def test_known_answer(engine: Engine, method: str) -> None:
    assert method in KNOWN, f"{method} has no known answer: add a row"
    row = KNOWN[method]
    scores = ci.similarity_matrix(
        [row.a, row.b], method=method, backend=engine.report.name, n_threads=engine.n_threads, **row.options
    )
    np.testing.assert_allclose(scores, [[1, row.score], [row.score, 1]], rtol=0, atol=1e-6)


def test_known_phash() -> None:
    """What ImageHash 4.3 says of two pictures without a tie."""
    codes = ci.extract([waves(0), waves(1)], method="phash", hash_size=8).values
    assert [f"{int(code):016x}" for code in codes[:, 0]] == ["9f9fb8b8b0b090b1", "3f7f7c70f0606061"]


def test_known_signature() -> None:
    """What datasketch 2.0 says of the tokens 0, 1, 70000."""
    assert signature(np.array([0, 1, 70_000]))[:4].tolist() == [588172612, 1322105850, 1822234513, 1308206416]


# --- the table of methods ---


def test_methods_know_their_own_names() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert create(name).name == name
        assert method.__doc__
        assert np.isfinite(create(name).threshold)
    for alias, name in ALIASES.items():
        assert isinstance(create(alias), METHODS[name])


def test_unknown_method_is_named_with_the_known() -> None:
    with pytest.raises(UsageError, match=f"method must be one of {', '.join(NAMES)}, phash, got 'sift'"):
        create("sift")


@pytest.mark.parametrize(
    ("method", "options", "text"),
    [
        ("ssim", {"hash_size": 8}, "ssim has no hash_size; methods that have it: imagehash"),
        ("imagehash", {"size": (9, 9)}, "imagehash has no size; methods that have it: .*ssim"),
        ("tm", {"orb_rule": "absolute"}, "tm has no orb_rule; methods that have it: orb"),
        ("imagehash", {"hash_size": 12}, "hash_size must be a multiple of 8 from 8 to 64, got 12"),
        ("imagehash", {"hash_size": 0}, "hash_size must be .* got 0"),
        ("imagehash", {"hash_size": 72}, "hash_size must be .* got 72"),
        ("orb", {"orb_rule": "near"}, "must be one of ratio, absolute, relative.*, got 'near'"),
        ("ssim", {"size": (6, 9)}, "at least 7 pixels, got .6, 9."),
        ("tm", {"size": (0, 9)}, "at least 1 pixels, got .0, 9."),
        ("tm", {"scale": 0.0}, "scale must be above 0"),
        ("tm", {"size": (9, 9), "scale": 0.5}, "size or scale, not both"),
        ("tm", {"threshold": np.nan}, "threshold must be a finite number, got nan"),
        ("tm", {"threshold": np.inf}, "threshold must be a finite number, got inf"),
    ],
)
def test_wrong_options_say_what_is_wanted(method: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        create(method, **options)


def test_option_that_is_none_is_left_out() -> None:
    for name in NAMES:
        assert create(name, threshold=None, hash_size=None, rule=None) == create(name)


# --- features and scores against the defining library, on photos ---


def variants(photos: list[np.ndarray]) -> list[np.ndarray]:
    """Return photos and edited copies of some."""
    edited = [cv2.GaussianBlur(photo, (5, 5), 0) for photo in photos[:4]]
    edited += [cv2.resize(photo, None, fx=0.7, fy=0.8) for photo in photos[4:8]]
    edited += [cv2.convertScaleAbs(photo, alpha=0.8, beta=20) for photo in photos[8:11]]
    return [*photos, *edited]


def all_pairs(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def scored_pairs(images: list[np.ndarray], **options: Any) -> np.ndarray:
    """Return the scores of all pairs i < j, each of which must be an edge below every score."""
    edges = ci.similar_pairs(images, threshold=-2.0, **options)
    assert edges[["i", "j"]].tolist() == all_pairs(len(images))
    return edges["score"]


def test_ssim_equals_scikit_image(photos: list[np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    images = [cv2.resize(image, (72, 60), interpolation=cv2.INTER_AREA) for image in variants(photos)]
    wanted = [metrics.structural_similarity(images[i], images[j]) for i, j in all_pairs(len(images))]
    np.testing.assert_allclose(scored_pairs(images, method="ssim"), wanted, rtol=0, atol=1e-6)
    resized = scored_pairs(variants(photos), method="ssim", size=(72, 60))
    np.testing.assert_allclose(resized, wanted, rtol=0, atol=1e-6)


def test_tm_equals_opencv(photos: list[np.ndarray]) -> None:
    images = [cv2.resize(image, (40, 36), interpolation=cv2.INTER_AREA) for image in variants(photos)]
    wanted = [
        1 - cv2.matchTemplate(images[i], images[j], cv2.TM_SQDIFF_NORMED)[0, 0]
        for i, j in all_pairs(len(images))
    ]
    np.testing.assert_allclose(scored_pairs(images, method="tm"), wanted, rtol=0, atol=1e-5)
    resized = scored_pairs(variants(photos), method="tm", size=(40, 36))
    np.testing.assert_allclose(resized, wanted, rtol=0, atol=1e-5)


def test_tm_finds_a_crop(photos: list[np.ndarray]) -> None:
    images = [photos[0], photos[0][20:60, 33:90].copy(), photos[2][10:50, 10:90].copy()]
    scores = ci.similarity_matrix(images, method="tm")
    assert scores[0, 1] == 1.0
    wanted = 1 - cv2.matchTemplate(images[0], images[2], cv2.TM_SQDIFF_NORMED).min()
    assert scores[0, 2] == pytest.approx(wanted, abs=1e-5)
    assert scores[1, 2] == pytest.approx(
        1 - cv2.matchTemplate(images[2], images[1], cv2.TM_SQDIFF_NORMED).min(), abs=1e-5
    )


@pytest.mark.parametrize("hash_size", [8, 16, 32, 64])
def test_imagehash_equals_imagehash(photos: list[np.ndarray], hash_size: int) -> None:
    imagehash = pytest.importorskip("imagehash")
    images = [image for image in variants(photos) if PILLOW >= (13,) or not is_tall(image, 4 * hash_size)]
    hashes = [imagehash.phash(Image.fromarray(image), hash_size=hash_size) for image in images]
    codes = ci.extract(images, method="imagehash", hash_size=hash_size).values
    bits = np.unpackbits(codes.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(bits, [h.hash.ravel() for h in hashes])
    wanted = [1 - (hashes[i] - hashes[j]) / hash_size**2 for i, j in all_pairs(len(images))]
    np.testing.assert_array_equal(
        scored_pairs(images, method="imagehash", hash_size=hash_size), np.array(wanted)
    )


def test_minhash_equals_datasketch(photos: list[np.ndarray]) -> None:
    datasketch = pytest.importorskip("datasketch")
    images = [cv2.resize(image, (96, 80), interpolation=cv2.INTER_AREA) for image in variants(photos)]
    hashes = []
    for image in images:
        minhash = datasketch.MinHash(128, seed=1, scheme="affine32")
        for corner in strongest_corners(image):
            minhash.update(int(corner).to_bytes(4, "little"))
        hashes.append(minhash)
    signatures = ci.extract(images, method="minhash").values
    np.testing.assert_array_equal(signatures, [h.hashvalues for h in hashes])
    wanted = [hashes[i].jaccard(hashes[j]) for i, j in all_pairs(len(images))]
    np.testing.assert_array_equal(scored_pairs(images, method="minhash"), wanted)


@settings(deadline=None, max_examples=50)
@given(
    st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=120)
    | st.sets(st.integers(0, 1023), min_size=1, max_size=120)  # those have a table
    | st.sets(st.integers(1000, 1040), min_size=1)
)
def test_signature_of_any_tokens_equals_datasketch(tokens: set[int]) -> None:
    datasketch = pytest.importorskip("datasketch")
    minhash = datasketch.MinHash(128, seed=1, scheme="affine32")
    minhash.update_batch([token.to_bytes(4, "little") for token in tokens])
    got = signature(np.array(sorted(tokens), np.int64))
    assert got.dtype == np.uint32
    np.testing.assert_array_equal(got, minhash.hashvalues)


def test_corners_are_strong_few_and_of_low_index(photos: list[np.ndarray]) -> None:
    for photo in photos:
        image = cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA)
        corners = strongest_corners(image)
        response = cv2.cornerHarris(image, 2, 3, 0.04).ravel()
        assert 0 < len(corners) <= 100
        assert (response[corners] > 0).all()
        np.testing.assert_array_equal(corners, np.unique(corners))
        assert response.argmax() in corners
    board = np.tile(np.kron(np.eye(2), np.ones((4, 4))), (12, 12)) * 255
    corners = strongest_corners(board.astype(np.uint8))  # hundreds of equally strong ones
    assert len(corners) == 100
    assert corners[-1] < board.size * 0.8


@pytest.mark.parametrize("rule", ["absolute", "relative"])
def test_orb_equals_opencv(photos: list[np.ndarray], rule: str) -> None:
    images = [image for image in variants(photos) if not ci.extract([image], method="orb").featureless[0]][
        :12
    ]
    features = ci.extract(images, method="orb")
    sets = [features.values[k] for k in range(len(images))]
    most = create("orb").kernel_options["max_distance"]
    assert all(20 <= len(s) <= 500 and s.shape[1] == 32 for s in sets)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    wanted = []
    for i, j in all_pairs(len(images)):
        distances = [match.distance for match in matcher.match(sets[i], sets[j])]
        least = most + 1 if rule == "absolute" else 0.75 * max(distances)
        wanted.append(sum(distance < least for distance in distances) / len(distances))
    np.testing.assert_array_equal(scored_pairs(images, method="orb", orb_rule=rule), wanted)


# --- the perceptual hash, bit for bit ---


def is_tall(image: np.ndarray, size: int) -> bool:
    """Say whether Pillow 13 resizes the height first."""
    height, width = image.shape
    return height > size and height - size > 2 * (width - size)


SHAPES = [
    *((h, w) for h in (1, 2, 7, 31, 32, 33) for w in (1, 3, 32, 65)),
    *((h, w) for h, w in [(500, 1), (1, 500), (400, 30), (30, 400), (300, 200), (97, 161), (64, 64)]),
    *((h, w) for h, w in [(96, 64), (97, 64), (95, 64), (160, 64), (161, 96), (128, 128), (256, 300)]),
    # where the order of the passes turns, for each size of hash
    *((h, w) for h, w in [(192, 128), (193, 128), (256, 192), (257, 192), (512, 384), (513, 384)]),
]


@pytest.mark.parametrize("hash_size", [8, 16, 32, 64])
def test_phash_equals_the_reference_for_all_shapes(hash_size: int) -> None:
    pytest.importorskip("imagehash")
    rng = np.random.default_rng(hash_size)
    options = {"hash_size": hash_size, "highfreq_factor": 4}
    before = _core.isa()
    for shape in SHAPES:
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        wanted, ties = reference.phash(image, **options)
        for isa in _core.isas():
            _core.use_isa(isa)
            got, got_ties = _core.phash(image, **options)
            np.testing.assert_array_equal(got, wanted, err_msg=f"{shape} on {isa}")
            assert got_ties == ties, shape
    _core.use_isa(before)


@pytest.mark.parametrize("hash_size", [8, 16])
def test_phash_equals_imagehash_but_for_ties(image_set: Any, hash_size: int) -> None:
    """In the band around the median, where the sign is rounding noise, our bit is 0."""
    imagehash = pytest.importorskip("imagehash")
    for shape in [(40, 60), (7, 7), (1, 1), (33, 90), (64, 64)]:
        for image in image_set(18, *shape):
            codes, ties = _core.phash(image, hash_size=hash_size, highfreq_factor=4)
            bits = np.unpackbits(codes.astype("<u8").view(np.uint8), bitorder="little").astype(bool)
            wanted = imagehash.phash(Image.fromarray(image), hash_size=hash_size).hash.ravel()
            assert not (bits & ~wanted).any()
            assert (bits != wanted).sum() <= ties


def test_symmetric_and_flat_pictures_have_ties() -> None:
    half = np.random.default_rng(0).integers(0, 256, (64, 32), dtype=np.uint8)
    symmetric = np.hstack([half, half[:, ::-1]])
    for image, least in ((symmetric, 30), (np.vstack([symmetric, symmetric[::-1]]), 45), (flat(7), 60)):
        codes, ties = _core.phash(image, hash_size=8, highfreq_factor=4)
        assert ties >= least
        assert sum(int(word).bit_count() for word in codes) <= 64 - ties


# --- hard images ---


def hard_images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    half = rng.integers(0, 256, (32, 16), dtype=np.uint8)
    return {
        "black": flat(0, 32, 32),
        "white": flat(255, 32, 32),
        "grey": flat(100, 20, 33),
        "1x1": flat(9, 1, 1),
        "7x7": rng.integers(0, 256, (7, 7), dtype=np.uint8),
        "8x3": rng.integers(0, 256, (8, 3), dtype=np.uint8),
        "1x300": rng.integers(0, 256, (1, 300), dtype=np.uint8),
        "300x1": rng.integers(0, 256, (300, 1), dtype=np.uint8),
        "symmetric": np.hstack([half, half[:, ::-1]]),
        "speck": np.pad(flat(255, 1, 1), 15),
    }


HARD = hard_images()
COMMON_SIZE = {"ssim": (16, 16), "tm": (16, 16), "minhash": (32, 32)}


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("name", HARD)
def test_hard_image_is_grouped_with_its_copies(method: str, name: str) -> None:
    """Whatever a method makes of an image, its copies are similar to it, and nothing raises."""
    image, size = HARD[name], COMMON_SIZE.get(method)
    other = waves(0)
    images = [image, other, image.copy(), image.copy()]
    for backend in RUNNABLE:
        options = {"method": method, "size": size, "backend": backend}
        pairs = ci.similar_pairs(images, **options)
        found = {(int(i), int(j)): s for i, j, s in pairs}
        assert {(0, 2): 1.0, (0, 3): 1.0, (2, 3): 1.0}.items() <= found.items()
        labels = ci.cluster(images, **options)
        assert labels[0] == labels[2] == labels[3] == 0
        scores = ci.similarity_matrix(images, **options)
        np.testing.assert_array_equal(scores, scores.T)
        assert not np.isnan(scores).any()


@pytest.mark.parametrize("method", ["imagehash", "minhash", "orb"])
def test_featureless_images_are_similar_to_their_copies_only(method: str) -> None:
    images = [flat(0), flat(255), flat(0, 17, 16), flat(100), flat(0), waves(0), flat(100)]
    features = ci.extract(images, method=method)
    np.testing.assert_array_equal(features.featureless, [1, 1, 1, 1, 1, 0, 1])
    for backend in RUNNABLE:
        pairs = ci.similar_pairs(features, threshold=-1.0, backend=backend)
        assert pairs.tolist() == [(0, 4, 1.0), (3, 6, 1.0)]
        np.testing.assert_array_equal(
            ci.cluster(features, threshold=-1.0, backend=backend), [0, -1, -1, 1, 0, -1, 1]
        )
        scores = ci.similarity_matrix(features, backend=backend)
        assert np.isneginf(scores[5, :5]).all()


def test_flat_images_have_scores_under_ssim_and_tm() -> None:
    for method, wanted in (("ssim", 0.80002), ("tm", 0.5)):
        features = ci.extract([flat(100), flat(200)], method=method)
        assert not features.featureless.any()
        assert features.near_flat.all()
        assert ci.similar_pairs(features, threshold=0.3)["score"] == pytest.approx(wanted, abs=1e-4)


def test_ssim_below_its_window_is_an_error_that_says_so() -> None:
    for image in (flat(3, 1, 1), flat(3, 6, 9), flat(3, 8, 3)):
        with pytest.raises(ci.ImageError, match=f"{image.shape[1]}x{image.shape[0]} pixels .* 7x7 window"):
            ci.extract([waves(0), image], method="ssim")
        skipped = ci.extract([waves(0), image, image], method="ssim", errors="skip")
        assert not len(ci.similar_pairs(skipped, threshold=-1.0))
        np.testing.assert_array_equal(ci.cluster(skipped, threshold=-1.0), [-1, -1, -1])


def test_unequal_sizes_under_ssim_have_no_score() -> None:
    images = [waves(0, 20, 30), waves(0, 30, 20), waves(1, 20, 30)]
    scores = ci.similarity_matrix(images, method="ssim")
    np.testing.assert_array_equal(np.isneginf(scores), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert ci.similar_pairs(images, method="ssim", threshold=-1.0)[["i", "j"]].tolist() == [(0, 2)]


def test_images_that_fit_nowhere_have_no_score_under_tm() -> None:
    images = [waves(0, 20, 30), waves(0, 30, 20), waves(0, 20, 30)[3:9, 4:9].copy()]
    scores = ci.similarity_matrix(images, method="tm")
    assert np.isneginf(scores[0, 1])
    assert scores[0, 2] == 1.0


# --- what the rest of the program asks of a method ---


@pytest.mark.parametrize("method", NAMES)
def test_scores_of_listed_pairs_are_those_of_edges(engine: Engine, method: str, photos: Any) -> None:
    images = [cv2.resize(photo, (64, 48)) for photo in photos[:5]]
    images += [images[1].copy(), flat(0, 48, 64), flat(0, 48, 64)]
    features, chosen = ci.extract(images, method=method), create(method, threshold=-2.0)
    n = len(features)
    i, j = np.divmod(np.arange(n * n), n)
    scores = chosen.scores(features, features, engine, i, j).reshape(n, n)
    edges = ci.similar_pairs(features, threshold=-2.0, backend=engine.report.name)
    upper = np.triu(np.isfinite(scores), 1)
    np.testing.assert_array_equal(np.argwhere(upper), np.stack([edges["i"], edges["j"]], 1))
    np.testing.assert_array_equal(scores[upper], edges["score"])
    np.testing.assert_array_equal(np.diag(scores), 1.0)


def test_scores_where_an_image_was_skipped() -> None:
    images = [waves(0, 9, 9), flat(1, 3, 3), waves(0, 12, 12), waves(1, 9, 9)]
    features = ci.extract(images, method="ssim", errors="skip")
    i, j = np.array([0, 0, 0]), np.array([1, 2, 3])
    scores = create("ssim").scores(features, features, select(), i, j)
    np.testing.assert_array_equal(np.isneginf(scores), [True, True, False])


@pytest.mark.parametrize("method", NAMES)
def test_edges_between_two_sets_are_those_of_one(method: str, photos: Any) -> None:
    images = [cv2.resize(photo, (64, 48)) for photo in photos[:8]]
    images += [images[1].copy(), flat(0, 48, 64), images[0].copy(), flat(0, 48, 64)]
    chosen, engine = create(method, threshold=0.02), select()
    left, right = ci.extract(images[:6], method=method), ci.extract(images[6:], method=method)
    between = chosen.edges_between(left, right, engine)
    every = {(int(i), int(j)): s for i, j, s in ci.similar_pairs(images, method=method, threshold=0.02)}
    found = {(int(i), int(j) + 6): s for i, j, s in between}
    assert len(found) == len(between)
    assert found.items() <= every.items()
    assert found[(1, 8)] == found[(0, 10)] == 1.0
    joined = np.concatenate(
        [
            chosen.edges(left, engine),
            offset(chosen.edges(right, engine), 6, 6),
            offset(between, 0, 6),
        ]
    )
    labels = ci.components(joined, len(images))
    np.testing.assert_array_equal(labels, ci.cluster(images, method=method, threshold=0.02))


def offset(edges: np.ndarray, i: int, j: int) -> np.ndarray:
    moved = edges.copy()
    moved["i"] += i
    moved["j"] += j
    return moved


@pytest.mark.parametrize("method", NAMES)
def test_features_of_no_image(method: str) -> None:
    features = ci.extract([], method=method)
    assert len(features) == 0
    assert len(ci.similar_pairs(features)) == len(ci.cluster(features)) == 0
    assert ci.similarity_matrix(features).shape == (0, 0)


@pytest.mark.parametrize("method", NAMES)
def test_features_are_of_the_documented_form(method: str, photos: Any) -> None:
    unequal = [photos[0], photos[1], photos[4]]
    features = ci.extract(unequal, method=method)
    chosen = create(method)
    assert features.method == method
    assert set(features.params) == set(chosen.params)
    assert chosen.item_bytes > 0
    np.testing.assert_array_equal(features.shapes, [photo.shape for photo in unequal])
    values = features.values
    kinds: dict[str, Callable[[], bool]] = {
        "ssim": lambda: isinstance(values, Ragged) and values.values.dtype == np.uint8,
        "tm": lambda: isinstance(values, Ragged) and values.shapes is not None,
        "orb": lambda: isinstance(values, Ragged) and values.values.shape[1:] == (32,),
        "minhash": lambda: values.dtype == np.uint32 and values.shape == (3, 128),
        "imagehash": lambda: values.dtype == np.uint64 and values.shape == (3, chosen.item_bytes // 8),
    }
    assert kinds[method]()
    assert methods.METHODS[method].kernel in ("ssim", "template", "descriptor", "signature", "hamming")
