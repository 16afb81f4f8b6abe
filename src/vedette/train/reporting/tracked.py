"""What trackers are told of a run besides its figures: the data set, and pictures with what was found in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.evaluate.result import Evaluation
from vedette.track.events import FoundPicture, PicturesFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vedette.config.train import TrainConfig
    from vedette.core.types import FloatArray, IntArray
    from vedette.data.index import SplitIndex
    from vedette.train.setup import Setup

MIN_SCORE = 0.01
"""Boxes below this are left out: the slider of a tracker would hardly ever be there."""

MAX_BOXES = 100
"""Best boxes of a picture that are told."""

_MAX_FOLDERS = 1000


def data_facts(setup: Setup) -> dict[str, Any]:
    """The data set as ``RunStarted.data`` has it."""
    return {
        "name": Path(setup.config.data).stem,
        "description": setup.config.data,
        "class_names": list(setup.class_names),
        "class_counts": setup.train_index.class_counts().tolist(),
        "splits": {index.split: _split_facts(index) for index in (setup.train_index, setup.val_index)},
    }


def _split_facts(index: SplitIndex) -> dict[str, Any]:
    folders = {index.image_path(number).parent for number in range(len(index))}
    return {
        "pictures": len(index),
        "folders": sorted(map(str, folders))[:_MAX_FOLDERS],
        "content_hash": index.content_hash,
    }


def pictures_are_due(config: TrainConfig, epochs_done: int) -> bool:
    """Whether pictures with boxes are told after this epoch; after the last one they are in any case."""
    return config.log_imgs > 0 and config.bbox_interval > 0 and epochs_done % config.bbox_interval == 0


def found_pictures(setup: Setup, evaluation: Evaluation) -> PicturesFound:
    """The first pictures of the validation split, with their true boxes and the best of those found."""
    progress, count = setup.state.progress, min(setup.config.log_imgs, len(evaluation.image_paths))
    return PicturesFound(
        step=progress.step,
        epoch=len(progress.history) - 1,
        class_names=setup.class_names,
        pictures=tuple(found_picture(evaluation, setup.class_names, number) for number in range(count)),
    )


def found_picture(evaluation: Evaluation, class_names: Sequence[str], number: int) -> FoundPicture:
    """Picture ``number`` of an evaluation; ignored boxes are not told."""
    truth, found = evaluation.truth, evaluation.predictions
    rows = np.arange(*truth.offsets[number : number + 2])
    rows = rows[~truth.ignored[rows]]
    best = np.arange(*found.offsets[number : number + 2])[:MAX_BOXES]  # best score first
    best = best[found.scores[best] >= MIN_SCORE]
    height, width = truth.sizes_hw[number].tolist()
    scores = [{"score": float(score)} for score in found.scores[best]]
    found_boxes = _boxes(found.boxes_xyxy_px[best], found.class_ids[best], class_names)
    return FoundPicture(
        path=Path(evaluation.image_paths[number]),
        size_hw=(height, width),
        true_boxes=tuple(_boxes(truth.boxes_xyxy_px[rows], truth.class_ids[rows], class_names)),
        found_boxes=tuple({**box, **score} for box, score in zip(found_boxes, scores, strict=True)),
        picture_format=evaluation.picture_format,
    )


def _boxes(
    boxes: FloatArray | Any, class_ids: IntArray, class_names: Sequence[str]
) -> list[Mapping[str, Any]]:
    return [
        {"box_xyxy": box, "class_id": class_id, "class_name": class_names[class_id]}
        for box, class_id in zip(boxes.tolist(), class_ids.tolist(), strict=True)
    ]
