"""The command line, through a real process."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clusterimg as ci
from clusterimg import cli
from pictures import groups, picture, save


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterimg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups())


def test_every_option_of_run_is_a_keyword_of_the_same_name_and_default() -> None:
    arguments = vars(cli.parser().parse_args(["run", "FOLDER"]))
    for terminal in ("command", "quiet", "verbose", "json", "folder"):
        arguments.pop(terminal)
    keywords = {
        name: keyword.default
        for name, keyword in inspect.signature(ci.run).parameters.items()
        if keyword.kind is keyword.KEYWORD_ONLY and name != "progress"
    }
    assert arguments == keywords


def test_run_prints_what_was_found_and_exits_with_0(folder: Path) -> None:
    done = call("run", folder)
    assert done.returncode == 0, done.stderr
    assert "15 images: 4 clusters of 12 images, 3 outliers" in done.stdout
    assert "method imagehash" in done.stdout
    assert "backend cpp, x86-64" in done.stdout or "backend cpp, plain" in done.stdout
    assert str(folder.parent / "photos_clustered" / "result") in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_json_is_the_summary_and_nothing_else(folder: Path) -> None:
    done = call("run", folder, "--json", "--method", "ssim", "--size", "32x24", "--threshold", "0.7")
    summary = json.loads(done.stdout)
    assert summary == json.loads((folder.parent / "photos_clustered" / "run.json").read_text())
    assert summary["method_parameters"]["size"] == [32, 24]
    assert summary["parameters"]["threshold"] == 0.7


def test_quiet_says_nothing(folder: Path) -> None:
    done = call("run", folder, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_skipped_files_are_shown_and_are_exit_code_1_under_strict(folder: Path) -> None:
    (folder / "a\nb.jpg").touch()
    done = call("run", folder, "--out", folder.parent / "one")
    assert done.returncode == 0
    assert "skipped: a\nb.jpg (empty file)" in done.stdout
    strict = call("run", folder, "--out", folder.parent / "two", "--strict")
    assert strict.returncode == 1
    assert (folder.parent / "two" / "run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: clusterimg"),
        (["run"], "FOLDER"),
        (["run", "missing"], "missing"),
        (["run", ".", "--method", "sift"], "invalid choice"),
        (["run", ".", "--size", "64"], "wanted WIDTHxHEIGHT"),
        (["run", ".", "--size", "64x64"], "imagehash has no size"),
        (["run", ".", "--transfer", "move"], "invalid choice"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_was_wanted(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_result_is_refused(folder: Path) -> None:
    assert call("run", folder).returncode == 0
    again = call("run", folder)
    assert again.returncode == 2
    assert "choose another --out" in again.stderr


def test_a_result_that_cannot_be_written_is_exit_code_3(folder: Path) -> None:
    done = call("run", folder, "--out", "/proc/clusterimg")
    assert done.returncode == 3
    assert done.stderr.startswith("clusterimg: error:")
    assert "Traceback" not in done.stderr
    assert "Traceback" in call("run", folder, "--out", "/proc/clusterimg", "--verbose").stderr


def test_ctrl_c_stops_the_pair_work_and_exits_with_130(tmp_path: Path) -> None:
    images = {f"{k:03}.png": picture(k, 320, 320) for k in range(120)}
    folder = save(tmp_path / "photos", images)
    process = subprocess.Popen(
        [sys.executable, "-m", "clusterimg", "run", str(folder), "--method", "orb", "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    out = tmp_path / "photos_clustered" / ".clusterimg"
    while process.poll() is None and not out.exists():
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - asked < 5
    assert stderr == "clusterimg: interrupted\n"
    assert not out.parent.exists()


def test_a_closed_pipe_is_no_traceback(folder: Path) -> None:
    script = f"'{sys.executable}' -m clusterimg run '{folder}' --json | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_evaluate_compares_with_labels(folder: Path) -> None:
    call("run", folder)
    labels = folder.parent / "labels.csv"
    rows = [f"{file.name},{file.name.rpartition('_')[2]}" for file in sorted(folder.iterdir())]
    labels.write_text("file,group\n" + "\n".join(row.replace("single", "s") for row in rows) + "\n")
    out = folder.parent / "photos_clustered"
    text = call("evaluate", out, labels)
    assert text.returncode == 0
    assert "pairwise        1.000" in text.stdout
    found = json.loads(call("evaluate", out, labels, "--json").stdout)
    assert found["precision"] == 1.0
    assert found["images"] == 15
    damaged = call("evaluate", folder, labels)
    assert damaged.returncode == 3
    assert "clusters.csv" in damaged.stderr


def test_info_names_backends_isa_and_threads() -> None:
    facts = json.loads(call("info", "--json").stdout)
    assert facts["auto"] == "cpp"
    assert facts["backends"]["cpp"] == "can run"
    assert facts["threads"] == len(os.sched_getaffinity(0))
    assert set(facts["methods"]) == {"ssim", "minhash", "imagehash", "orb", "tm"}
    assert facts["isa"] in call("info").stdout


def test_demo_clusters_real_photos(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the demo photos ship with scikit-image")
    done = call("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "look at: clusterimg_demo/clustered/result/cluster_0" in done.stdout
    assert (tmp_path / "clusterimg_demo" / "clustered" / "result" / "cluster_0").is_dir()
    assert call("demo", cwd=tmp_path).returncode == 2


def test_progress_lines_come_at_most_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = cli._Lines(sys.stderr, clock=lambda: now)
    for done in range(1, 31):
        now = float(done)
        lines("pairs", done, 30)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "pairs 11 of 30, 1/s, 17 s left",
        "pairs 21 of 30, 1/s, 9 s left",
        "pairs 30 of 30, 1/s",
    ]


def test_bars_are_drawn_on_a_terminal_without_colour_if_asked(folder: Path) -> None:
    import pty

    for colour in (True, False):
        leader, follower = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
        environment.pop("NO_COLOR", None)
        if not colour:
            environment["NO_COLOR"] = "1"
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "clusterimg",
                "run",
                str(folder),
                "--out",
                str(folder.parent / str(colour)),
            ],
            stderr=follower,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        os.close(follower)
        drawn = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            drawn += chunk
        os.close(leader)
        assert process.wait() == 0
        assert b"features" in drawn
        assert b"15/15" in drawn
        assert (b"\x1b[38;" in drawn) == colour


@pytest.mark.timing
def test_import_costs_little_over_numpy() -> None:
    code = "import time, numpy; t = time.process_time(); import clusterimg; print(time.process_time() - t)"
    spent = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(spent) < 0.1


def test_import_loads_no_heavy_library() -> None:
    heavy = {"cv2", "PIL", "pyarrow", "rich", "scipy", "torch"}
    code = f"import sys, clusterimg; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
