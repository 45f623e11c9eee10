"""The options of the command `train`. Each is a keyword of `clusterimg.deep.train`, with the same default."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .deep.choices import CONTRASTIVE_WEIGHT, DEVICES, LOSSES, NETWORKS, PRECISIONS

__all__ = ["add_train"]

Add = Callable[..., Any]


def add_train(train: argparse.ArgumentParser) -> None:
    """Add all but those of the terminal."""
    train.set_defaults(command="train")
    train.add_argument("images", metavar="FOLDER", help="the images; every file in it is tried")
    add = train.add_argument_group("what goes where").add_argument
    add(
        "--out",
        required=True,
        metavar="MODEL",
        help="file of the model, such as photos.pt; plots go beside it",
    )
    add("--recursive", action="store_true", help="take the images of subfolders too")
    _number(add, "--max-images", 50_000, "of more images, so many are taken by seed")
    add("--resume", action="store_true", help="go on with a training to MODEL that was ended on its way")
    add("--overwrite", action="store_true", help="replace MODEL, or what an ended training left of it")
    _add_network(train)
    _add_loss(train)
    _add_course(train)
    _add_machine(train)


def _add_network(train: argparse.ArgumentParser) -> None:
    add = train.add_argument_group("the network").add_argument
    _number(add, "--size", 64, "pixels a side that images are brought to, divisible by 2 ** depth")
    add("--channels", type=int, choices=(1, 3), default=3, help="1 for grey, 3 for colour (3)")
    _number(add, "--width", 16, "channels of the first stage")
    _number(add, "--latent", 64, "numbers that an image becomes")
    _number(add, "--depth", 4, "stages; each halves height and width")


def _add_loss(train: argparse.ArgumentParser) -> None:
    add = train.add_argument_group("what is learned").add_argument
    add("--loss", choices=LOSSES, default="mse", help="what a reconstruction lacks (mse)")
    text = "whose features are compared under perceptual (vgg19)"
    add("--perceptual-network", choices=NETWORKS, default="vgg19", help=text)
    text = "file of its weights; random: none (those it comes with)"
    add("--perceptual-weights", metavar="FILE", help=text)
    add("--perceptual-layers", metavar="NAMES", help="layers, with commas between (the network's usual ones)")
    text = f"weight of a contrastive term beside the loss; 0 leaves it out ({CONTRASTIVE_WEIGHT:g})"
    add("--contrastive", type=float, default=CONTRASTIVE_WEIGHT, metavar="W", help=text)


def _add_course(train: argparse.ArgumentParser) -> None:
    add = train.add_argument_group("how long").add_argument
    _number(add, "--epochs", 60, "times every image is seen, at most")
    text = "end after so long, such as 90s, 10m or 1h; reading apart (no end)"
    add("--time-budget", metavar="TIME", help=text)
    _number(add, "--patience", 10, "epochs without a gain of 0.1 %% after which it comes to an end")
    text = "share of the images kept apart for the validation loss (0.1)"
    add("--validation", type=float, default=0.1, metavar="SHARE", help=text)
    _number(add, "--batch-size", 32, "images a step")
    text = "the highest; it rises at first and falls at last (0.002)"
    add("--learning-rate", type=float, default=2e-3, metavar="R", help=text)
    _number(add, "--seed", 0, "of the first weights, the split, the order, the choice of images")


def _add_machine(train: argparse.ArgumentParser) -> None:
    add = train.add_argument_group("with what").add_argument
    add("--device", choices=DEVICES, default="auto", help="auto: cuda, else mps, else cpu (auto)")
    text = "mixed: 16 bits where they do; auto: mixed on cuda (auto)"
    add("--precision", choices=PRECISIONS, default="auto", help=text)
    add("--threads", type=int, default=0, metavar="N", help="of the CPU; 0 for all cores (0)")


def _number(add: Add, name: str, default: int, text: str) -> None:
    add(name, type=int, default=default, metavar="N", help=f"{text} ({default})")
