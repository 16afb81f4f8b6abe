"""Writes checkpoints as the published releases did: pickled modules of classes called ``models.common.Conv`` etc.

The classes are empty; what a file holds (module names, attributes, tensor names) follows the specification
``checkpoint.md`` sections 1 to 4. Everything comes from a detector of ours, which is what reading must give back.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import pathlib
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vedette.model.detector import Detector, build_detector
from vedette.model.releases import RELEASES
from vedette.model.rows import Architecture, Row, parse_architecture

COMMON = (
    "Bottleneck",
    "BottleneckCSP",
    "C3",
    "Concat",
    "Conv",
    "DWConv",
    "Focus",
    "Proto",
    "SPP",
    "SPPF",
)
CLASSES: dict[str, type[nn.Module]] = {
    name: type(name, (nn.Module,), {"__module__": "models.common"}) for name in COMMON
}
YOLO: dict[str, type[nn.Module]] = {
    name: type(name, (nn.Module,), {"__module__": "models.yolo"})
    for name in ("Detect", "DetectionModel", "Model", "SegmentationModel", "Segment")
}


@contextlib.contextmanager
def published_modules() -> Iterator[None]:
    """While it lasts, the classes can be found under the names of their modules, as pickling demands."""
    places: dict[str, Any] = {"models": {}, "models.yolo": YOLO, "models.common": CLASSES}
    before = {name: sys.modules.get(name) for name in places}
    for name, classes in places.items():
        module = types.ModuleType(name)
        module.__dict__.update(classes)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def small_architecture(release: str = "v4.0", **rules: Any) -> Architecture:
    """Two levels and few tensors, with the rules of a release."""
    block = "BottleneckCSP" if release in ("v1.0", "v3.1") else "C3"
    stem = [-1, 1, "Conv", [8, 6, 2, 2]] if release == "v7.0" else [-1, 1, "Focus", [8, 3]]
    head: list[Any] = [[[-1, 3], 1, "Detect", ["nc", "anchors"]]]
    if release == "v1.0":
        head = [
            [-1, 1, "nn.Conv2d", ["na * (nc + 5)", 1, 1]],
            [3, 1, "nn.Conv2d", ["na * (nc + 5)", 1, 1]],
            [[-2, -1], 1, "Detect", ["nc", "anchors"]],
        ]
    coarse_first = [[30, 61, 62, 45], [10, 13, 16, 30]]
    values = {
        "nc": 2,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": coarse_first,
        "backbone": [stem, [-1, 1, "Conv", [8, 3, 2]], [-1, 1, block, [8]], [-1, 1, block, [8, False]]],
        "head": [[-1, 1, "Conv", [16, 3, 2]], *head],
    }
    chosen = {"name": "small", "release": release, **RELEASES[release].rules, **rules}
    return parse_architecture(values, "small", rules=chosen)


def filled_detector(architecture: Architecture, seed: int = 0) -> Detector:
    """A detector whose normalisations have something to do."""
    detector = build_detector(architecture, seed=seed).eval()
    random = torch.Generator().manual_seed(seed)
    for name, tensor in detector.state_dict().items():
        if name.endswith(("running_mean", "bn.bias")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=random))
        elif name.endswith(("running_var", "bn.weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
    return detector


def settings_of(architecture: Architecture) -> dict[str, Any]:
    """The settings of a network, as its YAML file has them."""
    lines = [_line(row) for row in architecture.rows]
    anchors = architecture.anchors_px
    return {
        "nc": architecture.classes,
        "depth_multiple": architecture.depth_multiple,
        "width_multiple": architecture.width_multiple,
        "anchors": anchors
        if isinstance(anchors, int)
        else [[n for pair in level for n in pair] for level in anchors],
        "backbone": lines[: architecture.backbone_rows],
        "head": lines[architecture.backbone_rows :],
        "ch": architecture.channels,
    }


def _line(row: Row) -> list[Any]:
    module = f"nn.{row.module}" if row.module in ("Upsample", "Conv2d") else row.module
    arguments = ["None" if a is None else (list(a) if isinstance(a, tuple) else a) for a in row.arguments]
    return [row.source[0] if len(row.source) == 1 else list(row.source), row.repeats, module, arguments]


def published_network(detector: Detector, root: str = "Model", names: Any = None) -> nn.Module:
    """The network as a release would pickle it."""
    detector = copy.deepcopy(detector).float().requires_grad_(False)
    architecture = detector.architecture
    network = YOLO[root]()
    network._modules["model"] = nn.Sequential(*(_twin(child) for child in detector.model))
    settings = settings_of(architecture)
    if architecture.release == "v1.0":
        network.md = settings
    else:
        network.yaml, network.yaml_file = settings, f"{architecture.name}.yaml"
    if names is not None:
        network.names = names
    network.nc, network.stride = architecture.classes, torch.tensor([float(s) for s in detector.strides])
    network.save, network.hyp, network.gr = [1, 3], {"box": 0.05, "cls": 0.5}, 1.0
    network.class_weights = torch.ones(architecture.classes, dtype=torch.float64)
    for number, (row, layer) in enumerate(zip(architecture.rows, network._modules["model"], strict=True)):
        layer.i, layer.type = number, f"models.common.{row.module}"
        layer.f = row.source[0] if len(row.source) == 1 else list(row.source)
        layer.np = sum(parameter.numel() for parameter in layer.parameters())
    head = network._modules["model"][-1]
    head.nc, head.no, head.nl = architecture.classes, architecture.classes + 5, len(detector.strides)
    head.na, head.stride, head.grid = (
        architecture.anchors_per_level,
        network.stride,
        [torch.zeros(1)] * head.nl,
    )
    return network.eval()


def _twin(module: nn.Module) -> nn.Module:
    """The same module of the published class; modules of torch stay what they are."""
    kind = type(module).__name__
    if type(module).__module__.startswith("torch.") and not module._modules:
        return module
    made = {"ModuleList": nn.ModuleList, "Sequential": nn.Sequential}.get(kind) or {**CLASSES, **YOLO}[kind]
    twin = made()
    twin._parameters.update(module._parameters)
    twin._buffers.update(module._buffers)
    for name, child in module._modules.items():
        twin._modules[name] = None if child is None else _twin(child)
    if "add" in module.__dict__:
        twin.add = module.__dict__["add"]
    if kind == "Concat":
        twin.d = 1
    return twin


def training_entries(network: nn.Module, release: str, *, stripped: bool = False) -> dict[str, Any]:
    """The dictionary a release saves around a network."""
    half = copy.deepcopy(network).half() if stripped or release == "v7.0" else network
    entries: dict[str, Any] = {
        "epoch": -1 if stripped else 11,
        "best_fitness": None if stripped and release == "v7.0" else np.array([0.4375]),
        "model": half,
        "optimizer": None
        if stripped
        else {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]},
    }
    if release in ("v1.0", "v3.1", "v4.0"):
        entries["training_results"] = None if stripped else "0/11 1.2G 0.1\n"
    if release == "v7.0":
        other = copy.deepcopy(half)
        for parameter in other.parameters():
            parameter.data.zero_()
        if not stripped:
            entries |= {"model": other, "ema": half, "updates": 120}
        entries |= {
            "opt": {
                "imgsz": 416,
                "save_dir": pathlib.PurePosixPath("runs/train/exp"),
                "cfg": pathlib.PureWindowsPath("a.yaml"),
            },
            "git": {"remote": None},
            "date": "2023-01-02T03:04:05.000006",
        }
    return entries


def save(path: Path, value: Any, *, stream: bool = False) -> Path:
    """``torch.save`` with the published classes in place."""
    with published_modules(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the stream wants the source text of classes, and these have none
        torch.save(value, path, _use_new_zipfile_serialization=not stream)
    return path


def save_release(
    path: Path,
    detector: Detector,
    *,
    stripped: bool = False,
    stream: bool = False,
    names: Any = ("cat", "dog"),
) -> Path:
    """A checkpoint of the release that the detector's architecture names."""
    release = detector.architecture.release
    given = list(names) if isinstance(names, tuple) else names
    root = "DetectionModel" if release == "v7.0" else "Model"
    network = published_network(detector, root, given)
    return save(path, training_entries(network, release, stripped=stripped), stream=stream)


def assert_same_state(found: dict[str, Tensor], detector: Detector, *, half: bool = False) -> None:
    expected = detector.state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        wanted = tensor.half().float() if half and tensor.is_floating_point() else tensor
        assert found[name].dtype == wanted.dtype
        assert torch.equal(found[name], wanted), name


def ordered(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return collections.OrderedDict(values)
