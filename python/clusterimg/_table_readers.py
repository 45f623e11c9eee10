"""The tables of a result folder, read back: clusters and the run.

A damaged file is a `ResultError` that names it, and the line or what was wanted and what came. A
person may have edited these files, or their disk may have; nothing else ever comes of that.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ._names import escape_name, unescape_name
from .errors import ResultError

__all__ = [
    "CLUSTERS",
    "CLUSTER_COLUMNS",
    "RUN",
    "ClustersTable",
    "parse_json",
    "read_clusters",
    "read_clusters_table",
    "read_error",
    "read_run",
    "read_table",
]

CLUSTERS = "clusters.csv"
CLUSTER_COLUMNS = ("file", "cluster", "batch", "batch_cluster", "representative", "score", "target")
RUN = "run.json"

_RUN_OBJECTS = ("parameters", "method_parameters", "image_policy", "counts", "versions")
_NUMBER = re.compile("-1|[0-9]{1,10}")  # int() alone takes spaces, underscores and digits of any script
_MAX_NUMBER = np.iinfo(np.int32).max
_MAX_DIGITS = 20  # of a 64-bit number; Python's own limit is thousands, and it is slow before that
_SHOWN = 60  # characters of a damaged file that an error repeats


def read_error(path: Path, error: OSError) -> ResultError:
    """Return the `ResultError` that names `path` and says why the system can't read it."""
    return ResultError(f"can't read {escape_name(str(path))}: {error.strerror or error}")


# Clusters


@dataclass(frozen=True, slots=True)
class ClustersTable:
    """What `clusters.csv` says of the `n` images of a result, in its order.

    files : their paths relative to FOLDER, as the file system has them; no two the same
    labels, batch_labels : (n,) int32, cluster in the result and in its batch, below `n`; -1 for an outlier
    batches : (n,) int32, batch of each image from 0; numbers are left out where a batch held no image
    targets : paths relative to the result folder; empty for a file that was not handed over
    """

    files: tuple[str, ...]
    labels: NDArray[np.int32]
    batches: NDArray[np.int32]
    batch_labels: NDArray[np.int32]
    targets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


def read_clusters_table(result: Path) -> ClustersTable:
    """Return what `clusters.csv` of the folder `result` says.

    Raises
    ------
    ResultError
        There is no such table in `result`, or it is damaged; the text names it and the line. A file
        or target that is no path below its folder counts as damage: nobody is led outside.
    """
    path = result / CLUSTERS
    files: dict[str, None] = {}
    numbers: list[tuple[int, int, int, int]] = []
    targets: list[str] = []
    for line, cells in read_table(path, ("file", "cluster", "batch", "batch_cluster", "target")):
        file, cluster, batch, batch_cluster, target = cells
        _add(files, _path_below(file, path, line, "file"), None, path, line)
        numbers.append(
            (
                line,
                _number(cluster, path, line, "cluster"),
                _number(batch, path, line, "batch", least=0),
                _number(batch_cluster, path, line, "batch_cluster"),
            )
        )
        targets.append(target and _path_below(target, path, line, "target"))
    lines, labels, batches, batch_labels = np.array(numbers, np.int64).reshape(-1, 4).T
    # Clusters are numbered without gaps. Whoever counts by their numbers must not meet a huge one.
    for column, values in (("cluster", labels), ("batch_cluster", batch_labels)):
        for k in np.flatnonzero(values >= len(files))[:1]:
            raise _damaged(
                path, int(lines[k]), f"{column} must be below the {len(files)} images, got {values[k]}"
            )
    return ClustersTable(
        tuple(files),
        labels.astype(np.int32),
        batches.astype(np.int32),
        batch_labels.astype(np.int32),
        tuple(targets),
    )


def read_clusters(result: Path) -> tuple[list[str], NDArray[np.int32]]:
    """Return the files and their clusters (int32, -1 for an outlier) from `clusters.csv`.

    Raises
    ------
    ResultError
        There is no such table in `result`, or it is damaged; the text names it and the line.
    """
    path = result / CLUSTERS
    labels: dict[str, int] = {}
    for line, (name, cluster) in read_table(path, ("file", "cluster")):
        _add(labels, unescape_name(name), _number(cluster, path, line, "cluster"), path, line)
    return list(labels), np.fromiter(labels.values(), np.int32, len(labels))


