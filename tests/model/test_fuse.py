from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.model.filling import pseudo_random
from vedette.model.blocks import BottleneckCSP, Conv, Style
from vedette.model.detector import Detector, build_detector
from vedette.model.fuse import fuse, fuse_convolution

STYLE = Style()


def stir(network: nn.Module) -> None:
    """Statistics and scales as training would leave them; with the fresh ones fusing would change nothing."""
    for key, tensor in network.state_dict().items():
        z = torch.from_numpy(pseudo_random(key, tensor.numel())).reshape(tensor.shape)
        if key.endswith("running_var"):
            tensor.copy_(1.0 + 0.5 * z)
        elif key.endswith("running_mean"):
            tensor.copy_(0.1 * z)
        elif "bn." in key and tensor.is_floating_point():
            tensor.copy_(1.0 + 0.5 * z)


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0", "yolov5s@v3.1", "yolov5n@v7.0"])
def test_fused_equals_plain(name: str) -> None:
    detector = build_detector(name, classes=2).train()
    stir(detector)
    before = copy.deepcopy(detector.state_dict())
    fused = fuse(detector)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = copy.deepcopy(detector).eval()(images)
        deviation = max((a - b).abs().max().item() for a, b in zip(fused(images), expected, strict=True))
    assert deviation < 1e-3  # float32 rounding over 60 layers of logits around 5
    assert detector.training
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())
    assert not any(module.bn is not None for module in fused.modules() if isinstance(module, Conv))


def test_fusing_again_changes_nothing() -> None:
    once = fuse(build_detector("tiny", classes=1))
    twice = fuse(once)
    assert list(once.state_dict()) == list(twice.state_dict())
    assert all(torch.equal(value, twice.state_dict()[key]) for key, value in once.state_dict().items())


def test_fused_names() -> None:
    keys = [
        key for key in fuse(build_detector("tiny", classes=1)).state_dict() if key.startswith("model.2.cv1.")
    ]
    assert keys == ["model.2.cv1.conv.weight", "model.2.cv1.conv.bias"]


def test_joint_normalisation_stays() -> None:
    block = BottleneckCSP(8, 8, STYLE)
    stir(block)
    fused = fuse(block)
    assert isinstance(fused.bn, nn.BatchNorm2d)
    assert fused.cv2.bias is None
    x = torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(fused(x), block.eval()(x))


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("bias", [False, True])
def test_grouped_and_biased_convolutions(groups: int, bias: bool) -> None:
    convolution = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=bias)
    normalisation = nn.BatchNorm2d(8, eps=1e-3)
    stir(nn.ModuleDict({"bn": normalisation}))
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = normalisation.eval()(convolution(x))
        torch.testing.assert_close(fuse_convolution(convolution, normalisation)(x), expected)


def test_a_normalisation_without_statistics_is_refused() -> None:
    with pytest.raises(TypeError, match="running statistics"):
        fuse_convolution(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))


def test_fused_images_are_not_changed() -> None:
    detector: Detector = fuse(build_detector("tiny", classes=1))
    images = torch.rand(1, 3, 64, 64)
    before = images.clone()
    with torch.no_grad():
        first = [level.clone() for level in detector(images)]
        second = detector(images)
    assert torch.equal(images, before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
