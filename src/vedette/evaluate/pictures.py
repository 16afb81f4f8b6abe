"""Validation pictures: with their labels, with what was found, and those that went best and worst."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vedette.core.colours import BLUE, GREY, ORANGE, PURPLE, VERMILION
from vedette.core.types import BoolArray, Detections, FloatArray, Image, IntArray
from vedette.data.images import read_image
from vedette.errors import ImageError
from vedette.evaluate.packed import Float64Array, judged_predictions
from vedette.evaluate.pairing import Pairing, PictureCounts, count_by_picture, pair_boxes
from vedette.evaluate.result import Evaluation
from vedette.infer.draw import BoxLook, DrawStyle, draw_detections
from vedette.infer.grid import LegendEntry, Tile, class_sheet, sheet, shrunk, write_jpeg

SHEETS: Final = 3
"""Pairs of sheets, labels and predictions."""

PICTURES_PER_SHEET: Final = 16
EXTREMES: Final = 8
"""Pictures on the sheet of the best, and of the worst."""

_CROWD = 8  # more labels than that hide the picture; only boxes of the wrong class keep theirs

_FOUND = BoxLook(BLUE, labelled=False)
_WRONG_CLASS = BoxLook(PURPLE)
_MISSED = BoxLook(ORANGE, dashed=True)
_SPURIOUS = BoxLook(VERMILION)
_IGNORED = BoxLook(GREY, dashed=True, labelled=False)

_LEGEND = (
    LegendEntry("found", BLUE),
    LegendEntry("missed", ORANGE, dashed=True),
    LegendEntry("found where nothing is", VERMILION),
    LegendEntry("found with the wrong class", PURPLE),
    LegendEntry("not counted", GREY, dashed=True),
)


def draw_pictures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw ``val_batch0..2_labels.jpg``, ``val_batch0..2_pred.jpg``, ``val_best.jpg`` and ``val_worst.jpg``.

    The batches are pictures evenly spaced over the split. Boxes take part that enter the confusion matrix. The
    pictures are read again, the model is not run again; one that cannot be read any more is passed over.

    Returns:
        The files that were written.

    Raises:
        WriteError: a file cannot be written.
    """
    count = len(evaluation.image_paths)
    chosen = np.unique(np.linspace(0, max(count - 1, 0), min(count, SHEETS * PICTURES_PER_SHEET)).round())
    paths = []
    for number in range(SHEETS):
        part = chosen[number * PICTURES_PER_SHEET : (number + 1) * PICTURES_PER_SHEET].astype(np.int64)
        paths += _draw_batch(evaluation, part, folder / f"val_batch{number}")
    return paths + _draw_extremes(evaluation, folder)


def best_and_worst(counts: PictureCounts, most: int = EXTREMES) -> tuple[IntArray, IntArray]:
    """Pictures by F1: the best, those with more boxes first, and the worst, those with more errors first.

    Pictures in which nothing was right are never among the best, those without an error never among the worst.
    """
    place = np.arange(len(counts.right))
    by_quality = np.lexsort((place, -counts.right, -counts.f1))
    by_failure = np.lexsort((place, -counts.errors, counts.f1))
    best = by_quality[counts.right[by_quality] > 0]
    worst = by_failure[counts.errors[by_failure] > 0]
    return best[:most], worst[:most]


def _draw_batch(evaluation: Evaluation, numbers: IntArray, stem: Path) -> list[Path]:
    """The same pictures twice: with their labels, and with what was found."""
    labels, found = [], []
    for number in numbers.tolist():
        picture = _read(evaluation, number)
        if picture is None:
            continue
        caption = Path(evaluation.image_paths[number]).name
        labels.append(_labels_tile(evaluation, number, picture, caption))
        found.append(_found_tile(evaluation, number, picture, caption))
    if not labels:
        return []
    return [
        write_jpeg(class_sheet(labels, scores=False), stem.with_name(stem.name + "_labels.jpg")),
        write_jpeg(class_sheet(found, scores=True), stem.with_name(stem.name + "_pred.jpg")),
    ]


def _labels_tile(evaluation: Evaluation, number: int, picture: Image, caption: str) -> Tile:
    """The true boxes; ignored ones dashed."""
    truth = evaluation.truth
    rows = np.arange(*truth.offsets[number : number + 2])
    boxes = _boxes(evaluation, picture, truth.boxes_xyxy_px[rows], np.ones(len(rows)), truth.class_ids[rows])
    return shrunk(picture, boxes, caption, [BoxLook(dashed=bool(ignored)) for ignored in truth.ignored[rows]])


