"""Builds the CUDA module for the CPU: the sources of `cuda/` and, in place of CUDA, `emulation/`.

Objects are kept by a digest of all that goes into them, so that only what changed is compiled again. The
module must be imported under the name `_core_cuda`, once in a process.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
EMULATION = Path(__file__).resolve().parent / "emulation"
BUILT = Path(os.environ.get("CLUSTERIMG_EMULATED", ROOT / "build" / "emulated"))
"""Where objects are kept from one session of tests to the next."""

SANITIZE = os.environ.get("CLUSTERIMG_EMULATED_SANITIZE", "")
"""Sanitizers of the tests' builds, as -fsanitize takes them; Python needs their libraries preloaded."""

COMPILER = os.environ.get("CXX") or "g++"
FLAGS = [
    *("-std=c++17", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-pthread"),
    *("-fno-gnu-unique", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),
    '-DCLUSTERIMG_CUDA_ARCHITECTURES="emulated"',
]
ORDERS = ("forward", "reverse", "shuffled")


def why_not() -> str | None:
    """Return None if the module can be built here, else what is missing."""
    if sys.platform != "linux":
        return "the emulation of CUDA runs on Linux"
    if importlib.util.find_spec("pybind11") is None:
        return "the emulated CUDA module is built with pybind11, which is not installed"
    return None if shutil.which(COMPILER) else f"no {COMPILER} to build the emulated CUDA module"


def build(folder: Path, *, changed: Mapping[str, str] | None = None, sanitize: str = "") -> Path:
    """Build the module into a folder, with some files of `cuda/` replaced by the given texts."""
    folder, changed = folder.resolve(), changed or {}
    sources = folder / "sources" / _digest(*changed, *changed.values()) if changed else ROOT / "cuda"
    if changed and not sources.exists():
        fresh = sources.with_name(f"{sources.name}.{os.getpid()}")
        shutil.copytree(ROOT / "cuda", fresh)
        for name, text in changed.items():
            (fresh / name).write_text(text)
        fresh.rename(sources)
    units = [*sources.glob("*.cu"), *sources.glob("*.cpp"), EMULATION / "knobs.cpp"]
    return _library(folder, sources, units, f"_core_cuda{_SUFFIX}", sanitize)


def build_checks(folder: Path, *, sanitize: str = "") -> Path:
    """Build a library of small kernels that try the emulation itself."""
    folder = folder.resolve()
    units = [EMULATION / "checks.cu", EMULATION / "knobs.cpp"]
    return _library(folder, ROOT / "cuda", units, "checks.so", sanitize)


def _library(folder: Path, sources: Path, units: list[Path], name: str, sanitize: str) -> Path:
    """Build a library, with the headers of `cuda/` from `sources`."""
    plain = [*FLAGS, f"-ffile-prefix-map={ROOT}/=", f"-ffile-prefix-map={sources}=cuda"]
    checked = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    includes = [EMULATION, ROOT / "csrc", sources]

    def compiled(unit: Path) -> Path:
        # Of the bindings half a minute of checks would be of pybind11.
        is_ours = unit.name != "bindings.cpp"
        return _compile(folder, [*plain, *checked] if sanitize and is_ours else plain, includes, unit)

    # The slowest first, so that two compilers end together.
    units = sorted(units, key=lambda unit: (unit.name != "bindings.cpp", -unit.stat().st_size))
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, units))
    target = folder / _digest(*sorted(each.name for each in objects)) / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        sanitizer = [f"-fsanitize={sanitize}"] if sanitize else []
        _run([COMPILER, "-shared", "-pthread", *sanitizer, *map(str, objects), "-o", str(fresh)])
        fresh.rename(target)
    return target


_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ".so"


def _compile(folder: Path, flags: list[str], includes: list[Path], unit: Path) -> Path:
    """Compile a source unless its object is there."""
    texts = [file.read_bytes() for file in _files_of(unit, includes)]
    # Where the sources lie is no part of what comes out.
    kept = [flag for flag in flags if not flag.startswith("-ffile-prefix-map")]
    target = folder / "objects" / f"{unit.stem}-{_digest(_versions(), *kept, *texts)}.o"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        # As nvcc does with what it compiles for a device.
        begin = ["-include", "cuda_runtime.h"] if unit.suffix == ".cu" else []
        import pybind11

        system = (pybind11.get_include(), sysconfig.get_paths()["include"])
        command = [COMPILER, *flags, *(f"-I{path}" for path in includes)]
        command += [part for path in system for part in ("-isystem", path)]
        _run([*command, *begin, "-x", "c++", "-c", str(unit), "-o", str(fresh)])
        fresh.rename(target)
    return target


