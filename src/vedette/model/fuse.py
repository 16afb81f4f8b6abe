"""Exact rewrites for inference: a convolution and the normalisation after it become one convolution.

Formula: specification ``model.md`` section 5. The joint normalisation of BottleneckCSP stays: it follows two
convolutions at once.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from vedette.model.blocks import Conv

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def fuse(network: NetworkT) -> NetworkT:
    """A copy for inference with every Conv's normalisation folded into its convolution.

    The copy is in eval mode, needs no gradients, and activates in place. The network given is not touched; a
    fused one may be given again. Outputs equal those of ``network.eval()`` up to rounding.
    """
    fused = copy.deepcopy(network).eval().requires_grad_(False)
    for module in fused.modules():
        if isinstance(module, Conv) and module.bn is not None:
            module.conv = fuse_convolution(module.conv, module.bn)
            module.bn = None
        # Saves a map of memory a layer. Only here: autograd would copy the map for itself first.
        if isinstance(module, Conv) and hasattr(module.act, "inplace"):
            module.act.inplace = True  # type: ignore[assignment]
    return fused


def fuse_convolution(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with bias that equals ``normalisation(convolution(x))`` in eval mode, any groups.

    The arithmetic is in float64 (float32 on devices without it), the result in the convolution's type.
    """
    weight = convolution.weight
    precise = torch.float32 if weight.device.type == "mps" else torch.float64
    mean, variance = normalisation.running_mean, normalisation.running_var
    if mean is None or variance is None or normalisation.weight is None:
        raise TypeError("only a normalisation with running statistics and scale can be fused")
    scale = normalisation.weight.to(precise) / torch.sqrt(variance.to(precise) + normalisation.eps)
    shift = normalisation.bias.to(precise) - mean.to(precise) * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias.to(precise) * scale
    fused = copy.deepcopy(convolution)
    fused.weight = nn.Parameter((weight.to(precise) * scale[:, None, None, None]).to(weight.dtype), False)
    fused.bias = nn.Parameter(shift.to(weight.dtype), False)
    return fused