def _found_tile(evaluation: Evaluation, number: int, picture: Image, caption: str) -> Tile:
    """The predictions with a score that counts."""
    found = evaluation.predictions
    rows = np.arange(*found.offsets[number : number + 2])
    rows = rows[found.scores[rows] > evaluation.confusion.confidence]
    boxes = _boxes(evaluation, picture, found.boxes_xyxy_px[rows], found.scores[rows], found.class_ids[rows])
    return shrunk(picture, boxes, caption)


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A pairing, how each picture fared, and for each true box its row in ``matched`` or -1."""

    pairing: Pairing
    counts: PictureCounts
    match_of_truth: IntArray

    @classmethod
    def of(cls, evaluation: Evaluation) -> _Judgement:
        confusion, truth = evaluation.confusion, evaluation.truth
        judged = judged_predictions(evaluation.predictions, truth)
        pairing = pair_boxes(judged, truth, confusion.confidence, confusion.iou_threshold)
        match_of_truth = np.full(len(truth.class_ids), -1, np.int64)
        match_of_truth[pairing.matched.truth] = np.arange(len(pairing.matched.truth))
        return cls(pairing, count_by_picture(pairing, truth), match_of_truth)


def _draw_extremes(evaluation: Evaluation, folder: Path) -> list[Path]:
    judgement = _Judgement.of(evaluation)
    paths = []
    for name, numbers in zip(
        ("val_best.jpg", "val_worst.jpg"), best_and_worst(judgement.counts), strict=True
    ):
        tiles = [
            _judged_tile(evaluation, judgement, number, picture)
            for number in numbers.tolist()
            if (picture := _read(evaluation, number)) is not None
        ]
        if tiles:
            style = DrawStyle(line_width=2, scores=False)
            drawn = [draw_detections(tile.image, tile.boxes, style, looks=tile.looks) for tile in tiles]
            paths.append(write_jpeg(sheet(drawn, [tile.caption for tile in tiles], _LEGEND), folder / name))
    return paths


def _judged_tile(evaluation: Evaluation, judgement: _Judgement, number: int, picture: Image) -> Tile:
    """What was found right or wrong, what was missed; found boxes are drawn where the model put them."""
    pairing, truth = judgement.pairing, evaluation.truth
    predictions, matched = pairing.predictions, pairing.matched
    rows = np.arange(*truth.offsets[number : number + 2])
    matches = judgement.match_of_truth[rows]
    unfound, pairs = rows[matches < 0], matches[matches >= 0]
    right: BoolArray = (
        predictions.class_ids[matched.prediction[pairs]] == truth.class_ids[matched.truth[pairs]]
    )
    own = np.arange(*predictions.offsets[number : number + 2])
    spurious = own[pairing.spurious[own]]
    predicted = np.concatenate([matched.prediction[pairs], spurious])
    boxes = _boxes(
        evaluation,
        picture,
        np.concatenate([truth.boxes_xyxy_px[unfound], predictions.boxes_xyxy_px[predicted]]),
        np.concatenate([np.ones(len(unfound)), predictions.scores[predicted]]),
        np.concatenate([truth.class_ids[unfound], predictions.class_ids[predicted]]),
    )
    looks = [_IGNORED if truth.ignored[row] else _MISSED for row in unfound]
    looks += [_FOUND if good else _WRONG_CLASS for good in right]
    looks += [_SPURIOUS] * len(spurious)
    if sum(look.labelled for look in looks) > _CROWD:
        looks = [look if look is _WRONG_CLASS else replace(look, labelled=False) for look in looks]
    return shrunk(picture, boxes, _verdict(evaluation, judgement.counts, number), looks)


def _verdict(evaluation: Evaluation, counts: PictureCounts, number: int) -> str:
    wrong = counts.spurious[number] + counts.wrong_class[number]
    name = Path(evaluation.image_paths[number]).name
    return f"{counts.right[number]} found, {counts.missed[number]} missed, {wrong} wrong: {name}"


def _read(evaluation: Evaluation, number: int) -> Image | None:
    try:
        return read_image(Path(evaluation.image_paths[number]), picture_format=evaluation.picture_format)
    except ImageError:
        return None  # it was readable when it was measured; a picture less is no reason to fail


def _boxes(
    evaluation: Evaluation,
    picture: Image,
    boxes_xyxy_px: FloatArray | Float64Array,
    scores: FloatArray | Float64Array,
    class_ids: IntArray,
) -> Detections:
    return Detections(
        boxes_xyxy_px=boxes_xyxy_px.astype(np.float32),
        scores=scores.astype(np.float32),
        class_ids=class_ids,
        class_names=evaluation.confusion.class_names,
        size_hw=(picture.shape[0], picture.shape[1]),
    )
