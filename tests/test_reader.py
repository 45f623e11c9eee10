"""Reading in a process of its own: what crashes, hangs or shouts costs one file, never the run."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clusterimg import _frames
from clusterimg._reader import Reader
from clusterimg._versions import versions
from clusterimg.backends import select
from clusterimg.errors import ClusterimgError, ImageError
from clusterimg.extraction import Item, extract_images, features_of
from clusterimg.methods import METHODS
from faulty import Doomed, Faulty, number_of, write_pictures

SEGFAULT = "crashed its decoder (segmentation fault)"


def reader(method=None, *, n_threads: int = 2, **options) -> Reader:
    return Reader(method or Faulty(), select("cpp", n_threads=n_threads), **options)


def told(results) -> list[int | str]:
    """Return the number of the picture of each item, and the reason of each error."""
    return [str(r) if isinstance(r, ImageError) else number_of(r.shape) for r in results]


def expected(n_files: int, reasons: dict[int, str]) -> list[int | str]:
    return [reasons.get(k, k) for k in range(n_files)]


def processes_of(folder: Path) -> list[str]:
    """Return the processes that read images and were started with this folder on their path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"_reader_child" in command and os.fsencode(folder) in command:
            found.append(process.name)
    return found


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(tmp_path))  # by which its processes are told from others
    yield
    gc.collect()
    assert processes_of(tmp_path) == []


# --- what comes back ---


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_features_equal_those_of_this_process(photo_files, name, n_threads):
    method, engine = METHODS[name](), select("cpp", n_threads=n_threads)
    files = photo_files[:6]
    with Reader(method, engine) as process:
        items = list(process.read(files[0].parent, [file.name for file in files]))
    got = features_of(items, method)
    [wanted] = extract_images(files, [method], engine, methods_of_arrays=[method])
    for field in ("shapes", "featureless", "near_flat", "digests"):
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field))
    for k in range(len(files)):
        np.testing.assert_array_equal(got.values[k], wanted.values[k], strict=True)


@pytest.mark.parametrize(
    "value",
    [None, np.zeros((0, 32), np.uint8), np.arange(6, dtype=">u2").reshape(2, 3), np.ones((3, 2)).T],
)
def test_items_survive_the_way(value):
    item = Item(value, (3, 4), True, np.arange(16, dtype=np.uint8), "opencv")
    sent = _frames.pack({"index": 1}) + _frames.pack_item(7, item) + _frames.pack({"index": 2}, b"x")
    unpacker, frames = _frames.Unpacker(), []
    for byte in sent:
        frames += unpacker.feed(bytes([byte]))
    assert [frames[0], frames[2]] == [({"index": 1}, b""), ({"index": 2}, b"x")]
    header, payload = frames[1]
    assert header["index"] == 7
    back = _frames.unpack_item(header, payload)
    assert (back.shape, back.near_flat, back.decoder) == (item.shape, True, "opencv")
    np.testing.assert_array_equal(back.digest, item.digest, strict=True)
    if value is None:
        assert back.value is None
    else:
        np.testing.assert_array_equal(back.value, value, strict=True)


def test_thousands_of_files_in_order_by_one_process(tmp_path):
    files = write_pictures(tmp_path / "a", {}, 2000)
    with reader(n_threads=3) as process:
        assert process.versions is None
        assert told(process.read(tmp_path / "a", files[:0])) == []
        assert process.versions is None  # not started for nothing
        assert process.start() == process.versions
        assert told(process.read(tmp_path / "a", iter(files))) == list(range(2000))
        (only,) = processes_of(tmp_path)
        assert told(process.read(tmp_path / "a", files[:5])) == list(range(5))
        assert processes_of(tmp_path) == [only]
        assert versions(process.versions) == versions()


def test_few_files_are_taken_ahead(tmp_path):
    files, taken = write_pictures(tmp_path / "a", {}, 200), []
    with reader(n_threads=2) as process:
        for done, _ in enumerate(process.read(tmp_path / "a", (taken.append(f) or f for f in files)), 1):
            assert len(taken) <= done + 32


