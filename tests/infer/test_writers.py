import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vedette.core.letterbox import rescale_boxes_yolov5
from vedette.core.types import Detections
from vedette.errors import DataError, ImageError, WriteError
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.video.live import SourceEvent
from vedette.infer.writers import (
    CSV_COLUMNS,
    OutputNames,
    ResultNames,
    coco_writer,
    csv_writer,
    json_lines_writer,
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
    assert first[:12] == [
        'in/a,"b".jpg', "1", "dog\\u000a\\u001b[31m", "0.875", "10.25", "20.5", "50.125", "60", "200", "100", "", "",
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


@pytest.mark.parametrize("make", [json_lines_writer, csv_writer, coco_writer])
def test_a_file_that_cannot_be_written_is_named(tmp_path, make):
    path = tmp_path / "no" / "folder" / "file"
    with pytest.raises(WriteError, match="file"), make(path) as write:
        write(result(rows=[BOX]))


def test_a_folder_of_labels_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "labels").write_text("")
    with pytest.raises(WriteError, match="labels"), text_writer(tmp_path / "labels", scores=False):
        pass


def frame(index, rows=(), path="in/clip.mp4", live=False):
    item = SourceItem(path, Path(path), frame_index=index, time_ms=index * 33.3333333, live=live)
    found = result(path, rows).detections
    return PictureResult(item, replace(found, frame_index=index, time_ms=item.time_ms))


def event(kind, path="in/clip.mp4", live=False, **values):
    item = SourceItem(path, Path(path), live=live)
    return PictureResult(
        item, event=SourceEvent(kind, **values), error=values.get("error") if kind == "ended" else None
    )


LOST = DataError("no answer for 5 s", where="rtsp://host/1")


def test_text_of_videos_and_streams_is_numbered_as_published(tmp_path):
    with text_writer(tmp_path / "labels", scores=False) as write:
        write(event("opened"))
        for index in (0, 1, 11):
            write(frame(index, [BOX]))
        write(frame(2))
        write(event("opened", "cam", live=True))
        write(frame(0, [BOX], "cam", live=True))
        write(event("lost", "cam", live=True, error=LOST))
        write(event("ended"))
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "cam_0.txt", "clip_1.txt", "clip_12.txt", "clip_2.txt",
    ]  # fmt: skip


def test_names_of_videos_never_meet_those_of_pictures_or_other_videos(tmp_path):
    with text_writer(tmp_path / "labels", scores=False) as write:
        write(result("a/clip_1.jpg", [BOX]))
        write(result("a/CLIP_2_3.jpg", [BOX]))
        write(frame(0, [BOX], "a/clip.mp4"))
        write(frame(0, [BOX], "a/clip.avi"))
        write(frame(0, [BOX], "a/other.avi"))
        write(frame(1, [BOX], "a/clip.mp4"))
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "CLIP_2_3.txt", "clip_1.txt", "clip_3_1.txt", "clip_3_2.txt", "clip_4_1.txt", "other_1.txt",
    ]  # fmt: skip


@given(
    st.lists(st.sampled_from(["a", "a_1", "A_1", "a_1_1", "a_2", "b"]), max_size=5),
    st.lists(st.sampled_from(["a", "a_1", "a_1_1", "a_2"]), min_size=1, max_size=4),
)
def test_no_two_results_have_one_name(pictures, videos):
    names = ResultNames()
    taken = [
        names.take(SourceItem(f"{n}/{stem}.jpg", Path(f"{stem}.jpg"))) for n, stem in enumerate(pictures)
    ]
    for number, stem in enumerate(videos):
        for index in (0, 1, 10):
            item = SourceItem(f"{number}/{stem}.mp4", Path(f"{stem}.mp4"), frame_index=index)
            taken.append(names.take(item))
    folded = [name.casefold() for name in taken]
    assert len(set(folded)) == len(folded)


def test_nothing_is_kept_of_a_picture_out_of_a_video():
    names = ResultNames()
    for index in range(1000):
        names.take(SourceItem("clip.mp4", Path("clip.mp4"), frame_index=index))
    assert len(names._names._taken) == 1


def test_json_of_videos_and_of_what_happens_to_streams(tmp_path):
    path = tmp_path / "predictions.jsonl"
    with json_lines_writer(path) as write:
        write(event("opened"))
        write(frame(1, [BOX]))
        write(event("ended", frames=2))
        write(
            event(
                "ended", "in/cut.mp4", frames=7, error=DataError("cut off", where="in/cut.mp4", fix="copy it")
            )
        )
        moment = {"time_ms": 1234.56789, "utc": "2026-01-02T03:04:05.678Z", "frames": 30, "dropped": 4}
        write(event("lost", "rtsp://***@host/1", live=True, error=LOST, **moment))
        write(event("recovered", "rtsp://***@host/1", live=True, gap_ms=2500.0, **moment))
        read_while_open = path.read_text().splitlines()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(read_while_open) == len(records), "who follows a stream reads on while it is written"
    assert records[0]["path"] == "in/clip.mp4"
    assert (records[0]["frame_index"], records[0]["time_ms"]) == (1, 33.333)
    assert len(records[0]["detections"]) == 1
    moment["time_ms"] = 1234.568
    assert records[1:] == [
        {"path": "in/cut.mp4", "event": "ended", "frames": 7, "error": "cut off; copy it"},
        {"path": "rtsp://***@host/1", "event": "lost", **moment, "error": "no answer for 5 s"},
        {"path": "rtsp://***@host/1", "event": "recovered", **moment, "gap_ms": 2500.0},
    ]


def test_csv_and_coco_of_videos(tmp_path):
    with csv_writer(tmp_path / "a.csv") as write, coco_writer(tmp_path / "a.json") as write_coco:
        for entry in (result("in/a.jpg", [BOX]), event("opened"), frame(1, [BOX]), event("ended", frames=2)):
            write(entry)
            write_coco(entry)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame_index"], row["time_ms"]) for row in rows] == [("", ""), ("1", "33.333")]
    assert [entry["image_id"] for entry in json.loads((tmp_path / "a.json").read_text())] == ["a", "clip_2"]
