"""The curve in a matplotlib window on a screen of its own, and as a picture in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clusterimg.errors import MissingExtra, ResultError, UsageError
from clusterimg.picker._drawing import SIZE, Drawing, style
from clusterimg.picker._panel import ACCENT
from clusterimg.picker._pictures import Pictures
from clusterimg.picker.curve import ThresholdCurve
from clusterimg.picker.window import choose_in_window, save_plot
from curves import curve_of_pairs, large_curve
from pictures import groups, noisy, picture, save
from screen import WITHIN, Screen, screen, wait_for, why_no_screen

"""Whether `run --threshold ask` is there: its test runs from then on."""

pytest.importorskip("matplotlib", reason="matplotlib is not installed: clusterimg[plot]")

TESTS = Path(__file__).parent
TITLE = "clusterimg: choose the threshold"
PAIRS = [(0, 1, 0.97), (1, 2, 0.93), (3, 4, 0.8), (5, 6, 0.75), (4, 5, 0.6), (6, 7, 0.5), (0, 7, 0.2)]
HOSTILE = [
    "a.png",
    "$b^^2$.png",
    "<c>\x1b[2J.png",
    "été 日本 😀.png",
    "d\\e.png",
    "f" * 60 + ".png",
    "gone.png",
    "h.txt",
]


def hostile_curve(n_sample: int | None = None) -> ThresholdCurve:
    return curve_of_pairs(PAIRS, HOSTILE, default=0.9, n_sample=n_sample)


def hostile_folder(folder: Path) -> Path:
    """Write pictures under the names of the curve; one file is missing, and one is no picture."""
    save(folder, {name: picture(k) for k, name in enumerate(HOSTILE[:6])})
    (folder / "h.txt").write_text("no picture")
    return folder


def drawing_of(curve: ThresholdCurve, folder: Path | None) -> Drawing:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(SIZE, dpi=100)
    FigureCanvasAgg(figure)
    return Drawing(figure, curve, None if folder is None else Pictures(folder), "")


def texts_of(drawing: Drawing) -> list[str]:
    from matplotlib.text import Text

    found = drawing.figure.findobj(Text)
    return [text.get_text() for text in found if isinstance(text, Text) and text.get_text()]


# --- the picture ---


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF-")])
def test_a_plot_is_saved_the_same_each_time(tmp_path: Path, ending: str, start: bytes) -> None:
    folder = hostile_folder(tmp_path / "photos")
    saved = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{ending}"
        save_plot(hostile_curve(), path, folder=folder)
        saved.append(path.read_bytes())
    assert saved[0].startswith(start)
    assert saved[0] == saved[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"one.{ending}", "photos", f"two.{ending}"]


def test_a_plot_shows_the_threshold_that_is_wanted(tmp_path: Path) -> None:
    saved = set()
    for threshold in (None, 0.69, 0.55):
        save_plot(large_curve(), tmp_path / "x.png", threshold=threshold)
        saved.add((tmp_path / "x.png").read_bytes())
    assert len(saved) == 2


def test_a_plot_in_no_known_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in one of \.png, \.svg, \.pdf, got '.*x\.bmp'"):
        save_plot(large_curve(), tmp_path / "x.bmp")


def test_a_plot_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match="can't write"):
        save_plot(large_curve(), tmp_path / "missing" / "x.png")
    with pytest.raises(ResultError, match="can't write"):
        save_plot(large_curve(), tmp_path / "file" / "x.png")


def test_a_plot_needs_no_display_and_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    script = f"""
import sys, threading
sys.path.insert(0, {str(TESTS)!r})
import matplotlib
settings = [name for name in matplotlib.rcParams if name != "backend"]  # asking for that one sets it
before = [matplotlib.rcParams[name] for name in settings]
from curves import large_curve
from clusterimg.picker.window import save_plot
thread = threading.Thread(target=save_plot, args=(large_curve(), sys.argv[1]))
thread.start(); thread.join()
assert [matplotlib.rcParams[name] for name in settings] == before
assert not {{"matplotlib.pyplot", "tkinter", "PyQt6"}} & set(sys.modules), "more than was needed"
"""
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "x.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_curves_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    for files in ("a", "ab"):
        save_plot(curve_of_pairs([], files), tmp_path / "x.png", folder=tmp_path)
    only_equal = curve_of_pairs([(0, 1, 1.0)], ["a", "b"])
    save_plot(only_equal, tmp_path / "x.png", folder=tmp_path)


def test_what_is_said_of_a_threshold(tmp_path: Path) -> None:
    with style():
        drawing = drawing_of(large_curve(), None)
        drawing.move_to(0.55)
        texts = texts_of(drawing)
    assert "0.55" in texts
    assert "about 250,000 (140,000 to 350,000) similar pairs" in texts
    assert "about 17,000 (10,000 to 20,000) images in clusters, 87 % of all" in texts
    assert "282 clusters in the sample, the largest of 637 images" in texts
    assert "default 0.69" in texts


def test_the_pairs_next_to_the_cut_are_a_ladder(tmp_path: Path) -> None:
    """Highest score on top, the cut between; names are text, whatever they hold."""
    folder = hostile_folder(tmp_path / "photos")
    with style():
        drawing = drawing_of(hostile_curve(), folder)
        drawing.move_to(0.7)
        while drawing.load():
            pass
        drawing.figure.canvas.draw()  # a warning about a glyph would be an error
        texts = texts_of(drawing)
    beside = texts[texts.index("0.70") + 1 :]  # after what is said of the threshold
    scores = [text for text in beside if text in {f"{score:g}" for _, _, score in PAIRS}]
    assert scores == ["0.93", "0.8", "0.75", "0.6", "0.5", "0.2"]
    assert "$b^^2$.png" in texts
    assert "<c>\\x1b[2J.png" in texts
    assert "été \u25a1\u25a1 😀.png" in texts
    assert "d\\\\e.png" in texts
    assert "…" not in texts
    assert "no such file\nor directory" in texts
    assert any("not an image" in text.replace("\n", " ") for text in texts), texts
    assert max(len(text) for text in texts if text.startswith("fff")) == 34


def test_pictures_are_loaded_once_and_only_so_many_kept(tmp_path: Path) -> None:
    from clusterimg.picker import _pictures

    save(tmp_path, {"a.png": picture(1), "b.png": noisy(picture(1), 2)})
    pictures = Pictures(tmp_path)
    assert pictures.shown("a.png").pixels is None
    assert pictures.load("a.png")
    assert not pictures.load("a.png")
    pixels = pictures.shown("a.png").pixels
    assert pixels is not None
    assert pixels.shape == (120, 160, 3)
    for k in range(_pictures._KEPT):
        pictures.load(f"missing {k}")
    assert pictures.shown("a.png").pixels is None


@pytest.mark.parametrize("n_sample", [None, 2000])
def test_where_the_curve_is(n_sample: int | None) -> None:
    """The marks are at the numbers; 0 has its place on the logarithmic axis."""
    curve = large_curve(n_sample=n_sample)
    with style():
        drawing = drawing_of(curve, None)
        assert drawing.is_log
        assert drawing.axes.get_xlim()[0] < 0
        for is_log in (True, False):
            drawing.use_log_scale(is_log)
            assert drawing.is_log == is_log
            drawing.figure.canvas.draw()
            for threshold in (0.4, 0.69, 0.995):
                drawing.move_to(threshold)
                (x,), (y,) = drawing._dot.get_data()
                assert (x, y) == (curve.at(threshold).pairs, threshold)
                low, high = (float(end) for end in drawing._span.get_xdata())
                assert (low, high) == (curve.at(threshold).pairs_low, curve.at(threshold).pairs_high)
                left, right = drawing.axes.get_xlim()
                assert left < low <= high < right
    small = curve_of_pairs(PAIRS, HOSTILE)
    with style():
        assert not drawing_of(small, None).is_log


def test_texts_follow_the_size_of_the_window() -> None:
    with style():
        drawing = drawing_of(large_curve(), None)
        before = [text.get_fontsize() for text in drawing.axes.texts]
        for size in ((5.5, 3.6), (5.5, 3.6), (11, 3.6)):
            drawing.figure.set_size_inches(size)
            drawing.rescale()
            assert [text.get_fontsize() for text in drawing.axes.texts] == [s / 2 for s in before]
        drawing.figure.set_size_inches(SIZE)
        drawing.rescale()
        assert [text.get_fontsize() for text in drawing.axes.texts] == before


# --- where no window can be opened ---

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {names!r} else found(name, package)
from clusterimg.picker.window import why_no_window
print(why_no_window())
"""
QT = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def reason(*names: str, **variables: str) -> str:
    """Return the reason that a process gives that lacks some modules."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")} | variables
    command = [sys.executable, "-c", WITHOUT.format(names=names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_why_no_window() -> None:
    assert reason("matplotlib") == "matplotlib is not installed: pip install 'clusterimg[plot]'"
    assert reason() == "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    assert reason("tkinter", *QT, DISPLAY=":1") == (
        "no window toolkit can be used: tkinter is not installed (on Debian and Ubuntu: apt install "
        "python3-tk); Qt is not installed (pip install PyQt6)"
    )


def test_a_display_that_is_not_there() -> None:
    pytest.importorskip("tkinter")
    text = reason(*QT, DISPLAY=":987")
    assert text.startswith("no window toolkit can be used: tkinter: ")
    assert 'couldn\'t connect to display ":987"' in text


def test_choosing_without_a_window_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="can't open a window: there is no display"):
        choose_in_window(large_curve(), tmp_path)


def test_matplotlib_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (
        lambda: choose_in_window(large_curve(), tmp_path),
        lambda: save_plot(large_curve(), "x.png"),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'clusterimg\[plot\]'"):
            call()


# --- a window on a screen ---

CHOOSING = f"""
import json, sys
sys.path.insert(0, {str(TESTS)!r})
from clusterimg.picker import window
from clusterimg.picker._drawing import Drawing
from curves import *
from test_window import texts_of
draw_moving = window._Chooser._draw_moving

