"""The table of ratios: each kernel against the best way to have the same answer from another library."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest

import ratios

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("peers_*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_ratios(benchmark: Any, module: str) -> None:
    """Measure the rows of a file; answers are compared, ratios are recorded and not judged here."""
    try:
        rows = importlib.import_module(module).rows
    except ModuleNotFoundError as missing:
        pytest.skip(f"{module} needs {missing.name}, which is not installed")
    measured = benchmark.pedantic(lambda: [ratios.measure(row) for row in rows()], rounds=1, iterations=1)
    benchmark.extra_info["ratios"] = [
        {
            "kernel": m.row.kernel,
            "peer": m.row.peer,
            "prototype": m.row.prototype,
            "goal": m.row.goal,
            "note": m.row.note,
            **{name: value for name, value in dataclasses.asdict(m).items() if name != "row"},
        }
        for m in measured
    ]
