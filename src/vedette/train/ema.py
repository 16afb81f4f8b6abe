"""The running average of the weights, which is what gets measured, saved and used.

Specification training.md section 8: after update ``u`` the decay is ``decay * (1 - exp(-u / ramp))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from vedette.errors import CheckpointError

PUBLISHED_DECAY = 0.9999
PUBLISHED_RAMP = 2000.0
_LONGEST_MEMORY = 1 / (1 - PUBLISHED_DECAY)  # optimizer steps
_MEMORY_PER_ROOT_STEP = 18.0


def fitted_average(optimizer_steps: int, decay: float = 0.0, ramp: float = 0.0) -> tuple[float, float]:
    """Decay and ramp for a run of ``optimizer_steps``; a value above 0 is kept as it is given.

    The memory of the average, 1 / (1 - decay) steps, grows with the square root of the run's length up to the
    published 10,000, and the ramp is a fifth of it. Two runs anchor the rule: 780 steps did well with a memory of
    500 and a ramp of 100; the published 10,000 and 2000 were chosen for some 500,000 steps.
    """
    memory = min(_LONGEST_MEMORY, _MEMORY_PER_ROOT_STEP * math.sqrt(max(optimizer_steps, 1)))
    ratio = PUBLISHED_RAMP / _LONGEST_MEMORY
    return (decay or 1 - 1 / memory), (ramp or memory * ratio)


class WeightAverage:
    """Float32 average of every floating entry of a model's state dict; other entries are copied.

    Attributes:
        tensors: the average by state-dict name: float32 for floating entries, on the model's devices.
        updates: how many models went in.
        decay: final decay, 0 <= decay < 1.
        ramp: updates over which the decay rises; 0 = at once.
    """

    def __init__(self, model: nn.Module, *, decay: float, ramp: float) -> None:
        self.decay = decay
        self.ramp = ramp
        self.updates = 0
        self.tensors = {name: _own_copy(tensor) for name, tensor in model.state_dict().items()}
        floating = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        copied = [name for name, tensor in self.tensors.items() if not tensor.is_floating_point()]
        self._model = model
        self._floating = [(self.tensors[name], *_place(model, name)) for name in floating]
        self._copied = [(self.tensors[name], *_place(model, name)) for name in copied]

    def current_decay(self) -> float:
        """The decay of the latest update."""
        return self.decay * (1 - math.exp(-self.updates / self.ramp)) if self.ramp > 0 else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Mix the model in. The caller has made sure that its weights are finite.

        Args:
            model: the model of the constructor, after an optimizer step.

        Raises:
            ValueError: it is another model.
        """
        if model is not self._model:
            raise ValueError("the average belongs to another model")
        self.updates += 1
        # v + (1 - d)(m - v): entries that never change, such as anchors, keep their bits. One call for all
        # tensors, found by module and attribute: state_dict() alone would take as long as the arithmetic.
        torch._foreach_lerp_(
            [average for average, _, _ in self._floating],
            [_as_float32(getattr(module, attribute)) for _, module, attribute in self._floating],
            1 - self.current_decay(),
        )
        if self._copied:
            torch._foreach_copy_(
                [copy for copy, _, _ in self._copied],
                [getattr(module, attribute) for _, module, attribute in self._copied],
            )

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Write the average into another model of the same architecture, for measuring and saving."""
        model.load_state_dict(self.tensors)

    def state(self) -> dict[str, torch.Tensor]:
        """All that resume needs besides ``updates``: the tensors themselves, not copies."""
        return dict(self.tensors)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor], updates: int) -> None:
        """Take up a saved average.

        Raises:
            CheckpointError: names or shapes differ from the model's, or ``updates`` is negative.
        """
        if updates < 0:
            raise CheckpointError("is negative", where="updates of the weight average")
        if tensors.keys() != self.tensors.keys():
            different = sorted(tensors.keys() ^ self.tensors.keys())
            raise CheckpointError(
                f"{len(different)} entries of the weight average do not fit the model: "
                + ", ".join(different[:5]),
                fix="resume with the model the run was started with",
            )
        for name, tensor in self.tensors.items():
            if tensors[name].shape != tensor.shape:
                raise CheckpointError(
                    f"has shape {list(tensors[name].shape)}, the model has {list(tensor.shape)}",
                    where=f"weight average: {name}",
                )
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        self.updates = updates


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module and attribute behind a state-dict name; asked anew each time, the tensor itself may be replaced."""
    module_name, _, attribute = name.rpartition(".")
    return model.get_submodule(module_name), attribute


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype is torch.float32 else tensor.float()


def _own_copy(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()
    return copied.float() if copied.is_floating_point() else copied
