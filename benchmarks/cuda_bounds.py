"""What bounds each CUDA kernel: operations and bytes a pair, and the rate that a device could reach at most.

The counts are those of the roofline paragraphs on top of cuda/*.cuh. A bound is *computed*: the lanes of the
unit that limits the kernel, at the device's clock, and nothing lost. No kernel reaches all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The figures of a device that bounds are made of; bandwidth in bytes a second, of its own memory."""

    name: str
    multiprocessors: int
    clock_hz: float
    bandwidth: float


H100 = Device("H100 SXM", 132, 1.755e9, 3.35e12)

LANES = {
    "issue": 128,  # instructions of any kind
    "FP32": 128,
    "integer": 64,  # additions, logic, multiplications
    "dp4a": 64,
    "popcount": 16,
    "int8 tensor": 4096 // 2,  # multiply-adds of bytes
}
"""Lanes a clock and multiprocessor, compute capability 9.0 (CUDA C++ Programming Guide, arithmetic throughput)."""


@dataclass(frozen=True)
class Bound:
    """What a pair costs.

    what : the kernel and the size, as the table names it
    operations : of the unit that limits it
    unit : of `LANES`
    read : bytes that a pair takes from the device's memory, with the reuse of a tile
    """

    what: str
    operations: float
    unit: str
    read: float

    def rate(self, device: Device) -> float:
        """Return pairs a second at most."""
        arithmetic = device.multiprocessors * device.clock_hz * LANES[self.unit] / self.operations
        return min(arithmetic, device.bandwidth / self.read)

    def limit(self, device: Device) -> str:
        """Return what that is: the unit, or memory."""
        arithmetic = device.multiprocessors * device.clock_hz * LANES[self.unit] / self.operations
        return self.unit if arithmetic <= device.bandwidth / self.read else "memory"
