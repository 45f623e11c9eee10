"""The command line: parse, call, print. The only file that prints or exits.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 done with
skipped files under --strict, 2 wrong usage, 3 failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _progress, backends, pipeline, results
from ._memory import keep_freed_memory
from ._options import TERMINAL, parser
from ._versions import versions
from .errors import ClusterimgError, FilesSkipped, UsageError
from .methods import METHODS

if TYPE_CHECKING:
    from .evaluation import Evaluation

__all__ = ["main"]

_SHOWN = 10  # of a list that may be long

DONE, SKIPPED, USAGE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of `argv` (the process's own, if None) and return its exit code."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # no name is worth a crash where it can't be shown
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    try:
        code = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        can_resume = hasattr(arguments, "resume") and not arguments.dry_run
        _say("interrupted" + ": the same command with --resume goes on" * can_resume)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ClusterimgError, MemoryError, OSError) as error:
        if getattr(arguments, "verbose", False):
            traceback.print_exc()
        _say(f"error: {_text(error)}")
        return USAGE if isinstance(error, UsageError) else FAILED


def _text(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory: give a smaller --memory or --batch-size"
    return _harmless(str(error))


def _shown(name: object) -> str:
    """Return a name or path as the tables show it, safe for a terminal."""
    return _harmless(results.escape_name(str(name)))


def _harmless(text: str) -> str:
    """Return a text in which no control character does what it stands for."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


def _say(text: str) -> None:
    print(f"clusterimg: {text}", file=sys.stderr)


# --- the commands ---


def _run(arguments: argparse.Namespace) -> int:
    return _show(pipeline.run, _options(arguments), arguments)


def _merge(arguments: argparse.Namespace) -> int:
    from .joining import merge

    return _show(merge, _options(arguments), arguments)


def _options(arguments: argparse.Namespace, *others: str) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name not in (*TERMINAL, *others)}


def _show(
    function: Callable[..., pipeline.Result], options: dict[str, Any], arguments: argparse.Namespace
) -> int:
    """Call a function that gives a result, and print what it found."""
    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        try:
            result = function(**options, progress=progress)
            code = DONE
        except FilesSkipped as skipped:
            result = skipped.result
            code = SKIPPED
    if arguments.json:
        print(json.dumps(json.loads(results.run_text(result.summary)), indent=2))
    elif not arguments.quiet:
        print(_summary(result, verbose=arguments.verbose))
    return code


def _undo(arguments: argparse.Namespace) -> int:
    from .undoing import undo

    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        undone = undo(arguments.result, progress=progress)
    if arguments.json:
        print(json.dumps(asdict(undone), indent=2))
    elif not arguments.quiet:
        print(
            f"{_counted(undone.restored, 'file')} put back, "
            f"{_counted(undone.removed, 'copy or link', 'copies and links')} deleted"
        )
    for left, what in ((undone.kept, "kept"), (undone.missing, "missing")):
        shown = left if arguments.verbose else left[:_SHOWN]
        for skip in shown:
            _say(f"{what}: {_shown(skip.file)} {skip.reason}")
        if len(left) > len(shown):
            _say(f"{what}: {len(left) - len(shown):,} more (--verbose lists all)")
    return FAILED if undone.kept or undone.missing else DONE


