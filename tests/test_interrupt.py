"""Ctrl-C ends every call of the core within a second, also in the middle of a tile or a pair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from clusterimg import _core

WITHIN = 1.0  # seconds from the signal to the end of the process

BITS = "rng.integers(0, 2**64, ({}, {}), np.uint64)"
SLOTS = "rng.integers(0, 2**32, (150_000, 512), np.uint32)"
GREYS = "rng.integers(0, 256, ({0}, {1}, {1}), np.uint8)"
SETS = "(rng.integers(0, 2**64, ({0} * {1}, 4), np.uint64), np.arange({0} + 1) * {1})"
SIZES = "ragged([(1500, 1500), (400, 400)] * 30)"
RULE = "rule='ratio', max_distance=40"
PAIRS = "i=np.zeros(200_000, np.int32), j=np.ones(200_000, np.int32)"

# Function, input, options: many seconds of work, hours where one pair takes some.
CALLS = {
    "hamming index": ("hamming_edges", BITS.format(2_000_000, 1), "threshold=0.8"),
    "hamming 256 bits": ("hamming_edges", BITS.format(300_000, 4), "threshold=0.69"),
    "hamming 4096 bits": ("hamming_edges", BITS.format(150_000, 64), "threshold=0.69"),
    "hamming matrix": ("hamming_matrix", BITS.format(40_000, 64), "progress=None"),
    "signature": ("signature_edges", SLOTS, "threshold=0.99"),
    "ssim 24 x 24": ("ssim_edges", GREYS.format(60_000, 24), "threshold=0.9"),
    "ssim 256 x 256": ("ssim_edges", GREYS.format(3000, 256), "threshold=0.9"),
    "ssim 1000 x 1000": ("ssim_edges", GREYS.format(250, 1000), "threshold=0.9"),
    "ssim canonical": ("ssim_edges", GREYS.format(250, 1000), "threshold=-1.0"),
    "ssim matrix": ("ssim_matrix", GREYS.format(250, 1000), "progress=None"),
    "ssim scores": ("ssim_scores", GREYS.format(2, 1000), PAIRS),
    "template": ("template_edges", GREYS.format(600, 1000), "threshold=0.99"),
    "template scores": ("template_scores", GREYS.format(2, 1000), PAIRS),
    "sliding": ("sliding_edges", SIZES, "threshold=0.9"),
    "sliding matrix": ("sliding_matrix", SIZES, "progress=None"),
    "sliding scores": ("sliding_scores", SIZES, PAIRS),
    "descriptor": ("descriptor_edges", SETS.format(1500, 500), f"threshold=0.9, {RULE}"),
    "descriptor 5000": ("descriptor_edges", SETS.format(60, 5000), f"threshold=0.9, {RULE}"),
    "descriptor scores": ("descriptor_scores", SETS.format(2, 500), f"{PAIRS}, {RULE}"),
}
CASES = [
    pytest.param(f"{name}({{}}, {options}, n_threads={n})", data, id=f"{case}, {n}t")
    for case, (name, data, options) in CALLS.items()
    for n in (1, 2)
]
EDGES = "loose_edges(60_000_000, 30_000_000)"
CASES.append(pytest.param("components({}, 30_000_000)", EDGES, id="components"))

CHILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
import numpy as np
from clusterimg import _core
from clusterimg._types import EDGE_DTYPE
rng = np.random.default_rng(0)

def ragged(sizes):
    shapes = np.array(sizes, np.int32)
    offsets = np.cumsum([0, *shapes.prod(axis=1)], dtype=np.int64)
    return rng.integers(0, 256, offsets[-1], np.uint8), offsets, shapes

def loose_edges(n_edges, n_images):
    edges = np.zeros(n_edges, EDGE_DTYPE)
    for end in "ij":
        edges[end] = rng.integers(0, n_images, n_edges, np.int32)
    return edges

data = {data}
print("begin", flush=True)
_core.{call}
print("ended by itself", flush=True)
"""


def seconds_to_interrupt(script: str) -> float:
    """Run a script, press Ctrl-C once it is at it, and return how long it took to end of that."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begin\n"
        time.sleep(0.3)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        try:
            output, errors = child.communicate(timeout=12)
        except subprocess.TimeoutExpired:
            child.kill()
            return float("inf")
        took = time.monotonic() - start
    assert output == "", "the call must still run when Ctrl-C comes"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode == -signal.SIGINT
    return took


@pytest.mark.timing
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
@pytest.mark.parametrize(("call", "data"), CASES)
def test_ctrl_c_ends_the_call(call: str, data: str) -> None:
    script = CHILD.format(data=data, call=call.format("data"))
    took = seconds_to_interrupt(script)
    if took > WITHIN:  # the machine may have been busy with something else
        took = min(took, seconds_to_interrupt(script))
    assert took <= WITHIN


@pytest.mark.parametrize("extra_rows", [0, 2])
def test_a_row_of_positions_scored_in_pieces_is_exact(extra_rows: int) -> None:
    """So large a template slides some 80 positions at a time, with a look at the monitor between."""
    rng = np.random.default_rng(0)
    height, width, wide = 200, 300, 500
    image = rng.integers(0, 256, (height + extra_rows, wide), np.uint8)
    templ = np.clip(image[-height:, 170 : 170 + width] + rng.integers(-9, 10, (height, width)), 0, 255)
    patches = np.lib.stride_tricks.sliding_window_view(image.astype(np.int64), templ.shape)
    least = 1.0
    for patch in patches.reshape(-1, *templ.shape):
        norm = np.sqrt(float((templ**2).sum()) * float((patch**2).sum()))
        least = min(least, float(((templ - patch) ** 2).sum()) / norm)
    pixels = np.concatenate([image.ravel(), templ.astype(np.uint8).ravel()])
    offsets = np.array([0, image.size, pixels.size], np.int64)
    shapes = np.array([image.shape, templ.shape], np.int32)
    first, second = np.array([0], np.int32), np.array([1], np.int32)
    scores = _core.sliding_scores((pixels, offsets, shapes), i=first, j=second, n_threads=1)
    assert scores.tolist() == [1.0 - least]
