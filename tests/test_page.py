"""The page of a curve as a text: what stands in it, and what cannot get out of it. No browser is needed."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterimg._types import EDGE_DTYPE
from clusterimg.picker import _page_data
from clusterimg.picker.page import page
from made_curves import empty_curve, made_curve, one_threshold

HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "</script><script>document.title='owned'<",
    "\"><img src=x onerror=alert(1)>'.jpg",
    "<!--.jpg",
    "&amp;&lt;b&gt;.jpg",
    "{{data}}\\u003c\\n.jpg",
    "line\u2028and\u2029ends.jpg",
    "new\nline\r\x1b[31m.jpg",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    os.fsdecode(b"bytes \xff\xe9.jpg"),
    "\N{CAT FACE} e\N{COMBINING ACUTE ACCENT}.jpg",
]


class Reader(html.parser.HTMLParser):
    """Reads a page as browsers do: elements with their attributes, and the text of script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.raw.append((tag, ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data
        else:
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)


def data_of(text: str) -> dict[str, Any]:
    reader = Reader(text)
    kinds = [attributes.get("type") for tag, attributes in reader.elements if tag == "script"]
    scripts = [raw for tag, raw in reader.raw if tag == "script"]
    return json.loads(scripts[kinds.index("application/json")])


def test_the_page_is_one_file(tmp_path: Path) -> None:
    text = page(made_curve(tmp_path), tmp_path)
    assert text.isascii()
    for _, attributes in Reader(text).elements:
        for name in ("src", "href", "action", "srcset", "style"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on")]
    links = set(re.findall(r"https?://[\w.]+", text))
    assert links <= {"http://www.w3.org"}  # the name of SVG
    assert not re.search(r"url\(|@import|\{\{", text)


def test_the_policy_is_that_of_this_script_and_style(tmp_path: Path) -> None:
    reader = Reader(page(made_curve(tmp_path), tmp_path, choose="choose"))
    (policy,) = [a["content"] for tag, a in reader.elements if tag == "meta" and "http-equiv" in a]
    (style,) = [raw for tag, raw in reader.raw if tag == "style"]
    script = reader.raw[-1][1]
    for kind, body in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "connect-src 'self';" in policy
    assert "connect-src 'none';" in page(made_curve(tmp_path), tmp_path)
    assert "unsafe" not in policy


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = [*HOSTILE, "plain.jpg"]
    examples = np.zeros(len(HOSTILE), EDGE_DTYPE)
    examples["i"], examples["j"] = np.arange(len(HOSTILE)), len(HOSTILE)
    examples["score"] = np.linspace(0.5, 0.9, len(HOSTILE))
    folder = tmp_path / "<script>alert(2)<\\script>&amp;"
    curve = made_curve(folder, n_images=len(names), n_sample=len(names), n_pictures=len(names))
    curve = made_curve(folder, n_images=60, n_sample=60, files=tuple(names), examples=examples)
    text = page(curve, folder)
    reader = Reader(text)
    plain = Reader(page(made_curve(tmp_path / "x", n_images=60, n_sample=60), tmp_path / "x"))
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in plain.elements]
    assert "<script>alert(2)<\\\\script>&amp;" in reader.text
    shown = {picture["name"] for picture in data_of(text)["pictures"]}
    assert {"<script>alert(1)</script>.jpg", "&amp;&lt;b&gt;.jpg", r"bytes \xff\xe9.jpg"} <= shown
    assert r"line\u2028and\u2029ends.jpg" in shown
    assert r"new\x0aline\x0d\x1b[31m.jpg" in shown
    assert "\N{CAT FACE} e\N{COMBINING ACUTE ACCENT}.jpg" in shown
    assert not re.search("[\x00-\x1f\u2028\u202e\ud800-\udfff]", "".join(shown))


def test_each_picture_is_there_once_and_not_too_many(tmp_path: Path) -> None:
    curve = made_curve(tmp_path, n_pictures=500, n_examples=450)
    data = data_of(page(curve, tmp_path))
    sources = [picture["source"] for picture in data["pictures"]]
    assert len(set(sources)) == len(sources)
    assert 390 <= len(sources) <= 400
    assert sum(map(len, sources)) < 4 * 2**20 + 8
    scores = [edge[2] for edge in data["edges"]]
    assert scores == sorted(scores)
    assert set(scores) <= set(curve.examples["score"].tolist())
    near = np.argsort(np.abs(curve.examples["score"] - curve.default))[:12]
    assert set(curve.examples["score"][near].tolist()) <= set(scores)  # where people look first
    assert np.histogram(scores, 8, (0.35, 1.0))[0].min() > 20  # and everywhere else
    for i, j, score, text in data["edges"]:
        names = {data["pictures"][i]["name"], data["pictures"][j]["name"]}
        (edge,) = curve.examples[curve.examples["score"] == score]
        assert names == {curve.files[edge["i"]], curve.files[edge["j"]]}
        assert float(text) == pytest.approx(score, abs=5e-5)


def test_pictures_beyond_the_limit_of_bytes_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_page_data, "MAX_PICTURE_BYTES", 50_000)
    data = data_of(page(made_curve(tmp_path), tmp_path))
    assert 0 < sum(len(picture["source"]) for picture in data["pictures"]) <= 50_000 * 4 / 3
    assert max(max(edge[:2]) for edge in data["edges"]) < len(data["pictures"])
    assert data["edges"]


