"""The page of a curve, as people use it: in Chromium, with mouse, touch and keys."""

from __future__ import annotations

import dataclasses
import http.server
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clusterimg._types import EDGE_DTYPE
from clusterimg.picker.curve import ThresholdCurve
from clusterimg.picker.page import page as page_of
from clusterimg.picker.serving import choose_on_page
from made_curves import empty_curve, made_curve, one_threshold

if TYPE_CHECKING:
    from conftest import Watched

NARROW = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures") / "Holiday photos"


@pytest.fixture(scope="module")
def curve(folder: Path) -> ThresholdCurve:
    return made_curve(folder)


@pytest.fixture(scope="module")
def file(curve: ThresholdCurve, folder: Path) -> Path:
    """The page on the disk: no picture is left out, so that pairs can be compared with the curve's."""
    path = folder.with_name("curve.html")
    path.write_text(page_of(curve, folder))
    return path


def move_to(page: Any, share: float, across: float = 0.5) -> None:
    """Move the mouse to a share of the height of the plot, from the top."""
    box = page.locator("#slider").bounding_box()
    page.mouse.move(box["x"] + across * box["width"], box["y"] + share * box["height"])


def frame(page: Any) -> None:
    """Wait until what was moved is drawn."""
    page.evaluate("""() => new Promise((done) => {
        const frames = (left) => (left ? requestAnimationFrame(() => frames(left - 1)) : done());
        frames(3); // the event comes with one, what it asks for with the next
    })""")


def text(page: Any, selector: str) -> str:
    return str(page.locator(selector).inner_text())


def scores(page: Any, side: str) -> list[float]:
    return [float(score) for score in page.locator(f"#{side} .score").all_inner_texts()]


def check_figures(page: Any, curve: ThresholdCurve) -> float:
    """Compare all that is said with the curve at the threshold that is said; return it."""
    threshold = float(text(page, "#threshold"))
    point = curve.at(threshold)

    def number(selector: str) -> float:
        return float(re.sub(r"about |,", "", text(page, selector)))

    assert number("#pairs") == pytest.approx(point.pairs, rel=0.05, abs=0.5)
    low, high = (float(value.replace(",", "")) for value in text(page, "#pairs-range").split(" to "))
    assert low <= point.pairs_low <= point.pairs <= point.pairs_high <= high
    assert number("#images") == pytest.approx(point.images, rel=0.05, abs=0.5)
    found = re.fullmatch(r"([\d,]+) to ([\d,]+) · (?:under\s)?(\d+)\s%", text(page, "#images-range"))
    assert found
    low, high = (float(value.replace(",", "")) for value in found.groups()[:2])
    assert low <= point.images_low <= point.images <= point.images_high <= high
    assert float(found[3]) == pytest.approx(100 * point.images / 20_000, abs=1)
    assert (number("#clusters"), number("#largest")) == (point.clusters, point.largest)
    above, below = curve.examples_near(threshold, 6)
    assert page.locator("#above .pair").count() == len(above)
    assert scores(page, "above") == pytest.approx(
        above["score"].tolist()[: len(scores(page, "above"))], abs=6e-5
    )
    assert scores(page, "below") == pytest.approx(
        below["score"].tolist()[: len(scores(page, "below"))], abs=6e-5
    )
    return threshold


# --- looking ---


