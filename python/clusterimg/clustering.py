"""Edges to labels: connected components, stricter linkages, constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._distinct import first_equal
from ._linkage import LEAST_SHARE
from ._nodes import Known, groups_of_images
from ._types import EDGE_DTYPE
from .backends import Engine, select
from .errors import UsageError

__all__ = [
    "LINKAGES",
    "ImagePairs",
    "Known",
    "check_linkage",
    "components",
    "first_members",
    "known_of",
    "link",
    "linked",
    "number_by_appearance",
]

LINKAGES = ("components", *LEAST_SHARE)
"""What `--linkage` takes."""

ImagePairs = Sequence[tuple[int, int]] | NDArray[np.integer[Any]]


def components(edges: ArrayLike, n_images: int, *, backend: str = "auto") -> NDArray[np.int32]:
    """Return the connected component of each image, -1 for an image without an edge.

    Parameters
    ----------
    edges : structured array `i <i4, j <i4, score <f8`
        As `*_edges` return them; the order and the scores play no part.
    n_images : int
        Images are `0 .. n_images - 1`.

    Returns
    -------
    (n_images,) int32, components numbered by first appearance.
    """
    return select(backend).components(_checked(edges, n_images), n_images)


def _checked(edges: ArrayLike, n_images: int) -> NDArray[np.void]:
    if n_images < 0:
        raise UsageError(f"n_images must be 0 or more, got {n_images}")
    array = np.require(edges, requirements=["C_CONTIGUOUS", "ALIGNED"])
    if array.dtype != EDGE_DTYPE or array.ndim != 1:
        raise UsageError(f"edges must be one-dimensional {EDGE_DTYPE}, got {array.dtype} {array.shape}")
    if len(array):
        low, high = min(array["i"].min(), array["j"].min()), max(array["i"].max(), array["j"].max())
        if low < 0 or high >= n_images:
            raise UsageError(f"edges must join images 0 to {n_images - 1}, got {low} to {high}")
    return array


def link(
    edges: ArrayLike,
    n_images: int,
    *,
    linkage: str = "components",
    must_link: ImagePairs = (),
    cannot_link: ImagePairs = (),
    backend: str = "auto",
) -> NDArray[np.int32]:
    """Return the cluster of each image by a linkage and under constraints, -1 for an image alone.

    Parameters
    ----------
    edges : structured array `i <i4, j <i4, score <f8`
        The similar pairs, all of them, in any order; two images without an edge are not similar.
    n_images : int
        Images are `0 .. n_images - 1`.
    linkage : str
        `components`: similar images share a cluster, directly or through others, so chains can form.
        `complete`: all images of a cluster are similar to each other; the two clusters whose weakest
        edge is the strongest are joined first. `average`: of the pairs between two clusters that are
        joined, half or more are similar; the two with the largest share are joined first, of equal
        ones those whose weakest edge is the strongest. Between edges of equal scores the lower `(i, j)`
        decides.
    must_link : pairs of images
        They share a cluster under every linkage, whatever their scores, and so does what they are
        linked with through others. They are together from the start.
    cannot_link : pairs of images
        They never share a cluster: two that hold such a pair are not joined. Under `components` edges
        are taken from the strongest down, and one that would join two such clusters is passed over.

    Returns
    -------
    (n_images,) int32, clusters numbered by first appearance.

    Notes
    -----
    `components` without cannot-links takes no memory for the edges, with them 60 bytes each; the others 200.
    """
    check_linkage(linkage)
    array = _checked(edges, n_images)
    return linked(array, n_images, linkage, known_of(n_images, must_link, cannot_link), select(backend))


def check_linkage(linkage: str) -> None:
    """Raise `UsageError` unless there is such a linkage."""
    if linkage not in LINKAGES:
        raise UsageError(f"linkage must be one of {', '.join(LINKAGES)}, got {linkage!r}")


def known_of(
    n_images: int, must_link: ImagePairs, cannot_link: ImagePairs, first: NDArray[np.intp] | None = None
) -> Known:
    """Return constraints on images given by index, after a check; `first` as in `Known`."""
    known = Known.nothing(n_images)
    must, cannot = (
        _image_pairs(pairs, n_images, name)
        for pairs, name in ((must_link, "must_link"), (cannot_link, "cannot_link"))
    )
    bonds = select().components(_as_edges(must), n_images).astype(np.int64)
    torn = np.flatnonzero((bonds[cannot[:, 0]] == bonds[cannot[:, 1]]) & (bonds[cannot[:, 0]] >= 0))
    if len(torn):
        i, j = cannot[torn[0]].tolist()
        raise UsageError(f"cannot_link holds ({i}, {j}), which must_link joins, directly or through others")
    return Known(bonds, cannot, known.first if first is None else first.astype(np.int64), known.order)


def _image_pairs(pairs: ImagePairs, n_images: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(pairs)
    if not array.size:
        return np.empty((0, 2), np.int64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise UsageError(f"{name} must be pairs of image numbers (m, 2), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= n_images:
        raise UsageError(f"{name} must pair images 0 to {n_images - 1}, got {array.min()} to {array.max()}")
    alone = array[array[:, 0] == array[:, 1]]
    if len(alone):
        raise UsageError(f"{name} must pair two different images, got {alone[0, 0]} with itself")
    return array.astype(np.int64)


def _as_edges(pairs: NDArray[np.int64]) -> NDArray[np.void]:
    edges = np.zeros(len(pairs), EDGE_DTYPE)
    edges["i"], edges["j"] = pairs.T
    return edges


def linked(
    edges: NDArray[np.void], n_images: int, linkage: str, known: Known, engine: Engine
) -> NDArray[np.int32]:
    """Return the labels of images by a linkage, under what is known of them."""
    if linkage == "components" and not len(known.apart):
        bound = np.flatnonzero(known.bonds >= 0)
        must = np.column_stack([bound[first_equal(known.bonds[bound])], bound])
        return engine.components(np.concatenate([edges, _as_edges(must)]), n_images)
    groups = groups_of_images(edges, n_images, linkage, known, engine)
    alone = np.bincount(groups, minlength=n_images)[groups] < 2
    return number_by_appearance(np.where(alone, -1, groups))


def number_by_appearance(groups: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Return the groups renumbered 0, 1, … in the order in which they appear; negative ones are -1."""
    labels = np.full(len(groups), -1, np.int32)
    members = np.flatnonzero(groups >= 0)
    first = first_equal(groups[members])
    labels[members] = (np.cumsum(first == np.arange(len(first))) - 1)[first]
    return labels


def first_members(labels: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Return for each image the first image of its cluster, -1 for an outlier."""
    first = np.full(len(labels), -1, np.intp)
    members = np.flatnonzero(labels >= 0)
    first[members] = members[first_equal(labels[members])]
    return first
