"""A small detector, and a job to export it; what the tests of all formats begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.model.lively import lively_detector
from vedette.checkpoint.contract import ExportContract, SourceCheckpoint, Thresholds
from vedette.core.letterbox import LetterboxPolicy
from vedette.export.formats import find_format
from vedette.export.job import ExportJob
from vedette.infer.backends.exported import ExportedBackend
from vedette.infer.backends.pytorch import TorchBackend
from vedette.model.detector import Detector

NAMES = ("cat", "dog")
SHAPES = ((1, 64, 64), (2, 64, 96), (7, 96, 64))


def detector() -> Detector:
    """One whose answer depends on the picture, and less on the last digits of its arithmetic than a lively one."""
    made = lively_detector(classes=len(NAMES))
    with torch.no_grad():
        for convolution in made.output_convolutions:
            convolution.weight.mul_(0.1)
    return made


def job(format_name: str, made: Detector, **changes: Any) -> ExportJob:
    """A job for one of the formats; ``changes`` are of the contract."""
    chosen = find_format(format_name)
    values: dict[str, Any] = {
        "format": format_name,
        "class_names": NAMES,
        "letterbox": letterbox(made, (64, 64)),
        "strides": tuple(int(stride) for stride in made.strides),
        "anchors_px": tuple(
            tuple((float(width), float(height)) for width, height in level)
            for level in made.head.anchors_px().tolist()
        ),
        "input": chosen.input,
        "output": chosen.output,
        "precision": "float32",
        "frame_hw": None,
        "batch_size": None,
        "nms": None,
        "thresholds": Thresholds(),
        "source": SourceCheckpoint("small.safetensors", "0" * 64),
        "vedette_version": "0",
    }
    contract = ExportContract(**{**values, **changes})
    contract.check()
    return ExportJob(made, contract)


def letterbox(made: Detector, size_hw: tuple[int, int]) -> LetterboxPolicy:
    """Frames of one size, as a network of the detector's strides takes them."""
    return LetterboxPolicy(size_hw=size_hw, stride=made.max_stride)


def frames(batch: int, height: int, width: int) -> np.ndarray:
    """Random bytes, uint8 [batch, height, width, 3]."""
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


TOLERANCE = 0.2
"""Greatest difference of another order of additions in float32: ten times what was measured. The network multiplies
last digits; with weights in fp16 it is 1 to 20."""

MEDIANS = {"fp16": (1e-4, 0.01), "bf16": (1e-3, 0.1)}
"""Between these is the median difference of coarser number formats: three times what was measured, and more than the
4e-6 of float32, for the file must not be of another format than it says."""


def greatest_difference(backend: ExportedBackend, made: Detector, shape: tuple[int, int, int]) -> float:
    """Between decoded predictions of the file and of PyTorch, in pixels or shares of a score."""
    return float(differences(backend, made, shape).max())


def differences(backend: ExportedBackend, made: Detector, shape: tuple[int, int, int]) -> np.ndarray:
    """Of all values of decoded predictions."""
    pictures = frames(*shape)
    expected = TorchBackend(made).run(pictures).decoded()
    found = backend.run(pictures).decoded()
    assert found.shape == expected.shape
    assert np.ptp(expected[..., 4]) > 0.1, "the network says the same everywhere: nothing is compared"
    return np.abs(found - expected)
