"""The report of a run: made at its end, and kept by a later run in the same folder while it still holds."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from . import results

if TYPE_CHECKING:
    from ._flow import Job, Result

__all__ = ["remove_obsolete", "told", "with_report"]


def with_report(job: Job, result: Result) -> Result:
    """Return the result, after its report is made, if one was asked for."""
    if job.asked["report"] and not job.dry_run:
        from .gallery import report  # it is on top of all this

        report(result.out, threads=job.asked["threads"], progress=job.progress)
        if not job.keep_features:
            with results.locked(result.out):
                results.remove_state(result.out)
    return result


def told(out: Path) -> list[bytes | None]:
    """Return what the tables of files say: where that is the same as before, a report still holds."""
    paths = [out / name for name in (results.CLUSTERS, results.SKIPPED)]
    return [path.read_bytes() if path.exists() else None for path in paths]


def remove_obsolete(
    out: Path, manifest: results.Manifest, written: Collection[str], *, is_same: bool
) -> None:
    """Delete the tables of earlier runs that this one has not written."""
    old = set(manifest.record.tables) - set(written)
    results.remove_tables(out, {name for name in old if not (is_same and name.startswith("report/"))})
