"""How a training went: its losses as a table and a picture, and images before and after."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..picker._drawing import plain
from ._model_files import ModelFiles
from ._storing import write_whole
from ._telling import counted_epochs, loss_of
from .checkpoint import Trained
from .pictures import in_blocks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_png", "history_csv", "reconstructions_png", "write_plots"]

_INK, _PALE, _LINE, _WARM = "#1f2933", "#61707f", "#2f6fae", "#c8553d"
_PAIRS = 4  # of each kind: best, median, worst
_SHARP_RANGE = 4.0  # from so many times the least loss on, the losses are on a logarithmic axis
_DPI = 130
_MOST_SCORED = 2000

Pictures = NDArray[np.uint8]


def write_plots(trained: Trained, pictures: Pictures, apart: NDArray[np.int64], files: ModelFiles) -> None:
    """Write table, curve and reconstructions of a training beside its model. Raises `ModelError`.

    apart : the indices of the validation images in `pictures`
    """
    write_whole(files.table, history_csv(trained.facts["history"]))
    write_whole(files.curve, curve_png(trained.facts))
    write_whole(files.reconstructions, reconstructions_png(trained, pictures, apart))


def history_csv(history: Sequence[Mapping[str, float]]) -> bytes:
    """Return the losses after each epoch as a CSV table: epochs, training, validation, learning_rate."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure in our own style, whatever the user's settings are."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ours = {"font.family": "DejaVu Sans", "font.size": 9.5, "axes.unicode_minus": False}
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    with matplotlib.style.context(["default", {**ours, **colours}]):
        figure = Figure(figsize=(width, height), dpi=_DPI)
        FigureCanvasAgg(figure)
        yield figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


# --- the losses ---


def curve_png(facts: Mapping[str, Any]) -> bytes:
    """Return the losses over the epochs as PNG: training, validation, the best marked, the learning rate."""
    history, outcome = facts["history"], facts["outcome"]
    column = {name: np.array([entry[name] for entry in history]) for name in history[0]}
    with _figure(8.4, 5.4) as figure:
        losses, rates = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (4, 1), "hspace": 0.08}
        )
        figure.subplots_adjust(left=0.105, right=0.97, top=0.87, bottom=0.105)
        figure.text(
            0.105, 0.945, f"Training with the loss {loss_of(facts['training'])}", size=13, weight="bold"
        )
        figure.text(0.105, 0.902, _subtitle(outcome), size=9, color=_PALE)
        _draw_losses(losses, column, outcome)
        _draw_rates(rates, column)
        figure.align_ylabels()
        return _png(figure)


def _subtitle(outcome: Mapping[str, Any]) -> str:
    return (
        f"{outcome['n_training']:,} images, {outcome['n_validation']:,} more for validation; "
        f"best {outcome['best_validation']:.4g} after epoch {outcome['best_epoch']:g}; "
        f"ended after {counted_epochs(outcome['epochs'])}, by {outcome['ended']}"
    )


