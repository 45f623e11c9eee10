"""Train an autoencoder on a folder of images, or on pictures in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from .._types import Skip
from ..errors import UsageError
from ..images import policy
from ._model_files import ModelFiles
from ._parameters import Parameters
from ._training_images import Image, Source, source_of
from .choices import CONTRASTIVE_WEIGHT

if TYPE_CHECKING:
    from .autoencoder import Architecture
    from .checkpoint import Trained

__all__ = ["fit", "train"]

Progress = Callable[[str, int, int], None]


def fit(
    pictures: NDArray[np.uint8],
    *,
    architecture: Architecture | None = None,
    state: Path | None = None,
    resume: bool = False,
    image_policy: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **parameters: Any,
) -> Trained:
    """Return an autoencoder trained on pictures; no file is written but the state.

    On a CPU the same seed, images and threads give the same weights, bit for bit; also when the training was
    killed and goes on from its state.

    Parameters
    ----------
    pictures : (n, channels, size, size) uint8, at least two; may be mapped from the disk
    architecture : sizes of the network; None takes the defaults for those of the pictures
    state : file that the training can go on from; written now and then, and left there
    resume : go on from `state`, if it is there; pictures and parameters must be the same
    image_policy : how files became pictures, for the facts
    progress : called with "training", images seen and their number in all
    **parameters : see `train`: loss, perceptual_network, perceptual_weights, perceptual_layers, contrastive,
        epochs, batch_size, learning_rate, patience, validation, seed, device, precision, time_budget, threads

    Raises
    ------
    UsageError : a parameter is wrong, or the state is of other parameters or pictures
    ModelError : the loss is no longer a number; or the weights of the loss's network can't be had
    MissingExtra : torch is not installed
    """
    require("torch", extra="deep")
    from ._fitting import fit_pictures
    from .autoencoder import Architecture

    unknown = [name for name in parameters if name not in Parameters.names()]
    if unknown:
        raise UsageError(f"parameters must be of {', '.join(Parameters.names())}, got {', '.join(unknown)}")
    if architecture is None:
        if pictures.ndim != 4:
            raise UsageError(f"pictures must be (n, channels, size, size), got {pictures.shape}")
        architecture = Architecture(size=pictures.shape[2], channels=pictures.shape[1])
    return fit_pictures(
        pictures,
        architecture,
        Parameters(**parameters),
        state=state,
        resume=resume,
        policy=policy() if image_policy is None else image_policy,
        progress=progress,
    )


def train(
    images: Path | str | Sequence[Image] | NDArray[np.uint8],
    *,
    out: Path | str | None = None,
    recursive: bool = False,
    max_images: int = 50_000,
    size: int = 64,
    channels: int = 3,
    width: int = 16,
    latent: int = 64,
    depth: int = 4,
    loss: str = "mse",
    perceptual_network: str = "vgg19",
    perceptual_weights: Path | str | None = None,
    perceptual_layers: Sequence[str] | str | None = None,
    contrastive: float = CONTRASTIVE_WEIGHT,
    epochs: int = 60,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    patience: int = 10,
    validation: float = 0.1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    time_budget: float | str | None = None,
    threads: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Return an autoencoder trained on images; with `out`, written into a file with its plots beside it.

    Parameters
    ----------
    images : a folder; or paths and arrays, (height, width) or (height, width, 3) uint8; or pictures as
        networks take them, (n, channels, size, size) uint8
    out : the file of the model, such as photos.pt; beside it come photos_loss.csv, photos_loss.png and
        photos_reconstructions.png, and until it is done photos.pt.state and photos.pt.pictures
    recursive : take the images of subfolders too
    max_images : of more images, so many are taken, by seed
    size, channels, width, latent, depth : of the network, see `Architecture`
    loss : "mse", "l1" or "perceptual"; the next three belong to "perceptual"
    perceptual_network, perceptual_weights, perceptual_layers : whose features are compared, a file of its
        weights, and at which layers (names, or text with commas)
    contrastive : weight of a contrastive term beside the loss; 0 leaves it out
    epochs : times every image is seen, at most
    batch_size : images a step
    learning_rate : the highest; it rises over the first steps, and falls over the last three tenths
    patience : epochs without a gain of 0.1 % in validation loss after which the rate falls early, and, once
        it does, after which the training ends
    validation : share of the images that is kept apart for the validation loss; the weights with the lowest
        are the model
    seed : of the first weights, the split, the order and the choice of images
    device : "auto" (cuda, else mps, else cpu) or one of them
    precision : "float32", "mixed" (16 bits where they do) or "auto": mixed on cuda
    time_budget : for the training, reading apart: seconds, or text such as "90s", "10m", "1h"
    threads : of the CPU; 0 for all cores
    resume : go on with a training to `out` that was ended on its way; it then gives what it would have given
    overwrite : replace the model in `out`, if there is one, and forget a training that was ended on its way
    progress : called with a stage ("pictures", "training"), what is done of it, and all

    Raises
    ------
    UsageError : a parameter is wrong, there are fewer than two images, or `out` is there already
    ModelError : the loss is no longer a number, a file can't be written, or weights can't be had
    MissingExtra : torch is not installed
    """
    parameters = Parameters(
        loss=loss,
        perceptual_network=perceptual_network,
        perceptual_weights=None if perceptual_weights is None else str(perceptual_weights),
        perceptual_layers=perceptual_layers,  # type: ignore[arg-type]  # text is taken apart
        contrastive=contrastive,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        validation=validation,
        seed=seed,
        device=device,
        precision=precision,
        time_budget=time_budget,
        threads=threads,
    )
    require("torch", extra="deep")
    from .autoencoder import Architecture
    from .devices import device_for

    architecture = Architecture(size=size, channels=channels, width=width, latent=latent, depth=depth)
    device_for(device)  # before an hour is spent on reading
    source = source_of(images, recursive=recursive, max_images=max_images, seed=seed)
    with _files(out, resume=resume, overwrite=overwrite) as files:
        return _trained(source, architecture, parameters, files, resume=resume, progress=progress)


