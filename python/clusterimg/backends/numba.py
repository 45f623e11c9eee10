"""Numba twins of the compiled core: the same arrays in, the same edges out, bit for bit.

For machines where the core can't be built. The arithmetic is in `_numba_*.py`, compiled at its first
call and kept in a cache on the disk (`NUMBA_CACHE_DIR`, else beside the package, else the user's own);
nothing of Numba is imported before a kernel is asked for. Shapes and dtypes are those of the core.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from .._types import Ragged
from ._cosine import cosine_edges as cosine_edges  # functions of a backend
from ._cosine import cosine_matrix as cosine_matrix
from ._cosine import cosine_scores as cosine_scores
from ._numba_bands import edges_of, matrix_of, scores_of
from ._numba_bands import resolve_threads as resolve_threads  # one of a backend's functions
from ._ragged import edges_by_shape, matrix_by_shape, scores_by_shape

NAME = "numba"

Edges: TypeAlias = NDArray[np.void]
Matrix: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Images: TypeAlias = NDArray[np.uint8] | Ragged
Rule: TypeAlias = Literal["absolute", "relative", "ratio"]


def why_unavailable() -> str | None:
    """Return None if Numba is installed, else which extra brings it; a broken one raises when it is used."""
    if importlib.util.find_spec("numba") is None:
        return "needs numba: pip install 'clusterimg[numba]'"
    return None


def isa() -> str:
    """Return what compiles, and the processor it compiles for."""
    require("numba", extra="numba")
    target = require("llvmlite.binding", extra="numba").get_host_cpu_name()
    return f"Numba {importlib.metadata.version('numba')} for {target}"


def _joins() -> ModuleType:
    """Return the module of the joins, which imports Numba: only where a kernel is used."""
    require("numba", extra="numba")
    return importlib.import_module("._numba_joins", __package__)


def ssim_edges(images: Images, others: Any = None, *, threshold: float, **options: Any) -> Edges:
    """Return the pairs whose mean SSIM is above `threshold`, with canonical scores."""
    if isinstance(images, Ragged):
        return edges_by_shape(ssim_edges, images, others, threshold=threshold, **options)
    return edges_of(_joins().ssim(images, others, threshold), **options)


def ssim_matrix(images: Images, others: Any = None, **options: Any) -> Matrix:
    """Return mean SSIM of all pairs, within 1e-5; -inf where shapes differ."""
    if isinstance(images, Ragged):
        return matrix_by_shape(ssim_matrix, images, others, **options)
    return matrix_of(_joins().ssim(images, others, None), **options)


def ssim_scores(images: Images, others: Any = None, **options: Any) -> Scores:
    """Return the canonical mean SSIM of listed pairs."""
    if isinstance(images, Ragged):
        return scores_by_shape(ssim_scores, images, others, **options)
    return scores_of(_joins().ssim(images, others, None), **options)


def hamming_edges(codes: Any, others: Any = None, *, threshold: float, **options: Any) -> Edges:
    """Return the pairs whose share of equal bits is above `threshold`."""
    return edges_of(_joins().hamming(codes, others, threshold), **options)


def hamming_matrix(codes: Any, others: Any = None, **options: Any) -> Matrix:
    """Return the shares of equal bits of all pairs."""
    return matrix_of(_joins().hamming(codes, others, None), **options)


def hamming_scores(codes: Any, others: Any = None, **options: Any) -> Scores:
    """Return the shares of equal bits of listed pairs."""
    return scores_of(_joins().hamming(codes, others, None), **options)


def signature_edges(signatures: Any, others: Any = None, *, threshold: float, **options: Any) -> Edges:
    """Return the pairs whose share of equal slots is above `threshold`."""
    return edges_of(_joins().signature(signatures, others, threshold), **options)


def signature_matrix(signatures: Any, others: Any = None, **options: Any) -> Matrix:
    """Return the shares of equal slots of all pairs."""
    return matrix_of(_joins().signature(signatures, others, None), **options)


def signature_scores(signatures: Any, others: Any = None, **options: Any) -> Scores:
    """Return the shares of equal slots of listed pairs."""
    return scores_of(_joins().signature(signatures, others, None), **options)


def template_edges(images: Images, others: Any = None, *, threshold: float, **options: Any) -> Edges:
    """Return the pairs whose template matching score is above `threshold`."""
    join = _joins().sliding if isinstance(images, Ragged) else _joins().template
    return edges_of(join(images, others, threshold), **options)


def template_matrix(images: Images, others: Any = None, **options: Any) -> Matrix:
    """Return template matching scores of all pairs; -inf where neither fits inside the other."""
    join = _joins().sliding if isinstance(images, Ragged) else _joins().template
    return matrix_of(join(images, others, None), **options)


def template_scores(images: Images, others: Any = None, **options: Any) -> Scores:
    """Return the template matching scores of listed pairs."""
    join = _joins().sliding if isinstance(images, Ragged) else _joins().template
    return scores_of(join(images, others, None), **options)


def descriptor_edges(
    descriptors: Ragged,
    others: Ragged | None = None,
    *,
    rule: Rule,
    max_distance: int,
    threshold: float,
    **options: Any,
) -> Edges:
    """Return the pairs whose share of good cross-checked matches is above `threshold`."""
    return edges_of(_joins().descriptor(descriptors, others, threshold, rule, max_distance), **options)


def descriptor_matrix(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Matrix:
    """Return the shares of good cross-checked matches of all pairs."""
    return matrix_of(_joins().descriptor(descriptors, others, None, rule, max_distance), **options)


def descriptor_scores(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Scores:
    """Return the shares of good cross-checked matches of listed pairs."""
    return scores_of(_joins().descriptor(descriptors, others, None, rule, max_distance), **options)


def components(edges: Edges, n_images: int) -> NDArray[np.int32]:
    """Return component labels by first appearance, -1 where an image has no edge."""
    labels: NDArray[np.int32] = _joins().components(edges, n_images)
    return labels


def phash(grey: NDArray[np.uint8], *, hash_size: int, highfreq_factor: int) -> tuple[NDArray[np.uint64], int]:
    """Return the phash bits (hash_size^2 / 64,) row-major, low bit first, and the number of ties."""
    require("numba", extra="numba")
    passes = importlib.import_module("._numba_phash", __package__)
    small = passes.resize_square(grey, hash_size * highfreq_factor)
    low = passes.low_frequencies(small, hash_size).reshape(-1)
    ordered, middle = np.sort(low), len(low) // 2
    median = (ordered[middle - 1] + ordered[middle]) / 2
    band = 1e-9 * np.abs(low).max()
    above = low - median
    bits = above > band
    packed = np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)
    return packed, int(np.count_nonzero(~bits & (above >= -band)))
