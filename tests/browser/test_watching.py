"""The watch over pages sees what it must see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Watched

FAULTS = {
    "console: broken": "console.error('broken')",
    "exception: no": "setTimeout(() => { throw new Error('no') })",
    "request: GET http://example.com/": "new Image().src = 'http://example.com/'",
    "request: POST http://127.0.0.1:9/": "navigator.sendBeacon('http://127.0.0.1:9/', 'x')",
    "websocket: ws://127.0.0.1:9/": "new WebSocket('ws://127.0.0.1:9/')",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(browser_page: Watched, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><script>{FAULTS[fault]}</script>")
    page = browser_page.open(file)
    page.wait_for_timeout(1)
    for _ in range(100):
        if any(seen.startswith(fault) for seen in browser_page.faults):
            break
        page.wait_for_timeout(20)
    assert [seen for seen in browser_page.faults if seen.startswith(fault)]
    with pytest.raises(AssertionError):
        browser_page.check()
    browser_page.expect_error(".")  # what was planted, and what it leaves on the console later


def test_what_a_page_may_do(browser_page: Watched, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("document.title = 'ran'")
    file = tmp_path / "page.html"
    file.write_text(
        "<!doctype html><meta charset=utf-8><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
        "<script src=a.js></script>"
    )
    assert browser_page.open(file).title() == "ran"
    browser_page.check()
