"""One epoch: batches in, optimizer steps out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from vedette.core.types import Batch
from vedette.errors import DivergedError
from vedette.loss.detection_loss import DetectionLoss
from vedette.track.events import StepDone
from vedette.train.events import Emitter
from vedette.train.interruption import StopRequest
from vedette.train.optimizer import apply_settings
from vedette.train.schedule import Schedule
from vedette.train.state import TrainState

MAX_SKIPPED_IN_A_ROW = 5
"""Optimizer steps with non-finite gradients that are left out before the run is given up."""

_PROGRESS_SECONDS = 0.3


@dataclass(frozen=True)
class StepRules:
    """What every step of a run has in common.

    Attributes:
        loss: (raw levels, targets) -> (total, items).
        schedule: what is in force at an iteration.
        device: where the network runs.
        dtype: arithmetic of the network's layers; the loss is computed in float32.
        picture_name: picture number -> path, for messages.
    """

    loss: DetectionLoss
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype
    picture_name: Callable[[int], str]


@dataclass
class _Clock:
    """When progress was shown and a state written last."""

    shown: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)


def train_epoch(  # noqa: PLR0913  # the parts of a run, each passed on as it is
    rules: StepRules,
    state: TrainState,
    batches: Iterator[Batch],
    emitter: Emitter,
    stop: StopRequest,
    *,
    save: Callable[[], None],
    save_seconds: float,
) -> bool:
    """Run the rest of the current epoch.

    Args:
        rules: loss, schedule, device.
        state: changed in place.
        batches: the stream of batches, at the state's step.
        emitter: gets progress a few times a second.
        stop: a request to stop is followed after the optimizer step in hand.
        save: writes the state; called between optimizer steps.
        save_seconds: call ``save`` inside the epoch when this much time has passed; 0: never.

    Returns:
        True if the epoch was finished, False if it was left on request (the state is saved then).

    Raises:
        DivergedError: too many steps in a row had non-finite gradients.
    """
    progress, schedule = state.progress, rules.schedule
    state.model.train()
    clock, pending, pictures = _Clock(), _PendingLosses(state), list[int]()
    end = (progress.step // schedule.batches_per_epoch + 1) * schedule.batches_per_epoch
    while progress.step < end:
        began = time.monotonic()
        batch = next(batches)
        progress.sums.waited += time.monotonic() - began
        settings = schedule.at(progress.step)
        if settings.clears_gradients:
            state.optimizer.zero_grad(set_to_none=True)
        apply_settings(state.optimizer, settings.learning_rates, settings.momentum)
        pending.add(_forward_backward(rules, state, batch))
        pictures += batch.image_numbers.tolist()
        if settings.steps:
            _optimizer_step(rules, state, pictures)
            pictures.clear()
        _count(state, batch, time.monotonic() - began)
        if time.monotonic() - clock.shown > _PROGRESS_SECONDS or progress.step == end:
            pending.collect()
            emitter.emit(_step_done(rules, state))
            clock.shown = time.monotonic()
        due = save_seconds > 0 and time.monotonic() - clock.saved > save_seconds
        if settings.steps and progress.step < end and (stop or due):
            pending.collect()
            save()
            clock.saved = time.monotonic()
            if stop:
                return False
    pending.collect()
    return True


def _forward_backward(rules: StepRules, state: TrainState, batch: Batch) -> torch.Tensor:
    """Add the batch's gradients; returns the loss items [3] on the device, without waiting for them."""
    images = batch.images.to(rules.device, non_blocking=True).float().div_(255)
    targets = batch.targets.to(rules.device, non_blocking=True)
    with torch.autocast(rules.device.type, dtype=rules.dtype, enabled=rules.dtype != torch.float32):
        levels = state.model(images)
    ignored = batch.ignored.to(rules.device, non_blocking=True)
    total, items = rules.loss(levels, targets, ignored)
    state.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    return items


def _optimizer_step(rules: StepRules, state: TrainState, pictures: list[int]) -> None:
    """Step and update the average, unless a gradient is not finite."""
    progress = state.progress
    state.scaler.unscale_(state.optimizer)
    if math.isfinite(gradient_norm(state.model)):
        state.scaler.step(state.optimizer)
        state.average.update(state.model)
        state.buffers.keep(state.model)
        progress.optimizer_steps += 1
        progress.skipped_in_a_row = 0
    else:
        # The forward pass has already mixed the bad batch into the statistics of the normalization layers.
        state.buffers.put_back(state.model)
        progress.skipped_steps += 1
        progress.skipped_in_a_row += 1
        if progress.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            names = ", ".join(rules.picture_name(number) for number in pictures[:16])
            raise DivergedError(
                f"gradients were not finite {MAX_SKIPPED_IN_A_ROW} times in a row, last at iteration "
                f"{progress.step} with {names}",
                fix="look at these pictures and labels, lower --lr0, or use --precision float32",
            )
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)


def gradient_norm(model: nn.Module) -> float:
    """Euclidean norm of all gradients together; inf or nan if one of them is."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not gradients:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def _count(state: TrainState, batch: Batch, seconds: float) -> None:
    progress, count = state.progress, len(batch.image_numbers)
    progress.step += 1
    progress.images_seen += count
    progress.seconds += seconds
    progress.sums.batches += 1
    progress.sums.pictures += count
    progress.sums.seconds += seconds


class _PendingLosses:
    """Loss items that are still on the device; fetching each one would make a GPU wait."""

    def __init__(self, state: TrainState) -> None:
        self._sums = state.progress.sums
        self._items: list[torch.Tensor] = []

    def add(self, items: torch.Tensor) -> None:
        self._items.append(items)

    def collect(self) -> None:
        """Add what is pending to the epoch's sums, in order: the sums do not depend on when this is called."""
        if self._items:
            for row in torch.stack(self._items).tolist():
                self._sums.losses = [
                    total + value for total, value in zip(self._sums.losses, row, strict=True)
                ]
            self._items.clear()


def _step_done(rules: StepRules, state: TrainState) -> StepDone:
    progress, sums, schedule = state.progress, state.progress.sums, rules.schedule
    left = schedule.iterations - progress.step
    epoch, inside = divmod(progress.step - 1, schedule.batches_per_epoch)
    return StepDone(
        step=progress.step,
        epoch=epoch,
        batch=inside + 1,
        losses=sums.mean_losses(),
        images_per_second=sums.pictures / max(sums.seconds, 1e-9),
        data_wait=sums.waited / max(sums.seconds, 1e-9),
        seconds_left=left * progress.seconds / max(progress.step, 1),
    )
