"""The training itself: steps, a look at the validation images after each epoch, the best weights kept.

All that a step does follows from the seed and the number of the step, so a training that goes on from a saved
state takes the same steps as one that was never ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ModelError
from ._examples import Examples
from ._objective import Objective, generator_for
from ._parameters import Parameters
from ._precision import in_precision
from ._schedule import Plan

if TYPE_CHECKING:
    from .autoencoder import Autoencoder

__all__ = ["SECONDS_BETWEEN_STATES", "DivergedError", "Loop", "Record"]

SECONDS_BETWEEN_STATES = 20.0
"""The state is written no more often; so much of a training is lost at most when it is killed."""

_LEAST_GAIN = 1e-3
_MOST_GRADIENT = 1.0
_STEPS_BETWEEN_LOOKS = 50
_TRAINING_VIEWS, _VALIDATION_VIEWS = 3, 4

_monotonic = time.monotonic

Weights = dict[str, torch.Tensor]


class DivergedError(ModelError):
    """The loss is no longer a number."""


@dataclass
class Record:
    """How far a training is.

    step : steps taken
    history : an entry for each look at the validation images: epochs (whole but for a last one that was cut
        short), training and validation loss, learning rate
    best : index of the best entry, or -1
    images : seen so far, each as often as it was
    reference : validation loss that the next gain is counted from
    waited : entries since the last gain
    epoch_loss, epoch_images : sum of the losses of the images of this epoch so far, and their number
    seconds : of the parts of this training before this process
    ended : why it ended: "epochs", "patience" or "budget"; "" while it goes on
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    reference: float = math.inf
    waited: int = 0
    epoch_loss: float = 0.0
    epoch_images: int = 0
    images: int = 0
    seconds: float = 0.0
    ended: str = ""


