"""The emulation itself: orders, errors, intrinsics, and the runtime that defers its work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import emulated
import numpy as np
import pytest
from numpy.typing import NDArray

Words = NDArray[np.int32]
Run = Callable[..., Words]


@pytest.fixture(scope="module")
def checks() -> Any:
    """The library of small kernels."""
    reason = emulated.why_not()
    if reason is not None:
        pytest.skip(reason)
    path = emulated.build_checks(emulated.BUILT, sanitize=emulated.SANITIZE)
    library: Any = ctypes.CDLL(str(path))
    for name in ("run_kernel", "run_scenario", "device_error"):
        getattr(library, name).restype = ctypes.c_char_p
    library.machine = emulated.Machine(path)
    return library


@pytest.fixture
def small(checks: Any) -> Iterator[emulated.Machine]:
    """The machine of that library, as at the start."""
    checks.machine.reset()
    yield checks.machine
    checks.machine.reset()


@pytest.fixture
def run(checks: Any, small: emulated.Machine) -> Run:
    """Run a kernel over blocks of threads; returns what it wrote."""

    def run_kernel(
        name: str,
        values: Any = (0,),
        *,
        n_out: int,
        blocks: tuple[int, ...] = (1,),
        threads: tuple[int, ...] = (64,),
        start: Any = -1,
    ) -> Words:
        sent = np.ascontiguousarray(values).astype(np.int64).astype(np.uint32).view(np.int32)
        out = np.full(n_out, start, np.int32)
        shape = np.ones((2, 3), np.int32)
        shape[0, : len(blocks)], shape[1, : len(threads)] = blocks, threads
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (shape, sent, out)]
        error = checks.run_kernel(name.encode(), *pointers[:2], sent.size, pointers[2], n_out)
        if error:
            raise RuntimeError(error.decode())
        return out

    return run_kernel


# --- orders ---


def test_order_decides_who_writes_last(run: Run, small: emulated.Machine) -> None:
    last = {}
    for order in emulated.ORDERS:
        small.order(order, seed=1)
        last[order] = run("last_writer", n_out=3, blocks=(3,)).tolist()
    assert last["forward"] == [63, 127, 191]
    assert last["reverse"] == [0, 64, 128]
    assert last["shuffled"] not in (last["forward"], last["reverse"])


def test_shuffled_anew_at_each_barrier_and_by_seed(run: Run, small: emulated.Machine) -> None:
    seen = []
    for seed in (1, 2, 1):
        small.order("shuffled", seed)
        before, after = np.split(run("turns", n_out=128), 2)
        assert sorted(before) == list(range(64)) and sorted(after) == list(range(64, 128))
        assert before.tolist() != (after - 64).tolist()
        seen.append(before.tolist())
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize("order", emulated.ORDERS)
def test_a_barrier_that_is_missing_shows(run: Run, small: emulated.Machine, order: str) -> None:
    small.order(order, seed=1)
    wanted = (np.arange(256) + 1) % 64 + np.arange(256) // 64 * 64
    np.testing.assert_array_equal(run("neighbour", [0], n_out=256, blocks=(4,)), wanted)
    assert (run("neighbour", [1], n_out=256, blocks=(4,)) != wanted).any()


@pytest.mark.parametrize("n", [1, 4])
def test_shared_memory_holds_nothing_of_the_block_before(run: Run, small: emulated.Machine, n: int) -> None:
    small.os_threads(n)
    assert (run("unwritten_shared", n_out=512, blocks=(8,)).view(np.uint32) == 0xA5A5A5A5).all()


@pytest.mark.parametrize("order", emulated.ORDERS)
def test_votes_of_a_block(run: Run, small: emulated.Machine, order: str) -> None:
    small.order(order)
    values = np.zeros((3, 64), int)
    values[1, 40] = 5
    values[2, ::2] = 1
    got = run("votes", values, n_out=192, blocks=(3,)).reshape(3, 64)
    assert (got[0] == 0).all() and (got[1] == 10001).all() and (got[2] == 10032).all()


def test_places_in_three_dimensions(run: Run) -> None:
    got = run("places", n_out=720, blocks=(2, 3, 5), threads=(4, 3, 2))
    k = np.arange(720)
    block, thread = k // 24, k % 24
    wanted = thread % 4 + 10 * (thread // 4 % 3) + 100 * (thread // 12)
    wanted += 1000 * (block % 2) + 10000 * (block // 2 % 3) + 100000 * (block // 6)
    np.testing.assert_array_equal(got, wanted)


# --- errors ---


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("divergent_barrier", r"divergent barrier: __syncthreads at .*checks.cu:\d+, .* waits too"),
        ("exited_thread", r"divergent barrier: .*checks.cu:\d+.* thread 5 has exited"),
        ("mask_without_lane", r"__shfl_sync at .*checks.cu:\d+.*leaves out lane \d+"),
        ("masks_differ", r"deadlock: __any_sync at .*mask \w+ waits, and .*mask \w+ waits too|leaves out"),
        ("lane_exited", r"deadlock: __syncwarp at .*checks.cu:\d+.*lane 7, which has exited"),
        ("lanes_elsewhere", r"deadlock: __shfl_sync at .*checks.cu:\d+.*checks.cu:\d+"),
        ("barrier_against_warp", r"deadlock: __syncwarp at .*__syncthreads"),
        ("selector_with_sign", r"__byte_perm at .*the top bit"),
    ],
)
def test_errors_of_a_kernel_come_with_their_place(
    run: Run, small: emulated.Machine, kernel: str, text: str, order: str
) -> None:
    small.order(order, seed=3)
    with pytest.raises(RuntimeError, match=text):
        run(kernel, n_out=64)


def test_a_lane_that_is_not_there(run: Run) -> None:
    with pytest.raises(RuntimeError, match="names a lane that is not there"):
        run("lane_that_is_not_there", n_out=40, threads=(40,))


@pytest.mark.skipif(bool(emulated.SANITIZE), reason="AddressSanitizer ends the process at the write itself")
@pytest.mark.parametrize("place", [-1, 64])
def test_a_write_beyond_an_allocation_is_seen_when_it_is_freed(run: Run, checks: Any, place: int) -> None:
    run("writes_beyond", [63], n_out=64)
    assert checks.device_error() == b""
    run("writes_beyond", [place], n_out=64)
    assert b"wrote in front of or behind the 256 bytes" in checks.device_error()


# --- collectives of a warp ---


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize("width", [32, 16, 4, 1])
@pytest.mark.parametrize("argument", [0, 1, 3, 16, 31])
def test_shuffles(run: Run, small: emulated.Machine, width: int, argument: int, order: str) -> None:
    small.order(order)
    got = run("shuffles", [width, argument], n_out=5 * 64).reshape(5, 64)
    lane = np.arange(64) % 32
    first, within = lane // width * width, lane % width
    flipped = lane ^ argument
    sources = (
        first + argument % width,
        np.where(within >= argument, lane - argument, lane),
        np.where(within + argument < width, lane + argument, lane),
        np.where(flipped < first + width, flipped, lane),
        first + argument % width,
    )
    for row, source in zip(got, sources, strict=True):
        np.testing.assert_array_equal(row, 100 + np.arange(64) // 32 * 32 + source)


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize("mask", [0xFFFFFFFF, 0x0000FFFF, 0x55555555, 0x80000001])
def test_collectives_of_some_lanes(run: Run, small: emulated.Machine, mask: int, order: str) -> None:
    small.order(order, seed=2)
    values = np.random.default_rng(0).integers(-(2**31), 2**31, 64).astype(np.int32)
    got = run("in_masks", [mask, *values.tolist()], n_out=8 * 64).reshape(8, 64)
    named = (mask >> np.arange(32) & 1).astype(bool)
    for warp in range(2):
        for lanes in (named, ~named):
            if not lanes.any():
                continue
            mine = np.flatnonzero(lanes) + 32 * warp
            some = values[mine]
            ballot = sum(1 << int(k % 32) for k in mine[(some & 1) == 1])
            with np.errstate(over="ignore"):
                wanted = [
                    np.uint32(ballot).view(np.int32),
                    2 * (ballot != 0) + bool((some & 1).all()),
                    some.min(),
                    some.max(),
                    some.sum(dtype=np.int32),
                    some.view(np.uint32).min().view(np.int32),
                    some.view(np.uint32).max().view(np.int32),
                    np.bitwise_or.reduce(some),
                ]
            for row, value in zip(got, wanted, strict=True):
                assert (row[mine] == value).all()


# --- functions of one thread, against plain formulas ---

LOW = 0xFFFFFFFF


def signed(x: int) -> int:
    return x - 2**32 if x >> 31 else x


def bytes_of(x: int, is_signed: bool = False) -> list[int]:
    return [b - 256 if is_signed and b > 127 else b for b in x.to_bytes(4, "little")]


def each_byte(x: int, y: int, function: Callable[[int, int], int], is_signed: bool = False) -> int:
    pairs = zip(bytes_of(x, is_signed), bytes_of(y, is_signed), strict=True)
    return sum((function(a, b) & 255) << 8 * k for k, (a, b) in enumerate(pairs))


def dot(x: int, y: int, is_signed: bool) -> int:
    return sum(a * b for a, b in zip(bytes_of(x, is_signed), bytes_of(y, is_signed), strict=True))


def lowest(x: int) -> int:
    return (x & -x).bit_length()


FORMULAS: dict[str, Callable[[int, int, int], int]] = {
    "popc": lambda x, y, z: x.bit_count(),
    "popcll": lambda x, y, z: (x << 32 | y).bit_count(),
    "ffs": lambda x, y, z: lowest(x),
    "ffsll": lambda x, y, z: lowest(x << 32 | y),
    "clz": lambda x, y, z: 32 - x.bit_length(),
    "clzll": lambda x, y, z: 64 - (x << 32 | y).bit_length(),
    "brev": lambda x, y, z: int(f"{x:032b}"[::-1], 2),
    "funnelshift_r": lambda x, y, z: (y << 32 | x) >> z % 32,
    "funnelshift_l": lambda x, y, z: (y << 32 | x) << z % 32 >> 32,
    "funnelshift_rc": lambda x, y, z: (y << 32 | x) >> min(z, 32),
    "funnelshift_lc": lambda x, y, z: (y << 32 | x) << min(z, 32) >> 32,
    "byte_perm": lambda x, y, z: sum((bytes_of(x) + bytes_of(y))[z >> 4 * k & 7] << 8 * k for k in range(4)),
    "dp4a_signed": lambda x, y, z: dot(x, y, True) + z,
    "dp4a_unsigned": lambda x, y, z: dot(x, y, False) + z,
    "vcmpeq4": lambda x, y, z: each_byte(x, y, lambda a, b: 255 * (a == b)),
    "vcmpgtu4": lambda x, y, z: each_byte(x, y, lambda a, b: 255 * (a > b)),
    "vabsdiffu4": lambda x, y, z: each_byte(x, y, lambda a, b: abs(a - b)),
    "vminu4": lambda x, y, z: each_byte(x, y, min),
    "vmaxs4": lambda x, y, z: each_byte(x, y, max, is_signed=True),
    "vsadu4": lambda x, y, z: sum(abs(a - b) for a, b in zip(bytes_of(x), bytes_of(y), strict=True)),
    "mulhi": lambda x, y, z: signed(x) * signed(y) >> 32,
    "umulhi": lambda x, y, z: x * y >> 32,
    "min_signed": lambda x, y, z: min(signed(x), signed(y)),
    "max_mixed": lambda x, y, z: max(x, y),
    "float_bits": lambda x, y, z: x + y,
}


@pytest.fixture(scope="module")
def words() -> NDArray[np.int64]:
    """Triples of words: random ones, and all of some extremes."""
    rng = np.random.default_rng(7)
    some = np.array([0, 1, 2, 31, 32, 33, 63, 64, 0x7F, 0x80, 0x80FF7F01, 2**31 - 1, 2**31, LOW])
    extremes = np.stack(np.meshgrid(some, some, some), axis=-1).reshape(-1, 3)
    random = rng.integers(0, 2**32, (4096 - len(extremes), 3))
    random[::3, 1] = random[::3, 0] ^ (0xFF << 8 * (random[::3, 2] % 4))  # bytes that are equal
    return np.concatenate([extremes, random])


@pytest.mark.parametrize("name", FORMULAS)
def test_intrinsic(run: Run, words: NDArray[np.int64], name: str) -> None:
    got = run(name, words, n_out=4096, blocks=(64,)).view(np.uint32)
    wanted = [FORMULAS[name](*map(int, each)) & LOW for each in words]
    np.testing.assert_array_equal(got, np.array(wanted, np.uint32))


def floats(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).lognormal(sigma=3, size=4096).astype(np.float32)


def test_arithmetic_is_rounded_once(run: Run) -> None:
    a, b, c = floats(1), floats(2), -floats(3)
    words = np.stack([a, b, c], axis=1).view(np.int32)
    exact = a.astype(np.float64) * b + c  # a float64 holds the product, and rounds the sum far below
    got = run("fmaf_rn", words, n_out=4096, blocks=(64,)).view(np.float32)
    np.testing.assert_array_equal(got, exact.astype(np.float32))
    got = run("frcp_rn", words, n_out=4096, blocks=(64,)).view(np.float32)
    np.testing.assert_array_equal(got, np.float32(1) / a)


def test_the_quick_division_is_off_as_it_may_be(run: Run) -> None:
    a, b = floats(1), floats(2)
    words = np.stack([a, b, b], axis=1).view(np.int32)
    got = run("fdividef", words, n_out=4096, blocks=(64,))
    off = got - (a / b).view(np.int32)
    assert set(off) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("n_os_threads", [1, 4])
def test_atomics(run: Run, small: emulated.Machine, n_os_threads: int) -> None:
    small.os_threads(n_os_threads)
    got = run("atomics", n_out=8, blocks=(50,))
    assert got[:4].tolist() == [3199, 3199, -1, -1]
    assert got[4:6].view(np.int64)[0] == 3200 * 2**31 - 1
    assert 0 <= got[6] < 3200 and got[7] == 0


def test_blocks_at_once_unite(run: Run, small: emulated.Machine) -> None:
    small.os_threads(4)
    small.order("shuffled", 5)
    for _ in range(5):
        parents = run("chain", n_out=4096, blocks=(64,), start=np.arange(4096))
        for _ in range(12):
            parents = parents[parents]
        assert (parents == 0).all()


# --- the runtime ---

SCENARIOS = (
    "work_is_deferred",
    "polling_gets_there",
    "eager_work_is_done",
    "pageable_copies_are_done",
    "streams_wait_for_events",
    "legacy_stream_waits_for_blocking_ones",
    "rows_are_copied",
    "memory_is_bounded",
    "devices_are_apart",
    "errors_stick",
    "launches_are_checked",
)


@pytest.mark.parametrize("name", SCENARIOS)
def test_runtime(checks: Any, small: emulated.Machine, name: str) -> None:
    small.eager(name == "eager_work_is_done")
    small.devices(2 if name == "devices_are_apart" else 1)
    if name == "memory_is_bounded":
        small.memory(0, 1 << 20)
    assert checks.run_scenario(name.encode()) == b""
    assert small.used() == small.pinned() == 0


# --- the module on it ---


@pytest.fixture
def codes() -> NDArray[np.uint64]:
    """Codes of which some are similar."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2**64, (9, 3), dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (200, 3), dtype=np.uint64)
    return centres[rng.integers(0, 9, 200)] ^ flips


