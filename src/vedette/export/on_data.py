"""PyTorch's detections of a data set, computed once and compared with any number of exported files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.deployable import LoadedDetector
from vedette.checkpoint.load import load
from vedette.config.evaluate import EvaluateConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.types import Detections
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.evaluate.classes import map_classes
from vedette.evaluate.detecting import detect_vedette
from vedette.evaluate.run import FoundBoxes as FoundInSplit
from vedette.evaluate.run import measure_found
from vedette.export.differences import Differences, FoundBoxes, Tolerance, compare
from vedette.export.feature_maps import feature_maps
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor

_ANCHOR_TOLERANCE_PX = 1e-3
_BATCH = 8

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class _Measured:
    pictures: dict[int, Detections]
    ap: float


@dataclass(slots=True)
class DataReference:
    """A checkpoint and, for comparing boxes, a data set.

    Attributes:
        loaded: the checkpoint.
        data: name of the data set; "" without one.
        index: the split; None without a data set.
    """

    loaded: LoadedDetector
    data: str = ""
    index: SplitIndex | None = None
    _measured: dict[tuple[LetterboxPolicy, NmsSettings], _Measured] = field(default_factory=dict)
    _predictor: Predictor | None = None

    @property
    def predictor(self) -> Predictor:
        """The checkpoint in PyTorch: float32, on the CPU."""
        if self._predictor is None:
            backend = TorchBackend(self.loaded.detector)
            self._predictor = Predictor(backend, self.loaded.letterbox, self.loaded.class_names)
        return self._predictor

    def contradictions(self, contract: ExportContract) -> list[str]:
        """What a file says of itself against what its checkpoint says."""
        head = self.loaded.detector.head
        problems = []
        if contract.class_names != self.loaded.class_names:
            problems.append("contract: its class names are not those of the checkpoint")
        if contract.strides != tuple(int(stride) for stride in head.strides):
            problems.append("contract: its strides are not those of the checkpoint")
        theirs, ours = np.array(contract.anchors_px), head.anchors_px().cpu().numpy()
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > _ANCHOR_TOLERANCE_PX:
            problems.append("contract: its anchors are not those of the checkpoint")
        shown = contract.features
        if shown is not None and shown != feature_maps(self.loaded.detector, [str(n) for n in shown.layers]):
            problems.append("contract: its feature maps are not those of the checkpoint")
        if contract.letterbox.pad_value != self.loaded.letterbox.pad_value:
            problems.append("contract: its pad value is not that of the checkpoint")
        return problems

    def compare(
        self, predictor: Predictor, contract: ExportContract, tolerance: Tolerance
    ) -> tuple[Differences, tuple[float, float]]:
        """Differences of final detections over the split, and AP of PyTorch and of the file.

        Boxes are compared from the contract's recommended score on; AP is measured as ``vedette val`` does, or with
        the suppression that is built into the file.
        """
        settings = contract.nms or NmsSettings(conf_threshold=0.001, iou_threshold=0.65)
        key = (contract.letterbox, settings)
        if key not in self._measured:
            ours = self.predictor.with_settings(nms=settings, letterbox=contract.letterbox)
            self._measured[key] = self._measure(ours)
        expected = self._measured[key]
        found = self._measure(predictor.with_settings(nms=settings))
        threshold = max(contract.thresholds.conf_threshold, settings.conf_threshold)
        differences = compare(
            [_above(expected.pictures[number], threshold) for number in sorted(expected.pictures)],
            [_above(found.pictures[number], threshold) for number in sorted(expected.pictures)],
            conf_threshold=threshold,
            max_detections=settings.max_detections,
            tolerance=tolerance,
        )
        return differences, (expected.ap, found.ap)

    def _measure(self, predictor: Predictor) -> _Measured:
        index = cast(SplitIndex, self.index)
        pictures: dict[int, Detections] = {}
        failed: list[Any] = []
        for batch in detect_vedette(predictor, index, predictor.backend.batch_size or _BATCH, 1):
            pictures.update(zip(batch.positions, batch.pictures, strict=True))
            failed.extend(batch.failed)
        found = FoundInSplit(pictures, tuple(failed), {}, 0.0)
        numbers = measure_found(predictor, index, EvaluateConfig(data=self.data), [found]).numbers
        return _Measured(pictures, float(numbers["ap"] or 0.0))


def open_reference(weights: Path, data: str = "", split: Split = "val") -> DataReference:
    """A checkpoint and a data set, ready to compare with.

    Raises:
        CheckpointError: the checkpoint is not accepted.
        DataError: the data set cannot be used.
        ModelError: it has other classes than the checkpoint; better said now than after quantising for minutes.
    """
    loaded = load(weights)
    index = load_index(load_description(data), split) if data else None
    if index is not None:
        map_classes(loaded.class_names, index.class_names)
    return DataReference(loaded, data, index)


def _above(found: Detections, threshold: float) -> FoundBoxes:
    boxes = FoundBoxes.of(found)
    return boxes.chosen(boxes.scores > threshold)