_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def _files_of(unit: Path, includes: list[Path]) -> list[Path]:
    """Return a source and all files of ours that it includes, in a settled order."""
    found, waiting = {unit}, [unit]
    while waiting:
        file = waiting.pop()
        for name in _INCLUDE.findall(file.read_text()):
            paths = [folder / name for folder in (file.parent, *includes) if (folder / name).is_file()]
            if paths and paths[0].resolve() not in found:
                found.add(paths[0].resolve())
                waiting.append(paths[0].resolve())
    return sorted(found, key=lambda path: (path.name, path))


def _digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8, "little") + raw)
    return whole.hexdigest()[:20]


@cache
def _versions() -> str:
    compiler = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{compiler}{sys.version}{importlib.metadata.version('pybind11')}"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    if done.stderr:
        sys.stderr.write(done.stderr)


def load(path: Path) -> ModuleType:
    """Import a module that was built."""
    loader = importlib.machinery.ExtensionFileLoader("_core_cuda", str(path))
    spec = importlib.util.spec_from_file_location("_core_cuda", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Machine:
    """The emulated machine of a module: what tests set and read of it."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.emulation_to_device.restype = ctypes.c_void_p
        for name in ("used", "pinned", "calls", "launches"):
            getattr(self._library, f"emulation_{name}").restype = ctypes.c_longlong

    def reset(self) -> None:
        """One whole device again, threads forward."""
        self._library.emulation_reset()

    def order(self, order: str, seed: int = 0) -> None:
        """Run threads and blocks `forward`, `reverse`, or `shuffled` anew after each barrier."""
        self._library.emulation_order(ORDERS.index(order), seed)

    def plant(self, number: int) -> None:
        """Switch on a fault that the build holds; 0: none."""
        self._library.emulation_plant(number)

    def os_threads(self, n: int) -> None:
        """Let so many OS threads run blocks at once."""
        self._library.emulation_os_threads(n)

    def eager(self, on: bool = True) -> None:
        """Run work when it is given to a stream, rather than when the host waits for it."""
        self._library.emulation_eager(on)

    def driver(self, version: int) -> None:
        """Have a driver of that version (13000 is 13.0), or with 0 none."""
        self._library.emulation_driver(version)

    def devices(self, n: int) -> None:
        """Have so many devices."""
        self._library.emulation_devices(n)

    def capability(self, device: int, major: int, minor: int) -> None:
        """Set a device's compute capability."""
        self._library.emulation_capability(device, major, minor)

    def memory(self, device: int, n_bytes: int) -> None:
        """Give a device so much memory."""
        self._library.emulation_memory(device, ctypes.c_size_t(n_bytes))

    def vanish(self, device: int, after_calls: int = 0, error: int = 46) -> None:
        """Let every call on a device fail after so many more."""
        self._library.emulation_vanish(device, ctypes.c_longlong(after_calls), error)

    def used(self, device: int = 0) -> int:
        """Return the bytes in use on a device."""
        return int(self._library.emulation_used(device))

    def pinned(self) -> int:
        """Return the bytes of pinned memory in use."""
        return int(self._library.emulation_pinned())

    def calls(self) -> int:
        """Return how many calls the runtime had since the reset."""
        return int(self._library.emulation_calls())

    def launches(self) -> int:
        """Return how many kernels were launched since the reset."""
        return int(self._library.emulation_launches())

    def array(self, values: NDArray[np.generic], device: int = 0) -> DeviceArray:
        """Copy an array to a device."""
        return DeviceArray(self, np.ascontiguousarray(values), device)


class DeviceArray:
    """An array in the memory of an emulated device, with `__cuda_array_interface__`."""

    def __init__(self, machine: Machine, values: NDArray[np.generic], device: int) -> None:
        self._library = machine._library
        self._pointer = self._library.emulation_to_device(
            device, values.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(values.nbytes)
        )
        self.shape, self.dtype = values.shape, values.dtype

    def __del__(self) -> None:
        self._library.emulation_free(ctypes.c_void_p(self._pointer))

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        """Where it lies, as CuPy and Numba say it."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._pointer or 0, False),
            "strides": None,
            "version": 3,
        }


def main() -> None:
    """Build the module and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sanitize", default="", help="as -fsanitize takes it")
    arguments = parser.parse_args()
    print(build(arguments.folder, sanitize=arguments.sanitize))


if __name__ == "__main__":
    main()
