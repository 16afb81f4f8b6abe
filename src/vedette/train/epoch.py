"""One epoch: batches in, optimizer steps out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import Batch
from vedette.core.unit_range import unit_range
from vedette.errors import DivergedError
from vedette.loss.detection_loss import DetectionLoss
from vedette.track.events import StepDone
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.distributed.sharing import share_step
from vedette.train.events import Emitter
from vedette.train.interruption import StopRequest
from vedette.train.multi_scale import MultiScale
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
        gradient_clip: longest norm of the gradient of an optimizer step; 0: no limit.
        multi_scale: changes the size of the frames batch by batch; None: they stay as they come.
        pictures_per_frame: the loss of a batch is multiplied by it, so that it counts pictures where one frame
            holds several.
        ranks: this process among those of the run.
        picture_format: of the batches.
    """

    loss: DetectionLoss
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype
    picture_name: Callable[[int], str]
    gradient_clip: float = 0.0
    multi_scale: MultiScale | None = None
    pictures_per_frame: int = 1
    ranks: Ranks = ALONE
    picture_format: PictureFormat = RGB8


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
        DivergedError: too many steps in a row had non-finite gradients, or the state is not finite after all.
    """
    progress, schedule = state.progress, rules.schedule
    state.model.train()
    clock, pending, pictures = _Clock(), _PendingLosses(rules.ranks, state), list[int]()
    end = (progress.step // schedule.batches_per_epoch + 1) * schedule.batches_per_epoch
    while progress.step < end:
        began = time.monotonic()
        batch = next(batches)
        progress.sums.waited += time.monotonic() - began
        settings = schedule.at(progress.step)
        if settings.clears_gradients:
            state.optimizer.zero_grad(set_to_none=True)
        apply_settings(state.optimizer, settings.learning_rates, settings.momentum)
        pending.add(_forward_backward(rules, state, batch), len(batch.image_numbers))
        pictures += batch.image_numbers.tolist()
        if settings.steps:
            pending.share()
            if not _optimizer_step(rules, state, pictures):
                _note_skipped(rules, state, pictures, emitter)
            pictures.clear()
        _count(state, batch, time.monotonic() - began)
        if time.monotonic() - clock.shown > _PROGRESS_SECONDS or progress.step == end:
            pending.collect()
            emitter.emit(_step_done(rules, state))
            clock.shown = time.monotonic()
        if settings.steps and progress.step < end:
            due = save_seconds > 0 and time.monotonic() - clock.saved > save_seconds
            stopped, due = stop.agreed(rules.ranks, due)
            if stopped or due:
                pending.collect()
                state.require_finite()
                save()
                clock.saved = time.monotonic()
            if stopped:
                return False
    pending.share()
    pending.collect()
    state.buffers.repair(state.model)
    state.require_finite()
    return True


def _forward_backward(rules: StepRules, state: TrainState, batch: Batch) -> torch.Tensor:
    """Add the batch's gradients; returns the loss items [3] on the device, without waiting for them."""
    images = unit_range(batch.images, rules.picture_format, rules.device)
    if rules.multi_scale is not None:
        images = rules.multi_scale.scaled(images, state.progress.step)
    state.progress.sums.frame_width = images.shape[3]
    targets = batch.targets.to(rules.device, non_blocking=True)
    with torch.autocast(rules.device.type, dtype=rules.dtype, enabled=rules.dtype != torch.float32):
        levels = state.model(images)
    ignored = batch.ignored.to(rules.device, non_blocking=True)
    labelled = None
    if batch.labelled is not None:
        labelled = batch.labelled.to(rules.device, non_blocking=True)
    total, items = rules.loss(levels, targets, ignored, labelled)
    state.scaler.scale(total * rules.pictures_per_frame).backward()  # type: ignore[no-untyped-call]
    return items


