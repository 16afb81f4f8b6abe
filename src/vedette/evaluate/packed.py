"""Predictions and true boxes of a whole split in packed arrays: one row a box, offsets by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import BoolArray, Detections, FloatArray, IntArray

if TYPE_CHECKING:
    from vedette.data.index import SplitIndex

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted boxes of n pictures; rows ``offsets[i]:offsets[i + 1]`` belong to picture i, best score first.

    Attributes:
        offsets: int64 [n + 1].
        boxes_xyxy_px: float32 [N, 4], pixels of the pictures.
        scores: float32 [N].
        class_ids: int64 [N].
    """

    offsets: IntArray
    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def image_rows(self) -> IntArray:
        """Picture number of every row, int64 [N]."""
        return row_images(self.offsets)


@dataclass(frozen=True, slots=True)
class Truth:
    """True boxes of n pictures; rows ``offsets[i]:offsets[i + 1]`` belong to picture i.

    Attributes:
        offsets: int64 [n + 1].
        boxes_xyxy_px: float64 [M, 4], pixels of the pictures.
        class_ids: int64 [M].
        ignored: bool [M]; COCO's ``iscrowd``: neither to be found nor wrong to find.
        areas: float64 [M], what COCO's small, medium and large go by.
        image_ids: int64 [n].
        sizes_hw: int64 [n, 2].
        labelled: bool [n, C], which classes are labelled in which picture; None: all in all. Boxes of other
            classes are ignored ones.
    """

    offsets: IntArray
    boxes_xyxy_px: Float64Array
    class_ids: IntArray
    ignored: BoolArray
    areas: Float64Array
    image_ids: IntArray
    sizes_hw: IntArray
    labelled: BoolArray | None = None

    def image_rows(self) -> IntArray:
        """Picture number of every row, int64 [M]."""
        return row_images(self.offsets)

    def instances(self, classes: int) -> IntArray:
        """Boxes to be found (not ignored) of each class, int64 [classes]."""
        return np.bincount(self.class_ids[~self.ignored], minlength=classes)

    def images_with(self, classes: int) -> IntArray:
        """Pictures that hold at least one box to be found of each class, int64 [classes]."""
        wanted = ~self.ignored
        pairs = np.unique(np.stack([self.image_rows()[wanted], self.class_ids[wanted]], axis=1), axis=0)
        return np.bincount(pairs[:, 1], minlength=classes)


def row_images(offsets: IntArray) -> IntArray:
    """Picture number of every row: [0, 2, 2, 3] -> [0, 0, 2]."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def offsets_of(counts: Sequence[int] | IntArray) -> IntArray:
    """Offsets from rows per picture: [2, 0, 1] -> [0, 2, 2, 3]."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)


def pack_predictions(detections: Sequence[Detections]) -> Predictions:
    """Pack one Detections a picture, in the order of the pictures."""
    return Predictions(
        offsets=offsets_of([len(found) for found in detections]),
        boxes_xyxy_px=np.concatenate(
            [np.zeros((0, 4), np.float32), *(found.boxes_xyxy_px for found in detections)]
        ).astype(np.float32, copy=False),
        scores=np.concatenate([np.zeros(0, np.float32), *(found.scores for found in detections)]).astype(
            np.float32, copy=False
        ),
        class_ids=np.concatenate([np.zeros(0, np.int64), *(found.class_ids for found in detections)]).astype(
            np.int64, copy=False
        ),
    )


def truth_of(index: SplitIndex, positions: Sequence[int] | IntArray | None = None) -> Truth:
    """The true boxes of an index, or of some of its pictures in the given order."""
    chosen = np.arange(len(index)) if positions is None else np.asarray(positions, dtype=np.int64)
    counts = np.diff(index.offsets)[chosen]
    offsets = offsets_of(counts)
    rows = np.repeat(index.offsets[:-1][chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
    truth = Truth(
        offsets=offsets,
        boxes_xyxy_px=index.boxes_xyxy_px[rows],
        class_ids=index.class_ids[rows],
        ignored=index.ignored[rows],
        areas=index.areas[rows],
        image_ids=index.image_ids[chosen],
        sizes_hw=index.sizes_hw[chosen].astype(np.int64),
    )
    if not index.partly_labelled:
        return truth
    return partly_labelled(truth, index.labelled_sets[index.labelled_set_ids[chosen]])


def partly_labelled(truth: Truth, labelled: BoolArray) -> Truth:
    """Truth that knows which classes are labelled in which picture, bool [n, C]; boxes of others become ignored."""
    unknown = ~labelled[truth.image_rows(), truth.class_ids]
    return replace(truth, ignored=truth.ignored | unknown, labelled=labelled)


def single_class_truth(truth: Truth) -> Truth:
    """The same boxes, all of class 0; it is labelled where all classes were."""
    single = replace(truth, class_ids=np.zeros_like(truth.class_ids))
    if truth.labelled is None:
        return single
    return partly_labelled(single, np.asarray(truth.labelled.all(axis=1, keepdims=True), np.bool_))


def judged_predictions(predictions: Predictions, truth: Truth) -> Predictions:
    """The predictions that the truth can judge: those of classes that are labelled in their picture.

    Of any other class nobody knows whether there is such an object, so the prediction is neither right nor wrong.
    """
    if truth.labelled is None:
        return predictions
    return keep_predictions(predictions, truth.labelled[predictions.image_rows(), predictions.class_ids])


def keep_truth(truth: Truth, kept: BoolArray) -> Truth:
    """The rows where ``kept`` [M] is True; pictures stay."""
    counts = np.bincount(truth.image_rows()[kept], minlength=len(truth.image_ids))
    return replace(
        truth,
        offsets=offsets_of(counts),
        boxes_xyxy_px=truth.boxes_xyxy_px[kept],
        class_ids=truth.class_ids[kept],
        ignored=truth.ignored[kept],
        areas=truth.areas[kept],
    )


def keep_predictions(predictions: Predictions, kept: BoolArray) -> Predictions:
    """The rows where ``kept`` [N] is True; pictures stay."""
    counts = np.bincount(predictions.image_rows()[kept], minlength=len(predictions.offsets) - 1)
    return Predictions(
        offsets=offsets_of(counts),
        boxes_xyxy_px=predictions.boxes_xyxy_px[kept],
        scores=predictions.scores[kept],
        class_ids=predictions.class_ids[kept],
    )
