"""Fail if a must-run test was skipped or did not run, or if fewer tests passed than the kept number.

python check_tests.py [--stage NAME] REPORT.xml
"""

from __future__ import annotations

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch
from pathlib import Path


def main() -> int:
    """Compare the report with `.ci/tests.json`; say what is wrong, return 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", default="readme")
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    wanted = json.loads(Path(__file__).with_name("tests.json").read_text())[arguments.stage]
    cases = list(ElementTree.parse(arguments.report).iter("testcase"))
    skipped = {_name(case): _reason(case) for case in cases if case.find("skipped") is not None}
    passed = [_name(case) for case in cases if not any(case.find(tag) is not None for tag in _NOT_PASSED)]
    problems = []
    if len(passed) < wanted["at_least"]:
        problems.append(f"{len(passed)} tests passed, at least {wanted['at_least']} must")
    for pattern in wanted["must_run"]:
        problems += [
            f"{name} must run, but was skipped: {reason}"
            for name, reason in skipped.items()
            if fnmatch(name, pattern)
        ]
        if not any(fnmatch(name, pattern) for name in passed):
            problems.append(f"no test named {pattern} passed, one must")
    print(f"{arguments.stage}: {len(passed)} passed, {len(skipped)} skipped")
    for name, reason in skipped.items():
        print(f"  skipped {name}: {reason}")
    for problem in problems:
        print(f"  PROBLEM {problem}")
    return 1 if problems else 0


_NOT_PASSED = ("failure", "error", "skipped")


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name', '')}"


def _reason(case: ElementTree.Element) -> str:
    element = case.find("skipped")
    return "" if element is None else element.get("message", "")


if __name__ == "__main__":
    sys.exit(main())
