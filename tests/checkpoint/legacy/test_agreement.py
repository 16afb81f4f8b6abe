"""Networks that are no detectors of ours, or that contradict what they say about themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.checkpoint.legacy.archives import refusal
from tests.checkpoint.legacy.published import (
    CLASSES,
    filled_detector,
    published_network,
    save,
    small_architecture,
    training_entries,
)
from vedette.checkpoint.legacy.read import read_legacy


def changed(tmp_path: Path, change: Any, release: str = "v4.0", root: str = "Model") -> str:
    network = published_network(filled_detector(small_architecture(release)), root, ["a", "b"])
    change(network)
    return refusal(save(tmp_path / "a.pt", training_entries(network, release)))


def test_networks_that_are_no_detectors_of_ours(tmp_path: Path) -> None:
    assert "segmentation model" in changed(tmp_path, lambda network: None, root="SegmentationModel")

    def unknown_block(network: nn.Module) -> None:
        network.model[1].conv.__class__ = CLASSES["Proto"]  # type: ignore[index, union-attr]

    message = changed(tmp_path, unknown_block)
    assert "model.model.1.conv" in message
    assert "models.common.Proto" in message
    assert "Bottleneck, BottleneckCSP, C3, Concat, Conv" in message

    def face(network: nn.Module) -> None:
        network.model[-1].no = 17  # type: ignore[index, union-attr]

    assert "landmarks of faces" in changed(tmp_path, face)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda n: setattr(n.model[1].conv, "stride", (1, 1)),
            "model.1.conv: stride is [1, 1] instead of [2, 2]",
        ),
        (lambda n: setattr(n.model[1].conv, "groups", 2), "model.1.conv: groups"),
        (lambda n: setattr(n.model[2].m[0], "add", False), "model.2.m.0: add is False instead of True"),
        (lambda n: setattr(n.model[2].cv1.bn, "eps", 1e-5), "different eps"),
        (lambda n: setattr(n.model[3], "f", 0), "model.3 reads [0] instead of [-1]"),
        (lambda n: setattr(n.model[2].cv2, "act", nn.ReLU()), "different activations ReLU, SiLU"),
        (lambda n: n.model[2].add_module("more", nn.Identity()), "model.2.more is not in its layer table"),
        (lambda n: n.model[1]._modules.pop("conv"), "model.1.conv is missing"),
        (lambda n: n.model[1].conv.register_buffer("x", torch.zeros(1)), "unknown model.1.conv.x"),
        (lambda n: n.model[1].bn._buffers.pop("running_var"), "missing model.1.bn.running_var"),
        (lambda n: n.model[-1].anchor_grid.mul_(2), "two different sets of anchors"),
        (lambda n: n.yaml["backbone"][1].__setitem__(2, "RepConv"), "the module RepConv"),
        (
            lambda n: n.yaml["backbone"][1].__setitem__(3, [16, 3, 2]),
            "float32 [8, 8, 3, 3] instead of float32 [16, 8, 3, 3]",
        ),
        (lambda n: setattr(n.model[-1], "stride", torch.tensor([4.0, 2.0])), "strides [4.0, 2.0] instead of"),
        (
            lambda n: setattr(n.model[3], "f", [0] * 200),
            "f: is damaged or was made by hand (its settings are too many",
        ),
        (lambda n: delattr(n, "yaml"), "does not say which layers"),
        (
            lambda n: setattr(n.model[1].conv, "weight", nn.Parameter(torch.full((8, 8, 3, 3), math.nan))),
            "NaN or infinity",
        ),
    ],
)
def test_networks_that_contradict_themselves(tmp_path: Path, change: Any, expected: str) -> None:
    assert expected in changed(tmp_path, change)


def test_non_finite_weights_are_read_on_request(tmp_path: Path) -> None:
    network = published_network(filled_detector(small_architecture("v4.0")))
    network.model[1].conv.weight.data[0, 0, 0, 0] = math.inf  # type: ignore[index, union-attr]
    path = save(tmp_path / "a.pt", training_entries(network, "v4.0"))
    assert "--allow-nonfinite" in refusal(path)
    assert read_legacy(path, allow_nonfinite=True).tensors["model.1.conv.weight"][0, 0, 0, 0] == math.inf


def test_normalisation_over_several_gpus_is_normalisation(tmp_path: Path) -> None:
    """A network that was trained with synchronized normalisation computes, alone, what any other does."""
    network = published_network(filled_detector(small_architecture("v4.0")))
    for module in list(network.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = nn.SyncBatchNorm  # type: ignore[assignment]
            module.process_group = None
    assert read_legacy(save(tmp_path / "a.pt", training_entries(network, "v4.0"))).architecture.bn_eps == 1e-3
