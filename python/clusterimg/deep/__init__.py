"""The deep path: an autoencoder or another network sees the images, cluster models group what it sees.

files → pictures → embedding → cluster models → the best by three metrics → labels

import clusterimg as ci

model = ci.deep.train("photos", out="photos.pt")              an autoencoder, trained on a folder
vectors = ci.deep.embed(paths, embedding=model)               (n, d) float32, each of length 1
ci.similar_pairs(paths, method="deep", embedding=model, threshold=0.9)
ci.run("photos", method="deep", model="photos.pt")

Needs the extra `deep` (torch, torchvision, scikit-learn, matplotlib); nothing of it is imported before it
is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Trained, load, save
    from .cluster_models import parse_models
    from .embedding import embed, embedder
    from .selection import Selection, choose
    from .training import train

__all__ = [
    "Selection",
    "Trained",
    "choose",
    "embed",
    "embedder",
    "load",
    "parse_models",
    "save",
    "train",
]

_HOMES = {
    "checkpoint": ("Trained", "load", "save"),
    "cluster_models": ("parse_models",),
    "embedding": ("embed", "embedder"),
    "selection": ("Selection", "choose"),
    "training": ("train",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_NEED_TORCH = {"checkpoint"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and say which extra is missing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .._optional import require

    if _HOME_OF[name] in _NEED_TORCH:
        require("torch", extra="deep")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
