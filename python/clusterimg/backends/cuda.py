"""CUDA devices: full matrices and thresholded joins by the kernels of `cuda/`, on all devices at once.

The same edges as every other backend, bit for bit. What is not worth a device is the compiled core's, which
must be there too: the bits of perceptual hashes and shrunk images (each picture is decoded on the processor,
in a process that never sees a device), scores of a few listed pairs, and components of edges that are in
the host's memory anyway. Cosines are BLAS's, as everywhere.

Values may be on a device already: arrays with `__cuda_array_interface__` or DLPack stay there. Nothing asks
for a device when this module is imported, so that processes can be forked until one is used.

`CLUSTERIMG_CUDA_DEVICES` (such as "0,1"; all, if not set) names the devices to use, by their numbers among
those that `CUDA_VISIBLE_DEVICES` leaves, and `CLUSTERIMG_CUDA_MEMORY` (such as "8G"; four fifths of what is
free, if not set) the most memory to take on each.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._device_arrays import HOW_TO_MOVE, DeviceArray, device_array, is_on_device
from .._memory import parse_memory
from .._types import Ragged
from ..errors import DeviceError, UsageError
from . import cpp
from ._cosine import cosine_edges as cosine_edges  # functions of a backend
from ._cosine import cosine_matrix as cosine_matrix
from ._cosine import cosine_scores as cosine_scores
from ._cuda_trial import differs
from ._ragged import edges_by_shape, matrix_by_shape

try:
    from .. import _core_cuda
except ImportError as error:  # an ordinary state: most builds are without
    _missing: str | None = (
        f"its compiled module is broken: {error}"
        if importlib.util.find_spec("clusterimg._core_cuda")
        else "built without CUDA: it takes nvcc and CLUSTERIMG_CUDA=ON when clusterimg is built (README)"
    )
else:
    _missing = None

NAME = "cuda"
READS_WITH = "cpp"
"""The backend of the process that reads images: no device is opened there."""

Edges: TypeAlias = NDArray[np.void]
Matrix: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int32]

_held = threading.local()  # of each thread, as the compiled module tells of the latest call of one
_warm = threading.Event()
_told: list[str] = []  # the devices in use
_tried: set[tuple[str, tuple[int, ...] | None]] = set()  # kernels, and devices seen to compute them right


# --- what there is ---


def is_built() -> bool:
    """Return whether the compiled module is there and can be imported."""
    return _missing is None


def why_unavailable() -> str | None:
    """Return None if a device can be used here, else why not: no build, driver, device, or core."""
    if _missing is not None:
        return _missing
    reason: str | None = _core_cuda.why()
    return reason or cpp.why_unavailable()


def isa() -> str:
    """Return which devices are used, their compute capability, and the driver."""
    names = [f"{device['name']} (compute {device['capability']})" for device in devices()]
    counted = [f"{names.count(name)} x " * (names.count(name) > 1) + name for name in dict.fromkeys(names)]
    return f"CUDA on {', '.join(counted)}, driver for CUDA {_core_cuda.versions()['driver']}"


def resolve_threads(n_threads: int) -> int:
    """Return how many threads the compiled core may use for its share."""
    return cpp.resolve_threads(n_threads)


def devices() -> list[dict[str, Any]]:
    """Return the devices to use: number, name, capability, memory, free, multiprocessors, clock_mhz.

    Raises `DeviceError` if one can't be asked.
    """
    numbers = _numbers()
    try:
        found: list[dict[str, Any]] = _core_cuda.devices()
    except _core_cuda.DeviceFailure as failure:
        raise DeviceError(f"CUDA can't tell of its devices: {failure}") from failure
    if numbers is not None:
        known = [device["number"] for device in found]
        if not set(numbers) <= set(known):
            raise UsageError(
                f"CLUSTERIMG_CUDA_DEVICES must be numbers of devices among {known}, got {numbers}"
            )
        found = [device for device in found if device["number"] in numbers]
    if found:  # a device that is lost is not among them
        _told[:] = [f"{device['name']} ({device['number']})" for device in found]
    return found


def facts() -> dict[str, Any]:
    """Return what `info` tells of CUDA: why it can't be used, the devices, and versions."""
    if _missing is not None:
        return {"reason": _missing, "devices": []}
    told = {"reason": why_unavailable(), **_core_cuda.versions(), "devices": []}
    try:
        told["devices"] = _core_cuda.devices() if _core_cuda.why() is None else []
    except _core_cuda.DeviceFailure as failure:
        told["reason"] = str(failure)
    return told


def held() -> dict[str, int]:
    """Return the most bytes that calls of this thread held on each device, since this was last asked."""
    most: dict[str, int] = getattr(_held, "most", {})
    _held.most = {}
    return most


