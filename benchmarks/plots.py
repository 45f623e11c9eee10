"""The plots of benchmarks/README.md, as SVG that is the same for the same figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"cpp": "#0b7285", "numba": "#e8590c", "reference": "#868e96"}


def pairs_per_second(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw, for each kernel, pairs a second over the number of images, a line for each backend."""
    matplotlib.rcParams.update({"svg.hashsalt": "clusterimg", "font.size": 9, "svg.fonttype": "none"})
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, axes = plt.subplots((len(cases) + 2) // 3, 3, figsize=(11, 6.4), squeeze=False, sharey=True)
    for axis in axes.flat[len(cases) :]:
        axis.set_visible(False)
    for case, axis in zip(cases, axes.flat, strict=False):
        of_case = [row for row in rows if row["case"] == case]
        for backend, n_threads in dict.fromkeys((row["backend"], row["n_threads"]) for row in of_case):
            line = [row for row in of_case if (row["backend"], row["n_threads"]) == (backend, n_threads)]
            axis.plot(
                [row["n_images"] for row in line],
                [row["pairs"] / row["seconds"] for row in line],
                marker="o",
                markersize=3,
                linestyle="-" if n_threads == 1 else "--",
                color=COLOURS[backend],
                label=f"{backend}, {n_threads} thread{'s' * (n_threads > 1)}",
            )
        axis.set(title=case, xscale="log", yscale="log", xlabel="images", ylabel="pairs/s")
        axis.grid(visible=True, alpha=0.3)
    axes[0][0].legend(loc="lower right", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
