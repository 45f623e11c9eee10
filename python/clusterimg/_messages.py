"""What the command line says, as text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import pipeline, results
from ._types import BackendReport

__all__ = ["counted", "error_text", "printable", "summary"]


def error_text(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory: give a smaller --memory or --batch-size"
    return _harmless(str(error))


def printable(name: object) -> str:
    """Return a name or path as the tables show it, safe for a terminal."""
    return _harmless(results.escape_name(str(name)))


def _harmless(text: str) -> str:
    """Return a text in which no control character does what it stands for."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


def summary(result: pipeline.Result, *, verbose: bool) -> str:
    counts, report = result.summary["counts"], result.backend
    parameters, reused = result.summary["parameters"], result.summary["reused"]
    lines = [
        f"{counted(counts['images'], 'image')}: {counted(counts['clusters'], 'cluster')} "
        f"of {counted(counts['clustered'], 'image')}, {counted(counts['outliers'], 'outlier')}",
        f"method {parameters['method']}, {_by(parameters['threshold'])}; "
        f"backend {report.name}, {report.isa}, {counted(report.n_threads, 'thread')}",
    ]
    lines += _network(result.summary)
    for selection in result.summary["selections"]:
        lines += _selection(selection, verbose=verbose)
    lines += _backends(report, verbose=verbose)
    if reused["features"] or reused["batches"]:
        images = f"the features of {counted(reused['features'], 'image')}"
        batches = f", the pairs of {counted(reused['batches'], 'batch', 'batches')}" * bool(reused["batches"])
        lines.append(f"used from before: {images}{batches}")
    if counts["batches"] > 1:
        lines.append(f"{counts['batches']} batches, merged by {result.summary['merge']}")
    lines += _chosen(result.summary["threshold_choice"])
    lines += _linked(result.summary)
    for state, meaning in (
        ("featureless", "only copies of them count as similar"),
        ("near_flat", "hardly any contrast"),
    ):
        if result.summary[state]:
            images = counted(len(result.summary[state]), "image")
            lines.append(f"{images} {state.replace('_', '-')} ({meaning}): listed in run.json")
    if result.skipped:
        first = result.skipped[0]
        others = f" and {len(result.skipped) - 1} more" if len(result.skipped) > 1 else ""
        lines.append(f"skipped: {printable(first.file)} ({first.reason}){others}: listed in skipped.csv")
    if verbose:
        lines += [f"pairs: {plan}" for plan in result.summary["plans"]]
        lines += [f"{seconds:10.3f} s  {stage}" for stage, seconds in result.summary["seconds"].items()]
    if parameters["dry_run"]:
        if verbose:
            pairs = zip(result.files, result.targets, strict=True)
            lines += [f"{printable(file)} -> {printable(target)}" for file, target in pairs]
        lines.append(f"dry run: nothing was written into {printable(str(result.out))}")
        return "\n".join(lines)
    is_apart = parameters["transfer"] == "none" or parameters["merge"] == "no"
    where = result.out if is_apart else result.out / "result"
    lines.append(f"result: {printable(str(where))}")
    if parameters["report"]:
        lines.append(f"report: {printable(str(result.out / 'report' / 'index.html'))}")
    if parameters["transfer"] == "move":
        lines.append(f"to put the files back: clusterimg undo {_quoted(result.out)}")
    return "\n".join(lines)


def _backends(report: BackendReport, *, verbose: bool) -> list[str]:
    """Return which backends were passed over, and where the pairs of each kernel were scored."""
    lines = [
        f"backend {name} was passed over: {reason}"
        for name, reason in report.passed_over.items()
        if verbose or name != "cuda"  # hardly anybody has a device
    ]
    for kernel, use in report.kernels.items():
        held = ", ".join(f"{n_bytes / 1e9:.2g} GB of {name}" for name, n_bytes in use.device_bytes.items())
        if verbose or "cuda" in use.calls:
            calls = " and ".join(f"{name} ({counted(n, 'call')})" for name, n in use.calls.items())
            lines.append(f"{kernel} on {calls}: {use.why}" + f"; held {held}" * bool(held))
    return [*lines, *report.fallbacks]


