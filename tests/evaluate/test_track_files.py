import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.errors import DataError
from vedette.evaluate import track_files
from vedette.evaluate.track_files import read_tracks


def written(tmp_path, content):
    path = tmp_path / "gt.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ROWS = """1,7,10,20,30,40,1,1,0.8
1,8,0,0,5,5,0,1,1
2,7,11.5,20,30,40,1,1,1

2,9,50,50,10,20,1,3,0.25
"""


def test_annotations_of_motchallenge(tmp_path):
    tracks = read_tracks(written(tmp_path, ROWS))
    assert tracks.frames.tolist() == [1, 2, 2]
    assert tracks.ids.tolist() == [7, 7, 9]
    assert tracks.boxes_xyxy_px.tolist() == [[10, 20, 40, 60], [11.5, 20, 41.5, 60], [50, 50, 60, 70]]
    assert read_tracks(written(tmp_path, ROWS), class_id=3).ids.tolist() == [9]
    assert len(read_tracks(written(tmp_path, ROWS), class_id=2)) == 0


@pytest.mark.parametrize(
    "row", ["3,1,2,4,5,6", "3 1 2 4 5 6", "3,1,2,4,5,6,0.5", "3, 1, 2, 4, 5, 6, -1, -1, -1, -1",
            "3,1,2,4,5,6,0.9,12.5,3.25,-1", "\ufeff3,1,2,4,5,6,0.9,0,-1"],
)  # fmt: skip
def test_columns_that_results_come_in(tmp_path, row):
    tracks = read_tracks(written(tmp_path, row))
    assert (tracks.frames.tolist(), tracks.ids.tolist()) == ([3], [1])
    assert tracks.boxes_xyxy_px.tolist() == [[2, 4, 7, 10]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("1,7,10,20,30\n", r"gt\.txt:1: has 5 columns, expected 6 to 10; write frame,id"),
        ("1,7,10,20,30,40,1,1,1,1,1\n", ":1: has 11 columns"),
        (f"{ROWS}1,7,ten,20,30,40\n", r"gt\.txt:6: could not convert string to float: 'ten'"),
        ("1,7,nan,20,30,40\n", "holds what is no number"),
        ("1,7,10,1e300,30,40\n", "too large"),
        ("1.5,7,10,20,30,40\n", "must be whole numbers"),
        ("1,7,10,20,30,40,1,0.5,1\n", "must be whole numbers"),
        ("1,7,10,20,-30,40\n", "negative width"),
        ("1,7,10,20,30,40\n1,7,10,20,30,40\n", r"gt\.txt: id 7 is in frame 1 more than once"),
        (b"\xff\xfe1,2", "not UTF-8"),
    ],
)
def test_what_is_no_file_of_tracks_is_refused(tmp_path, content, text):
    with pytest.raises(DataError, match=text):
        read_tracks(written(tmp_path, content))


def test_missing_and_huge_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read"):
        read_tracks(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_tracks(tmp_path)
    monkeypatch.setattr(track_files, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="is longer than 10 bytes"):
        read_tracks(written(tmp_path, ROWS))


def test_an_empty_file_has_no_tracks(tmp_path):
    assert len(read_tracks(written(tmp_path, ""))) == 0


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="0123456789.,-+eEinfa \n\t\x00_", max_size=80) | st.binary(max_size=60))
def test_any_content_gives_tracks_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with contextlib.suppress(DataError):
        assert np.isfinite(read_tracks(path).boxes_xyxy_px).all()
