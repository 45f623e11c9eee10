"""What bounds each CUDA kernel: what a pair takes of each unit of a device, and the rate that this allows.

The counts are those of the roofline paragraphs on top of cuda/*.cuh. A bound is *computed*: the unit that a
kernel keeps busy longest, at the device's clock, with nothing lost. No kernel reaches all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The figures of a device that bounds are made of; bandwidth is of its own memory, in bytes a second."""

    name: str
    multiprocessors: int
    clock_hz: float
    bandwidth: float


H100 = Device("H100 SXM", 132, 1.755e9, 3.35e12)

LANES = {
    "issue": 128,  # instructions of any kind
    "integer": 64,  # additions, logic, comparisons
    "dp4a": 64,
    "popcount": 16,
    "reciprocal": 16,
    "tensor, bytes": 4096,  # multiply-adds
    "tensor, bits": 32768,
}
"""Lanes a clock and multiprocessor of compute capability 9.0 (CUDA C++ Programming Guide; data sheet)."""


@dataclass(frozen=True)
class Bound:
    """What a pair takes.

    what : the kernel and the size, as the tables name it
    uses : of units of `LANES`
    read : bytes from the device's memory, with the reuse that a tile of pairs has
    """

    what: str
    uses: Mapping[str, float]
    read: float

    def rates(self, device: Device) -> dict[str, float]:
        """Return pairs a second that each unit allows, and memory."""
        clocks = device.multiprocessors * device.clock_hz
        found = {unit: clocks * LANES[unit] / count for unit, count in self.uses.items()}
        return found | {"memory": device.bandwidth / self.read}

    def limit(self, device: Device) -> tuple[str, float]:
        """Return the unit that limits the kernel, and pairs a second at most."""
        rates = self.rates(device)
        unit = min(rates, key=rates.__getitem__)
        return unit, rates[unit]


def ssim(side: int) -> dict[str, float]:
    """Return what a pair of square images takes, with every window scored."""
    windows, rows = (side - 6) ** 2, 6 * (side - 6)
    return {"issue": 15.7 * windows + 5.6 * rows, "reciprocal": windows, "dp4a": 2 * windows + 2 * rows}


BOUNDS = (
    Bound("ssim, 24 px", ssim(24), 0.1 * 18**2),
    Bound("ssim, 64 px", ssim(64), 0.1 * 58**2),
    Bound("template, 32 px", {"tensor, bytes": 32**2}, 32**2 / 500),
    Bound("template, 64 px", {"tensor, bytes": 64**2}, 64**2 / 500),
    Bound("template, 48 px in 64 px", {"dp4a": 320e3}, 64),
    Bound("template, 192 px in 256 px", {"dp4a": 50e6}, 1024),
)


def table() -> Iterator[str]:
    """Yield the table of what an H100 could do at most."""
    yield f"*Computed*, not measured, for an {H100.name}: {H100.multiprocessors} multiprocessors at"
    yield f"{H100.clock_hz / 1e9} GHz, {H100.bandwidth / 1e12} TB/s."
    yield ""
    yield "| kernel | of a pair, in operations of a lane | bytes read | limit | computed, pairs/s at most |"
    yield "|---|---|---|---|---|"
    for bound in BOUNDS:
        unit, rate = bound.limit(H100)
        uses = ", ".join(f"{count:,.4g} {name}" for name, count in bound.uses.items())
        yield f"| {bound.what} | {uses} | {bound.read:,.3g} | {unit} | {rate:.2g} |"
