"""Features and edges of each batch, kept as files so that one batch at a time is in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._types import Features, Ragged

__all__ = ["Store"]


class Store:
    """The features of the batches of one run. The batch used last stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: tuple[int, Features] | None = None

    def put(self, batch: int, features: Features, edges: NDArray[np.void] | None) -> None:
        """Keep the features of a batch, and its edges if the method has them."""
        self._recent = (batch, features)
        values = features.values
        arrays = {
            "values": values.values if isinstance(values, Ragged) else values,
            "shapes": features.shapes,
            "featureless": features.featureless,
            "near_flat": features.near_flat,
            "digests": features.digests,
            "about": np.array(json.dumps({"method": features.method, "params": dict(features.params)})),
        }
        if isinstance(values, Ragged):
            arrays["offsets"] = values.offsets
            if values.shapes is not None:
                arrays["value_shapes"] = values.shapes
        if edges is not None:
            arrays["edges"] = edges
        np.savez(self._path(batch), **arrays)  # type: ignore[arg-type]

    def get(self, batch: int) -> Features:
        """Return the features of a batch."""
        if self._recent is None or self._recent[0] != batch:
            self._recent = (batch, self._load(batch))
        return self._recent[1]

    def _load(self, batch: int) -> Features:
        with np.load(self._path(batch), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            values = arrays["values"]
            if "offsets" in arrays:
                shapes = arrays.get("value_shapes")
                values = Ragged(values, arrays["offsets"], shapes)
            return Features(
                about["method"],
                about["params"],
                values,
                arrays["shapes"],
                arrays["featureless"],
                arrays["near_flat"],
                arrays["digests"],
            )

    def _path(self, batch: int) -> Path:
        return self._folder / f"batch_{batch}.npz"