def is_warm() -> bool:
    """Return whether devices were used in this process: they need not start then."""
    return _warm.is_set()


def _numbers() -> list[int] | None:
    text = os.environ.get("CLUSTERIMG_CUDA_DEVICES", "").strip()
    if not text:
        return None
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"CLUSTERIMG_CUDA_DEVICES must be numbers such as 0,1, got {text!r}")
    return sorted({int(number) for number in numbers})


def _memory() -> int:
    text = os.environ.get("CLUSTERIMG_CUDA_MEMORY", "").strip()
    try:
        return parse_memory(text) if text else 0
    except UsageError as error:
        raise UsageError(f"CLUSTERIMG_CUDA_MEMORY: {error}") from None


# --- calls ---


def _call(function: str, *sets: Any, n_threads: int = 0, **options: Any) -> Any:
    """Call the compiled module; `n_threads` are the core's, no matter to a device."""
    chosen = None if _numbers() is None else [device["number"] for device in devices()]
    try:
        _try(function.partition("_")[0], chosen)
        found = getattr(_core_cuda, function)(*sets, devices=chosen, memory=_memory(), **options)
    except _core_cuda.DeviceFailure as failure:
        raise DeviceError(
            f"CUDA failed in {function} on {_names()}: {failure}. Rerun with --backend cpp (backend='cpp' in "
            "Python); in a run --resume keeps features and finished batches"
        ) from failure
    _warm.set()
    most = _held.most = getattr(_held, "most", {})
    for run in _core_cuda.last_run():
        name = f"{run['name']} ({run['number']})"
        most[name] = max(most.get(name, 0), run["bytes"])
    return found


def _try(kernel: str, chosen: list[int] | None) -> None:
    """Compare each device with the compiled core, once a kernel. Raises `DeviceError` if one differs."""
    numbers = None if chosen is None else tuple(chosen)
    if (kernel, numbers) in _tried:
        return
    every = [device["number"] for device in _core_cuda.devices()] if chosen is None else chosen
    wrong = differs(_ask, kernel, every)
    if wrong is not None:
        raise DeviceError(
            f"device {wrong} of {_names()} gives other answers than the compiled core for a small set in "
            f"{kernel}, so it is not used: rerun with --backend cpp (backend='cpp' in Python), and report it"
        )
    if every:
        _tried.add((kernel, numbers))


def _ask(kernel: str, what: str, values: Any, **options: Any) -> Any:
    """Call the compiled module with values as the backends have them."""
    parts = {"sliding": _parts, "descriptor": _words}.get(kernel, _rows)
    return getattr(_core_cuda, f"{kernel}_{what}")(parts(values), **options)


def _names() -> str:
    """Return the devices in use; as they were last told of, if they can't be asked any more."""
    with suppress(DeviceError, UsageError):
        devices()
    return ", ".join(_told) or "a device"


def _rows(values: Any) -> Any:
    return device_array(values) if is_on_device(values) else values


def _parts(images: Any) -> Any:
    return None if images is None else (images.values, images.offsets, images.shapes)


def _words(descriptors: Any) -> Any:
    """Return bytes (total, 32) seen as 64-bit words (total, 4), with the offsets."""
    if descriptors is None:
        return None
    values = descriptors.values
    if isinstance(values, DeviceArray):
        return values.seen_as(np.uint64), descriptors.offsets
    return np.require(values.view(np.uint64), requirements=["ALIGNED"]), descriptors.offsets


def _on_host(values: Any) -> Any:
    """Return values that can be read on the host. Raises `UsageError` if they are on a device."""
    if is_on_device(values.values if isinstance(values, Ragged) else values):
        raise UsageError(f"this takes arrays of the host: {HOW_TO_MOVE}")
    return values


# --- kernels: as those of cpp ---