def _draw_losses(axes: Axes, column: Mapping[str, NDArray[Any]], outcome: Mapping[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    marker = "o" if len(column["epochs"]) < 15 else None
    for name, colour in (("training", _PALE), ("validation", _LINE)):
        axes.plot(
            column["epochs"], column[name], color=colour, linewidth=1.8, marker=marker, ms=4, label=name
        )
    best = (outcome["best_epoch"], outcome["best_validation"])
    axes.plot(*best, "o", color=_WARM, markersize=8, zorder=5, label=f"best: {best[1]:.4g}")
    values = np.concatenate([column["training"], column["validation"]])
    if values.min() > 0 and values.max() >= _SHARP_RANGE * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="upper right")
    plain(axes)


def _draw_rates(axes: Axes, column: Mapping[str, NDArray[Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.plot(column["epochs"], column["learning_rate"], color=_WARM, linewidth=1.5)
    axes.set_ylim(0, column["learning_rate"].max() * 1.15)
    axes.set_ylabel("learning rate")
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=bool(column["epochs"][-1] >= 2)))
    axes.set_xlabel("epochs")
    plain(axes)


# --- before and after ---


def reconstructions_png(trained: Trained, pictures: Pictures, apart: NDArray[np.int64]) -> bytes:
    """Return validation images before and after the network as PNG: the best, median and worst by error.

    The error is the root of the mean squared difference in grey levels, whatever the loss of the training. Of
    more than 2,000 validation images, 2,000 evenly spread ones are looked at.
    """
    if len(apart) > _MOST_SCORED:
        apart = apart[np.linspace(0, len(apart) - 1, _MOST_SCORED).astype(int)]
    errors = _errors(trained, pictures, apart)
    order = np.argsort(errors, kind="stable")
    rows = _rows(len(order))
    columns = max(len(places) for _, places in rows)
    with _figure(2 * 1.16 * max(columns, 2) + 0.5, 1.42 * len(rows) + 0.82) as figure:
        _draw_heading(figure, trained, len(apart))
        for row, (kind, places) in enumerate(rows):
            shown = apart[order[places]]
            after = _reconstructed(trained, pictures[shown])
            for place in range(len(shown)):
                text = f"{kind} {errors[order[places[place]]]:.1f}"
                pair = (pictures[shown[place]], after[place])
                _draw_pair(figure, pair, text, row, place, (len(rows), max(columns, 2)))
        return _png(figure)


def _rows(n: int) -> list[tuple[str, NDArray[np.int64]]]:
    """Return a name for each row, and the places in the order of errors that are in it, none twice."""
    if n <= 3 * _PAIRS:
        starts = range(0, n, _PAIRS)
        return [("error", np.arange(start, min(start + _PAIRS, n))) for start in starts]
    middle = (n - _PAIRS) // 2
    starts_of = {"best": 0, "median": middle, "worst": n - _PAIRS}
    return [(kind, np.arange(start, start + _PAIRS)) for kind, start in starts_of.items()]


def _errors(trained: Trained, pictures: Pictures, apart: NDArray[np.int64]) -> NDArray[np.float64]:
    found = []
    for block in in_blocks(len(apart), 64):
        before = pictures[apart[block]]
        difference = _reconstructed(trained, before).astype(np.float64) - before
        found.append(np.sqrt((difference**2).mean(axis=(1, 2, 3))))
    return np.concatenate(found)


def _reconstructed(trained: Trained, pictures: Pictures) -> Pictures:
    with torch.no_grad():
        after = trained.autoencoder(torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255)
    levels: Pictures = (after.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return levels


def _draw_heading(figure: Figure, trained: Trained, n: int) -> None:
    _, height = figure.get_size_inches()
    text = "Validation images, and what the network makes of them"
    figure.text(0.02, 1 - 0.28 / height, text, size=11.5, weight="bold", va="center")
    facts = trained.facts["architecture"]
    text = (
        f"before and after {facts['latent']} numbers; loss {trained.facts['training']['loss']}; "
        f"root mean squared error in grey levels, of {n:,}"
    )
    figure.text(0.02, 1 - 0.52 / height, text, size=8.5, color=_PALE, va="center")


def _draw_pair(
    figure: Figure,
    pair: tuple[Pictures, Pictures],
    text: str,
    row: int,
    column: int,
    grid: tuple[int, int],
) -> None:
    """Draw two pictures beside each other in a cell of the grid (rows, columns), with a text below."""
    width, height = figure.get_size_inches()
    cell = (width - 0.24) / grid[1]
    side = (cell - 0.14) / 2
    left, top = 0.12 + column * cell + 0.05, 0.72 + row * 1.42
    for k, picture in enumerate(pair):
        box = ((left + k * (side + 0.03)) / width, 1 - (top + side) / height, side / width, side / height)
        axes = figure.add_axes(box)
        shown = picture.transpose(1, 2, 0)
        if shown.shape[2] == 1:
            axes.imshow(shown[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        else:
            axes.imshow(shown, interpolation="nearest")
        axes.set_axis_off()
    middle = (left + side) / width
    figure.text(
        middle, 1 - (top + side + 0.11) / height, text, size=8.5, color=_PALE, ha="center", va="center"
    )
