"""What a run found, kept before the first file is handed over: from then on nothing is computed again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._files import write_arrays
from ._types import Skip

__all__ = ["Decision"]

_FILE = "decision.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was found of the images of a run. Image k is `files[k]`.

    files : paths relative to the folder, with `/`
    sources : where they are, relative to the folder or absolute; `files` but in a merge of results
    stamps : (n, 2) int64, size and mtime_ns
    batches, batch_labels, labels : (n,) int32
    representatives : (n,) intp, -1 for an outlier
    scores : (n,) float64, with the representative, NaN for an outlier
    refused : similar pairs that cannot-links keep apart, REFUSED_DTYPE
    skipped : files that can't be used
    facts : what else the summary tells, as JSON has it
    """

    files: tuple[str, ...]
    sources: tuple[str, ...]
    stamps: NDArray[np.int64]
    batches: NDArray[np.int32]
    batch_labels: NDArray[np.int32]
    labels: NDArray[np.int32]
    representatives: NDArray[np.intp]
    scores: NDArray[np.float64]
    refused: NDArray[np.void]
    skipped: tuple[Skip, ...]
    facts: Mapping[str, Any]

    def save(self, state: Path, inputs: str) -> None:
        """Keep it in the state folder; `inputs` names all that it depends on."""
        texts = {
            "inputs": inputs,
            "files": self.files,
            "sources": self.sources,
            "skipped": [(skip.file, skip.reason) for skip in self.skipped],
            "facts": dict(self.facts),
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["texts"] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        write_arrays(state / _FILE, arrays)

    @classmethod
    def load(cls, state: Path, inputs: str | None) -> Decision | None:
        """Return what was kept for these inputs, or for any, or None."""
        try:
            with (state / _FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as found:
                texts = json.loads(found["texts"].tobytes())
                if inputs is not None and texts["inputs"] != inputs:
                    return None
                return cls(
                    files=tuple(texts["files"]),
                    sources=tuple(texts["sources"]),
                    skipped=tuple(Skip(file, reason) for file, reason in texts["skipped"]),
                    facts=texts["facts"],
                    **{name: found[name] for name in _ARRAYS},
                )
        except Exception:  # nearly anything, if it is damaged
            return None  # what it held, if there was one, is found again


_ARRAYS = ("stamps", "batches", "batch_labels", "labels", "representatives", "scores", "refused")
