"""Puts tables between their marks in the README beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).with_name("README.md")


def replace(part: str, lines: Iterable[str]) -> None:
    """Put lines between `<!-- begin part -->` and `<!-- end part -->`."""
    begin, end = f"<!-- begin {part} -->", f"<!-- end {part} -->"
    text = README.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"{README} must have the marks {begin} and {end}")
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    table = "\n".join([begin, *lines, end])
    README.write_text(found.sub(lambda _: table, text), encoding="utf-8")
