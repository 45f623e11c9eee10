"""The library calls, from images to features, scores, pairs and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg import EDGE_DTYPE, Features, ImageError, UsageError
from clusterimg.backends import Engine, select
from clusterimg.methods import METHODS, create

NAMES = tuple(METHODS)
CALLS = (ci.extract, ci.similar_pairs, ci.similarity_matrix, ci.cluster)


@pytest.fixture(scope="module")
def album(photos: list[np.ndarray]) -> list[np.ndarray]:
    """Photos with edited and equal copies, and two flat images."""
    small = [cv2.resize(photo, (96, 72), interpolation=cv2.INTER_AREA) for photo in photos[:7]]
    edited = [cv2.GaussianBlur(image, (3, 3), 0) for image in small[:3]]
    return [*small, *edited, small[0].copy(), np.full((72, 96), 9, np.uint8), np.full((72, 96), 9, np.uint8)]


@pytest.fixture(scope="module")
def files(album: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("album")
    paths = [folder / f"{k:02}.png" for k in range(len(album))]
    for path, image in zip(paths, album, strict=True):
        assert cv2.imwrite(str(path), image)
    return paths


# --- brute force: each pair of images alone, equal ones score 1 ---


def pair_scores(images: list[np.ndarray], method: str) -> np.ndarray:
    """Return the scores (n, n) of all pairs by the canonical routine, images one by one, no grouping."""
    chosen, engine = create(method), select()
    features = ci.extract(images, method=method)
    n = len(images)
    scores = np.full((n, n), -np.inf)
    for i in range(n):
        for j in range(n):
            if (images[i].shape == images[j].shape) and (images[i] == images[j]).all():
                scores[i, j] = 1.0
            elif not (features.featureless[i] or features.featureless[j]):
                k = np.array([min(i, j)], np.int32), np.array([max(i, j)], np.int32)
                options = chosen.kernel_options
                scores[i, j] = engine.scores(chosen.kernel, features.values, i=k[0], j=k[1], **options)[0]
    return scores


def edges_above(scores: np.ndarray, threshold: float) -> np.ndarray:
    i, j = np.nonzero(np.triu(scores > threshold, 1))
    edges = np.empty(len(i), EDGE_DTYPE)
    edges["i"], edges["j"], edges["score"] = i, j, scores[i, j]
    return edges


@pytest.fixture(scope="module")
def scores_of(album: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {method: pair_scores(album, method) for method in NAMES}


@pytest.mark.parametrize("method", NAMES)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pairs_among_copies_equal_brute_force(
    album: list[np.ndarray], scores_of: dict[str, np.ndarray], method: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(album) - 1), min_size=1, max_size=12))
    threshold = data.draw(st.sampled_from([-1.0, 0.05, 0.5, 0.9, 1.0]))
    scores = scores_of[method][np.ix_(chosen, chosen)]
    images = [album[k] for k in chosen]
    pairs = ci.similar_pairs(images, method=method, threshold=threshold)
    np.testing.assert_array_equal(pairs, edges_above(scores, threshold))
    matrix = ci.similarity_matrix(images, method=method)
    np.testing.assert_allclose(matrix, scores, rtol=0, atol=1e-5)
    labels = ci.cluster(images, method=method, threshold=threshold)
    np.testing.assert_array_equal(labels, ci.components(pairs, len(images)))


@pytest.mark.parametrize("method", NAMES)
def test_calls_agree_on_every_engine(
    engine: Engine, album: list[np.ndarray], scores_of: dict[str, np.ndarray], method: str
) -> None:
    options = {"method": method, "backend": engine.report.name, "n_threads": engine.n_threads}
    pairs = ci.similar_pairs(album, threshold=0.3, **options)
    np.testing.assert_array_equal(pairs, edges_above(scores_of[method], 0.3))
    np.testing.assert_allclose(ci.similarity_matrix(album, **options), scores_of[method], rtol=0, atol=1e-5)
    labels = ci.cluster(album, threshold=0.3, **options)
    np.testing.assert_array_equal(labels, ci.components(pairs, len(album)))


@pytest.mark.parametrize("method", NAMES)
def test_clusters_do_not_depend_on_the_order_of_images(album: list[np.ndarray], method: str) -> None:
    labels = ci.cluster(album, method=method)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(album))
        shuffled = ci.cluster([album[k] for k in order], method=method)
        back = np.empty_like(shuffled)
        back[order] = shuffled
        np.testing.assert_array_equal(groups(back), groups(labels))
        first = [int(label) for k, label in enumerate(shuffled) if label not in shuffled[:k]]
        assert [label for label in first if label >= 0] == sorted(label for label in first if label >= 0)


def groups(labels: np.ndarray) -> np.ndarray:
    """Return which images are together, whatever the numbers."""
    together = labels[:, None] == labels
    together[labels < 0] = False
    return together


@pytest.mark.parametrize("method", NAMES)
def test_higher_threshold_never_merges_more(album: list[np.ndarray], method: str) -> None:
    features = ci.extract(album, method=method)
    before, n_before = None, len(album) ** 2
    for threshold in np.linspace(-1, 1, 15):
        together = groups(ci.cluster(features, threshold=float(threshold)))
        assert before is None or not (together & ~before).any()
        n_pairs = len(ci.similar_pairs(features, threshold=float(threshold)))
        assert n_pairs <= n_before
        before, n_before = together, n_pairs
    assert n_before == 0


@pytest.mark.parametrize("method", NAMES)
def test_matrix_is_symmetric_with_ones_on_its_diagonal(album: list[np.ndarray], method: str) -> None:
    matrix = ci.similarity_matrix(album, method=method)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    assert matrix[0, 10] == matrix[11, 12] == 1.0
    assert matrix.max() == 1.0


# --- what may be given ---


@pytest.mark.parametrize("method", NAMES)
def test_features_serve_like_the_images(album: list[np.ndarray], method: str) -> None:
    features = ci.extract(album, method=method)
    assert isinstance(features, Features)
    assert len(features) == len(album)
    np.testing.assert_array_equal(ci.similar_pairs(features), ci.similar_pairs(album, method=method))
    np.testing.assert_array_equal(ci.cluster(features), ci.cluster(album, method=method))
    np.testing.assert_array_equal(ci.similarity_matrix(features), ci.similarity_matrix(album, method=method))


@pytest.mark.parametrize("method", NAMES)
def test_paths_are_brought_to_the_default_size(
    files: list[Path], album: list[np.ndarray], method: str
) -> None:
    size = getattr(create(method), "size", None)
    scale = 320 / 96 if method == "orb" else None  # the longest side of the album's images is 96
    wanted = ci.similar_pairs(album, method=method, size=size, scale=scale, threshold=0.2)
    np.testing.assert_array_equal(ci.similar_pairs(files, method=method, threshold=0.2), wanted)
    np.testing.assert_array_equal(
        ci.similar_pairs([str(file) for file in files], method=method, threshold=0.2), wanted
    )
    np.testing.assert_array_equal(ci.extract(files, method=method).digests, ci.extract(album).digests)


@pytest.mark.parametrize("method", ["ssim", "tm"])
def test_arrays_are_used_at_their_own_size(method: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 41), dtype=np.uint8)
    values = ci.extract(images, method=method).values
    np.testing.assert_array_equal(values, images)
    sized = ci.extract(images, method=method, size=(20, 10)).values
    np.testing.assert_array_equal(
        sized, [cv2.resize(image, (20, 10), interpolation=cv2.INTER_AREA) for image in images]
    )
    scaled = ci.extract(images, method=method, scale=0.5).values
    np.testing.assert_array_equal(
        scaled, [cv2.resize(image, (20, 25), interpolation=cv2.INTER_AREA) for image in images]
    )


@pytest.mark.parametrize("method", ["ssim", "tm"])
@pytest.mark.parametrize("path_first", [True, False])
def test_arrays_and_paths_may_be_mixed(files: list[Path], method: str, path_first: bool) -> None:
    """Each is treated as it would be alone, wherever it stands."""
    array = np.random.default_rng(0).integers(0, 256, (50, 41), dtype=np.uint8)
    width, height = create(method).size or (96, 72)
    mixed = [files[0], array] if path_first else [array, files[0]]
    values = ci.extract(mixed, method=method).values
    assert [values[k].shape for k in range(2)] == [(height, width), (50, 41)][:: 1 if path_first else -1]


def test_one_array_of_images_serves_like_a_list(album: list[np.ndarray]) -> None:
    stacked = np.stack(album)
    np.testing.assert_array_equal(
        ci.similar_pairs(stacked, method="ssim"), ci.similar_pairs(album, method="ssim")
    )


def test_strided_and_read_only_arrays_are_used_as_they_are(album: list[np.ndarray]) -> None:
    turned = [np.asfortranarray(image) for image in album]
    for image in turned:
        image.flags.writeable = False
    for method in NAMES:
        np.testing.assert_array_equal(
            ci.similar_pairs(turned, method=method), ci.similar_pairs(album, method=method)
        )
    for image, other in zip(turned, album, strict=True):
        np.testing.assert_array_equal(image, other)


# --- images that can't be used ---


@pytest.fixture
def broken(files: list[Path], tmp_path: Path) -> list[Path]:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    return [files[0], bad, files[10], tmp_path / "missing.png", bad]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_unreadable_image_raises_with_its_place(call: Any, broken: list[Path]) -> None:
    with pytest.raises(ImageError, match="image 1: "):
        call(broken)
    with pytest.raises(ImageError, match="image 2: "):
        call([broken[0], broken[2], broken[3]])


@pytest.mark.parametrize("method", NAMES)
def test_unreadable_image_is_skipped_without_edges(method: str, broken: list[Path]) -> None:
    features = ci.extract(broken, method=method, errors="skip")
    np.testing.assert_array_equal(features.featureless, [False, True, False, True, True])
    for images in (broken, features):
        options: dict[str, Any] = {"threshold": -1.0, "errors": "skip"}
        if images is broken:
            options["method"] = method
        assert ci.similar_pairs(images, **options).tolist() == [(0, 2, 1.0)]
        np.testing.assert_array_equal(ci.cluster(images, **options), [0, -1, 0, -1, -1])
    matrix = ci.similarity_matrix(broken, method=method, errors="skip")
    off_diagonal = ~np.eye(5, dtype=bool)
    assert np.isneginf(matrix[[1, 3, 4]][off_diagonal[[1, 3, 4]]]).all()


@pytest.mark.parametrize("method", NAMES)
def test_nothing_but_unreadable_images(method: str, broken: list[Path]) -> None:
    bad = [broken[1], broken[3]]
    assert len(ci.similar_pairs(bad, method=method, errors="skip")) == 0
    np.testing.assert_array_equal(ci.cluster(bad, method=method, errors="skip"), [-1, -1])


# --- usage errors ---


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_wrong_calls_are_usage_errors(call: Any, album: list[np.ndarray]) -> None:
    for options, text in [
        ({"method": "sift"}, "method must be one of"),
        ({"errors": "ignore"}, "errors must be raise or skip, got 'ignore'"),
        ({"backend": "gpu"}, "backend must be one of"),
        ({"n_threads": -2}, "threads must be 0"),
        ({"method": "ssim", "hash_size": 8}, "ssim has no hash_size"),
        ({"method": "tm", "size": (8, 8), "scale": 0.5}, "not both"),
    ]:
        with pytest.raises(UsageError, match=text):
            call(album, **options)
    with pytest.raises(UsageError, match="for a folder use run"):
        call("photos")
    for images in ([album[0], album[1].astype(float)], [np.zeros((4, 4, 3), np.uint8)], [album[0], 3.0]):
        with pytest.raises((UsageError, TypeError)):
            call(images)


@pytest.mark.parametrize("call", [ci.similar_pairs, ci.cluster], ids=lambda call: call.__name__)
def test_threshold_is_a_number(call: Any, album: list[np.ndarray]) -> None:
    for threshold in (np.nan, np.inf, -np.inf):
        with pytest.raises(UsageError, match="threshold must be a finite number"):
            call(album, threshold=threshold)


def test_features_are_made_already(album: list[np.ndarray]) -> None:
    features = ci.extract(album, method="ssim")
    with pytest.raises(UsageError, match="features are made already: give size to extract"):
        ci.similar_pairs(features, size=(32, 32))
    with pytest.raises(UsageError, match="ssim has no orb_rule"):
        ci.similar_pairs(features, orb_rule="absolute")


def test_orb_rule_is_asked_of_the_scores_not_of_the_features(album: list[np.ndarray]) -> None:
    features = ci.extract(album, method="orb")
    for rule in ("ratio", "absolute", "relative"):
        np.testing.assert_array_equal(
            ci.similar_pairs(features, orb_rule=rule, threshold=0.1),
            ci.similar_pairs(album, method="orb", orb_rule=rule, threshold=0.1),
        )


def test_default_method_and_threshold(album: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(
        ci.similar_pairs(album),
        ci.similar_pairs(album, method="imagehash", threshold=create("imagehash").threshold),
    )
