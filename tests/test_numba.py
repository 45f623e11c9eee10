"""What is the Numba backend's own: life without the compiled core, threads, its cache, its bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clusterimg as ci
from clusterimg import EDGE_DTYPE, Ragged, UsageError, _core
from clusterimg.backends import Engine, numba, reference, select
from clusterimg.methods import METHODS
from pictures import groups, save

NO_NUMBA = numba.why_unavailable()
pytestmark = pytest.mark.skipif(NO_NUMBA is not None, reason=f"numba {NO_NUMBA}")

HIDE_CORE = "import sys; sys.modules['clusterimg._core'] = None"


@pytest.fixture
def twin() -> Engine:
    return select("numba", n_threads=2)


def in_new_process(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with what `folder` holds before everything else on its path."""
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# --- without the compiled core ---


@pytest.fixture
def no_core(tmp_path: Path) -> Path:
    """Give a folder that, on the path of a process, hides the core from it and from its children."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE_CORE)
    return hidden


@pytest.mark.parametrize("method", sorted(METHODS))
def test_command_line_finds_the_same_clusters_without_the_core(
    tmp_path: Path, no_core: Path, method: str
) -> None:
    folder = save(tmp_path / "photos", groups())
    with_core = ci.run(folder, method=method, transfer="none", out=tmp_path / "with", backend="cpp")
    arguments = ("-m", "clusterimg", "run", str(folder), "--method", method, "--transfer", "none")
    done = in_new_process(*arguments, "--out", str(tmp_path / "without"), folder=no_core)
    assert done.returncode == 0, done.stderr
    assert "backend numba, Numba " in done.stdout
    assert "backend cpp was passed over: the compiled core can't be imported" in done.stdout
    tables = [tmp_path / out / "clusters.csv" for out in ("with", "without")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert with_core.backend.name == "cpp"


def test_info_names_numba_and_why_there_is_no_core(no_core: Path) -> None:
    done = in_new_process("-m", "clusterimg", "info", folder=no_core)
    assert done.returncode == 0, done.stderr
    assert f"auto uses numba: {numba.isa()}" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["cpp"]]
    assert "the compiled core can't be imported" in line


def test_command_line_takes_the_backend_by_name(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", groups())
    done = in_new_process("-m", "clusterimg", "run", str(folder), "--backend", "numba", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"backend numba, {numba.isa()}" in done.stdout
    assert "passed over" not in done.stdout


def test_nothing_of_numba_is_imported_where_the_core_serves(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, clusterimg as ci\n"
        "ci.kernels.hamming_edges(np.zeros((2, 1), np.uint64), threshold=0.5)\n"
        "assert ci.backends.report()['numba'] is None\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('numba', 'llvmlite')])"
    )
    assert in_new_process("-c", script, folder=tmp_path).stdout == "[]\n"


# --- availability ---


def test_missing_numba_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ci.BackendUnavailable, match=r"needs numba: pip install 'clusterimg\[numba\]'"):
        select("numba")


def test_broken_numba_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('broken on purpose')")
    script = HIDE_CORE + "; from clusterimg.backends import select; select()"
    assert "ImportError: broken on purpose" in in_new_process("-c", script, folder=tmp_path).stderr


def test_compiled_code_is_kept_for_the_next_process(tmp_path: Path) -> None:
    script = (
        "import numpy as np; from clusterimg.backends import _numba_counts as counts, numba\n"
        "numba.hamming_scores(np.zeros((2, 1), np.uint64), i=np.zeros(1, np.int32), j=np.ones(1, np.int32))\n"
        "print(dict(counts.hamming_listed.stats.cache_hits), len(counts.hamming_listed.stats.cache_misses))"
    )
    cache = tmp_path / "cache"
    first, second = [
        in_new_process("-c", script, folder=tmp_path, NUMBA_CACHE_DIR=str(cache)).stdout for _ in range(2)
    ]
    assert first == "{} 1\n"
    assert list(cache.rglob("*.nbi"))
    assert second.endswith("1} 0\n")


def test_no_folder_for_the_cache_only_costs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterimg.backends import _numba_jit

    def njit(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(_numba_jit, "njit", njit)
    assert _numba_jit.compiled(len) == (len, {"nogil": True, "error_model": "numpy"})


# --- threads, Ctrl-C, progress ---


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_change_nothing(n_threads: int) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, (1000, 2), dtype=np.uint64)
    wanted = _core.hamming_edges(codes, threshold=0.55)
    assert len(wanted) > 1000
    got = numba.hamming_edges(codes, threshold=0.55, n_threads=n_threads)
    assert got.tobytes() == wanted.tobytes()
    images = rng.integers(0, 256, (40, 12, 12), dtype=np.uint8)
    matrices = {numba.ssim_matrix(images, n_threads=n).tobytes() for n in (1, n_threads)}
    assert len(matrices) == 1


def test_all_cores_are_the_default() -> None:
    assert numba.resolve_threads(0) == len(os.sched_getaffinity(0))
    assert numba.resolve_threads(3) == 3
    assert select("numba").n_threads == numba.resolve_threads(0)


def long_join(**options: Any) -> np.ndarray:
    codes = np.random.default_rng(0).integers(0, 2**64, (options.pop("n"), 4), dtype=np.uint64)
    return numba.hamming_edges(codes, threshold=0.7, **options)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_progress_rises_on_the_calling_thread(n_threads: int) -> None:
    seen: list[int] = []
    threads = set()

    def progress(done: int) -> None:
        seen.append(done)
        threads.add(threading.get_ident())

    n = 30_000
    long_join(n=n, n_threads=n_threads, progress=progress)
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[-1] <= n * (n - 1) / 2
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_progress_that_raises_ends_the_join(n_threads: int) -> None:
    def give_up(done: int) -> None:
        raise TimeoutError(f"enough at {done >= 0}")

    before, start = threading.active_count(), time.monotonic()
    with pytest.raises(TimeoutError, match="enough at True"):
        long_join(n=300_000, n_threads=n_threads, progress=give_up)
    assert time.monotonic() - start < 5
    assert threading.active_count() == before


def test_what_a_thread_raises_ends_the_join(monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterimg.backends import _numba_joins

    def fail(*_: Any) -> None:
        raise MemoryError("in a thread")

    monkeypatch.setattr(_numba_joins.counts, "hamming_tile", fail)
    with pytest.raises(MemoryError, match="in a thread"):
        long_join(n=3000, n_threads=2)


class Pressed(Exception):
    pass


def pictures_of(*sides: int) -> Ragged:
    return Ragged.from_images([np.full((side, side), 9, np.uint8) for side in sides])


def sets_of(*sizes: int) -> Ragged:
    return Ragged.from_arrays([np.zeros((n, 32), np.uint8) for n in sizes], empty=np.empty((0, 32), np.uint8))


def words(n: int, n_words: int, dtype: Any) -> np.ndarray:
    """Return codes or signatures of which no two are alike."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (n, n_words), dtype)


