import numpy as np

from vedette.core.colours import track_colour
from vedette.core.types import Detections
from vedette.infer.tracking.trails import Trail, Trails, draw_trails


def at(*centres, ids):
    boxes = np.array([(x - 5, y - 10, x + 5, y + 10) for x, y in centres], dtype=np.float32).reshape(-1, 4)
    count = len(boxes)
    track_ids = None if ids is None else np.array(ids, dtype=np.int64)
    return Detections(
        boxes, np.ones(count, np.float32), np.zeros(count, np.int64), ("a",), (100, 100), track_ids=track_ids
    )


def test_a_trail_is_where_a_track_was_within_the_time():
    trails = Trails(1.0)
    assert trails.after(at((10, 10), (50, 50), ids=[1, -1]), 0.0) == ()
    for number in range(1, 4):
        found = trails.after(at((10 + number, 10), ids=[1]), 0.4 * number)
    (trail,) = found
    assert trail.track_id == 1
    assert trail.points_xy_px.tolist() == [[11, 10], [12, 10], [13, 10]]


def test_tracks_that_are_not_in_the_frame_have_none_and_are_forgotten():
    trails = Trails(1.0)
    for number in range(3):
        trails.after(at((10, 10), (50, 50), ids=[1, 2]), 0.1 * number)
    assert [trail.track_id for trail in trails.after(at((50, 50), ids=[2]), 0.3)] == [2]
    (back,) = trails.after(at((20, 10), ids=[1]), 0.4)
    assert len(back.points_xy_px) == 4
    trails.after(at(ids=[]), 5.0)
    assert trails._points == {}


def test_none_is_remembered_where_none_is_asked_for():
    trails = Trails(0.0)
    for number in range(3):
        assert trails.after(at((10, 10), ids=[1]), 0.1 * number) == ()
    assert trails._points == {}
    assert Trails(1.0).after(at((10, 10), ids=None), 0.0) == ()


def test_a_fast_camera_adds_no_points_for_ever():
    trails = Trails(60.0)
    for number in range(1000):
        (*_, last) = trails.after(at((number % 90, 10), ids=[1]), 0.001 * number) or (None,)
    assert len(last.points_xy_px) == 240


def test_drawn_in_the_colour_of_the_track_the_older_half_thinner():
    canvas = np.full((60, 120, 3), 200, dtype=np.uint8)
    draw_trails(canvas, [Trail(3, np.array([[5, 30], [60, 30], [115, 30]], dtype=np.float32))], 6)
    coloured = (canvas == track_colour(3)).all(axis=2)
    older, newer = coloured[:, 20].sum(), coloured[:, 100].sum()
    assert 2 <= older < newer <= 8


def test_points_far_outside_are_drawn_as_far_as_one_sees():
    canvas = np.zeros((60, 120, 3), dtype=np.uint8)
    draw_trails(canvas, [Trail(1, np.array([[-1e9, 30], [1e9, 30]], dtype=np.float32))], 2)
    assert (canvas[30] == track_colour(1)).all()
