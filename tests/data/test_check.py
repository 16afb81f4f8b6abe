from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.data.faulty_sets import (
    Expected,
    write_faulty_coco,
    write_faulty_csv,
    write_faulty_voc,
    write_faulty_yolo,
)
from tests.data.small_sets import tree_hash, write_picture, write_text, write_yolo
from vedette.data.check import CheckReport, check_dataset
from vedette.data.defects import KINDS
from vedette.data.description import load_description
from vedette.data.index_build import SplitCounts

WRITERS = [write_faulty_yolo, write_faulty_coco, write_faulty_voc, write_faulty_csv]


def _found(report: CheckReport) -> Counter[tuple[str, int, str]]:
    return Counter((defect.path, defect.line, defect.kind) for defect in report.defects)


def _assert_balance(counts: SplitCounts) -> None:
    assert counts.pictures_read == counts.pictures_used + counts.pictures_left_out + counts.pictures_repeated
    assert counts.rows_read == (
        counts.rows_used + counts.rows_bad + counts.rows_repeated + counts.rows_of_pictures_left_out
    )


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_faulty_"))
def test_every_fault_is_listed_with_file_and_line(
    tmp_path: Path, write: Callable[[Path], tuple[Path, Expected]]
) -> None:
    file, expected = write(tmp_path)
    before = tree_hash(tmp_path)
    report = check_dataset(load_description(file))
    assert _found(report) == Counter(expected)
    counts = report.splits["train"].counts
    _assert_balance(counts)
    effects = Counter(defect.effect for defect in report.defects)
    assert counts.rows_bad == effects["row"]
    assert counts.pictures_left_out == effects["picture"]
    assert tree_hash(tmp_path) == before, "input data is never touched"


def test_the_faulty_sets_cover_more_than_32_kinds_three_times_each(tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    for write in WRITERS:
        folder = tmp_path / write.__name__
        kinds.update(kind for _, _, kind in write(folder)[1])
    assert all(count >= 3 for count in kinds.values())
    faults = {kind for kind in kinds if KINDS[kind].effect != "note"}
    assert len(faults) >= 32
    others = {"label-unreadable", "label-without-picture", "json-malformed", "missing-column"}
    others |= {kind for kind in KINDS if "labelled" in kind}  # see test_labelled.py
    others |= {"picture-damaged", "picture-in-two-splits", "picture-converted"}  # tested by themselves
    assert set(KINDS) - set(kinds) == others


def test_damaged_pixels_are_found_only_by_decoding(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .4 .4", "b": "1 .5 .5 .4 .4\n0 .2 .2 .1 .1"})
    path = tmp_path / "images" / "b.png"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(raw)
    description = load_description(file)
    headers_only = check_dataset(description, ["train"], decode=False)
    assert not headers_only.defects
    assert any("not decoded" in line for line in headers_only.summary_lines())
    report = check_dataset(description, ["train"])
    assert _found(report) == {(str(path), 0, "picture-damaged"): 1}
    counts = report.splits["train"].counts
    _assert_balance(counts)
    assert (counts.pictures_used, counts.rows_used, counts.rows_of_pictures_left_out) == (1, 1, 2)
    assert report.splits["train"].class_counts.tolist() == [1, 0, 0]
    assert report.bad == 1


def test_a_picture_in_two_splits_is_doubtful_but_kept(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .4 .4", "b": ""})
    report = check_dataset(load_description(file))
    assert _found(report) == {
        (str(tmp_path / "images" / f"{stem}.png"), 0, "picture-in-two-splits"): 1 for stem in "ab"
    }
    assert report.bad == 0
    assert report.summary_lines()[-1] == "everything can be used"


def test_a_label_without_a_picture_is_listed(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .4 .4"}, "train: images\nnames: [cat]\n")
    lost = write_text(tmp_path / "labels" / "lost.txt", "0 .5 .5 .4 .4")
    write_text(tmp_path / "labels" / "classes.txt", "cat\n")
    assert _found(check_dataset(load_description(file))) == {(str(lost), 0, "label-without-picture"): 1}


def test_an_unusable_annotation_file_is_reported_with_its_line(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png")
    write_text(tmp_path / "boxes.csv", "filename,xmin,ymin,xmax,ymax\na.png,1,2,3,4\n")
    yaml = "format: csv\ntrain: {images: images, annotations: boxes.csv}\nnames: [cat]\n"
    report = check_dataset(load_description(write_text(tmp_path / "data.yaml", yaml)))
    assert _found(report) == {(str(tmp_path / "boxes.csv"), 1, "missing-column"): 1}
    assert "'class'" in report.defects[0].text


def test_records_and_summary(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .4 .4\nx 1 2 3 4\n"}, "train: images\nnames: [cat]\n")
    report = check_dataset(load_description(file))
    label = str(tmp_path / "labels" / "a.txt")
    text = "the class is 'x', expected its number"
    assert [defect.to_json() for defect in report.defects] == [
        {"path": label, "line": 2, "kind": "class-text", "text": text}
    ]
    assert str(report.defects[0]) == f"{label}:2: class-text: {text}"
    lines = report.summary_lines()
    assert lines[0] == "train: 1 pictures = 1 used (0 of them backgrounds) + 0 left out + 0 repeated"
    assert lines[2] == "train: cat 1"
    assert lines[-1] == "1 rows, pictures or files cannot be used"
    assert report.kind_counts() == {"class-text": 1}


@pytest.mark.parametrize(
    ("name", "pictures", "boxes", "bad"),
    [("bccd", [205, 87, 72], [2804, 1137, 945], 2), ("wind-turbines", [392, 80], [394, 82], 0)],
)
def test_real_data(data_dir: Path, name: str, pictures: list[int], boxes: list[int], bad: int) -> None:
    report = check_dataset(load_description(name), decode=False)
    counts = [split.counts for split in report.splits.values()]
    assert [count.pictures_used for count in counts] == pictures
    assert [count.rows_used for count in counts] == boxes
    assert report.bad == bad
    for count in counts:
        _assert_balance(count)
        assert asdict(count)["pictures_left_out"] == 0


def test_the_report_says_as_what_pictures_are_read(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    assert not any(
        "pictures are read" in line for line in check_dataset(load_description(file)).summary_lines()
    )
    write_text(file, file.read_text("utf-8") + "channels: 1\nbits: 12\n")
    report = check_dataset(load_description(file))
    assert "pictures are read as 1 channel of 16 bits, values 0 to 4095" in report.summary_lines()
    assert report.bad == 0
    assert report.kind_counts()["picture-converted"] == 1  # once, though both splits hold it
