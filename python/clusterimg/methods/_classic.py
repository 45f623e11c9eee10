"""What the five classic methods share: from features to edges to labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._distinct import first_equal
from .._types import EDGE_DTYPE, Features, Ragged
from ..errors import UsageError

if TYPE_CHECKING:
    from ..backends import Engine  # for the types only: a method is handed its engine

__all__ = ["Classic", "Clusters", "Method", "OfPixels", "at_size", "check_size", "is_flat", "spare_of"]

Grey = NDArray[np.uint8]
Edges = NDArray[np.void]
Progress = Callable[[int], None] | None


class Clusters(NamedTuple):
    """The clusters of a set of images.

    labels : (n,) int32, -1 for an outlier
    edges : the similar pairs, if the method has them
    selection : how they were chosen among others, if they were; it has `as_json()` and `draw(folder, stage)`
    """

    labels: NDArray[np.int32]
    edges: Edges | None
    selection: Any = None


class Method(ABC):
    """What the rest of the program knows of a method."""

    __slots__ = ()

    name: ClassVar[str]
    sees_colours: ClassVar[bool] = False
    stage: ClassVar[str] = "pairs"
    threshold: float

    @property
    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """The parameters that decide the features."""

    @property
    @abstractmethod
    def item_bytes(self) -> int:
        """About how many bytes the feature of one image takes."""

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than needed an image of that size is; 1 if it is taken as it is."""
        return 1.0

    @abstractmethod
    def extract(self, grey: Grey, engine: Engine) -> NDArray[Any] | None:
        """Return the feature of one decoded image; None if it has none."""

    def extract_colour(self, source: bytes | Grey, engine: Engine) -> NDArray[Any] | None:
        """Return the feature of a file's content or of an array, for methods that see colours."""
        raise NotImplementedError(f"{self.name} sees grey images")

    @abstractmethod
    def collect(self, values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | Ragged:
        """Return the features of many images as one array."""

    @property
    def decides(self) -> Mapping[str, Any]:
        """What decides the clusters of given features, as JSON has it."""
        return {"threshold": self.threshold}

    @abstractmethod
    def cluster(
        self, features: Features, engine: Engine, progress: Callable[[int, int], None] | None = None
    ) -> Clusters:
        """Return the clusters; `progress(done, total)` counts what `stage` names."""

    def join(
        self,
        groups: NDArray[np.int64],
        starts: NDArray[np.int64],
        features_of: Callable[[NDArray[Any]], Features],
        engine: Engine,
        progress: Callable[[int, int], None] | None = None,
    ) -> Clusters | None:
        """Return the clusters that groups of different batches make together.

        None where the first images of groups are to be clustered as images are; else the labels of all.

        groups : (n,) a number for images known to belong together, -1 for outliers
        starts : index of the first image of each batch, and n
        features_of : features of images, by rising indices
        """
        return None


class Classic(Method):
    """A method whose clusters are the connected components of its similar pairs."""

    __slots__ = ()

    kernel: ClassVar[str]

    @property
    def default_threshold(self) -> float:
        """The threshold that holds where none is given."""
        return type(self)().threshold

    def at_own_size(self) -> Classic:
        """Return this method for images taken as they are, without its default size."""
        return self

    @property
    def kernel_options(self) -> Mapping[str, Any]:
        """What the kernel must know beside values and threshold."""
        return {}

    @property
    def decides(self) -> Mapping[str, Any]:
        """Threshold and rule."""
        return {"threshold": self.threshold, **self.kernel_options}

    def cluster(
        self, features: Features, engine: Engine, progress: Callable[[int, int], None] | None = None
    ) -> Clusters:
        """Return labels and edges: components of the pairs above the threshold."""
        n_pairs = len(features) * (len(features) - 1) // 2

        def report(done: int) -> None:
            if progress is not None:
                progress(done, n_pairs)

        edges = self.edges(features, engine, report)
        report(n_pairs)
        return Clusters(engine.components(edges, len(features)), edges)

    def labels(self, features: Features, engine: Engine) -> NDArray[np.int32]:
        """Return the labels alone, in memory that does not grow with the number of similar pairs."""
        first, unique = self._unique(features)
        found = engine.clusters(
            self.kernel, features.take_values(unique), threshold=self.threshold, **self.kernel_options
        )
        members = np.flatnonzero(found >= 0)
        to_lowest = np.empty(len(members), EDGE_DTYPE)
        to_lowest["i"], to_lowest["j"] = unique[members[first_equal(found[members])]], unique[members]
        copies = np.flatnonzero(first != np.arange(len(features)))
        return engine.components(self._with_copies(to_lowest, first[copies], copies), len(features))

    def edges(self, features: Features, engine: Engine, progress: Progress = None) -> Edges:
        """Return the similar pairs. Copies of an image are joined to the first one, with score 1."""
        first, unique = self._unique(features)
        edges = engine.edges(
            self.kernel,
            features.take_values(unique),
            threshold=self.threshold,
            progress=progress,
            **self.kernel_options,
        )
        edges["i"], edges["j"] = unique[edges["i"]], unique[edges["j"]]
        copies = np.flatnonzero(first != np.arange(len(features)))
        return self._with_copies(edges, first[copies], copies)

    def plan(self, features: Features, engine: Engine) -> str | None:
        """Return in words how the engine finds the similar pairs; None where there is but one way."""
        if not engine.tells_plan(self.kernel):
            return None
        values = features.take_values(self._unique(features)[1])
        return engine.plan(self.kernel, values, threshold=self.threshold)

    def edges_between(self, features: Features, others: Features, engine: Engine) -> Edges:
        """Return the similar pairs of two sets of images: `i` in `features`, `j` in `others`.

        Images of `others` that are copies of one in `features` are joined to it with score 1 and
        enter no other pair: what they are similar to, that one is.
        """
        twin = features.find_copies(others)
        rows = features.first_copies() == np.arange(len(features))
        columns = (others.first_copies() == np.arange(len(others))) & (twin < 0)
        left = np.flatnonzero(rows & ~features.featureless)
        right = np.flatnonzero(columns & ~others.featureless)
        edges = engine.edges(
            self.kernel,
            features.take_values(left),
            others.take_values(right),
            threshold=self.threshold,
            **self.kernel_options,
        )
        edges["i"], edges["j"] = left[edges["i"]], right[edges["j"]]
        copies = np.flatnonzero(twin >= 0)
        return self._with_copies(edges, twin[copies], copies)

    def scores(
        self, features: Features, others: Features, engine: Engine, i: NDArray[Any], j: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return the scores of the pairs (`features[i[k]]`, `others[j[k]]`).

        Copies score 1, pairs with a featureless image -inf.
        """
        scores = np.full(len(i), -np.inf)
        known = np.flatnonzero(~(features.featureless[i] | others.featureless[j]))
        scores[known] = engine.scores(
            self.kernel,
            features.values,
            others.values,
            i=i[known].astype(np.int32),
            j=j[known].astype(np.int32),
            **self.kernel_options,
        )
        scores[(features.digests[i] == others.digests[j]).all(axis=1)] = 1.0
        return scores

    @staticmethod
    def _unique(features: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the first copy of each image, and the images to compare."""
        first = features.first_copies()
        return first, np.flatnonzero((first == np.arange(len(features))) & ~features.featureless)

    def _with_copies(self, edges: Edges, i: NDArray[Any], j: NDArray[Any]) -> Edges:
        if not (len(i) and self.threshold < 1.0):
            return edges
        copies = np.empty(len(i), EDGE_DTYPE)
        copies["i"], copies["j"], copies["score"] = i, j, 1.0
        joined = np.concatenate([edges, copies])
        return joined[np.lexsort((joined["j"], joined["i"]))]


def check_size(size: tuple[int, int] | None, scale: float | None, *, least: int = 1) -> None:
    """Raise `UsageError` unless size or scale can be used; `size` is (width, height)."""
    if size is not None and (len(size) != 2 or min(size) < least):
        raise UsageError(f"size must be width and height of at least {least} pixels, got {size}")
    if size is not None and scale is not None:
        raise UsageError("give size or scale, not both")
    if scale is not None and not 0 < scale <= 16:
        raise UsageError(f"scale must be above 0 and at most 16, got {scale}")


def spare_of(size: tuple[int, int] | None, height: int, width: int) -> float:
    """Return how many times larger than `size` (width, height) an image is, on the side where it is less."""
    return 1.0 if size is None else min(width / size[0], height / size[1])


def at_size(grey: Grey, engine: Engine, size: tuple[int, int] | None, scale: float | None = None) -> Grey:
    """Return the image at `size` (width, height), or at `scale` times its own size, by INTER_AREA."""
    import cv2

    height, width = grey.shape
    if scale is not None:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size is None or size == (width, height):
        return grey
    shrunk = engine.shrink_area(grey, height=size[1], width=size[0])
    if shrunk is not None:
        return shrunk
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def is_flat(grey: Grey, deviation: float) -> bool:
    """Return whether the standard deviation of the greys is below `deviation`.

    The squares of how far the pixels of some rows are from their own mean sum up to no more than those
    of all pixels from the mean of all: an eighth of the rows mostly shows that an image is not flat.
    """
    import cv2

    rows = grey[::8]
    found = float(cv2.meanStdDev(rows)[1][0, 0])
    # More than rounding errors: of a flat image too, whose deviation OpenCV may see as 1e-6.
    if found * found * rows.size > (1.001 * deviation * deviation + 1e-9) * grey.size:
        return False
    return float(cv2.meanStdDev(grey)[1][0, 0]) < deviation


class OfPixels(Classic):
    """A classic method whose feature is the image itself, at a common size or its own."""

    __slots__ = ()

    size: tuple[int, int] | None
    scale: float | None

    @property
    def params(self) -> Mapping[str, Any]:
        """The common size: width and height, or the scale."""
        return {"size": self.size, "scale": self.scale}

    @property
    def item_bytes(self) -> int:
        """Pixels of the common size; half a megabyte where images keep their own."""
        return self.size[0] * self.size[1] if self.size else 1 << 19

    def at_own_size(self) -> OfPixels:
        """Return this method for images taken as they are."""
        return replace(self, size=None)  # type: ignore[type-var]

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than the common size an image is."""
        return spare_of(self.size, height, width)

    def collect(self, values: Sequence[NDArray[Any] | None]) -> NDArray[np.uint8] | Ragged:
        """Return the images stacked (n, h, w), or ragged where sizes differ.

        Where there is none, a black image holds the place; it is featureless and never compared.
        """
        shapes = {value.shape for value in values if value is not None}
        if len(shapes) == 1:
            blank = np.zeros(shapes.pop(), np.uint8)
            return np.stack([blank if value is None else value for value in values])
        blank = np.zeros((1, 1), np.uint8)
        return Ragged.from_images([blank if value is None else value for value in values])
