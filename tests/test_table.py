"""Choosing in a terminal: the table, the prompt, and a person at a real terminal (tmux)."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clusterimg.errors import UsageError
from clusterimg.picker._wording import basis, threshold_at, threshold_text
from clusterimg.picker.curve import ThresholdCurve
from clusterimg.picker.table import choose_in_table, table
from curves import curve_of_pairs, large_curve
from pictures import groups, save

"""Whether `run --threshold ask` is there: its test runs from then on."""

PAIRS = [(0, 1, 0.97), (1, 2, 0.93), (3, 4, 0.8), (5, 6, 0.75), (4, 5, 0.6), (6, 7, 0.5)]
FILES = ["a.jpg", "b.jpg", "[red]c[/red].jpg", ":smile:.jpg", "d\x1b[2J.jpg", "é\udcff.jpg", "f.jpg", "g.jpg"]
TERMINALS = [40, 60, 80, 120, 200]


def small_curve(n_sample: int | None = None) -> ThresholdCurve:
    return curve_of_pairs(PAIRS, FILES, default=0.9, n_sample=n_sample)


def printed(curve: ThresholdCurve, width: int = 200, n_rows: int = 12) -> list[str]:
    """Return the lines of a table, as a terminal of a width shows them."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(table(curve, n_rows, width=width))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def rows_of(lines: list[str]) -> list[list[str]]:
    """Return the cells of the rows that have a number."""
    return [line.replace(" *", "").split() for line in lines if re.match(r" ?\d+ +-?\d\.", line)]


# --- the table ---


def test_the_table_of_a_small_folder() -> None:
    assert printed(small_curve()) == [
        "              similar  clustered",
        "   threshold    pairs     images  share  clusters  largest",
        "1  0.97             0          0    0 %         0        0",
        "2  0.93             1          2   25 %         1        2",
        "3  0.90 *           2          3   38 %         1        3",
        "4  0.75             3          5   62 %         2        3",
        "5  0.60             4          7   88 %         3        3",
        "6  0.50             5          7   88 %         2        4",
        "7  0.00             6          8  100 %         2        5",
        "Exact: all 8 images were compared with each other.",
    ]


def test_the_table_of_a_sample_has_intervals() -> None:
    lines = printed(large_curve())
    assert lines[0].split() == ["similar", "clustered"]
    assert lines[1].split() == (
        [
            "threshold",
            "pairs",
            "95",
            "%",
            "interval",
            "images",
            "95",
            "%",
            "interval",
            "share",
            "clusters",
            "largest",
        ]
    )
    marked = [line for line in lines if "*" in line]
    assert marked == [next(line for line in lines if " 0.69 " in line)]
    assert re.search(
        r"0\.69 \* +14,000  8,500 to 21,000 +14,000  8,600 to 20,000 +72 % +400 +205$", marked[0]
    )
    assert " ".join(lines[-2:]) == basis(large_curve())


@pytest.mark.parametrize("width", TERMINALS)
@pytest.mark.parametrize("n_sample", [None, 2000])
def test_no_line_is_wider_than_the_terminal(width: int, n_sample: int | None) -> None:
    curve = large_curve(n_sample=n_sample)
    lines = printed(curve, width)
    assert max(map(len, lines)) <= width
    found = rows_of(lines)
    assert len(found) == 12
    thresholds = [float(row[1]) for row in found]
    assert thresholds == sorted(thresholds, reverse=True)
    assert 0.69 in thresholds
    assert len([line for line in lines if "*" in line]) == 1
    for row, threshold in zip(found, thresholds, strict=True):
        clusters = curve.at(threshold).clusters
        assert f"{clusters:,}" in row, row


def test_the_layout_is_the_widest_for_which_there_is_room() -> None:
    curve = large_curve()
    needed = max(map(len, printed(curve, 10_000)[:-2]))
    assert "95 % interval" in printed(curve, needed + 2)[1]
    assert "95 % interval" not in printed(curve, needed - 1)[1]
    below = re.compile(r"^ +[\d,]+ to [\d,]+ +[\d,]+ to [\d,]+$")
    assert any(below.search(line) for line in printed(curve, needed - 1))
    short = re.compile(r"^ +[\d.kM]+-[\d.kM]+ +[\d.kM]+-[\d.kM]+ +[\d,]+$")
    assert any(short.search(line) for line in printed(curve, 40))


