"""Everything a run needs to go on as if it had never stopped.

There is no generator state in it: all random choices are functions of (seed, epoch, position), see
:mod:`vedette.core.random`. What remains are the weights, their average, the optimizer's memory and a few counters.
States are written between optimizer steps only, so no gradients have to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vedette.errors import CheckpointError, DivergedError
from vedette.track.events import Row
from vedette.train.ema import WeightAverage
from vedette.train.length import Turn

_RAW, _AVERAGE, _OPTIMIZER, _SCALER = "model/", "average/", "optimizer/", "scaler/"


@dataclass
class EpochSums:
    """Running sums over the batches of the current epoch."""

    losses: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Sums of box, obj and cls over the batches in which all three are finite."""
    batches: int = 0
    broken_batches: int = 0
    """Batches in which they are not; these are in no mean."""
    pictures: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds spent waiting for pictures."""
    targets: int = 0
    """True boxes of the last batch."""
    frame_width: int = 0
    """Of the last batch, in pixels."""

    def mean_losses(self) -> dict[str, float]:
        """box, obj, cls: means over the batches so far; not a number if none had a finite loss."""
        count = max(self.batches - self.broken_batches, 1)
        if self.broken_batches and self.broken_batches == self.batches:
            return dict.fromkeys(("box", "obj", "cls"), math.nan)
        return dict(zip(("box", "obj", "cls"), (total / count for total in self.losses), strict=True))


@dataclass
class Progress:
    """The counters of a run. The only part of training that changes besides tensors."""

    step: int = 0
    """Batches done since the run began."""
    optimizer_steps: int = 0
    images_seen: int = 0
    skipped_steps: int = 0
    """Optimizer steps left out because a gradient was not finite."""
    skipped_in_a_row: int = 0
    """The last of them, without those that only lowered the scale of the loss."""
    seconds: float = 0.0
    """Time spent, over all parts of an interrupted run."""
    best_fitness: float = -1.0
    best_epoch: int = -1
    began_with: int = 0
    """Epochs that the run was started with."""
    turns: list[Turn] = field(default_factory=list)
    """Changes of the run's length, in the order they were made."""
    extended_at: int = 0
    """Epochs that were done when the user last gave the run a new length; patience starts anew there."""
    elapsed: float = 0.0
    """Seconds of wall clock, over all parts of an interrupted run, measuring and saving included."""
    closing_seconds: float = 0.0
    """The longest time that measuring and saving took after an epoch."""
    ended: str = ""
    """Why the run ended before its planned length, for people; empty: it did not."""
    class_ap: list[float] = field(default_factory=list)
    """AP of every class as measured last, 0 where it is undefined; empty before the first measurement."""
    history: list[dict[str, float | int | None]] = field(default_factory=list)
    sums: EpochSums = field(default_factory=EpochSums)

    def rows(self) -> tuple[Row, ...]:
        """The history as trackers get it."""
        return tuple(dict(row) for row in self.history)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: value for name, value in vars(self).items() if name != "sums"}
        return {**values, "sums": dict(vars(self.sums))}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Progress:
        """The inverse of :meth:`to_json`. Raises CheckpointError if a value is missing or of a wrong kind."""
        try:
            rest = dict(values)
            sums = EpochSums(**rest.pop("sums"))
            rest["turns"] = [Turn(int(step), int(epochs)) for step, epochs in rest.get("turns", [])]
            progress = cls(**rest, sums=sums)
            counts = (progress.step, progress.optimizer_steps, progress.images_seen, progress.skipped_steps)
            plausible = all(isinstance(count, int) and count >= 0 for count in counts)
        except (TypeError, KeyError, ValueError) as error:
            raise CheckpointError(f"the counters of the saved state are not readable ({error})") from None
        plausible = plausible and isinstance(progress.class_ap, list)
        if not plausible or len(sums.losses) != 3 or not isinstance(progress.history, list):
            raise CheckpointError("the counters of the saved state make no sense")
        return progress


