"""The compiled core: C++ and OpenMP, one build per instruction set, chosen when it is imported."""

from __future__ import annotations

import os
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._types import Ragged
from ..errors import UsageError
from ._cosine import cosine_edges as cosine_edges  # functions of a backend
from ._cosine import cosine_matrix as cosine_matrix
from ._cosine import cosine_scores as cosine_scores
from ._ragged import edges_by_shape, matrix_by_shape, scores_by_shape

try:
    from .. import _core
except ImportError as error:  # no compiled core, or a CPU it can't run on: an ordinary state
    _missing: str | None = f"the compiled core can't be imported: {error}"
else:
    _missing = None
    # Codes and signatures are plain arrays: the core's functions serve as they are.
    hamming_edges, hamming_components = _core.hamming_edges, _core.hamming_components
    hamming_matrix, hamming_scores = _core.hamming_matrix, _core.hamming_scores
    signature_edges, signature_components = _core.signature_edges, _core.signature_components
    signature_matrix, signature_scores = _core.signature_matrix, _core.signature_scores
    hamming_plan = _core.hamming_plan
    components = _core.components
    phash = _core.phash
    shrink_area = _core.shrink_area

NAME = "cpp"

Edges: TypeAlias = NDArray[np.void]
Matrix: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int32]
Images: TypeAlias = NDArray[np.uint8] | Ragged
Rule: TypeAlias = Literal["absolute", "relative", "ratio"]


def _cap_isa(cap: str) -> None:
    """Use the best instruction set of this CPU that is not above `cap`."""
    built = _core.built_isas()
    if cap not in built:
        raise UsageError(f"CLUSTERIMG_ISA must be one of {', '.join(built)}, got {cap}")
    allowed = [name for name in built[: built.index(cap) + 1] if name in _core.isas()]
    _core.use_isa(allowed[-1])


if _missing is None and os.environ.get("CLUSTERIMG_ISA"):
    _cap_isa(os.environ["CLUSTERIMG_ISA"])


def why_unavailable() -> str | None:
    """Return None if the compiled core can run here, else why not."""
    return _missing


def isa() -> str:
    """Return the instruction set in use."""
    return _core.isa()


def resolve_threads(n_threads: int) -> int:
    """Return how many threads `n_threads` stands for; 0 means all this process may use."""
    return n_threads or _core.available_threads() if _core.openmp else 1


def ssim_edges(images: Images, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose mean SSIM is above `threshold`, with canonical scores."""
    if isinstance(images, Ragged):
        return edges_by_shape(_core.ssim_edges, images, others, **options)
    return _core.ssim_edges(images, others, **options)


def ssim_components(images: Images, **options: Any) -> Labels:
    """Return the components of the pairs whose mean SSIM is above `threshold`."""
    if isinstance(images, Ragged):
        return components(ssim_edges(images, **options), len(images))
    return _core.ssim_components(images, **options)


def ssim_matrix(images: Images, others: Any = None, **options: Any) -> Matrix:
    """Return mean SSIM of all pairs, within 1e-5; -inf where shapes differ."""
    if isinstance(images, Ragged):
        return matrix_by_shape(_core.ssim_matrix, images, others, **options)
    return _core.ssim_matrix(images, others, **options)


def ssim_scores(images: Images, others: Any = None, **options: Any) -> Scores:
    """Return the canonical mean SSIM of listed pairs."""
    if isinstance(images, Ragged):
        return scores_by_shape(_core.ssim_scores, images, others, **options)
    return _core.ssim_scores(images, others, **options)


def template_edges(images: Images, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose template matching score is above `threshold`."""
    if isinstance(images, Ragged):
        return _core.sliding_edges(_parts(images), _parts(others), **options)
    return _core.template_edges(images, others, **options)


def template_components(images: Images, **options: Any) -> Labels:
    """Return the components of the pairs whose template matching score is above `threshold`."""
    if isinstance(images, Ragged):
        return _core.sliding_components(_parts(images), **options)
    return _core.template_components(images, **options)


def template_matrix(images: Images, others: Any = None, **options: Any) -> Matrix:
    """Return template matching scores of all pairs; -inf where neither fits inside the other."""
    if isinstance(images, Ragged):
        return _core.sliding_matrix(_parts(images), _parts(others), **options)
    return _core.template_matrix(images, others, **options)


def template_scores(images: Images, others: Any = None, **options: Any) -> Scores:
    """Return the template matching scores of listed pairs."""
    if isinstance(images, Ragged):
        return _core.sliding_scores(_parts(images), _parts(others), **options)
    return _core.template_scores(images, others, **options)


def descriptor_edges(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Edges:
    """Return the pairs whose share of good cross-checked matches is above `threshold`."""
    sets = (_words(descriptors), _words(others))
    return _core.descriptor_edges(*sets, rule=rule, max_distance=max_distance, **options)


def descriptor_components(descriptors: Ragged, *, rule: Rule, max_distance: int, **options: Any) -> Labels:
    """Return the components of the pairs whose share of good matches is above `threshold`."""
    return _core.descriptor_components(_words(descriptors), rule=rule, max_distance=max_distance, **options)


def descriptor_matrix(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Matrix:
    """Return the shares of good cross-checked matches of all pairs."""
    sets = (_words(descriptors), _words(others))
    return _core.descriptor_matrix(*sets, rule=rule, max_distance=max_distance, **options)


def descriptor_scores(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Scores:
    """Return the shares of good cross-checked matches of listed pairs."""
    sets = (_words(descriptors), _words(others))
    return _core.descriptor_scores(*sets, rule=rule, max_distance=max_distance, **options)


def _parts(images: Any) -> Any:
    return None if images is None else (images.values, images.offsets, images.shapes)


def _words(descriptors: Any) -> Any:
    """Return bytes (total, 32) seen as 64-bit words (total, 4), with the offsets."""
    if descriptors is None:
        return None
    words = descriptors.values.view(np.uint64)  # bytes may begin anywhere, words may not
    return np.require(words, requirements=["ALIGNED"]), descriptors.offsets