def test_a_folder_of_nothing_alike() -> None:
    for n, reason in ((1, "1 image: there is no pair to compare."), (3, "3 images: no two of them")):
        lines = printed(curve_of_pairs([], [f"{k}.png" for k in range(n)]))
        assert [row[1:] for row in rows_of(lines)] == [
            ["0.90", "0", "0", "0", "%", "0", "0"],
        ]
        assert any(line.startswith(reason) for line in lines)


def test_colour_and_characters_suit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(**options: object) -> bytes:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
        console = Console(file=stream, width=80, force_terminal=True, **options)  # type: ignore[arg-type]
        answers = iter(["p 0.7", "oé", ""])
        assert choose_in_table(small_curve(), console, lambda prompt: next(answers)) == 0.9
        stream.flush()
        return raw.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert b"\x1b[1;32m" in output()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(rb"\x1b\[[\d;]*3\d", output())  # bold stays
    assert b"d\\x1b[2J.jpg" in output()
    assert b"\\xe9\\xff.jpg" in output()


# --- the prompt ---


def answered(
    answers: list[str], curve: ThresholdCurve | None = None, *, width: int = 100, height: int = 50
) -> tuple[float, str]:
    """Return what was chosen by a list of lines, and all that was printed."""
    stream, lines, prompts = io.StringIO(), iter(answers), []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        line = next(lines, None)
        if line is None:
            raise EOFError
        stream.write(f"{prompt}{line}\n")
        return line

    console = Console(file=stream, width=width, height=height)
    chosen = choose_in_table(curve or small_curve(), console, ask)
    assert next(lines, None) is None, "not all was asked for"
    assert set(prompts) == {f"threshold [{threshold_text((curve or small_curve()).default)}]: "}
    return chosen, stream.getvalue()


@pytest.mark.parametrize(
    ("line", "threshold"),
    [
        ("", 0.9),
        ("  ", 0.9),
        (" .85 ", 0.85),
        ("0,85", 0.85),
        ("0", 0.0),
        ("1", 0.97),
        ("4", 0.75),
    ],
)
def test_an_answer_is_a_threshold_or_a_row(line: str, threshold: float) -> None:
    chosen, text = answered([line])
    assert chosen == threshold
    assert text.count("similar pair") == bool(line.strip())
    assert "Enter takes 0.90, the method's own threshold (*)" in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x", "wanted a threshold such as 0.90, or the number of a row from 1 to 7, got 'x' (? for help)"),
        ("8", "there is no row 8: the last one is 7"),
        ("1.0", "a threshold must be at least 0.00, where the curve begins, and less than 1, got 1.0"),
        ("-0.1", "a threshold must be at least 0.00, where the curve begins, and less than 1, got -0.1"),
        ("nan", "a threshold must be at least 0.00"),
        ("inf", "a threshold must be at least 0.00"),
        ("90%", "got '90%'"),
        ("p x", "got 'x'"),
        ("+ 9", "there is no row 9"),
        ("-", "this is the whole curve"),
        ("[/] :smile: \x1b[2J", "got '[/] :smile: \\\\x1b[2j'"),
        ("?", "+3 shows finer rows around row 3"),
        ("²", "got '²'"),
    ],
)
def test_what_is_no_answer_is_explained_and_asked_for_again(line: str, told: str) -> None:
    chosen, text = answered([line, ""])
    assert chosen == 0.9
    assert told in " ".join(text.split()).replace("threshold [0.90]: ", "")
    assert "\x1b" not in text.replace(line, "")


def test_thresholds_below_the_curve_are_refused() -> None:
    _, text = answered(["0.39", "0.40"], large_curve())
    assert "a threshold must be at least 0.40, where the curve begins" in text


def test_a_chosen_threshold_is_told_of() -> None:
    assert "threshold 0.85: 2 similar pairs; 3 images in clusters, 38 % of all; 1 cluster, of 3 images" in (
        " ".join(answered(["0.85"])[1].split())
    )


