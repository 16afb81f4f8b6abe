from pathlib import Path

import numpy as np
import pytest

from vedette.core.types import Detections
from vedette.errors import ImageError, WriteError
from vedette.evaluate.track_files import read_tracks
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.tracking.track_writer import track_lines, track_writer
from vedette.infer.video.live import SourceEvent


def detections(*rows):
    """From rows (x1, y1, x2, y2, score, class, id)."""
    rows = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return Detections(
        rows[:, :4].astype(np.float32),
        rows[:, 4].astype(np.float32),
        rows[:, 5].astype(np.int64),
        ("cat", "dog"),
        (100, 200),
        track_ids=rows[:, 6].astype(np.int64),
    )


BOX = (10.25, 20.5, 50.125, 60.0, 0.875, 1, 7)
LINE = "7,10.25,20.50,39.88,39.50,0.8750,1,-1"


def frame(index, found, path="in/clip.webm"):
    return PictureResult(SourceItem(path, Path(path), frame_index=index, time_ms=40.0 * index), found)


def picture(path, found):
    error = None if found else ImageError("the file is empty", where=path)
    return PictureResult(SourceItem(path, Path(path)), found, error=error)


def ended(path="in/clip.webm"):
    return PictureResult(SourceItem(path, Path(path)), event=SourceEvent("ended", 2))


def text(path):
    return path.read_bytes().decode("ascii")


def test_lines_are_those_of_motchallenge():
    assert track_lines(detections(BOX, (0, 0, 1, 1, 0.5, 0, -1)), 3) == [f"3,{LINE}"]
    untracked = Detections(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), ("a",), (9, 9)
    )
    assert track_lines(untracked, 1) == []


def test_frames_of_a_video_count_from_one(tmp_path):
    with track_writer(tmp_path / "tracks") as write:
        write(frame(0, detections(BOX)))
        write(frame(4, detections(BOX)))
        assert text(tmp_path / "tracks" / "clip.txt") == f"1,{LINE}\n5,{LINE}\n"
        write(frame(0, detections(BOX), "other/clip.mp4"))
        write(frame(0, detections(), "quiet.mp4"))
    found = {path.name: text(path) for path in (tmp_path / "tracks").iterdir()}
    assert found == {"clip.txt": f"1,{LINE}\n5,{LINE}\n", "clip_2.txt": f"1,{LINE}\n", "quiet.txt": ""}


def test_a_video_given_twice_has_two_files(tmp_path):
    with track_writer(tmp_path) as write:
        for _ in range(2):
            write(frame(0, detections(BOX)))
            write(ended())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.txt", "clip_2.txt"]


def test_pictures_of_a_folder_are_one_sequence_unreadable_ones_counted(tmp_path):
    with track_writer(tmp_path) as write:
        for name in ("a/walk/1.jpg", "a/walk/2.jpg", "b/walk/1.jpg", "a/walk/3.jpg", "loose.jpg"):
            write(picture(name, None if name.endswith("2.jpg") else detections(BOX)))
    found = {path.name: text(path) for path in tmp_path.iterdir()}
    assert found == {
        "walk.txt": f"1,{LINE}\n3,{LINE}\n",
        "walk_2.txt": f"1,{LINE}\n",
        "pictures.txt": f"1,{LINE}\n",
    }


def test_an_older_file_is_not_gone_on_with(tmp_path):
    (tmp_path / "clip.txt").write_text("old\n")
    with track_writer(tmp_path) as write:
        write(frame(0, detections(BOX)))
    assert text(tmp_path / "clip.txt") == f"1,{LINE}\n"


def test_what_is_written_reads_back(tmp_path):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 900, (40, 2))
    boxes = np.concatenate((corners, corners + random.uniform(1, 90, (40, 2))), axis=1)
    rows = np.column_stack((boxes, random.uniform(0.1, 1, 40), np.zeros(40), np.arange(1, 41)))
    with track_writer(tmp_path) as write:
        for index in range(4):
            write(frame(index, detections(*rows[index * 10 : index * 10 + 10])))
    read = read_tracks(tmp_path / "clip.txt")
    assert read.frames.tolist() == np.repeat(np.arange(1, 5), 10).tolist()
    assert read.ids.tolist() == list(range(1, 41))
    np.testing.assert_allclose(read.boxes_xyxy_px, boxes, atol=0.011)  # two decimals of corner and of size


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tracks").write_text("")
    with pytest.raises(WriteError, match="tracks"), track_writer(tmp_path / "tracks") as write:
        write(frame(0, detections(BOX)))
