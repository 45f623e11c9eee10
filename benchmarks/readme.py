"""Puts tables between their marks in the README beside this file, or prints them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def run_parts(description: str | None, parts: Mapping[str, Callable[[Path], Iterator[str]]]) -> None:
    """Print the parts that the command line names, or all; with `--write` put them into the README.

    A part yields the lines of its table, made of the data sets in the folder that `CLUSTERIMG_DATA` names.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    arguments = parser.parse_args()
    if "CLUSTERIMG_DATA" not in os.environ:
        parser.error("CLUSTERIMG_DATA must name the folder of the data sets")
    for part in arguments.parts or parts:
        lines = []
        print(f"### {part}", flush=True)
        for line in parts[part](Path(os.environ["CLUSTERIMG_DATA"]).resolve()):
            print(line, flush=True)
            lines.append(line)
        if arguments.write:
            replace(part, lines)