def test_pairs_next_to_a_threshold() -> None:
    _, text = answered(["p 0.7", ""])
    listed = text.partition("p 0.7\n")[2].partition("threshold [")[0].splitlines()
    assert [line.rstrip() for line in listed] == [
        "just above 0.70, so similar:",
        "  0.97      a.jpg",
        "            b.jpg",
        "  0.93      b.jpg",
        "            [red]c[/red].jpg",
        "  0.8       :smile:.jpg",
        "            d\\x1b[2J.jpg",
        "  0.75      é\\xff.jpg",
        "            f.jpg",
        "not above 0.70, so not similar:",
        "  0.6       d\\x1b[2J.jpg",
        "            é\\xff.jpg",
        "  0.5       f.jpg",
        "            g.jpg",
    ]
    _, text = answered(["p0.98", ""])
    assert "just above 0.98, so similar: none of the pairs that were kept to be shown" in text
    assert answered(["p", ""])[1].count("  0.93 ") == 2  # around the default; and the row of the table


def test_finer_rows_and_back() -> None:
    curve = large_curve()
    _, text = answered(["+3", "+ 5", "-", "-", "-", ""], curve)
    tables = [rows_of(part.splitlines()) for part in re.split(r"threshold \[.*\]: .*\n", text)]
    shown = [[float(row[1]) for row in rows] for rows in tables if rows]
    first, closer, closest, back, whole = shown
    assert back == closer
    assert whole == first
    assert (closer[0], closer[-1]) == (first[1], first[3])
    assert (closest[0], closest[-1]) == (closer[3], closer[5])
    assert first[2] in closer
    assert len(closer) > 3
    assert "this is the whole curve" in text
    chosen, _ = answered(["+3", "2"], curve)
    assert chosen == closer[1]


def test_finer_rows_where_there_are_none() -> None:
    assert "nothing changes around 0.90 but what the table shows" in answered(["+", ""])[1]


def test_finer_rows_around_a_threshold_between_rows() -> None:
    _, text = answered(["+0.69", ""], large_curve())
    second = rows_of(text.partition("+0.69\n")[2].splitlines())
    assert 0.69 in [float(row[1]) for row in second]
    assert len(second) > 5


@given(st.lists(st.sampled_from(["+", "-", "+1", "+2", "+4", "+0.5", "p2", "+0.995", "?"]), max_size=8))
@settings(max_examples=40, deadline=None)
def test_rows_mean_what_is_printed_however_one_got_there(lines: list[str]) -> None:
    curve = large_curve()
    _, text = answered([*lines, "0.5"], curve, height=30)
    rows = [row for part in re.split(r"threshold \[.*\]: .*\n", text) if (row := rows_of(part.splitlines()))]
    for number in (1, len(rows[-1])):
        chosen, _ = answered([*lines, str(number)], curve, height=30)
        assert chosen == float(rows[-1][number - 1][1])
        assert chosen in {threshold_at(curve, k) for k in range(len(curve.thresholds))}


def test_rows_fit_the_height_of_the_terminal() -> None:
    for height, n_rows in ((10, 5), (20, 8), (24, 12), (30, 16), (100, 16)):
        curve = large_curve(n_sample=None)
        _, text = answered([""], curve, width=100, height=height)
        assert len(rows_of(text.splitlines())) == n_rows


@pytest.mark.parametrize("lines", [[], ["x"], ["+3", "p"]])
def test_the_end_of_the_input_is_no_choice(lines: list[str]) -> None:
    with pytest.raises(UsageError, match="no threshold was chosen before the input ended"):
        answered(lines)


def test_leaving() -> None:
    for line in ("q", "quit", "Q"):
        with pytest.raises(KeyboardInterrupt):
            answered([line])

    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose_in_table(small_curve(), Console(file=io.StringIO()), interrupted)


# --- a person at a terminal ---

TESTS = Path(__file__).parent
WITHIN = 60.0
CHOOSING = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from rich.console import Console
from clusterimg.errors import UsageError
from clusterimg.picker.table import choose_in_table
from test_table import small_curve
from curves import large_curve
try:
    print("chosen", choose_in_table(eval(sys.argv[1]), Console(stderr=True)))
except KeyboardInterrupt:
    print("interrupted")
except UsageError as error:
    print("usage:", error)
