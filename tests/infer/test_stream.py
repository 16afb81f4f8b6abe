import os
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.infer.colour_backend import ColourBackend, colour_predictor, picture
from tests.infer.video.clips import VARIABLE_MS, cut, noise, write_clip
from vedette.data.images import ImageLimits
from vedette.errors import ModelError
from vedette.infer import stream as stream_module
from vedette.infer.predictor import Predictor
from vedette.infer.sources import SourceItem, open_source
from vedette.infer.stream import StreamSettings, read_ahead, run_ahead, stream
from vedette.infer.video.live import LiveSettings


@pytest.fixture
def folder(tmp_path):
    """Ten pictures; numbers 2 and 5 are damaged."""
    for number in range(10):
        path = tmp_path / f"{number}.png"
        Pillow.fromarray(picture((60, 80), red=(number, 10, number + 20, 40))).save(path)
    (tmp_path / "2.png").write_bytes(b"not a picture")
    (tmp_path / "5.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
@pytest.mark.parametrize(("workers", "lanes"), [(1, 1), (3, 1), (1, 2), (3, 5)])
def test_one_result_a_picture_in_order(folder, batch_size, workers, lanes):
    items = open_source(folder).items
    settings = StreamSettings(batch_size=batch_size, workers=workers, lanes=lanes)
    results = list(stream(items, colour_predictor(), settings))
    assert [result.item for result in results] == list(items)
    assert [number for number, result in enumerate(results) if result.error] == [2, 5]
    for number, result in enumerate(results):
        if result.detections is not None:
            assert result.detections.path == items[number].path
            # Scale 2 without loss: the frame is 160 pixels wide, edges blur by a frame pixel.
            assert abs(result.detections.boxes_xyxy_px[0, 0] - number) <= 1.0


def test_damaged_pictures_do_not_shrink_batches(folder):
    predictor = colour_predictor()
    list(stream(open_source(folder).items, predictor, StreamSettings(batch_size=4)))
    assert [shape[0] for shape in predictor.backend.shapes] == [4, 4]


def test_many_damaged_pictures_in_a_row_are_reported_as_they_come(tmp_path):
    items = [SourceItem(str(number), tmp_path / "missing") for number in range(50)]
    results = stream(items, colour_predictor(), StreamSettings(batch_size=2))
    assert next(results).error.kind == "missing"
    assert len(list(results)) == 49


def test_pictures_are_kept_only_where_asked_for(folder):
    items = open_source(folder).items[:2]
    assert all(result.image is None for result in stream(items, colour_predictor()))
    kept = list(stream(items, colour_predictor(), StreamSettings(keep_images=True)))
    np.testing.assert_array_equal(kept[1].image, picture((60, 80), red=(1, 10, 21, 40)))


def test_limits_reach_the_reader(folder):
    items = open_source(folder).items[:1]
    settings = StreamSettings(limits=ImageLimits(max_pixels=60 * 80 - 1))
    (result,) = stream(items, colour_predictor(), settings)
    assert result.error.kind == "too-large"


class Tracked(np.ndarray):
    """An array that can be watched."""


@pytest.mark.parametrize(("lanes", "at_most"), [(1, 8), (3, 36)])
def test_memory_does_not_grow_with_the_number_of_pictures(lanes, at_most):
    alive = set()
    most = 0

    class Drawn:
        path = ""
        frame_index = None

        def load(self, _limits, _picture_format):
            image = picture((40, 40)).view(Tracked)
            alive.add(id(image))
            weakref.finalize(image, alive.discard, id(image))
            return image

    settings = StreamSettings(batch_size=2, keep_images=True, lanes=lanes)
    for _ in stream((Drawn() for _ in range(90)), colour_predictor(), settings):
        most = max(most, len(alive))
    assert most <= at_most


def test_reading_runs_ahead_but_not_further_than_asked():
    loaded = []
    produced = read_ahead(iter(range(100)), lambda n: loaded.append(n) or n, workers=2, ahead=5)
    assert next(produced) == 0
    deadline = time.monotonic() + 10
    while len(loaded) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(loaded) == list(range(6))
    assert list(produced) == list(range(1, 100))


def test_a_stream_that_is_left_early_leaves_no_thread():
    before = set(threading.enumerate())
    produced = read_ahead(iter(range(1000)), lambda n: n, workers=3, ahead=10)
    next(produced)
    produced.close()
    assert set(threading.enumerate()) == before


def test_a_defect_of_ours_is_not_swallowed():
    def load(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_ahead([1], load, workers=1, ahead=2))


def moving(number):
    """A red square that moves two pixels to the right from one picture to the next."""
    return picture((60, 80), red=(2 * number, 10, 2 * number + 20, 40))


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
@pytest.mark.parametrize(("batch_size", "lanes"), [(1, 1), (1, 4), (4, 1), (4, 2), (64, 1)])
def test_a_video_gives_a_result_a_picture_between_two_events(tmp_path, decoder, batch_size, lanes):
    source = open_source(write_clip(tmp_path / "clip.webm", VARIABLE_MS, moving))
    settings = StreamSettings(batch_size=batch_size, decoder=decoder, lanes=lanes)
    begin, *results, end = stream(source, colour_predictor(), settings)
    assert (begin.event.kind, end.event.kind, end.event.frames, end.error) == ("opened", "ended", 15, None)
    assert [result.item.frame_index for result in results] == list(range(15))
    assert [result.item.time_ms for result in results] == pytest.approx(VARIABLE_MS, abs=1.0)
    for number, result in enumerate(results):
        found = result.detections
        assert (found.frame_index, found.time_ms) == (result.item.frame_index, result.item.time_ms)
        assert found.path == (tmp_path / "clip.webm").as_posix()
        assert abs(found.boxes_xyxy_px[0, 0] - 2 * number) <= 3.0, "what is found belongs to its picture"


def test_times_by_the_mean_rate_would_be_wrong_for_this_clip():
    """The negative control of the test above: the clip has a rate that varies."""
    mean = VARIABLE_MS[-1] / (len(VARIABLE_MS) - 1)
    assert max(abs(number * mean - time_ms) for number, time_ms in enumerate(VARIABLE_MS)) > 400


def test_pictures_come_first_then_videos_and_damage_is_of_one_video_only(tmp_path):
    write_clip(tmp_path / "a.webm", [100 * number for number in range(30)], noise)
    cut(tmp_path / "a.webm", 0.5)
    write_clip(tmp_path / "b.webm", [0, 40, 80], moving)
    (tmp_path / "c.webm").write_bytes(b"no video")
    Pillow.fromarray(moving(0)).save(tmp_path / "z.png")
    results = list(stream(open_source(tmp_path), colour_predictor(), StreamSettings(batch_size=4)))
    order = [(result.item.file.name, result.event.kind if result.event else "") for result in results]
    assert order[0] == ("z.png", "")
    assert [entry for entry in order if entry[1]] == [
        ("a.webm", "opened"), ("a.webm", "ended"), ("b.webm", "opened"), ("b.webm", "ended"), ("c.webm", "ended"),
    ]  # fmt: skip
    assert {result.item.file.name for result in results if result.error} == {"a.webm", "c.webm"}
    assert sum(result.detections is not None for result in results if result.item.file.name == "b.webm") == 3


def test_a_stride_is_for_videos_and_not_for_pictures(tmp_path):
    write_clip(tmp_path / "b.webm", VARIABLE_MS, moving)
    for name in ("x.png", "y.png"):
        Pillow.fromarray(moving(0)).save(tmp_path / name)
    settings = StreamSettings(live=LiveSettings(stride=7))
    results = [
        result for result in stream(open_source(tmp_path), colour_predictor(), settings) if result.detections
    ]
    assert [result.item.frame_index for result in results] == [None, None, 0, 7, 14]


@pytest.mark.parametrize("lanes", [1, 3])
def test_leaving_a_video_early_leaves_no_thread(tmp_path, lanes):
    before = set(threading.enumerate())
    source = open_source(write_clip(tmp_path / "clip.webm", [10 * n for n in range(60)], moving))
    results = stream(source, colour_predictor(), StreamSettings(batch_size=2, lanes=lanes))
    for _ in range(4):
        next(results)
    results.close()
    assert set(threading.enumerate()) == before


def test_whose_times_they_are_is_said_once(tmp_path, caplog, monkeypatch):
    source = open_source(write_clip(tmp_path / "clip.webm", VARIABLE_MS, moving))
    list(stream(source, colour_predictor()))
    assert caplog.messages == []
    monkeypatch.setattr(stream_module, "pyav_is_installed", lambda: False)
    list(stream(source, colour_predictor(), StreamSettings(decoder="opencv")))
    (note,) = caplog.messages
    assert "may be off in clips of variable frame rate; pip install 'vedette[video]'" in note
    list(stream(open_source(tmp_path / "clip.webm").items, colour_predictor()))
    assert len(caplog.messages) == 1


def test_a_generator_is_run_ahead_but_not_further_than_asked():
    produced = []

    def values():
        for number in range(100):
            produced.append(number)
            yield number

    ahead = run_ahead(values(), 5)
    assert next(ahead) == 0
    deadline = time.monotonic() + 10
    while len(produced) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert produced == list(range(7)), "one handed out, five waiting, one in hand"
    assert list(ahead) == list(range(1, 100))


def test_an_error_of_a_generator_run_ahead_comes_out_in_its_place():
    def values():
        yield 1
        raise ZeroDivisionError

    ahead = run_ahead(values(), 5)
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_a_generator_run_ahead_is_closed_when_nobody_wants_it_any_more():
    closed = threading.Event()

    def values():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = set(threading.enumerate())
    ahead = run_ahead(values(), 3)
    next(ahead)
    ahead.close()
    assert closed.wait(10)
    assert set(threading.enumerate()) == before


WAIT_S = 20
"""A wait that ends earlier in a test that passes."""


def with_backend(backend):
    usual = colour_predictor()
    return Predictor(backend, usual.letterbox, usual.class_names)


@pytest.fixture
def whole_folder(tmp_path):
    """Eight pictures; the number of each is where its red box begins."""
    for number in range(8):
        Pillow.fromarray(picture((60, 80), red=(4 * number, 10, 4 * number + 20, 40))).save(
            tmp_path / f"{number}.png"
        )
    return tmp_path


def number_of(frame):
    return round(np.nonzero(frame[80, :, 2] < 60)[0][0] / 8)


@pytest.mark.parametrize(("lanes", "callers"), [(1, 1), (2, 3), (3, 4)])
def test_so_many_threads_call_the_network_at_once(whole_folder, lanes, callers):
    class Counting(ColourBackend):
        inside = most = 0

        def run(self, frames):
            with self._lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            together.wait(WAIT_S)
            with self._lock:
                self.inside -= 1
            return super().run(frames)

    together = threading.Barrier(callers)
    backend = Counting()
    items = open_source(whole_folder).items[: 2 * callers]
    list(stream(items, with_backend(backend), StreamSettings(batch_size=1, lanes=lanes)))
    assert backend.most == callers


def test_results_wait_for_those_before_them(whole_folder):
    """The first picture comes out of the network after the second and third, and out of the stream before them."""

    class FirstIsSlow(ColourBackend):
        finished = ()

        def run(self, frames):
            number = number_of(frames[0])
            if number == 0:
                assert later.wait(WAIT_S)
            outputs = super().run(frames)
            with self._lock:
                self.finished += (number,)
            if number == 2:
                later.set()
            return outputs

    later = threading.Event()
    backend = FirstIsSlow()
    items = open_source(whole_folder).items
    results = list(stream(items, with_backend(backend), StreamSettings(batch_size=1, lanes=2)))
    assert backend.finished.index(0) >= 2, "the test sees what it is meant to see"
    assert [result.item for result in results] == list(items)
    assert [round(float(result.detections.boxes_xyxy_px[0, 0]) / 4) for result in results] == list(range(8))


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_network_that_fails_in_the_middle_fails_there(whole_folder, lanes):
    class Failing(ColourBackend):
        def run(self, frames):
            if number_of(frames[0]) == 4:
                raise ModelError("is broken")
            return super().run(frames)

    before = set(threading.enumerate())
    items = open_source(whole_folder).items
    results = stream(items, with_backend(Failing()), StreamSettings(batch_size=1, lanes=lanes))
    assert [next(results).item for _ in range(4)] == list(items[:4])
    with pytest.raises(ModelError, match="is broken"):
        next(results)
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("lanes", [1, 2])
def test_ctrl_c_is_heard_while_the_network_runs(whole_folder, lanes):
    class Waiting(ColourBackend):
        def run(self, frames):
            outputs = super().run(frames)
            running.set()
            interrupted.wait(WAIT_S)
            return outputs

    def interrupt():
        running.wait(WAIT_S)
        os.kill(os.getpid(), signal.SIGINT)
        interrupted.set()

    running, interrupted = threading.Event(), threading.Event()
    backend = Waiting()
    items = open_source(whole_folder).items * 50
    results = stream(items, with_backend(backend), StreamSettings(batch_size=1, lanes=lanes))
    before = set(threading.enumerate())
    sender = threading.Thread(target=interrupt)
    # Whoever runs the tests in the background may have switched Ctrl-C off.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            list(results)
    finally:
        sender.join()
        signal.signal(signal.SIGINT, usual)
    # A thread that Ctrl-C kept from beginning is still in the list of Python 3.13.
    assert {thread for thread in threading.enumerate() if thread.ident is not None} == before
    assert len(backend.shapes) < len(items), "the others are not looked at any more"
