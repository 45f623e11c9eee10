"""Types of the compiled core. Arrays must be C-contiguous and of exactly these dtypes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_Progress = Callable[[int], None] | None
_Codes = NDArray[np.uint64]
_Signatures = NDArray[np.uint32]
_Images = NDArray[np.uint8]
_Ragged = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]
_Descriptors = tuple[NDArray[np.uint64], NDArray[np.int64]]
_Index = NDArray[np.int32]
_Edges = NDArray[np.void]
_Matrix = NDArray[np.float32]
_Scores = NDArray[np.float64]
_Labels = NDArray[np.int32]

openmp: bool

def hamming_edges(
    codes: _Codes,
    others: _Codes | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def hamming_edges_as(
    codes: _Codes,
    others: _Codes | None = None,
    *,
    threshold: float,
    look: str,
    depth: int = 0,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def hamming_components(
    codes: _Codes, *, threshold: float, n_threads: int = 0, progress: _Progress = None
) -> _Labels: ...
def hamming_plan(codes: _Codes, others: _Codes | None = None, *, threshold: float) -> str: ...
def hamming_matrix(
    codes: _Codes, others: _Codes | None = None, *, n_threads: int = 0, progress: _Progress = None
) -> _Matrix: ...
def hamming_scores(
    codes: _Codes,
    others: _Codes | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Scores: ...
def signature_edges(
    signatures: _Signatures,
    others: _Signatures | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def signature_components(
    signatures: _Signatures, *, threshold: float, n_threads: int = 0, progress: _Progress = None
) -> _Labels: ...
def signature_matrix(
    signatures: _Signatures,
    others: _Signatures | None = None,
    *,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Matrix: ...
def signature_scores(
    signatures: _Signatures,
    others: _Signatures | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Scores: ...
def ssim_edges(
    images: _Images,
    others: _Images | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def ssim_components(
    images: _Images, *, threshold: float, n_threads: int = 0, progress: _Progress = None
) -> _Labels: ...
def ssim_losses(images: _Images) -> NDArray[np.float64]: ...
def ssim_matrix(
    images: _Images, others: _Images | None = None, *, n_threads: int = 0, progress: _Progress = None
) -> _Matrix: ...
def ssim_scores(
    images: _Images,
    others: _Images | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Scores: ...
def template_edges(
    images: _Images,
    others: _Images | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def template_components(
    images: _Images, *, threshold: float, n_threads: int = 0, progress: _Progress = None
) -> _Labels: ...
def template_matrix(
    images: _Images, others: _Images | None = None, *, n_threads: int = 0, progress: _Progress = None
) -> _Matrix: ...
def template_scores(
    images: _Images,
    others: _Images | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Scores: ...
def sliding_edges(
    images: _Ragged,
    others: _Ragged | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Edges: ...
def sliding_components(
    images: _Ragged, *, threshold: float, n_threads: int = 0, progress: _Progress = None
) -> _Labels: ...
def sliding_matrix(
    images: _Ragged, others: _Ragged | None = None, *, n_threads: int = 0, progress: _Progress = None
) -> _Matrix: ...
def sliding_scores(
    images: _Ragged,
    others: _Ragged | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
) -> _Scores: ...
def sliding_bounds(image: NDArray[np.uint8], templ: NDArray[np.uint8]) -> NDArray[np.float32]: ...
def descriptor_edges(
    descriptors: _Descriptors,
    others: _Descriptors | None = None,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
    rule: str,
    max_distance: int,
) -> _Edges: ...
def descriptor_components(
    descriptors: _Descriptors,
    *,
    threshold: float,
    n_threads: int = 0,
    progress: _Progress = None,
    rule: str,
    max_distance: int,
) -> _Labels: ...
def descriptor_matrix(
    descriptors: _Descriptors,
    others: _Descriptors | None = None,
    *,
    n_threads: int = 0,
    progress: _Progress = None,
    rule: str,
    max_distance: int,
) -> _Matrix: ...
def descriptor_scores(
    descriptors: _Descriptors,
    others: _Descriptors | None = None,
    *,
    i: _Index,
    j: _Index,
    n_threads: int = 0,
    progress: _Progress = None,
    rule: str,
    max_distance: int,
) -> _Scores: ...
def components(edges: _Edges, n_images: int) -> NDArray[np.int32]: ...
def phash(
    grey: NDArray[np.uint8], *, hash_size: int, highfreq_factor: int
) -> tuple[NDArray[np.uint64], int]: ...
def shrink_area(grey: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8] | None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def use_isa(name: str) -> None: ...
def built_isas() -> list[str]: ...
def available_threads() -> int: ...