def _summary(result: pipeline.Result, *, verbose: bool) -> str:
    counts, report = result.summary["counts"], result.backend
    parameters, reused = result.summary["parameters"], result.summary["reused"]
    lines = [
        f"{_counted(counts['images'], 'image')}: {_counted(counts['clusters'], 'cluster')} "
        f"of {_counted(counts['clustered'], 'image')}, {_counted(counts['outliers'], 'outlier')}",
        f"method {parameters['method']}, threshold {parameters['threshold']:g}; "
        f"backend {report.name}, {report.isa}, {_counted(report.n_threads, 'thread')}",
    ]
    lines += [f"backend {name} was passed over: {reason}" for name, reason in report.passed_over.items()]
    if reused["features"] or reused["batches"]:
        images = f"the features of {_counted(reused['features'], 'image')}"
        batches = f", the pairs of {_counted(reused['batches'], 'batch', 'batches')}" * bool(
            reused["batches"]
        )
        lines.append(f"used from before: {images}{batches}")
    if counts["batches"] > 1:
        lines.append(f"{counts['batches']} batches, merged by {result.summary['merge']}")
    for state, meaning in (
        ("featureless", "only copies of them count as similar"),
        ("near_flat", "hardly any contrast"),
    ):
        if result.summary[state]:
            images = _counted(len(result.summary[state]), "image")
            lines.append(f"{images} {state.replace('_', '-')} ({meaning}): listed in run.json")
    if result.skipped:
        first = result.skipped[0]
        others = f" and {len(result.skipped) - 1} more" if len(result.skipped) > 1 else ""
        lines.append(f"skipped: {_shown(first.file)} ({first.reason}){others}: listed in skipped.csv")
    if verbose:
        lines += [f"pairs: {plan}" for plan in result.summary["plans"]]
        lines += [f"{seconds:10.3f} s  {stage}" for stage, seconds in result.summary["seconds"].items()]
    if parameters["dry_run"]:
        if verbose:
            pairs = zip(result.files, result.targets, strict=True)
            lines += [f"{_shown(file)} -> {_shown(target)}" for file, target in pairs]
        lines.append(f"dry run: nothing was written into {_shown(str(result.out))}")
        return "\n".join(lines)
    is_apart = parameters["transfer"] == "none" or parameters["merge"] == "no"
    where = result.out if is_apart else result.out / "result"
    lines.append(f"result: {_shown(str(where))}")
    if parameters["report"]:
        lines.append(f"report: {_shown(str(result.out / 'report' / 'index.html'))}")
    if parameters["transfer"] == "move":
        lines.append(f"to put the files back: clusterimg undo {_quoted(result.out)}")
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    """Return the path as a shell takes it."""
    shown = _shown(str(path))
    if shown.startswith("-"):  # no option
        shown = f"./{shown}"
    if "\\" not in shown:
        return shlex.quote(shown)
    return "$'" + shown.replace("'", "\\'") + "'"


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def _report(arguments: argparse.Namespace) -> int:
    from .gallery import report

    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        made = report(arguments.result, **_options(arguments, "result"), progress=progress)
    if arguments.json:
        print(json.dumps({**asdict(made), "index": _shown(made.index)}, indent=2))
    elif not arguments.quiet:
        print(f"{_counted(made.images, 'image')}: {_shown(made.index)}")
        if made.without_pairs:
            print(f"widest pairs are of those with the representative: {made.without_pairs}")
    shown = made.unreadable if arguments.verbose else made.unreadable[:_SHOWN]
    for skip in shown:
        _say(f"no thumbnail: {_shown(skip.file)} {skip.reason}")
    if len(made.unreadable) > len(shown):
        _say(f"no thumbnail: {len(made.unreadable) - len(shown):,} more (--verbose lists all)")
    return DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation import evaluate

    found = evaluate(arguments.result, arguments.labels)
    print(json.dumps(asdict(found), indent=2) if arguments.json else _evaluated(found))
    return DONE


def _evaluated(found: Evaluation) -> str:
    lines = [
        f"{_counted(found.images, 'labelled image')} in {_counted(found.groups, 'group')}; "
        f"{_counted(found.clusters, 'cluster')}, {_counted(found.outliers, 'outlier')}",
        f"pairs of one group {found.pairs_true:,}, in one cluster {found.pairs_found:,}, "
        f"in both {found.pairs_both:,}",
        "            precision  recall      F1",
        f"pairwise        {found.precision:.3f}   {found.recall:.3f}   {found.f1:.3f}",
        f"B-cubed         {found.bcubed_precision:.3f}   {found.bcubed_recall:.3f}   {found.bcubed_f1:.3f}",
        f"adjusted Rand index {found.ari:.3f}",
    ]
    for files, meaning in (
        (found.missing, "labelled but not in the result, counted as outliers"),
        (found.unlabelled, "in the result but not labelled, not counted"),
    ):
        if files:
            lines.append(f"{_counted(len(files), 'file')} {meaning}, such as {_shown(files[0])}")
    return "\n".join(lines)


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import make_demo
    from .evaluation import evaluate

    photos = arguments.out / "photos"
    labels = make_demo(photos)
    options = {"folder": photos, "out": arguments.out / "clustered", "method": arguments.method}
    code = _show(pipeline.run, options, arguments)
    if not (arguments.quiet or arguments.json):
        found = evaluate(options["out"], labels)
        print(
            f"against the true groups: precision {found.precision:.3f}, recall {found.recall:.3f}, "
            f"F1 {found.f1:.3f}\n"
            f"look at: {options['out'] / 'result' / 'cluster_0'} beside {photos}"
        )
    return code


def _info(arguments: argparse.Namespace) -> int:
    engine = backends.select()
    facts: dict[str, Any] = {
        "versions": versions(),
        "backends": {name: reason or "can run" for name, reason in backends.report().items()},
        "auto": engine.report.name,
        "isa": engine.report.isa,
        "threads": engine.report.n_threads,
        "methods": {name: asdict(method()) for name, method in METHODS.items()},  # type: ignore[call-overload]
    }
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return DONE
    for group in ("versions", "backends"):
        print(f"{group}:")
        for name, value in facts[group].items():
            print(f"  {name:24} {value}")
    print(
        f"auto uses {engine.report.name}: {engine.report.isa}, {_counted(engine.report.n_threads, 'thread')}"
    )
    print("methods and their defaults:")
    for name, defaults in facts["methods"].items():
        print(f"  {name:24} {', '.join(f'{key} {value}' for key, value in defaults.items())}")
    return DONE


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "merge": _merge,
    "undo": _undo,
    "report": _report,
    "evaluate": _evaluate,
    "demo": _demo,
    "info": _info,
}
