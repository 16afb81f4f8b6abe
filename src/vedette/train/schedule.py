"""Learning rate, momentum and accumulation of every iteration, as pure functions of its number.

Nothing is carried from one iteration to the next, so a resumed run needs only its iteration number.
Two rules (specification training.md section 6):

``published``
    The reference as it is, kept to reproduce published runs: curve by epoch, one epoch late after the warm-up;
    gradients that were accumulated when an epoch ends are thrown away.
default
    The curve is followed iteration by iteration and is continuous where the warm-up ends. Every epoch is cut into
    equal groups of batches (sizes differ by one at most), none longer than ``accumulate``, and the optimizer
    steps after each group: no gradient is ever discarded and each epoch ends with a step. During the warm-up the
    group length grows from 1 to its final value at epoch borders.

An iteration is one batch, numbered from 0 through the whole run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vedette.config.hyperparameters import Hyperparameters
from vedette.train.length import Turn, planned_epochs, progress_at

ScheduleKind = Literal["cosine", "linear"]

PUBLISHED_NOMINAL_BATCH = 64
_FITTED_NOMINAL_BATCHES = (64, 32, 16)
_ENOUGH_OPTIMIZER_STEPS = 20_000


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What is in force during one iteration.

    Attributes:
        learning_rates: of the groups normalization, decayed, bias (:data:`vedette.train.optimizer.GROUP_NAMES`).
        momentum: of SGD.
        accumulate: batches that one optimizer step is made of, at most.
        clears_gradients: gradients left over from earlier iterations are dropped before this one.
        steps: the optimizer steps after this iteration's backward pass.
    """

    learning_rates: tuple[float, float, float]
    momentum: float
    accumulate: int
    clears_gradients: bool
    steps: bool


def cosine_factor(progress: float, final: float) -> float:
    """From 1 at progress 0 to ``final`` at progress 1 along half a cosine; rises again beyond 1."""
    return (1 - math.cos(progress * math.pi)) / 2 * (final - 1) + 1


def linear_factor(progress: float, final: float) -> float:
    """From 1 at progress 0 to ``final`` at progress 1 along a line."""
    return (1 - progress) * (1 - final) + final


def fitted_nominal_batch(nominal_batch: int, batch_size: int, images_in_run: int) -> int:
    """Images per optimizer step: ``nominal_batch`` if given, else fitted to the run's length.

    The largest of 64, 32 and 16 that still leaves 20,000 optimizer steps, or 16; never less than one batch.

    Args:
        nominal_batch: 0 = fit.
        batch_size: images per batch, over all devices.
        images_in_run: epochs times images per epoch.
    """
    if nominal_batch > 0:
        return nominal_batch
    for candidate in _FITTED_NOMINAL_BATCHES:
        if images_in_run >= candidate * _ENOUGH_OPTIMIZER_STEPS:
            return max(batch_size, candidate)
    return max(batch_size, _FITTED_NOMINAL_BATCHES[-1])