def test_the_default_is_shown_first(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    assert check_figures(page, curve) == 0.69
    assert text(page, "#badge") == "default"
    assert text(page, "#cut") == "threshold 0.690"
    assert page.title() == "Threshold: Holiday photos"
    assert browser_page.requests[0] == file.as_uri()
    assert all(url.startswith("data:image/") for url in browser_page.requests[1:])
    browser_page.screenshot("curve-wide-light")


def test_hovering_shows_every_threshold_and_selects_none(
    browser_page: Watched, curve: ThresholdCurve, file: Path
) -> None:
    page = browser_page.open(file)
    seen = []
    for share in np.linspace(0.01, 0.99, 25):
        move_to(page, share)
        frame(page)
        seen.append(check_figures(page, curve))
        assert "0.690" in text(page, "#action")
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 0.97 and seen[-1] < 0.42
    assert text(page, "#badge") == "click to select"
    page.mouse.move(5, 5)
    frame(page)
    assert check_figures(page, curve) == 0.69
    assert text(page, "#badge") == "default"


def test_the_height_of_the_pointer_is_that_of_the_axis(browser_page: Watched, file: Path) -> None:
    page = browser_page.open(file)
    ticks = page.eval_on_selector_all(
        "#svg .tick",
        """all => all.map((tick) => {
            const box = tick.getBoundingClientRect();
            return [Number(tick.textContent), box.y + box.height / 2];
        })""",
    )
    x = page.locator("#slider").bounding_box()["x"]
    for value, y in ticks:
        if 0.4 <= value <= 0.99:
            page.mouse.move(x + 50, y)
            frame(page)
            assert float(text(page, "#threshold")) == pytest.approx(value, abs=0.008)


@pytest.mark.parametrize("width", [320, 360, 600, 1000, 1121, 1280, 1920])
def test_nothing_jumps_while_the_threshold_moves(
    new_page: Callable[..., Watched], tmp_path: Path, curve: ThresholdCurve, folder: Path, width: int
) -> None:
    """A plot that shifts under the pointer would show another threshold than was pointed at."""
    many = {name: 2345 * getattr(curve, name) for name in ("pairs", "pairs_low", "pairs_high")}
    path = tmp_path / "page.html"
    path.write_text(page_of(dataclasses.replace(curve, **many), folder))
    page = new_page(viewport={"width": width, "height": 800}).open(path)
    slider = page.locator("#slider")
    slider.focus()
    places, seen = [], ""
    for key in ("Home", *["PageUp"] * 12):
        page.keyboard.press(key)
        boxes = "all => all.map((element) => JSON.stringify(element.getBoundingClientRect()))"
        places.append(page.eval_on_selector_all(".tile, .chart, #slider", boxes))
        assert page.eval_on_selector_all(".tile *, .bar *", OVERFLOWING) == []
        seen += text(page, "#pairs")
    assert slider.get_attribute("aria-valuenow") == "0.990"
    assert "million" in seen
    assert places == places[:1] * len(places)


OVERFLOWING = """all => all.filter((element) => {
    const { overflowX, display } = getComputedStyle(element);
    const holds = overflowX === "visible" && display !== "inline" && element.clientWidth;
    return holds && element.scrollWidth > element.clientWidth + 1;
}).map((element) => element.outerHTML.slice(0, 99))"""


def test_pictures_are_shown(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    shapes = page.eval_on_selector_all(
        "#above img", "all => all.map((i) => [i.naturalWidth, i.naturalHeight, i.alt])"
    )
    assert len(shapes) == 12
    above, _ = curve.examples_near(0.69, 6)
    names = [curve.files[k] for edge in above for k in (edge["i"], edge["j"])]
    assert [alt for _, _, alt in shapes] == names
    assert all(max(width, height) == 96 for width, height, _ in shapes)
    shown = page.locator("#above .names bdi").all_text_contents()
    assert shown == names


def test_a_score_at_the_threshold_is_below_the_cut(browser_page: Watched, tmp_path: Path) -> None:
    examples = np.zeros(3, EDGE_DTYPE)
    examples["i"], examples["j"], examples["score"] = 0, (1, 2, 3), (0.69, 0.69, 0.7)
    path = tmp_path / "page.html"
    path.write_text(page_of(made_curve(tmp_path, n_pictures=4, examples=examples), tmp_path))
    page = browser_page.open(path)
    assert (scores(page, "above"), scores(page, "below")) == ([0.7], [0.69, 0.69])


# --- selecting ---


def test_a_click_selects(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    move_to(page, 0.3)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    frame(page)
    threshold = check_figures(page, curve)
    assert threshold > 0.75
    assert text(page, "#action code") == f"--threshold {threshold:.3f}"
    assert float(page.get_attribute("#slider", "aria-valuenow")) == threshold


def test_dragging_selects_all_the_way(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    move_to(page, 0.3)
    page.mouse.down()
    for share in (0.4, 0.5, 0.6):
        move_to(page, share)
        frame(page)
        assert text(page, "#action code") == f"--threshold {check_figures(page, curve):.3f}"
    move_to(page, 5, across=-3)  # out of the plot, even of the window
    frame(page)
    assert check_figures(page, curve) == 0.4
    page.mouse.up()
    move_to(page, 0.2)
    frame(page)
    assert text(page, "#action code") == "--threshold 0.400"


def test_touch(new_page: Callable[..., Watched], curve: ThresholdCurve, file: Path) -> None:
    watched = new_page(**NARROW)
    page = watched.open(file)
    page.locator("#slider").scroll_into_view_if_needed()
    box = page.locator("#slider").bounding_box()
    before = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, share: float) -> None:
        points = [{"x": box["x"] + 100, "y": box["y"] + share * box["height"]}]
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if kind == "touchEnd" else points}
        )

    send("touchStart", 0.2)
    for share in (0.3, 0.5, 0.8):
        send("touchMove", share)
    send("touchEnd", 0.8)
    frame(page)
    assert check_figures(page, curve) < 0.55
    assert "0.690" not in text(page, "#action")
    assert page.evaluate("scrollY") == before


def test_keys(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    page.keyboard.press("Tab")  # the action comes first
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "slider"
    steps = curve.thresholds
    usual = int(np.searchsorted(steps, 0.69, side="right")) - 1
    last = len(steps) - 1
    for key, k in [
        ("ArrowUp", usual + 1),
        ("ArrowRight", usual + 2),
        ("ArrowDown", usual + 1),
        ("ArrowLeft", usual),
        ("PageUp", usual + 10),
        ("PageDown", usual),
        ("Home", 0),
        ("ArrowDown", 0),
        ("PageDown", 0),
        ("End", last),
        ("ArrowUp", last),
        ("PageUp", last),
    ]:
        page.keyboard.press(key)
        assert curve.at(check_figures(page, curve)).threshold == steps[k], key
    slider = page.locator("#slider")
    assert slider.get_attribute("aria-valuemin") == "0.400"
    assert slider.get_attribute("aria-valuemax") == slider.get_attribute("aria-valuenow") == "0.990"
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "0.400: about 201,000 (198,000 to 205,000) similar pairs"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "act"


def test_keys_and_mouse_do_not_fight(browser_page: Watched, curve: ThresholdCurve, file: Path) -> None:
    page = browser_page.open(file)
    page.locator("#slider").focus()
    move_to(page, 0.9)
    frame(page)
    page.keyboard.press("Escape")
    assert check_figures(page, curve) == 0.69
    move_to(page, 0.2)
    frame(page)
    page.keyboard.press("ArrowDown")  # from what is selected, not from what is hovered
    assert 0.68 < check_figures(page, curve) < 0.69
    move_to(page, 0.8)
    frame(page)
    hovered = check_figures(page, curve)
    page.keyboard.press("Enter")  # takes what is hovered
    assert check_figures(page, curve) == hovered
    page.keyboard.press("Control+ArrowUp")  # the browser's own
    assert check_figures(page, curve) == hovered


def test_the_option_is_copied(new_page: Callable[..., Watched], file: Path) -> None:
    watched = new_page(permissions=["clipboard-read", "clipboard-write"])
    page = watched.open(file)
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "--threshold 0.690"
    page.keyboard.press("Tab")
    page.locator("#slider").focus()
    page.keyboard.press("ArrowUp")
    assert text(page, "#act") == "Copy"


def test_without_a_clipboard_it_is_selected(new_page: Callable[..., Watched], file: Path) -> None:
    watched = new_page()
    watched.page.add_init_script("delete Navigator.prototype.clipboard; document.execCommand = () => false")
    page = watched.open(file)
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("String(getSelection()) === '--threshold 0.690'")


# --- the scale ---


def outline(page: Any) -> list[list[float]]:
    path = page.get_attribute("#svg .curve", "d")
    return [[float(value) for value in point.split(",")] for point in path[1:].split("L")]


def test_log_and_linear(browser_page: Watched, file: Path, curve: ThresholdCurve) -> None:
    page = browser_page.open(file)
    logarithmic = outline(page)
    page.get_by_role("radio", name="linear").check(force=True)
    linear = outline(page)
    assert logarithmic != linear
    for points in (logarithmic, linear):
        assert points == sorted(points, key=lambda point: -point[1])  # up, threshold by threshold
        assert [x for x, _ in points] == sorted((x for x, _ in points), reverse=True)
    start = page.locator("#slider").evaluate("(element) => element.offsetLeft")
    offsets = np.array([x for x, _ in linear[::2]]) - start
    np.testing.assert_allclose(offsets / offsets[0], curve.pairs / curve.pairs[0], atol=0.002)
    offsets = np.array([x for x, _ in logarithmic[::2]]) - start
    some = curve.pairs > 0
    slope = np.polyfit(np.log(curve.pairs[some]), offsets[some], 1)
    np.testing.assert_allclose(np.polyval(slope, np.log(curve.pairs[some])), offsets[some], atol=0.3)
    browser_page.screenshot("curve-wide-linear")
    page.get_by_role("radio", name="log").check(force=True)
    assert outline(page) == logarithmic


def test_zero_has_a_place_on_the_log_axis(browser_page: Watched, tmp_path: Path, folder: Path) -> None:
    exact = made_curve(tmp_path, n_images=60, n_sample=60)
    assert exact.pairs[-1] == 0 and 1 in exact.pairs
    path = tmp_path / "page.html"
    path.write_text(page_of(exact, tmp_path))
    page = browser_page.open(path)
    start = page.locator("#slider").evaluate("(element) => element.offsetLeft")
    ticks = page.eval_on_selector_all(
        '#svg text[text-anchor="middle"]:not(.chip-text)',
        "all => all.map((t) => [t.textContent, +t.getAttribute('x')])",
    )
    assert ticks[0] == ["0", start]
    assert ticks[1][0] == "1" and ticks[1][1] > start + 10
    points = outline(page)
    assert points[-1][0] == pytest.approx(start, abs=0.1)
    assert any(x == pytest.approx(ticks[1][1], abs=0.1) for x, _ in points)


# --- choosing ---


class Asked:
    """`choose_on_page` in a thread."""

    def __init__(self, curve: ThresholdCurve, folder: Path) -> None:
        self.said: list[str] = []
        self.result: object = None
        self._spoke = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(curve, folder))
        self._thread.start()
        assert self._spoke.wait(20)
        self.address = self.said[0].split()[-3]

    def _ask(self, curve: ThresholdCurve, folder: Path) -> None:
        try:
            self.result = choose_on_page(curve, folder, announce=self._hear, open_browser=False, timeout=40)
        except BaseException as error:
            self.result = error

    def _hear(self, line: str) -> None:
        self.said.append(line)
        self._spoke.set()

    def end(self) -> object:
        self._thread.join(20)  # on a busy machine
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def asked(curve: ThresholdCurve, folder: Path) -> Iterator[Asked]:
    one = Asked(curve, folder)
    yield one
    one._thread.join(40)


def visit(watched: Watched, asked: Asked) -> Any:
    watched.allow(asked.address)
    watched.page.goto(asked.address)
    return watched.page


def test_choosing_with_the_mouse(browser_page: Watched, curve: ThresholdCurve, asked: Asked) -> None:
    page = visit(browser_page, asked)
    move_to(page, 0.35)
    page.mouse.down()
    page.mouse.up()
    frame(page)
    threshold = check_figures(page, curve)
    button = page.get_by_role("button", name=f"Use {threshold:.3f}")
    button.click()
    page.get_by_role("status").get_by_text(f"Threshold {threshold:.3f} was chosen.").wait_for()
    assert asked.end() == threshold
    assert "you can close this page" in text(page, "#outcome")
    assert page.locator("#act").is_disabled()
    browser_page.screenshot("curve-chosen")
    move_to(page, 0.7)  # one may still look
    page.mouse.down()
    page.mouse.up()
    frame(page)
    assert check_figures(page, curve) < 0.6
    assert len(asked.said) == 1
    origin = asked.address.rsplit("/", 2)[0]
    assert all(url.startswith((f"{origin}/", "data:")) for url in browser_page.requests)


def test_choosing_with_the_keyboard(browser_page: Watched, asked: Asked) -> None:
    page = visit(browser_page, asked)
    page.locator("#slider").focus()
    for key in ("ArrowUp", "ArrowUp", "Enter", "Enter"):
        page.keyboard.press(key)
    page.get_by_role("status").get_by_text("was chosen").wait_for()
    chosen = asked.end()
    assert f"{chosen:.3f}" in text(page, "#outcome") and 0.69 < float(str(chosen)) < 0.71


def test_a_second_page_can_look_but_not_choose(new_page: Callable[..., Watched], asked: Asked) -> None:
    first, second = new_page(), new_page()
    one, two = visit(first, asked), visit(second, asked)
    assert text(two, "#act") == "Use 0.690"
    two.locator("#slider").focus()
    two.keyboard.press("Home")
    one.locator("#act").click()
    one.get_by_role("status").get_by_text("was chosen").wait_for()
    assert asked.end() == 0.69
    second.expect_error("ERR_CONNECTION_REFUSED")
    two.locator("#act").click()
    two.get_by_role("status").get_by_text("No answer: a threshold was chosen on another page").wait_for()
    assert asked.result == 0.69


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (409, '{"threshold": 0.75}', "Threshold 0.75 was chosen before"),
        (403, "no", "The choice was refused: no"),
    ],
)
def test_what_a_refused_page_says(
    browser_page: Watched, asked: Asked, status: int, body: str, said: str
) -> None:
    page = visit(browser_page, asked)
    # In the page's place: on a busy machine Chromium sends some requests past a route.
    page.evaluate(
        "([status, body]) => { window.fetch = async () => new Response(body, { status }) }", [status, body]
    )
    page.locator("#act").click()
    page.get_by_role("status").get_by_text(said).wait_for()
    page.reload()
    page.locator("#act").click()
    assert asked.end() == 0.69


