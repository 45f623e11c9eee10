"""The method of a library call: one of the classic ones, or `deep` with its embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._types import Features
from .errors import UsageError
from .methods import Classic, create
from .methods.deep import DEFAULT_THRESHOLD, Deep

__all__ = ["method_asked", "method_of"]


def method_of(features: Features, threshold: float | None, orb_rule: str | None) -> Classic:
    """Return the method that compares features which were made before."""
    if features.method == Deep.name:
        return Deep(about=features.params, threshold=DEFAULT_THRESHOLD if threshold is None else threshold)
    method: Classic = create(features.method, threshold=threshold, orb_rule=orb_rule)
    return method


def method_asked(
    name: str, options: Mapping[str, Any], embedding: Any, threshold: float | None, n_threads: int
) -> Classic:
    """Return the method called so; `deep` embeds, by efficientnet-lite0 if it is told nothing else."""
    if name != Deep.name:
        if embedding is not None:
            raise UsageError(f"embedding is an option of method deep, not of {name}")
        method: Classic = create(name, threshold=threshold, **options)
        return method
    if given := [option for option, value in options.items() if value is not None]:
        raise UsageError(f"method deep has no {', '.join(given)}")
    from .deep.embedding import PRETRAINED, deep_method

    network = PRETRAINED[0] if embedding is None else embedding
    return deep_method(network, threshold=threshold, n_threads=n_threads)