def told(self):  # what the screen shows from now on, whenever it changes
    draw_moving(self)
    shown = {{"threshold": self._drawing.threshold, "texts": texts_of(self._drawing),
             "is_log": self._drawing.is_log, "y": self._drawing.axes.get_yscale()}}
    print(json.dumps(shown), flush=True)

window._Chooser._draw_moving = told
try:
    chosen = window.choose_in_window(eval(sys.argv[1]), sys.argv[2])
    print(json.dumps({{"chosen": chosen}}), flush=True)
except KeyboardInterrupt:
    print(json.dumps({{"interrupted": True}}), flush=True)
"""

no_screen = why_no_screen()
needs_screen = pytest.mark.skipif(no_screen is not None, reason=str(no_screen))


class Window:
    """A process that shows the curve in a window, and what it says is to be seen there."""

    def __init__(self, at: Screen, command: list[str]) -> None:
        environment = {**os.environ, "DISPLAY": at.name}
        environment.pop("WAYLAND_DISPLAY", None)
        self.screen, self.told = at, list[dict[str, Any]]()
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))

    def wait_until(self, what: Callable[[dict[str, Any]], Any], name: str) -> dict[str, Any]:
        """Return what was told last, once it is so."""
        return wait_for(lambda: self.told[-1] if self.told and what(self.told[-1]) else None, name)

    def wait_at(self, threshold: float) -> dict[str, Any]:
        return self.wait_until(lambda told: told.get("threshold") == threshold, f"threshold {threshold}")

    def end(self) -> dict[str, Any]:
        """Return what the process told last, once it has ended."""
        assert self.process.wait(WITHIN) == 0
        return wait_for(lambda: self.told[-1] if "threshold" not in self.told[-1] else None, "end")


@pytest.fixture(scope="module")
def x11() -> Iterator[Screen]:
    with screen() as found:
        yield found


OpenWindow = Callable[[str, Path], Window]


@pytest.fixture
def window(x11: Screen) -> Iterator[OpenWindow]:
    """Open the window of a curve, and wait until it is drawn."""
    pytest.importorskip("tkinter")
    opened: list[Window] = []

    def start(curve: str, folder: Path) -> Window:
        x11.move(1190, 790)  # beside the window
        one = Window(x11, [sys.executable, "-W", "error", "-c", CHOOSING, curve, str(folder)])
        opened.append(one)
        wait_for(lambda: TITLE in x11.windows(), "window")
        one.wait_until(lambda told: "threshold" in told, "drawing")
        return one

    yield start
    for one in opened:
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


def place(curve: ThresholdCurve, threshold: float) -> tuple[float, float]:
    """Return a pixel of the screen at which the curve's frame is at a threshold."""
    with style():
        drawing = drawing_of(curve, Path())
        _, height = drawing.figure.canvas.get_width_height()
        x, y = (
            drawing.axes.transAxes.transform((0.4, 0))[0],
            drawing.axes.transData.transform((1, threshold))[1],
        )
    return float(x), height - float(y)