class Loop:
    """A training on its way.

    Parameters
    ----------
    network, objective, examples : what learns what from what; all on `device`
    parameters : of the training
    precision : "float32" or "mixed"
    """

    def __init__(
        self,
        network: Autoencoder,
        objective: Objective,
        examples: Examples,
        parameters: Parameters,
        *,
        device: torch.device,
        precision: str,
    ) -> None:
        self.network, self.record = network, Record()
        self._objective, self._examples, self._parameters = objective, examples, parameters
        self._device, self._precision = device, precision
        self.plan = Plan.of_epochs(parameters.epochs, examples.n_batches)
        self._best_weights: Weights = {}
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=parameters.learning_rate, fused=device.type != "mps"
        )
        # On a CPU mixed means bfloat16, whose exponents need no scaling.
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=precision == "mixed" and device.type == "cuda"
        )
        self._loss_sum = self._zero()
        self._start = self._saved_at = _monotonic()
        self._first_step, self._first_step_end = 0, 0.0

    # --- the state, to go on from ---

    def state(self) -> dict[str, Any]:
        """Return all that decides how the training goes on, as tensors and plain values."""
        self.record.epoch_loss = float(self._loss_sum)
        record = {**asdict(self.record), "seconds": self._spent()}
        return {
            "record": record,
            "plan": asdict(self.plan),
            "network": self.network.state_dict(),
            "best": self._best_weights,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.record, self.plan = Record(**state["record"]), Plan(**state["plan"])
        self.network.load_state_dict(state["network"])
        self._best_weights = {name: tensor.to(self._device) for name, tensor in state["best"].items()}
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._loss_sum = self._zero() + self.record.epoch_loss

    # --- the training ---

    def run(
        self, save: Callable[[dict[str, Any]], None] | None, progress: Callable[[int, int], None] | None
    ) -> None:
        """Train to the end, and give the network its best weights; `save` is handed states on the way.

        Raises
        ------
        DivergedError : the loss is no longer a number
        """
        self._start = self._saved_at = _monotonic()
        self._first_step = self.record.step
        while not self.record.ended:
            self._train_step()
            self._end_if_due()
            if self.record.ended or self.record.step % self.plan.per_epoch == 0:
                self._validate()
            if progress is not None:
                progress(self.record.images, self._all_images())
            if save is not None and _monotonic() - self._saved_at >= SECONDS_BETWEEN_STATES:
                self._check_loss(float(self._loss_sum))
                save(self.state())
                self._saved_at = _monotonic()
        self.record.seconds = self._spent()
        self.network.load_state_dict(self._best_weights)
        self.network.eval()

    def _train_step(self) -> None:
        record, per_epoch = self.record, self.plan.per_epoch
        epoch, number = divmod(record.step, per_epoch)
        rate = self._parameters.learning_rate * self.plan.share_of_rate(record.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        pictures = self._examples.batch(epoch, number)
        self.network.train()
        random = self._random(_TRAINING_VIEWS, epoch, number)
        with in_precision(self._precision, self._device):
            loss = self._objective(self.network, pictures, random)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), _MOST_GRADIENT)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._loss_sum += loss.detach() * len(pictures)
        record.step += 1
        record.images += len(pictures)
        record.epoch_images += len(pictures)
        # A look at the sum makes a GPU finish its work: now and then is enough to stop early.
        if self._device.type == "cpu" or record.step % _STEPS_BETWEEN_LOOKS == 0:
            self._check_loss(float(self._loss_sum))

    def _validate(self) -> None:
        """Look at all validation images, and enter what comes out."""
        record = self.record
        training = float(self._loss_sum) / record.epoch_images
        validation = self.validation_loss()
        self._check_loss(training + validation)
        epochs, rest = divmod(record.step, self.plan.per_epoch)
        share = round(rest / self.plan.per_epoch, 4)
        rate = float(self._optimizer.param_groups[0]["lr"])
        entry = {"epochs": epochs + share, "training": training, "validation": validation}
        record.history.append({**entry, "learning_rate": rate})
        if record.best < 0 or validation < record.history[record.best]["validation"]:
            record.best = len(record.history) - 1
            self._best_weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        if validation < record.reference * (1 - _LEAST_GAIN):
            record.reference, record.waited = validation, 0
        else:
            record.waited += 1
        self._loss_sum, record.epoch_loss, record.epoch_images = self._zero(), 0.0, 0
        if not record.ended and record.waited >= self._parameters.patience:
            self._lose_patience()

    def _lose_patience(self) -> None:
        """Let the learning rate fall, which is a last chance; if it falls already, end."""
        if not self.plan.can_cut(self.record.step):
            self.record.ended = "patience"
            return
        self.plan = self.plan.cut(self.record.step)
        self.record.waited = 0

    def validation_loss(self) -> float:
        """Return the mean loss of all validation images, in evaluation mode."""
        self.network.eval()
        total = self._zero()
        with torch.no_grad(), in_precision(self._precision, self._device):
            for number, pictures in enumerate(self._examples.validation_batches()):
                random = self._random(_VALIDATION_VIEWS, 0, number)
                total += self._objective(self.network, pictures, random) * len(pictures)
        return float(total) / self._examples.n_validation

    def _end_if_due(self) -> None:
        """Plan the end under a time budget, once; end when the plan or the time is at its end."""
        record, budget = self.record, self._parameters.time_budget
        assert budget is None or isinstance(budget, float)
        if budget is not None:
            if not (self.plan.is_measured or self.plan.is_cut):
                self._measure(budget)
            if self._spent() >= budget:
                record.ended = "budget"
                return
        if record.step >= self.plan.total:
            all_steps = self._parameters.epochs * self.plan.per_epoch
            early = "patience" if self.plan.is_cut else "budget"
            record.ended = "epochs" if record.step >= all_steps else early

    def _measure(self, budget: float) -> None:
        """Plan by the speed so far, as soon as it is known; the first step, which is slow, doesn't count."""
        record = self.record
        steps = record.step - self._first_step - 1
        if steps == 0:
            self._wait_for_device()
            self._first_step_end = self._spent()
        if not self.plan.can_measure(steps, self._spent(), budget):
            return
        self._wait_for_device()
        seconds = self._spent()
        per_step = (seconds - self._first_step_end) / steps
        # A look at an image costs a third of a step on it: forward, but not backward.
        share = self._examples.n_validation / self._examples.n_training
        per_check = per_step * self.plan.per_epoch * share / 3
        self.plan = self.plan.within(
            budget, done=record.step, seconds=seconds, per_step=per_step, per_check=per_check
        )

    # --- what came of it ---

    def outcome(self) -> dict[str, Any]:
        """Return why it ended, what was reached, and how fast."""
        record, best = self.record, self.record.history[self.record.best]
        return {
            "ended": record.ended,
            "epochs": record.history[-1]["epochs"],
            "steps": record.step,
            "best_epoch": best["epochs"],
            "best_validation": best["validation"],
            "n_training": self._examples.n_training,
            "n_validation": self._examples.n_validation,
            "images": record.images,
            "seconds": record.seconds,
            "images_per_second": record.images / max(record.seconds, 1e-9),
        }

    # --- small things ---

    def _spent(self) -> float:
        return self.record.seconds + _monotonic() - self._start

    def _all_images(self) -> int:
        """Return how many images will have been seen at the end, so far as is planned."""
        record = self.record
        if record.ended:
            return record.images
        return max(self._examples.n_training * self.plan.total // self.plan.per_epoch, record.images)

    def _random(self, what: int, epoch: int, number: int) -> torch.Generator | None:
        if not self._parameters.contrastive:
            return None
        return generator_for(self._device, self._parameters.seed, what, epoch, number)

    def _zero(self) -> torch.Tensor:
        dtype = torch.float32 if self._device.type == "mps" else torch.float64  # mps has no 64 bits
        return torch.zeros((), dtype=dtype, device=self._device)

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _check_loss(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        advice = f"give a lower learning_rate than {self._parameters.learning_rate:g}"
        if self._precision == "mixed":
            advice += ", or precision float32"
        raise DivergedError(
            f"the loss is {loss} after {self.record.step:,} steps, so nothing is saved: {advice}"
        )
