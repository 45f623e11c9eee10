"""Faults planted in our kernels, and whether joins on the emulated machine tell them.

All faults are compiled into one module, each behind its number: with 0 it is the module as it is. Run as a
script, this tries some of them, each in a process of its own, since a fault may end it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import emulated
import numpy as np

SOURCES = emulated.ROOT / "cuda"
LANES = "0xffffffffU"


@dataclass(frozen=True)
class Plant:
    """A fault: at a place of a file, a text, another instead."""

    number: int
    kind: str
    file: str
    begin: int
    old: str
    new: str
    place: str

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{self.kind} {self.file} {self.place}"


BARRIER = re.compile(r"__syncthreads\(\);")
MASK = re.compile(rf"(?<=_sync\(){LANES}")

# By hand: a file, a text that is in it once, and the fault. ON is true where it is switched on.
BY_HAND = (
    ("lost edge", "sink.cuh", "if (to < sink.capacity)", "if (to < sink.capacity - (ON))"),
    ("edge beyond", "sink.cuh", "sink.list[to] =", "sink.list[to + (ON && to + 1 == sink.capacity)] ="),
    ("lost edge", "worker.cpp", "if (count > capacity_) {", "if (count > capacity_ + (ON)) {"),
    ("lost edges", "sink.cuh", "*total = all;", "*total = ON ? all - all % 32 : all;"),
    ("halo", "ssim_window.cuh", "if (y >= ssim_side) {", "if (y >= ssim_side + (ON)) {"),
    ("halo", "ssim.cuh", "left = height - ssim_side;", "left = height - ssim_side - (ON);"),
    ("halo", "sliding.cuh", "image.height - templ.height + 1;", "image.height - templ.height + !(ON);"),
    ("halo", "sliding.cuh", "image.width + x + piece.left", "image.width + x + piece.left + (ON)"),
)

# Changed with every fault and without: so that few blocks have many pairs each.
ALWAYS = (("sliding.cu", "std::size_t{1} << 20;", "std::size_t{3};"),)


def plants() -> list[Plant]:
    """Return the faults: every barrier left out and divided, every mask without a lane, those by hand."""
    found: list[tuple[str, str, int, str, str, str]] = []
    for path in sorted(SOURCES.glob("*.cuh")):
        text = path.read_text()
        for match in BARRIER.finditer(text):
            here = (path.name, match.start(), match.group(), "", place_of(text, match))
            found += [("no barrier", *here), ("divergent barrier", *here)]
        found += [
            (
                "wrong mask",
                path.name,
                match.start(),
                LANES,
                f"(ON ? 0x7fffffffU : {LANES})",
                place_of(text, match),
            )
            for match in MASK.finditer(text)
        ]
    for kind, name, old, new in BY_HAND:
        text = (SOURCES / name).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{name} must hold once, not {text.count(old)} times: {old}")
        found.append((kind, name, text.index(old), old, new, old))
    return [Plant(number, *fault) for number, fault in enumerate(found, start=1)]


def place_of(text: str, match: re.Match[str]) -> str:
    """Return a line that a match is in, and which of its kind in the file it is, where lines are alike."""
    line = text[text.rfind("\n", 0, match.start()) + 1 : text.find("\n", match.end())].strip()
    before = text[: match.start()].count(match.group())
    return f"{before + 1}: {line}"


def changed(faults: list[Plant]) -> dict[str, str]:
    """Return the files with all faults in them, for `emulated.build`."""
    texts: dict[str, str] = {}
    for name in sorted({fault.file for fault in faults}):
        text = (SOURCES / name).read_text()
        mine = [fault for fault in faults if fault.file == name]
        for begin in sorted({fault.begin for fault in mine}, reverse=True):
            here = [fault for fault in mine if fault.begin == begin]
            end = begin + len(here[0].old)
            text = text[:begin] + _with(here) + text[end:]
        texts[name] = text
    for name, old, new in ALWAYS:
        text = (SOURCES / name).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{name} must hold once, not {text.count(old)} times: {old}")
        texts[name] = text.replace(old, new)
    return texts


def _with(faults: list[Plant]) -> str:
    """Return the text that stands in place of one, with all faults of that place."""
    number = {fault.kind: fault.number for fault in faults}
    if "no barrier" in number:
        return (
            f"{{ if (::emulation::planted == {number['divergent barrier']}) {{ if (threadIdx.x < 32)\n"
            "__syncthreads();\nelse\n__syncthreads(); }\n"
            f"else if (::emulation::planted != {number['no barrier']}) __syncthreads(); }}"
        )
    return faults[0].new.replace("ON", f"::emulation::planted == {faults[0].number}")


# --- joins that tell them ---


def similar_codes(n: int, n_words: int, seed: int) -> Any:
    """Return codes around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, (7, n_words), dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (n, n_words), dtype=np.uint64)
    return centres[rng.integers(0, 7, n)] ^ flips


