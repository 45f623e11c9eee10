"""`train` as people call it: what it writes, says and refuses, killed and interrupted."""

from __future__ import annotations

import csv
import fcntl
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from made_objects import objects  # noqa: E402  after the skip

import clusterimg.deep.training as training_module  # noqa: E402
from clusterimg import cli  # noqa: E402
from clusterimg._options import TERMINAL, parser  # noqa: E402
from clusterimg.deep import training_plots  # noqa: E402
from clusterimg.deep._parameters import Parameters  # noqa: E402
from clusterimg.deep.autoencoder import Architecture  # noqa: E402
from clusterimg.deep.checkpoint import load  # noqa: E402
from clusterimg.deep.training import train  # noqa: E402
from clusterimg.errors import ModelError, UsageError  # noqa: E402
from test_environment import call, error_of  # noqa: E402

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]

SMALL = ("--size", 16, "--width", 4, "--latent", 4, "--depth", 2, "--device", "cpu", "--threads", 1)
SMALL_WORDS: dict[str, Any] = {
    "size": 16,
    "width": 4,
    "latent": 4,
    "depth": 2,
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images, one of them in a subfolder, and two files that are none."""
    place = tmp_path_factory.mktemp("made") / "photos"
    (place / "more").mkdir(parents=True)
    for number, picture in enumerate(objects(4, 8, 24)[0]):
        name = f"more/{number}.png" if number == 31 else f"{number:02}.png"
        Image.fromarray(picture.transpose(1, 2, 0)).save(place / name)
    (place / "notes.txt").write_text("no image")
    (place / "cut.png").write_bytes((place / "00.png").read_bytes()[:-200])
    return place


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line in this process: a new one takes seconds to import torch."""

    def called(*arguments: object) -> Done:
        capsys.readouterr()
        words = list(map(str, arguments))
        code = cli.main(words)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return called


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


# --- what it does ---


def test_what_it_writes_and_says(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "photos.pt"
    done = call("train", folder, "--out", out, "--epochs", 3, *SMALL)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "28 images trained on, 3 for validation; 16x16, 4 numbers an image"
    assert re.fullmatch(r"3 epochs in [\d.]+ s, [\d,]+ images/s on cpu, float32, 1 thread", lines[1]), lines[
        1
    ]
    assert lines[2] == "ended: all epochs are done (epochs)"
    loss = r"\(mse \+ 0\.05 contrastive\) 0\.\d+"
    assert re.fullmatch(rf"best validation loss {loss} after epoch [123]", lines[3])
    files = ["photos.pt", "photos_loss.csv", "photos_loss.png", "photos_reconstructions.png"]
    assert [Path(line.split(": ", 1)[1]).name for line in lines[4:]] == files
    assert names(out.parent) == files
    skipped = sorted(line for line in done.stderr.splitlines() if line.startswith("clusterimg: skipped: "))
    assert [line.split()[2] for line in skipped] == ["cut.png", "notes.txt"]
    model = load(out)
    assert model.architecture == Architecture(size=16, width=4, latent=4, depth=2)
    assert {"clusterimg", "torch", "Pillow"} <= set(model.facts["versions"])
    assert model.facts["policy"]["orientation"] == "EXIF orientation applied"
    with out.with_name(files[1]).open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["epochs"] for row in table] == ["1.0", "2.0", "3.0"]
    assert [float(row["validation"]) for row in table] == [e["validation"] for e in model.facts["history"]]


def test_as_json_and_recursive(folder: Path, tmp_path: Path, here: Call) -> None:
    out = tmp_path / "photos.pt"
    command = ("train", folder, "--out", out, "--epochs", 1, "--json", "--recursive", "--channels", 1)
    done = here(*command, "--max-images", 20, *SMALL)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["architecture"]["channels"] == 1
    assert told["outcome"]["n_training"] + told["outcome"]["n_validation"] + told["skipped"] == 20
    assert [Path(file).name for file in told["files"]] == names(tmp_path)
    assert load(out).facts["digest"] == told["digest"]


def test_the_library_gives_the_same_model(folder: Path, tmp_path: Path, here: Call) -> None:
    here("train", folder, "--out", tmp_path / "a.pt", "--epochs", 2, "--quiet", *SMALL)
    stages: list[str] = []
    without_file = train(folder, epochs=2, progress=lambda now, _, __: stages.append(now), **SMALL_WORDS)
    assert load(tmp_path / "a.pt").facts["digest"] == without_file.facts["digest"]
    assert names(tmp_path) == ["a.pt", "a_loss.csv", "a_loss.png", "a_reconstructions.png"]
    assert list(dict.fromkeys(stages)) == ["pictures", "training"]
    assert [skip.file for skip in without_file.skipped] == ["cut.png", "notes.txt"]


def test_paths_arrays_and_pictures(folder: Path) -> None:
    files = sorted(folder.glob("[0-2]*.png"))
    by_path = train(files, epochs=1, **SMALL_WORDS)
    arrays = [np.asarray(Image.open(file)) for file in files]
    by_array = train(arrays, epochs=1, **SMALL_WORDS)
    by_block = train(np.stack(arrays), epochs=1, **SMALL_WORDS)
    assert by_path.facts["digest"] == by_array.facts["digest"] == by_block.facts["digest"]
    pictures = objects(3, 4, 16)[0]
    assert train(pictures, epochs=1, **SMALL_WORDS).facts["outcome"]["n_training"] == 11
    chosen = train(pictures, epochs=1, max_images=5, **SMALL_WORDS)
    assert chosen.facts["outcome"]["n_training"] == 4
    with pytest.raises(UsageError, match="all paths or all arrays, got both"):
        train([files[0], arrays[0]], **SMALL_WORDS)
    with pytest.raises(UsageError, match=r"pictures must be uint8 \(n, 3, 16, 16\), or images"):
        train(objects(3, 4, 8)[0], **SMALL_WORDS)
    with pytest.raises(UsageError, match="recursive belongs to a folder"):
        train(files, recursive=True, **SMALL_WORDS)


def test_own_files_are_not_trained_on(folder: Path, tmp_path: Path, here: Call) -> None:
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(6):
        (place / f"{number}.png").write_bytes((folder / f"{number:02}.png").read_bytes())
    for _ in range(2):
        done = here("train", place, "--out", place / "m.pt", "--epochs", 1, "--overwrite", "--json", *SMALL)
        told = json.loads(done.stdout)
        assert told["outcome"]["n_training"] + told["outcome"]["n_validation"] == 6
        assert told["skipped"] == 0


# --- the same names and defaults everywhere ---


def test_options_are_keywords_with_their_defaults() -> None:
    arguments = vars(parser().parse_args(["train", "photos", "--out", "m.pt"]))
    options = {name: value for name, value in arguments.items() if name not in TERMINAL}
    keywords = inspect.signature(train).parameters
    assert set(options) == set(keywords) - {"progress"}
    for name, value in options.items():
        if name not in ("images", "out"):
            assert value == keywords[name].default, name
    sizes = {name: keywords[name].default for name in ("size", "channels", "width", "latent", "depth")}
    assert Architecture(**sizes) == Architecture()
    assert {name: keywords[name].default for name in Parameters.names()} == Parameters().as_dict()


def test_help_tells_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, parameter in inspect.signature(train).parameters.items():
        default = parameter.default
        if isinstance(default, (int, float, str)) and not isinstance(default, bool):
            option = text.split(f" --{name.replace('_', '-')} ")[-1].split(" --")[0]
            shown = default if isinstance(default, str) else f"{default:g}"
            assert f"({shown})" in option, name


# --- what it refuses ---


def test_nothing_is_overwritten_unless_told(folder: Path, tmp_path: Path, here: Call) -> None:
    out = tmp_path / "photos.pt"
    (tmp_path / "photos_loss.png").write_bytes(b"mine")
    command = ("train", folder, "--out", out, "--epochs", 1, *SMALL)
    text = error_of(here(*command), 2)
    told = "is there already: --overwrite replaces it, or give another --out"
    assert text == f"{tmp_path / 'photos_loss.png'} {told}"
    assert names(tmp_path) == ["photos_loss.png"]
    assert here(*command, "--overwrite").returncode == 0
    before = out.read_bytes()
    assert error_of(here(*command), 2) == f"{out} {told}"
    text = error_of(here(*command, "--resume"), 2)
    assert text.endswith("(the training is finished, there is nothing to resume)")
    assert out.read_bytes() == before


def test_too_few_images(folder: Path, tmp_path: Path, here: Call) -> None:
    place = tmp_path / "photos"
    place.mkdir()
    (place / "a.png").write_bytes((folder / "00.png").read_bytes())
    (place / "b.txt").write_text("x")
    text = error_of(here("train", place, "--out", tmp_path / "m.pt", *SMALL), 2)
    assert (
        "two images at least, one to learn from and one to judge by, got 1 (1 skipped, such as b.txt: "
        in text
    )
    assert names(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", 30), "size must be divisible by 4 with depth 2, got 30"),
        (("--epochs", 0), "epochs must be a whole number of at least 1, got 0"),
        (("--time-budget", "soon"), "time_budget must be seconds above 0"),
        (("--max-images", 1), "max_images must be a whole number of at least 2, got 1"),
        (("--perceptual-layers", "relu1_1"), "perceptual_layers belongs to the loss perceptual"),
        (("--learning-rate", "-1"), "learning_rate must be above 0, got -1.0"),
    ],
)
def test_wrong_options(
    folder: Path, tmp_path: Path, options: tuple[object, ...], told: str, here: Call
) -> None:
    done = here("train", folder, "--out", tmp_path / "m.pt", *SMALL, *options)
    assert told in error_of(done, 2)
    assert not names(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(folder: Path, tmp_path: Path, here: Call) -> None:
    done = here("train", folder, "--out", tmp_path / "m.pt", "--device", "cuda")
    assert "device cuda can't be used: " in error_of(done, 2)


def test_places_that_can_not_be_written_to(folder: Path, tmp_path: Path, here: Call) -> None:
    assert "got the folder" in error_of(here("train", folder, "--out", tmp_path, *SMALL), 2)
    (tmp_path / "file").write_text("x")
    text = error_of(here("train", folder, "--out", tmp_path / "file" / "m.pt", *SMALL), 3)
    assert text.startswith(f"can't write {tmp_path / 'file' / 'm.pt.pictures'}: ")


def test_a_model_that_another_process_trains(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "m.pt.pictures").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match=r"m\.pt is being trained by another process"):
            train(folder, out=tmp_path / "m.pt", **SMALL_WORDS)
    assert names(tmp_path) == ["m.pt.pictures"]


