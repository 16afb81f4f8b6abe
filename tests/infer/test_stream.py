import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.infer.colour_backend import colour_predictor, picture
from vedette.data.images import ImageLimits
from vedette.infer.sources import SourceItem, open_source
from vedette.infer.stream import StreamSettings, read_ahead, stream


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
@pytest.mark.parametrize("workers", [1, 3])
def test_one_result_a_picture_in_order(folder, batch_size, workers):
    items = open_source(folder).items
    results = list(stream(items, colour_predictor(), StreamSettings(batch_size=batch_size, workers=workers)))
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


def test_memory_does_not_grow_with_the_number_of_pictures():
    alive = set()
    most = 0

    class Drawn:
        path = ""

        def load(self, _limits):
            image = picture((40, 40)).view(Tracked)
            alive.add(id(image))
            weakref.finalize(image, alive.discard, id(image))
            return image

    settings = StreamSettings(batch_size=2, keep_images=True)
    for _ in stream((Drawn() for _ in range(60)), colour_predictor(), settings):
        most = max(most, len(alive))
    assert most <= 4 * settings.batch_size


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
