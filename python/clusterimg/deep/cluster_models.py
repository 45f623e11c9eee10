"""Cluster models of scikit-learn and lists of their parameters, as `--models` takes them, and its default."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from .._optional import require
from ..errors import UsageError

__all__ = ["MODELS", "Candidate", "Model", "Quantile", "are_sizes_given", "default_models", "parse_models"]


@dataclass(frozen=True, slots=True)
class Quantile:
    """A distance as a share of the points, written `50%`.

    That share of the points has its `min_samples`-th nearest point (itself counted, as DBSCAN counts)
    within the distance.
    """

    percent: float

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise UsageError(f"a share must be above 0% and at most 100%, got {self.percent:g}%")

    def __str__(self) -> str:
        return f"{self.percent!r}%".replace(".0%", "%")


Value = int | float | str | bool | None | Quantile


@dataclass(frozen=True, slots=True)
class Model:
    """A class of scikit-learn.

    size : the parameter that the number or the size of the clusters hangs on; a grid fills it in
    ours : values we use for parameters where the user gives none
    """

    module: str
    class_name: str
    size: str
    ours: Mapping[str, Value] = field(default_factory=dict)

    def build(self, params: Mapping[str, Any]) -> Any:
        """Return the estimator."""
        return self._class()(**{**self.ours, **params})

    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters that a grid may set."""
        names = inspect.signature(self._class().__init__).parameters
        return tuple(name for name in names if name != "self" and name not in _NOT_FOR_GRIDS)

    def _class(self) -> Any:
        require("sklearn", extra="deep")
        return getattr(importlib.import_module(self.module), self.class_name)


_NOT_FOR_GRIDS = {"random_state", "n_jobs", "verbose", "verbose_interval", "warm_start", "copy", "copy_x"} | {
    *("memory", "connectivity", "metric_params", "store_centers", "compute_distances", "weights_init"),
    *("means_init", "precisions_init"),
}
"""Set by us, without any effect on the labels, or no plain value."""

MODELS: Mapping[str, Model] = {
    "kmeans": Model("sklearn.cluster", "KMeans", "n_clusters", {"n_init": 3}),
    "minibatchkmeans": Model("sklearn.cluster", "MiniBatchKMeans", "n_clusters", {"n_init": 3}),
    "agglomerative": Model("sklearn.cluster", "AgglomerativeClustering", "n_clusters"),
    "dbscan": Model("sklearn.cluster", "DBSCAN", "eps"),
    "gaussianmixture": Model("sklearn.mixture", "GaussianMixture", "n_components", {"reg_covar": 1e-4}),
    "hdbscan": Model("sklearn.cluster", "HDBSCAN", "min_cluster_size", {"copy": True}),
}
"""What `--models` takes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cluster model with its parameters, written `agglomerative:n_clusters=10,linkage=ward`."""

    model: str
    params: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        listed = ",".join(f"{name}={_as_text(value)}" for name, value in self.params)
        return f"{self.model}:{listed}" if listed else self.model

    def get(self, name: str, default: Value = None) -> Value:
        """Return the value of a parameter."""
        return dict(self.params).get(name, default)

    def replace(self, **params: Value) -> Candidate:
        """Return the candidate with other values."""
        return Candidate(self.model, tuple((name, params.get(name, value)) for name, value in self.params))


def parse_models(texts: Sequence[str] | None, n: int, *, of_groups: bool = False) -> list[Candidate]:
    """Return the candidates of `--models` for n points; of the default models if there is no text.

    A text is `MODEL` or `MODEL:PARAMETER=VALUE,VALUE,…,PARAMETER=VALUE,…`: a comma parts values, and a part
    with a `=` begins the next parameter. Each value of a parameter is tried with each value of the others.
    Values are numbers, words, true, false and none; an `eps` may be a share, such as `50%` (`Quantile`). If
    the number or the size of the clusters is not given, a grid that follows n takes its place; where points
    stand for groups (`of_groups`), of which many may be like no other, that of trees goes up to n clusters.

    Raises
    ------
    UsageError
        For a model or a parameter that there is not, and for a value that the model refuses.
    """
    specs = default_models(n) if texts is None else texts
    if isinstance(specs, str) or not specs:
        raise UsageError(f"models must be a list of texts such as 'kmeans:n_clusters=5,10', got {specs!r}")
    sizes = _sizes_of_groups if of_groups else _default_sizes
    found = [candidate for text in specs for candidate in _parsed(text, n, sizes)]
    for candidate in found if texts is not None else ():
        if reason := _why_refused(candidate.model, _tamed(candidate)):
            raise UsageError(f"{candidate}: {reason}")
    return list(dict.fromkeys(found))


def are_sizes_given(texts: Sequence[str] | None) -> bool:
    """Return whether all models are given their numbers of clusters."""
    if texts is None:
        return False
    read = [(MODELS[model].size, lists) for model, lists in map(_read, texts)]
    return all(size.startswith("n_") and lists.get(size, [None]) != [None] for size, lists in read)


def _parsed(text: str, n: int, sizes: Callable[[str, int], Sequence[Value]]) -> Iterator[Candidate]:
    key, lists = _read(text)
    if MODELS[key].size not in lists:
        lists = {MODELS[key].size: list(sizes(key, n)), **lists}
    for values in itertools.product(*lists.values()):
        candidate = Candidate(key, tuple(zip(lists, values, strict=True)))
        _check(candidate)
        yield candidate


