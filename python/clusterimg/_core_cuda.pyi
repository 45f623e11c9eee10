"""Types of the CUDA backend's module, which is there only where it was built (CLUSTERIMG_CUDA).

Arrays must be C-contiguous and of exactly these dtypes. They are NumPy's, or of a library that shows where
on a CUDA device they are, by `__cuda_array_interface__` or DLPack.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._device_arrays import DeviceArray

_Progress = Callable[[int], None] | None
_Devices = Sequence[int] | None
_Codes = NDArray[np.uint64] | DeviceArray
_Signatures = NDArray[np.uint32] | DeviceArray
_Images = NDArray[np.uint8] | DeviceArray
_Ragged = tuple[_Images, NDArray[np.int64], NDArray[np.int32]]
_Descriptors = tuple[_Codes, NDArray[np.int64]]
_Edges = NDArray[np.void]
_Matrix = NDArray[np.float32]
_Labels = NDArray[np.int32]

class DeviceFailure(RuntimeError): ...

def hamming_edges(
    codes: _Codes,
    others: _Codes | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Edges: ...
def hamming_components(
    codes: _Codes,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Labels: ...
def hamming_matrix(
    codes: _Codes,
    others: _Codes | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
) -> _Matrix: ...
def signature_edges(
    signatures: _Signatures,
    others: _Signatures | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Edges: ...
def signature_components(
    signatures: _Signatures,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Labels: ...
def signature_matrix(
    signatures: _Signatures,
    others: _Signatures | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
) -> _Matrix: ...
def ssim_edges(
    images: _Images,
    others: _Images | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Edges: ...
def ssim_components(
    images: _Images,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Labels: ...
def ssim_matrix(
    images: _Images,
    others: _Images | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
) -> _Matrix: ...
def template_edges(
    images: _Images,
    others: _Images | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Edges: ...
def template_components(
    images: _Images,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Labels: ...
def template_matrix(
    images: _Images,
    others: _Images | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
) -> _Matrix: ...
def sliding_edges(
    images: _Ragged,
    others: _Ragged | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Edges: ...
def sliding_components(
    images: _Ragged,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
) -> _Labels: ...
def sliding_matrix(
    images: _Ragged,
    others: _Ragged | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
) -> _Matrix: ...
def descriptor_edges(
    descriptors: _Descriptors,
    others: _Descriptors | None = None,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
    rule: str,
    max_distance: int,
) -> _Edges: ...
def descriptor_components(
    descriptors: _Descriptors,
    *,
    threshold: float,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    list_capacity: int = 0,
    rule: str,
    max_distance: int,
) -> _Labels: ...
def descriptor_matrix(
    descriptors: _Descriptors,
    others: _Descriptors | None = None,
    *,
    progress: _Progress = None,
    devices: _Devices = None,
    memory: int = 0,
    rule: str,
    max_distance: int,
) -> _Matrix: ...
def device_count() -> int: ...
def why() -> str | None: ...
def devices() -> list[dict[str, Any]]: ...
def versions() -> dict[str, Any]: ...
def last_run() -> list[dict[str, Any]]: ...
