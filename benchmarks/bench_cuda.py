"""The CUDA kernels on the devices of this machine, beside their bounds, the compiled core and torch.

    python benchmarks/bench_cuda.py [cuda-bounds] [cuda] [--write] [--items N]

cuda-bounds:  what an H100 could do at most: computed, needs no device.
cuda:         measured: pairs a second, the share of the bound of this device, the core and torch on the same
              work, and from how many items on a device is worth it. Says why not where no device can run.

With `--write` the tables go to benchmarks/README.md, and what was measured to the user's cache, where
`--backend auto` looks for it. `--items` makes all sets that small: for a look at the script itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import cuda_bounds
import readme
from clusterimg import Ragged
from clusterimg.backends import _crossover, cpp, cuda
from cuda_bounds import BOUNDS, Bound, Device
from peers_ssim import pictures

ROUNDS = 5
MOST_CHECKED = 400
"""Items whose answer is compared with the core's."""


@dataclass(frozen=True)
class Workload:
    """One line of the measured table: `make(n)` gives the values, `options` and `threshold` the join."""

    bound: Bound
    kernel: str
    n_items: int
    make: Callable[[int], Any]
    threshold: float
    options: dict[str, Any]
    peer: Callable[[Any], Any] | None = None

    def run(self, backend: Any, values: Any) -> Any:
        return getattr(backend, f"{self.kernel}_edges")(values, threshold=self.threshold, **self.options)

    def check(self, n: int) -> None:
        """Assert that the device gives the core's edges of some items."""
        few = self.make(min(n, MOST_CHECKED))
        np.testing.assert_array_equal(self.run(cuda, few), self.run(cpp, few))


# --- the sets ---


def codes(n_words: int, n: int) -> Any:
    return np.random.default_rng(0).integers(0, 2**64, (n, n_words), np.uint64)


def signatures(n: int) -> Any:
    return np.random.default_rng(0).integers(0, 2**32, (n, 128), np.uint32)


def images(side: int, n: int) -> Any:
    """Return n pictures: some hundred crops of photos, with noise of their own."""
    few = pictures(min(n, 200), side)
    noise = np.random.default_rng(0).integers(-8, 9, (n, side, side), np.int16)
    return np.clip(few[np.arange(n) % len(few)] + noise, 0, 255).astype(np.uint8)


