"""Coverage-guided fuzzing (atheris) of every reader of our own files.

    python tests/fuzz/fuzz_readers.py [--seconds 60] [TARGET …]

Each target gets its share of the seconds, in a process of its own, from the seeds of `seeds.py`. A
reader gives a value, or a `ResultError` that names its file. Any other exception, a crash of a
library, an input that takes 10 seconds, a process beyond 1 GiB: exit code 1, and the input is shown,
and kept in the working folder as `TARGET-crash-…`, `-timeout-…` or `-oom-…`. To run it again:

    python tests/fuzz/fuzz_readers.py --child TARGET FILE
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clusterimg"]):
    from clusterimg import _manifest, _names, _similarities, _table_readers, _tables, errors, evaluation

import seeds

from clusterimg._types import EDGE_DTYPE

WORDS = (
    *("NaN", "1e999", "-Infinity", "9" * 24, r"\ud83d\ude00", r"\udcff", r"\ud800", "[" * 99, "null", "{}"),
    *('"counts":', '"parameters":', '"op":', '"target":', '"source":', '"size":', '"version":'),
    *(",-1", ",2147483648", r"\x00", r"\x2f", "..", '""', "\r\n", "\ufeff", "cluster", "file", "group"),
)
LEAST = 1000  # inputs a target must have seen: some 1 % of what 10 seconds are good for


# Readers: each looks at what it was given as far as others rely on it


def read_clusters(path: Path) -> None:
    files, labels = _table_readers.read_clusters(path.parent)
    assert len(files) == len(set(files)) == len(labels)
    table = _table_readers.read_clusters_table(path.parent)
    assert list(table.files) == files
    assert (table.labels == labels).all()
    assert (labels < len(files)).all()
    assert len(table.targets) == len(table.batches) == len(table.batch_labels) == len(files)


def read_labels(path: Path) -> None:
    result = path.with_name("known")
    if not result.exists():
        result.mkdir()
        (result / "clusters.csv").write_text("file,cluster\na.jpg,0\nb c.jpg,0\n")
    evaluation.evaluate(result, path)


def read_run(path: Path) -> None:
    run = _table_readers.read_run(path.parent)
    again = path.with_name("again")
    again.mkdir(exist_ok=True)
    _tables.write_run(again, run)
    assert _table_readers.read_run(again) == run


def read_parquet(path: Path) -> None:
    edges = _similarities.read_similarities(path).edges
    assert edges.dtype == EDGE_DTYPE
    pairs = [(i, j) for i, j, _ in edges.tolist()]
    assert pairs == sorted(set(pairs))
    assert all(0 <= i < j for i, j in pairs)


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, the name of its file, its seeds, and how an input becomes that file."""

    name: str
    make_seeds: Callable[[Path], Iterator[bytes]]
    read: Callable[[Path], object]
    prepare: Callable[[bytes], bytes] = bytes


TARGETS = {
    "clusters": Target("clusters.csv", seeds.clusters, read_clusters),
    "labels": Target("labels.csv", seeds.labels, read_labels),
    "run": Target("run.json", seeds.run, read_run),
    "parquet": Target("similarities_x.parquet", seeds.parquet, read_parquet),
    "pages": Target("similarities_x.parquet", seeds.pages, read_parquet, seeds.sealed),
    "manifest": Target("manifest.jsonl", seeds.manifest, _manifest.read_manifest),
}


def child(name: str, arguments: list[str]) -> None:
    """Fuzz one target with libFuzzer's own arguments. Does not return."""
    target = TARGETS[name]
    path = Path(tempfile.mkdtemp()) / target.name
    shown = _names.escape_name(str(path))

    def one_input(data: bytes) -> None:
        path.write_bytes(target.prepare(data))
        try:
            target.read(path)
        except errors.ResultError as error:
            assert shown in str(error), f"the error does not name its file: {error}"
            assert len(str(error)) < 1000, "the error repeats the file"

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


# All of them


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; print what was done; return whether all went well."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        corpus, work, words = (Path(scratch) / part for part in ("corpus", "work", "words"))
        corpus.mkdir()
        work.mkdir()
        for k, seed in enumerate(TARGETS[name].make_seeds(work)):
            (corpus / f"seed_{k}").write_bytes(seed)
        words.write_text("".join(map(quoted, WORDS)))
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=8192"]
        options = [*limits, f"-dict={words}", f"-artifact_prefix={name}-", "-seed=1"]
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--child", name, str(corpus), *options],
            env={**os.environ, "TMPDIR": str(work)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        )
        took = time.monotonic() - start
    n = int((re.findall(r"Done (\d+) runs", done.stdout) or [0])[-1])
    features = int((re.findall(r"ft: (\d+)", done.stdout) or [0])[-1])
    well = done.returncode == 0 and n >= LEAST
    if not well:
        print(done.stdout[-5000:])
        for kept in re.findall(r"Test unit written to (\S+)", done.stdout):
            print(f"{kept}: {Path(kept).read_bytes()!r}")
    verdict = "ok" if well else "FAILED"
    print(f"{name:10} {n:9} inputs {took:6.0f} s {features:6} features  {verdict}", flush=True)
    return well


def quoted(word: str) -> str:
    """Return a line of a dictionary of libFuzzer."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"\n'


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"TARGET must be one of {', '.join(TARGETS)}, got {', '.join(unknown)}")
    share = max(asked.seconds // len(asked.targets), 1)
    failed = [name for name in asked.targets if not fuzz(name, share)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
