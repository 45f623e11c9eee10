"""Pictures of a selection: the scores of all candidates, and the points in two dimensions by cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._files import replacing, write_error
from .._messages import counted
from .._optional import require
from ..errors import UsageError
from ..picker._drawing import plain, style
from ..picker._panel import ACCENT, INK, PALE
from .selection import Row, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["projection", "save_projection", "save_scores"]

Floats = NDArray[np.floating[Any]]

MOST_SHOWN = 10_000
"""Of more points so many are drawn, by the seed."""

LEAST_TSNE, MOST_TSNE = 10, 3_000
"""From so many to so many points t-SNE lays them out (3,000 take 14 s), else it is principal components."""

_NAMED = 12
"""So many of the largest clusters have a colour of their own and a line in the legend."""

_STRONG = (
    *("#1f77b4", "#e0702a", "#2f9e44", "#c92a2a", "#7048b6", "#8c5a3c"),
    *("#d6459b", "#5c6773", "#9a8f1c", "#12a5b8", "#1b3f8b", "#e8a33d"),
)
"""Colours of the largest."""

_PANELS = (
    ("silhouette", "silhouette", "more is better"),
    ("calinski_harabasz", "Calinski–Harabasz", "more is better"),
    ("davies_bouldin", "Davies–Bouldin", "less is better"),
    ("modularity", "modularity of neighbours", "more is better"),
    ("outliers", "outliers, share", ""),
    ("score", "silhouette + modularity", "more is better"),
)

_MARKS = {
    "kmeans": ("#1f6f8b", "o"),
    "minibatchkmeans": ("#1f6f8b", "o"),
    "agglomerative": ("#c2703d", "s"),
    "dbscan": ("#7a5195", "^"),
    "hdbscan": ("#5b8c3e", "D"),
    "gaussianmixture": ("#b3476b", "v"),
    "apart": (INK, "*"),
}


def save_scores(selection: Selection, path: Path) -> None:
    """Draw the scores of all valid candidates over the number of clusters they find, as PNG.

    A panel a score, a line a model and the parameters that it shares; a ring marks the chosen candidate.
    Raises `ResultError` where the file can't be written.
    """
    figure = _figure(12, 7)
    with style():
        _draw_scores(figure, selection)
        _save(figure, path)


def _draw_scores(figure: Figure, selection: Selection) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    panels = figure.subplots(2, 3, sharex=True)
    lines = _lines([row for row in selection.rows if row.is_valid])
    for axes, (name, title, direction) in zip(panels.flat, _PANELS, strict=True):
        for place, ((model, rest), rows) in enumerate(lines.items()):
            colour, mark = _MARKS[model]
            dashes = "-" if list(lines)[place - 1][0] != model or not place else (0, (3, 2))
            x, y = [row.n_clusters for row in rows], [getattr(row, name) for row in rows]
            label = f"{model} {rest}".strip()
            axes.plot(x, y, color=colour, marker=mark, ms=3.5, lw=1.2, ls=dashes, alpha=0.85, label=label)
        if selection.best is not None:
            spot = (selection.best.n_clusters, getattr(selection.best, name))
            axes.plot(*spot, "o", ms=11, mfc="none", mec=ACCENT, mew=2, zorder=9, label="chosen")
        axes.set_title(title, size=10.5, loc="left", color=INK)
        axes.set_title(direction, size=8.5, loc="right", color=PALE)
        plain(axes)
        if name == "outliers":
            axes.set_ylim(bottom=0)
        if lines:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(_ticks([row.n_clusters for rows in lines.values() for row in rows]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in panels[1]:
        axes.set_xlabel("clusters found")
    if lines:
        panels[0, 1].set_yscale("log")
        for which in (panels[0, 1].yaxis.set_major_formatter, panels[0, 1].yaxis.set_minor_formatter):
            which(FuncFormatter(lambda value, _: f"{value:,.0f}" if f"{value:e}"[0] in "125" else ""))
    _headline(figure, "Scores of the candidates", _summary(selection))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False, fontsize=8.5)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.865, bottom=0.155, hspace=0.24, wspace=0.2)


def _lines(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each model and of all its parameters but the first, by the number of clusters."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.model, row.n_clusters)):
        rest = ", ".join(f"{name} {value}" for name, value in list(row.params.items())[1:])
        lines.setdefault((row.model, rest), []).append(row)
    return dict(sorted(lines.items()))


def _ticks(values: Sequence[int]) -> list[int]:
    steps = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    return [step for step in steps if min(values) / 1.5 <= step <= max(values) * 1.5]


def _summary(selection: Selection) -> str:
    scored = counted(selection.n_points, "point")
    if selection.n_scored < selection.n_points:
        scored += f", scored on {selection.n_scored:,}"
    if selection.best is None:
        return f"{scored} · {selection.note}"
    best = selection.best
    found = f"{best.n_clusters:,} clusters, {best.outliers:.1%} outliers"
    return f"{scored} · chosen by {selection.rule}: {best.name} · {found}"


def projection(points: Floats, seed: int = 0) -> Floats:
    """Return the points (n, d) in two dimensions (n, 2): by t-SNE up to 3,000 points, else by PCA."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n, d = points.shape
    if n < 2 or d < 2 or not np.ptp(points, axis=0).any():
        return np.column_stack([points[:, 0], np.zeros(n)])
    with threadpool_limits(limits=1):
        least = min(n, d)
        flat = np.asarray(PCA(min(50, least), svd_solver="auto", random_state=seed).fit_transform(points))
        if not LEAST_TSNE <= n <= MOST_TSNE:
            return flat[:, :2]
        perplexity = min(30.0, (n - 1) / 3)
        model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(flat))