def test_any_name_and_any_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "a", {}, 1)
    picture = (tmp_path / "a" / "00000.jpg").read_bytes()
    names = [b"new\nline", b"\xff\xfe.jpg", b"-rf", b" ", "ü€".encode(), b"a\\b", b"{}", b"sub/x"]
    (tmp_path / "a" / "sub").mkdir()
    for name in names:
        (tmp_path / "a" / os.fsdecode(name)).write_bytes(picture)
    (tmp_path / "a" / "empty").touch()
    files = [os.fsdecode(name) for name in names]
    with reader() as process:
        process_results = told(process.read(Path("a"), [*files, "empty", "sub", "missing", "a\0b"]))
        monkeypatch.chdir("/")
        assert told(process.read(tmp_path / "a", files[:1])) == [0]
    assert process_results[:-1] == [0] * 8 + [
        "empty file",
        "not a file: folder",
        "no such file or directory",
    ]
    assert "null" in process_results[-1]


def test_large_values_and_full_pipes(tmp_path):
    files = write_pictures(tmp_path / "a", dict.fromkeys(range(0, 30, 3), "big"), 30)
    with reader(n_threads=4) as process:
        results = process.read(tmp_path / "a", files)
        first = next(results)
        time.sleep(0.3)  # meanwhile the pipe fills up
        items = [first, *results]
    assert told(items) == list(range(30))
    assert items[3].value.shape == (1000, 1000)


# --- crashes ---


@pytest.mark.parametrize("n_threads", [1, 4])
def test_three_crashes_among_fifty_cost_three_files(tmp_path, n_threads):
    log = tmp_path / "log"
    files = write_pictures(tmp_path / "a", {0: "segfault", 20: "segfault", 49: "abort"}, 50)
    with reader(Faulty(log=str(log)), n_threads=n_threads) as process:
        got = told(process.read(tmp_path / "a", files))
    reasons = {0: SEGFAULT, 20: SEGFAULT, 49: "crashed its decoder (aborted)"}
    assert got == expected(50, reasons)
    by_process: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        number, process_id = line.split()
        by_process.setdefault(process_id, []).append(int(number))
    begun = [number for numbers in by_process.values() for number in numbers]
    assert set(begun) == set(range(50))
    for culprit in reasons:  # perhaps with others, and then alone
        assert begun.count(culprit) <= min(n_threads, 2)
    assert len(begun) - 50 <= 3 * 16 * n_threads  # what was in flight
    assert len(by_process) <= 1 + 3 * (n_threads + 1)  # only suspects are tried alone


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("killed", "its decoder was killed, perhaps for lack of memory"),
        ("exit", "its decoder ended the process (exit code 3)"),
        ("memory", "not enough memory"),
        ("error", "faulty can't use it: ZeroDivisionError: one two"),
    ],
)
def test_other_ends_have_their_reasons(tmp_path, fault, reason):
    files = write_pictures(tmp_path / "a", {2: fault}, 6)
    with reader() as process:
        assert told(process.read(tmp_path / "a", files)) == expected(6, {2: reason})


def test_nothing_but_crashes(tmp_path):
    files = write_pictures(tmp_path / "a", dict.fromkeys(range(5), "segfault"), 5)
    with reader() as process:
        assert told(process.read(tmp_path / "a", files)) == [SEGFAULT] * 5


# --- hangs ---


@pytest.mark.parametrize("fault", ["sleep", "gil"])
def test_a_hanging_file_is_skipped_and_the_others_are_not(tmp_path, fault):
    files = write_pictures(tmp_path / "a", {3: fault, 5: "doze"}, 20)
    with reader(seconds_per_file=0.6) as process:
        got = told(process.read(tmp_path / "a", files))
    assert got == expected(20, {3: "took longer than 0.6 s to read"})


def test_time_in_which_nobody_listens_does_not_count(tmp_path):
    files = write_pictures(tmp_path / "a", {}, 40)
    with reader(seconds_per_file=0.3) as process:
        results = process.read(tmp_path / "a", files)
        got = [next(results)]
        time.sleep(0.5)
        got += results
    assert told(got) == list(range(40))


