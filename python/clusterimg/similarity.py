"""Library calls: from images to features, scores, similar pairs and clusters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ._asked_methods import method_asked, method_of
from ._types import EDGE_DTYPE, Features
from .backends import Engine, select
from .clustering import ImagePairs, check_linkage, known_of, linked
from .errors import UsageError
from .extraction import extract_images
from .images import policy
from .methods import Classic, create_all

__all__ = ["cluster", "extract", "similar_pairs", "similarity_matrix"]

Image = NDArray[np.uint8] | str | os.PathLike[str]
Images = Sequence[Image] | NDArray[np.uint8] | Features


@overload
def extract(
    images: Sequence[Image] | NDArray[np.uint8],
    *,
    method: str = ...,
    size: tuple[int, int] | None = ...,
    scale: float | None = ...,
    hash_size: int | None = ...,
    embedding: Any = ...,
    decode: str = ...,
    backend: str = ...,
    n_threads: int = ...,
    errors: str = ...,
) -> Features: ...


@overload
def extract(
    images: Sequence[Image] | NDArray[np.uint8],
    *,
    method: list[str] | tuple[str, ...],
    size: tuple[int, int] | None = ...,
    scale: float | None = ...,
    hash_size: int | None = ...,
    decode: str = ...,
    backend: str = ...,
    n_threads: int = ...,
    errors: str = ...,
) -> list[Features]: ...


def extract(
    images: Sequence[Image] | NDArray[np.uint8],
    *,
    method: str | list[str] | tuple[str, ...] = "imagehash",
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    embedding: Any = None,
    decode: str = "exact",
    backend: str = "auto",
    n_threads: int = 0,
    errors: str = "raise",
) -> Features | list[Features]:
    """Return the features of images under a method, or under several, to use in several calls.

    Parameters
    ----------
    images : sequence of paths or of (height, width) uint8 grey arrays
        Arrays are used at their own size unless `size` or `scale` is given; paths are decoded under
        the image policy and brought to the method's default size.
    method : str, or list or tuple of str
        `ssim`, `minhash`, `imagehash` (`phash`), `orb`, `tm`, or `deep`, which takes colour arrays
        (height, width, 3) too. Several at once, but `deep`, decode each file once, and have what each
        would have alone; an option goes to those that have it.
    size : (width, height)
        Common size; `scale` instead takes each image at that multiple of its own size.
    hash_size : int
        Bits a side of the perceptual hash, a multiple of 8 from 8 to 64.
    embedding : str, path, torch.nn.Module or callable
        Of `deep`: what `deep.embed` takes; `efficientnet-lite0`, if not given.
    decode : str
        `exact`, or `fast`: JPEGs much larger than the method needs are decoded at 1/2, 1/4 or 1/8 of
        their size, which is quicker and changes the features a little; each method at its own size.
    errors : str
        `raise`: an image that can't be used raises `ImageError`; `skip`: it stays in its place and
        has no edges.

    Returns
    -------
    Features, one for each image, in their order; for several methods a list of them, in theirs.
    """
    options = {"size": size, "scale": scale, "hash_size": hash_size}
    if isinstance(method, str):
        return _asked(images, method, options, embedding, None, decode, backend, n_threads, errors).features
    if embedding is not None:
        raise UsageError("embedding is an option of method deep, which can't be one of several")
    if isinstance(images, Features):
        raise UsageError("features are made already, under one method: give several methods images")
    _check(decode, errors)
    methods, engine = create_all(method, **options), select(backend, n_threads=n_threads)
    return _extracted(images, methods, engine, size is not None, decode, errors)


def similarity_matrix(
    images: Images,
    *,
    method: str = "imagehash",
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    orb_rule: str | None = None,
    embedding: Any = None,
    decode: str = "exact",
    backend: str = "auto",
    n_threads: int = 0,
    errors: str = "raise",
) -> NDArray[np.float32]:
    """Return the scores of all pairs (n, n), float32, symmetric: for small n.

    -inf where two images can't be compared: a featureless one with any but its copies, unequal sizes
    under `ssim`, neither fits inside the other under `tm`. Equal images score 1. Parameters as for
    `extract`; `images` may be features.
    """
    options = {"size": size, "scale": scale, "hash_size": hash_size, "orb_rule": orb_rule}
    asked = _asked(images, method, options, embedding, None, decode, backend, n_threads, errors)
    features, chosen = asked.features, asked.method
    matrix = np.full((len(features), len(features)), -np.inf, np.float32)
    known = np.flatnonzero(~features.featureless)
    if len(known):
        matrix[np.ix_(known, known)] = asked.engine.matrix(
            chosen.kernel, features.take_values(known), **chosen.kernel_options
        )
    first = features.first_copies()
    matrix[first[:, None] == first] = 1.0
    return matrix


def similar_pairs(
    images: Images,
    *,
    method: str = "imagehash",
    threshold: float | None = None,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    orb_rule: str | None = None,
    embedding: Any = None,
    decode: str = "exact",
    backend: str = "auto",
    n_threads: int = 0,
    errors: str = "raise",
) -> NDArray[np.void]:
    """Return all pairs of images with a score strictly above the threshold.

    A structured array `i <i4, j <i4, score <f8`, `i < j`, sorted by `(i, j)`; i and j index `images`.
    Without a threshold the method's default holds. Other parameters as for `extract`; `images` may be
    features.
    """
    options = {"size": size, "scale": scale, "hash_size": hash_size, "orb_rule": orb_rule}
    asked = _asked(images, method, options, embedding, threshold, decode, backend, n_threads, errors)
    features = asked.features
    first = features.first_copies()
    unique = (first == np.arange(len(features))) & ~features.featureless
    edges = asked.method.edges(features, asked.engine)
    between = edges[unique[edges["i"]] & unique[edges["j"]]]
    return _for_all_copies(between, first, copies_are_similar=asked.method.threshold < 1.0)


def cluster(
    images: Images,
    *,
    method: str = "imagehash",
    threshold: float | None = None,
    linkage: str = "components",
    must_link: ImagePairs = (),
    cannot_link: ImagePairs = (),
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    hash_size: int | None = None,
    orb_rule: str | None = None,
    embedding: Any = None,
    decode: str = "exact",
    backend: str = "auto",
    n_threads: int = 0,
    errors: str = "raise",
) -> NDArray[np.int32]:
    """Return the cluster of each image (n,), numbered by first appearance, -1 for an outlier.

    Clusters are the connected components of the similar pairs, or what another `linkage` makes of them
    under constraints (pairs of indices), as for `link`. Components without constraints take memory by
    the number of images alone. Other parameters as for `similar_pairs`.
    """
    check_linkage(linkage)
    options = {"size": size, "scale": scale, "hash_size": hash_size, "orb_rule": orb_rule}
    asked = _asked(images, method, options, embedding, threshold, decode, backend, n_threads, errors)
    if linkage == "components" and not len(must_link) and not len(cannot_link):
        return asked.method.labels(asked.features, asked.engine)
    n, copies_are_similar = len(asked.features), asked.method.threshold < 1.0
    first = asked.features.first_copies() if copies_are_similar else None
    known = known_of(n, must_link, cannot_link, first)
    return linked(asked.method.edges(asked.features, asked.engine), n, linkage, known, asked.engine)


def _check(decode: str, errors: str) -> None:
    policy(decode)
    if errors not in ("raise", "skip"):
        raise UsageError(f"errors must be raise or skip, got {errors!r}")


@dataclass(frozen=True, slots=True)
class _Asked:
    features: Features
    method: Classic
    engine: Engine


def _asked(
    images: Images,
    method: str,
    options: dict[str, Any],
    embedding: Any,
    threshold: float | None,
    decode: str,
    backend: str,
    n_threads: int,
    errors: str,
) -> _Asked:
    """Return what a call is about: features, the method as asked for, the engine."""
    _check(decode, errors)
    engine = select(backend, n_threads=n_threads)
    if isinstance(images, Features):
        made_so = [name for name in ("size", "scale", "hash_size") if options[name]]
        made_so += ["embedding"] * (embedding is not None) + ["decode"] * (decode != "exact")
        if made_so:
            raise UsageError(f"features are made already: give {', '.join(made_so)} to extract")
        return _Asked(images, method_of(images, threshold, options.get("orb_rule")), engine)
    chosen = method_asked(method, options, embedding, threshold, n_threads)
    [features] = _extracted(images, [chosen], engine, bool(options["size"]), decode, errors)
    return _Asked(features, chosen, engine)


def _extracted(
    images: Sequence[Image] | NDArray[np.uint8],
    methods: Sequence[Classic],
    engine: Engine,
    has_size: bool,
    decode: str,
    errors: str,
) -> list[Features]:
    """Return the features under each method; arrays at their own size, unless one was asked for."""
    if isinstance(images, str | os.PathLike):
        raise UsageError("images must be a sequence of arrays or paths, got one path; for a folder use run")
    of_arrays = methods if has_size else [method.at_own_size() for method in methods]
    return extract_images(images, methods, engine, methods_of_arrays=of_arrays, errors=errors, decode=decode)


def _for_all_copies(
    edges: NDArray[np.void], first: NDArray[np.intp], *, copies_are_similar: bool
) -> NDArray[np.void]:
    """Return edges between first copies repeated for all copies, and those among copies."""
    n = len(first)
    if (first == np.arange(n)).all():
        return edges
    members = np.argsort(first, kind="stable")
    count = np.bincount(first, minlength=n)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    firsts = np.flatnonzero(count > 1) if copies_are_similar else np.empty(0, np.intp)
    left = np.concatenate([edges["i"], firsts])
    right = np.concatenate([edges["j"], firsts])
    score = np.concatenate([edges["score"], np.ones(len(firsts))])
    n_pairs = count[left] * count[right]
    pair = np.repeat(np.arange(len(left)), n_pairs)
    k = np.arange(n_pairs.sum()) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
    i = members[start[left[pair]] + k // count[right[pair]]]
    j = members[start[right[pair]] + k % count[right[pair]]]
    once = (left[pair] != right[pair]) | (i < j)
    spread = np.empty(int(once.sum()), EDGE_DTYPE)
    spread["i"], spread["j"] = np.minimum(i, j)[once], np.maximum(i, j)[once]
    spread["score"] = score[pair][once]
    return spread[np.lexsort((spread["j"], spread["i"]))]