def _add(of_file: dict[str, Any], file: str, value: object, path: Path, line: int) -> None:
    if file in of_file:
        raise _damaged(path, line, f"{_shown(file)} is listed twice")
    of_file[file] = value


def _number(text: str, path: Path, line: int, column: str, *, least: int = -1) -> int:
    number = int(text) if _NUMBER.fullmatch(text) else least - 1
    if not least <= number <= _MAX_NUMBER:
        wanted = f"-1 or a {column} number" if least < 0 else f"a {column} number"
        raise _damaged(path, line, f"{column} must be {wanted}, got {_shown(text)}")
    return number


def _path_below(shown: str, path: Path, line: int, column: str) -> str:
    """Return the name shown as `shown` if it is the relative path of something inside a folder."""
    name = unescape_name(shown)
    if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise _damaged(path, line, f"{column} must be a path inside its folder, got {_shown(name)}")
    return name


# Any table


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line number and the cells of `columns` for each row of the CSV table `path`.

    Other columns are passed over, empty lines and a byte order mark too.

    Raises
    ------
    ResultError
        The file can't be read, is not UTF-8, lacks a column, or a row has too few or too many
        cells; the text names the file and the line.
    """
    line = 1  # the first one of the row that is read
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if not set(columns) <= set(header):
                came = _shown(",".join(header))
                raise _damaged(path, 1, f"the header must have {', '.join(columns)}, got {came}")
            positions = [header.index(column) for column in columns]
            line = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise _damaged(
                        path, line, f"expected {len(header)} cells as in the header, got {len(row)}"
                    )
                if row:
                    yield line, tuple(row[position] for position in positions)
                line = reader.line_num + 1
    except OSError as error:
        raise read_error(path, error) from error
    except UnicodeDecodeError as error:  # text is decoded ahead of its rows
        raise _damaged(path, line, f"not UTF-8 text, here or below: {error.reason}") from error
    except csv.Error as error:
        raise _damaged(path, line, f"not a CSV table: {error}") from error


def _damaged(path: Path, line: int, what: str) -> ResultError:
    return ResultError(f"{escape_name(str(path))}, line {line}: {what}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


# The run


def read_run(result: Path) -> dict[str, Any]:
    r"""Return what `run.json` of the folder `result` holds: what `write_run` was given.

    `parameters`, `method_parameters`, `image_policy`, `counts` and `versions` are objects; what they
    hold is for their user to check. An undecodable byte in a text is `\udcNN`, as in any path.

    Raises
    ------
    ResultError
        There is no such file in `result`, or it is damaged; the text names it.
    """
    path = result / RUN
    try:
        run = parse_json(path.read_bytes())
    except OSError as error:
        raise read_error(path, error) from error
    except ValueError as error:
        raise ResultError(f"{escape_name(str(path))}: {error}") from error
    if not isinstance(run, dict):
        raise ResultError(f"{escape_name(str(path))}: expected an object, got {type(run).__name__}")
    for name in _RUN_OBJECTS:
        if not isinstance(run.get(name), dict):
            came = type(run[name]).__name__ if name in run else "none"
            raise ResultError(f"{escape_name(str(path))}: {name} must be an object, got {came}")
    return run


def parse_json(data: bytes) -> Any:
    r"""Return the value of the JSON text `data`, one that can be written again.

    Raises
    ------
    ValueError
        It is not JSON in UTF-8; it holds a number that is not finite, or whole and beyond 64 bits,
        or text with a surrogate that stands for no byte; or it is nested too deeply.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8 text: {error.reason}") from error
    except UnicodeEncodeError as error:
        raise ValueError("not JSON: a text in it is not Unicode") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("not JSON of ours: nested too deeply") from error
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"not JSON: {word} is no number")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"expected a number of 64 bits, got {_shown(text)}")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {_shown(text)}")
    return number