def cliques(n_pairs: int) -> Any:
    """Return codes of which so many pairs are equal and the others far apart."""
    sizes = []
    while n_pairs > 0:
        size = int((1 + (1 + 8 * n_pairs) ** 0.5) / 2)
        sizes.append(size)
        n_pairs -= size * (size - 1) // 2
    rng = np.random.default_rng(1)
    return np.repeat(rng.integers(0, 2**64, (len(sizes), 4), dtype=np.uint64), sizes, axis=0)


def images(n: int, height: int, width: int) -> Any:
    """Return noise, and copies of some of it with noise on top."""
    rng = np.random.default_rng([n, height, width])
    made = rng.integers(0, 256, (n, height, width))
    made[n // 2 :] = np.clip(made[: n - n // 2] + rng.integers(-20, 21, made[n // 2 :].shape), 0, 255)
    return made.astype(np.uint8)


def joins(cuda: Any, cpp: Any, core: Any) -> dict[str, Callable[[], None]]:
    """Return, by the name of a source, what tells faults in it."""
    from clusterimg import Ragged

    equal = np.testing.assert_array_equal

    def ragged(*arrays: Any) -> Ragged:
        return Ragged.from_arrays(list(arrays), empty=np.empty((0, 32), np.uint8))

    def same(name: str, values: Any, threshold: float, **options: Any) -> None:
        for which in ("edges", "matrix"):
            told = {"threshold": threshold} if which == "edges" else {}
            got = getattr(cuda, f"{name}_{which}")(values, **told, **options)
            equal(got, getattr(cpp, f"{name}_{which}")(values, **told, **options))

    def near(name: str, values: Any, threshold: float) -> None:
        equal(*(getattr(b, f"{name}_edges")(values, threshold=threshold) for b in (cuda, cpp)))
        got, wanted = (getattr(b, f"{name}_matrix")(values) for b in (cuda, cpp))
        np.testing.assert_allclose(got, wanted, atol=1e-5)

    def hamming() -> None:
        same("hamming", similar_codes(150, 5, 0), 0.5)
        same("hamming", similar_codes(150, 40, 0), 0.9)
        same("hamming", similar_codes(300, 1, 0), 0.9)
        codes = similar_codes(150, 2, 3)
        labels = core.hamming_components(codes, threshold=0.9)
        equal(labels, cpp.components(cpp.hamming_edges(codes, threshold=0.9), len(codes)))

    def overflow() -> None:
        for n_pairs in (19999, 20000, 20001):
            codes = cliques(n_pairs)
            got = core.hamming_edges(codes, threshold=0.9, list_capacity=20000)
            assert len(got) == n_pairs
            equal(got, cpp.hamming_edges(codes, threshold=0.9))
        assert core.why() is None and cuda.devices()
        core.hamming_edges(codes[:2], threshold=0.9)  # what was written beyond a list is seen by now

    def signature() -> None:
        rng = np.random.default_rng(0)
        rows = rng.integers(0, 2**32, (4, 128), dtype=np.uint32)[rng.integers(0, 4, 150)]
        other = rng.integers(0, 2**32, rows.shape, dtype=np.uint32)
        same("signature", np.where(rng.random(rows.shape) < 0.3, other, rows), 0.4)

    def ssim() -> None:
        near("ssim", images(40, 21, 9), 0.5)
        near("ssim", images(20, 45, 8), 0.8)

    def template() -> None:
        near("template", images(140, 9, 11), 0.9)

    def sliding() -> None:
        made = images(8, 24, 30)
        near("template", Ragged.from_images([made[0, 2:9, 3:17], *made[1:5, :20], made[7], made[0]]), 0.8)
        same_size = [made[0], made[4], made[1], made[5], made[2], made[6]]
        near("template", Ragged.from_images([*same_size, made[0, :9, :9]]), 0.8)
        partly = made[0].copy()
        partly[5:15, 5:15] = 0
        near("template", Ragged.from_images([np.zeros((5, 6), np.uint8), partly, made[1]]), 0.8)
        large = images(1, 150, 140)[0]
        near("template", Ragged.from_images([large, large[6:140, 2:]]), 0.8)

    def descriptor() -> None:
        rng = np.random.default_rng(0)
        whole = rng.integers(0, 256, (300, 32), dtype=np.uint8)
        sets = [whole, whole[:0], whole[::-1], whole[50:120], whole[:33], rng.permutation(whole)]
        sets = [rows ^ (rng.random(rows.shape) < 0.1).astype(np.uint8) for rows in sets]
        for rule in ("absolute", "relative", "ratio"):
            same("descriptor", ragged(*sets), 0.1, rule=rule, max_distance=40)
        many = rng.integers(0, 256, (1100, 32), dtype=np.uint8)
        same("descriptor", ragged(many, many[40:80]), 0.01, rule="ratio", max_distance=40)

    return {
        "sink.cuh": overflow,
        "worker.cpp": overflow,
        "counts.cuh": hamming,
        "sieve.cuh": hamming,
        "signature.cuh": signature,
        "ssim.cuh": ssim,
        "ssim_bound.cuh": ssim,
        "ssim_window.cuh": ssim,
        "template.cuh": template,
        "mma.cuh": template,
        "sliding.cuh": sliding,
        "sliding_images.cuh": sliding,
        "descriptor.cuh": descriptor,
        "mma_bits.cuh": descriptor,
    }


def tried(module: str, faults: list[Plant]) -> Iterator[tuple[int, str]]:
    """Yield numbers of faults and how a join told them, or an empty text."""
    core, machine = emulated.load(Path(module)), emulated.Machine(Path(module))
    from clusterimg.backends import cpp, cuda

    vars(cuda).update(_core_cuda=core, _missing=None)
    checks = joins(cuda, _OneThread(cpp), core)
    asked = [(0, file) for file in checks] + [(fault.number, fault.file) for fault in faults]
    for number, file in asked:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os.write(writing, _how(machine, number, checks[file]).encode()[:4000])
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read().decode(errors="replace")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        how = text if status == 0 else f"ended by signal {-status}"
        yield (number, how) if number else (0, how and f"{file}: {how}")


def _how(machine: emulated.Machine, number: int, check: Callable[[], None]) -> str:
    for order in emulated.ORDERS:
        machine.reset()
        machine.plant(number)
        machine.order(order, seed=1)
        try:
            check()
        except Exception as error:
            return f"{order}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


class _OneThread:
    """The compiled core on one thread: a process that forks has no others."""

    def __init__(self, cpp: Any) -> None:
        self._cpp = cpp

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._cpp, name)
        if name == "components":
            return function
        return lambda *arguments, **options: function(*arguments, **{"n_threads": 1, **options})


def main() -> None:
    """Print how each fault was told, as JSON."""
    told = [[number, how] for number, how in tried(sys.argv[1], plants())]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
