"""A contract of a small detector, with one golden picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from vedette.checkpoint.contract import ExportContract, InputFormat, SourceCheckpoint, Thresholds
from vedette.checkpoint.golden import ExpectedDetection, ExpectedPlacement, Golden, GoldenPicture
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings

NAMES = ("red", "blue")


def small_golden(policy: LetterboxPolicy) -> Golden:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    png = cv2.imencode(".png", picture)[1].tobytes()
    placement = ExpectedPlacement.of(policy.place((30, 40)))
    found = (ExpectedDetection((1.0, 2.0, 10.5, 20.25), 0.75, "red"),)
    return Golden(NmsSettings(), "0" * 64, (GoldenPicture(png, placement, found),))


def small_contract(**changes: Any) -> ExportContract:
    policy = LetterboxPolicy(size_hw=(64, 96))
    contract = ExportContract(
        format="onnx",
        class_names=NAMES,
        letterbox=policy,
        strides=(8, 16),
        anchors_px=(((4.0, 5.0), (8.5, 7.0)), ((16.0, 20.0), (40.0, 31.0))),
        input=InputFormat(),
        output="cells",
        precision="float32",
        frame_hw=(64, 96),
        batch_size=1,
        nms=None,
        thresholds=Thresholds(),
        source=SourceCheckpoint("best.safetensors", "a" * 64),
        vedette_version="0.1.0",
        golden=small_golden(policy),
    )
    return replace(contract, **changes)
