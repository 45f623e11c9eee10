"""The threshold curve as files: a page, a picture, a table."""

from __future__ import annotations

import csv
from pathlib import Path

from .._files import replacing, write_error
from .curve import ThresholdCurve

__all__ = ["save"]


def save(
    curve: ThresholdCurve,
    folder: Path,
    *,
    html: Path | None = None,
    picture: Path | None = None,
    table: Path | None = None,
) -> None:
    """Write the curve into files: a page with thumbnails from `folder`, a plot, the numbers as CSV.

    Raises `ResultError` where one can't be written, and `MissingExtra` for a plot without `[plot]`.
    """
    if html is not None:
        from .page import page

        _write(html, page(curve, folder))
    if picture is not None:
        from .window import save_plot

        save_plot(curve, picture, folder=folder)
    if table is not None:
        _write_csv(table, curve)


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise write_error(path, error) from error


def _write_csv(path: Path, curve: ThresholdCurve) -> None:
    rows = curve.rows()
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise write_error(path, error) from error