def _by(threshold: float | None) -> str:
    return "grouped by cluster models" if threshold is None else f"threshold {threshold:g}"


def _network(summary: Mapping[str, Any]) -> list[str]:
    """Return which network saw the images, if one did."""
    if summary["parameters"]["method"] != "deep":
        return []
    about = summary["features"]["params"]
    shown = f"{about['size']}x{about['size']}, {'colour' if about['channels'] == 3 else 'grey'}"
    lines = [f"embedding {about['name']}: {about['dimensions']} numbers of pictures of {shown}"]
    if summary["training"] is not None:
        from .deep._telling import how_it_ended

        lines.append("training " + "; ".join(how_it_ended(summary["training"])))
    if summary["parameters"].get("pca") or summary["parameters"].get("whiten"):
        parts = counted(summary["parameters"]["pca"], "component") if summary["parameters"]["pca"] else "all"
        lines.append(f"principal components: {parts}" + ", whitened" * bool(summary["parameters"]["whiten"]))
    return lines


_CANDIDATES = 12  # of the table of cluster models, unless it is to be verbose


def _selection(selection: Mapping[str, Any], *, verbose: bool) -> list[str]:
    """Return the table of the cluster models that were tried, the best first."""
    from .deep._ranking import Row, table

    rows = [Row(**row) for row in selection["candidates"]]
    if not rows:
        return [f"{selection['of']}: {selection['note']}"]
    limit = None if verbose else _CANDIDATES
    best = selection["best"] or selection["note"]
    found = f"{best}, by {selection['rule']} of {counted(len(rows), 'candidate')}"
    lines = [f"{selection['of']}: {found}", *(f"  {line}" for line in table(rows, limit))]
    if limit is not None and len(rows) > limit:
        lines.append(f"  {counted(len(rows) - limit, 'more candidate')} in run.json")
    return lines


def _chosen(choice: Mapping[str, Any] | None) -> list[str]:
    """Return why the threshold is what it is, where a rule or labelled pairs chose it."""
    if choice is None or "reason" not in choice:
        return []
    by = "a rule" if choice["way"] == "auto" else "labelled pairs"
    lines = [f"threshold chosen by {by}: {choice['reason']}"]
    if not choice["is_default"]:
        low, high, confidence = (choice[name] for name in ("low", "high", "confidence"))
        lines.append(f"thresholds from {low:.4g} to {high:.4g} may be as good (confidence {confidence:.2f})")
    unknown = choice.get("unknown_files", ())
    if unknown:
        files = counted(len(unknown), "file")
        lines.append(f"{files} of the labelled pairs could not be used: listed in run.json")
    return lines


def _linked(summary: Mapping[str, Any]) -> list[str]:
    """Return what there is to tell of linkage and constraints."""
    linkage, held = summary["parameters"]["linkage"], summary["constraints"]
    lines = [f"linkage {linkage}"] * (linkage != "components")
    if held["must_link"] or held["cannot_link"]:
        must, cannot = len(held["must_link"]), len(held["cannot_link"])
        told = f"{counted(must, 'must-link')}, {counted(cannot, 'cannot-link')}"
        if held["without_effect"]:
            told += f"; {len(held['without_effect']):,} without effect, of skipped files: listed in run.json"
        lines.append(told)
    if held["cannot_link"]:
        refused = counted(summary["counts"]["refused"], "similar pair")
        lines.append(f"{refused} refused under cannot-links: listed in refused.csv")
    return lines


def _quoted(path: Path) -> str:
    """Return the path as a shell takes it."""
    shown = printable(str(path))
    if shown.startswith("-"):  # no option
        shown = f"./{shown}"
    if "\\" not in shown:
        return shlex.quote(shown)
    return "$'" + shown.replace("'", "\\'") + "'"


def counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
