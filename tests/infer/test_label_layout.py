import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.infer.label_layout import place_labels


def place(boxes, sizes, size_hw):
    return place_labels(np.array(boxes, dtype=np.float32), np.array(sizes, dtype=np.int64), size_hw)


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return int(np.clip(sides, 0, None).prod())


def test_usual_place_is_above_the_left_corner():
    places, shown = place([[50, 60, 90, 99]], [[30, 10]], (200, 200))
    assert places.tolist() == [[50, 50, 80, 60]]
    assert shown.tolist() == [True]


def test_box_at_the_top_has_its_label_inside_the_picture():
    places, _ = place([[50, 0, 90, 99]], [[30, 10]], (200, 200))
    x1, y1, x2, y2 = places[0]
    assert y1 >= 0
    assert (x2 - x1, y2 - y1) == (30, 10)


def test_box_at_the_right_edge_has_its_label_left_of_its_right_corner():
    places, _ = place([[180, 60, 200, 99]], [[30, 10]], (200, 200))
    assert places.tolist() == [[170, 50, 200, 60]]


def test_boxes_side_by_side_get_labels_off_each_other():
    places, shown = place([[50, 60, 90, 99], [60, 60, 100, 99]], [[30, 10], [30, 10]], (200, 200))
    assert overlap(places[0], places[1]) == 0
    assert shown.all()


def test_a_pile_of_equal_boxes_shows_each_label_that_fits_and_hides_the_rest():
    places, shown = place([[50, 60, 90, 99]] * 40, [[40, 10]] * 40, (200, 200))
    kept = places[shown]
    assert 4 <= len(kept) < 40
    assert all(overlap(a, b) <= 0.3 * 400 for i, a in enumerate(kept) for b in kept[:i])
    assert shown[0]


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    count = draw(st.integers(0, 12))
    xs = st.floats(0, width, width=32)
    ys = st.floats(0, height, width=32)
    boxes, sizes = [], []
    for _ in range(count):
        x1, x2 = sorted((draw(xs), draw(xs)))
        y1, y2 = sorted((draw(ys), draw(ys)))
        boxes.append([x1, y1, x2, y2])
        sizes.append([draw(st.integers(1, width)), draw(st.integers(1, height))])
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(sizes, np.int64).reshape(-1, 2),
        (height, width),
    )


@settings(deadline=None, max_examples=150)
@given(scenes())
def test_labels_keep_their_size_and_stay_inside_the_picture(scene):
    boxes, sizes, (height, width) = scene
    places, shown = place_labels(boxes, sizes, (height, width))
    assert places.shape == (len(boxes), 4)
    np.testing.assert_array_equal(places[:, 2:] - places[:, :2], sizes)
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2:] <= [width, height]).all()
    assert shown[:1].all()