@contextmanager
def _files(out: Path | str | None, *, resume: bool, overwrite: bool) -> Iterator[ModelFiles]:
    """Yield where the files go: beside `out`, or into a folder that vanishes afterwards."""
    if out is not None:
        with ModelFiles(Path(out)).held(resume=resume, overwrite=overwrite) as files:
            yield files
        return
    if resume or overwrite:
        raise UsageError("resume and overwrite are about the file of the model: give out")
    with tempfile.TemporaryDirectory(prefix="clusterimg-") as folder:
        yield ModelFiles(Path(folder, "model.pt"), is_kept=False)


def _trained(
    source: Source,
    architecture: Architecture,
    parameters: Parameters,
    files: ModelFiles,
    *,
    resume: bool,
    progress: Progress | None,
) -> Trained:
    from ._fitting import fit_pictures

    read = source.read(architecture.shape, files.pictures, parameters.threads, files.own_names(), progress)
    if len(read.pictures) < 2:
        raise UsageError(_too_few(len(read.pictures), read.skipped))
    trained = fit_pictures(
        read.pictures,
        architecture,
        parameters,
        state=files.state if files.is_kept else None,
        resume=resume,
        policy=policy(),
        progress=progress,
    )
    trained = replace(trained, skipped=tuple(read.skipped))
    if files.is_kept:
        _save(trained, read.pictures, files)
    return trained


def _too_few(n: int, skipped: Sequence[Skip]) -> str:
    text = f"a training needs two images at least, one to learn from and one to judge by, got {n}"
    if skipped:
        text += f" ({len(skipped):,} skipped, such as {skipped[0].file}: {skipped[0].reason})"
    return text


def _save(trained: Trained, pictures: NDArray[np.uint8], files: ModelFiles) -> None:
    """Write the plots, and at last the model: where it is, all is there."""
    from ._examples import split
    from .checkpoint import save
    from .training_plots import write_plots

    training = trained.facts["training"]
    _, apart = split(len(pictures), training["validation"], training["seed"])
    write_plots(trained, pictures, apart, files)
    save(trained, files.model)
