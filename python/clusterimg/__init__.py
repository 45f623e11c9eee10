"""Put the similar images of a folder together: exact, fast, on a compiled core.

import clusterimg as ci

result = ci.run("photos", method="ssim", threshold=0.8)       the whole pipeline
ci.similarity_matrix(images, method="ssim")                   all scores, for few images
ci.similar_pairs(images, method="imagehash", threshold=0.9)   pairs above a threshold, for many
ci.cluster(images, method="tm", threshold=0.95)               a label for each image
ci.kernels.hamming_edges(codes, threshold=0.9)                the kernels themselves, on arrays
ci.deep.embed(images)                                         what a network sees, as vectors
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import deep, kernels
    from ._types import EDGE_DTYPE, Features, Ragged
    from .clustering import components, link
    from .errors import (
        BackendUnavailable,
        ClusterimgError,
        DeviceError,
        DeviceWarning,
        FilesSkipped,
        ImageError,
        MissingExtra,
        ModelError,
        ResultError,
        UsageError,
    )
    from .evaluation import evaluate
    from .gallery import Report, report
    from .joining import merge
    from .picker import ThresholdCurve, threshold_curve
    from .pipeline import Result, run
    from .similarity import cluster, extract, similar_pairs, similarity_matrix
    from .undoing import Undone, undo

__all__ = [
    "EDGE_DTYPE",
    "BackendUnavailable",
    "ClusterimgError",
    "DeviceError",
    "DeviceWarning",
    "Features",
    "FilesSkipped",
    "ImageError",
    "MissingExtra",
    "ModelError",
    "Ragged",
    "Report",
    "Result",
    "ResultError",
    "ThresholdCurve",
    "Undone",
    "UsageError",
    "__version__",
    "cluster",
    "components",
    "deep",
    "evaluate",
    "extract",
    "kernels",
    "link",
    "merge",
    "report",
    "run",
    "similar_pairs",
    "similarity_matrix",
    "threshold_curve",
    "undo",
]

__version__ = "0.1.0"

_ENDS_OF_ERRORS = ("Error", "Unavailable", "Extra", "Skipped", "Warning")

_HOMES = {
    "_types": ("EDGE_DTYPE", "Features", "Ragged"),
    "clustering": ("components", "link"),
    "errors": tuple(name for name in __all__ if name.endswith(_ENDS_OF_ERRORS)),
    "evaluation": ("evaluate",),
    "gallery": ("Report", "report"),
    "joining": ("merge",),
    "pipeline": ("Result", "run"),
    "similarity": ("cluster", "extract", "similar_pairs", "similarity_matrix"),
    "picker": ("ThresholdCurve", "threshold_curve"),
    "undoing": ("Undone", "undo"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for: `import clusterimg` itself stays as cheap as `import numpy`."""
    if name in ("deep", "kernels"):
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