def keep(at: Screen, name: str) -> None:
    """Save what the screen shows, for people to look at."""
    folder = os.environ.get("CLUSTERIMG_SHOTS")
    if folder:
        at.shot().save(Path(folder) / f"{name}.png")


def has_cut(at: Screen, y: float) -> bool:
    """Return whether the screen shows the line of the cut across the curve's frame there."""
    accent = np.array([int(ACCENT[k : k + 2], 16) for k in (1, 3, 5)])
    band = at.pixels()[round(y) - 2 : round(y) + 3, 100:600].astype(int)
    near = (np.abs(band - accent).sum(axis=2) < 90).any(axis=0)
    return bool(near.mean() > 0.9)


@needs_screen
def test_pointing_and_clicking(window: OpenWindow, x11: Screen, tmp_path: Path) -> None:
    curve = hostile_curve()
    shown = window("__import__('test_window').hostile_curve()", hostile_folder(tmp_path))
    assert shown.told[-1]["threshold"] == 0.9
    assert not shown.told[-1]["is_log"]
    x, y = place(curve, 0.7)
    x11.move(x, y)
    told = shown.wait_until(lambda told: abs(told["threshold"] - 0.7) < 0.003, "threshold under the pointer")
    assert "4 similar pairs" in told["texts"]
    assert "7 images in clusters, 88 % of all" in told["texts"]
    assert "3 clusters, the largest of 3 images" in told["texts"]
    wait_for(lambda: has_cut(x11, y), "line under the pointer")
    assert not has_cut(x11, place(curve, 0.5)[1])
    shown.wait_until(lambda told: "…" not in told["texts"], "pictures")
    keep(x11, "window")
    x11.click(3)  # the right button does nothing
    x11.move(x, place(curve, 0.62)[1])
    told = shown.wait_until(lambda told: abs(told["threshold"] - 0.62) < 0.003, "threshold under the pointer")
    x11.click()
    assert shown.end() == {"chosen": told["threshold"]}
    assert curve.at(told["threshold"]).pairs == 4
    assert TITLE not in x11.windows()


