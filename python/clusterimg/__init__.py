"""Put the similar images of a folder together: exact, fast, on a compiled core.

    import clusterimg as ci

    result = ci.run("photos", method="ssim", threshold=0.8)       the whole pipeline
    ci.similarity_matrix(images, method="ssim")                   all scores, for few images
    ci.similar_pairs(images, method="imagehash", threshold=0.9)   pairs above a threshold, for many
    ci.cluster(images, method="tm", threshold=0.95)               a label for each image
    ci.kernels.hamming_edges(codes, threshold=0.9)                the kernels themselves, on arrays
"""

from __future__ import annotations

from . import kernels
from ._types import EDGE_DTYPE, Features, Ragged
from .clustering import components
from .errors import (
    BackendUnavailable,
    ClusterimgError,
    FilesSkipped,
    ImageError,
    MissingExtra,
    ResultError,
    UsageError,
)
from .evaluation import evaluate
from .pipeline import Result, run
from .similarity import cluster, extract, similar_pairs, similarity_matrix

__all__ = [
    "EDGE_DTYPE",
    "BackendUnavailable",
    "ClusterimgError",
    "Features",
    "FilesSkipped",
    "ImageError",
    "MissingExtra",
    "Ragged",
    "Result",
    "ResultError",
    "UsageError",
    "cluster",
    "components",
    "evaluate",
    "extract",
    "kernels",
    "run",
    "similar_pairs",
    "similarity_matrix",
]
