import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from vedette.core.letterbox import rescale_boxes_yolov5
from vedette.core.types import Detections
from vedette.errors import ImageError, WriteError
from vedette.infer.draw import DrawStyle
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.writers import (
    CSV_COLUMNS,
    OutputNames,
    coco_writer,
    csv_writer,
    json_lines_writer,
    picture_writer,
    text_writer,
    yolo_lines,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "08-save-txt-json.json"
NAMES = ("cat", "dog\n\x1b[31m")


def result(path="in/a.jpg", rows=(), size_hw=(100, 200), image=None, names=NAMES):
    rows = np.array(rows, dtype=np.float32).reshape(-1, 6)
    detections = Detections(
        boxes_xyxy_px=rows[:, :4],
        scores=rows[:, 4],
        class_ids=rows[:, 5].astype(np.int64),
        class_names=names,
        size_hw=size_hw,
        path=path,
    )
    return PictureResult(SourceItem(path, Path(path)), detections, image=image)


def failure(path="in/bad.jpg"):
    error = ImageError("the file is empty", where="/secret/place/bad.jpg", fix="copy it again", kind="empty")
    return PictureResult(SourceItem(path, Path(path)), error=error)


def write_one_and_fail(make, path):
    with make(path) as write:
        write(result(rows=[BOX]))
        raise ZeroDivisionError


BOX = (10.25, 20.5, 50.125, 60.0, 0.875, 1)


def golden_cases():
    """Golden 08: its boxes lie in the network's frame and are mapped back by the published rule."""
    for case in json.loads(GOLDEN.read_text())["cases"]:
        given = case["input"]
        for picture, expected in zip(given["images"], case["expected"]["txt"].items(), strict=True):
            yield pytest.param(
                given, picture, expected, case["expected"]["json"], id=f"{case['id']}-{expected[0]}"
            )


def golden_detections(given, picture):
    rows = torch.tensor(picture["preds"])
    if picture["gain"] == [1.0, 1.0]:
        # Recorded with its own gain and padding, not those of the sizes.
        boxes = rows[:, :4].clone()
    else:
        boxes = rescale_boxes_yolov5(rows[:, :4], tuple(given["batch_hw"]), tuple(picture["hw0"]))
    return Detections(
        boxes.numpy(),
        rows[:, 4].numpy(),
        rows[:, 5].long().numpy(),
        tuple(str(number) for number in range(given["nc"])),
        tuple(picture["hw0"]),
    )


@pytest.mark.parametrize(("given", "picture", "expected", "records"), list(golden_cases()))
def test_golden_08_txt(tmp_path, given, picture, expected, records):
    found = golden_detections(given, picture)
    with text_writer(tmp_path / "labels", scores=given["save_conf"]) as write:
        write(PictureResult(SourceItem(picture["path"], Path(picture["path"])), found))
    name, text = expected
    assert (tmp_path / "labels" / name).read_bytes() == text.encode()


@pytest.mark.parametrize(("given", "picture", "expected", "records"), list(golden_cases()))
def test_golden_08_json(tmp_path, given, picture, expected, records):
    """The category id is the class id here; the 91-number map belongs to the COCO data set."""
    found = golden_detections(given, picture)
    with coco_writer(tmp_path / "results.json") as write:
        write(PictureResult(SourceItem(picture["path"], Path(picture["path"])), found))
    stem = Path(expected[0]).stem
    image_id = int(stem) if stem.isdecimal() else stem
    wanted = [dict(record) for record in records if record["image_id"] == image_id]
    for record, row in zip(wanted, picture["preds"], strict=True):
        record["category_id"] = row[5]
    assert json.loads((tmp_path / "results.json").read_text()) == wanted


def test_text_is_written_fresh_and_stale_files_go(tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("old\n")
    (labels / "b.txt").write_text("old\n")
    (labels / "c.txt").write_text("old\n")
    with text_writer(labels, scores=True) as write:
        write(result("in/a.jpg", [BOX]))
        write(result("in/b.jpg"))
        write(failure("in/c.jpg"))
    assert (labels / "a.txt").read_text() == "1 0.150938 0.4025 0.199375 0.395 0.875\n"
    assert [path.name for path in labels.iterdir()] == ["a.txt"]


def test_text_reads_back_as_the_same_boxes():
    rows = np.random.default_rng(0).uniform(0, 1, (50, 4)).astype(np.float32)
    boxes = np.concatenate((rows[:, :2] * 100, 100 + rows[:, 2:] * 900), axis=1)
    found = result(rows=[(*box, 0.5, 0) for box in boxes], size_hw=(1000, 1000)).detections
    for line, box in zip(yolo_lines(found), boxes, strict=True):
        _, cx, cy, w, h = (float(part) * 1000 for part in line.split())
        # Six significant digits of values below 1000 px.
        np.testing.assert_allclose((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), box, atol=2e-3)


def test_json_lines(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with json_lines_writer(path) as write:
        write(result("in/ä b.jpg", [BOX]))
        write(result("in/none.jpg"))
        write(failure())
    raw = path.read_bytes()
    assert raw.count(b"\n") == 3
    assert b"\x1b" not in raw
    assert b"\r" not in raw
    first, second, third = (json.loads(line) for line in raw.decode("utf-8").splitlines())
    assert first == {
        "path": "in/ä b.jpg",
        "size_hw": [100, 200],
        "detections": [
            {"box_xyxy": [10.25, 20.5, 50.125, 60.0], "score": 0.875, "class_id": 1, "class_name": NAMES[1]}
        ],
    }
    assert second == {"path": "in/none.jpg", "size_hw": [100, 200], "detections": []}
    assert third == {
        "path": "in/bad.jpg",
        "size_hw": None,
        "error": "the file is empty; copy it again",
        "error_kind": "empty",
    }


def test_json_lines_hold_names_that_are_no_utf8(tmp_path):
    path = tmp_path / "predictions.jsonl"
    name = os.fsdecode(b"in/\xff.jpg") if sys.platform != "win32" else "in/\udcff.jpg"
    with json_lines_writer(path) as write:
        write(result(name))
    assert json.loads(path.read_text(encoding="utf-8"))["path"] == name


def test_lines_before_an_error_stay(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with pytest.raises(ZeroDivisionError):
        write_one_and_fail(json_lines_writer, path)
    assert len(path.read_text().splitlines()) == 1


def test_csv(tmp_path):
    path = tmp_path / "predictions.csv"
    with csv_writer(path) as write:
        write(result('in/a,"b".jpg', [BOX, (0, 0, 5, 5, 0.5, 0)]))
        write(result("in/none.jpg"))
        write(failure())
    with path.open(encoding="utf-8", newline="") as file:
        header, first, second = csv.reader(file)
    assert tuple(header) == CSV_COLUMNS
    assert first == [
        'in/a,"b".jpg', "1", "dog\\u000a\\u001b[31m", "0.875", "10.25", "20.5", "50.125", "60", "200", "100",
    ]  # fmt: skip
    assert second[1:4] == ["0", "cat", "0.5"]


def test_coco_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(ZeroDivisionError):
        write_one_and_fail(coco_writer, path)
    assert list(tmp_path.iterdir()) == []
    with coco_writer(path) as write:
        write(failure())
    assert json.loads(path.read_text()) == []


def test_coco_ids_differ_for_different_pictures(tmp_path):
    path = tmp_path / "results.json"
    with coco_writer(path) as write:
        for name in ("x/7.jpg", "y/7.jpg", "x/007.jpg", "x/b.jpg", "x/b.png", "x/²³.png"):
            write(result(name, [BOX]))
    assert [entry["image_id"] for entry in json.loads(path.read_text())] == [
        7,
        "7_2",
        "007",
        "b",
        "b_2",
        "²³",
    ]


def test_coco_records_are_rounded():
    (record,) = result(rows=[(1.23456, 2, 30.98765, 44.4, 0.123456789, 0)]).detections.to_coco(3)
    assert record == {"image_id": 3, "category_id": 0, "bbox": [1.235, 2.0, 29.753, 42.4], "score": 0.12346}


def test_names_are_never_given_twice():
    names = OutputNames()
    taken = [names.take(stem, ".jpg") for stem in ("a", "a", "A", "a_2", "a", "é", "e\u0301")]
    assert taken == ["a.jpg", "a_2.jpg", "A_3.jpg", "a_2_2.jpg", "a_4.jpg", "é.jpg", "e\u0301_2.jpg"]


def test_pictures_keep_their_names_and_none_is_lost(tmp_path, caplog):
    image = np.full((100, 200, 3), 128, dtype=np.uint8)
    with picture_writer(tmp_path, DrawStyle(labels=False)) as write:
        for path in ("x/a.png", "y/a.png", "x/b.JPG", "x/c.webp", "x/d.bmp", "x/e.tif", "x/f.dng", "x/g"):
            write(result(path, [BOX], image=image))
        write(failure("x/h.png"))
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["a.png", "a_2.png", "b.JPG", "c.webp", "d.bmp", "e.tif", "f.dng.png", "g.png"]
    assert caplog.messages == ["the result of y/a.png is written as a_2.png: its name was taken"]
    for name in found:
        with Pillow.open(tmp_path / name) as opened:
            pixels = np.asarray(opened.convert("RGB")).astype(int)
        assert pixels.shape == (100, 200, 3)
        # Class 1 is blue; red and blue are not swapped.
        line = pixels[20:22, 12:48].mean(axis=(0, 1))
        assert line[2] > line[0] + 50


def test_a_picture_too_wide_for_its_format_is_still_written(tmp_path):
    image = np.full((2, 70_000, 3), 128, dtype=np.uint8)
    with picture_writer(tmp_path, DrawStyle()) as write:
        write(result("x/wide.jpg", [], (2, 70_000), image=image))
    with Pillow.open(tmp_path / "wide.jpg") as opened:
        assert (opened.format, opened.size) == ("PNG", (70_000, 2))


@pytest.mark.parametrize("make", [json_lines_writer, csv_writer, coco_writer])
def test_a_file_that_cannot_be_written_is_named(tmp_path, make):
    path = tmp_path / "no" / "folder" / "file"
    with pytest.raises(WriteError, match="file"), make(path) as write:
        write(result(rows=[BOX]))


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    with pytest.raises(WriteError, match=r"a\.png"), picture_writer(tmp_path / "gone", DrawStyle()) as write:
        write(result("x/a.png", image=image))
    (tmp_path / "labels").write_text("")
    with pytest.raises(WriteError, match="labels"), text_writer(tmp_path / "labels", scores=False):
        pass