def test_an_address_without_the_token_shows_nothing(browser_page: Watched, asked: Asked) -> None:
    origin = asked.address.rsplit("/", 2)[0]
    browser_page.allow(origin)
    browser_page.expect_error("404")
    answer = browser_page.page.goto(f"{origin}/{'A' * 32}/")
    assert (answer.status, text(browser_page.page, "body")) == (404, "there is nothing here")
    visit(browser_page, asked).locator("#act").click()
    assert asked.end() == 0.69


FOREIGN = """<!doctype html><meta charset=utf-8><title>foreign</title><script>
const body = JSON.stringify({threshold: 0.25});
const headers = {"Content-Type": "application/json"};
const ways = {
  json: () => fetch(address + "choose", {method: "POST", headers, body}),
  blind: () => fetch(address + "choose", {method: "POST", mode: "no-cors", body}),
  read: () => fetch(address),
  beacon: async () => { if (!navigator.sendBeacon(address + "choose", body)) throw new Error("not sent"); },
};
async function attack() {
  const results = {};
  for (const name in ways) {
    try { results[name] = (await ways[name]()).status ?? "sent"; } catch (error) { results[name] = "failed"; }
  }
  return results;
}
function framed() {
  const frame = document.createElement("iframe");
  frame.src = address;
  document.body.append(frame);
}
</script>"""


