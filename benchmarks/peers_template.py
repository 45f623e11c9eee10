"""Template matching against OpenCV, and against NumPy's matrix product of the images as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage
import threadpoolctl
from numpy.typing import NDArray

from clusterimg import _core
from ratios import Row

Grey = NDArray[np.uint8]

PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "motorcycle_left", "page", "brick")


def crops(n: int, size: int, seed: int) -> Grey:
    """Return parts of photos at one size; of every ten the last is a noisy copy of the one before."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    folder = Path(skimage.__file__).parent / "data"
    photos = [np.asarray(cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE)) for name in PHOTOS]
    images: list[Grey] = []
    for k in range(n):
        photo = photos[rng.integers(len(photos))]
        side = int(min(photo.shape) * rng.uniform(0.4, 1))
        y, x = rng.integers(0, photo.shape[0] - side + 1), rng.integers(0, photo.shape[1] - side + 1)
        part = photo[y : y + side, x : x + side]
        images.append(np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA), np.uint8))
        if k % 10 == 9:
            images[-1] = np.clip(images[-2] + rng.normal(0, 3, (size, size)), 0, 255).astype(np.uint8)
    return np.stack(images)


def scores_by_opencv(images: Grey, templates: Grey) -> NDArray[np.float32]:
    """Return 1 less the least error of each template in each image."""
    method = cv2.TM_SQDIFF_NORMED
    errors = [[cv2.matchTemplate(image, templ, method).min() for templ in templates] for image in images]
    return 1 - np.array(errors, np.float32)


def one_thread(call: Callable[[], object]) -> Callable[[], object]:
    """Return a call of NumPy with its matrix product on one thread."""

    def limited() -> object:
        with threadpoolctl.threadpool_limits(1):
            return call()

    return limited


def equal_sizes() -> Iterator[Row]:
    images, few = crops(1000, 64, 0), 30
    n_pairs = 1000 * 999 / 2
    rows = images.reshape(1000, -1).astype(np.float32)
    others = rows.copy()  # else NumPy takes half a product, as it does in the row after

    def agree_corner(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        np.testing.assert_allclose(ours[:few, :few], theirs, rtol=0, atol=1e-5)

    def agree_products(ours: NDArray[np.float32], dots: NDArray[np.float32]) -> None:
        energy = np.diag(dots).astype(float)
        norm = np.sqrt(energy[:, None] * energy)
        error = (energy[:, None] + energy - 2 * dots.astype(float)) / norm
        np.testing.assert_allclose(ours, 1 - np.minimum(error, 1), rtol=0, atol=1e-5)

    def matrix() -> NDArray[np.float32]:
        return _core.template_matrix(images, n_threads=1)

    def by_opencv() -> object:
        return scores_by_opencv(images[:few], images[:few])

    yield Row(
        "template 64 px", "cv2.matchTemplate", matrix, by_opencv, n_pairs, agree_corner,
        few * few, 4000, 6000, "each pair once",
    )  # fmt: skip
    yield Row(
        "template 64 px", "NumPy sgemm, all n x n", matrix, one_thread(lambda: rows @ others.T), n_pairs,
        agree_products, None, 3, 5, "each pair once; the scores too",
    )  # fmt: skip
    yield Row(
        "template 64 px", "NumPy ssyrk, each pair once", matrix, one_thread(lambda: rows @ rows.T), n_pairs,
        agree_products, None, None, None, "the scores too",
    )  # fmt: skip


def joins() -> Iterator[Row]:
    images, few = crops(3000, 64, 1), 30

    for threshold in (0.991, 0.95):

        def edges(threshold: float = threshold) -> NDArray[np.void]:
            return _core.template_edges(images, threshold=threshold, n_threads=1)

        def agree(ours: NDArray[np.void], theirs: NDArray[np.float32], threshold: float = threshold) -> None:
            ours = ours[(ours["i"] < few) & (ours["j"] < few)]
            found = np.triu(theirs > threshold, 1)
            assert list(zip(ours["i"], ours["j"], strict=True)) == list(zip(*np.nonzero(found), strict=True))

        yield Row(
            f"template join > {threshold}, 64 px", "cv2.matchTemplate, all pairs", edges,
            lambda: scores_by_opencv(images[:few], images[:few]), 3000 * 2999 / 2, agree, few * few,
        )  # fmt: skip


def parts(images: Grey) -> tuple[Grey, NDArray[np.int64], NDArray[np.int32]]:
    n, height, width = images.shape
    offsets = np.arange(n + 1, dtype=np.int64) * height * width
    return images.ravel(), offsets, np.full((n, 2), (height, width), np.int32)


def sliding(size: int, n: int, few: int, prototype: float, goal: float) -> Iterator[Row]:
    images, templates = crops(n, size, 2), crops(n, size * 3 // 4, 3)
    for k in range(0, n, 4):  # of every four one is found
        templates[k] = images[k, 3 : 3 + size * 3 // 4, 5 : 5 + size * 3 // 4]

    def agree(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        np.testing.assert_allclose(ours[:few, :few], theirs, rtol=0, atol=1e-5)

    yield Row(
        f"template 3/4 size, {size} px", "cv2.matchTemplate",
        lambda: _core.sliding_matrix(parts(images), parts(templates), n_threads=1),
        lambda: scores_by_opencv(images[:few], templates[:few]), n * n, agree, few * few, prototype, goal,
    )  # fmt: skip


def rows() -> Iterator[Row]:
    """Yield the rows of the table; every call is on one thread."""
    yield from equal_sizes()
    yield from joins()
    yield from sliding(64, 100, 20, 2, 15)
    yield from sliding(256, 32, 8, 4, 8)
