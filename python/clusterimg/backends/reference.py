"""The libraries that define the methods, called pair by pair: slow, readable, the oracle of the tests.

scikit-image scores SSIM, ImageHash counts Hamming distances, OpenCV matches templates and
descriptors, datasketch compares signatures, SciPy finds components. A float score within its
tolerance of the threshold, and every score that an edge carries, comes from the canonical formulas
at the end of this file, which the compiled core holds too, bit for bit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from .._types import EDGE_DTYPE, Ragged
from ._cosine import cosine_edges as cosine_edges  # functions of a backend
from ._cosine import cosine_matrix as cosine_matrix
from ._cosine import cosine_scores as cosine_scores

NAME = "reference"

Values: TypeAlias = NDArray[Any] | Ragged
Edges: TypeAlias = NDArray[np.void]
Matrix: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Score: TypeAlias = Callable[[Any, Any], float]
Progress: TypeAlias = Callable[[int], None] | None
Rule: TypeAlias = Literal["absolute", "relative", "ratio"]

SSIM_TOLERANCE = 1e-6
TEMPLATE_TOLERANCE = 1e-5


def why_unavailable() -> str | None:
    """Return None if the defining libraries are installed, else which are missing."""
    modules = {"skimage": "scikit-image", "imagehash": "ImageHash", "datasketch": "datasketch"}
    missing = [name for module, name in modules.items() if importlib.util.find_spec(module) is None]
    return f"needs {', '.join(missing)}: pip install 'clusterimg[reference]'" if missing else None


def isa() -> str:
    """Return what runs: these are other libraries' builds."""
    return "libraries"


def resolve_threads(n_threads: int) -> int:
    """Return 1: pairs are scored one after another."""
    return 1


# --- the kernels: each is a score of two items, and how to list pairs by it ---


def ssim_edges(images: Values, others: Values | None = None, **options: Any) -> Edges:
    """Return the pairs whose mean SSIM is above `threshold`."""
    return _edges(images, others, _ssim, canonical=canonical_ssim, tolerance=SSIM_TOLERANCE, **options)


def ssim_matrix(images: Values, others: Values | None = None, **options: Any) -> Matrix:
    """Return mean SSIM of all pairs; -inf where shapes differ."""
    return _matrix(images, others, _ssim, **options)


def ssim_scores(images: Values, others: Values | None = None, **options: Any) -> Scores:
    """Return the canonical mean SSIM of listed pairs."""
    return _scores(images, others, canonical_ssim, **options)


def template_edges(images: Values, others: Values | None = None, **options: Any) -> Edges:
    """Return the pairs whose template matching score is above `threshold`."""
    return _edges(
        images, others, _template, canonical=canonical_template, tolerance=TEMPLATE_TOLERANCE, **options
    )


def template_matrix(images: Values, others: Values | None = None, **options: Any) -> Matrix:
    """Return template matching scores of all pairs; -inf where neither fits inside the other."""
    return _matrix(images, others, _template, **options)


def template_scores(images: Values, others: Values | None = None, **options: Any) -> Scores:
    """Return the canonical template matching scores of listed pairs."""
    return _scores(images, others, canonical_template, **options)


def hamming_edges(codes: Values, others: Values | None = None, **options: Any) -> Edges:
    """Return the pairs whose share of equal bits is above `threshold`."""
    return _edges(_hashes(codes), _hashes(others), _hamming, **options)


def hamming_matrix(codes: Values, others: Values | None = None, **options: Any) -> Matrix:
    """Return the shares of equal bits of all pairs."""
    return _matrix(_hashes(codes), _hashes(others), _hamming, **options)


def hamming_scores(codes: Values, others: Values | None = None, **options: Any) -> Scores:
    """Return the shares of equal bits of listed pairs."""
    return _scores(_hashes(codes), _hashes(others), _hamming, **options)


def signature_edges(signatures: Values, others: Values | None = None, **options: Any) -> Edges:
    """Return the pairs whose share of equal slots is above `threshold`."""
    return _edges(_minhashes(signatures), _minhashes(others), _jaccard, **options)


def signature_matrix(signatures: Values, others: Values | None = None, **options: Any) -> Matrix:
    """Return the shares of equal slots of all pairs."""
    return _matrix(_minhashes(signatures), _minhashes(others), _jaccard, **options)


def signature_scores(signatures: Values, others: Values | None = None, **options: Any) -> Scores:
    """Return the shares of equal slots of listed pairs."""
    return _scores(_minhashes(signatures), _minhashes(others), _jaccard, **options)


