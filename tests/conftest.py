"""Engines and images that several test files share."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from clusterimg import _core, pipeline
from clusterimg.backends import Engine, numba, reference, select
from pictures import synthetic_images
from reader_here import ReaderHere

# A shell that starts us in the background has Ctrl-C ignored, and so would every process of ours.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


THREADS = (1, 2, 5)
NO_NUMBA = numba.why_unavailable()
NO_REFERENCE = reference.why_unavailable()

PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)


def engines() -> Iterator[object]:
    """Yield every backend on several thread counts, the core with each ISA."""
    for isa in _core.isas():
        for n_threads in THREADS:
            yield pytest.param(("cpp", isa, n_threads), id=f"cpp-{isa}-{n_threads}t")
    missing = pytest.mark.skipif(NO_NUMBA is not None, reason=f"numba {NO_NUMBA}")
    for n_threads in THREADS[:2]:
        yield pytest.param(("numba", "", n_threads), id=f"numba-{n_threads}t", marks=missing)
    missing = pytest.mark.skipif(NO_REFERENCE is not None, reason=f"reference {NO_REFERENCE}")
    yield pytest.param(("reference", "", 1), id="reference", marks=missing)


@pytest.fixture(params=engines())
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One engine after another; the instruction set is put back afterwards."""
    backend, isa, n_threads = request.param
    before = _core.isa()
    if isa:
        _core.use_isa(isa)
    yield select(backend, n_threads=n_threads)
    _core.use_isa(before)


@pytest.fixture(params=_core.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after another; the one in use is put back."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs read in this process, quickly: that of the reader has tests of its own."""
    monkeypatch.setattr(pipeline, "Reader", ReaderHere)


@pytest.fixture(scope="session")
def photo_files() -> list[Path]:
    """Photos that ship inside scikit-image."""
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("scikit-image, which holds the photos, is not installed")
    folder = Path(found.submodule_search_locations[0], "data")
    return [folder / name for name in PHOTOS]


@pytest.fixture(scope="session")
def photos(photo_files: list[Path]) -> list[np.ndarray]:
    """The photos in grey, at half a megapixel at most, so that tests stay quick."""
    greys = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in photo_files]
    shrunk = []
    for grey in greys:
        shrink = min(1.0, 400 / max(grey.shape))
        size = (round(grey.shape[1] * shrink), round(grey.shape[0] * shrink))
        shrunk.append(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    return shrunk


@pytest.fixture(scope="session")
def image_set(photos: list[np.ndarray]) -> Callable[[int, int, int], np.ndarray]:
    """Make (n, height, width) images: synthetic extremes, copies, photos and noisy photos, shuffled."""

    def make(n: int, height: int, width: int) -> np.ndarray:
        rng = np.random.default_rng([n, height, width])
        images = synthetic_images(height, width)
        small = [cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA) for photo in photos]
        while len(images) < n:
            for photo in small:
                noise = rng.integers(-12, 13, photo.shape) * (len(images) > 40)
                images.append(np.clip(photo + noise, 0, 255).astype(np.uint8))
        order = rng.permutation(len(images))[:n]
        return np.stack([images[k] for k in order])

    return make
