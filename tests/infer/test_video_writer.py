from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.infer.test_writers import BOX, event, frame
from tests.infer.video.clips import VARIABLE_MS, pyav
from tests.infer.video.stream_server import number_of, numbered
from vedette.errors import UsageError, WriteError
from vedette.infer import video_writer as module
from vedette.infer.draw import DrawStyle
from vedette.infer.sources import open_source
from vedette.infer.video.reader import open_video
from vedette.infer.video_writer import fitted, video_writer

WRITERS = ["pyav", "opencv"]


@pytest.fixture(params=WRITERS)
def encoder(request, monkeypatch):
    if request.param == "pyav":
        pyav()
    else:
        monkeypatch.setattr(module, "pyav_is_installed", lambda: False)
    return request.param


def shown(number, time_ms, path="in/clip.mp4", live=False, rows=(), size=(160, 120)):
    """A result at a time, of a picture that shows its number."""
    one = frame(number, rows, path, live)
    return replace(one, item=replace(one.item, time_ms=time_ms), image=numbered(number, *size))


def read(path):
    (item,) = open_source(path).videos
    reader = open_video(item)
    frames = list(reader.frames())
    reader.close()
    return frames


def test_pictures_have_the_times_they_had(tmp_path, encoder):
    with video_writer(tmp_path, DrawStyle(), streams=False) as write:
        write(event("opened", frame_rate=50.0))
        for number, time_ms in enumerate(VARIABLE_MS):
            write(shown(number, 7000.0 + time_ms))
        write(event("ended", frames=len(VARIABLE_MS)))
        frames = read(tmp_path / "clip.webm")  # closed with its source, not at the end of the run
    assert [path.name for path in tmp_path.iterdir()] == ["clip.webm"]
    numbers = [number_of(one.image) for one in frames]
    if encoder == "pyav":
        assert numbers == list(range(len(VARIABLE_MS)))
        assert [one.time_ms for one in frames] == pytest.approx(VARIABLE_MS, abs=1)
    else:
        # At 50 pictures a second, what comes in the same 20 ms is one picture; times are right to one.
        first = {number: one.time_ms for number, one in reversed(list(zip(numbers, frames, strict=True)))}
        assert numbers == sorted(numbers)
        assert len(first) >= 10
        for number, time_ms in first.items():
            assert time_ms == pytest.approx(VARIABLE_MS[number], abs=20)


def test_boxes_are_drawn_in_their_colours(tmp_path, encoder):
    grey = np.full((100, 200, 3), 128, dtype=np.uint8)
    with video_writer(tmp_path, DrawStyle(labels=False, line_width=6), streams=False) as write:
        for number in range(3):
            write(replace(shown(number, 40.0 * number, rows=[BOX]), image=grey))
    image = read(tmp_path / "clip.webm")[-1].image.astype(int)
    edge = image[30:50, 9:12].mean(axis=(0, 1))
    assert edge[2] > edge[0] + 50, "class 1 is blue"
    assert abs(image[80, 150] - 128).max() < 12


def test_streams_are_written_only_where_asked_for(tmp_path):
    pyav()
    for streams, expected in ((False, []), (True, ["cam.webm"])):
        with video_writer(tmp_path, DrawStyle(), streams=streams) as write:
            write(event("opened", "cam", live=True, frame_rate=25.0))
            for number in range(3):
                write(shown(number, 100.0 * number, "cam", live=True))
        assert [path.name for path in tmp_path.iterdir()] == expected
    assert len(read(tmp_path / "cam.webm")) == 3


def test_streams_come_mixed_and_each_has_its_file(tmp_path, encoder):
    with video_writer(tmp_path, DrawStyle(), streams=True) as write:
        for number in range(4):
            write(shown(number, 40.0 * number, "one", live=True))
            write(shown(number + 100, 40.0 * number, "two", live=True))
    assert [number_of(one.image) for one in read(tmp_path / "one.webm")] == list(range(4))
    assert [number_of(one.image) for one in read(tmp_path / "two.webm")] == list(range(100, 104))


def test_a_stream_that_changes_its_size_keeps_its_file(tmp_path, encoder):
    with video_writer(tmp_path, DrawStyle(), streams=True) as write:
        for number, size in enumerate([(160, 120), (320, 120), (160, 120)]):
            write(shown(number, 40.0 * number, "cam", live=True, size=size))
    frames = read(tmp_path / "cam.webm")
    assert {one.image.shape for one in frames} == {(120, 160, 3)}
    assert len(frames) == 3


def test_odd_sizes(tmp_path, encoder):
    with video_writer(tmp_path, DrawStyle(), streams=False) as write:
        for number in range(2):
            write(shown(number, 40.0 * number, size=(161, 97)))
    frames = read(tmp_path / "clip.webm")
    # OpenCV leaves out the odd row and column.
    assert {one.image.shape for one in frames} == {(97, 161, 3) if encoder == "pyav" else (96, 160, 3)}


def test_a_gap_of_a_stream_is_not_filled_with_the_picture_before_it(tmp_path, encoder):
    with video_writer(tmp_path, DrawStyle(), streams=True) as write:
        write(event("opened", "cam", live=True, frame_rate=20.0))
        for number, time_ms in enumerate([0.0, 50.0, 86_400_000.0, 86_400_050.0]):
            write(shown(number, time_ms, "cam", live=True))
    frames = read(tmp_path / "cam.webm")
    assert len(frames) == 4 if encoder == "pyav" else 40 <= len(frames) <= 48


def test_other_codecs(tmp_path):
    with video_writer(tmp_path, DrawStyle(), streams=False, fourcc="mp4v") as write:
        write(event("opened", frame_rate=25.0))
        for number in range(5):
            write(shown(number, 40.0 * number))
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"), cv2.CAP_FFMPEG)
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    capture.release()
    assert code in (b"FMP4", b"mp4v")
    assert [number_of(one.image) for one in read(tmp_path / "clip.mp4")] == list(range(5))


@pytest.mark.parametrize("fourcc", ["QQQQ", "ab"])
def test_codecs_that_there_are_not(tmp_path, fourcc):
    with (
        pytest.raises(UsageError, match="--fourcc"),
        video_writer(tmp_path, DrawStyle(), streams=False, fourcc=fourcc) as write,
    ):
        write(shown(0, 0.0))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path, encoder):
    with (
        pytest.raises(WriteError, match=r"clip\.webm"),
        video_writer(tmp_path / "gone", DrawStyle(), streams=False) as write,
    ):
        write(shown(0, 0.0))


def test_what_was_written_before_an_error_plays(tmp_path, encoder):
    def write_and_fail():
        with video_writer(tmp_path, DrawStyle(), streams=False) as write:
            for number in range(5):
                write(shown(number, 40.0 * number))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert [number_of(one.image) for one in read(tmp_path / "clip.webm")] == list(range(5))


@pytest.mark.parametrize(
    ("shape", "inner"), [((50, 200), (25, 100)), ((200, 50), (60, 15)), ((6, 10), (60, 100))]
)
def test_fitting_keeps_the_shape(shape, inner):
    canvas = fitted(np.full((*shape, 3), 255, dtype=np.uint8), (60, 100))
    assert canvas.shape == (60, 100, 3)
    white = (canvas == 255).all(axis=2)
    rows, columns = white.any(axis=1).sum(), white.any(axis=0).sum()
    assert (rows, columns) == inner