def hamming_edges(codes: Any, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose share of equal bits is above `threshold`."""
    edges: Edges = _call("hamming_edges", _rows(codes), _rows(others), **options)
    return edges


def hamming_components(codes: Any, **options: Any) -> Labels:
    """Return the components of the pairs whose share of equal bits is above `threshold`."""
    labels: Labels = _call("hamming_components", _rows(codes), **options)
    return labels


def hamming_matrix(codes: Any, others: Any = None, **options: Any) -> Matrix:
    """Return the shares of equal bits of all pairs."""
    matrix: Matrix = _call("hamming_matrix", _rows(codes), _rows(others), **options)
    return matrix


def hamming_scores(codes: Any, others: Any = None, **options: Any) -> Scores:
    """Return the shares of equal bits of listed pairs."""
    return cpp.hamming_scores(codes, others, **options)


def signature_edges(signatures: Any, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose share of equal slots is above `threshold`."""
    edges: Edges = _call("signature_edges", _rows(signatures), _rows(others), **options)
    return edges


def signature_components(signatures: Any, **options: Any) -> Labels:
    """Return the components of the pairs whose share of equal slots is above `threshold`."""
    labels: Labels = _call("signature_components", _rows(signatures), **options)
    return labels


def signature_matrix(signatures: Any, others: Any = None, **options: Any) -> Matrix:
    """Return the shares of equal slots of all pairs."""
    matrix: Matrix = _call("signature_matrix", _rows(signatures), _rows(others), **options)
    return matrix


def signature_scores(signatures: Any, others: Any = None, **options: Any) -> Scores:
    """Return the shares of equal slots of listed pairs."""
    return cpp.signature_scores(signatures, others, **options)


def ssim_edges(images: Any, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose mean SSIM is above `threshold`, with canonical scores."""
    if isinstance(images, Ragged):
        return edges_by_shape(ssim_edges, _on_host(images), _on_host(others), **options)
    edges: Edges = _call("ssim_edges", _rows(images), _rows(others), **options)
    return edges


def ssim_components(images: Any, **options: Any) -> Labels:
    """Return the components of the pairs whose mean SSIM is above `threshold`."""
    if isinstance(images, Ragged):
        return components(ssim_edges(images, **options), len(images))
    labels: Labels = _call("ssim_components", _rows(images), **options)
    return labels


def ssim_matrix(images: Any, others: Any = None, **options: Any) -> Matrix:
    """Return mean SSIM of all pairs, within 1e-5; -inf where shapes differ."""
    if isinstance(images, Ragged):
        return matrix_by_shape(ssim_matrix, _on_host(images), _on_host(others), **options)
    matrix: Matrix = _call("ssim_matrix", _rows(images), _rows(others), **options)
    return matrix


def ssim_scores(images: Any, others: Any = None, **options: Any) -> Scores:
    """Return the canonical mean SSIM of listed pairs."""
    return cpp.ssim_scores(images, others, **options)


def template_edges(images: Any, others: Any = None, **options: Any) -> Edges:
    """Return the pairs whose template matching score is above `threshold`."""
    edges: Edges = _template("edges", images, others, **options)
    return edges


def template_components(images: Any, **options: Any) -> Labels:
    """Return the components of the pairs whose template matching score is above `threshold`."""
    labels: Labels = _template("components", images, **options)
    return labels


def template_matrix(images: Any, others: Any = None, **options: Any) -> Matrix:
    """Return template matching scores of all pairs; -inf where neither fits inside the other."""
    matrix: Matrix = _template("matrix", images, others, **options)
    return matrix


def _template(what: str, *sets: Any, **options: Any) -> Any:
    if isinstance(sets[0], Ragged):
        return _call(f"sliding_{what}", *map(_parts, sets), **options)
    return _call(f"template_{what}", *map(_rows, sets), **options)


def template_scores(images: Any, others: Any = None, **options: Any) -> Scores:
    """Return the template matching scores of listed pairs."""
    return cpp.template_scores(images, others, **options)


def descriptor_edges(descriptors: Ragged, others: Ragged | None = None, **options: Any) -> Edges:
    """Return the pairs whose share of good cross-checked matches is above `threshold`."""
    edges: Edges = _call("descriptor_edges", _words(descriptors), _words(others), **options)
    return edges


def descriptor_components(descriptors: Ragged, **options: Any) -> Labels:
    """Return the components of the pairs whose share of good matches is above `threshold`."""
    labels: Labels = _call("descriptor_components", _words(descriptors), **options)
    return labels


def descriptor_matrix(descriptors: Ragged, others: Ragged | None = None, **options: Any) -> Matrix:
    """Return the shares of good cross-checked matches of all pairs."""
    matrix: Matrix = _call("descriptor_matrix", _words(descriptors), _words(others), **options)
    return matrix


def descriptor_scores(descriptors: Ragged, others: Ragged | None = None, **options: Any) -> Scores:
    """Return the shares of good cross-checked matches of listed pairs."""
    return cpp.descriptor_scores(descriptors, others, **options)


# --- what is the compiled core's ---


def components(edges: Edges, n_images: int) -> Labels:
    """Return component labels by first appearance, -1 where an image has no edge."""
    return cpp.components(edges, n_images)


def phash(grey: NDArray[np.uint8], *, hash_size: int, highfreq_factor: int) -> tuple[NDArray[np.uint64], int]:
    """Return the phash bits and the number of ties."""
    return cpp.phash(grey, hash_size=hash_size, highfreq_factor=highfreq_factor)


def shrink_area(grey: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8] | None:
    """Return what OpenCV's INTER_AREA makes of the image, or None to leave it to OpenCV."""
    return cpp.shrink_area(grey, height=height, width=width)
