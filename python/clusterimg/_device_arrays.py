"""Arrays that are on a CUDA device, of any library: seen without a copy, and left where they are.

A library shows such an array by `__cuda_array_interface__` (CuPy, Numba, torch) or by DLPack (those and
more). Both come down to a pointer, a shape and a dtype. What can be reached from the processor is none of
it: NumPy takes that.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import UsageError

__all__ = ["HOW_TO_MOVE", "DeviceArray", "device_array", "is_on_device"]

HOW_TO_MOVE = "move them to the host first: array.cpu().numpy() of torch, cupy.asnumpy(array) of CuPy"

_CUDA = 2  # kDLCUDA; pinned (3) and managed memory (13) can be read by NumPy
_KINDS = {0: "i", 1: "u", 2: "f"}  # kDLInt, kDLUInt, kDLFloat
_DEFAULT_STREAM = 1  # of both interfaces: the one that all others wait for


class DeviceArray:
    """A C-contiguous array on a CUDA device. It holds what owns the memory."""

    __slots__ = ("_kept", "_pointer", "_stream", "dtype", "shape")

    def __init__(
        self, pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int | None, kept: Any
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._pointer, self._stream, self._kept = pointer, stream, kept

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What the CUDA backend takes: version 3, with the stream to wait for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._pointer, False),
            "strides": None,
            "stream": self._stream,
            "version": 3,
        }

    def seen_as(self, dtype: DTypeLike) -> DeviceArray:
        """Return the same memory with rows of another dtype. Raises `UsageError` if it can't be so."""
        wanted = np.dtype(dtype)
        columns, left = divmod(self.shape[-1] * self.dtype.itemsize, wanted.itemsize)
        if left or self._pointer % wanted.itemsize:
            raise UsageError(f"an array on a device can't be seen as {wanted}: it begins at an odd address")
        shape = (*self.shape[:-1], columns)
        return DeviceArray(self._pointer, shape, wanted, self._stream, self._kept)


def is_on_device(values: Any) -> bool:
    """Return whether the values are on a CUDA device."""
    if isinstance(values, np.ndarray | list | tuple):
        return False
    if isinstance(values, DeviceArray):
        return True
    device = getattr(values, "__dlpack_device__", None)  # first: torch can't tell every dtype the other way
    if device is not None:
        return int(device()[0]) == _CUDA
    return hasattr(values, "__cuda_array_interface__")


def device_array(values: Any) -> DeviceArray:
    """Return a view of an array on a device. Raises `UsageError` if it is not C-contiguous."""
    if isinstance(values, DeviceArray):
        return values
    if hasattr(values, "__dlpack__"):  # first: torch tells no stream by the other interface
        return _of_dlpack(values)
    told = values.__cuda_array_interface__
    if told.get("mask") is not None:
        raise UsageError("an array with a mask can't be compared")
    dtype, shape = np.dtype(told["typestr"]), tuple(told["shape"])
    _check_contiguous(shape, told.get("strides"), dtype.itemsize)
    stream = told.get("stream", _DEFAULT_STREAM if told["version"] < 3 else None)
    return DeviceArray(int(told["data"][0] or 0), shape, dtype, stream, values)


def _check_contiguous(shape: tuple[int, ...], strides: Any, step: int) -> None:
    """Raise `UsageError` unless the strides are those of a C-contiguous array; `step` is of its last axis."""
    if strides is None or 0 in shape:
        return
    for n, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if n > 1 and stride != step:
            raise UsageError(f"an array on a device must be C-contiguous, got {shape} with strides {strides}")
        step *= n


# --- DLPack: https://dmlc.github.io/dlpack/latest/c_api.html ---


class _Tensor(ctypes.Structure):
    """The beginning of a DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _of_dlpack(values: Any) -> DeviceArray:
    """Return a view of what a DLPack capsule tells; the capsule is kept, and never consumed."""
    capsule = values.__dlpack__(stream=_DEFAULT_STREAM)  # which from here on waits for what fills the array
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    if tensor.lanes != 1 or tensor.code not in _KINDS or tensor.bits % 8:
        raise UsageError("an array on a device must be of whole numbers or float")
    dtype = np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    shape = tuple(tensor.shape[k] for k in range(tensor.ndim))
    strides = tuple(tensor.strides[k] for k in range(tensor.ndim)) if tensor.strides else None
    _check_contiguous(shape, strides, 1)
    address = (tensor.data or 0) + tensor.byte_offset
    return DeviceArray(address, shape, dtype, _DEFAULT_STREAM, (values, capsule))