"""

missing_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A terminal in tmux that runs one command, with somebody who types and looks."""

    def __init__(self, socket: str, command: list[str], width: int, height: int, **variables: str) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        names = "".join(f"{name}={shlex.quote(value)} " for name, value in variables.items())
        shell = f"{names}{shlex.join(command)}; echo ended with $?; exec sleep 1000"
        size = ["-x", str(width), "-y", str(height)]
        # Not what the process has, where readline has put the size of another terminal.
        environment = dict(os.environ)
        start = [*self._tmux, "new-session", "-d", *size, shell]
        subprocess.run(start, check=True, timeout=WITHIN, env=environment)

    def text(self) -> str:
        """Return what is on the screen, and what has left it at the top."""
        command = [*self._tmux, "capture-pane", "-p", "-J", "-S", "-500"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=WITHIN)
        return done.stdout.decode()

    def type(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=WITHIN)

    def wait_for(self, pattern: str) -> str:
        """Return what is to be seen, once the pattern is."""
        end = time.monotonic() + WITHIN
        while not re.search(pattern, self.text(), re.MULTILINE):
            assert time.monotonic() < end, f"no {pattern} in\n{self.text()}"
            time.sleep(0.05)
        return self.text()

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=WITHIN)


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[OpenTerminal]:
    """Open terminals that run a command line of Python."""
    opened: list[Terminal] = []

    def start(*arguments: str, width: int = 80, height: int = 40, **variables: str) -> Terminal:
        command = [sys.executable, *arguments]
        opened.append(Terminal(f"clusterimg-{uuid4()}", command, width, height, **variables))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@missing_tmux
def test_choosing_at_a_terminal(terminal: OpenTerminal) -> None:
    at = terminal("-c", CHOOSING, "large_curve()")
    seen = at.wait_for(r"^threshold \[0\.69\]:")
    assert "0.69 *" in seen
    at.type("huh", "Enter")
    at.wait_for(r"got 'huh' *\n?\(\? for help\)")
    at.type("p 3", "Enter")
    at.wait_for(r"not above 0\.\d+, so not similar:\n  0\.\d+ +2019/summer/IMG_00\d+\.jpg")
    at.type("+3", "Enter")
    at.wait_for(r"(?s)\+3\n.*similar.*threshold \[0\.69\]:\s*$")
    at.type("0.77", "x", "BSpace", "Enter")
    seen = at.wait_for("ended with 0")
    assert "chosen 0.77\n" in seen
    assert "threshold 0.77: about" in seen


@missing_tmux
@pytest.mark.parametrize(
    ("key", "end"),
    [("C-c", "interrupted"), ("C-d", "usage: no threshold was chosen"), ("Enter", "chosen 0.69")],
)
def test_ending_at_a_terminal(terminal: OpenTerminal, key: str, end: str) -> None:
    at = terminal("-c", CHOOSING, "large_curve()")
    at.wait_for(r"^threshold \[0\.69\]:")
    at.type(key)
    seen = at.wait_for("ended with 0")
    assert re.search(f"^{end}", seen, re.MULTILINE)
    assert "Traceback" not in seen


@missing_tmux
def test_a_narrow_terminal_without_colour_or_unicode(terminal: OpenTerminal) -> None:
    variables = {"NO_COLOR": "1", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    at = terminal("-c", CHOOSING, "small_curve(6)", width=40, **variables)
    at.wait_for(r"^threshold \[0\.90\]:")
    at.type("p 0.7", "Enter")
    seen = at.wait_for(r"^ +0\.5 +f\.jpg\n +g\.jpg")
    assert max(map(len, seen.splitlines())) <= 40
    assert "\\xe9\\xff.jpg" in seen
    assert "d\\x1b[2J.jpg" in seen
    assert seen.isascii()
    at.type("2", "Enter")
    assert "chosen 0.93" in at.wait_for("ended with 0")


@missing_tmux
def test_run_asks_at_a_terminal(terminal: OpenTerminal, tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", groups())
    at = terminal("-m", "clusterimg", "run", str(folder), "--threshold", "ask", "--ui", "table")
    at.wait_for(r"^threshold \[0\.\d+\]:")
    at.type("0.77", "Enter")
    seen = at.wait_for("ended with 0")
    assert "method imagehash, threshold 0.77;" in seen
    assert (tmp_path / "photos_clustered" / "clusters.csv").exists()