def mixed_images(side: int, smaller: int, n: int) -> Any:
    """Return pictures of two sizes by turns."""
    both = images(side, (n + 1) // 2), images(smaller, n // 2)
    return Ragged.from_images([both[k % 2][k // 2] for k in range(n)])


def descriptors(n: int) -> Any:
    rng = np.random.default_rng(0)
    return Ragged.from_arrays(
        list(rng.integers(0, 256, (n, 500, 32), np.uint8)), empty=np.empty((0, 32), np.uint8)
    )


# --- torch on the same work: all pairs, dense ---


def torch_products(torch: Any, values: Any) -> Callable[[], Any]:
    """Sums of products of all pairs, in float32 (not exact): what template matching is made of."""
    flat = torch.as_tensor(values.reshape(len(values), -1), device="cuda").float()
    return lambda: flat @ flat.T


def torch_hamming(torch: Any, values: Any) -> Callable[[], Any]:
    """Products of bits as +1 and -1, in 16 bits: exact up to 2048 bits."""
    bits = np.unpackbits(values.view(np.uint8), axis=1)
    signs = torch.as_tensor(bits, device="cuda").half() * 2 - 1
    return lambda: signs @ signs.T


def torch_equal(torch: Any, values: Any) -> Callable[[], Any]:
    """Equal slots, counted for some rows at a time."""
    slots = torch.as_tensor(values.astype(np.int64), device="cuda")
    return lambda: torch.cat([(rows[:, None] == slots[None]).sum(2) for rows in slots.split(64)])


def torch_ssim(torch: Any, values: Any) -> Callable[[], Any]:
    """Mean SSIM by window means of products, for some rows at a time."""
    x = torch.as_tensor(values, device="cuda").double()
    means = partial(torch.nn.functional.avg_pool2d, kernel_size=7, stride=1)
    m, q = means(x[:, None])[:, 0], means((x * x)[:, None])[:, 0]
    c1, c2, bias = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 49 / 48

    def scores() -> Any:
        rows = []
        for k in range(len(x)):
            product = means((x[k] * x)[:, None])[:, 0]
            top = (2 * m[k] * m + c1) * (2 * bias * (product - m[k] * m) + c2)
            low = (m[k] ** 2 + m**2 + c1) * (bias * (q[k] - m[k] ** 2 + q - m**2) + c2)
            rows.append((top / low).mean((1, 2)))
        return torch.stack(rows)

    return scores


def workloads() -> Iterator[Workload]:
    bound = {bound.what: bound for bound in BOUNDS}
    for side, n in ((24, 60_000), (64, 20_000)):
        yield Workload(bound[f"ssim, {side} px"], "ssim", n, partial(images, side), 0.63, {}, torch_ssim)
    for what, n, words, radius in (
        ("hamming, 64 bits, radius 8", 1_000_000, 1, 8),
        ("hamming, 256 bits, radius 53", 500_000, 4, 53),
        ("hamming, 4096 bits, radius 409", 100_000, 64, 409),
    ):
        threshold = 1 - (radius + 0.5) / (64 * words)
        yield Workload(bound[what], "hamming", n, partial(codes, words), threshold, {}, torch_hamming)
    yield Workload(bound["signature, 128 slots"], "signature", 500_000, signatures, 0.5, {}, torch_equal)
    for side, n in ((32, 200_000), (64, 100_000)):
        what = f"template, {side} px"
        yield Workload(bound[what], "template", n, partial(images, side), 0.991, {}, torch_products)
    for side, smaller, n in ((64, 48, 8_000), (256, 192, 600)):
        what = f"template, {smaller} px in {side} px"
        yield Workload(bound[what], "template", n, partial(mixed_images, side, smaller), 0.991, {})
    for rule in ("ratio", "absolute"):
        what = f"descriptor, 500 x 500, {rule}"
        options = {"rule": rule, "max_distance": 40}
        yield Workload(bound[what], "descriptor", 3_000, descriptors, 0.3, options)


# --- measuring ---


def seconds_of(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median of some calls, on the clock: a device's work is no time of this processor."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def torch_seconds(load: Workload, values: Any) -> float | None:
    """Return what torch takes for the matrix of at most some thousand items, as if for all of them."""
    if load.peer is None or importlib.util.find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    few = values[: min(len(values), 4000)]
    call = load.peer(torch, few)

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    waited()
    return seconds_of(waited) * (len(values) / len(few)) ** 2


def start_seconds() -> float:
    """Return what the first call of a process takes more than the second."""
    script = (
        "import time, numpy as np\nfrom clusterimg.backends import cuda\n"
        "codes = np.zeros((2, 1), np.uint64)\n"
        "def call():\n    start = time.perf_counter()\n    cuda.hamming_edges(codes, threshold=0.5)\n"
        "    return time.perf_counter() - start\nfirst = call()\nprint(first - call())"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return max(float(ended.stdout), 1e-3)


def this_device() -> Device:
    """Return the figures of the first device; of its memory no speed is told, so it limits nothing."""
    facts = cuda.devices()[0]
    clock_hz = facts["clock_mhz"] * 1e6
    return Device(facts["name"], facts["multiprocessors"], clock_hz, float("inf"), float("inf"))


def measured(n_items: int | None, write: bool) -> Iterator[str]:
    reason = cuda.why_unavailable()
    if reason is not None:
        yield f"Not measured: {reason}."
        return
    device = this_device()
    clocks = sum(1e6 * each["multiprocessors"] * each["clock_mhz"] for each in cuda.devices())
    tiny, bulk = codes(1, 2), codes(64, n_items or 1_000_000)
    cuda.hamming_edges(tiny, threshold=0.5)
    call = seconds_of(lambda: cuda.hamming_edges(tiny, threshold=0.5))
    copying = seconds_of(lambda: cuda.hamming_edges(bulk, bulk[:1], threshold=0.999)) - call
    transfer = bulk.nbytes / max(copying, 1e-9)
    start = start_seconds() if n_items is None else _crossover.MODELLED.start
    clock = f"{device.clock_hz / 1e9:.2f} GHz"
    yield f"Device: {device.name}, {device.multiprocessors} multiprocessors at {clock}."
    yield f"The first call of a process takes {start:.2f} s more, each {1e3 * call:.1f} ms besides its work;"
    yield f"{transfer / 1e9:.1f} GB/s to the device. {cpp.resolve_threads(0)} threads of the core. Wall time."
    yield ""
    yield "| kernel, join | items | pairs/s | of the bound | core, pairs/s | ratio | torch, dense, pairs/s |"
    yield "|---|---|---|---|---|---|---|"
    cycles = {}
    for load in workloads():
        values = load.make(n_items or load.n_items)
        load.check(len(values))
        work = _crossover.work_of(load.kernel, values, threshold=load.threshold)
        seconds = seconds_of(lambda load=load, values=values: load.run(cuda, values))
        few = load.make(min(len(values), max(2, load.n_items // 20)))
        on_core = seconds_of(lambda load=load, few=few: load.run(cpp, few), 1)
        core_rate = _crossover.work_of(load.kernel, few).pairs / on_core
        by_torch = torch_seconds(load, values)
        rate = work.pairs / seconds
        _, most = load.bound.limit(device)
        alone = max(seconds - call - work.n_bytes / transfer, 1e-9)
        scored = work.pairs * work.elements * _crossover.device_share(work)
        cycles[work.kernel] = max(cycles.get(work.kernel, 0), alone * clocks / scored)
        theirs = f"{work.pairs / by_torch:.2g}" if by_torch else ""
        yield (
            f"| {load.bound.what}, > {load.threshold:.3g} | {len(values):,} | {rate:.3g} | {rate / most:.0%} "
            f"| {core_rate:.3g} | {rate / core_rate:.1f}× | {theirs} |"
        )
    figures = _crossover.Figures(start=start, call=call, transfer=transfer, cycles=cycles)
    yield ""
    yield from crossovers(figures)
    if write:
        _crossover.write_measured(device.name, figures)


def crossovers(figures: _crossover.Figures) -> Iterator[str]:
    """Yield from how many items on the device is expected to be first."""
    yield "From so many items on `auto` takes the device, once it has started (and with its start):"
    yield ""
    n_threads, found = cpp.resolve_threads(0), cuda.devices()
    for load in workloads():
        least = [f"{least_items(load, n_threads, found, figures, is_warm):,}" for is_warm in (True, False)]
        yield f"- {load.bound.what}: {least[0]} ({least[1]})"


def least_items(
    load: Workload, n_threads: int, found: Any, figures: _crossover.Figures, is_warm: bool
) -> int:
    """Return from how many items, nearly, the model takes the device."""
    two = load.make(2)
    n = 2
    while n < 1 << 30:
        work = _crossover.work_of(load.kernel, two, threshold=load.threshold)
        work = replace(work, n_rows=n, n_bytes=work.n_bytes * n // 2)
        if load.kernel == "hamming":  # the core may have an index
            many = np.zeros((n, two.shape[1]), np.uint64)
            work = replace(work, plan=cpp.hamming_plan(many, None, threshold=load.threshold))
        if _crossover.choose(work, found, n_threads=n_threads, is_warm=is_warm, figures=figures).on_device:
            break
        n += max(1, n // 8)
    return n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["cuda-bounds", "cuda", []], metavar="PART")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    parser.add_argument("--items", type=int, help="items of every set, instead of as many as it takes")
    arguments = parser.parse_args()
    if arguments.write and arguments.items:
        parser.error("--items is for a look at the script: its figures are not to be kept")
    parts = {
        "cuda-bounds": cuda_bounds.table,
        "cuda": lambda: measured(arguments.items, arguments.write),
    }
    for part in arguments.parts or parts:
        lines = []
        print(f"### {part}", flush=True)
        for line in parts[part]():
            print(line, flush=True)
            lines.append(line)
        if arguments.write:
            readme.replace(part, lines)


if __name__ == "__main__":
    main()
