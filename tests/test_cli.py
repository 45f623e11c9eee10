"""The command line, through a real process where its start, its end or its streams are what is tested."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import clusterimg as ci
from clusterimg import _options, _progress
from commands import call_here
from pictures import groups, picture, save


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterimg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups())


@pytest.mark.parametrize(
    ("command", "function", "positional"), [("run", ci.run, "folder"), ("merge", ci.merge, "results")]
)
def test_every_option_is_a_keyword_of_the_same_name_and_default(
    command: str, function: Callable[..., object], positional: str
) -> None:
    arguments = vars(_options.parser().parse_args([command, "PATH"]))
    for other in (*_options.TERMINAL, positional):
        arguments.pop(other, None)
    keywords = {
        name: keyword.default
        for name, keyword in inspect.signature(function).parameters.items()
        if keyword.kind is keyword.KEYWORD_ONLY and name not in ("progress", "choose")
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
    assert "skipped: a\\x0ab.jpg (empty file)" in done.stdout
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
        (["run", ".", "--transfer", "teleport"], "invalid choice"),
        (["run", ".", "--resume", "--overwrite"], "give one of them"),
        (["run", "."], "holds no files"),
        (["merge"], "RESULT"),
        (["merge", "one", "--merge", "no"], "invalid choice"),
        (["undo"], "RESULT"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_was_wanted(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = call_here(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_result_is_refused(folder: Path) -> None:
    assert call("run", folder).returncode == 0
    again = call("run", folder)
    assert again.returncode == 2
    assert again.stderr == (
        f"clusterimg: error: {folder}_clustered holds a result: --resume goes on with it, "
        "--overwrite replaces it, or choose another --out\n"
    )


@pytest.mark.parametrize("command", ["merge", "undo", "evaluate"])
def test_a_folder_without_a_result_is_named(folder: Path, command: str) -> None:
    done = call_here(command, folder, *([folder] if command == "evaluate" else []))
    assert done.returncode == 3
    assert done.stderr.startswith(f"clusterimg: error: can't read {folder}/")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos"]


def test_a_result_that_cannot_be_written_is_exit_code_3(folder: Path) -> None:
    done = call("run", folder, "--out", "/proc/clusterimg")
    assert done.returncode == 3
    assert done.stderr.startswith("clusterimg: error:")
    assert "Traceback" not in done.stderr
    assert "Traceback" in call("run", folder, "--out", "/proc/clusterimg", "--verbose").stderr


def test_ctrl_c_in_the_pair_work_exits_with_130_and_resume_goes_on(tmp_path: Path) -> None:
    images = {f"{k:03}.png": picture(k, 320, 320) for k in range(120)}
    folder = save(tmp_path / "photos", images)
    command = [sys.executable, "-m", "clusterimg", "run", str(folder), "--method", "orb", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    features = tmp_path / "photos_clustered" / ".clusterimg" / "features_000000.npz"
    while process.poll() is None and not features.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - asked < 1
    assert stderr == "clusterimg: interrupted: the same command with --resume goes on\n"
    done = call(*command[3:], "--resume")
    assert done.returncode == 0, done.stderr
    assert "used from before: the features of 120 images\n" in done.stdout


def test_what_was_reused_is_printed(folder: Path) -> None:
    assert "used from before" not in call_here("run", folder).stdout
    again = call_here("run", folder, "--resume")
    assert "used from before: the features of 15 images\n" in again.stdout
    assert json.loads(call_here("run", folder, "--resume", "--json").stdout)["reused"] == {
        "features": 15,
        "batches": 0,
    }


def test_merge_and_undo_print_what_they_did(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / name, groups(2, 2, 1))
        assert call_here("run", tmp_path / name, "--transfer", "move").returncode == 0
    done = call_here("merge", *(tmp_path / f"{name}_clustered" for name in "ab"), "--transfer", "move")
    assert "10 images: 2 clusters of 8 images, 2 outliers" in done.stdout
    merged = tmp_path / "a_clustered_merged"
    assert f"result: {merged}/result\n" in done.stdout
    assert f"to put the files back: clusterimg undo {merged}\n" in done.stdout
    part = call_here("undo", tmp_path / "a_clustered")
    assert part.returncode == 3
    assert f"undo {merged} first" in part.stderr
    assert call_here("undo", merged).stdout == "10 files put back, 10 copies and links deleted\n"
    assert call_here("undo", tmp_path / "a_clustered", "--quiet").stdout == ""
    undone = json.loads(call_here("undo", tmp_path / "b_clustered", "--json").stdout)
    assert undone == {"restored": 5, "removed": 5, "kept": [], "missing": []}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(groups(2, 2, 1))


def test_dry_run_prints_where_files_would_go(folder: Path) -> None:
    done = call_here("run", folder, "--dry-run", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "0_0.png -> result/cluster_0/0_0.png\n" in done.stdout
    assert done.stdout.endswith(f"dry run: nothing was written into {folder}_clustered\n")
    assert [path.name for path in folder.parent.iterdir()] == ["photos"]


def test_verbose_tells_how_the_pairs_were_found(folder: Path) -> None:
    done = call_here("run", folder, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "\npairs: all pairs, counted one by one\n" in done.stdout
    summary = json.loads((folder.parent / "photos_clustered" / "run.json").read_text())
    assert summary["plans"] == ["all pairs, counted one by one"]
    done = call_here("run", folder, "--verbose", "--method", "ssim", "--out", folder.parent / "other")
    assert done.returncode == 0, done.stderr
    assert "\npairs: " not in done.stdout


def test_a_closed_pipe_is_no_traceback(folder: Path) -> None:
    script = f"'{sys.executable}' -m clusterimg run '{folder}' --json | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_evaluate_compares_with_labels(folder: Path) -> None:
    call_here("run", folder)
    labels = folder.parent / "labels.csv"
    rows = [f"{file.name},{file.name.rpartition('_')[2]}" for file in sorted(folder.iterdir())]
    labels.write_text("file,group\n" + "\n".join(row.replace("single", "s") for row in rows) + "\n")
    out = folder.parent / "photos_clustered"
    text = call_here("evaluate", out, labels)
    assert text.returncode == 0
    assert "pairwise        1.000" in text.stdout
    found = json.loads(call_here("evaluate", out, labels, "--json").stdout)
    assert found["precision"] == 1.0
    assert found["images"] == 15
    damaged = call_here("evaluate", folder, labels)
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
    lines = _progress.Lines(sys.stderr, clock=lambda: now)
    for done in range(1, 31):
        now = float(done)
        lines("pairs", done, 30)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "pairs 11 of 30, 1/s, 19 s left",
        "pairs 21 of 30, 1/s, 9 s left",
        "pairs 30 of 30, 1/s",
    ]
    for done in range(500, 521):  # the 500 were done by an earlier process
        now = float(done)
        lines("training", done, 1000)
    assert capsys.readouterr().err.splitlines()[0] == "training 510 of 1,000, 1/s, 490 s left"


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
