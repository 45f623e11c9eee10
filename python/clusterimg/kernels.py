"""The kernels as library functions, on plain arrays.

Five kernels, each as `*_edges` (the pairs above a threshold, any number of images) and `*_matrix`
(all scores, dense float32, for few images):

    ssim         mean structural similarity of grey images                    [-1, 1]
    hamming      share of equal bits of binary codes                          [0, 1]
    template     1 - error of the best template match of grey images          [0, 1]
    descriptor   share of good cross-checked matches of ORB descriptors       [0, 1]
    signature    share of equal slots of MinHash signatures                   [0, 1]

Edges are exact on every backend: a structured array `i <i4, j <i4, score <f8` with `i < j`, sorted by
`(i, j)`, of the pairs whose score is strictly above the threshold. A matrix may differ from the exact
scores by its tolerance (1e-5 for ssim and template, float32 rounding for the others): decide with
`*_edges`, never with a matrix.

Inputs may be on a CUDA device, as arrays of torch, CuPy or any library with DLPack or
`__cuda_array_interface__` (within a `Ragged`: its values): they stay there, and `auto` means `cuda` for them.

All functions take `n_threads` (0: all cores this process may use) and `backend` (`cpp`, `cuda`, `numba`,
`reference`, or `auto`: `cpp`, and `cuda` where a device is likely to be faster), never change their inputs,
and raise `UsageError` for wrong shapes or dtypes. With `others` they compare two sets: `i` indexes the
first, `j` the second.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._device_arrays import DeviceArray, device_array, is_on_device
from ._types import Ragged, no_edges
from .backends import select
from .clustering import components
from .errors import UsageError

__all__ = [
    "Ragged",
    "components",
    "descriptor_edges",
    "descriptor_matrix",
    "hamming_edges",
    "hamming_matrix",
    "signature_edges",
    "signature_matrix",
    "ssim_edges",
    "ssim_matrix",
    "template_edges",
    "template_matrix",
]

Edges = NDArray[np.void]
Matrix = NDArray[np.float32]
Images = ArrayLike | Ragged


def ssim_edges(
    images: Images,
    others: Images | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    backend: str = "auto",
) -> Edges:
    """Return the pairs of images whose mean SSIM is above the threshold.

    Parameters
    ----------
    images : (n_images, height, width) uint8, or Ragged with shapes
        Grey images, each side at least 7 pixels. Images of unequal size are never similar.
    threshold : float
        In [-1, 1]; similar means a score strictly above it.

    Notes
    -----
    Wang, Bovik, Sheikh and Simoncelli (2004) with a uniform 7 x 7 window and sample covariance:
    scikit-image's `structural_similarity(a, b)` on uint8, within 1e-6.
    """
    return _edges("ssim", _images(images, 7), _images(others, 7), threshold, n_threads, backend)


def ssim_matrix(
    images: Images, others: Images | None = None, *, n_threads: int = 0, backend: str = "auto"
) -> Matrix:
    """Return mean SSIM of all pairs (n, n) or (n, m), float32, within 1e-5; -inf where sizes differ.

    Parameters as for `ssim_edges`.
    """
    return _matrix("ssim", _images(images, 7), _images(others, 7), n_threads, backend)


def template_edges(
    images: Images,
    others: Images | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    backend: str = "auto",
) -> Edges:
    """Return the pairs of images whose best template match scores above the threshold.

    Parameters
    ----------
    images : (n_images, height, width) uint8, or Ragged with shapes
        Grey images. Of two sizes the smaller slides inside the larger; where neither fits inside the
        other the score is -inf.
    threshold : float
        In [0, 1]; similar means a score strictly above it.

    Notes
    -----
    1 - the least TM_SQDIFF_NORMED of OpenCV's `matchTemplate`, within 1e-5; at a position where the
    norm is 0 the error is 0 if patch and template are equal, else 1.
    """
    return _edges("template", _images(images, 1), _images(others, 1), threshold, n_threads, backend)


def template_matrix(
    images: Images, others: Images | None = None, *, n_threads: int = 0, backend: str = "auto"
) -> Matrix:
    """Return template matching scores of all pairs (n, n) or (n, m), float32; -inf where neither fits.

    Parameters as for `template_edges`.
    """
    return _matrix("template", _images(images, 1), _images(others, 1), n_threads, backend)


def hamming_edges(
    codes: ArrayLike,
    others: ArrayLike | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    backend: str = "auto",
) -> Edges:
    """Return the pairs of codes whose share of equal bits is above the threshold.

    Parameters
    ----------
    codes : (n_images, n_words) uint64
        Bit rows, 64 * n_words bits each.
    threshold : float
        In [0, 1]. A distance of at most d bits is a threshold just below `1 - d / bits`, such as
        `1 - (d + 0.5) / bits`.
    """
    left, right = _rows(codes, "codes", np.uint64), _rows(others, "others", np.uint64)
    return _edges("hamming", left, right, threshold, n_threads, backend)


def hamming_matrix(
    codes: ArrayLike, others: ArrayLike | None = None, *, n_threads: int = 0, backend: str = "auto"
) -> Matrix:
    """Return the shares of equal bits of all pairs (n, n) or (n, m), float32.

    Parameters as for `hamming_edges`.
    """
    left, right = _rows(codes, "codes", np.uint64), _rows(others, "others", np.uint64)
    return _matrix("hamming", left, right, n_threads, backend)


def signature_edges(
    signatures: ArrayLike,
    others: ArrayLike | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    backend: str = "auto",
) -> Edges:
    """Return the pairs of MinHash signatures whose share of equal slots is above the threshold.

    Parameters
    ----------
    signatures : (n_images, n_slots) uint32
        Such as the `hashvalues` of datasketch's `MinHash(128)`.
    threshold : float
        In [0, 1].
    """
    left, right = _rows(signatures, "signatures", np.uint32), _rows(others, "others", np.uint32)
    return _edges("signature", left, right, threshold, n_threads, backend)


def signature_matrix(
    signatures: ArrayLike, others: ArrayLike | None = None, *, n_threads: int = 0, backend: str = "auto"
) -> Matrix:
    """Return the shares of equal slots of all pairs (n, n) or (n, m), float32.

    Parameters as for `signature_edges`.
    """
    left, right = _rows(signatures, "signatures", np.uint32), _rows(others, "others", np.uint32)
    return _matrix("signature", left, right, n_threads, backend)


def descriptor_edges(
    descriptors: Ragged,
    others: Ragged | None = None,
    *,
    threshold: float,
    rule: Literal["ratio", "absolute", "relative"] = "ratio",
    max_distance: int = 40,
    n_threads: int = 0,
    backend: str = "auto",
) -> Edges:
    """Return the pairs of images whose share of good cross-checked matches is above the threshold.

    Parameters
    ----------
    descriptors : Ragged of (total, 32) uint8
        Binary descriptors of 256 bits, such as those of `cv2.ORB`; fewer than 2^20 an image.
    threshold : float
        In [0, 1]. Without a match the score is 0.
    rule : str
        What makes a match good. `ratio`: a distance of at most 3/4 of that to the second nearest, on
        both sides (Lowe 2004); `absolute`: of at most `max_distance` bits; `relative`: below 3/4 of
        the largest distance of the pair's matches.

    Notes
    -----
    Matches are those of `cv2.BFMatcher(NORM_HAMMING, crossCheck=True)`.
    """
    sets = _descriptors(descriptors, "descriptors"), _descriptors(others, "others")
    return _edges("descriptor", *sets, threshold, n_threads, backend, **_match_rule(rule, max_distance))


def descriptor_matrix(
    descriptors: Ragged,
    others: Ragged | None = None,
    *,
    rule: Literal["ratio", "absolute", "relative"] = "ratio",
    max_distance: int = 40,
    n_threads: int = 0,
    backend: str = "auto",
) -> Matrix:
    """Return the shares of good cross-checked matches of all pairs (n, n) or (n, m), float32.

    Parameters as for `descriptor_edges`.
    """
    sets = _descriptors(descriptors, "descriptors"), _descriptors(others, "others")
    return _matrix("descriptor", *sets, n_threads, backend, **_match_rule(rule, max_distance))


# --- inputs, as the backends take them ---


def _edges(
    kernel: str, values: Any, others: Any, threshold: float, n_threads: int, backend: str, **options: Any
) -> Edges:
    if math.isnan(threshold):
        raise UsageError("threshold must be a number, got nan")
    _check_alike(values, others)
    engine = select(backend, n_threads=n_threads)
    if not len(values) or (others is not None and not len(others)):
        return no_edges()
    return engine.edges(kernel, values, others, threshold=threshold, **options)


def _matrix(kernel: str, values: Any, others: Any, n_threads: int, backend: str, **options: Any) -> Matrix:
    _check_alike(values, others)
    engine = select(backend, n_threads=n_threads)
    right = values if others is None else others
    if not len(values) or not len(right):
        return np.empty((len(values), len(right)), np.float32)
    return engine.matrix(kernel, values, others, **options)


def _check_alike(values: Any, others: Any) -> None:
    if others is None:
        return
    if isinstance(values, Ragged) != isinstance(others, Ragged):
        raise UsageError("others must be of the kind of the first set: both arrays or both Ragged")
    if not isinstance(values, Ragged) and values.shape[1:] != others.shape[1:]:
        raise UsageError(f"others must have shape (n, {values.shape[1:]}), got {others.shape}")


def _array(values: Any, name: str, dtype: Any, ndim: int, shape: str) -> Any:
    wanted = np.dtype(dtype)
    if is_on_device(values):
        array: Any = device_array(values)
        if array.dtype.kind == "i" and array.dtype.itemsize == wanted.itemsize > 1:  # torch prefers these
            array = array.seen_as(wanted)
    else:
        array = np.asarray(values)
    if array.dtype != wanted:
        raise UsageError(f"{name} must be {wanted.name}, got {array.dtype}")
    if array.ndim != ndim:
        raise UsageError(f"{name} must have shape {shape}, got {array.shape}")
    if isinstance(array, DeviceArray):
        return array
    return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _rows(values: ArrayLike | None, name: str, dtype: Any) -> Any:
    if values is None:
        return None
    rows = _array(values, name, dtype, 2, "(n_images, n)")
    if not rows.shape[1]:
        raise UsageError(f"{name} must have at least one column, got {rows.shape}")
    return rows


def _images(images: Any, least: int) -> Any:
    if images is None:
        return None
    if not isinstance(images, Ragged):
        images = _array(images, "images", np.uint8, 3, "(n_images, height, width)")
        sides = np.array([images.shape[1:]])
    elif images.shapes is None or images.values.dtype != np.uint8 or images.values.ndim != 1:
        raise UsageError("a Ragged of images must hold flat uint8 pixels and shapes")
    else:
        sides = images.shapes
    if len(images) and sides.min() < least:
        raise UsageError(f"images must be at least {least} pixels a side, got {tuple(sides.min(axis=0))}")
    return images


def _descriptors(descriptors: Ragged | None, name: str) -> Any:
    if descriptors is None:
        return None
    if not isinstance(descriptors, Ragged):
        raise UsageError(f"{name} must be Ragged, got {type(descriptors).__name__}")
    values = _array(descriptors.values, name, np.uint8, 2, "(total, 32)")
    if values.shape[1] != 32:
        raise UsageError(f"{name} must have shape (total, 32), got {values.shape}")
    return Ragged(values, descriptors.offsets)


def _match_rule(rule: str, max_distance: int) -> dict[str, Any]:
    if rule not in ("ratio", "absolute", "relative"):
        raise UsageError(f"rule must be ratio, absolute or relative, got {rule!r}")
    if not isinstance(max_distance, int) or not 0 <= max_distance <= 256:
        raise UsageError(f"max_distance must be a whole number from 0 to 256, got {max_distance}")
    return {"rule": rule, "max_distance": max_distance}
