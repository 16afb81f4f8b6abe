from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.core.golden import read_golden
from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from tests.evaluate.coco_twin import evaluate_by_pycocotools
from vedette.errors import MissingExtraError, WriteError
from vedette.evaluate.coco import (
    COCO_CATEGORY_IDS,
    COCO_NUMBERS,
    coco_metrics,
    image_ids_yolov5,
    result_records,
    write_predictions_json,
)
from vedette.evaluate.packed import keep_predictions
from vedette.evaluate.protocol import frame_yolov5


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {}),
        (1, {"crowd": 0.4}),
        (2, {"crowd": 0.0, "classes": 1}),
        (3, {"images": 6, "classes": 12}),
        (4, {"images": 3, "detections": 260, "classes": 2}),  # more than 100 of a picture and class
        (5, {"most": 1}),  # no true boxes at all
        (6, {"most": 60, "images": 5}),
        (7, {"detections": 0}),
    ],
)
def test_numbers_equal_pycocotools_to_six_decimals(seed: int, options: dict) -> None:
    predictions, truth = draw(seed, **options)
    classes = options.get("classes", 4)
    expected = evaluate_by_pycocotools(predictions, truth, classes)
    result = coco_metrics(predictions, truth, [str(number) for number in range(classes)])
    assert tuple(result.numbers) == COCO_NUMBERS
    found = [-1.0 if value is None else value for value in result.numbers.values()]
    np.testing.assert_allclose(found, expected.stats, atol=5e-7, rtol=0)
    precision = np.where(expected.eval["precision"] > -1, expected.eval["precision"], np.nan)[..., 0, 2]
    np.testing.assert_allclose(result.ap, precision.mean(axis=(0, 1)), atol=5e-7, rtol=0)
    np.testing.assert_allclose(result.ap50, precision[0].mean(axis=0), atol=5e-7, rtol=0)
    np.testing.assert_allclose(result.precision_at_recall, precision[0].T, atol=5e-7, rtol=0)


def test_nothing_predicted_is_zero_and_nothing_to_find_is_undefined() -> None:
    _, truth = draw(0, crowd=0.0)
    nothing = predictions_of([[] for _ in truth.image_ids])
    result = coco_metrics(nothing, truth, list("abcd"))
    assert result.numbers["ap"] == result.numbers["ar_100"] == 0.0
    assert np.isnan(result.ap[3])  # the class without true boxes
    predictions, truth = draw(0, most=1)
    assert coco_metrics(predictions, truth, list("abcd")).numbers == dict.fromkeys(COCO_NUMBERS)
    empty = coco_metrics(predictions_of([]), truth_made([]), list("ab"))
    assert empty.numbers == dict.fromkeys(COCO_NUMBERS)
    assert np.isnan(empty.ap).all()


def test_sizes_go_by_the_given_area() -> None:
    """The box is 100 x 100, large; its area of 50 makes it small."""
    truth = truth_made([[[0, 0, 0, 100, 100]]], areas=np.array([50.0]))
    numbers = coco_metrics(predictions_of([[[0, 0, 100, 100, 0.9, 0]]]), truth, ["a"]).numbers
    assert numbers["ap_small"] == pytest.approx(1.0)
    assert numbers["ap_large"] is None


def test_picture_ids_need_not_be_distinct() -> None:
    predictions, truth = draw(3)
    alike = replace(truth, image_ids=np.zeros_like(truth.image_ids))
    distinct = replace(truth, image_ids=np.arange(len(truth.image_ids)))
    names = list("abcd")
    assert (
        coco_metrics(predictions, alike, names).numbers == coco_metrics(predictions, distinct, names).numbers
    )


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(MissingExtraError, match=r"hotcoco.*vedette\[train\]"):
        coco_metrics(*draw(0), list("abcd"))


def test_coco_category_ids() -> None:
    """evaluation.md section 7: person 1, stop sign (11) 13, toothbrush (79) 90."""
    assert len(COCO_CATEGORY_IDS) == 80
    assert [COCO_CATEGORY_IDS[number] for number in (0, 11, 16, 26, 60, 79)] == [1, 13, 18, 31, 67, 90]


@pytest.mark.parametrize(
    "case", read_golden("training/08-save-txt-json.json")["cases"], ids=lambda case: case["id"]
)
def test_results_file_golden(case: dict, tmp_path: Path) -> None:
    """golden 08-save-txt-json.json: exact, as the file holds rounded decimals."""
    given = case["input"]
    images = []
    for image in given["images"]:
        height, width = image["hw0"]
        frame = frame_yolov5(
            (height, width), round(max(height, width) * image["gain"][0]), tuple(given["batch_hw"])
        )
        rows = np.array(image["preds"], np.float32)
        # The second picture's padding (0, 0) does not follow from its frame, so the case's own is used.
        boxes = frame.boxes_to_source(
            rows[:, :4]
            + np.array(frame.letterbox.pad_wh * 2, np.float32)
            - np.array(image["pad"] * 2, np.float32)
        )
        images.append(np.concatenate([boxes, rows[:, 4:]], axis=1).tolist())
    stems = [Path(image["path"]).stem for image in given["images"]]
    categories = COCO_CATEGORY_IDS if given["data_yaml_name"].endswith("coco.yaml") else range(given["nc"])
    path = tmp_path / "predictions.json"
    write_predictions_json(path, predictions_of(images), image_ids_yolov5(stems), categories, rounded=True)
    assert json.loads(path.read_text(encoding="utf-8")) == case["expected"]["json"]


def test_results_reload_to_the_same_numbers(tmp_path: Path) -> None:
    """Unrounded figures survive the file: float32 values are written as exact decimals."""
    predictions, truth = draw(1)
    path = tmp_path / "predictions.json"
    write_predictions_json(path, predictions, truth.image_ids.tolist(), range(4))
    records = json.loads(path.read_text(encoding="utf-8"))
    places = {image_id: number for number, image_id in enumerate(truth.image_ids.tolist())}
    images: list[list[list[float]]] = [[] for _ in places]
    for record in records:
        x, y, w, h = record["bbox"]
        row = [x, y, x + w, y + h, record["score"], record["category_id"]]
        images[places[record["image_id"]]].append(row)
    again = predictions_of(images)
    np.testing.assert_array_equal(again.scores, predictions.scores)
    np.testing.assert_array_equal(again.boxes_xyxy_px, predictions.boxes_xyxy_px)
    names = list("abcd")
    assert coco_metrics(again, truth, names).numbers == coco_metrics(predictions, truth, names).numbers


def test_no_boxes_give_an_empty_list(tmp_path: Path) -> None:
    predictions, truth = draw(1)
    nothing = keep_predictions(predictions, predictions.scores > 2)
    assert list(result_records(nothing, truth.image_ids.tolist(), range(4))) == []
    write_predictions_json(tmp_path / "none.json", nothing, truth.image_ids.tolist(), range(4))
    assert json.loads((tmp_path / "none.json").read_text(encoding="utf-8")) == []


def test_a_folder_that_is_not_there_is_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        write_predictions_json(tmp_path / "no" / "p.json", predictions_of([]), [], [])


@pytest.mark.parametrize(
    ("stem", "expected"), [("000042", 42), ("img_b", "img_b"), ("²", "²"), ("٣", "٣"), ("-1", "-1")]
)
def test_picture_ids_from_stems(stem: str, expected: int | str) -> None:
    assert image_ids_yolov5([stem]) == [expected]
