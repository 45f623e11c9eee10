"""A real browser for the tests of pages: playwright drives the Chromium of the system.

Where either is missing the tests skip, and say which; the stage `browser` of `.ci/run` installs both.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

Shown = Any  # playwright's Page; it may not be installed


class Watched:
    """A page of a context of its own, and what it did that no page of ours may do.

    `page` is playwright's. At the end of the test `faults` must be empty: errors on the console, exceptions
    in scripts, and requests to other places than `file:`, `data:` and the origins that the test allowed.
    """

    def __init__(self, context: Any) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self._allowed: set[str] = set()
        self._expected: list[str] = []
        context.set_default_timeout(10_000)
        context.route("**/*", self._route)
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"exception: {error.error}"))
        self.page: Shown = context.new_page()
        self.page.on("websocket", lambda socket: self.faults.append(f"websocket: {socket.url}"))

    def allow(self, address: str) -> None:
        """Allow requests to the origin (scheme, host and port) of an address."""
        self._allowed.add(_origin(address))

    def expect_error(self, pattern: str) -> None:
        """Let errors on the console pass that a regular expression finds; one must come."""
        self._expected.append(pattern)

    def open(self, path: Path) -> Shown:
        """Open a file from the disk and return the page."""
        self.page.goto(path.as_uri())
        return self.page

    def screenshot(self, name: str, **options: Any) -> None:
        """Keep a picture of the page in the folder that `CLUSTERIMG_SHOTS` names, if it names one."""
        if folder := os.environ.get("CLUSTERIMG_SHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder, f"{name}.png"), **options)

    def check(self) -> None:
        """Fail if there was a fault, or if an expected error did not come."""
        unexpected = [
            fault for fault in self.faults if not any(re.search(each, fault) for each in self._expected)
        ]
        missing = [
            each for each in self._expected if not any(re.search(each, fault) for fault in self.faults)
        ]
        assert unexpected == []
        assert missing == [], f"expected, but did not come; came: {self.faults}"

    def _may(self, url: str) -> bool:
        return urlsplit(url).scheme in ("file", "data") or _origin(url) in self._allowed

    def _route(self, route: Any) -> None:
        if self._may(route.request.url):
            route.fallback()
        else:
            route.abort()

    def _request(self, request: Any) -> None:
        self.requests.append(request.url)
        if not self._may(request.url):
            self.faults.append(f"request: {request.method} {request.url[:200]}")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, started once."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        pytest.skip("playwright is not installed: pip install 'clusterimg[browser]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """A function that opens one more page, in a fresh context made with playwright's options."""
    opened: list[tuple[Any, Watched]] = []

    def new(**options: Any) -> Watched:
        context = chromium.new_context(**options)
        opened.append((context, Watched(context)))
        return opened[-1][1]

    yield new
    for context, _ in opened:
        context.close()
    for _, watched in opened:
        watched.check()


@pytest.fixture
def browser_page(new_page: Callable[..., Watched]) -> Watched:
    """One page, 1280 x 800; the test fails on any error in it and on any request that leaves."""
    return new_page(viewport={"width": 1280, "height": 800})