def warmup_length(hyperparameters: Hyperparameters, epochs: int, batches_per_epoch: int) -> int:
    """Iterations of warm-up, bounded below and above.

    ``warmup_epochs``, but at least ``warmup_min_iterations``, and then at most ``warmup_max_fraction`` of the run
    (1 = no limit, as published).
    """
    length = max(
        round(hyperparameters.warmup_epochs * batches_per_epoch), hyperparameters.warmup_min_iterations
    )
    if hyperparameters.warmup_max_fraction < 1:
        length = min(length, int(hyperparameters.warmup_max_fraction * epochs * batches_per_epoch))
    return length


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of one run; build it with :meth:`build`.

    ``epochs`` is the length the run began with; warm-up and accumulation were fitted to it and stay. ``turns`` are
    the later changes of that length, and only bend the curve of the learning rate, see :mod:`vedette.train.length`.
    """

    epochs: int
    batches_per_epoch: int
    batch_size: int
    nominal_batch: int
    warmup_iterations: int
    initial_rate: float
    final_factor: float
    momentum: float
    warmup_momentum: float
    warmup_bias_rate: float
    kind: ScheduleKind = "cosine"
    published: bool = False
    turns: tuple[Turn, ...] = ()

    @classmethod
    def build(
        cls,
        hyperparameters: Hyperparameters,
        *,
        epochs: int,
        images_per_epoch: int,
        batch_size: int,
        kind: ScheduleKind = "cosine",
        published: bool = False,
    ) -> Schedule:
        """The schedule for a run, with the values that are 0 (= fitted) filled in.

        Args:
            hyperparameters: read under their published names.
            epochs: at least 1.
            images_per_epoch: at least 1; a last, smaller batch counts as a batch.
            batch_size: images per batch, over all devices.
            kind: shape of the learning rate.
            published: follow the reference, see the module's description.
        """
        batches_per_epoch = math.ceil(images_per_epoch / batch_size)
        return cls(
            epochs=epochs,
            batches_per_epoch=batches_per_epoch,
            batch_size=batch_size,
            nominal_batch=fitted_nominal_batch(
                hyperparameters.nominal_batch, batch_size, epochs * images_per_epoch
            ),
            warmup_iterations=warmup_length(hyperparameters, epochs, batches_per_epoch),
            initial_rate=hyperparameters.lr0,
            final_factor=hyperparameters.lrf,
            momentum=hyperparameters.momentum,
            warmup_momentum=hyperparameters.warmup_momentum,
            warmup_bias_rate=hyperparameters.warmup_bias_lr,
            kind=kind,
            published=published,
        )

    @property
    def planned_epochs(self) -> int:
        """Epochs of the whole run, as planned now."""
        return planned_epochs(self.epochs, self.turns)

    @property
    def iterations(self) -> int:
        """Batches of the whole run, as planned now."""
        return self.planned_epochs * self.batches_per_epoch

    def at(self, iteration: int) -> StepSettings:
        """What is in force during ``iteration`` (0-based)."""
        warmth = self._warmth(iteration)
        rate = self._rate(iteration)
        bias_rate = self.warmup_bias_rate + warmth * (rate - self.warmup_bias_rate) if warmth < 1 else rate
        normal_rate = warmth * rate
        momentum = self.warmup_momentum + warmth * (self.momentum - self.warmup_momentum)
        return StepSettings(
            learning_rates=(normal_rate, normal_rate, bias_rate),
            momentum=momentum if warmth < 1 else self.momentum,
            accumulate=self._accumulate(iteration),
            clears_gradients=self.published and iteration % self.batches_per_epoch == 0,
            steps=self._steps(iteration),
        )

    def optimizer_steps(self, iterations: int | None = None) -> int:
        """Optimizer steps in the first ``iterations`` of the run; in all of it by default."""
        end = self.iterations if iterations is None else iterations
        if self.published:
            return self._published_steps(end)
        epoch, inside = divmod(end, self.batches_per_epoch)
        settled = min(epoch, -(-self.warmup_iterations // self.batches_per_epoch))
        growing = sum(self._groups(number) for number in range(settled))
        whole = growing + (epoch - settled) * self._groups(epoch)
        return whole + (inside * self._groups(epoch) // self.batches_per_epoch)

    def _warmth(self, iteration: int) -> float:
        """How far the warm-up is: 0 at its first iteration, 1 at its last and ever after."""
        return min(iteration / self.warmup_iterations, 1.0) if self.warmup_iterations > 0 else 1.0

    def _rate(self, iteration: int) -> float:
        factor = cosine_factor if self.kind == "cosine" else linear_factor
        if not self.published:
            return self.initial_rate * factor(self._progress(iteration), self.final_factor)
        epoch = iteration // self.batches_per_epoch
        # The reference sets an epoch's rate at the end of the epoch, so the next one runs with it; only the
        # warm-up sets it in time, and the epoch in which it ends keeps that value.
        if epoch > self.warmup_iterations // self.batches_per_epoch:
            epoch -= 1
        return self.initial_rate * factor(self._progress(epoch * self.batches_per_epoch), self.final_factor)

    def _progress(self, iteration: int) -> float:
        return progress_at(iteration, self.epochs, self.batches_per_epoch, self.turns)

    def _accumulate(self, iteration: int) -> int:
        """Batches per optimizer step; grows with the warm-up, rounded half to even."""
        if not self.published:
            iteration -= iteration % self.batches_per_epoch
        final = self.nominal_batch / self.batch_size
        return max(1, round(1 + self._warmth(iteration) * (final - 1)))

    def _groups(self, epoch: int) -> int:
        """Optimizer steps of an epoch under the default rule."""
        return -(-self.batches_per_epoch // self._accumulate(epoch * self.batches_per_epoch))

    def _steps(self, iteration: int) -> bool:
        if self.published:
            return iteration % self._accumulate(iteration) == 0
        epoch, position = divmod(iteration, self.batches_per_epoch)
        groups = self._groups(epoch)
        return (position + 1) * groups // self.batches_per_epoch > position * groups // self.batches_per_epoch

    def _published_steps(self, end: int) -> int:
        growing = min(end, self.warmup_iterations + 1)
        steps = sum(self._steps(iteration) for iteration in range(growing))
        final = self._accumulate(self.warmup_iterations)
        return steps + (max(end - 1, growing - 1) // final - (growing - 1) // final)