RATIO = {"rule": "ratio", "max_distance": 40}
LONG: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "hamming": (words(9, 4, np.uint64), words(90_000, 4, np.uint64), {}),
    "signature": (words(9, 128, np.uint32), words(30_000, 128, np.uint32), {}),
    "ssim": (np.zeros((2, 9, 9), np.uint8), np.zeros((40, 1000, 1000), np.uint8), {}),
    "template": (np.zeros((2, 9, 9), np.uint8), np.zeros((400, 1000, 1000), np.uint8), {}),
    "sliding": (pictures_of(3, 2), pictures_of(1200, 600), {}),
    "descriptor": (sets_of(3, 3), sets_of(60_000, 60_000), RATIO),
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_signals_get_in(name: str, n_threads: int) -> None:
    """What Ctrl-C is: a signal handler that raises, in the main thread."""
    few, many, options = LONG[name]
    edges = getattr(numba, f"{'template' if name == 'sliding' else name}_edges")
    edges(few, threshold=0.5, **options)  # compiled by now

    def press(*_: object) -> None:
        pressed.append(time.monotonic())
        raise Pressed

    pressed: list[float] = []
    before, start = threading.active_count(), time.monotonic()
    usual = signal.signal(signal.SIGALRM, press)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Pressed):
            edges(many, threshold=0.69, n_threads=n_threads, **options)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert pressed[0] - start < 1
    assert time.monotonic() - pressed[0] < 1
    assert threading.active_count() == before


