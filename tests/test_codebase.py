"""Who may import whom, and other rules about the text of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clusterimg

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "clusterimg"
CSRC = ROOT / "csrc"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))

# cli -> pipeline and views -> stages -> nouns; a private module belongs to the layer that it serves.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("pipeline", "joining", "picker", "gallery", "evaluation", "demo", "deep", "similarity", "kernels"),
    ("images", "methods", "backends", "clustering", "merging", "results", "undoing", "extraction", "batches"),
    ("errors",),
)
MAY_PRINT = {"cli.py", "__main__.py"}


def as_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those under `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if is_type_checking(node):
            assert isinstance(node, ast.If)
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def imports_of(path: Path, source: str | None = None) -> set[str]:
    """Return the dotted modules of the package that a file imports when it runs, without `clusterimg.`.

    An imported name counts as a module: `from . import kernels` gives `kernels`.
    """
    package = ["clusterimg", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in run_time_nodes(ast.parse(path.read_text() if source is None else source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = [*start, *(node.module or "").split(".")] if node.module else start
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        found.update(name.removeprefix("clusterimg.") for name in names if name.startswith("clusterimg."))
    return found


def top(module: str) -> str:
    return module.split(".")[0]


def own_name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_reading_imports_sees_every_form() -> None:
    path = PACKAGE / "methods" / "x.py"
    source = """
from __future__ import annotations
import os, clusterimg._core as core
from typing import TYPE_CHECKING
from .. import images
from ..backends import Engine
from ._classic import Classic
from clusterimg import cli
if TYPE_CHECKING:
    from .. import pipeline
def later():
    from ..results import plan
"""
    tops = {top(name) for name in imports_of(path, source)}
    assert tops == {"_core", "images", "backends", "methods", "cli", "results"}


def test_modules_are_found() -> None:
    assert Path(clusterimg.__file__).name == "__init__.py"
    assert {"methods/__init__.py", "backends/cpp.py"} <= {p.relative_to(PACKAGE).as_posix() for p in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=as_id)
def test_imports_go_downwards(path: Path) -> None:
    rank = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}
    own = own_name(path)
    if own == "__init__":
        return
    if not own.startswith("_") or own == "__main__":
        assert own in rank, f"{own} has no layer yet: give it one in this file"
    for imported in {top(name) for name in imports_of(path)} - {own}:
        assert imported != "cli" or own == "__main__"
        if own in rank and imported in rank:
            assert rank[imported] >= rank[own], f"{own} must not import {imported}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*.py")), ids=as_id)
def test_methods_are_handed_their_backend(path: Path) -> None:
    tops = {top(name) for name in imports_of(path)}
    assert not tops & {"backends", "_core", "images", "kernels", "pipeline", "results", "merging"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "backends").glob("*.py")), ids=as_id)
def test_backends_know_arrays_only(path: Path) -> None:
    tops = {top(name) for name in imports_of(path)}
    own = {"backends", "_core", "_core_cuda"}
    assert tops <= own | {"_types", "_device_arrays", "_optional", "_memory", "errors"}


@pytest.mark.parametrize("path", MODULES, ids=as_id)
def test_one_module_imports_the_core(path: Path) -> None:
    found = {top(name) for name in imports_of(path)}
    for core, module in (("_core", "backends/cpp.py"), ("_core_cuda", "backends/cuda.py")):
        assert (core in found) == (path.relative_to(PACKAGE).as_posix() == module)


@pytest.mark.parametrize("path", MODULES, ids=as_id)
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if path.name in MAY_PRINT:
        return
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    words = {ast.unparse(function) for function in calls}
    assert not words & {"print", "exit", "quit", "sys.exit", "os._exit", "input"}
    assert not {word for word in words if word.startswith(("sys.stdout.", "sys.stderr."))}


def test_module_names_say_what_they_are() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
    stems = {path.stem.strip("_") for path in MODULES} | {path.parent.name for path in MODULES}
    assert not stems & vague


def test_no_module_is_named_like_an_exported_function() -> None:
    modules = {own_name(path) for path in MODULES if path.parent == PACKAGE or path.name == "__init__.py"} - {
        "__init__"
    }
    functions = {name for name in clusterimg.__all__ if not isinstance(getattr(clusterimg, name), type)}
    assert functions & modules == {"deep", "kernels"}  # which are the modules themselves


@pytest.mark.parametrize("path", MODULES, ids=as_id)
def test_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 400


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*([<"][^>"]+[>"])', path.read_text(), re.MULTILINE)


SOURCES = sorted(p for folder in (CSRC, ROOT / "cuda") for p in folder.rglob("*.*"))


def test_bindings_alone_know_python() -> None:
    python = re.compile(r"pybind11|Python\.h|python\.hpp")
    knowing = {
        path.relative_to(ROOT).as_posix() for path in SOURCES if python.search("".join(includes(path)))
    }
    assert knowing == {"csrc/bindings.cpp", "csrc/python.hpp", "cuda/bindings.cpp", "cuda/device_array.hpp"}


@pytest.mark.parametrize("path", sorted((CSRC / "kernels").glob("*.hpp")), ids=as_id)
def test_kernel_headers_bring_no_inline_function(path: Path) -> None:
    """An inline function of a library, compiled for a new CPU, may be the one that old CPUs get too."""
    assert set(includes(path)) - {"<immintrin.h>"} == {"<cstddef>", "<cstdint>"}
    assert "namespace clusterimg::CLUSTERIMG_ISA {" in path.read_text()
    assert "std::vector" not in path.read_text()


def test_isa_file_includes_kernels_only() -> None:
    found = includes(CSRC / "kernels_isa.cpp")
    kernels = [f'"kernels/{path.name}"' for path in sorted((CSRC / "kernels").glob("*.hpp"))]
    assert sorted(found) == sorted(['"kernels.hpp"', *kernels])
    assert set(includes(CSRC / "kernels.hpp")) == {"<cstddef>", "<cstdint>"}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".hpp"], ids=as_id)
def test_headers_are_included_once(path: Path) -> None:
    assert "#pragma once" in path.read_text()


@pytest.mark.parametrize("path", TESTS, ids=as_id)
def test_tests_hold_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text()
    places = ["home", "root", "work", "Users", "mnt", "opt", "tmp"]
    found = re.findall(rf"""["' (=](?:/(?:{"|".join(places)})/[\w./-]+|[A-Z]:\\\\\w+)""", text)
    assert found == []