def test_time_of_earlier_reads_does_not_count(tmp_path):
    files = write_pictures(tmp_path / "a", {0: "doze"}, 1)
    with reader(seconds_per_file=0.5) as process:
        assert [told(process.read(tmp_path / "a", files)) for _ in range(5)] == [[0]] * 5


# --- noise ---


def test_what_libraries_print_goes_nowhere(tmp_path):
    write_pictures(tmp_path / "a", {1: "noise", 3: "noise"}, 5)
    done = subprocess.run(program(tmp_path, "print(len(list(results)))"), capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("5\n", "", 0)


def program(folder: Path, code: str) -> list[str]:
    """Return the command of a program that reads the pictures of `folder / "a"` as `results`."""
    text = f"""if True:
        import os, sys
        from pathlib import Path
        sys.path[:0] = [{str(folder)!r}, {str(Path(__file__).parent)!r}]
        from faulty import Faulty
        from clusterimg._reader import Reader
        from clusterimg.backends import select
        folder = Path({str(folder / "a")!r})
        with Reader(Faulty(), select("cpp", n_threads=2)) as reader:
            results = reader.read(folder, sorted(os.listdir(folder)))
            {code}
    """
    return [sys.executable, "-W", "error", "-c", text]


# --- being stopped ---


@pytest.mark.parametrize("fault", ["sleep", "gil"])
def test_ctrl_c_stops_in_the_middle_of_a_decode(tmp_path, fault):
    files = write_pictures(tmp_path / "a", {0: fault}, 8)
    with reader(n_threads=2) as process:
        assert told(process.read(tmp_path / "a", files[1:2])) == [1]  # it has started
        results = process.read(tmp_path / "a", files)
        timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(results)
        assert time.monotonic() - started < 1
        timer.join()
        assert processes_of(tmp_path) == []
        assert told(process.read(tmp_path / "a", files[1:3])) == [1, 2]  # and it can go on


def test_the_process_has_no_terminal(tmp_path):
    files = write_pictures(tmp_path / "a", {}, 1)
    with reader() as process:
        list(process.read(tmp_path / "a", files))
        (child,) = processes_of(tmp_path)
        assert os.getsid(int(child)) == int(child) != os.getsid(0)
        assert Path("/proc", child, "fd", "2").readlink() == Path(os.devnull)  # nor does it write there


@pytest.mark.parametrize("fault", ["sleep", "nothing"])
def test_a_killed_parent_leaves_no_process(tmp_path, fault):
    write_pictures(tmp_path / "a", {2: fault}, 3)
    code = "next(results); print('ready', flush=True); sys.stdin.read()"
    command = program(tmp_path, code)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        assert len(processes_of(tmp_path)) == 1
        parent.kill()
    deadline = time.monotonic() + 5
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(tmp_path) == []


def test_closed_early_the_process_is_gone_and_the_next_one_starts(tmp_path):
    files = write_pictures(tmp_path / "a", {}, 60)
    with reader() as process:
        results = process.read(tmp_path / "a", files)
        next(results)
        results.close()
        assert processes_of(tmp_path) == []
        assert told(process.read(tmp_path / "a", files)) == list(range(60))


def test_an_error_of_the_caller_ends_it(tmp_path):
    def names():
        yield "00000.jpg"
        raise LookupError("of the caller")

    write_pictures(tmp_path / "a", {}, 1)
    with reader() as process, pytest.raises(LookupError):
        list(process.read(tmp_path / "a", names()))


# --- not starting ---


def test_a_process_that_can_not_start_says_why(tmp_path, monkeypatch):
    files = write_pictures(tmp_path / "a", {}, 1)
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: no such file')")
    with reader() as process, pytest.raises(ClusterimgError, match=r"can't start: ImportError: libGL\.so\.1"):
        list(process.read(tmp_path / "a", files))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with reader() as process, pytest.raises(ClusterimgError, match=r"can't start.*No such file"):
        list(process.read(tmp_path / "a", files))


def test_a_process_that_ends_for_no_file_is_not_started_for_ever(tmp_path):
    files = write_pictures(tmp_path / "a", {}, 1)
    with (
        reader(Doomed()) as process,
        pytest.raises(ClusterimgError, match="ended 3 times: its"),
    ):
        list(process.read(tmp_path / "a", files))
