"""The command line: parse, call, print. The only file that prints or exits.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 done with
skipped files under --strict, 2 wrong usage, 3 failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _progress, backends, pipeline, results
from ._choosing import Choose
from ._memory import keep_freed_memory
from ._messages import counted, error_text, printable, summary
from ._options import TERMINAL, parser
from ._types import Skip
from ._versions import networks_installed, versions
from .errors import ClusterimgError, DeviceWarning, FilesSkipped, UsageError
from .methods import METHODS
from .picker.views import ask, can_ask, view_for

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .picker import ThresholdCurve

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
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            code = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted" + ": the same command with --resume goes on" * _can_resume(arguments))
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ClusterimgError, MemoryError, OSError) as error:
        if getattr(arguments, "verbose", False):
            traceback.print_exc()
        _say(f"error: {error_text(error)}")
        return USAGE if isinstance(error, UsageError) else FAILED


def _can_resume(arguments: argparse.Namespace) -> bool:
    """Return whether an interrupted command left something to go on from."""
    if arguments.command == "train":  # a state is written now and then
        from .deep._model_files import ModelFiles

        return ModelFiles(Path(arguments.out)).state.exists()
    return hasattr(arguments, "resume") and not getattr(arguments, "dry_run", False)


def _say(text: str) -> None:
    print(f"clusterimg: {text}", file=sys.stderr)


def _show_warning(show: Callable[..., None], message: Warning, *where: Any, **options: Any) -> None:
    """Say what a device failed at as a line of ours; other warnings look as Python has them."""
    if isinstance(message, DeviceWarning):
        _say(f"warning: {error_text(message)}")
    else:
        show(message, *where, **options)


def _say_each(what: str, skips: Sequence[Skip], arguments: argparse.Namespace, form: str = "{} {}") -> None:
    """Say of files why they were left; of many only the first, unless it is to be verbose."""
    shown = skips if arguments.verbose else skips[:_SHOWN]
    for skip in shown:
        _say(f"{what}: {form.format(printable(skip.file), skip.reason)}")
    if len(skips) > len(shown):
        _say(f"{what}: {len(skips) - len(shown):,} more (--verbose lists all)")


# --- the commands ---


def _run(arguments: argparse.Namespace) -> int:
    return _show(pipeline.run, _options(arguments), arguments)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _chooser(ui: str, shows: _progress.Shown) -> Choose:
    """Return what asks the person at the terminal. Raises `UsageError` if there is none."""
    view = view_for(ui, is_terminal=_is_terminal())

    def choose(curve: ThresholdCurve, folder: Path) -> float | None:
        from rich.console import Console

        with shows.paused():
            chosen = ask(curve, folder, ui=view, console=Console(stderr=True), announce=_say)
        if chosen is not None:
            _say(f"threshold {chosen:.6g}")
        return chosen

    return choose


def _threshold(arguments: argparse.Namespace) -> int:
    """Save the curve, or show it; what was chosen on it goes to standard output."""
    from .picker import threshold_curve
    from .picker.saving import save

    options = _options(arguments)
    folder, files = Path(options.pop("folder")), {name: options.pop(name) for name in ("html", "png", "csv")}
    is_saved = arguments.json or any(files.values())
    with (shows := _progress.shown(sys.stderr, quiet=arguments.quiet)) as progress:
        choose = None
        if arguments.ui != "auto" or (not is_saved and can_ask(is_terminal=_is_terminal())):
            choose = _chooser(arguments.ui, shows)
        curve = threshold_curve(folder, **options, progress=progress)
        save(curve, folder, html=files["html"], picture=files["png"], table=files["csv"])
        chosen = None if choose is None else choose(curve, folder)
    for path in filter(None, files.values()):
        if not arguments.quiet:
            _say(f"saved {printable(path)}")
    if arguments.json:
        print(results.run_text({**curve.as_json(), **_by_rule(curve), "chosen": chosen}), end="")
    elif choose is not None:
        if chosen is not None:
            print(f"{chosen:.6g}")
    elif not arguments.quiet:
        _show_curve(curve, as_table=not is_saved)
    return DONE


def _show_curve(curve: ThresholdCurve, *, as_table: bool) -> None:
    if as_table:
        from rich.console import Console

        from .picker.table import table

        console = Console()
        console.print(table(curve, width=console.width))
    found = _by_rule(curve)["auto"]
    print(f"auto takes {found.threshold:.6g}: {found.reason}")


def _by_rule(curve: ThresholdCurve) -> dict[str, Any]:
    from .picker.auto import choose_automatically

    return {"auto": choose_automatically(curve)}


def _merge(arguments: argparse.Namespace) -> int:
    from .joining import merge

    return _show(merge, _options(arguments), arguments)


def _options(arguments: argparse.Namespace, *others: str) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name not in (*TERMINAL, *others)}


def _show(
    function: Callable[..., pipeline.Result], options: dict[str, Any], arguments: argparse.Namespace
) -> int:
    """Call a function that gives a result, and print what it found."""
    with (shows := _progress.shown(sys.stderr, quiet=arguments.quiet)) as progress:
        if options.get("threshold") == "ask":
            options["choose"] = _chooser(arguments.ui, shows)
        try:
            result = function(**options, progress=progress)
            code = DONE
        except FilesSkipped as skipped:
            result = skipped.result
            code = SKIPPED
    if arguments.json:
        print(json.dumps(json.loads(results.run_text(result.summary)), indent=2))
    elif not arguments.quiet:
        print(summary(result, verbose=arguments.verbose))
    return code


def _undo(arguments: argparse.Namespace) -> int:
    from .undoing import undo

    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        undone = undo(arguments.result, progress=progress)
    if arguments.json:
        print(json.dumps(asdict(undone), indent=2))
    elif not arguments.quiet:
        print(
            f"{counted(undone.restored, 'file')} put back, "
            f"{counted(undone.removed, 'copy or link', 'copies and links')} deleted"
        )
    _say_each("kept", undone.kept, arguments)
    _say_each("missing", undone.missing, arguments)
    return FAILED if undone.kept or undone.missing else DONE


def _report(arguments: argparse.Namespace) -> int:
    from .gallery import report

    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        made = report(arguments.result, **_options(arguments, "result"), progress=progress)
    if arguments.json:
        print(json.dumps({**asdict(made), "index": printable(made.index)}, indent=2))
    elif not arguments.quiet:
        print(f"{counted(made.images, 'image')}: {printable(made.index)}")
        if made.without_pairs:
            print(f"widest pairs are of those with the representative: {made.without_pairs}")
    _say_each("no thumbnail", made.unreadable, arguments)
    return DONE


def _train(arguments: argparse.Namespace) -> int:
    from .deep._telling import as_json, told
    from .deep.training import train

    with _progress.shown(sys.stderr, quiet=arguments.quiet) as progress:
        trained = train(**_options(arguments), progress=progress)
    if arguments.json:
        print(json.dumps(as_json(trained.facts, arguments.out, len(trained.skipped)), indent=2))
    elif not arguments.quiet:
        print(told(trained.facts, arguments.out, verbose=arguments.verbose))
    _say_each("skipped", trained.skipped, arguments, "{} ({})")
    return DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation import evaluate

    found = evaluate(arguments.result, arguments.labels)
    print(json.dumps(asdict(found), indent=2) if arguments.json else _evaluated(found))
    return DONE


def _evaluated(found: Evaluation) -> str:
    lines = [
        f"{counted(found.images, 'labelled image')} in {counted(found.groups, 'group')}; "
        f"{counted(found.clusters, 'cluster')}, {counted(found.outliers, 'outlier')}",
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
            lines.append(f"{counted(len(files), 'file')} {meaning}, such as {printable(files[0])}")
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
        "versions": versions() | networks_installed(),
        "backends": {name: reason or "can run" for name, reason in backends.report().items()},
        "auto": engine.report.name,
        "isa": engine.report.isa,
        "threads": engine.report.n_threads,
        "cuda": backends.cuda_facts(),
        "methods": {name: asdict(method()) for name, method in METHODS.items()},  # type: ignore[call-overload]
    }
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return DONE
    for group in ("versions", "backends"):
        print(f"{group}:")
        for name, value in facts[group].items():
            print(f"  {name:24} {value}")
    beside = ", and cuda where it is likely to be faster" if _may_use_cuda(facts) else ""
    threads = counted(engine.report.n_threads, "thread")
    print(f"auto uses {engine.report.name}{beside}: {engine.report.isa}, {threads}")
    _show_devices(facts["cuda"])
    print("methods and their defaults:")
    for name, defaults in facts["methods"].items():
        print(f"  {name:24} {', '.join(f'{key} {value}' for key, value in defaults.items())}")
    return DONE


def _may_use_cuda(facts: Mapping[str, Any]) -> bool:
    return bool(facts["auto"] == "cpp" and facts["backends"]["cuda"] == "can run")


def _show_devices(cuda: Mapping[str, Any]) -> None:
    """Print what there is of CUDA, where it was built; else the list of backends has said so."""
    if "runtime" not in cuda:
        return
    driver = f"driver for CUDA {cuda['driver']}" if cuda["driver"] else "no driver"
    print(f"CUDA: runtime {cuda['runtime']}, {driver}, built for compute {cuda['architectures']}")
    for device in cuda["devices"]:
        free, memory = (device[name] / 1e9 for name in ("free", "memory"))
        print(
            f"  device {device['number']:<17} {device['name']}: compute {device['capability']}, "
            f"{device['multiprocessors']} multiprocessors at {device['clock_mhz']:,} MHz, "
            f"{free:.1f} of {memory:.1f} GB free"
        )


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "threshold": _threshold,
    "merge": _merge,
    "train": _train,
    "undo": _undo,
    "report": _report,
    "evaluate": _evaluate,
    "demo": _demo,
    "info": _info,
}