@needs_screen
def test_keys(window: OpenWindow, x11: Screen, tmp_path: Path) -> None:
    curve = large_curve()
    shown = window("large_curve()", tmp_path)
    assert shown.wait_at(0.69)["is_log"]
    wait_for(lambda: has_cut(x11, place(curve, 0.69)[1]), "line at the default")
    keep(x11, "window_large")
    x11.move(20, 20)  # in the window, beside the curve
    x11.press("up")
    above = shown.wait_until(lambda told: told["threshold"] > 0.69, "next threshold")["threshold"]
    assert curve.at(above).pairs < curve.at(0.69).pairs
    x11.press("down")
    shown.wait_at(0.69)
    x11.press("pagedown")
    below = shown.wait_until(lambda told: told["threshold"] < 0.67, "page of thresholds")["threshold"]
    assert below > 0.65
    x11.press("home")
    assert "0 similar pairs" in shown.wait_until(lambda told: told["threshold"] > 0.99, "end")["texts"]
    x11.press("end")
    shown.wait_at(0.4)
    wait_for(lambda: has_cut(x11, place(curve, 0.4)[1]), "line at the lowest")
    x11.move(*place(curve, 0.5))  # into the frame, where matplotlib's own keys work
    shown.wait_until(lambda told: abs(told["threshold"] - 0.5) < 0.003, "threshold under the pointer")
    before = x11.pixels()
    x11.press("l")
    assert shown.wait_until(lambda told: not told["is_log"], "linear axis")["y"] == "linear"
    wait_for(lambda: (x11.pixels() != before).any(), "change")
    keep(x11, "window_linear")
    x11.press("l")
    shown.wait_until(lambda told: told["is_log"], "logarithmic axis")
    x11.press("d")
    shown.wait_at(0.69)
    x11.press("pageup")
    chosen = shown.wait_until(lambda told: told["threshold"] > 0.69, "page of thresholds")["threshold"]
    x11.press("enter")
    assert shown.end() == {"chosen": chosen}


