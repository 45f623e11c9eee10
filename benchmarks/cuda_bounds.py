"""What bounds each CUDA kernel: what a pair takes of each unit of a device, and the rate that this allows.

The counts are those of the roofline paragraphs on top of cuda/*.cuh. A bound is *computed*: the unit that a
kernel keeps busy longest, at the device's clock, with nothing lost. No kernel reaches all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The figures of a device that bounds are made of; `memory` and `l2` in bytes a second."""

    name: str
    multiprocessors: int
    clock_hz: float
    memory: float
    l2: float


H100 = Device("H100 SXM", 132, 1.755e9, 3.35e12, 5.5e12)
"""By its data sheet, but for the second cache: NVIDIA states no figure, this one is assumed."""

LANES = {
    "issue": 128,  # instructions of any kind
    "integer": 64,  # additions, logic, comparisons
    "dp4a": 64,
    "popcount": 16,
    "reciprocal": 16,
    "tensor, bytes": 4096,  # multiply-adds; wgmma's rate, of which mma.sync is said to reach some 60 %
    "tensor, bits": 16384,  # an A100's: none is stated
}
"""Lanes a clock and multiprocessor of compute capability 9.0 (CUDA C++ Programming Guide; data sheet)."""


@dataclass(frozen=True)
class Bound:
    """What a pair takes.

    what : the kernel and the size, as the tables name it
    uses : of units of `LANES`
    l2, memory : bytes from the second cache and from the device's memory, with the reuse of tiles
    """

    what: str
    uses: Mapping[str, float]
    l2: float
    memory: float

    def limit(self, device: Device) -> tuple[str, float]:
        """Return what limits the kernel, a unit or memory, and pairs a second at most."""
        clocks = device.multiprocessors * device.clock_hz
        rates = {unit: clocks * LANES[unit] / count for unit, count in self.uses.items()}
        rates |= {"L2": device.l2 / self.l2, "memory": device.memory / self.memory}
        unit = min(rates, key=rates.__getitem__)
        return unit, rates[unit]


def ssim(side: int, issued: float) -> Bound:
    """Return the bound of a matrix of square images, every window scored in that many instructions."""
    windows = (side - 6) ** 2
    uses = {"issue": issued * windows, "reciprocal": windows, "dp4a": 2.0 * (side - 6) * side}
    return Bound(f"ssim, {side} px", uses, 1.2 * windows, 0.2 * windows)


def template(side: int) -> Bound:
    """Return the bound of square images of one size, by tensor cores."""
    pixels = side * side
    return Bound(f"template, {side} px", {"tensor, bytes": pixels}, pixels / 64, pixels / 1000)


def counts(what: str, n_bytes: int, integer: float, popcount: float) -> Bound:
    """Return the bound of a join of codes or signatures, by its sieve of squares of 128 x 128 pairs."""
    return Bound(what, {"integer": integer, "popcount": popcount}, 2 * n_bytes / 128, 2 * n_bytes / 1024)


def descriptor(rule: str, integer: float, issue: float) -> Bound:
    """Return the bound of images with 500 descriptors each, from what a distance takes."""
    distances = 500 * 500
    each = {"integer": integer, "issue": issue, "tensor, bits": 256.0}
    uses = {unit: distances * count for unit, count in each.items()}
    return Bound(f"descriptor, 500 x 500, {rule}", uses, 32e3, 16e3)


BOUNDS = (
    ssim(24, 17.4),
    ssim(64, 16.5),
    counts("hamming, 64 bits, radius 8", 8, 2.5 + 1.6, 0.5),
    counts("hamming, 256 bits, radius 53", 32, 8 + 1.6, 2),
    counts("hamming, 4096 bits, radius 409", 512, 64 + 8 + 1.6, 16),
    counts("signature, 128 slots", 64, 16 + 1.6, 4),
    template(32),
    template(64),
    Bound("template, 48 px in 64 px", {"dp4a": 320e3}, 20e3, 20e3 / 16),
    Bound("template, 192 px in 256 px", {"dp4a": 50e6 * 1.03}, 330e3, 330e3 / 16),
    descriptor("absolute", 1.66, 3.24),
    descriptor("ratio", 5.4, 8.7),
)


def table() -> Iterator[str]:
    """Yield the table of what an H100 could do at most."""
    yield f"*Computed*, not measured, for an {H100.name}: {H100.multiprocessors} multiprocessors at"
    yield f"{H100.clock_hz / 1e9} GHz, {H100.memory / 1e12} TB/s, L2 {H100.l2 / 1e12} TB/s (assumed)."
    yield ""
    yield "| kernel | of a pair, operations of lanes | bytes of L2 | of memory | limit | pairs/s at most |"
    yield "|---|---|---|---|---|---|"
    for bound in BOUNDS:
        unit, rate = bound.limit(H100)
        uses = ", ".join(f"{_short(count)} {name}" for name, count in bound.uses.items())
        bytes_read = f"{_short(bound.l2)} | {_short(bound.memory)}"
        yield f"| {bound.what} | {uses} | {bytes_read} | {unit} | {rate:.2g} |"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"
