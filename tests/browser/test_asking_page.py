"""`run --threshold ask --ui page`: a real process asks, a person answers in a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import clusterimg as ci
from pictures import groups, save

if TYPE_CHECKING:
    from conftest import Watched

pytest.importorskip("clusterimg.picker.views", reason="the command line does not ask yet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", groups(3, 3, 2))


@contextmanager
def asking(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command line until it says where the page is; give the process and the address."""
    command = [sys.executable, "-m", "clusterimg", "run", str(folder), "--threshold", "ask", "--ui", "page"]
    personal = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION")
    environment = {name: value for name, value in os.environ.items() if name not in personal}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield process, address_in(process.stdout)
        finally:
            process.kill()


def address_in(lines: IO[str]) -> str:
    seen = []
    for line in lines:
        seen.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line):
            return found[0]
    raise AssertionError("".join(seen))


def test_a_run_goes_on_with_what_was_chosen(browser_page: Watched, folder: Path) -> None:
    with asking(folder) as (process, address):
        browser_page.allow(address)
        page = browser_page.page
        page.goto(address)
        page.locator("#slider").focus()
        for key in ("PageUp", "ArrowUp", "Enter", "Enter"):
            page.keyboard.press(key)
        page.get_by_role("status").get_by_text("was chosen").wait_for()
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    threshold = float(page.locator("#threshold").inner_text())
    assert threshold > 0.69
    result = folder.with_name("photos_clustered")
    assert json.loads((result / "run.json").read_text())["parameters"]["threshold"] == threshold
    told = ci.run(folder, threshold=threshold, out=folder.with_name("told"))
    assert (result / "clusters.csv").read_bytes() == (told.out / "clusters.csv").read_bytes()


def test_ctrl_c_ends_a_run_that_asks(browser_page: Watched, folder: Path) -> None:
    with asking(folder) as (process, address):
        browser_page.allow(address)
        browser_page.page.goto(address)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 130, out
        assert "Traceback" not in out
    browser_page.expect_error("ERR_CONNECTION_REFUSED")
    browser_page.page.locator("#act").click()
    browser_page.page.get_by_role("status").get_by_text("No answer").wait_for()