# --- what may be dropped ---


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 255))
def test_pairs_are_kept_just_below_their_score(seed: int, rows: int, change: int) -> None:
    """Equal below some rows, a pair meets the bound of what the other rows can add with equality.

    A bound that a thousandth is missing from fails here.
    """
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, (41, 23), dtype=np.uint8)
    b = a.copy()
    b[:rows] = np.clip(b[:rows] + rng.integers(-change, change + 1, b[:rows].shape), 0, 255)
    score = reference.canonical_ssim(a, b)
    wanted = np.array([(0, 0, score)], EDGE_DTYPE)
    for below in (np.nextafter(score, -2.0), score - 1e-6, score - 1e-3):
        np.testing.assert_array_equal(numba.ssim_edges(a[None], b[None], threshold=float(below)), wanted)
    assert not len(numba.ssim_edges(a[None], b[None], threshold=score))


@pytest.mark.parametrize("n_words", [4, 5, 64])
@pytest.mark.parametrize("n", [1, 255, 256, 257, 4097])
def test_codes_that_differ_late_or_early_are_found(twin: Engine, n: int, n_words: int) -> None:
    codes = np.random.default_rng(n).integers(0, 2**64, (n, n_words), dtype=np.uint64)
    codes[n // 2] = codes[-1]
    codes[n // 2, 0] ^= np.uint64(2**40 - 1)
    codes[n // 3] = codes[-1]
    codes[n // 3, -1] ^= np.uint64(2**40 - 1)
    for differing in (39, 40, 41):
        threshold = 1 - (differing + 0.5) / (64 * n_words)
        got = twin.edges("hamming", codes, threshold=threshold)
        assert got.tobytes() == _core.hamming_edges(codes, threshold=threshold).tobytes()


# --- the perceptual hash, bit for bit ---


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from([8, 16, 32, 64]),
    st.sampled_from([1, 2, 64, 256]),
    st.booleans(),
)
def test_phash_equals_the_core(shape: tuple[int, int], hash_size: int, levels: int, mirrored: bool) -> None:
    image = np.random.default_rng(shape).integers(0, levels, shape).astype(np.uint8) * np.uint8(255 // levels)
    if mirrored:
        image = np.hstack([image, image[:, ::-1]])
    options = {"hash_size": hash_size, "highfreq_factor": 4}
    wanted, ties = _core.phash(np.ascontiguousarray(image), **options)
    got, got_ties = numba.phash(np.ascontiguousarray(image), **options)
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.uint64
    assert got_ties == ties


def test_phash_equals_the_core_on_photos(photos: list[np.ndarray]) -> None:
    for photo in photos:
        for hash_size in (8, 16):
            options = {"hash_size": hash_size, "highfreq_factor": 4}
            wanted, got = _core.phash(photo, **options), numba.phash(photo, **options)
            assert got[0].tobytes() == wanted[0].tobytes()
            assert got[1] == wanted[1]


# --- what compiled code would read elsewhere ---


@pytest.mark.parametrize("kernel", ["hamming", "ssim", "template", "sliding"])
def test_pairs_that_are_not_there_are_usage_errors(twin: Engine, kernel: str) -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    values: Any = {"hamming": np.zeros((3, 1), np.uint64), "sliding": Ragged.from_images(list(images))}
    for i, j in ((0, 3), (-1, 0)):
        indices = {"i": np.array([i], np.int32), "j": np.array([j], np.int32)}
        with pytest.raises(UsageError, match="must be 0 to 2"):
            twin.scores("template" if kernel == "sliding" else kernel, values.get(kernel, images), **indices)


def test_edges_of_images_that_are_not_there_are_usage_errors(twin: Engine) -> None:
    for pair in ((0, 3, 1.0), (-1, 0, 1.0)):
        with pytest.raises(UsageError, match="edges must be 0 to 2"):
            twin.components(np.array([pair], EDGE_DTYPE), 3)
    np.testing.assert_array_equal(twin.components(np.empty(0, EDGE_DTYPE), 2), [-1, -1])


def test_nan_is_above_every_score(twin: Engine) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    assert not len(twin.edges("hamming", np.zeros((2, 1), np.uint64), threshold=np.nan))
    for kernel in ("ssim", "template"):
        assert not len(twin.edges(kernel, images, threshold=np.nan))
