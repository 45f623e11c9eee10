"""Arrays that show by DLPack alone where they are."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from clusterimg import _device_arrays

CPU, CUDA = 1, 2


class Capsuled:
    """An array that DLPack says is on a device: in the memory of `owner`, or else in its own, the host's."""

    def __init__(self, values: np.ndarray, kind: int = CUDA, owner: Any = None) -> None:
        self.values, self.kind, self.owner, self.streams = values, kind, owner, list[Any]()
        address = values.ctypes.data if owner is None else owner.__cuda_array_interface__["data"][0]
        strides = [stride // values.itemsize for stride in values.strides]
        self.tensor = _device_arrays._Tensor(
            data=address - 16,
            byte_offset=16,  # from where a library got the memory, say
            device_type=kind,
            ndim=values.ndim,
            code={"i": 0, "u": 1, "f": 2}[values.dtype.kind],
            bits=8 * values.itemsize,
            lanes=1,
            shape=(ctypes.c_int64 * values.ndim)(*values.shape),
            strides=(ctypes.c_int64 * values.ndim)(*strides),
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, *, stream: Any = None) -> Any:
        self.streams.append(stream)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(ctypes.addressof(self.tensor), b"dltensor", None)
