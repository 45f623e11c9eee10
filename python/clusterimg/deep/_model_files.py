"""The files of a training: the model, its plots beside it, and what is there until it is done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .._files import write_error
from .._names import escape_name
from ..errors import ModelError, UsageError

__all__ = ["ModelFiles"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a training writes to.

    model : the file that was asked for
    is_kept : False where nobody asked for files: then only `pictures` is written
    """

    model: Path
    is_kept: bool = True

    @property
    def table(self) -> Path:
        """Losses of each epoch, as CSV."""
        return self._beside("_loss.csv")

    @property
    def curve(self) -> Path:
        """Losses of each epoch, as a picture."""
        return self._beside("_loss.png")

    @property
    def reconstructions(self) -> Path:
        """Validation images and what the network makes of them."""
        return self._beside("_reconstructions.png")

    @property
    def state(self) -> Path:
        """What an unfinished training can go on from."""
        return self.model.with_name(f"{self.model.name}.state")

    @property
    def pictures(self) -> Path:
        """The pictures, mapped while the training goes on."""
        return self.model.with_name(f"{self.model.name}.pictures")

    def lasting(self) -> tuple[Path, ...]:
        """Return the files that stay."""
        return (self.model, self.table, self.curve, self.reconstructions)

    def own_names(self) -> frozenset[str]:
        """Return the real paths of all, which are no images to train on."""
        return frozenset(os.path.realpath(path) for path in (*self.lasting(), self.state, self.pictures))

    @contextmanager
    def held(self, *, resume: bool, overwrite: bool) -> Iterator[ModelFiles]:
        """Hold the files for this process; afterwards, only those that should stay are there.

        Raises
        ------
        UsageError : they are there and nobody said what to do, or there is nothing to go on with
        ModelError : the folder can't be written to, or another process trains to the same file
        """
        self._check(resume=resume, overwrite=overwrite)
        try:
            self.model.parent.mkdir(parents=True, exist_ok=True)
            stream = self.pictures.open("ab")
        except OSError as error:
            raise ModelError(str(write_error(self.pictures, error))) from error
        with stream:
            self._lock(stream.fileno())
            if overwrite and not resume:
                self.state.unlink(missing_ok=True)
            try:
                yield self
                self.state.unlink(missing_ok=True)
            finally:
                with suppress(OSError):
                    self.pictures.unlink(missing_ok=True)

    def _check(self, *, resume: bool, overwrite: bool) -> None:
        shown = escape_name(str(self.model))
        if self.model.is_dir():
            raise UsageError(f"out must be the file of the model, such as photos.pt, got the folder {shown}")
        if self.state.exists():
            if resume or overwrite:
                return
            text = "has an unfinished training: --resume goes on with it, --overwrite begins anew"
            raise UsageError(f"{shown} {text}")
        there = [path for path in self.lasting() if path.exists()]
        if there and not overwrite:
            text = "is there already: --overwrite replaces it, or give another --out"
            finished = " (the training is finished, there is nothing to resume)" * (
                resume and self.model.exists()
            )
            raise UsageError(f"{escape_name(str(there[0]))} {text}{finished}")

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = "is being trained by another process: wait for it, or give another --out"
            raise ModelError(f"{escape_name(str(self.model))} {text}") from None
        except OSError:  # a file system without locks is trusted not to be used twice at once
            pass

    def _beside(self, ending: str) -> Path:
        stem = self.model.stem or self.model.name
        return self.model.with_name(stem + ending)