def test_no_foreign_page_can_choose_or_read(new_page: Callable[..., Watched], asked: Asked) -> None:
    """Even one that knows the token."""
    page_text = FOREIGN.replace("address", repr(asked.address)).encode()

    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page_text)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        for host in ("127.0.0.1", "localhost"):
            watched = new_page()
            watched.allow(f"http://{host}:{server.server_port}")
            watched.allow(asked.address)
            watched.page.goto(f"http://{host}:{server.server_port}/")
            watched.expect_error("CORS")
            results = watched.page.evaluate("attack()")
            assert results["json"] == results["read"] == "failed"
            watched.expect_error("frame")
            watched.page.evaluate("framed()")
            watched.page.wait_for_function("frames.length === 1")
            until(watched.page, lambda seen=watched: any("frame" in fault for fault in seen.faults))
            watched.expect_error("console|request")  # all else that the attempts have left on the console
        server.shutdown()
    assert asked.result is None
    good = new_page()
    visit(good, asked).locator("#act").click()
    assert asked.end() == 0.69


def until(page: Any, condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it never came")


def test_a_closed_tab_is_told_of_and_can_be_opened_again(
    new_page: Callable[..., Watched], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = new_page()
    page = visit(watched, asked)
    page.reload()
    assert text(page, "#act") == "Use 0.690"
    page.wait_for_timeout(2500)  # longer than a page is waited for
    assert len(asked.said) == 1
    other = new_page()
    # On a busy machine a browser loses one farewell in ten: this one says it twice.
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    page.close(run_before_unload=True)
    until(other.page, lambda: len(asked.said) == 2)
    assert asked.said[1].startswith(f"the page was closed: open it again at {asked.address}")
    visit(other, asked).locator("#act").click()
    assert asked.end() == 0.69
    assert len(asked.said) == 2


# --- what a page must not do ---


def test_hostile_names_stay_text(browser_page: Watched, tmp_path: Path) -> None:
    names = (
        "<script>document.title = 'owned'</script>.jpg",
        "</script><script>document.title = 'owned'</script>",
        '"><img src=x onerror="document.title = \'owned\'">.jpg',
        "it's <b>bold</b> &amp; \u2028.jpg",
        os.fsdecode(b"bytes \xff.jpg"),
        "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    )
    examples = np.zeros(5, EDGE_DTYPE)
    examples["i"], examples["j"], examples["score"] = 0, range(1, 6), np.linspace(0.7, 0.9, 5)
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    curve = made_curve(folder, n_images=60, n_sample=60, files=names * 10, examples=examples)
    path = tmp_path / "page.html"
    path.write_text(page_of(curve, folder))
    dialogs: list[str] = []
    browser_page.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page = browser_page.open(path)
    assert page.title() == "Threshold: <img src=x onerror=alert(1)>"
    shown = page.locator("#above .names bdi").all_text_contents()
    assert {names[0], names[1], names[2], r"bytes \xff.jpg", r"\u202egpj.exe"} <= set(shown)
    assert page.locator("b b, #above b, header img, .names img").count() == 0
    assert page.locator(".unread").count() > 0  # these files don't exist: the reason stands there
    assert "no such file" in text(page, "#above .unread >> nth=0").lower()
    assert dialogs == []
    browser_page.screenshot("curve-hostile")


def test_what_gets_in_anyway_does_not_run(browser_page: Watched, file: Path) -> None:
    page = browser_page.open(file)
    stopped: dict[str, str] = {}
    page.on("requestfailed", lambda request: stopped.update({request.url: request.failure}))
    browser_page.expect_error("Content Security Policy|request: GET http://example.com/leak")
    page.evaluate("""() => {
        const markup = "<img src=data:, onerror=\\"document.title = 'owned'\\">";
        document.body.insertAdjacentHTML("beforeend", markup);
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        new Image().src = "http://example.com/leak";
    }""")
    until(page, lambda: sum("Content Security Policy" in fault for fault in browser_page.faults) >= 3)
    assert page.title() == "Threshold: Holiday photos"
    assert stopped["http://example.com/leak"] == "csp"


# --- how it looks ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 480, 600, 820, 1000, 1216, 1280, 1920])
def test_nothing_overflows_or_overlaps(
    new_page: Callable[..., Watched], curve: ThresholdCurve, folder: Path, file: Path, width: int, scheme: str
) -> None:
    watched = new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for name, path in (("copy", file), ("choose", file.with_name("choose.html"))):
        path.write_text(page_of(curve, folder, choose="choose" if name == "choose" else None))
        page = watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.eval_on_selector_all(
            ".tile, .chart, .cut, h1, .about", "all => all.map((e) => e.getBoundingClientRect().toJSON())"
        )
        for k, a in enumerate(boxes):
            for b in boxes[:k]:
                across = min(a["right"], b["right"]) - max(a["left"], b["left"])
                along = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
                assert across <= 0.5 or along <= 0.5
        inside = page.eval_on_selector_all(".tile *, .bar *, .pair *", OVERFLOWING)
        assert inside == []
        watched.screenshot(f"curve-{name}-{width}-{scheme}", full_page=True)


CONTRAST = """(selectors) => {
  const light = (colour) => {
    const linear = (v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  return selectors.map((selector) => {
    const element = document.querySelector(selector);
    const style = getComputedStyle(element);
    const ink = numbers(element.namespaceURI.endsWith("svg") ? style.fill : style.color).slice(0, 3);
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    return [selector, (a + .05) / (b + .05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(new_page: Callable[..., Watched], file: Path, scheme: str) -> None:
    watched = new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page = watched.open(file)
    selectors = [
        "h1",
        ".about",
        ".tile h2",
        "#threshold",
        "#pairs",
        "#pairs-range",
        "#badge",
        "#act",
        "#action code",
    ]
    selectors += [
        "#svg .tick",
        "#svg .default-name",
        "#svg .tip-text",
        ".hint",
        "kbd",
        "fieldset span",
        "summary",
    ]
    selectors += ["#above .score", "#below .score", ".above b", ".below b", ".names bdi", "#cut"]
    for selector, contrast in page.evaluate(CONTRAST, selectors):
        assert contrast >= 4.5, selector
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
    move_to(page, 0.7)
    frame(page)
    watched.screenshot(f"curve-hover-{scheme}")


def test_resizing_redraws(browser_page: Watched, file: Path, curve: ThresholdCurve) -> None:
    page = browser_page.open(file)
    for width in (500, 1400):
        page.set_viewport_size({"width": width, "height": 700})
        frame(page)
        frame(page)
        box = page.locator("#svg").bounding_box()
        assert page.get_attribute("#svg", "viewBox") == f"0 0 {round(box['width'])} {round(box['height'])}"
        move_to(page, 0.5)
        frame(page)
        check_figures(page, curve)


def test_motion_only_where_it_is_welcome(new_page: Callable[..., Watched], file: Path) -> None:
    for wish, name in (("reduce", "none"), ("no-preference", "arrive")):
        page = new_page(reduced_motion=wish).open(file)
        page.evaluate("document.getElementById('outcome').hidden = false")
        assert page.evaluate("getComputedStyle(document.getElementById('outcome')).animationName") == name


def test_printing(browser_page: Watched, file: Path) -> None:
    page = browser_page.open(file)
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#act").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#svg .curve").is_visible()
    browser_page.screenshot("curve-print", full_page=True)


def test_without_scripts_there_is_the_table(new_page: Callable[..., Watched], file: Path) -> None:
    page = new_page(java_script_enabled=False).open(file)
    assert page.locator("noscript p").is_visible()
    assert not page.locator("#main").is_visible()
    page.locator("summary").click()
    assert page.locator("tr.usual th").inner_text() == "0.690 (default)"


@pytest.mark.parametrize(
    ("name", "made", "said"),
    [
        ("one", empty_curve(1), "There is one image in this folder"),
        ("nothing", empty_curve(0), "No image in this folder could be used"),
        ("no-pair", empty_curve(300, 100), "No similar pairs: a sample of 100 of 300 images"),
    ],
)
def test_empty_states(
    browser_page: Watched, tmp_path: Path, name: str, made: ThresholdCurve, said: str
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page_of(made, tmp_path / "Photos", choose="choose"))
    page = browser_page.open(path)
    assert said in text(page, ".notice")
    assert text(page, "#act") == "Use 0.70"
    assert page.locator(".chart").is_visible() == (name == "no-pair")
    if name == "no-pair":
        assert text(page, "#pairs") == "about 0"
        assert text(page, "#above-none").startswith("None of the scored pairs")
    browser_page.screenshot(f"curve-{name}")


def test_one_threshold_only(
    browser_page: Watched, curve: ThresholdCurve, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page_of(one_threshold(curve, 50), folder))
    page = browser_page.open(path)
    for share in (0.1, 0.5, 0.9):
        move_to(page, share)
        frame(page)
        assert text(page, "#threshold") == "0.69"
    browser_page.screenshot("curve-one-threshold")