def test_a_picture_that_is_gone_or_broken_has_the_reason(tmp_path: Path) -> None:
    curve = made_curve(tmp_path, n_pictures=12, n_examples=9)
    (tmp_path / curve.files[1]).unlink()
    (tmp_path / curve.files[2]).write_bytes(b"GIF89a broken")
    pictures = {picture["name"]: picture for picture in data_of(page(curve, tmp_path))["pictures"]}
    assert "no such file" in pictures[curve.files[1]]["reason"].lower()
    assert pictures[curve.files[2]]["reason"]
    assert "source" in pictures[curve.files[4]]


def test_figures_of_the_data_are_those_of_the_curve(tmp_path: Path) -> None:
    curve = made_curve(tmp_path, n_thresholds=40)
    data = data_of(page(curve, tmp_path))
    for k, label in enumerate(data["labels"]):
        point = curve.at(float(label))
        assert point.threshold == curve.thresholds[k]  # what can be copied means this step
        assert data["pairs"][k] == pytest.approx(point.pairs, rel=1e-5)
        assert (data["clusters"][k], data["largest"][k]) == (point.clusters, point.largest)
    usual = data["usual"]
    assert float(data["labels"][usual]) == curve.default == data["default"]
    assert data["texts"]["pairs"][0][0] == "about 201,000"


def test_exact_numbers_are_exact(tmp_path: Path) -> None:
    curve = made_curve(tmp_path, n_images=3456, n_sample=3456)
    text = page(curve, tmp_path)
    data = data_of(text)
    assert data["exact"]
    assert data["texts"]["pairs"][0] == [f"{int(curve.pairs[0]):,}", ""]
    assert "about" not in text.split("<body>")[1].split('<script id="data"')[0].replace('class="about"', "")
    assert "in the sample" not in text


@given(
    st.lists(st.integers(-990, 990), min_size=1, max_size=40, unique=True).map(sorted),
    st.floats(-0.99, 0.99),
    st.sampled_from([1000, 1000.7, 3000]),
)
def test_a_label_lies_in_its_step(grid: list[int], default: float, divisor: float) -> None:
    thresholds = np.array(grid) / divisor
    n = len(thresholds)
    zeros, counts = np.zeros(n), np.zeros(n, np.int64)
    curve = type(EMPTY)(
        **{name: getattr(EMPTY, name) for name in ("method", "params", "files", "n_sample", "examples")},
        default=default,
        thresholds=thresholds,
        **dict.fromkeys(("pairs", "pairs_low", "pairs_high", "images", "images_low", "images_high"), zeros),
        clusters=counts,
        largest=counts,
    )
    labels = _page_data.labels(curve)
    values = [float(label) for label in labels]
    assert values == sorted(values)
    for k, value in enumerate(values):
        assert value < 1
        if value != default:
            assert thresholds[k] <= value
            assert k + 1 == n or value < thresholds[k + 1]


EMPTY = empty_curve(10)


def test_states_without_a_pair_are_explained() -> None:
    assert "There is one image" in Reader(page(empty_curve(1), Path("x"))).text
    assert "No image in this folder could be used" in Reader(page(empty_curve(0), Path("x"))).text
    assert "all of 300 images were compared" in Reader(page(empty_curve(300), Path("x"))).text
    assert "a sample of 100 of 300" in Reader(page(empty_curve(300, 100), Path("x"))).text


def test_one_threshold(tmp_path: Path) -> None:
    data = data_of(page(one_threshold(made_curve(tmp_path), 50), tmp_path))
    assert (data["usual"], data["labels"]) == (0, ["0.69"])


def test_the_table_holds_the_default_and_the_ends(tmp_path: Path) -> None:
    text = Reader(page(made_curve(tmp_path), tmp_path)).text
    assert "0.690 (default)" in text
    assert "0.400" in text and "0.990" in text


def test_the_parts_are_in_the_package() -> None:
    names = {entry.name for entry in (files("clusterimg.picker") / "_page").iterdir()}
    assert names == {
        *("page.html", "page.css"),
        *("state.js", "curve.js", "cut.js", "moving.js", "choosing.js", "start.js"),
    }