def save_projection(points: Floats, selection: Selection, path: Path) -> None:
    """Draw the points (n, d) in two dimensions, coloured by cluster, outliers grey, as PNG.

    The largest clusters have colours of their own and a line in the legend, the others share the rest.
    Raises `UsageError` for points that are not those of the selection, `ResultError` where the file can't
    be written.
    """
    if len(points) != len(selection.labels):
        raise UsageError(f"points must be the {len(selection.labels)} of the selection, got {len(points)}")
    shown = np.arange(len(points))
    if len(points) > MOST_SHOWN:
        shown = np.sort(np.random.default_rng(selection.seed).permutation(len(points))[:MOST_SHOWN])
    places = projection(np.asarray(points)[shown], selection.seed)
    figure = _figure(11, 7.5)
    with style():
        _draw_projection(figure, places, selection.labels[shown], selection)
        _save(figure, path)


def _draw_projection(figure: Figure, places: Floats, labels: NDArray[np.int32], selection: Selection) -> None:
    axes = figure.add_axes((0.03, 0.04, 0.75, 0.84))
    n_clusters = int(selection.labels.max(initial=-1)) + 1
    counts = np.bincount(selection.labels[selection.labels >= 0], minlength=n_clusters)
    colours = cluster_colours(counts)
    size = float(np.clip(16_000 / max(len(places), 1), 6, 42))
    out = labels < 0
    x, y = places.T
    marks: Mapping[str, Any] = {"s": size, "linewidths": 0.3, "edgecolors": "white"}
    n_out = int((selection.labels < 0).sum())
    if n_out:
        axes.scatter(x[out], y[out], s=size * 0.7, c="#aab4be", marker="x", linewidths=0.9)
    largest = np.argsort(-counts, kind="stable")
    for cluster in largest[:_NAMED]:
        label = f"cluster {cluster} · {counts[cluster]:,}"
        own = labels == cluster
        axes.scatter(x[own], y[own], color=colours[cluster], label=label, zorder=3, **marks)
    rest = ~out & np.isin(labels, largest[_NAMED:])
    axes.scatter(x[rest], y[rest], color=colours[labels[rest]], **marks)
    _name_largest(axes, places, labels, largest[:_NAMED])
    if len(largest) > _NAMED:
        axes.scatter([], [], color="none", label=f"and {len(largest) - _NAMED:,} more clusters")
    if n_out:
        axes.scatter([], [], c="#aab4be", marker="x", label=f"outliers · {n_out:,}")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#d5dbe1")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.79, 0.885), frameon=False, fontsize=9)
    way = "t-SNE" if LEAST_TSNE <= len(places) <= MOST_TSNE else "principal components"
    part = f", {len(places):,} of {selection.n_points:,} points" if len(places) < selection.n_points else ""
    _headline(figure, f"The clusters in two dimensions ({way}{part})", _summary(selection))


def _name_largest(axes: Axes, places: Floats, labels: NDArray[np.int32], named: NDArray[np.intp]) -> None:
    """Write the numbers of the largest clusters at that point of each that is nearest to its middle."""
    from matplotlib.patheffects import withStroke

    for cluster in named:
        own = places[labels == cluster]
        if len(own):
            middle = np.median(own, axis=0)
            spot = own[np.argmin(((own - middle) ** 2).sum(axis=1))]
            text = axes.annotate(
                str(cluster), spot, (0, 4), textcoords="offset points", size=9, weight="bold", ha="center"
            )
            text.set_zorder(9)
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def cluster_colours(counts: NDArray[np.integer[Any]]) -> Floats:
    """Return a colour (k, 3) of each cluster: hues far apart, the largest clusters in strong colours."""
    from matplotlib.colors import hsv_to_rgb, to_rgb

    order = np.empty(len(counts), np.intp)
    order[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    hue = (order * 0.61803398875 + 0.55) % 1.0  # golden ratio: each next hue is far from the last ones
    saturation = np.choose(order % 3, [0.75, 0.5, 0.9])
    value = np.choose(order // 3 % 3, [0.8, 0.6, 0.7])
    colours = np.asarray(hsv_to_rgb(np.column_stack([hue, saturation, value]).reshape(-1, 3)))
    named = order < _NAMED
    colours[named] = np.array([to_rgb(colour) for colour in _STRONG])[order[named]]
    return colours


def _figure(width: float, height: float) -> Figure:
    require("matplotlib", extra="deep")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120)


def _headline(figure: Figure, title: str, line: str) -> None:
    figure.text(0.03, 0.955, title, size=13, weight="bold", va="center", color=INK)
    figure.text(0.03, 0.917, line, size=9, va="center", color=PALE)


def _save(figure: Figure, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
    except OSError as error:
        raise write_error(path, error) from error
