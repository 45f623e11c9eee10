"""What came of a training, as text and as plain values. Imports no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._messages import counted, printable
from ._model_files import ModelFiles

__all__ = ["as_json", "counted_epochs", "how_it_ended", "loss_of", "told"]

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
        *how_it_ended(facts),
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


def how_it_ended(facts: Mapping[str, Any]) -> list[str]:
    """Return why a training ended, and its best loss."""
    outcome = facts["outcome"]
    return [
        f"ended: {_ENDS[outcome['ended']]} ({outcome['ended']})",
        f"best validation loss ({loss_of(facts['training'])}) {outcome['best_validation']:.5g} "
        f"after epoch {outcome['best_epoch']:g}",
    ]


def loss_of(training: Mapping[str, Any]) -> str:
    """Return what the loss is the sum of."""
    weight = training["contrastive"]
    return f"{training['loss']} + {weight:g} contrastive" if weight else str(training["loss"])


def counted_epochs(epochs: float) -> str:
    """Return a number of epochs, of which a last one may be a part."""
    return f"{epochs:g} epoch" + "s" * (epochs != 1)


def as_json(facts: Mapping[str, Any], out: Path | str, n_skipped: int) -> dict[str, Any]:
    """Return facts, files and how many files were skipped."""
    paths = ModelFiles(Path(out)).lasting()
    return {**facts, "files": [printable(path) for path in paths], "skipped": n_skipped}
