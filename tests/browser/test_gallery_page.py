"""The report in a browser, opened from the disk: search, filters, comparing, keys, hostile names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest

import clusterimg as ci
from clusterimg import gallery
from pictures import Grey, blend, noisy, picture, save

Shown = Any  # playwright's Page


def photos(folder: Path) -> Path:
    """Make a chain of nine, groups of four, three and two, outliers, a white page twice, and a text."""
    a, b = picture(1), picture(2)
    images: dict[str, Grey] = {f"chain_{k}.png": blend(a, b, k / 8) for k in range(9)}
    for group, size in ((4, 4), (5, 3), (6, 2)):
        images |= {f"trip {group}/IMG_{k}.png": noisy(picture(group), k) for k in range(size)}
    images |= {f"alone_{k}.png": picture(90 + k) for k in range(3)}
    save(folder, images)
    (folder / "notes.txt").write_text("text")
    return folder


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ci.Result:
    place = tmp_path_factory.mktemp("page")
    run = ci.run(photos(place / "photos"), out=place / "out", method="ssim", threshold=0.8, recursive=True)
    (run.out / "threshold_curve.json").write_text(
        json.dumps(
            {
                "method": "ssim",
                "default": 0.8,
                "thresholds": np.linspace(0.05, 0.95, 40).tolist(),
                "pairs": np.geomspace(150, 3, 40).tolist(),
                "pairs_low": np.geomspace(120, 1, 40).tolist(),
                "pairs_high": np.geomspace(180, 9, 40).tolist(),
                "images": np.linspace(21, 2, 40).tolist(),
            }
        )
    )
    gallery.report(run)
    return run


def opened(watched: Any, run: ci.Result, part: str = "") -> Shown:
    page = watched.page
    page.goto((run.out / "report" / "index.html").as_uri() + part)
    page.wait_for_selector("body[data-ready=yes]")
    return page


def sizes(page: Shown) -> list[int]:
    """Return the sizes of the clusters that the page lists, in its order."""
    found: list[int] = page.evaluate("gallery.state.chosen.map((c) => gallery.clusters.size[c])")
    return found


def found(page: Shown, text: str) -> None:
    """Wait until the page says that it found so much."""
    page.wait_for_function("(text) => document.getElementById('found').textContent === text", arg=text)


def images_loaded(page: Shown) -> None:
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('#compare img')];"
        " return all.length && all.every((image) => image.complete && image.naturalWidth) }"
    )


# --- the list ---


def test_the_clusters_are_there_largest_first(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    assert page.title() == "photos – clusterimg"
    assert page.inner_text("#summary").startswith("21 images, 18 of them in 4 clusters; ssim, score > 0.8")
    assert page.locator("[role=tab]").all_inner_texts() == ["Clusters4", "Outliers3", "Skipped1", "Run"]
    assert sizes(page) == [9, 4, 3, 2]
    heads = page.locator(".card h2").all_inner_texts()
    assert len(heads) == 4
    first = page.locator("[data-cluster]").first
    assert "9 images" in first.inner_text() and "chain" in first.locator(".chain").inner_text()
    assert page.locator("button.image").count() == 18
    assert page.locator(".score.apart").count() > 0  # members that only the chain holds


def test_each_thumbnail_shows_its_own_image(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.wait_for_load_state("networkidle")
    for name in ("chain_0.png", "chain_8.png", "IMG_2.png"):
        button = page.locator(f"button.image[title$='{name}']").first
        button.scroll_into_view_if_needed()
        box = button.locator(".picture").bounding_box()
        shot = page.screenshot(clip=box)
        import cv2

        seen = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_GRAYSCALE)
        file = button.get_attribute("title")
        original = cv2.imread(str(Path(result.summary["folder"]) / file), cv2.IMREAD_GRAYSCALE)
        wanted = cv2.resize(original, seen.shape[::-1], interpolation=cv2.INTER_AREA)
        inner = (slice(3, -3), slice(3, -3))
        assert np.corrcoef(seen[inner].ravel(), wanted[inner].ravel())[0, 1] > 0.95


def test_search_finds_names(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.keyboard.press("/")
    page.keyboard.type("TRIP 5")
    found(page, "1 cluster, 3 matches")
    assert sizes(page) == [3]
    assert page.locator("button.image.match").count() == 3
    page.fill("#query", "chain_7")
    found(page, "1 cluster, 1 match")
    assert page.locator("button.image.match").get_attribute("title") == "chain_7.png"
    page.fill("#query", "nothing of that name")
    found(page, "0 clusters, 0 matches")
    assert "Nothing found" in page.inner_text("#list")
    page.focus("#query")
    page.keyboard.press("Escape")
    found(page, "")
    assert sizes(page) == [9, 4, 3, 2]


def test_filters_and_sorting(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.click("#filters summary")
    page.fill("#size-min", "3")
    page.fill("#size-max", "4")
    found(page, "2 clusters")
    assert sizes(page) == [4, 3]
    assert page.inner_text("#filter-count").strip() == "(2)"
    page.click("#clear")
    found(page, "")
    page.evaluate(
        "(value) => { const slider = document.getElementById('cohesion'); slider.value = value;"
        " slider.dispatchEvent(new Event('input', { bubbles: true })) }",
        "90",
    )
    found(page, "1 cluster")
    assert sizes(page) == [9]
    page.click("#clear")
    found(page, "")
    page.check("#chained")
    found(page, "1 cluster")
    page.uncheck("#chained")
    found(page, "")
    page.mouse.click(5, 5)
    assert not page.evaluate("document.getElementById('filters').open")
    page.select_option("#sort", "wide")
    page.wait_for_function("gallery.state.chosen[0] === 0")
    widest = page.evaluate("gallery.state.chosen.map((c) => gallery.clusters.wide[c][2])")
    assert widest == sorted(widest)
    page.select_option("#sort", "number")
    page.wait_for_function("gallery.clusters.label[gallery.state.chosen[3]] === 3")
    page.select_option("#sort", "name")
    page.wait_for_function(
        "gallery.data.files[gallery.clusters.start[gallery.state.chosen[0]]] === 'chain_0.png'"
    )


def test_large_clusters_open_and_close(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.evaluate(
        "document.getElementById('zoom').value = 320;"
        " document.getElementById('zoom').dispatchEvent(new Event('input'))"
    )
    assert page.inner_text(".rest") == "+ 3 more"
    page.click(".rest")
    page.wait_for_function("document.querySelectorAll('button.image[title^=chain]').length === 9")
    page.click("[data-more]")
    assert page.inner_text(".rest") == "+ 3 more"


# --- comparing ---


def test_the_widest_pair_side_by_side(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.locator("[data-pair=wide]").first.click()
    images_loaded(page)
    score = float(page.inner_text("#pair-score"))
    files = [link.get_attribute("title") for link in page.locator("figcaption a").all()]
    paths = [Path(result.summary["folder"]) / str(file) for file in files]
    assert score == pytest.approx(float(ci.similarity_matrix(paths, method="ssim")[0, 1]), abs=1e-4)
    assert score < 0.8 and "apart" in str(page.get_attribute("#pair-score", "class"))
    assert page.locator(".captions").inner_text().count("200 × 150") == 2
    # How they hang together: every step similar, the weakest marked.
    steps = [float(text) for text in page.locator(".hop").all_inner_texts()]
    assert len(steps) > 1 and min(steps) > 0.8
    assert float(page.inner_text(".hop.weakest")) == min(steps)
    browser_page.screenshot("gallery-compare-light")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('compare').open")


def test_any_two_members_have_their_score(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.click("button.image[title='chain_4.png']")
    files = page.evaluate("gallery.data.files")
    paths = [Path(result.summary["folder"]) / file for file in files[:9]]
    matrix = ci.similarity_matrix(paths, method="ssim")
    page.wait_for_function("window.clusterimgPairs !== undefined")
    seen = {}
    for _ in range(9):
        left, right = (link.get_attribute("title") for link in page.locator("figcaption a").all())
        seen[left, right] = float(page.inner_text("#pair-score"))
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    for _ in range(9):
        left, right = (link.get_attribute("title") for link in page.locator("figcaption a").all())
        seen[left, right] = float(page.inner_text("#pair-score"))
        page.keyboard.press("ArrowLeft")
    assert len(seen) > 12
    for (left, right), score in seen.items():
        wanted = float(matrix[files.index(left), files.index(right)])
        assert score == pytest.approx(wanted, abs=1.1e-4), (left, right)


def test_ways_to_compare(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.click("button.image[title='chain_4.png']")
    images_loaded(page)
    page.keyboard.press("2")
    assert page.locator(".cut").count() == 1
    page.locator(".cut").fill("20")
    clip = page.evaluate("document.querySelectorAll('.pane')[1].style.clipPath")
    assert clip == "inset(0px 0px 0px 20%)"
    page.keyboard.press("ArrowRight")  # moves the slider, not the image
    assert page.evaluate("document.querySelectorAll('.pane')[1].style.clipPath") == "inset(0px 0px 0px 20.5%)"
    page.click("text=blink")
    visible = "getComputedStyle(document.querySelectorAll('.pane')[1]).visibility"
    for state in ("hidden", "visible", "hidden"):
        page.wait_for_function(f"{visible} === '{state}'")
    page.keyboard.press("4")
    assert (
        page.evaluate("getComputedStyle(document.querySelectorAll('.pane')[1]).mixBlendMode") == "difference"
    )
    page.keyboard.press("1")
    assert page.locator(".beside").count() == 1
    page.click("#compare .mini:nth-child(2)")
    page.locator("#compare .strip-of-all .mini").nth(3).click(modifiers=["Shift"])
    assert page.locator(".mini.left").get_attribute("title") == page.locator(
        "figcaption.left a"
    ).get_attribute("title")


def test_a_file_that_is_gone_is_shown_small(browser_page: Any, result: ci.Result, tmp_path: Path) -> None:
    browser_page.expect_error("ERR_FILE_NOT_FOUND")
    run = ci.run(photos(tmp_path / "photos"), out=tmp_path / "out", method="ssim", threshold=0.8, report=True)
    for path in (tmp_path / "photos" / "chain_0.png", *run.out.glob("result/*/chain_0.png")):
        path.unlink()
    page = opened(browser_page, run)
    page.click("button.image[title='chain_4.png']")
    page.wait_for_selector(".instead .picture")
    assert "can't show this file" in page.inner_text(".instead")


# --- keys ---


def test_keys_walk_the_clusters(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    for label in (0, 1, 2, 3, 3):
        page.keyboard.press("j")
        current = page.evaluate("gallery.state.current")
        assert current == label
        assert page.locator(".current").count() >= 1
    page.keyboard.press("k")
    assert page.evaluate("gallery.state.current") == 2
    page.keyboard.press("Enter")
    assert page.locator("#compare h2").inner_text() == f"cluster {page.evaluate('gallery.clusters.label[2]')}"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    browser_page.screenshot("gallery-help")
    page.keyboard.press("Escape")
    for key, view in (("2", "outliers"), ("3", "skipped"), ("4", "run"), ("1", "clusters")):
        page.keyboard.press(key)
        assert page.evaluate("document.body.dataset.view") == view
    page.keyboard.press("d")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("d")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_images_are_reached_by_the_tab_key_in_their_order(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    page.focus("button.image >> nth=0")
    names = []
    for _ in range(9):
        names.append(page.evaluate("document.activeElement.title"))
        page.keyboard.press("Tab")
    assert names == page.evaluate("gallery.data.files.slice(0, 9)")
    page.focus("button.image >> nth=2")
    page.keyboard.press("Enter")
    assert page.locator("#compare").is_visible()


# --- the other parts ---


def test_outliers_skipped_files_and_the_run(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result, "#outliers")
    assert page.locator("button.image").count() == 3
    page.click("button.image >> nth=0")
    images_loaded(page)
    assert page.locator("#compare img").count() == 1
    page.keyboard.press("ArrowRight")
    images_loaded(page)
    assert page.locator("figcaption a").get_attribute("title") == "alone_1.png"
    page.keyboard.press("Escape")
    page.click("text=Skipped")
    assert page.locator("tbody tr").all_inner_texts() == ["notes.txt\tnot an image"]
    page.click("[role=tab]:has-text('Run')")
    text = page.inner_text("#facts")
    for word in ("ssim", "threshold", "0.8", "cpp", "Times", "hand over"):
        assert word in text
    # The curve, with the cut, and what is expected there.
    assert page.text_content(".cut-label") == "threshold 0.8"
    assert page.inner_text("#curve-readout").startswith("Above 0.800: ")
    page.hover(".curve", position={"x": 300, "y": 40})
    assert not page.inner_text("#curve-readout").startswith("Above 0.800: ")
    browser_page.screenshot("gallery-run-light", full_page=True)


def test_a_cluster_has_an_address(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result, "#cluster_3")
    assert page.evaluate("gallery.clusters.label[gallery.state.current]") == 3


# --- names ---

NAMES = (
    b"<img src=x onerror=window.hacked=1>.png",
    b"</script><script>window.hacked=1<!--.png",  # in a folder named <
    b"quote\"s'and`ticks).png",
    "line\u2028end\u2029.png".encode(),
    b"undecodable \xff\xfe.png",
    b"back\\slash.png",
    b"%41 100% ?x#y&amp;.png",
    b"new\nline.png",
    "\u202egnp.exe".encode(),
    "emoji \U0001f600.png".encode(),
)
SHOWN = (
    "<img src=x onerror=window.hacked=1>.png",
    "</script><script>window.hacked=1<!--.png",
    "quote\"s'and`ticks).png",
    "line\\u2028end\\u2029.png",
    "undecodable \\xff\\xfe.png",
    "back\\\\slash.png",
    "%41 100% ?x#y&amp;.png",
    "new\\x0aline.png",
    "\\u202egnp.exe",
    "emoji \U0001f600.png",
)


@pytest.mark.parametrize("transfer", ["copy", "none"])
def test_hostile_names_are_text_and_lead_to_their_files(
    transfer: str, browser_page: Any, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"<b>'\"%\xff")
    (folder / "<").mkdir(parents=True)
    for k, name in enumerate(NAMES):
        save(folder, {"plain.png": noisy(picture(3), k)})
        (folder / "plain.png").rename(folder / os.fsdecode(name))
    (folder / "<b>text").write_bytes(b"text")
    options: dict[str, Any] = {"transfer": transfer, "recursive": True, "report": True}
    run = ci.run(folder, out=tmp_path / "out", method="ssim", threshold=0.5, **options)
    page = opened(browser_page, run)
    titles = [button.get_attribute("title") for button in page.locator("button.image").all()]
    assert sorted(titles) == sorted(SHOWN)
    assert page.locator("#list img, #list script").count() == 0
    assert page.inner_text("#title") == "<b>'\"%\\xff"
    page.fill("#query", "onerror")
    found(page, "1 cluster, 1 match")
    page.fill("#query", "")
    found(page, "")
    page.locator("button.image").nth(1).click()
    for _ in range(len(NAMES)):
        images_loaded(page)  # each of them, by its address
        link = page.locator("figcaption.right a")
        whole = page.evaluate("(address) => new URL(address, location).href", link.get_attribute("href"))
        path = unquote_to_bytes(urlsplit(whole).path)
        assert Path(os.fsdecode(path)).is_file()
        name = next(name for name in NAMES if path.endswith(name.rpartition(b"/")[2]))
        assert link.get_attribute("title") == SHOWN[NAMES.index(name)]
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.click("text=Skipped")
    assert page.locator("tbody th").inner_text() == "<b>text"
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    assert page.evaluate("window.hacked") is None


# --- other results ---


def test_a_result_of_no_clusters(browser_page: Any, tmp_path: Path) -> None:
    run = ci.run(save(tmp_path / "photos", {"a.png": picture(1), "b.png": picture(2)}), report=True)
    page = opened(browser_page, run)
    assert "No two images have a score above" in page.inner_text("#list")
    page.keyboard.press("2")
    assert page.locator("button.image").count() == 2


def test_a_result_of_no_images(browser_page: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("text")
    page = opened(browser_page, ci.run(tmp_path / "photos", report=True))
    assert "No image could be used" in page.inner_text("#list")


def test_without_thumbnails_the_files_are_shown(browser_page: Any, result: ci.Result, tmp_path: Path) -> None:
    gallery.report(result, out=tmp_path / "page", thumbnails=False)
    page = browser_page.page
    page.goto((tmp_path / "page" / "index.html").as_uri())
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('#list img')];"
        " return all.length === 18 && all.every((image) => image.complete && image.naturalWidth === 200) }"
    )


def test_without_features_it_says_what_it_knows(browser_page: Any, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    run = ci.run(folder, out=tmp_path / "out", method="ssim", threshold=0.8, keep_features=False)
    gallery.report(run)
    page = opened(browser_page, run)
    assert "≥" in page.locator(".cohesion").first.inner_text()
    page.click("button.image[title='chain_4.png']")
    seen = set()
    for _ in range(8):  # of all pairs with the last, the tables tell those that are similar to it by a link
        page.keyboard.press("ArrowDown")
        seen.add(page.inner_text("#pair-score"))
    assert "not scored" in seen and len(seen) > 1


def test_a_placeholder_tells_the_reason(browser_page: Any, tmp_path: Path) -> None:
    run = ci.run(photos(tmp_path / "photos"), out=tmp_path / "out", method="ssim", threshold=0.8)
    (run.out / run.targets[run.files.index("chain_2.png")]).write_bytes(b"")
    gallery.report(run)
    page = opened(browser_page, run)
    assert page.locator("button.image[title='chain_2.png'] .no-picture").inner_text() == "empty file"


def test_printing_lists_the_clusters_in_pages(browser_page: Any, result: ci.Result) -> None:
    page = opened(browser_page, result)
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    page.evaluate("gallery.print(true)")
    assert page.locator(".row").count() == len(page.evaluate("gallery.state.rows"))
    page.evaluate("gallery.print(false)")
    assert page.locator("button.image").count() == 18


# --- looks ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 800), (360, 740)])
def test_it_fits(
    scheme: str, width: int, height: int, new_page: Callable[..., Any], result: ci.Result
) -> None:
    watched = new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = opened(watched, result)
    name = f"gallery-{scheme}-{'wide' if width > 400 else 'narrow'}"
    page.wait_for_load_state("networkidle")
    for view in ("clusters", "outliers", "skipped", "run"):
        page.click(f"[role=tab] >> nth={('clusters', 'outliers', 'skipped', 'run').index(view)}")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        watched.screenshot(f"{name}-{view}")
    page.keyboard.press("1")
    page.locator("[data-pair=wide]").first.click()
    images_loaded(page)
    box = page.locator("#compare").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.locator("#compare .close").bounding_box()["x"] + 20 < width
    for pane in page.locator(".pane").all():
        assert pane.bounding_box()["height"] > 80
    watched.screenshot(f"{name}-compare")


_MANY = """
(() => {
  const data = window.clusterimgReport, n = 100000, sizes = [3000];
  for (let left = 67000; left > 1; left -= sizes[sizes.length - 1]) {
    sizes.push(Math.min(left, 2 + (sizes.length * 7) % 19));
  }
  sizes.sort((a, b) => b - a);
  const fill = (make) => Array.from({ length: n }, (_, k) => make(k));
  data.files = fill((k) => "made up " + (k % 977) + "/IMG_" + String(k).padStart(6, "0") + ".jpg");
  data.scores = fill((k) => (k % 100) / 100);
  data.parents = fill(() => -1);
  data.links = fill(() => null);
  data.flags = fill(() => 0);
  data.bytes = fill(() => 1);
  data.targets = data.sources = {};
  data.thumbnails.widths = data.thumbnails.heights = fill(() => 0);
  data.clusters = {
    label: sizes.map((_, c) => c),
    size: sizes,
    parts: sizes.map(() => 1),
    weak: sizes.map(() => null),
    wide: sizes.map(() => [0, 1, 0.5]),
    similar: sizes.slice(),
    scored: sizes.map((size) => size * (size - 1) / 2 + 1),
  };
})();
"""


def test_a_hundred_thousand_images_keep_few_elements(
    browser_page: Any, result: ci.Result, tmp_path: Path
) -> None:
    """Rows that are made up, in the place of those of a real result."""
    folder = tmp_path / "report"
    gallery.report(result, out=folder)
    text = (folder / "data.js").read_text(encoding="ascii")
    (folder / "data.js").write_text(text + _MANY, encoding="ascii")
    page = browser_page.page
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("body[data-ready=yes]")
    count = "document.querySelectorAll('#list *').length"
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height > 500_000
    for share in (0, 0.01, 0.02, 0.1, 0.3, 0.31, 0.5, 0.77, 0.9, 1):
        page.evaluate("(y) => window.scrollTo(0, y)", share * height)
        page.wait_for_function("document.querySelectorAll('button.image').length > 5")
        on_screen = """() => [...document.querySelectorAll('.row')].some((row) => {
            const box = row.getBoundingClientRect(); return box.bottom > 150 && box.top < innerHeight; })"""
        page.wait_for_function(on_screen)
        assert page.evaluate(count) < 1500
    page.fill("#query", "img_069999")
    found(page, "1 cluster, 1 match")
    page.fill("#query", "")
    found(page, "")
    page.click("[role=tab] >> nth=1")
    assert page.evaluate("gallery.state.chosen.length") == 100000 - page.evaluate("gallery.nClustered")


def quarters(pictures: Any) -> Any:
    n, channels, size, _ = pictures.shape
    means = pictures.reshape(n, channels, 4, size // 4, 4, size // 4).mean(axis=(1, 3, 5)).reshape(n, -1)
    return (means - means.mean(axis=1, keepdims=True)).astype(np.float32)


def test_what_cluster_models_made_is_told_and_drawn(browser_page: Any, tmp_path: Path) -> None:
    images = {
        f"{group}_{k}.png": noisy(picture(group), 9 * group + k) for group in range(4) for k in range(5)
    }
    run = ci.run(
        save(tmp_path / "in", images), method="deep", embedding=quarters, out=tmp_path / "out", report=True
    )
    page = opened(browser_page, run)
    best = run.summary["selections"][0]["best"]
    assert f"deep, {best}" in page.locator("#summary").inner_text()
    heads = " ".join(page.locator(".second").all_inner_texts())
    assert "widest" in heads and "cohesion" not in heads and "listed pair" not in heads
    page.get_by_role("tab", name="Run").click()
    chosen = page.locator(".models tr.chosen")
    assert chosen.count() == 1 and best.partition(":")[0] in chosen.inner_text()
    assert page.locator(".models tbody tr").count() == 12
    plots = page.locator(".plots img")
    assert plots.count() == 2
    for k in range(2):
        plots.nth(k).scroll_into_view_if_needed()
        page.wait_for_function(f"document.querySelectorAll('.plots img')[{k}].naturalWidth > 0")