def _optimizer_step(rules: StepRules, state: TrainState, pictures: list[int]) -> bool:
    """Step and update the average, unless a gradient is not finite; returns whether it did."""
    progress = state.progress
    state.scaler.unscale_(state.optimizer)
    norm = gradient_norm(state.model)
    sound = math.isfinite(norm)
    if sound:
        clip_gradients(state.model, norm, rules.gradient_clip)
        state.scaler.step(state.optimizer)
        state.average.update(state.model)
        state.buffers.keep(state.model)
        progress.optimizer_steps += 1
        progress.skipped_in_a_row = 0
    else:
        # The forward pass has already mixed the bad batch into the statistics of the normalization layers.
        state.buffers.put_back(state.model)
        progress.skipped_steps += 1
        # A scaled loss that overflows is the scale's fault until the scale is down to nothing.
        if not state.scaler.is_enabled() or state.scaler.get_scale() <= 1.0:
            progress.skipped_in_a_row += 1
        if progress.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise DivergedError(
                f"gradients were not finite {MAX_SKIPPED_IN_A_ROW} times in a row, last at iteration "
                f"{progress.step} with {_names(rules, pictures)}",
                fix="look at these pictures and labels, lower --lr0, or use --precision float32",
            )
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    return sound


def _note_skipped(rules: StepRules, state: TrainState, pictures: list[int], emitter: Emitter) -> None:
    """Name the pictures of a step that was left out, the first few times.

    With float16 it is no news: the scale of the loss is found by going too far.
    """
    progress = state.progress
    if not state.scaler.is_enabled() and progress.skipped_steps <= MAX_SKIPPED_IN_A_ROW:
        emitter.note(
            f"the optimizer step of iteration {progress.step} is left out, its gradients are not finite: "
            + _names(rules, pictures),
            "warning",
        )


def _names(rules: StepRules, pictures: list[int]) -> str:
    return ", ".join(rules.picture_name(number) for number in pictures[:16])


def gradient_norm(model: nn.Module) -> float:
    """Euclidean norm of all gradients together; inf or nan if one of them is."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not gradients:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


@torch.no_grad()
def clip_gradients(model: nn.Module, norm: float, limit: float) -> None:
    """Shorten all gradients together, of the given norm, to ``limit``; 0 is no limit."""
    if 0 < limit < norm:
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        torch._foreach_mul_(gradients, limit / norm)


def _count(state: TrainState, batch: Batch, seconds: float) -> None:
    progress = state.progress
    progress.step += 1
    progress.seconds += seconds
    progress.sums.seconds += seconds
    progress.sums.targets = len(batch.targets)


class _PendingLosses:
    """Loss items and picture counts of batches that are not yet part of the epoch's sums.

    They stay on the device, since fetching each one would make a GPU wait, and are added up over all ranks along
    with the gradients.
    """

    def __init__(self, ranks: Ranks, state: TrainState) -> None:
        self._ranks, self._state = ranks, state
        self._own: list[torch.Tensor] = []
        self._shared: list[torch.Tensor] = []

    def add(self, items: torch.Tensor, pictures: int) -> None:
        """Take the items [3] of a batch, or of this rank's part of it, and how many pictures it had."""
        row = nn.functional.pad(items, (0, 1), value=float(pictures))  # no copy from the host: no waiting
        (self._shared if self._ranks.world_size == 1 else self._own).append(row)

    def share(self) -> None:
        """Make gradients, statistics and rows since the last call those of the whole batches."""
        if self._own:
            rows = torch.stack(self._own)
            share_step(self._ranks, self._state, rows)
            self._shared += rows
            self._own.clear()

    def collect(self) -> None:
        """Add what is pending to the epoch's sums, in order: the sums do not depend on when this is called."""
        if not self._shared:
            return
        progress, sums = self._state.progress, self._state.progress.sums
        for *items, pictures in torch.stack(self._shared).tolist():
            if all(map(math.isfinite, items)):
                sums.losses = [total + value for total, value in zip(sums.losses, items, strict=True)]
            else:
                sums.broken_batches += 1
            sums.batches += 1
            sums.pictures += round(pictures)
            progress.images_seen += round(pictures)
        self._shared.clear()


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
