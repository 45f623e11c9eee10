"""The nouns of the program: what goes from one stage to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._device_arrays import device_array, is_on_device
from ._distinct import first_equal
from .errors import UsageError

__all__ = ["EDGE_DTYPE", "BackendReport", "Features", "KernelUse", "Progress", "Ragged", "Skip", "no_edges"]

EDGE_DTYPE = np.dtype([("i", "<i4"), ("j", "<i4"), ("score", "<f8")])
"""One similar pair: `i < j`, and a score above the threshold. Arrays of it are sorted by `(i, j)`."""

Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`: called now and then while a stage works, and once at its end."""


def no_edges() -> NDArray[np.void]:
    """Return an empty edge array."""
    return np.empty(0, EDGE_DTYPE)


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that was left out, and the reason a person understands."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ragged:
    """Arrays of different lengths, one after another: item `k` is `values[offsets[k]:offsets[k + 1]]`.

    values : (total, ...) rows of all items; may be on a CUDA device, for `kernels`
    offsets : (n + 1,) int64, from 0 to `total`, never falling
    shapes : (n, 2) int32 height and width, where the items are flattened images, else None
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        values: Any = self.values
        if is_on_device(values):
            values = device_array(values)
        else:
            values = np.require(values, requirements=["C_CONTIGUOUS", "ALIGNED"])
        offsets = np.require(self.offsets, np.int64, ["C_CONTIGUOUS", "ALIGNED"])
        rises = offsets.ndim == 1 and len(offsets) and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        if not rises or offsets[-1] != len(values):
            raise UsageError(f"offsets must rise from 0 to the number of rows {len(values)}, got {offsets}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "offsets", offsets)
        if self.shapes is not None:
            shapes = np.require(self.shapes, np.int32, ["C_CONTIGUOUS", "ALIGNED"])
            if shapes.shape != (len(offsets) - 1, 2) or (shapes.prod(axis=1) != np.diff(offsets)).any():
                raise UsageError("shapes must give the height and width of each image of a Ragged")
            object.__setattr__(self, "shapes", shapes)

    @classmethod
    def from_arrays(cls, arrays: list[NDArray[Any]], *, empty: NDArray[Any]) -> Ragged:
        """Return the arrays joined; `empty` (0 rows) gives dtype and row shape when there are none."""
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return cls(np.concatenate([empty, *arrays]), offsets)

    @classmethod
    def from_images(cls, images: list[NDArray[np.uint8]]) -> Ragged:
        """Return images of any sizes, flattened and joined, with their shapes."""
        shapes = np.array([image.shape for image in images], np.int32).reshape(-1, 2)
        flat = cls.from_arrays([image.reshape(-1) for image in images], empty=np.empty(0, np.uint8))
        return cls(flat.values, flat.offsets, shapes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> NDArray[Any]:
        item = self.values[self.offsets[k] : self.offsets[k + 1]]
        return item if self.shapes is None else item.reshape(tuple(self.shapes[k]))

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Ragged:
        """Return the items of all parts, one part after another."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shapes = [part.shapes for part in parts if part.shapes is not None]
        values = np.concatenate([part.values for part in parts])
        return cls(values, offsets, np.concatenate(shapes) if len(shapes) == len(parts) else None)

    def take(self, indices: NDArray[np.integer[Any]]) -> Ragged:
        """Return the items at `indices`, in that order."""
        lengths = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(self.offsets[:-1][indices] - offsets[:-1], lengths) + np.arange(offsets[-1])
        shapes = None if self.shapes is None else self.shapes[indices]
        return Ragged(self.values[rows], offsets, shapes)


@dataclass(frozen=True, slots=True)
class Features:
    """What one method sees of `n` images.

    method : name of the method
    params : its parameters, as they decide the values
    values : (n, ...) array, or `Ragged` where images have different counts or sizes
    shapes : (n, 2) int32 height and width of the decoded images
    featureless : (n,) bool, images the method can't tell from others (no corner, no bits but noise)
    near_flat : (n,) bool, images whose greys hardly differ, whatever the method makes of them
    digests : (n, 16) uint8, equal where shape and grey pixels of the decoded images are equal
    """

    method: str
    params: Mapping[str, Any]
    values: NDArray[Any] | Ragged
    shapes: NDArray[np.int32]
    featureless: NDArray[np.bool_]
    near_flat: NDArray[np.bool_]
    digests: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.digests)

    @classmethod
    def concatenate(cls, parts: Sequence[Features]) -> Features:
        """Return the features of all parts (one or more), one part after another."""
        return cls(
            parts[0].method,
            parts[0].params,
            _joined([part.values for part in parts]),
            np.concatenate([part.shapes for part in parts]),
            np.concatenate([part.featureless for part in parts]),
            np.concatenate([part.near_flat for part in parts]),
            np.concatenate([part.digests for part in parts]),
        )

    def first_copies(self) -> NDArray[np.intp]:
        """Return for each image the index of the first one equal to it (its own if it is the first)."""
        return first_equal(self.keys())

    def find_copies(self, others: Features) -> NDArray[np.intp]:
        """Return for each image of `others` the index of the first equal one here, or -1."""
        keys = self.keys()
        if not len(keys):
            return np.full(len(others), -1, np.intp)
        first = np.argsort(keys, kind="stable")
        keys = keys[first]
        place = np.minimum(np.searchsorted(keys, others.keys()), len(keys) - 1)
        return np.where(keys[place] == others.keys(), first[place], -1)

    def keys(self) -> NDArray[np.void]:
        """Return the digests (n,) as one value each."""
        return np.ascontiguousarray(self.digests).view("V16").reshape(-1)

    def take_values(self, indices: NDArray[np.integer[Any]]) -> NDArray[Any] | Ragged:
        """Return the values of the images at `indices`; all of them without a copy."""
        if len(indices) == len(self):
            return self.values
        return self.values.take(indices) if isinstance(self.values, Ragged) else self.values[indices]

    def take(self, indices: NDArray[np.integer[Any]]) -> Features:
        """Return the features of the images at `indices`, in that order."""
        return Features(
            self.method,
            self.params,
            self.values.take(indices) if isinstance(self.values, Ragged) else self.values[indices],
            self.shapes[indices],
            self.featureless[indices],
            self.near_flat[indices],
            self.digests[indices],
        )


def _joined(parts: Sequence[NDArray[Any] | Ragged]) -> NDArray[Any] | Ragged:
    """Return arrays joined; images that have one size in each part, but not in all, become ragged."""
    arrays = [part for part in parts if not isinstance(part, Ragged)]
    if len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    ragged = [part if isinstance(part, Ragged) else Ragged.from_images(list(part)) for part in parts]
    return Ragged.concatenate(ragged)


@dataclass(frozen=True, slots=True)
class KernelUse:
    """Where the pairs of a kernel were scored.

    backend, why : of its latest call
    calls : how many each backend had
    device_bytes : the most memory that a call held on each device, by the device's name
    """

    backend: str
    why: str
    calls: Mapping[str, int]
    device_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BackendReport:
    """Which backend did the work, and why the others did not. It grows while the engine is used.

    passed_over : backends that `auto` would have taken, with the reason why they can't run
    kernels : where there was a device to choose, what each kernel used; all else is the backend's
    fallbacks : what a device failed at, after which `auto` went on without it
    """

    name: str
    isa: str
    n_threads: int
    passed_over: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, KernelUse] = field(default_factory=dict)
    fallbacks: Sequence[str] = ()
