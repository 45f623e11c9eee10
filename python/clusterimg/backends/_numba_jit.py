"""How functions are compiled with Numba, and what their arguments must look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["compiled", "fixed", "popcount"]


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function compiled at its first call, and kept on the disk for later processes.

    It runs without the GIL, so that Python threads share the work. No `fastmath`: LLVM then neither
    reorders nor contracts float operations. NumPy's rules of division, which raise nothing, let it use
    vectors. Where no cache folder can be written it is compiled in each process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache
        return njit(**options)(function)


def fixed(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view: one type for arrays that may be written and for those that may not."""
    view = array.view()
    view.flags.writeable = False
    return view


def _popcount(_: Any, word: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


popcount: Any = intrinsic(_popcount)
"""The number of set bits of a uint64: LLVM's own operation, which it can use on vectors."""
