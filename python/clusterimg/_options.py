"""The options of the command line. Each of `run` and `merge` is a keyword of the function of that name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import __version__
from ._choosing import WAYS
from ._train_options import add_train
from .backends import BACKENDS
from .clustering import LINKAGES
from .deep import choices
from .images import DECODES
from .merging import MERGES
from .methods import ALIASES, METHODS
from .methods.orb import RULES
from .picker.views import VIEWS
from .results import TRANSFERS

__all__ = ["TERMINAL", "parser"]

TERMINAL = ("command", "quiet", "verbose", "json", "ui")
"""What parsed arguments hold beside the parameters of the function."""

SIMILAR = "similar means score > T; auto: found by a rule; ask: you choose it (the method's own default)"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="clusterimg", description="Put the similar images of a folder together."
    )
    top.add_argument("--version", action="version", version=f"clusterimg {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="cluster the images of a folder into a result folder"))
    text = "what every threshold gives: as a page, a window or a table"
    _add_threshold(commands.add_parser("threshold", help=text))
    _add_merge(commands.add_parser("merge", help="join results of earlier runs; no image is read again"))
    train = commands.add_parser("train", help="train an autoencoder on the images of a folder")
    add_train(train)
    _add_terminal(train)
    _add_undo(commands.add_parser("undo", help="put moved files back, and delete copies and links"))
    _add_report(commands.add_parser("report", help="make a page to look at a result, opened from the disk"))
    _add_evaluate(commands.add_parser("evaluate", help="compare the clusters of a result with known groups"))
    _add_demo(commands.add_parser("demo", help="cluster a small folder of real photos and edited copies"))
    _add_info(commands.add_parser("info", help="versions, backends, instruction set, threads, GPU"))
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.set_defaults(command="run")
    add = _add_method(run, "deep")
    add("--threshold", type=_threshold, metavar="T", help=SIMILAR)
    add("--threshold-pairs", metavar="FILE", help="CSV table file_a,file_b,same: finds the threshold by them")
    _add_linkage(add, "components", "components")
    _add_deep(run)
    _add_sample(run)
    _add_places(run, "FOLDER_clustered beside FOLDER")
    add = run.add_argument_group("how").add_argument
    add("--merge", choices=MERGES, default="representatives", help="how batches are joined (representatives)")
    add("--batch-size", type=int, metavar="N", help="images a batch (what fits into the memory)")
    add("--memory", metavar="SIZE", help="such as 2G (a quarter of the machine's)")
    _add_engine(run)
    _add_terminal(run)


def _add_method(command: argparse.ArgumentParser, *others: str) -> Callable[..., Any]:
    command.add_argument("folder", metavar="FOLDER", help="the images; every file in it is tried")
    add = command.add_argument_group("what is similar").add_argument
    names = [*METHODS, *ALIASES, *others]
    add("--method", choices=names, default="imagehash", metavar="M", help=f"{', '.join(names)} (imagehash)")
    add("--size", type=_size, metavar="WxH", help="common size of the images: ssim, minhash, orb, tm")
    add("--scale", type=float, metavar="F", help="instead of a size: F times their own: ssim, orb, tm")
    add("--hash-size", type=int, metavar="N", help="bits a side of the hash, 8 to 64: imagehash")
    add("--orb-rule", choices=RULES, help="what makes a match good: orb")
    add("--decode", choices=DECODES, default="exact", help="fast: large JPEGs at 1/2, 1/4 or 1/8 (exact)")
    add("--recursive", action="store_true", help="take the images of subfolders too")
    return add


def _add_deep(run: argparse.ArgumentParser) -> None:
    add = run.add_argument_group("what a network sees, and how that is grouped: deep").add_argument
    text = "autoencoder (trained on the images), efficientnet-lite0, or the file of a model (autoencoder)"
    add("--embedding", default="autoencoder", metavar="E", help=text)
    add("--model", metavar="FILE", help="an autoencoder that train made, in place of training one")
    text = "options of train for the autoencoder, such as loss=perceptual epochs=100"
    add("--training", nargs="+", type=_setting, action=_Settings, metavar="NAME=VALUE", help=text)
    text = "cluster models and lists of their parameters, such as kmeans:n_clusters=5,10 dbscan:eps=0.3,0.5"
    add(
        "--models",
        nargs="+",
        action="extend",
        metavar="MODEL",
        help=f"{text} (a grid that follows the number of images)",
    )
    add("--selection", choices=choices.RULES, help=f"how the best model is found ({choices.RULES[0]})")
    add("--pca", type=int, metavar="N", help="group so many principal components of the embeddings (all)")
    add("--whiten", action="store_true", help="divide them by their standard deviations")
    add("--device", choices=choices.DEVICES, default="auto", help="auto: cuda, else mps, else cpu (auto)")


def _add_sample(command: argparse.ArgumentParser) -> Callable[..., Any]:
    add = command.add_argument_group("the threshold curve").add_argument
    add("--sample", type=int, default=2000, metavar="N", help="images that are compared with all (2000)")
    add("--seed", type=int, default=0, metavar="N", help="which ones they are (0)")
    add("--ui", choices=("auto", *VIEWS), default="auto", help="how it is shown to you (auto)")
    return add


def _add_threshold(threshold: argparse.ArgumentParser) -> None:
    threshold.set_defaults(command="threshold")
    add = _add_method(threshold, "deep")
    text = "what deep compares: efficientnet-lite0, or the file of a model (efficientnet-lite0)"
    add("--embedding", metavar="E", help=text)
    add = _add_sample(threshold)
    add("--html", type=Path, metavar="FILE", help="save it as a page to open in a browser")
    add("--png", type=Path, metavar="FILE", help="save it as a picture: .png, .svg or .pdf")
    add("--csv", type=Path, metavar="FILE", help="save its numbers as a table")
    add = threshold.add_argument_group("with what").add_argument
    add("--threads", type=int, default=0, metavar="N", help="0 for all cores (0)")
    add("--backend", choices=("auto", *BACKENDS), default="auto", help="what scores the pairs (auto)")
    _add_terminal(threshold, "the curve as JSON on standard output")


def _add_merge(merge: argparse.ArgumentParser) -> None:
    merge.set_defaults(command="merge")
    merge.add_argument("results", nargs="+", metavar="RESULT", help="result folders of one method")
    add = merge.add_argument_group("what is similar").add_argument
    add("--threshold", type=float, metavar="T", help="similar means score > T (that of the results)")
    _add_linkage(add, None, "that of the results")
    choices = [how for how in MERGES if how != "no"]
    add("--merge", choices=choices, default="representatives", help="what is compared (representatives)")
    _add_places(merge, "RESULT_merged beside the first")
    _add_engine(merge)
    _add_terminal(merge)


def _add_linkage(add: Callable[..., Any], default: str | None, shown: str) -> None:
    add("--linkage", choices=LINKAGES, default=default, help=f"stricter ones against chains ({shown})")
    add("--must-link", metavar="FILE", help="CSV table file_a,file_b: images that belong together")
    add("--cannot-link", metavar="FILE", help="CSV table file_a,file_b: images to be kept apart")


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
    add("--report", action="store_true", help="make the page to look at the result in DIR/report/")
    return add


def _add_engine(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("with what").add_argument
    add("--threads", type=int, default=0, metavar="N", help="0 for all cores (0)")
    choices = ("auto", *BACKENDS)
    add("--backend", choices=choices, default="auto", help="what scores the pairs (auto)")
    add("--strict", action="store_true", help="exit with 1 if files were skipped")


def _add_undo(undo: argparse.ArgumentParser) -> None:
    undo.set_defaults(command="undo")
    undo.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    _add_terminal(undo)


def _add_report(report: argparse.ArgumentParser) -> None:
    report.set_defaults(command="report")
    report.add_argument("result", type=Path, metavar="RESULT", help="a result folder of run or merge")
    report.add_argument("--out", type=Path, metavar="DIR", help="folder of the page (RESULT/report)")
    report.add_argument(
        "--no-thumbnails",
        dest="thumbnails",
        action="store_false",
        help="show the files themselves: quick to make, slow to look at",
    )
    report.add_argument(
        "--thumbnail-size", type=int, default=160, metavar="N", help="pixels of the longer side (160)"
    )
    report.add_argument("--threads", type=int, default=0, metavar="N", help="0 for all cores (0)")
    _add_terminal(report)


def _add_terminal(
    command: argparse.ArgumentParser, json: str = "the summary as JSON on standard output"
) -> None:
    add = command.add_argument_group("terminal").add_argument
    add("--quiet", action="store_true", help="no progress, no summary")
    add("--verbose", action="store_true", help="times of the stages; where an error came from")
    add("--json", action="store_true", help=json)


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.set_defaults(command="evaluate")
    evaluate.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    evaluate.add_argument(
        "labels", type=Path, metavar="LABELS", help="CSV table with columns file,group; or another result"
    )
    evaluate.add_argument("--json", action="store_true", help="as JSON on standard output")


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.set_defaults(command="demo")
    demo.add_argument(
        "--out", type=Path, default=Path("clusterimg_demo"), metavar="DIR", help="(clusterimg_demo)"
    )
    names = [*METHODS, *ALIASES]
    demo.add_argument("--method", choices=names, default="imagehash", metavar="M", help=", ".join(names))
    _add_terminal(demo)


def _add_info(info: argparse.ArgumentParser) -> None:
    info.set_defaults(command="info")
    info.add_argument("--json", action="store_true", help="as JSON on standard output")


def _threshold(text: str) -> float | str:
    if text in WAYS:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted a number, {' or '.join(WAYS)}, got {text}") from None


class _Settings(argparse.Action):
    """Makes a dictionary of NAME=VALUE, with the types that the options of train have."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Have the parser of train read them."""
        name = f"{parser.prog} --training"
        train = argparse.ArgumentParser(prog=name, add_help=False, usage="NAME=VALUE …", allow_abbrev=False)
        add_train(train)
        given = [word for name, value in values for word in (f"--{name}", value)]
        found, unknown = train.parse_known_args(["", "--out", "", *given])
        if unknown:
            known = ", ".join(sorted(set(vars(found)) - _NOT_OF_RUNS))
            parser.error(f"argument {option_string}: there is no {unknown[0].lstrip('-')}; there are {known}")
        names = [name.replace("-", "_") for name, _ in values]
        before = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**before, **{name: vars(found)[name] for name in names}})


_NOT_OF_RUNS = {"command", "images", "out", "recursive", "resume", "overwrite"}


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE such as epochs=100, got {text}")
    return name.replace("_", "-"), value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"wanted WIDTHxHEIGHT such as 64x64, got {text}")
    return int(width), int(height)