def descriptor_edges(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Edges:
    """Return the pairs whose share of good cross-checked matches is above `threshold`."""
    return _edges(descriptors, others, _match_share(rule, max_distance), **options)


def descriptor_matrix(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Matrix:
    """Return the shares of good cross-checked matches of all pairs."""
    return _matrix(descriptors, others, _match_share(rule, max_distance), **options)


def descriptor_scores(
    descriptors: Ragged, others: Ragged | None = None, *, rule: Rule, max_distance: int, **options: Any
) -> Scores:
    """Return the shares of good cross-checked matches of listed pairs."""
    return _scores(descriptors, others, _match_share(rule, max_distance), **options)


def components(edges: Edges, n_images: int) -> NDArray[np.int32]:
    """Return component labels by first appearance, -1 where an image has no edge."""
    sparse = require("scipy.sparse", extra="reference")
    csgraph = require("scipy.sparse.csgraph", extra="reference")
    ones = np.ones(len(edges), bool)
    graph = sparse.coo_matrix((ones, (edges["i"], edges["j"])), shape=(n_images, n_images))
    _, component = csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(component, minlength=n_images)
    labels = np.full(n_images, -1, np.int32)
    clustered = np.flatnonzero(sizes[component] > 1)
    _, first, inverse = np.unique(component[clustered], return_index=True, return_inverse=True)
    labels[clustered] = np.argsort(np.argsort(first))[inverse]
    return labels


def phash(grey: NDArray[np.uint8], *, hash_size: int, highfreq_factor: int) -> tuple[NDArray[np.uint64], int]:
    """Return ImageHash's phash in 64-bit words, ties cleared, and the number of ties."""
    from PIL import Image

    imagehash = require("imagehash", extra="reference")
    fftpack = require("scipy.fftpack", extra="reference")
    size = hash_size * highfreq_factor
    height, width = grey.shape
    # Pillow 13's order of the passes, spelt out so that every Pillow gives the same pixels.
    tall = height > size and height - size > 2 * (width - size)
    between = (width, size) if tall else (size, height)
    image = Image.fromarray(grey)
    for shape in (between, (size, size)):
        image = image.resize(shape, Image.Resampling.LANCZOS)
    bits = imagehash.phash(image, hash_size=hash_size, highfreq_factor=highfreq_factor).hash
    low = fftpack.dct(fftpack.dct(np.asarray(image), axis=0), axis=1)[:hash_size, :hash_size]
    ties = np.abs(low - np.median(low)) <= 1e-9 * np.abs(low).max()
    packed = np.packbits(bits & ~ties, bitorder="little").view("<u8").astype(np.uint64)
    return packed, int(ties.sum())


# --- two items by the defining library ---


def _ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    if a.shape != b.shape:
        return -np.inf
    return float(require("skimage.metrics", extra="reference").structural_similarity(a, b))


def _template(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    import cv2

    image, templ = _larger_first(a, b)
    if image is None:
        return -np.inf
    errors = cv2.matchTemplate(image, templ, cv2.TM_SQDIFF_NORMED)
    windows = np.lib.stride_tricks.sliding_window_view(image, templ.shape)
    if not templ.any():  # where the norm is 0 OpenCV says 1, even for black on black
        errors[~windows.any(axis=(2, 3))] = 0
    return 1.0 - float(errors.min())


def _hamming(a: Any, b: Any) -> float:
    n_bits = int(a.hash.size)
    return (n_bits - int(a - b)) / n_bits


def _jaccard(a: Any, b: Any) -> float:
    return float(a.jaccard(b))


def _match_share(rule: Rule, max_distance: int) -> Score:
    import cv2

    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    neighbours = cv2.BFMatcher(cv2.NORM_HAMMING)

    def second_nearest(a: Any, b: Any) -> NDArray[np.int64]:
        """Return the distance to the second nearest of b for each of a; -1 without one."""
        pairs = neighbours.knnMatch(a, b, k=2)
        return np.array([int(pair[1].distance) if len(pair) == 2 else -1 for pair in pairs])

    def share(a: NDArray[Any], b: NDArray[Any]) -> float:
        if not (len(a) and len(b)):
            return 0.0
        a, b = a.view(np.uint8), b.view(np.uint8)
        matches = matcher.match(a, b)
        distances = np.array([int(match.distance) for match in matches])
        if rule == "absolute":
            good = distances <= max_distance
        elif rule == "relative":
            good = 4 * distances < 3 * distances.max()
        else:
            from_a = second_nearest(a, b)[[match.queryIdx for match in matches]]
            from_b = second_nearest(b, a)[[match.trainIdx for match in matches]]
            good = 4 * distances <= 3 * np.minimum(from_a, from_b)
        return int(good.sum()) / len(distances)

    return share


def _hashes(codes: Any) -> Any:
    if codes is None:
        return None
    imagehash = require("imagehash", extra="reference")
    bits = np.unpackbits(codes.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    return [imagehash.ImageHash(row.astype(bool)) for row in bits]


def _minhashes(signatures: Any) -> Any:
    if signatures is None:
        return None
    minhash = require("datasketch", extra="reference").MinHash
    return [minhash(hashvalues=row, scheme="affine32") for row in signatures]


# --- lists of pairs ---


def _pairs(values: Any, others: Any) -> Iterator[tuple[int, int]]:
    for i in range(len(values)):
        for j in range(i + 1, len(values)) if others is None else range(len(others)):
            yield i, j


def _edges(
    values: Any,
    others: Any,
    score: Score,
    *,
    threshold: float,
    canonical: Score | None = None,
    tolerance: float = 0.0,
    n_threads: int = 0,
    progress: Progress = None,
) -> Edges:
    """Return the pairs above the threshold; near it, the canonical score decides."""
    found = []
    right = values if others is None else others
    for done, (i, j) in enumerate(_pairs(values, others)):
        value = score(values[i], right[j])
        if canonical is not None and value > threshold - tolerance:
            value = canonical(values[i], right[j])
        if value > threshold:
            found.append((i, j, value))
        if progress is not None and done % 1000 == 999:
            progress(done)
    return np.array(found, EDGE_DTYPE)


def _matrix(
    values: Any, others: Any, score: Score, *, n_threads: int = 0, progress: Progress = None
) -> Matrix:
    right = values if others is None else others
    rows = [[score(a, b) for b in right] for a in (values[k] for k in range(len(values)))]
    return np.array(rows, np.float32).reshape(len(values), len(right))


def _scores(
    values: Any,
    others: Any,
    score: Score,
    *,
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    n_threads: int = 0,
    progress: Progress = None,
) -> Scores:
    right = values if others is None else others
    return np.array([score(values[p], right[q]) for p, q in zip(i, j, strict=True)], np.float64)


# --- the canonical scores: exact integer sums, then one float64 formula in one order ---


def canonical_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the mean SSIM that decides at a threshold (formula in csrc/kernels/ssim.hpp)."""
    if a.shape != b.shape:
        return -np.inf
    x, y = a.astype(np.int64), b.astype(np.int64)
    sa, sb, saa, sbb, sab = (_window_sums(p, (7, 7)) for p in (x, y, x * x, y * y, x * y))
    c1 = (0.01 * 255) * (0.01 * 255) * (49 * 49)
    c2 = (0.03 * 255) * (0.03 * 255) * (49 * 48)
    above = (2.0 * (sa * sb) + c1) * (2.0 * (49 * sab - sa * sb) + c2)
    below = ((sa * sa + sb * sb) + c1) * (((49 * saa - sa * sa) + (49 * sbb - sb * sb)) + c2)
    scores = above / below
    # Added down each column of windows, then along the row: NumPy's own sum has another order.
    columns = np.zeros(scores.shape[1])
    for row in scores:
        columns += row
    return float(np.cumsum(columns)[-1] / scores.size)


def canonical_template(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the template score that decides at a threshold (csrc/kernels/template.hpp)."""
    image, templ = _larger_first(a, b)
    if image is None:
        return -np.inf
    x, t = image.astype(np.int64), templ.astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(x, t.shape)
    dot = np.einsum("yxuv,uv->yx", windows, t)
    patch_energy, templ_energy = _window_sums(x * x, t.shape), (t * t).sum()
    distance = (templ_energy + patch_energy - 2 * dot).astype(np.float64)
    norm = np.sqrt(np.float64(templ_energy) * patch_energy.astype(np.float64))
    flat = norm == 0
    error = np.where(flat, distance != 0, distance / np.where(flat, 1, norm))
    return float(1.0 - min(1.0, error.min()))


def _larger_first(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[Any, Any]:
    """Return the image and the template that fits inside it, or two None."""
    if b.shape[0] <= a.shape[0] and b.shape[1] <= a.shape[1]:
        return a, b
    if a.shape[0] <= b.shape[0] and a.shape[1] <= b.shape[1]:
        return b, a
    return None, None


def _window_sums(values: NDArray[np.int64], window: tuple[int, ...]) -> NDArray[np.int64]:
    """Return exact sums over all windows inside the image."""
    integral = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    h, w = window
    sums: NDArray[np.int64] = integral[h:, w:] - integral[:-h, w:] - integral[h:, :-w] + integral[:-h, :-w]
    return sums
