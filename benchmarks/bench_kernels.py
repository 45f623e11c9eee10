"""Every kernel on every backend: groups are a kernel and a number of images, rows are the backends.

One thread is timed by the CPU it takes, more threads by the clock on the wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest

import data
from clusterimg import backends

THREADS = {"cpp": (1, 2), "numba": (1,), "reference": (1,)}

MOST_SECONDS = 4
"""A backend isn't asked for more pairs than it scores in this time."""


@dataclass(frozen=True, eq=False)  # a key of the cache below
class Case:
    """A thresholded join: its items, and about how many pairs a second each backend scores."""

    name: str
    kernel: str
    threshold: float
    items: Callable[[int], Any]
    sizes: tuple[int, ...]
    rates: dict[str, float]

    def edges(self, engine: backends.Engine, items: Any) -> np.ndarray:
        options = {"rule": "ratio", "max_distance": 40} if self.kernel == "descriptor" else {}
        return engine.edges(self.kernel, items, threshold=self.threshold, **options)


CASES = (
    Case(
        "ssim, 64x64, > .63", "ssim", 0.63, lambda n: data.pictures(n, 64), (32, 200, 2000, 8000),
        {"cpp": 3e6, "numba": 1e5, "reference": 3e3},
    ),
    Case(
        "hamming, 64 bits, > .87", "hamming", 0.87, lambda n: data.codes(n, 64), (32, 1000, 10_000, 100_000),
        {"cpp": 1e10, "numba": 3e8, "reference": 1e5},
    ),
    Case(
        "hamming, 256 bits, > .69", "hamming", 0.69, lambda n: data.codes(n, 256), (32, 1000, 10_000, 50_000),
        {"cpp": 1e9, "numba": 1e8, "reference": 1e5},
    ),
    Case(
        "template, 64x64, > .991", "template", 0.991, lambda n: data.pictures(n, 64), (32, 200, 2000, 8000),
        {"cpp": 2e7, "numba": 3e5, "reference": 1e3},
    ),
    Case(
        "descriptor, 500 each, ratio > .3", "descriptor", 0.3, lambda n: data.descriptors(n, 500),
        (8, 32, 100), {"cpp": 3e3, "numba": 3e2, "reference": 30},
    ),
    Case(
        "signature, 128 slots, > .5", "signature", 0.5, lambda n: data.signatures(n, 128),
        (32, 1000, 10_000, 50_000), {"cpp": 5e8, "numba": 5e7, "reference": 1e5},
    ),
)  # fmt: skip


def pairs(n_images: int) -> int:
    return n_images * (n_images - 1) // 2


def runs() -> Iterator[Any]:
    """Yield case, size, backend and threads of each run; what can't run here is skipped by its reason."""
    reasons = backends.report()
    for case in CASES:
        for n_images in case.sizes:
            for backend, reason in reasons.items():
                if pairs(n_images) > MOST_SECONDS * case.rates[backend]:
                    continue
                for n_threads in THREADS[backend]:
                    timer = time.process_time if n_threads == 1 else time.perf_counter
                    marks = [pytest.mark.benchmark(group=f"{case.name}, n={n_images}", timer=timer)]
                    if reason is not None:
                        marks.append(pytest.mark.skip(reason=f"{backend}: {reason}"))
                    name = f"{backend}-{n_threads}t"
                    yield pytest.param(
                        case, n_images, backend, n_threads, id=f"{case.name}-{n_images}-{name}", marks=marks
                    )


@lru_cache(maxsize=1)
def expected(case: Case, n_images: int) -> np.ndarray:
    return case.edges(backends.select("cpp", n_threads=1), case.items(n_images))


@pytest.mark.parametrize(("case", "n_images", "backend", "n_threads"), list(runs()))
def test_join(benchmark: Any, case: Case, n_images: int, backend: str, n_threads: int) -> None:
    engine = backends.select(backend, n_threads=n_threads)
    join = partial(case.edges, engine, case.items(n_images))
    start = time.perf_counter()
    np.testing.assert_array_equal(join(), expected(case, n_images))
    first_call = time.perf_counter() - start
    iterations = max(1, round(0.02 * case.rates[backend] / pairs(n_images)))
    benchmark.pedantic(join, rounds={"cpp": 5, "numba": 3, "reference": 1}[backend], iterations=iterations)
    benchmark.extra_info.update(
        case=case.name,
        n_images=n_images,
        backend=backend,
        n_threads=n_threads,
        isa=engine.report.isa,
        pairs=pairs(n_images),
        first_call=first_call,
    )
