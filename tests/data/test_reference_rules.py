from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import GOLDEN
from tests.data.small_sets import write_picture, write_text
from vedette.data.defects import KINDS, Defect
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, read_index
from vedette.data.reference_rules import DROPPED_BY_YOLOV5_V4, yolov5_keeps_image
from vedette.data.sources import label_path

CASE: dict[str, Any] = json.loads((GOLDEN / "training" / "12-label-validation.json").read_text("utf-8"))[
    "cases"
][0]
NAMES = "names: [a, b, c]\n"


@pytest.fixture
def index(tmp_path: Path) -> SplitIndex:
    texts: dict[str, str | None] = CASE["input"]["label_text_by_image"]
    images, labels = tmp_path / "images", tmp_path / "labels"
    for name, text in texts.items():
        path = images / name
        if name == "u_9px.png":
            write_picture(path, width=30, height=9)
        elif name == "v_not_an_image.png":
            write_text(path, "hello")
        elif name == "x_upper.PNG":
            shutil.copy(images / "a_ok.png", path)
        elif name == "w_wrong_suffix.txt":
            write_text(path, "0 0.5 0.5 0.2 0.2")
        else:
            write_picture(path, width=30, height=20)
            if text is not None:
                write_text(labels / Path(name).with_suffix(".txt"), text)
    for name in ("u_9px", "v_not_an_image"):
        write_text(labels / f"{name}.txt", "0 0.5 0.5 0.2 0.2\n")
    return read_index(
        load_description(write_text(tmp_path / "data.yaml", "train: images\n" + NAMES)), "train"
    )


def _kept(index: SplitIndex, name: str) -> bool:
    image = str(Path(index.root) / "images" / name)
    places = {image, label_path(image)}
    return yolov5_keeps_image(defect for defect in index.defects if defect.path in places)


def test_golden_12_what_the_reference_keeps(index: SplitIndex) -> None:
    """12-label-validation.json T12.1: the decision is binding, so exact."""
    considered = [*CASE["expected"]["kept_in_order"], *CASE["expected"]["ignored"]]
    assert index.counts.pictures_read == CASE["expected"]["results_found_missing_empty_corrupt_total"][4]
    assert [name for name in sorted(considered) if _kept(index, name)] == CASE["expected"]["kept_in_order"]
    missing = sum(defect.kind == "no-label-file" for defect in index.defects)
    assert missing == CASE["expected"]["results_found_missing_empty_corrupt_total"][1]


def test_golden_12_labels_and_sizes(index: SplitIndex) -> None:
    """12-label-validation.json T12.1, rows that both keep; float32 of the reference against our float64: 1e-6."""
    row_left_out_by_us = {"p_zero_area.png", "r_float_class.png"}
    position = {path: number for number, path in enumerate(index.paths)}
    for name, expected in CASE["expected"]["kept"].items():
        number = position[f"images/{name}"]
        height, width = index.sizes_hw[number].tolist()
        assert [width, height] == expected["wh"]
        if name in row_left_out_by_us:
            continue
        labels = index.labels(number)
        x1, y1, x2, y2 = labels.boxes_xyxy_px.T
        found = np.stack(
            (
                labels.class_ids,
                (x1 + x2) / 2 / width,
                (y1 + y2) / 2 / height,
                (x2 - x1) / width,
                (y2 - y1) / height,
            ),
            1,
        )
        np.testing.assert_allclose(found, np.reshape(expected["labels"], (-1, 5)), atol=1e-6)


def test_we_leave_out_rows_where_the_reference_drops_pictures(index: SplitIndex) -> None:
    assert index.counts.pictures_left_out == 2, "only the picture of 9 pixels and the one that is none"
    assert index.counts.rows_repeated == 1
    position = {path: number for number, path in enumerate(index.paths)}
    assert len(index.labels(position["images/m_blank_line_inside.png"]).class_ids) == 2
    assert len(index.labels(position["images/i_ragged.png"]).class_ids) == 1


def test_the_rule_speaks_of_known_kinds() -> None:
    assert set(KINDS) >= DROPPED_BY_YOLOV5_V4
    assert yolov5_keeps_image([])
    assert yolov5_keeps_image([Defect("a", 1, "zero-size", "")])
    assert not yolov5_keeps_image([Defect("a", 1, "zero-size", ""), Defect("a", 2, "nan", "")])