@needs_screen
@pytest.mark.parametrize("way", ["escape", "close", "interrupt"])
def test_leaving(window: OpenWindow, x11: Screen, tmp_path: Path, way: str) -> None:
    shown = window("large_curve()", tmp_path)
    x11.move(300, 300)
    shown.wait_until(lambda told: told["threshold"] != 0.69, "threshold under the pointer")
    if way == "escape":
        x11.press("escape")
    elif way == "close":
        x11.ask_to_close(TITLE)
    else:
        shown.process.send_signal(2)
    assert shown.end() == ({"interrupted": True} if way == "interrupt" else {"chosen": None})
    assert TITLE not in x11.windows()


@needs_screen
def test_a_window_of_nothing(window: OpenWindow, x11: Screen, tmp_path: Path) -> None:
    shown = window("curve_of_pairs([], ['a', 'b'])", tmp_path)
    assert "2 images: no two of them are similar, whatever the threshold." in shown.told[-1]["texts"]
    assert "no example above the cut" in shown.told[-1]["texts"]
    wait_for(lambda: has_cut_somewhere(x11), "line at the default")
    keep(x11, "window_empty")
    x11.move(20, 20)
    x11.press("up")
    x11.press("enter")
    assert shown.end() == {"chosen": 0.9}


@needs_screen
def test_run_asks_in_a_window(x11: Screen, tmp_path: Path) -> None:
    pytest.importorskip("tkinter")
    folder = save(tmp_path / "photos", groups())
    arguments = ["run", str(folder), "--threshold", "ask", "--ui", "window"]
    command = [sys.executable, "-m", "clusterimg", *arguments]
    environment = {**os.environ, "DISPLAY": x11.name}
    x11.move(20, 20)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: TITLE in x11.windows() and has_cut_somewhere(x11), "window")
        keep(x11, "run_asks_in_a_window")
        x11.press("up")
        x11.press("enter")
        out, err = process.communicate(timeout=WITHIN)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "method imagehash, threshold " in out
    assert (tmp_path / "photos_clustered" / "clusters.csv").exists()


def has_cut_somewhere(at: Screen) -> bool:
    return any(has_cut(at, y) for y in range(110, 640, 3))
