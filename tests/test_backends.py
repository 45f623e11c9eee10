"""Choosing a backend and an instruction set, and what the compiled core is made of."""

from __future__ import annotations

import ast
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import clusterimg
from clusterimg import BackendUnavailable, UsageError, _core, backends
from clusterimg.backends import BACKENDS, KERNELS, cpp, cuda, numba, reference, select

ROOT = Path(__file__).parents[1]
PACKAGE = Path(clusterimg.__file__).parent

NO_NUMBA = numba.why_unavailable()
needs_numba = pytest.mark.skipif(NO_NUMBA is not None, reason=f"numba {NO_NUMBA}")
NO_CUDA = cuda.why_unavailable()
needs_cuda = pytest.mark.skipif(NO_CUDA is not None, reason=f"cuda {NO_CUDA}")
NEEDS = {"numba": needs_numba, "cuda": needs_cuda}
NAMES = [pytest.param(name, marks=NEEDS.get(name, ())) for name in BACKENDS]


@pytest.fixture(autouse=True)
def no_backend_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTERIMG_BACKEND", raising=False)


# --- select ---


def test_auto_takes_the_first_that_can_run() -> None:
    engine = select()
    assert engine.report.name == BACKENDS[0] == "cpp"
    assert engine.report.isa == _core.isa()
    assert engine.report.n_threads == engine.n_threads == _core.available_threads()
    assert not engine.report.passed_over


@pytest.mark.parametrize("name", NAMES)
def test_named_backend_is_the_one(name: str) -> None:
    engine = select(name, n_threads=2)
    assert engine.report.name == engine.backend.NAME == name
    assert engine.n_threads == (1 if name == "reference" else 2)


def test_unknown_backend_is_named_with_the_known() -> None:
    with pytest.raises(UsageError, match="must be one of auto, cpp, cuda, numba, reference, got 'gpu'"):
        select("gpu")


def test_environment_says_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERIMG_BACKEND", "reference")
    assert select().report.name == "reference"
    assert select("cpp").report.name == "cpp"
    monkeypatch.setenv("CLUSTERIMG_BACKEND", "")
    assert select().report.name == "cpp"
    monkeypatch.setenv("CLUSTERIMG_BACKEND", "gpu")
    with pytest.raises(UsageError, match="got 'gpu'"):
        select()


@needs_numba
def test_backend_that_is_missing_is_passed_over_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the compiled core can't be imported: no such file"
    monkeypatch.setattr(cpp, "_missing", reason)
    engine = select()
    assert engine.report.name == "numba"
    assert dict(engine.report.passed_over) == {"cpp": reason}
    with pytest.raises(BackendUnavailable, match="no backend can run: cpp: the compiled core can't"):
        select("cpp")
    monkeypatch.setattr(numba, "why_unavailable", lambda: "needs numba")
    engine = select()
    assert engine.report.name == "reference"
    assert dict(engine.report.passed_over) == {"cpp": reason, "numba": "needs numba"}
    assert backends.report() == {
        "cpp": reason,
        "cuda": NO_CUDA or reason,
        "numba": "needs numba",
        "reference": None,
    }


def test_reference_names_the_libraries_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"scikit-image.*clusterimg\[reference\]"):
        select("reference")
    monkeypatch.setattr(cpp, "_missing", "gone")
    with pytest.raises(BackendUnavailable, match=r"cpp: gone; numba: needs .*; reference: needs"):
        select()


def test_missing_library_of_the_reference_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(clusterimg.MissingExtra, match=r"clusterimg\[reference\]"):
        reference.phash(np.zeros((9, 9), np.uint8), hash_size=8, highfreq_factor=4)


def test_report_names_every_backend() -> None:
    assert backends.report() == {
        "cpp": None,
        "cuda": NO_CUDA,
        "numba": NO_NUMBA,
        "reference": None,
    }


@pytest.mark.parametrize("name", NAMES)
def test_backend_is_a_flat_module_of_the_same_functions(name: str) -> None:
    module = select(name).backend
    assert isinstance(module, types.ModuleType)
    wanted = [f"{kernel}_{what}" for kernel in KERNELS for what in ("edges", "matrix", "scores")]
    for function in [*wanted, "components", "phash", "why_unavailable", "isa", "resolve_threads"]:
        assert callable(getattr(module, function))


# --- the instruction set ---


