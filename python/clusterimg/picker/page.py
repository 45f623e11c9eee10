"""The threshold curve as a page: one HTML file that needs no server, no library and no request."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._page_data import about, figures, labels, page_data
from ._wording import shown_name, step_of

if TYPE_CHECKING:
    from .curve import ThresholdCurve

__all__ = ["content_policy", "page"]

SCRIPTS = ("state.js", "curve.js", "cut.js", "moving.js", "choosing.js", "start.js")
TABLE_ROWS = 24

ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none'>"
    "<path d='M2 2v12h12' stroke='#888' stroke-width='1.5'/>"
    "<path d='M4 3c1 6 4 8 9 8.5' stroke='#2456c9' stroke-width='2'/>"
    "<circle cx='6' cy='8' r='2' fill='#d9540f'/></svg>"
)


def page(curve: ThresholdCurve, folder: Path, *, choose: str | None = None) -> str:
    """Return the page: curve, figures at every threshold, and the pairs just above and below the cut.

    Parameters
    ----------
    folder : of the images; thumbnails of some are made and become part of the page
    choose : an address that takes the choice, as `serving` has one; without, the page shows the option of the
        command line to copy

    Returns
    -------
    HTML, all of it ASCII; file names in it are text, whatever they hold
    """
    name = shown_name(Path(folder).resolve().name or str(folder))
    parts = {
        "policy": content_policy(can_choose=choose is not None),
        "title": html.escape(f"Threshold: {name}"),
        "icon": "data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode(),
        "css": _style(),
        "js": _script(),
        "heading": f"{'Choose the threshold' if choose else 'Thresholds'} for <bdi>{html.escape(name)}</bdi>",
        "about": html.escape(about(curve)),
        "notice": _notice(curve),
        "hint": _hint(choose is not None),
        "clusters": "Clusters" if curve.is_exact else "Clusters in the sample",
        "largest": "Largest cluster" if curve.is_exact else "Largest in the sample",
        "images": f"Clustered, of {curve.n_images:,} images",
        "table": _table(curve),
        "data": _json({**page_data(curve, Path(folder)), "choose": choose}),
    }
    filled = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))
    return filled.encode("ascii", "xmlcharrefreplace").decode("ascii")


def content_policy(*, can_choose: bool) -> str:
    """Return the content security policy: only our own script and style, pictures that are in the page.

    Even if a name became markup, nothing of it would run and no request would leave.
    """
    connect = "'self'" if can_choose else "'none'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_digest(_script())}'",
            f"style-src '{_digest(_style())}'",
            "img-src data:",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files(__package__) / "_page" / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    return _ascii('"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n")


@cache
def _style() -> str:
    return _asset("page.css")


def _ascii(script: str) -> str:
    r"""Return a script with `…` and the like written as `\u2026`, as the page is all ASCII."""
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\u{ord(match[0]):04x}", script)


def _json(value: Any) -> str:
    """Return JSON that can stand in a script element: ASCII, and without a `<` to end it by."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


# --- texts ---


def _hint(can_choose: bool) -> str:
    target = "the button" if can_choose else "copying"
    return (
        'Hover to look, click or drag to select. <span class="keys">Keys: <kbd>↑</kbd> <kbd>↓</kbd> '
        "<kbd>Page up</kbd> <kbd>Page down</kbd> <kbd>Home</kbd> <kbd>End</kbd>, <kbd>Enter</kbd> for "
        f"{target}.</span>"
    )


def _notice(curve: ThresholdCurve) -> str:
    text = ""
    if curve.n_images == 0:
        text = "No image in this folder could be used, so there is nothing to compare."
    elif curve.n_images == 1:
        text = (
            "There is one image in this folder, and nothing to compare it with: no threshold gives a cluster."
        )
    elif not curve.pairs.any():
        compared = "all" if curve.is_exact else f"a sample of {curve.n_sample:,}"
        text = (
            f"No similar pairs: {compared} of {curve.n_images:,} images were compared with all others, and "
            f"no two of them score above {labels(curve)[0]}, the lowest threshold here."
        )
    return f'<p class="notice">{html.escape(text)}</p>' if text else ""


def _table(curve: ThresholdCurve) -> str:
    if curve.n_images < 2:
        return ""
    kind = "" if curve.is_exact else " in the sample"
    pairs = "Similar pairs" if curve.is_exact else "Expected similar pairs"
    headings = ["Threshold", pairs, "95 % interval", "Clustered images", "95 % interval", "Of all images"]
    headings += [f"Clusters{kind}", f"Largest{kind}"]
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return (
        '<details><summary>The figures as a table</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(_rows(curve))}</tbody></table></div></details>"
    )


def _rows(curve: ThresholdCurve) -> Iterator[str]:
    usual, texts = step_of(curve, curve.default), labels(curve)
    last = len(curve.thresholds) - 1
    picked = {round(k * last / (TABLE_ROWS - 1)) for k in range(TABLE_ROWS)} | {usual}
    for k in sorted(picked, reverse=True):
        said = figures(curve, k)
        default = " (default)" if k == usual else ""
        cells = [*said.pairs, *said.images, said.share]
        cells += [f"{int(curve.clusters[k]):,}", f"{int(curve.largest[k]):,}"]
        row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        mark = ' class="usual"' if k == usual else ""
        yield f'<tr{mark}><th scope="row">{texts[k]}{default}</th>{row}</tr>'