def test_several_devices_share_a_join(
    core: Any, machine: emulated.Machine, codes: NDArray[np.uint64]
) -> None:
    alone = core.hamming_edges(codes, threshold=0.5)
    machine.devices(3)
    for _ in range(100):  # the first may be done before another has begun
        np.testing.assert_array_equal(core.hamming_edges(codes, threshold=0.5), alone)
        assert sum(device["pairs"] for device in core.last_run()) == 200 * 199 // 2
        if sum(device["launches"] > 0 for device in core.last_run()) > 1:
            break
    else:
        raise AssertionError("one device did all the work, every time")
    assert [machine.used(k) for k in range(3)] == [0, 0, 0] and machine.pinned() == 0


def test_a_small_device_does_with_less(
    core: Any, machine: emulated.Machine, codes: NDArray[np.uint64]
) -> None:
    whole = core.hamming_edges(codes, threshold=0.5)
    at_most = core.last_run()[0]["bytes"]
    machine.memory(0, at_most // 2)
    np.testing.assert_array_equal(core.hamming_edges(codes, threshold=0.5), whole)
    assert core.last_run()[0]["bytes"] <= at_most // 2
    assert machine.used() == 0


def test_a_device_that_vanishes_at_any_call_is_an_error(
    core: Any, machine: emulated.Machine, codes: NDArray[np.uint64]
) -> None:
    whole = core.hamming_edges(codes, threshold=0.5)
    n_calls = machine.calls()
    for after in range(0, n_calls, max(1, n_calls // 40)):
        machine.reset()
        machine.vanish(0, after)
        try:
            found = core.hamming_edges(codes, threshold=0.5)
        except (core.DeviceFailure, ValueError):
            continue
        np.testing.assert_array_equal(found, whole)  # it was done before
    machine.reset()
    np.testing.assert_array_equal(core.hamming_edges(codes, threshold=0.5), whole)
    assert machine.used() == machine.pinned() == 0


def test_arrays_of_a_device_are_used_where_they_lie(
    core: Any, machine: emulated.Machine, codes: NDArray[np.uint64]
) -> None:
    there = machine.array(codes)
    np.testing.assert_array_equal(
        core.hamming_edges(there, threshold=0.5), core.hamming_edges(codes, threshold=0.5)
    )


def test_components_of_blocks_that_run_at_once(
    core: Any, machine: emulated.Machine, codes: NDArray[np.uint64]
) -> None:
    alone = core.hamming_components(codes, threshold=0.9)
    assert 1 < alone.max() + 1 < 200
    machine.os_threads(4)
    for seed in range(5):
        machine.order("shuffled", seed)
        np.testing.assert_array_equal(core.hamming_components(codes, threshold=0.9), alone)
