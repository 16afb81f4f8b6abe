"""Normalization over the batches of all GPUs (``--sync-bn``).

Each GPU normalizes its part of the batch by the mean and variance of the whole, which the ranks compute together in
every layer. It matters where a part is small, below some eight pictures; it costs a message a layer.
"""

from __future__ import annotations

import torch
from torch import nn

from vedette.errors import UsageError
from vedette.model.detector import Detector
from vedette.train.distributed.ranks import Ranks


def synchronized(detector: Detector, ranks: Ranks, device: torch.device) -> Detector:
    """The detector with layers that normalize over all ranks, in place, its parameters and their names as they were.

    One rank alone has the whole batch: nothing changes.

    Raises:
        UsageError: the ranks compute on CPUs, where torch has no such layer.
    """
    if ranks.world_size == 1:
        return detector
    if device.type != "cuda":
        raise UsageError(
            "torch normalizes over several ranks on CUDA devices only",
            where="--sync-bn",
            fix="leave it out: each rank then normalizes over its own part of the batch",
        )
    converted: Detector = nn.SyncBatchNorm.convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]
    return converted


def unsynchronized(detector: Detector) -> Detector:
    """The inverse of :func:`synchronized`, in place: layers that can be measured, fused and saved by one rank."""
    for module in list(detector.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SyncBatchNorm):
                setattr(module, name, _plain(child))
    return detector


def _plain(layer: nn.SyncBatchNorm) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(
        layer.num_features, eps=layer.eps, momentum=layer.momentum, device=layer.weight.device
    )
    plain.load_state_dict(layer.state_dict())
    return plain.train(layer.training)
