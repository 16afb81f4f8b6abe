from __future__ import annotations

import pytest
import torch
from torch import nn

from vedette.errors import UsageError
from vedette.model.detector import build_detector
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.distributed.synchronized import synchronized, unsynchronized

PAIR = Ranks(1, 2, 1, 2, "localhost", 29500)


def test_one_rank_needs_no_synchronizing() -> None:
    detector = build_detector("tiny", classes=2, seed=0)
    assert synchronized(detector, ALONE, torch.device("cpu")) is detector
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in detector.modules())


def test_cpus_are_refused() -> None:
    detector = build_detector("tiny", classes=2, seed=0)
    with pytest.raises(
        UsageError, match="--sync-bn: torch normalizes over several ranks on CUDA devices only"
    ):
        synchronized(detector, PAIR, torch.device("cpu"))


def test_there_and_back_changes_nothing_but_the_layers() -> None:
    detector = build_detector("tiny", classes=2, seed=0)
    images = torch.rand(2, 3, 64, 64)
    names = list(detector.state_dict())
    expected = [level.clone() for level in detector.eval()(images)]
    parameters = list(detector.parameters())
    detector = synchronized(detector.train(), PAIR, torch.device("cuda"))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in detector.modules())
    assert list(detector.state_dict()) == names
    assert all(one is other for one, other in zip(detector.parameters(), parameters, strict=True))
    detector = unsynchronized(detector.eval())
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in detector.modules())
    assert list(detector.state_dict()) == names
    assert all(torch.equal(one, other) for one, other in zip(detector(images), expected, strict=True))
