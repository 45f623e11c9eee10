"""What options of the deep path may be, and a default that was measured. Imports no network."""

from __future__ import annotations

__all__ = ["CONTRASTIVE_WEIGHT", "DEVICES", "LOSSES", "NETWORKS", "PRECISIONS", "RULES"]

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

CONTRASTIVE_WEIGHT = 0.05
"""Of the contrastive term beside a loss.

ARI of KMeans on latents (mse, 32 pixels, 30 epochs, the picture against one view of it, mean of two seeds) on
half of coil100_dev, orl_faces_dev and half of mnist_dev: .692, .708, .383 without the term, .743, .725, .505
with this weight and a temperature of .5; on half of cifar10_dev (one seed) .053 and .054. With one seed, a
weight of .2 gives .736, .693, .523, a temperature of .2 .723, .699, .491. A step costs 1.5 times as much.
"""
