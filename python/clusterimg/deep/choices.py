"""The names that options of the deep path may take. Imports no network."""

from __future__ import annotations

__all__ = ["DEVICES", "LOSSES", "NETWORKS", "PRECISIONS", "RULES"]

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Where a network works: auto is cuda, else mps, else the CPU."""

LOSSES = ("mse", "l1", "perceptual")
"""What an autoencoder is trained to lower."""

NETWORKS = ("vgg19", "efficientnet-lite0")
"""Whose features the perceptual loss compares."""

PRECISIONS = ("auto", "float32", "mixed")
"""Of the numbers in a training: auto is mixed on cuda, else float32."""

RULES = ("neighbours", "mean-rank")
"""How the best of several cluster models is found; `selection` says what they are."""