def test_a_loss_that_is_no_number(folder: Path, tmp_path: Path, here: Call) -> None:
    command = ("train", folder, "--out", tmp_path / "m.pt", "--learning-rate", 1e30, *SMALL)
    text = error_of(here(*command), 3)
    assert text.endswith("so nothing is saved: give a lower learning_rate than 1e+30")
    assert not names(tmp_path)


def test_without_torch(folder: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from clusterimg import cli; "
    code += "sys.exit(cli.main(sys.argv[1:]))"
    done = call("train", folder, "--out", tmp_path / "m.pt", start=("-c", code))
    assert error_of(done, 3) == "this needs torch: pip install 'clusterimg[deep]'"


# --- ended on its way ---

AT_ONCE = """
import sys
from clusterimg import cli
from clusterimg.deep import _loop
_loop.SECONDS_BETWEEN_STATES = 0.0
sys.exit(cli.main(sys.argv[1:]))
"""


def begun(state: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a training, and return once its state is there."""
    command = [sys.executable, "-c", AT_ONCE, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 100
    while not state.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    return process


def test_killed_then_resumed(folder: Path, tmp_path: Path, here: Call) -> None:
    out, state = tmp_path / "m.pt", tmp_path / "m.pt.state"
    command = ("train", folder, "--out", out, "--epochs", 60, "--patience", 60, "--batch-size", 4, *SMALL)
    process = begun(state, *command)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert {"m.pt.pictures", "m.pt.state"} <= set(names(tmp_path))
    assert not out.exists()
    text = error_of(here(*command), 2)
    assert text == f"{out} has an unfinished training: --resume goes on with it, --overwrite begins anew"
    text = error_of(here(*command, "--resume", "--seed", 4), 2)
    assert "seed was 0, is 4: give the same again" in text
    (folder / "late.png").write_bytes((folder / "01.png").read_bytes())
    text = error_of(here(*command, "--resume"), 2)
    assert "there were 31 images, there are 32" in text
    (folder / "late.png").unlink()
    done = here(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["m.pt", "m_loss.csv", "m_loss.png", "m_reconstructions.png"]
    whole = train(folder, epochs=60, patience=60, batch_size=4, **SMALL_WORDS)
    assert load(out).facts["digest"] == whole.facts["digest"]
    assert load(out).facts["history"] == whole.facts["history"]


def test_interrupted(folder: Path, tmp_path: Path) -> None:
    out, state = tmp_path / "m.pt", tmp_path / "m.pt.state"
    process = begun(state, "train", folder, "--out", out, "--epochs", 100_000, *SMALL)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.decode().endswith("clusterimg: interrupted: the same command with --resume goes on\n")
    assert [name for name in names(tmp_path) if name.startswith("m")] == ["m.pt.state"]


def test_interrupted_before_there_is_a_state(folder: Path, tmp_path: Path) -> None:
    arguments = parser().parse_args(["train", str(folder), "--out", str(tmp_path / "m.pt")])
    assert not cli._can_resume(arguments)
    (tmp_path / "m.pt.state").touch()
    assert cli._can_resume(arguments)


def test_resume_with_nothing_there_begins(folder: Path, tmp_path: Path, here: Call) -> None:
    done = here("train", folder, "--out", tmp_path / "m.pt", "--epochs", 1, "--resume", *SMALL)
    assert done.returncode == 0, done.stderr


def test_overwrite_forgets_an_unfinished_training(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.pt.state").write_bytes(b"of before")
    train(folder, out=tmp_path / "m.pt", epochs=1, overwrite=True, **SMALL_WORDS)
    assert "m.pt.state" not in names(tmp_path)


def test_a_plot_that_fails_leaves_no_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise ModelError("the disk is full")

    monkeypatch.setattr(training_plots, "curve_png", full)
    with pytest.raises(ModelError):
        train(folder, out=tmp_path / "m.pt", epochs=1, **SMALL_WORDS)
    assert "m.pt" not in names(tmp_path)
    assert training_module.__all__ == ["fit", "train"]


# --- plots ---


@pytest.mark.parametrize("n", [2, 9, 40])
def test_plots_of_few_and_of_many(tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's settings of matplotlib are, and leaving them as they are."""
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "font.size", 40.0)
    pictures = objects(4, 10, 16)[0][:n]
    train(pictures, out=tmp_path / "m.pt", epochs=1, validation=0.5, **SMALL_WORDS)
    assert mpl.rcParams["font.size"] == 40.0
    for name in ("m_loss.png", "m_reconstructions.png"):
        with Image.open(io.BytesIO((tmp_path / name).read_bytes())) as image:
            assert image.format == "PNG"
            assert min(image.size) > 150
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 10


def test_rows_of_reconstructions() -> None:
    assert [(kind, list(places)) for kind, places in training_plots._rows(6)] == [
        ("error", [0, 1, 2, 3]),
        ("error", [4, 5]),
    ]
    kinds = {kind: list(places) for kind, places in training_plots._rows(21)}
    assert kinds == {"best": [0, 1, 2, 3], "median": [8, 9, 10, 11], "worst": [17, 18, 19, 20]}
