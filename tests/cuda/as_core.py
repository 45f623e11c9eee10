"""What a kernel of the backend cuda finds, against the compiled core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from clusterimg.backends import cpp


def assert_edges(kernel: str, cuda: Any, a: Any, b: Any, threshold: float) -> None:
    name = f"{kernel}_edges"
    np.testing.assert_array_equal(
        getattr(cuda, name)(a, b, threshold=threshold), getattr(cpp, name)(a, b, threshold=threshold)
    )


def assert_components(kernel: str, cuda: Any, a: Any, threshold: float) -> None:
    edges = getattr(cpp, f"{kernel}_edges")(a, threshold=threshold)
    np.testing.assert_array_equal(
        getattr(cuda, f"{kernel}_components")(a, threshold=threshold), cpp.components(edges, len(a))
    )


def assert_joins(kernel: str, cuda: Any, a: Any, b: Any, thresholds: Iterable[float]) -> None:
    """Compare matrices, and edges and, of one set, components at some thresholds."""
    name = f"{kernel}_matrix"
    np.testing.assert_array_equal(getattr(cuda, name)(a, b), getattr(cpp, name)(a, b))
    for threshold in thresholds:
        assert_edges(kernel, cuda, a, b, threshold)
        if b is None:
            assert_components(kernel, cuda, a, threshold)
