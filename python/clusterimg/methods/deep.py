"""What a network sees: a vector for each image, compared by their cosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ._classic import Classic

__all__ = ["DEFAULT_THRESHOLD", "NO_THRESHOLD", "Deep"]

DEFAULT_THRESHOLD = 0.84
"""For efficientnet-lite0, by benchmarks/bench_deep.py: copies and series among distractors at precisions of
1.00 and .99. Each network has its own; `--threshold auto` and `ask` find it."""

NO_THRESHOLD = -2.0
"""Below all cosines: of clusters that no threshold made."""

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep(Classic):
    """Embeddings of images, float32 vectors of length 1. Score: their cosine, in [-1, 1].

    about : what decides the vectors, `dimensions` among it, as JSON has it
    embed : pictures (n, channels, size, size) uint8 to vectors (n, dimensions); None where features that
        were made before are compared only
    reads : what reads the pictures from files, in the process for that
    """

    name: ClassVar[str] = "deep"
    sees_colours: ClassVar[bool] = True
    kernel: ClassVar[str] = "cosine"

    threshold: float = DEFAULT_THRESHOLD
    about: Mapping[str, Any]
    embed: Embed | None = field(default=None, compare=False)
    reads: Any = field(default=None, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """The process that reads images gets no network: there, this is what reads pictures."""
        return (_same, (self.reads,))

    @property
    def params(self) -> Mapping[str, Any]:
        """What decides the vectors."""
        return self.about

    @property
    def default_threshold(self) -> float:
        """The threshold that holds where none is given."""
        return DEFAULT_THRESHOLD

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return int(self.about["dimensions"])

    @property
    def item_bytes(self) -> int:
        """Four bytes a number."""
        return 4 * self.dimensions

    def spare(self, height: int, width: int) -> float:
        """Return how many times larger than the pictures an image is."""
        spare: float = self.reads.spare(height, width)
        return spare

    def extract(self, grey: NDArray[np.uint8], engine: Any) -> NDArray[Any] | None:
        """Return the picture of a grey image."""
        picture: NDArray[Any] | None = self.reads.extract(grey, engine)
        return picture

    def extract_colour(self, source: bytes | NDArray[np.uint8], engine: Any) -> NDArray[Any] | None:
        """Return the picture of a file's content or of an array, in colour."""
        picture: NDArray[Any] | None = self.reads.extract_colour(source, engine)
        return picture

    def collect(self, values: Sequence[NDArray[Any] | None]) -> NDArray[np.float32]:
        """Return the vectors of pictures (n, dimensions); zeros where there is no picture."""
        vectors = np.zeros((len(values), self.dimensions), np.float32)
        known = [k for k, value in enumerate(values) if value is not None]
        if known:
            if self.embed is None:
                raise UsageError("these features can be compared, but the network that made them is not here")
            vectors[known] = self.embed(np.stack([value for value in values if value is not None]))
        return vectors


def _same(reads: Any) -> Any:
    return reads
