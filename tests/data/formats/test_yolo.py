from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.data.small_sets import write_picture, write_text, write_yolo
from vedette.data.defects import KINDS
from vedette.data.description import DatasetDescription, load_description
from vedette.data.formats import read_split, yolo
from vedette.data.formats.records import LabelFile, RawSplit, SplitFiles
from vedette.data.sources import PictureList


def _description() -> DatasetDescription:
    root = Path("/nowhere")
    return DatasetDescription("x", "x", root / "x.yaml", "yolo", root, ("cat", "dog"), (0, 1), {})


def _parse_bytes(*files: bytes) -> RawSplit:
    pictures = PictureList()
    for number in range(len(files)):
        pictures.add(f"/nowhere/{number}.png")
    labels = [LabelFile(f"/nowhere/{number}.txt", data) for number, data in enumerate(files)]
    return yolo.parse(_description(), SplitFiles(pictures, labels))


_number = st.one_of(
    st.floats(0, 1).map(repr),
    st.floats(0, 1).map(lambda value: f"{value:.6f}"),
    st.sampled_from(
        ["0", "1", "1.", ".5", "0.", "5e-1", "1E-05", "1e99", "1e999", "00.50", "9" * 400, "-0.1", "+1"]
    ),
    st.sampled_from(
        ["nan", "inf", "0x1", "0,5", "0_5", "cat", "0.5.3", "1e", "", ".", "--1", "1-1", "٣", "\xa00.5"]
    ),
)
_row = st.lists(_number, min_size=3, max_size=8).map(" ".join)
_plain_row = st.tuples(
    st.integers(0, 99).map(str), *[st.floats(0, 1).map(lambda value: f"{value:.7g}")] * 4
).map("\t".join)
_line = st.one_of(_plain_row, _plain_row, _row, st.sampled_from(["", " ", "# note", "\0", "\x0c", "\x85"]))
_label_text = st.lists(_line, max_size=6).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n", "\r", " \n"]).map(lambda end: end.join(lines))
)
_label_bytes = st.one_of(
    st.binary(max_size=60),
    _label_text.map(str.encode),
    _label_text.map(lambda text: text.encode() + b"\n\n"),
    _label_text.map(lambda text: text.encode("utf-16")),
    _label_text.map(lambda text: b"\xef\xbb\xbf" + text.encode()),
)


@settings(deadline=None, max_examples=120)
@given(st.lists(_label_bytes, min_size=1, max_size=3))
@example([b"0 0.5 0.5 0.5 0.5\n1 .25 0.25 1. 1e-1\r\n2 1 1 1 1\n\n", b"", b"0 1 1 1 1"])
@example([b"0 0.5 0.5 0.5 " + b"9" * 31 + b"e99"])
@example([b"0 0.5 0.5.3 0.5"])
def test_all_files_at_once_equals_line_by_line(files: list[bytes]) -> None:
    """The bulk reading of plain files and the exact one give the same rows, bit by bit, and the same lines."""
    raw = _parse_bytes(*files)
    expected = [(number, *row) for number, data in enumerate(files) for row in yolo.parse_label(data).rows]
    rows = raw.rows
    found = zip(rows.image_numbers, rows.class_values, *rows.boxes.T, rows.lines, strict=True)
    assert [tuple(map(float, row)) for row in found] == [tuple(map(float, row)) for row in expected]
    bad = sum(defect.effect == "row" for defect in raw.defects)
    assert raw.rows_read == len(rows) + bad
    assert np.isfinite(rows.boxes).all()


@settings(deadline=None, max_examples=120)
@given(_label_bytes)
def test_every_line_is_a_row_or_listed(data: bytes) -> None:
    parsed = yolo.parse_label(data)
    lines = [line for line, _, _ in parsed.faults] + [row[-1] for row in parsed.rows]
    utf_16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") or "utf-16" in {kind for _, kind, _ in parsed.faults}
    if not utf_16:
        count = len(data.rstrip().removeprefix(b"\xef\xbb\xbf").splitlines())
        assert set(lines) >= set(range(1, count + 1))
    assert all(kind in KINDS and line >= 1 and text for line, kind, text in parsed.faults)
    assert parsed.bad_rows == sum(KINDS[kind].effect == "row" for _, kind, _ in parsed.faults)


def test_plain_files_take_the_bulk_way_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison above would compare the exact reading with itself."""
    seen: list[bytes] = []
    exact = yolo.parse_label
    monkeypatch.setattr(yolo, "parse_label", lambda data, names: seen.append(data) or exact(data, names))
    odd = b"0 0.5 0.5 0.2 0.2\nx 1 1 1 1\n"
    raw = _parse_bytes(b"0 0.5 0.5 0.2 0.2\n1\t.1 1. 0.3 1e-05  \r\n", odd, b"1 0 0 1 1")
    assert seen == [odd]
    assert raw.rows.image_numbers.tolist() == [0, 0, 1, 2]
    assert raw.rows.lines.tolist() == [1, 2, 1, 1]
    np.testing.assert_array_equal(raw.rows.boxes[1], [0.1, 1.0, 0.3, 1e-05])


def test_box_and_polygon_rows_of_one_file_do_not_mix() -> None:
    """The reference turns the box `0 0.5 0.5 0.2 0.2` into another one when a polygon follows it."""
    parsed = yolo.parse_label(b"0 0.5 0.5 0.2 0.2\n1 0.1 0.2 0.5 0.2 0.3 0.8\n")
    np.testing.assert_allclose(
        parsed.rows, [(0, 0.5, 0.5, 0.2, 0.2, 1), (1, 0.3, 0.5, 0.4, 0.6, 2)], rtol=1e-12
    )
    assert parsed.faults == [(2, "polygon", "1 polygon row was read as a box")]
    assert parsed.bad_rows == 0


def test_texts_say_what_to_do() -> None:
    faults = yolo.parse_label(b"dog 1 1 1 1\n0 1 1 1 1 0.9\n0 1 0x1 1 1\n", ("cat", "dog")).faults
    assert [text for _, _, text in faults] == [
        "the class is 'dog', expected its number; this name has number 1",
        "6 columns, expected 5: class x_center y_center width height "
        "(a score in the sixth column belongs to predictions, not to labels)",
        "y_center is '0x1'",
    ]


def test_old_macintosh_line_ends() -> None:
    assert [row[-1] for row in yolo.parse_label(b"0 1 1 1 1\r1 1 1 1 1\r").rows] == [1, 2]


def test_split_with_backgrounds_and_label_beside_the_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.jpg")
    write_text(tmp_path / "pictures" / "a.txt", "1 0.5 0.5 0.5 0.5")
    write_picture(tmp_path / "empty" / "b.jpg")
    yaml = "train: {images: pictures, backgrounds: empty}\nnames: [cat, dog]\n"
    raw = read_split(load_description(write_text(tmp_path / "data.yaml", yaml)), "train")
    assert [Path(path).name for path in raw.image_paths] == ["a.jpg", "b.jpg"]
    assert raw.rows.class_values.tolist() == [1]
    assert [(defect.kind, Path(defect.path).name) for defect in raw.defects] == [("no-label-file", "b.txt")]


def test_mirrored_label_folder(tmp_path: Path) -> None:
    raw = read_split(load_description(write_yolo(tmp_path, {"a": "0 .5 .5 .2 .2", "b": None})), "train")
    assert raw.relative
    assert raw.rows_read == 1
    assert raw.label_path(0) == str(tmp_path / "labels" / "a.txt")
    assert raw.mention(0) == (str(tmp_path / "images" / "a.png"), 0)
