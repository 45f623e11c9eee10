"""How functions are compiled with Numba, and what their arguments must look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["add32", "compiled", "fixed", "mul32", "popcount", "sub32"]


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


def _operation(name: str, result: Any, *arguments: Any) -> Any:
    """Return LLVM's operation `name` as a function for compiled code."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return getattr(builder, name)(*values)

    def unary(_: Any, x: Any) -> Any:
        return result(*arguments), code

    def binary(_: Any, x: Any, y: Any) -> Any:
        return result(*arguments), code

    return intrinsic(unary if len(arguments) == 1 else binary)


popcount = _operation("ctpop", types.uint64, types.uint64)
"""The number of set bits of a uint64."""

# Numba widens integers to 64 bits in every sum and product, of which a vector holds half as many.
add32 = _operation("add", types.int32, types.int32, types.int32)
sub32 = _operation("sub", types.int32, types.int32, types.int32)
mul32 = _operation("mul", types.int32, types.int32, types.int32)
