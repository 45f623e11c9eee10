"""The report of a result: a folder page that opens from the disk, with no server and no request.

similar pairs → spanning forest → weakest links ┐
kept features → scores of pairs → widest pairs  ├→ columns → data.js ┐
image files   → thumbnails → sprites            ┘                    ├→ RESULT/report/
page/         index.html, gallery.css, scripts: the same in each     ┘
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import results as tables
from .._memory import parse_memory
from .._types import Progress, Skip
from ..backends import Engine, select
from ..errors import ResultError, UsageError
from ._chains import links_of, root_trees
from ._columns import as_script, columns, page_order, pairs_text
from ._finished import Finished, Located, kept_features, locate, read_finished, similar_pairs
from ._pairs import Closeness, closeness
from ._placing import FOLDER, check_place, placed
from ._sprites import Thumbnails, n_sprites, sprite_name, write_sprites

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Report", "report"]

_PAGE = ("index.html", "gallery.css", "names.js", "layout.js", "compare.js", "facts.js", "gallery.js")
_DATA, _PAIRS = "data.js", "pairs.js"


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was made.

    index : the page
    images : images it shows
    unreadable : those without a thumbnail, with reasons
    without_pairs : why the widest pairs are of what the tables tell only; empty if they are not
    """

    index: Path
    images: int
    unreadable: tuple[Skip, ...]
    without_pairs: str


def report(
    result: str | os.PathLike[str] | Any,
    *,
    out: str | os.PathLike[str] | None = None,
    thumbnails: bool = True,
    thumbnail_size: int = 160,
    threads: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Make a page to look at a result: its clusters, outliers and skipped files, and how it came about.

    It is `index.html` in a folder of its own, with what it needs beside it, and opens from the disk.
    It replaces an older one as a whole.

    Parameters
    ----------
    result : path or Result
        A result folder of `run` or `merge`, or what they returned.
    out : path
        The folder of the report; `report` in the result folder, if not given.
    thumbnails : bool
        Whether to make thumbnails. Without them the page shows the files themselves, which takes a
        browser long for large ones.
    thumbnail_size : int
        Pixels of the longer side of a thumbnail, 32 to 512.
    threads : int
        0 for all cores this process may use.
    progress : callable
        `progress(stage, done, total)` of the stages `scores` and `thumbnails`.

    Raises
    ------
    UsageError
        A parameter is wrong, or the folder of the report holds other files.
    ResultError
        The result is not finished, damaged or in use, or the report can't be written.
    """
    if not 32 <= thumbnail_size <= 512:
        raise UsageError(f"thumbnail_size must be 32 to 512 pixels, got {thumbnail_size}")
    place = Path(getattr(result, "out", result))
    engine = select("auto", n_threads=threads)
    with ExitStack() as stack:
        try:
            stack.enter_context(tables.locked(place))
        except OSError as error:
            shown = tables.escape_name(str(place))
            raise ResultError(f"can't read {shown}: {error.strerror or error}") from error
        finished = read_finished(place)
        folder = place / FOLDER if out is None else Path(out)
        check_place(finished, folder)
        return _made(finished, folder, engine, thumbnail_size if thumbnails else 0, threads, progress)


def _made(
    finished: Finished, folder: Path, engine: Engine, side: int, threads: int, progress: Progress | None
) -> Report:
    order, clusters = page_order(finished)
    links = links_of(similar_pairs(finished), finished.table.labels, engine)
    trees = root_trees(links.forest, finished.table.labels, finished.representatives)
    close, why_not = _close(finished, clusters, engine, _stage(progress, "scores"))
    located = [locate(finished, k) for k in order.tolist()]
    sprites = [sprite_name(k) for k in range(n_sprites(len(order)) if side else 0)]
    names = [*_PAGE, _DATA, _PAIRS, *sprites]
    with placed(finished, folder, names) as new:
        made = _thumbnails(new, located, side, threads, _stage(progress, "thumbnails"))
        data = columns(
            finished,
            order,
            clusters,
            links=links,
            trees=trees,
            close=close,
            why_not=why_not,
            located=located,
            thumbnails=made,
            urls=_urls(finished, folder),
        )
        _write(new / _DATA, as_script("clusterimgReport", data))
        _write(new / _PAIRS, as_script("clusterimgPairs", pairs_text(close or ())))
        for name in _PAGE:
            shutil.copyfile(Path(__file__).with_name("page") / name, new / name)
    reasons = made.reasons if made is not None else {}
    files = data["files"]
    unreadable = tuple(Skip(files[k], reason) for k, reason in reasons.items())
    return Report(folder / "index.html", len(order), unreadable, why_not)


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, stage)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii", newline="\n")


def _close(
    finished: Finished,
    clusters: Sequence[NDArray[np.int64]],
    engine: Engine,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Closeness] | None, str]:
    """Return the closeness of each cluster, or None and why it can't be told."""
    kept = kept_features(finished)
    if isinstance(kept, str):
        return None, kept
    at_once = max(1, parse_memory(None) // (4 * kept.method.item_bytes))
    try:
        found = closeness(clusters, kept.take, kept.method, engine, images_at_once=at_once, progress=progress)
        return list(found), ""
    except ResultError as error:  # of a damaged chunk: the rest can still be told
        return None, str(error)


def _thumbnails(
    new: Path,
    located: Sequence[Located],
    side: int,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> Thumbnails | None:
    if not side:
        return None
    paths = [each.path for each in located]
    return write_sprites(new, paths, side=side, n_threads=threads, progress=progress)


def _urls(finished: Finished, folder: Path) -> dict[str, Any]:
    """Return what the page makes addresses of: paths, which it percent-encodes byte by byte."""
    above = os.path.relpath(os.path.realpath(finished.out), os.path.realpath(folder))
    return {"title": finished.folder.name, "folder": str(finished.folder), "resultPath": above}
