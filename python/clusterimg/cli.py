"""The command line: parse, call, print. The only file that prints or exits.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 done with
skipped files under --strict, 2 wrong usage, 3 failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__, backends, pipeline, results
from ._memory import keep_freed_memory
from ._versions import versions
from .errors import ClusterimgError, FilesSkipped, UsageError
from .merging import MERGES
from .methods import ALIASES, METHODS
from .methods.orb import RULES
from .results import TRANSFERS, escape_name

if TYPE_CHECKING:
    from .evaluation import Evaluation

__all__ = ["main", "parser"]

_SHOWN = 10  # of a list that may be long

DONE, SKIPPED, USAGE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of `argv` (the process's own, if None) and return its exit code."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # no name is worth a crash where it can't be shown
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    try:
        code: int = arguments.command(arguments)
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
    return escape_name(str(error))


def _say(text: str) -> None:
    print(f"clusterimg: {text}", file=sys.stderr)


# --- the options ---


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="clusterimg", description="Put the similar images of a folder together."
    )
    top.add_argument("--version", action="version", version=f"clusterimg {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="cluster the images of a folder into a result folder"))
    _add_merge(commands.add_parser("merge", help="join results of earlier runs; no image is read again"))
    _add_undo(commands.add_parser("undo", help="put moved files back, and delete copies and links"))
    _add_evaluate(commands.add_parser("evaluate", help="compare the clusters of a result with known groups"))
    _add_demo(commands.add_parser("demo", help="cluster a small folder of real photos and edited copies"))
    _add_info(commands.add_parser("info", help="versions, backends, instruction set, threads"))
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.set_defaults(command=_run)
    run.add_argument("folder", metavar="FOLDER", help="the images; every file in it is tried")
    add = run.add_argument_group("what is similar").add_argument
    names = [*METHODS, *ALIASES]
    add("--method", choices=names, default="imagehash", metavar="M", help=f"{', '.join(names)} (imagehash)")
    add("--threshold", type=float, metavar="T", help="similar means score > T (the method's own default)")
    add("--size", type=_size, metavar="WxH", help="common size of the images: ssim, minhash, orb, tm")
    add("--scale", type=float, metavar="F", help="instead of a size: F times their own: ssim, orb, tm")
    add("--hash-size", type=int, metavar="N", help="bits a side of the hash, 8 to 64: imagehash")
    add("--orb-rule", choices=RULES, help="what makes a match good: orb")
    add = _add_places(run, "FOLDER_clustered beside FOLDER")
    add("--recursive", action="store_true", help="take the images of subfolders too")
    add = run.add_argument_group("how").add_argument
    add("--merge", choices=MERGES, default="representatives", help="how batches are joined (representatives)")
    add("--batch-size", type=int, metavar="N", help="images a batch (what fits into the memory)")
    add("--memory", metavar="SIZE", help="such as 2G (a quarter of the machine's)")
    _add_engine(run)
    _add_terminal(run)


def _add_merge(merge: argparse.ArgumentParser) -> None:
    merge.set_defaults(command=_merge)
    merge.add_argument("results", nargs="+", metavar="RESULT", help="result folders of one method")
    add = merge.add_argument_group("what is similar").add_argument
    add("--threshold", type=float, metavar="T", help="similar means score > T (that of the results)")
    choices = [how for how in MERGES if how != "no"]
    add("--merge", choices=choices, default="representatives", help="what is compared (representatives)")
    _add_places(merge, "RESULT_merged beside the first")
    _add_engine(merge)
    _add_terminal(merge)


def _add_places(command: argparse.ArgumentParser, default_out: str) -> Callable[..., Any]:
    add = command.add_argument_group("what goes where").add_argument
    add("--out", metavar="DIR", help=f"result folder, new or empty ({default_out})")
    add("--transfer", choices=TRANSFERS, default="copy", help="how files get there; none: tables only (copy)")
    add(
        "--no-batch-folders",
        dest="batch_folders",
        action="store_false",
        help="no batch_k/ with links into result/",
    )
    add(
        "--no-keep-features",
        dest="keep_features",
        action="store_false",
        help="delete the features when done",
    )
    add("--resume", action="store_true", help="go on with the result in DIR; what is still true is kept")
    add("--overwrite", action="store_true", help="delete the result in DIR first")
    add("--dry-run", action="store_true", help="find the clusters, write nothing (--verbose lists them)")
    return add


def _add_engine(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("with what").add_argument
    add("--threads", type=int, default=0, metavar="N", help="0 for all cores (0)")
    choices = ("auto", *backends.BACKENDS)
    add("--backend", choices=choices, default="auto", help="what scores the pairs (auto)")
    add("--strict", action="store_true", help="exit with 1 if files were skipped")


def _add_undo(undo: argparse.ArgumentParser) -> None:
    undo.set_defaults(command=_undo)
    undo.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    _add_terminal(undo)


def _add_terminal(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("terminal").add_argument
    add("--quiet", action="store_true", help="no progress, no summary")
    add("--verbose", action="store_true", help="times of the stages; where an error came from")
    add("--json", action="store_true", help="the summary as JSON on standard output")


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    evaluate.add_argument(
        "labels", type=Path, metavar="LABELS", help="CSV table with columns file,group; or another result"
    )
    evaluate.add_argument("--json", action="store_true", help="as JSON on standard output")


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.set_defaults(command=_demo)
    demo.add_argument(
        "--out", type=Path, default=Path("clusterimg_demo"), metavar="DIR", help="(clusterimg_demo)"
    )
    names = [*METHODS, *ALIASES]
    demo.add_argument("--method", choices=names, default="imagehash", metavar="M", help=", ".join(names))
    _add_terminal(demo)


def _add_info(info: argparse.ArgumentParser) -> None:
    info.set_defaults(command=_info)
    info.add_argument("--json", action="store_true", help="as JSON on standard output")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"wanted WIDTHxHEIGHT such as 64x64, got {text}")
    return int(width), int(height)


# --- the commands ---


_TERMINAL = ("command", "quiet", "verbose", "json")


def _run(arguments: argparse.Namespace) -> int:
    return _show(pipeline.run, _options(arguments), arguments)


def _merge(arguments: argparse.Namespace) -> int:
    from .joining import merge

    return _show(merge, _options(arguments), arguments)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name not in _TERMINAL}


def _show(
    function: Callable[..., pipeline.Result], options: dict[str, Any], arguments: argparse.Namespace
) -> int:
    """Call a function that gives a result, and print what it found."""
    with _progress(arguments.quiet) as progress:
        try:
            result = function(**options, progress=progress)
            code = DONE
        except FilesSkipped as skipped:
            result = skipped.result
            code = SKIPPED
    if arguments.json:
        print(results.run_text(result.summary), end="")
    elif not arguments.quiet:
        print(_summary(result, verbose=arguments.verbose))
    return code


def _undo(arguments: argparse.Namespace) -> int:
    from .undoing import undo

    with _progress(arguments.quiet) as progress:
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
            _say(f"{what}: {escape_name(skip.file)} {skip.reason}")
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
        lines.append(f"skipped: {escape_name(first.file)} ({first.reason}){others}: listed in skipped.csv")
    if verbose:
        lines += [f"{seconds:10.3f} s  {stage}" for stage, seconds in result.summary["seconds"].items()]
    if parameters["dry_run"]:
        if verbose:
            pairs = zip(result.files, result.targets, strict=True)
            lines += [f"{escape_name(file)} -> {escape_name(target)}" for file, target in pairs]
        lines.append(f"dry run: nothing was written into {escape_name(str(result.out))}")
        return "\n".join(lines)
    is_apart = parameters["transfer"] == "none" or parameters["merge"] == "no"
    where = result.out if is_apart else result.out / "result"
    lines.append(f"result: {escape_name(str(where))}")
    if parameters["transfer"] == "move":
        lines.append(f"to put the files back: clusterimg undo {_quoted(result.out)}")
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    """Return the path as a shell takes it."""
    shown = escape_name(str(path))
    if shown.startswith("-"):  # no option
        shown = f"./{shown}"
    if "\\" not in shown:
        return shlex.quote(shown)
    return "$'" + shown.replace("'", "\\'") + "'"


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


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
            lines.append(f"{_counted(len(files), 'file')} {meaning}, such as {escape_name(files[0])}")
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


# --- progress ---


def _progress(quiet: bool) -> _Silent | _Lines | _Bars:
    if quiet:
        return _Silent()
    return _Bars() if sys.stderr.isatty() else _Lines(sys.stderr)


class _Silent:
    """Says nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _Lines:
    """A line now and then, for logs: at most one in ten seconds, and one at the end of a long stage."""

    SECONDS = 10.0

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._stage, self._start, self._last = "", 0.0, 0.0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._stage:
            self._stage, self._start, self._last = stage, now, now
        ends_long_stage = done == total and self._last > self._start
        if now - self._last < self.SECONDS and not ends_long_stage:
            return
        self._last = now
        rate = done / (now - self._start)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"{stage} {done:,} of {total:,}, {rate:,.0f}/s{left}", file=self._stream, flush=True)


class _Bars:
    """Bars with rate and time left, for a terminal."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._tasks: dict[str, Any] = {}
        self._bars = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, rate="")
        task = self._bars.tasks[self._tasks[stage]]
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        self._bars.update(self._tasks[stage], completed=done, total=total, rate=rate)
