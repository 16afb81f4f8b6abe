from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.faulty_sets import voc_file, voc_object
from tests.data.small_sets import write_picture, write_text
from vedette.data.description import load_description
from vedette.data.formats.voc import AnnotationError, read_annotation
from vedette.data.index import read_index
from vedette.errors import DataError

YAML = (
    "format: voc\ntrain: {images: JPEGImages, annotations: Annotations, list: train.txt}\nnames: [cat, dog]\n"
)
NESTED = """<annotation>
<filename>a.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object>
  <name>dog</name><difficult>1</difficult>
  <bndbox><xmax>20.5</xmax><xmin>3</xmin><ymin>4</ymin><ymax>30</ymax></bndbox>
  <part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>10</xmax><ymax>10</ymax></bndbox></part>
</object>
<object><name><![CDATA[cat]]></name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""


def _write(root: Path, yaml: str = YAML, listed: str = "a\nb\n") -> Path:
    for stem in "ab":
        write_picture(root / "JPEGImages" / f"{stem}.jpg")
    write_text(root / "Annotations" / "a.xml", NESTED)
    write_text(root / "train.txt", listed)
    return write_text(root / "data.yaml", yaml)


def test_objects_with_parts_in_any_order_of_tags(tmp_path: Path) -> None:
    index = read_index(load_description(_write(tmp_path)), "train")
    labels = index.labels(0)
    # VOC counts pixels from 1 and includes the last: the box of a whole 40x30 picture is (1, 1, 40, 30).
    np.testing.assert_array_equal(labels.boxes_xyxy_px, [[2, 3, 20.5, 30], [0, 0, 40, 30]])
    assert labels.class_ids.tolist() == [1, 0]
    assert labels.ignored.tolist() == [True, False]
    assert index.background_count == 1
    assert [(defect.kind, Path(defect.path).name) for defect in index.defects] == [("no-label-file", "b.xml")]


def test_edges_convention(tmp_path: Path) -> None:
    index = read_index(load_description(_write(tmp_path, YAML + "coordinates: edges\n")), "train")
    np.testing.assert_array_equal(index.labels(0).boxes_xyxy_px, [[3, 4, 20.5, 30], [1, 1, 40, 30]])


@pytest.mark.parametrize("listed", ["a  1\nb -1\n", "a.jpg\nb.jpg", "\ufeffa\r\nb\r\n\r\n"])
def test_ways_to_list(tmp_path: Path, listed: str) -> None:
    index = read_index(load_description(_write(tmp_path, listed=listed)), "train")
    assert list(index.paths) == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    assert len(index.class_ids) == 2


def test_without_a_list_everything_in_either_folder_counts(tmp_path: Path) -> None:
    file = _write(tmp_path, YAML.replace(", list: train.txt", ", backgrounds: [empty]"))
    write_picture(tmp_path / "JPEGImages" / "deep" / "c.png")
    write_text(tmp_path / "Annotations" / "deep" / "c.xml", voc_file(voc_object(), head=""))
    write_picture(tmp_path / "empty" / "d.png")
    index = read_index(load_description(file), "train")
    assert list(index.paths) == [
        "JPEGImages/a.jpg",
        "JPEGImages/b.jpg",
        "JPEGImages/deep/c.png",
        "empty/d.png",
    ]
    assert np.diff(index.offsets).tolist() == [2, 0, 1, 0]
    assert index.counts.pictures_read == 4


def test_missing_and_repeated_entries_are_told_by_the_list(tmp_path: Path) -> None:
    index = read_index(load_description(_write(tmp_path, listed="a\nz\na\n")), "train")
    found = {(Path(defect.path).name, defect.line, defect.kind) for defect in index.defects}
    assert found == {
        ("train.txt", 2, "picture-missing"),
        ("train.txt", 3, "picture-listed-twice"),
        ("z.xml", 0, "no-label-file"),
    }
    counts = index.counts
    assert (counts.pictures_read, counts.pictures_used, counts.pictures_repeated) == (3, 1, 1)


def test_missing_folder(tmp_path: Path) -> None:
    file = _write(tmp_path, YAML.replace("Annotations", "Labels"))
    with pytest.raises(DataError, match="Labels"):
        read_index(load_description(file), "train")


def test_the_zero_area_boxes_of_bccd(data_dir: Path) -> None:
    description = load_description("bccd")
    found = [
        (Path(defect.path).name, defect.line, defect.kind)
        for split in ("train", "val")
        for defect in read_index(description, split).defects
        if defect.effect == "row"
    ]
    assert found == [("BloodImage_00343.xml", 50, "zero-size"), ("BloodImage_00338.xml", 158, "zero-size")]


BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30)) + "]>"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (BOMB + "<annotation>&e29;</annotation>", "xml-doctype"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "xml-doctype"),
        ("<annotation>&undefined;</annotation>", "xml-malformed"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "xml-malformed"),
        ("", "xml-malformed"),
        ("<annotation>" * 100_000, "xml-malformed"),
    ],
)
def test_hostile_xml(data: str, kind: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_annotation(data.encode())
    assert caught.value.args[1] == kind


@settings(deadline=None, max_examples=80)
@given(
    st.one_of(st.binary(max_size=80), st.just(NESTED.encode())), st.integers(0, 400), st.binary(max_size=3)
)
def test_damaged_xml_is_read_or_refused(data: bytes, at: int, change: bytes) -> None:
    damaged = data[:at] + change + data[at + len(change) :]
    try:
        lines = [item.line for item in read_annotation(damaged).objects]
    except AnnotationError as error:
        lines = [error.args[0]]
    assert all(line >= 1 for line in lines)
