"""Stored tensors as the tensors of a detector: names, shapes and types agree, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vedette.errors import CheckpointError
from vedette.model.blocks import Conv
from vedette.model.detector import Detector

_SHOWN = 100


def fitted(tensors: Mapping[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    """The state of a detector from stored tensors; floating ones become float32.

    Args:
        tensors: by name, as stored.
        detector: without memory (on the meta device).

    Raises:
        CheckpointError: naming every tensor that is missing, unknown or misshapen.
    """
    given = unfused(tensors, detector)
    expected = detector.state_dict()
    problems = [f"missing {name}" for name in expected if name not in given]
    problems += [f"unknown {name[:100]}" for name in given if name not in expected]
    state = {}
    for name, place in expected.items():
        tensor = given.get(name)
        if tensor is None:
            continue
        same_kind = tensor.is_floating_point() == place.is_floating_point()
        if tensor.shape != place.shape or not same_kind:
            problems.append(f"{name} is {_described(tensor)} instead of {_described(place)}")
        state[name] = tensor.to(place.dtype)
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{len(problems)} tensors do not fit its layers: {'; '.join(problems[:_SHOWN])}{more}",
            where="model",
        )
    return state


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def unfused(tensors: Mapping[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    """Give every convolution that its normalisation was fused into a normalisation that adds the bias.

    With mean 0 and scale 1 over a deviation of 1, it computes what the bias did (specification section 5 of
    ``model.md``, read backwards); the variance makes up for eps.
    """
    given = dict(tensors)
    for place, module in detector.named_modules():
        bias = given.get(f"{place}.conv.bias")
        if not isinstance(module, Conv) or module.bn is None or bias is None or f"{place}.bn.weight" in given:
            continue
        del given[f"{place}.conv.bias"]
        ones = torch.ones_like(bias, dtype=torch.float32)
        given[f"{place}.bn.weight"] = ones
        given[f"{place}.bn.bias"] = bias
        given[f"{place}.bn.running_mean"] = torch.zeros_like(ones)
        given[f"{place}.bn.running_var"] = ones - module.bn.eps
        given[f"{place}.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return given


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
