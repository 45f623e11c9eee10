"""Options of a run that belong to the deep path, and what goes together. Imports no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError

__all__ = [
    "DEFAULTS",
    "MOST_IMAGES",
    "check_classic",
    "check_deep",
    "groups_by_models",
]

MOST_IMAGES = 10_000
"""Images a batch, if none are asked for: models that look at all pairs of points take seconds then."""

DEFAULTS: Mapping[str, Any] = {
    "embedding": "autoencoder",
    "model": None,
    "models": None,
    "selection": None,
    "pca": None,
    "whiten": False,
    "device": "auto",
    "training": None,
}
"""Options of `run` for `method="deep"` alone."""

_OF_MODELS = ("models", "selection", "pca", "whiten")


def groups_by_models(asked: Mapping[str, Any]) -> bool:
    """Return whether the clusters are those of a cluster model: no threshold makes them pairs."""
    is_of_pairs = asked["threshold"] is not None or asked.get("threshold_pairs") is not None
    return asked["method"] == "deep" and not is_of_pairs


def check_classic(asked: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a run of another method has options of the deep path."""
    for name, default in DEFAULTS.items():
        if asked[name] != default:
            raise UsageError(f"{name} is an option of method deep, not of {asked['method']}")


def check_deep(asked: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that don't go with a deep run, or not together."""
    for name in ("size", "scale", "hash_size", "orb_rule"):
        if asked[name] is not None:
            raise UsageError(
                f"{name} is an option of other methods; that of an autoencoder is set in training"
            )
    is_trained_here = isinstance(asked["embedding"], str) and asked["embedding"] == "autoencoder"
    if not is_trained_here and asked["model"] is not None:
        raise UsageError("give embedding or model, the file of a trained autoencoder, not both")
    if asked["training"] and not (is_trained_here and asked["model"] is None):
        raise UsageError("training is for a run that trains its autoencoder; here there is a network already")
    if not groups_by_models(asked):
        for name in _OF_MODELS:
            if asked[name] != DEFAULTS[name]:
                raise UsageError(
                    f"{name} is for cluster models, a threshold for similar pairs: give one of both"
                )
        return
    if asked["linkage"] != "components" or asked["must_link"] is not None or asked["cannot_link"] is not None:
        raise UsageError("linkage and constraints are for similar pairs: with method deep, give a threshold")
    if asked["merge"] == "exact":
        raise UsageError("merge exact compares pairs: with method deep, give a threshold, or merge otherwise")
