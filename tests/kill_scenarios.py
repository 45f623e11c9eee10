"""Commands to be killed, the folder they work on, and faults planted to see that they are found."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clusterimg as ci
from clusterimg import _handover, _manifest, batches, undoing
from clusterimg.errors import ResultError
from pictures import noisy, picture, save

ORIGINALS = ("photos", "photos_b")
N_IMAGES = 13
"""Of the first of them that can be read."""


@dataclass(frozen=True)
class World:
    """The folders of one attempt; they are at the same place for each.

    near, far : where they are; names that begin with `far` are in `far`
    """

    near: Path
    far: Path

    def __truediv__(self, name: str) -> Path:
        return (self.far if name.startswith("far") else self.near) / name

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.near, self.far

    @property
    def outs(self) -> list[Path]:
        """The result folders that are there."""
        folders = [path for root in self.roots for path in sorted(root.iterdir())]
        return [path for path in folders if path.name not in (*ORIGINALS, "elsewhere")]

    def keep(self) -> None:
        """Keep it as it is, for `reset`."""
        for root in self.roots:
            root.rename(f"{root}.kept")

    def remove(self) -> None:
        """Remove it, and what was kept."""
        for root in self.roots:
            shutil.rmtree(root)
            shutil.rmtree(f"{root}.kept")

    def reset(self) -> None:
        """Make it what it was when it was kept."""
        for root in self.roots:
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", f"{root}.kept", root], check=True)


def make_photos(world: World) -> None:
    """Write the originals: alike and unlike ones, of odd names, of one name, links, twins, and no images."""
    (world / "elsewhere").mkdir(parents=True)
    (world / "far").mkdir(parents=True)
    small = {name: picture(seed, 64, 48) for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4))}
    latin = os.fsdecode(b"a2\xe9.png")
    images = {
        "a0.png": small["a"],
        "a1\n.png": noisy(small["a"], 1),
        latin: noisy(small["a"], 2),
        "b0.png": small["b"],
        "big.png": noisy(picture(5, 400, 300), 5, 20),
        "c0.png": small["c"],
        "sub/b0.png": noisy(small["b"], 3),
        "sub/b1.png": noisy(small["b"], 4),
        "z\\x41.png": small["d"],
    }
    photos = save(world / "photos", images)
    (photos / "c_twin.png").hardlink_to(photos / "c0.png")
    save(world / "elsewhere", {"e.png": noisy(small["d"], 6)})
    (photos / "m_link.png").symlink_to("../elsewhere/e.png")
    (photos / "k_link.png").symlink_to("sub/b1.png")
    (photos / "zz_link.png").symlink_to(photos / "a0.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (photos / "empty.jpg").touch()
    (photos / "notes.txt").write_text("no image")
    save(world / "photos_b", {f"{name}_b.png": noisy(image, 9) for name, image in small.items()})
    for k, path in enumerate(sorted(world.near.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o640 if k % 2 else 0o444)
            os.utime(path, ns=(10**18 + k, 10**18 + 1001 * k))


# What the commands are


Step = Callable[[World], Any]
OPTIONS = {"batch_size": 6, "threads": 1, "recursive": True}


def run(out: str = "out", folder: str = "photos", **options: Any) -> Step:
    return lambda world: ci.run(world / folder, out=world / out, **{**OPTIONS, **options})


def merge(**options: Any) -> Step:
    return lambda world: ci.merge(
        [world / "one", world / "two"], out=world / "merged", threads=1, transfer="move", **options
    )


def undo(*outs: str) -> Step:
    """Undo results; one whose manifest has not begun is passed over, as there is nothing to undo."""

    def work(world: World) -> None:
        for name in outs:
            try:
                undone = ci.undo(world / name)
            except ResultError:
                manifest = world / name / "manifest.jsonl"
                if not manifest.exists() or b"\n" not in manifest.read_bytes():
                    continue
                raise
            if undone.kept or undone.missing:
                raise AssertionError(f"undo of {name}: {undone}")

    return work


@dataclass(frozen=True)
class Scenario:
    """A command to be killed.

    act : the command
    prepare : what is done before
    again : the same command once more; None for an undo
    resume : what makes the result that an undo took back; None for the others
    outs : the results, in the order to undo them
    has_own_reader : whether images are read in a fresh process, not in a fork
    """

    act: Step
    prepare: tuple[Step, ...] = ()
    again: Step | None = None
    resume: Step | None = None
    outs: tuple[str, ...] = ("out",)
    has_own_reader: bool = False

    @property
    def ways(self) -> tuple[str, ...]:
        """What can be done after a kill."""
        return ("undo", "again" if self.resume is None else "resume")


def first(out: str = "out", **options: Any) -> Scenario:
    return Scenario(run(out, **options), again=run(out, resume=True, **options), outs=(out,))


def taken_back(out: str = "out", **options: Any) -> Scenario:
    return Scenario(
        undo(out), prepare=(run(out, **options),), resume=run(out, resume=True, **options), outs=(out,)
    )


def other_threshold(out: str = "out", threshold: float = 0.5, **options: Any) -> Scenario:
    later = run(out, resume=True, threshold=threshold, **options)
    return Scenario(later, prepare=(run(out, **options),), again=later, outs=(out,))


PARTS = (
    run("one", transfer="move", merge="no"),
    run("two", "photos_b", transfer="move", merge="no"),
)
SCENARIOS = {
    "features, own reader": Scenario(
        run(transfer="none"), again=run(transfer="none", resume=True), has_own_reader=True
    ),
    "orb, exact merge": first(transfer="copy", method="orb", merge="exact", batch_folders=False),
    "move": first(transfer="move"),
    "move, ruled, with a report": first(transfer="move", threshold="auto", report=True),
    "move, unmerged": first(transfer="move", merge="no"),
    "move across": first("far_out", transfer="move"),
    "copy": first(transfer="copy"),
    "hardlink": first(transfer="hardlink", merge="no"),
    "symlink": first(transfer="symlink", merge="no"),
    "undo of a move": taken_back(transfer="move"),
    "undo of a move across": taken_back("far_out", transfer="move"),
    "undo of a copy": taken_back(transfer="copy", merge="no"),
    "undo of hard links": taken_back(transfer="hardlink", merge="no"),
    "undo of symbolic links": taken_back(transfer="symlink", merge="no"),
    "move, another threshold": other_threshold(transfer="move"),
    "move across, another threshold": other_threshold("far_out", transfer="move"),
    "copy, another threshold": other_threshold(transfer="copy", merge="no"),
    "copy becomes move": Scenario(
        run(transfer="move", resume=True),
        prepare=(run(transfer="copy"),),
        again=run(transfer="move", resume=True),
    ),
    "overwrite": Scenario(
        run(transfer="move", overwrite=True),
        prepare=(run(transfer="copy"),),
        again=run(transfer="move", resume=True),
    ),
    "merge of moves": Scenario(
        merge(), prepare=PARTS, again=merge(resume=True), outs=("merged", "two", "one")
    ),
    "undo of a merge": Scenario(
        undo("merged"), prepare=(*PARTS, merge()), resume=merge(resume=True), outs=("merged", "two", "one")
    ),
}


# Faults


def _source_first(source: Path, target: Path) -> None:
    content = source.read_bytes()
    source.unlink()
    target.write_bytes(content)


def _copied_in_place(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    source.unlink()


def _set(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _rare_commit(self: _manifest.Manifest, commit: Any = _manifest.Manifest.commit) -> None:
    if len(self._pending) > 30:
        commit(self)


@dataclass(frozen=True)
class Fault:
    """A way to break the program.

    plant : does it
    scenario, what : where it must show
    problem : what is said of it, a regular expression
    """

    plant: Callable[[], None]
    scenario: str
    what: str
    problem: str


def _hand_over_by(move: Callable[[Path, Path], None]) -> Callable[[], None]:
    return _set(_handover, "HAND_OVER", {**_handover.HAND_OVER, "move": move})


FAULTS = {
    "a move begins with the end of the source": Fault(
        _hand_over_by(_source_first), "move", "open result", "is lost"
    ),
    "an undo begins with the end of the source": Fault(
        _set(undoing, "move", _source_first), "undo of a move", "open original", "is lost"
    ),
    "a move copies in place": Fault(
        _hand_over_by(_copied_in_place), "move across", "write result", "exists again|: expected"
    ),
    "an undo copies in place": Fault(
        _set(undoing, "move", _copied_in_place), "undo of a move across", "write original", "not what it was"
    ),
    "the manifest comes late": Fault(
        _set(_manifest.Manifest, "commit", _rare_commit), "move", "remove original", ": expected"
    ),
    "a move that was cut off is not finished": Fault(
        _set(_handover, "finish_move", lambda source, target: True), "move", "remove original", ": expected"
    ),
    "unfinished files stay": Fault(
        _set(_manifest.Manifest, "_remove_leftovers", lambda self, out: None),
        "undo of a move across",
        "remove original",
        "clusterimg-tmp",
    ),
    "features are not found again": Fault(
        _set(batches.Store, "find", lambda self, files, stamps=None: [None] * len(files)),
        "copy",
        "rename state",
        "were reused",
    ),
}
