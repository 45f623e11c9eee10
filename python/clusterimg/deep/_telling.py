"""What came of a training, as text and as plain values. Imports no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._messages import counted, printable
from ._model_files import ModelFiles

__all__ = ["as_json", "told"]

_ENDS = {
    "patience": "the validation loss no longer fell",
    "epochs": "all epochs are done",
    "budget": "the time budget is used",
}


def told(facts: Mapping[str, Any], out: Path | str, *, verbose: bool) -> str:
    """Return the summary of a training that was written to `out`."""
    outcome, files = facts["outcome"], ModelFiles(Path(out))
    shape = "{size}x{size}, {latent} numbers an image".format(**facts["architecture"])
    speed = f"{outcome['images_per_second']:,.0f} images/s"
    lines = [
        f"{counted(outcome['n_training'], 'image')} trained on, "
        f"{outcome['n_validation']:,} for validation; {shape}",
        f"{counted_epochs(outcome['epochs'])} in {outcome['seconds']:,.1f} s, {speed} "
        f"on {outcome['device']}, {outcome['precision']}, {counted(outcome['threads'], 'thread')}",
        f"ended: {_ENDS[outcome['ended']]} ({outcome['ended']})",
        f"best validation loss ({facts['training']['loss']}) {outcome['best_validation']:.5g} "
        f"after epoch {outcome['best_epoch']:g}",
    ]
    if verbose:
        lines += [
            f"epoch {entry['epochs']:g}: training {entry['training']:.5g}, "
            f"validation {entry['validation']:.5g}, learning rate {entry['learning_rate']:.3g}"
            for entry in facts["history"]
        ]
    lines.append(f"model: {printable(files.model)}")
    lines += [f"  and: {printable(path)}" for path in files.lasting()[1:]]
    return "\n".join(lines)


def counted_epochs(epochs: float) -> str:
    """Return a number of epochs, of which a last one may be a part."""
    return f"{epochs:g} epoch" + "s" * (epochs != 1)


def as_json(facts: Mapping[str, Any], out: Path | str, n_skipped: int) -> dict[str, Any]:
    """Return facts, files and how many files were skipped."""
    paths = ModelFiles(Path(out)).lasting()
    return {**facts, "files": [printable(path) for path in paths], "skipped": n_skipped}