def in_new_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("isa", _core.isas())
def test_environment_caps_the_instruction_set(isa: str) -> None:
    script = "from clusterimg import backends; print(backends.select().report.isa)"
    assert in_new_process(script, CLUSTERIMG_ISA=isa).stdout.split() == [isa]


def test_best_instruction_set_is_the_default() -> None:
    script = "from clusterimg import backends; print(backends.select().report.isa)"
    assert in_new_process(script, CLUSTERIMG_ISA="").stdout.split() == [_core.isas()[-1]]


def test_unknown_instruction_set_is_an_error_with_the_known() -> None:
    script = "from clusterimg import backends; backends.select()"
    ended = in_new_process(script, CLUSTERIMG_ISA="pdp-11")
    assert ended.returncode
    known = ", ".join(_core.built_isas())
    assert f"CLUSTERIMG_ISA must be one of {known}, got pdp-11" in ended.stderr


def test_use_isa_changes_what_runs() -> None:
    before = _core.isa()
    for isa in _core.isas():
        _core.use_isa(isa)
        assert _core.isa() == select("cpp").report.isa == isa
    _core.use_isa(before)
    with pytest.raises(ValueError, match="no instruction set pdp-11"):
        _core.use_isa("pdp-11")
    assert _core.isa() == before


def isa_builds() -> list[tuple[str, str, str]]:
    """Return namespace, name and flag of each instruction set in CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.findall(r'clusterimg_add_isa\((\w+) "([\w-]+)" (-march=[\w-]+)\)', text)


def test_core_holds_what_cmake_builds() -> None:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("the instruction sets of CMakeLists.txt are of x86-64")
    names = [name for _, name, _ in isa_builds()]
    assert names
    assert _core.isas() == names[: len(_core.isas())]


@pytest.mark.parametrize("build", isa_builds(), ids=lambda build: build[1])
def test_isa_objects_have_no_weak_symbol(build: tuple[str, str, str], tmp_path: Path) -> None:
    """A weak symbol of one set could be linked in for all, and crash an older CPU.

    Unoptimised: what the optimiser would inline is a symbol then, so that none is missed.
    """
    compiler, nm = shutil.which("g++"), shutil.which("nm")
    if compiler is None or nm is None or platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("needs g++ and nm on x86-64")
    namespace, name, march = build
    built = tmp_path / "kernels.o"
    flags = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", march]
    names = [f"-DCLUSTERIMG_ISA={namespace}", f'-DCLUSTERIMG_ISA_NAME="{name}"']
    source = ROOT / "csrc" / "kernels_isa.cpp"
    subprocess.run([compiler, *flags, *names, "-O0", "-c", source, "-o", built], check=True)
    lines = subprocess.run([nm, "-C", built], check=True, capture_output=True, text=True).stdout.splitlines()
    symbols = [(line.split()[-2] if len(line.split()) < 3 else line.split()[1], line) for line in lines]
    assert [line for kind, line in symbols if kind in "WwVvu"] == []
    exported = [line for kind, line in symbols if kind in "TDRBGS"]
    assert len(exported) == 1
    assert exported[0].endswith(f"clusterimg::{namespace}::table")


# --- the stub of the core ---


def stub() -> dict[str, ast.AST]:
    body = ast.parse((PACKAGE / "_core.pyi").read_text()).body
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    variables = {
        node.target.id: node
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return {**functions, **variables}


def test_stub_names_what_the_core_has() -> None:
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert {name for name in stub() if not name.startswith("_")} == public


def parameters(arguments: ast.arguments) -> list[tuple[str, bool]]:
    """Return name and whether it is keyword-only of each parameter."""
    return [(a.arg, False) for a in [*arguments.posonlyargs, *arguments.args]] + [
        (a.arg, True) for a in arguments.kwonlyargs
    ]


@pytest.mark.parametrize("name", [name for name, node in stub().items() if isinstance(node, ast.FunctionDef)])
def test_stub_has_the_parameters_of_the_core(name: str) -> None:
    node = stub()[name]
    assert isinstance(node, ast.FunctionDef)
    signature = inspect.getdoc(getattr(_core, name)).splitlines()[0]  # type: ignore[union-attr]
    plain = re.sub(r"clusterimg::\w+", "Edge", signature)
    (core,) = ast.parse(f"def {plain}: ...").body
    assert isinstance(core, ast.FunctionDef)
    assert parameters(node.args) == parameters(core.args)
