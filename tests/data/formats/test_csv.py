from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.small_sets import write_picture, write_text
from vedette.data.description import load_description
from vedette.data.formats import csv
from vedette.data.formats.records import LabelFile, SplitFiles
from vedette.data.index import load_index, read_index
from vedette.data.sources import PictureList

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
YAML = "format: csv\ntrain: {images: images, annotations: boxes.csv}\nnames: [cat, wind turbine]\n"


def _write(root: Path, table: str | bytes, yaml: str = YAML) -> Path:
    for stem in "ab":
        write_picture(root / "images" / f"{stem}.png")
    write_text(root / "boxes.csv", table)
    return write_text(root / "data.yaml", yaml)


def test_pictures_are_those_that_rows_name(tmp_path: Path) -> None:
    table = (
        f"{HEADER}\nb.png,40,30,wind turbine,1,2,11,12\na.png,40,30,cat,0,0,40,30\nb.png,40,30,cat,3,4,5,6\n"
    )
    index = read_index(load_description(_write(tmp_path, table)), "train")
    assert list(index.paths) == ["images/a.png", "images/b.png"]
    np.testing.assert_array_equal(index.labels(1).boxes_xyxy_px, [[1, 2, 11, 12], [3, 4, 5, 6]])
    assert index.labels(1).class_ids.tolist() == [1, 0]
    assert not index.defects


def test_a_list_decides_which_pictures_belong(tmp_path: Path) -> None:
    yaml = YAML.replace("boxes.csv}", "boxes.csv, list: train.txt}") + "coordinates: voc1\n"
    table = f"{HEADER},difficult\nb.png,40,30,cat,1,2,11,12,1\nother.png,40,30,fox,x,0,1,1,0\n"
    file = _write(tmp_path, table, yaml)
    write_text(tmp_path / "train.txt", "a.png\nb.png\nb.png\nnotes.txt\n")
    index = read_index(load_description(file), "train")
    np.testing.assert_array_equal(index.labels(1).boxes_xyxy_px, [[0, 1, 11, 12]])
    assert index.ignored.tolist() == [True]
    assert index.background_count == 1
    assert [(defect.line, defect.kind) for defect in index.defects] == [
        (3, "picture-listed-twice"),
        (4, "not-a-picture"),
    ]


def test_columns_in_any_order_and_more_of_them(tmp_path: Path) -> None:
    table = "\ufeffYMAX, class ,note,xmin,ymin,xmax,filename\r\n12,cat,hi,1,2,11,a.png\r\n\r\n"
    index = read_index(load_description(_write(tmp_path, table)), "train")
    np.testing.assert_array_equal(index.boxes_xyxy_px, [[1, 2, 11, 12]])
    assert [(defect.line, defect.kind) for defect in index.defects] == [(1, "byte-order-mark")]


def test_quoted_fields_and_windows_separators(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "deep" / "a, b.png")
    table = f'{HEADER}\n"deep\\a, b.png",40,30,"cat",1,2,11,12\n'
    index = read_index(load_description(_write(tmp_path, table)), "train")
    assert list(index.paths) == ["images/deep/a, b.png"]


def test_backgrounds(tmp_path: Path) -> None:
    yaml = YAML.replace("boxes.csv}", "boxes.csv, backgrounds: empty}")
    file = _write(tmp_path, f"{HEADER}\na.png,40,30,cat,0,0,40,30\n", yaml)
    write_picture(tmp_path / "empty" / "c.png")
    index = read_index(load_description(file), "train")
    assert (len(index), index.background_count, index.counts.pictures_read) == (2, 1, 2)


@pytest.mark.parametrize(("data", "line"), [(b"", 1), (b"a;b;c\n", 1), (HEADER.encode() + b"\n\n\xff", 3)])
def test_files_without_a_readable_table(tmp_path: Path, data: bytes, line: int) -> None:
    index = read_index(load_description(_write(tmp_path, data)), "train")
    assert [(defect.line, defect.kind) for defect in index.defects] == [(line, "missing-column")]


@settings(deadline=None, max_examples=80)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: f"{HEADER}\n{text}".encode())))
def test_any_bytes_are_read_or_listed(data: bytes) -> None:
    from tests.data.formats.test_yolo import _description

    files = SplitFiles(PictureList(), [LabelFile("boxes.csv", data)], image_folder="images")
    raw = csv.parse(_description(), files)
    assert raw.rows_read == len(raw.rows) + sum(defect.effect == "row" for defect in raw.defects)


def test_voc2007(data_dir: Path, tmp_path: Path) -> None:
    """20 classes, fractional 1-based pixels, list files, difficult boxes; none of it is at fault."""
    folder = data_dir / "voc2007"
    if not folder.is_dir():
        pytest.skip("no voc2007 below VEDETTE_DATA_DIR")
    names = (
        *(
            "aeroplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "diningtable",
        ),
        *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
    lists = "".join(
        f"{split}: {{images: images, annotations: boxes.csv, list: {split}.txt}}\n"
        for split in ("train", "val")
    )
    yaml = f"format: csv\npath: {folder.as_posix()}\n{lists}coordinates: voc1\nnames: [{', '.join(names)}]\n"
    description = load_description(write_text(tmp_path / "voc.yaml", yaml))
    indexes = [load_index(description, split, cache_dir=tmp_path) for split in ("train", "val")]
    assert [len(index) for index in indexes] == [4511, 497]
    assert sum(len(index.class_ids) for index in indexes) == 15_655
    assert sum(int(index.ignored.sum()) for index in indexes) == 3054
    for index in indexes:
        assert {defect.effect for defect in index.defects} <= {"kept"}
        assert index.boxes_xyxy_px.min() == 0
        limits = np.repeat(index.sizes_hw[:, ::-1], np.diff(index.offsets), axis=0)
        assert (index.boxes_xyxy_px[:, 2:] <= limits + 0.5).all()