def _read(text: str) -> tuple[str, dict[str, list[Value]]]:
    """Return the model that a text names, and the values of each parameter."""
    name, _, listed = text.strip().partition(":")
    key = name.strip().lower()
    key = {model.class_name.lower(): name for name, model in MODELS.items()}.get(key, key)
    if key not in MODELS:
        raise UsageError(f"there is no cluster model {name!r} in {text!r}: take one of {', '.join(MODELS)}")
    lists = _lists(key, text, listed)
    if key == "agglomerative" and any(value is not None for value in lists.get("distance_threshold", ())):
        lists.setdefault("n_clusters", [None])
    return key, lists


def _lists(model: str, text: str, listed: str) -> dict[str, list[Value]]:
    """Return the values of each parameter."""
    known = MODELS[model].parameters()
    lists: dict[str, list[Value]] = {}
    parameter = ""
    for part in listed.split(",") if listed.strip() else ():
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if equals:
            if name not in known:
                raise UsageError(
                    f"{model} has no parameter {name!r} (in {text!r}): it has {', '.join(known)}"
                )
            if name in lists:
                raise UsageError(f"{name} is given twice in {text!r}: put its values after one {name}=")
            parameter = name
            lists[parameter] = []
        if not parameter or not value:
            raise UsageError(f"{text!r} must be MODEL:PARAMETER=VALUE,VALUE,…: {part.strip()!r} is no value")
        lists[parameter].append(_as_value(value))
    return lists


def _as_value(text: str) -> Value:
    words: dict[str, Value] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        percent = float(text[:-1])
    except ValueError:
        return text
    return Quantile(percent) if text.endswith("%") else text


def _as_text(value: Value) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _check(candidate: Candidate) -> None:
    """Have scikit-learn check the values, before anything is computed."""
    shares = [name for name, value in candidate.params if isinstance(value, Quantile)]
    if shares not in ([], ["eps"]) or (shares and candidate.model != "dbscan"):
        raise UsageError(f"{candidate} has a share of points: only the eps of dbscan may be one")
    values = {name: 1.0 if isinstance(value, Quantile) else value for name, value in candidate.params}
    estimator = MODELS[candidate.model].build(values)
    check = getattr(estimator, "_validate_params", None)  # no public name: without it, fitting says the same
    try:
        if check is not None:
            check()
    except ValueError as error:
        raise UsageError(f"{candidate}: {error}") from error


def _tamed(candidate: Candidate) -> tuple[tuple[str, Value], ...]:
    """Return the parameters fit for few points: all numbers of points and clusters small."""
    tamed: list[tuple[str, Value]] = []
    for name, value in candidate.params:
        is_count = isinstance(value, int) and not isinstance(value, bool)
        is_share = isinstance(value, Quantile)
        tamed.append((name, min(int(value), 3) if is_count else 1.0 if is_share else value))  # type: ignore[arg-type]
    return tuple(tamed)


@cache
def _why_refused(model: str, params: tuple[tuple[str, Value], ...]) -> str:
    """Return why a model can't be fitted with parameters that are right one by one, "" if it can."""
    points = np.random.default_rng(0).normal(size=(24, 3))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MODELS[model].build(dict(params)).fit(points)
    except (ValueError, TypeError) as error:
        return str(error).strip().split("\n")[0]
    return ""


def default_models(n: int) -> list[str]:
    """Return what is tried on n points where the user names no models."""
    if n <= _MANY:
        models = ["kmeans", "agglomerative:linkage=ward,average", "hdbscan", "dbscan:min_samples=2,4"]
        return [*models, "gaussianmixture:covariance_type=diag,spherical"]
    if n <= _VERY_MANY:
        models = ["kmeans", "agglomerative:linkage=ward", "hdbscan", "dbscan:min_samples=4"]
        return [*models, "gaussianmixture:covariance_type=diag"]
    return ["minibatchkmeans", "agglomerative:linkage=ward", "gaussianmixture:covariance_type=diag"]


_MANY, _VERY_MANY = 2_000, 20_000
"""Above so many points fewer candidates are tried, and above so many cheaper models only."""


def _default_sizes(model: str, n: int) -> Sequence[Value]:
    """Return the values of the parameter that the number of clusters hangs on."""
    if model == "dbscan":
        return [Quantile(percent) for percent in ((10, 25, 50, 75, 90) if n <= _MANY else (25, 50, 75))]
    if model == "hdbscan":
        sizes = (2, 3, 5, 8, 12, 20) if n <= _MANY else (3, 8, 20)
        return [size for size in sizes if size <= max(2, n // 4)]
    if model == "agglomerative":  # one tree is cut at all of them
        return spread(2, max(2, n // 2), 32)
    return spread(2, max(2, min(round(4 * math.sqrt(n)), n // 2, 1_000)), 16 if n <= _MANY else 8)


def _sizes_of_groups(model: str, n: int) -> Sequence[Value]:
    """Return the same for n points that stand for groups; where it costs nothing, near to n clusters too."""
    if model != "agglomerative":
        return _default_sizes(model, n)
    few = spread(2, max(2, n - 1), 32)
    return sorted({*few, *(max(2, n + 1 - k) for k in few)})


def spread(low: int, high: int, count: int) -> list[int]:
    """Return up to `count` different whole numbers from low to high, each about the same times the last."""
    steps = [low * (high / low) ** (step / (count - 1)) for step in range(count)]
    return list(dict.fromkeys(round(step) for step in steps))