class KeptBuffers:
    """A copy of the model's floating buffers (batch statistics) as they were after the last good step."""

    def __init__(self, model: nn.Module) -> None:
        self._kept = [buffer.detach().clone() for buffer in _floating_buffers(model)]

    @torch.no_grad()
    def keep(self, model: nn.Module) -> None:
        """Remember the buffers as they are now."""
        torch._foreach_copy_(self._kept, _floating_buffers(model))

    @torch.no_grad()
    def changes(self, model: nn.Module) -> list[torch.Tensor]:
        """What was added to each buffer since they were kept; new tensors, in float32."""
        return [
            now.float() - kept.float() for now, kept in zip(_floating_buffers(model), self._kept, strict=True)
        ]

    @torch.no_grad()
    def put_back(self, model: nn.Module, changes: Sequence[torch.Tensor] = ()) -> None:
        """Undo what was done to the buffers since they were kept, and make these ``changes`` instead."""
        torch._foreach_copy_(_floating_buffers(model), self._kept)
        for buffer, change in zip(_floating_buffers(model) if changes else (), changes, strict=True):
            buffer.add_(change)

    def repair(self, model: nn.Module) -> None:
        """Put the buffers back if one of them is not finite.

        Broken batches whose gradients never come to an optimizer step, such as those that an epoch of the published
        schedule leaves over, would otherwise stay in the statistics.
        """
        if not all_finite(_floating_buffers(model)):
            self.put_back(model)


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether floating tensors hold neither infinity nor not-a-number."""
    verdicts = [tensor.isfinite().all() for tensor in tensors]
    return not verdicts or bool(torch.stack([verdict.cpu() for verdict in verdicts]).all())


def _floating_buffers(model: nn.Module) -> list[torch.Tensor]:
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]


@dataclass
class TrainState:
    """What training changes: weights, average, optimizer, scaler, counters."""

    model: nn.Module
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    progress: Progress = field(default_factory=Progress)
    buffers: KeptBuffers = field(init=False)

    def __post_init__(self) -> None:
        self.buffers = KeptBuffers(self.model)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors of the state by name. They are the live ones: write them before training goes on."""
        result = {_RAW + name: tensor for name, tensor in self.model.state_dict().items()}
        result |= {_AVERAGE + name: tensor for name, tensor in self.average.state().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    result[f"{_OPTIMIZER}{key}/{name}"] = value
        for key, value in self.scaler.state_dict().items():
            result[_SCALER + key] = torch.tensor(float(value), dtype=torch.float64)
        return result

    def require_finite(self) -> None:
        """Make sure of weights, average, optimizer's memory and statistics before any of them is written.

        Raises:
            DivergedError: one of them holds infinity or not-a-number.
        """
        tensors = {name: tensor for name, tensor in self.tensors().items() if tensor.is_floating_point()}
        if not all_finite(tensors.values()):
            broken = next(name for name, tensor in tensors.items() if not all_finite([tensor]))
            raise DivergedError(
                f"{broken} is no longer finite after batch {self.progress.step}; nothing was written",
                fix="what was saved before is sound; start again with a lower --lr0",
            )

    def metadata(self) -> dict[str, Any]:
        """Everything else that has to be stored."""
        return {"progress": self.progress.to_json(), "average_updates": self.average.updates}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
        """Take up a saved state in place.

        Raises:
            CheckpointError: it belongs to another model or optimizer, or its counters are damaged.
        """
        self.progress = Progress.from_json(_mapping(metadata, "progress"))
        _load_weights(self.model, _under(tensors, _RAW))
        updates = metadata.get("average_updates")
        if not isinstance(updates, int):
            raise CheckpointError("the saved state does not say how often its average was updated")
        self.average.load(_under(tensors, _AVERAGE), updates)
        self._restore_optimizer(_under(tensors, _OPTIMIZER))
        self.buffers.keep(self.model)
        scaler = {key: value.item() for key, value in _under(tensors, _SCALER).items()}
        if scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict({**self.scaler.state_dict(), **_scaler_values(scaler)})

    def _restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        parameters = dict(self.model.named_parameters())
        # Adam counts its steps in a tensor, which a fused or capturable one keeps beside the parameters.
        beside = any(group.get("fused") or group.get("capturable") for group in self.optimizer.param_groups)
        for full_name, value in tensors.items():
            key, _, name = full_name.partition("/")
            parameter = parameters.get(name)
            if parameter is None or (value.dim() and value.shape != parameter.shape):
                raise CheckpointError("the optimizer's memory does not fit the model", where=full_name)
            # A fused optimizer walks parameter and memory side by side: both need the same layout.
            if value.dim():
                memory = torch.empty_like(parameter)
            else:
                memory = torch.empty_like(value, device=parameter.device if beside else "cpu")
            self.optimizer.state[parameter][key] = memory.copy_(value)


def _mapping(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = metadata.get(key)
    if not isinstance(value, dict):
        raise CheckpointError(f"the saved state lacks '{key}'")
    return value


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _load_weights(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    live = model.state_dict(keep_vars=True)
    if live.keys() != tensors.keys():
        different = sorted(live.keys() ^ tensors.keys())
        raise CheckpointError(f"{len(different)} tensors do not fit the model, such as {different[0]}")
    for name, tensor in live.items():
        if tensor.shape != tensors[name].shape:
            raise CheckpointError(
                f"has shape {list(tensors[name].shape)}, not {list(tensor.shape)}", where=name
            )
        tensor.copy_(tensors[name])


def _scaler_values(values: Mapping[str, float]) -> dict[str, float | int]:
    whole = {"growth_interval", "_growth_tracker"}
    return {key: int(value) if key in whole else value for key, value in values.items()}
