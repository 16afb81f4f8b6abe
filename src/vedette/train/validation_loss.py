"""The loss on the validation split, from the same forward pass that the measured detections come from.

Specification evaluation.md section 2: the mean over batches of box, obj and cls, with the averaged weights.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vedette.core.boxes import clip_boxes, xyxy_to_cxcywh
from vedette.core.letterbox import Letterbox, LetterboxPolicy
from vedette.core.types import BoolArray, FloatArray
from vedette.data.index import PictureLabels, SplitIndex
from vedette.infer.backends import Frames
from vedette.infer.backends.pytorch import TensorOutputs, TorchBackend
from vedette.loss.detection_loss import DetectionLoss

BatchLosses = list[list[float] | None]
"""box, obj, cls of every batch; None for one without a readable picture."""


class WatchedBackend(TorchBackend):
    """A backend that keeps the raw levels of the batch it saw last."""

    _seen: list[torch.Tensor] | None = None

    def run(self, frames: Frames) -> TensorOutputs:
        """As :meth:`TorchBackend.run`."""
        outputs = super().run(frames)
        self._seen = list(outputs.levels)
        return outputs

    def take_levels(self) -> list[torch.Tensor] | None:
        """The raw levels [B, A, h, w, 5+C] of the last batch, once."""
        seen, self._seen = self._seen, None
        return seen


class LossMeter:
    """The loss of every batch that a backend saw.

    Args:
        loss: the loss of training; it is not changed.
        backend: runs the network.
        index: the split.
        letterbox: how the pictures become frames.
    """

    def __init__(
        self, loss: DetectionLoss, backend: WatchedBackend, index: SplitIndex, letterbox: LetterboxPolicy
    ) -> None:
        # A loss that balances its levels changes with every batch: that must not leak into training.
        self._loss = copy.copy(loss.of_whole_batches())
        self._loss.level_weights = loss.level_weights.clone()
        self._backend = backend
        self._index = index
        self._letterbox = letterbox
        self._items: list[torch.Tensor | None] = []

    @torch.no_grad()
    def add(self, positions: Sequence[int]) -> None:
        """Add the batch that the backend saw last: the pictures at these places of the split, in their order."""
        levels = self._backend.take_levels()
        if levels is None:
            self._items.append(None)
            return
        true = validation_targets(self._index, positions, self._letterbox)
        _, items = self._loss(
            levels,
            self._on_device(true.targets),
            self._on_device(true.ignored),
            None if true.labelled is None else self._on_device(true.labelled),
        )
        self._items.append(items)

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._backend.device)

    def items(self) -> BatchLosses:
        """The losses of the batches, in their order."""
        return [None if items is None else items.tolist() for items in self._items]


def mean_losses(parts: Sequence[BatchLosses]) -> dict[str, float]:
    """box, obj, cls: means over all batches; empty if there was none.

    Args:
        parts: one for each process; they took the batches of the split in turn. The sum goes through them in the
            order of the split, so it does not depend on how many there were.
    """
    in_order = [batch for batches in itertools.zip_longest(*parts) for batch in batches if batch is not None]
    if not in_order:
        return {}
    sums = [0.0, 0.0, 0.0]
    for batch in in_order:
        sums = [total + loss for total, loss in zip(sums, batch, strict=True)]
    return {name: total / len(in_order) for name, total in zip(("box", "obj", "cls"), sums, strict=True)}


class ValidationTargets(NamedTuple):
    """True boxes of a batch as the loss takes them.

    Attributes:
        targets: float32 [M, 6]: (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame.
        ignored: float32 [K, 6]: the same for boxes that are neither target nor background.
        labelled: bool [M, C], which classes are labelled in the picture of each target; None: all, in every picture.
    """

    targets: FloatArray
    ignored: FloatArray
    labelled: BoolArray | None


def validation_targets(
    index: SplitIndex, positions: Sequence[int], letterbox: LetterboxPolicy
) -> ValidationTargets:
    """The true boxes of letterboxed pictures; cut to their picture first, what has no area then is left out."""
    empty = np.zeros((0, 6), dtype=np.float32)
    targets, ignored, labelled = [empty], [empty], [np.zeros((0, len(index.class_names)), dtype=np.bool_)]
    for number, position in enumerate(positions):
        labels = index.labels(position)
        height, width = index.sizes_hw[position].tolist()
        placement = letterbox.place((height, width))
        rows, kept = _rows(number, labels, placement)
        silent = labels.ignored[kept]
        targets.append(rows[~silent])
        ignored.append(rows[silent])
        if labels.background_unknown:
            ignored.append(_whole_picture(number, placement))
        if labels.labelled is not None:
            labelled.append(np.repeat(labels.labelled[None], len(targets[-1]), axis=0))
    partly = np.concatenate(labelled) if index.partly_labelled else None
    return ValidationTargets(np.concatenate(targets), np.concatenate(ignored), partly)


def _whole_picture(number: int, placement: Letterbox) -> FloatArray:
    """The row of an ignored box that covers all of a picture, as in training."""
    height, width = placement.frame_hw
    frame = placement.boxes_to_frame(np.array([[0.0, 0.0, placement.source_hw[1], placement.source_hw[0]]]))
    box = xyxy_to_cxcywh(frame / np.array([width, height, width, height]))
    row: FloatArray = np.concatenate([[[number, 0.0]], box], axis=1).astype(np.float32)
    return row


def _rows(number: int, labels: PictureLabels, placement: Letterbox) -> tuple[FloatArray, BoolArray]:
    """Rows of the boxes that have an area in their picture, and which ones those are."""
    clipped = clip_boxes(labels.boxes_xyxy_px, placement.source_hw)
    kept: BoolArray = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    height, width = placement.frame_hw
    frame = placement.boxes_to_frame(clipped[kept]) / np.array([width, height, width, height])
    head = np.stack([np.full(len(frame), number), labels.class_ids[kept]], axis=1)
    rows: FloatArray = np.concatenate([head, xyxy_to_cxcywh(frame)], axis=1).astype(np.float32)
    return rows, kept
