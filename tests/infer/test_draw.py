from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.colours import GREY, class_colour, track_colour
from vedette.core.types import Detections
from vedette.errors import UsageError
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.tracking.trails import Trail

NAMES = ("person", "dog", "猫", "bad\nname\x1b[31m", "emoji 🐑", "x" * 500)
NO_LABELS = DrawStyle(line_width=2, labels=False)


def found(boxes, class_ids=None, size_hw=(120, 160), names=NAMES):
    count = len(boxes)
    return Detections(
        boxes_xyxy_px=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.linspace(0.95, 0.3, count, dtype=np.float32),
        class_ids=np.array(class_ids if class_ids is not None else [0] * count, dtype=np.int64),
        class_names=names,
        size_hw=size_hw,
    )


def grey(size_hw=(120, 160)):
    return np.full((*size_hw, 3), 128, dtype=np.uint8)


def test_picture_is_copied_and_untouched_without_detections():
    image = grey()
    drawn = draw_detections(image, found([]))
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image
    draw_detections(image, found([[10, 10, 50, 50]]))
    np.testing.assert_array_equal(image, grey())


def test_line_lies_on_the_edge_of_the_box():
    drawn = draw_detections(grey(), found([[20, 30, 100, 90]]), NO_LABELS)
    coloured = (drawn == class_colour(0)).all(axis=2)
    rows, columns = np.nonzero(coloured)
    # Width 2: one pixel outside and one inside each edge.
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (19, 29, 101, 91)
    assert not coloured[31:89, 21:99].any()
    assert coloured[29:31, 19:101].all()
    assert coloured[29:91, 99:101].all()


def test_colour_is_set_off_from_a_background_of_the_same_colour():
    image = np.empty((120, 160, 3), dtype=np.uint8)
    image[:] = class_colour(0)
    drawn = draw_detections(image, found([[20, 30, 100, 90]]), NO_LABELS)
    assert (drawn != image).any(axis=2).sum() >= 2 * (80 + 60)


def test_best_box_is_on_top():
    drawn = draw_detections(grey(), found([[20, 30, 100, 90], [20, 30, 100, 90]], [1, 0]), NO_LABELS)
    assert tuple(drawn[30, 60]) == class_colour(1)


def test_line_grows_with_the_picture():
    def thickness(size_hw):
        box = [size_hw[1] // 4, size_hw[0] // 4, size_hw[1] // 2, size_hw[0] // 2]
        drawn = draw_detections(grey(size_hw), found([box], size_hw=size_hw), DrawStyle(labels=False))
        middle = drawn[: size_hw[0] * 3 // 8, size_hw[1] * 3 // 8]
        return int((middle == class_colour(0)).all(axis=1).sum())

    assert thickness((100, 100)) == 2
    assert thickness((3000, 4000)) > 8


def test_label_and_score_can_be_left_out():
    box = found([[40, 60, 140, 110]])
    bare = draw_detections(grey(), box, DrawStyle(labels=False))
    name_only = draw_detections(grey(), box, DrawStyle(scores=False))
    both = draw_detections(grey(), box)

    def changed(first, second):
        return int((first != second).any(axis=2).sum())

    assert changed(bare, grey()) < changed(name_only, grey()) < changed(both, grey())


def test_label_is_on_a_plate_of_the_class_colour_above_the_box():
    drawn = draw_detections(grey(), found([[40, 60, 140, 110]], [1]))
    above = drawn[45:58, 40:100]
    assert (above == class_colour(1)).all(axis=2).mean() > 0.3


@pytest.mark.parametrize("class_id", range(len(NAMES)))
def test_any_name_can_be_drawn(class_id):
    drawn = draw_detections(grey(), found([[20, 40, 100, 90]], [class_id]))
    assert (
        drawn != draw_detections(grey(), found([[20, 40, 100, 90]], [class_id]), DrawStyle(labels=False))
    ).any()


def test_a_name_no_font_has_is_drawn_as_its_number():
    private = found([[20, 40, 100, 90]], [0], names=("\uf8f0\uf8f1",))
    numbered = found([[20, 40, 100, 90]], [0], names=("class 0",))
    np.testing.assert_array_equal(draw_detections(grey(), private), draw_detections(grey(), numbered))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 400), (400, 1), (7, 9), (20, 20)])
def test_pictures_too_small_for_a_label(size_hw):
    drawn = draw_detections(grey(size_hw), found([[0, 0, size_hw[1], size_hw[0]]], size_hw=size_hw))
    assert drawn.shape == (*size_hw, 3)
    assert (drawn != 128).any()


def test_a_font_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "broken.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(UsageError, match=r"broken\.ttf"):
        draw_detections(grey(), found([[1, 1, 50, 50]]), DrawStyle(font=str(path)))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(*[st.floats(0, 60, width=32)] * 4), max_size=12),
)
def test_any_boxes_on_any_picture(height, width, corners):
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    drawn = draw_detections(grey((height, width)), found(boxes, size_hw=(height, width)))
    assert drawn.shape == (height, width, 3)
    assert drawn.dtype == np.uint8


def test_tracked_boxes_have_the_colour_of_their_track():
    boxes = found([[10, 10, 50, 50], [60, 10, 100, 50], [110, 10, 150, 50]], class_ids=[0, 0, 0])
    drawn = draw_detections(grey(), replace(boxes, track_ids=np.array([2, 5, -1])), NO_LABELS)
    corners = [tuple(drawn[10, x].tolist()) for x in (30, 80, 130)]
    assert corners == [track_colour(2), track_colour(5), GREY]


def test_labels_tell_tracks_apart():
    """The same box drawn as track 1 and as track 22, which have one colour, differs in its label alone."""
    box = found([[40, 60, 140, 110]])
    first, other, without = (
        draw_detections(grey(), replace(box, track_ids=np.array([number]))) for number in (1, 22, -1)
    )
    where = np.nonzero((first != other).any(axis=2))
    assert len(where[0]) > 20
    assert where[0].max() < 61
    plain = draw_detections(grey(), box)
    label = (first != grey()).any(axis=2)[:59].sum()
    assert label > (plain != grey()).any(axis=2)[:59].sum()
    assert (without == GREY).all(axis=2).sum() > 300


def test_trails_lie_below_boxes():
    boxes = replace(found([[60, 40, 100, 80]]), track_ids=np.array([3]))
    trail = Trail(3, np.array([[10, 60], [40, 60], [80, 60]], dtype=np.float32))
    image = grey()
    drawn = draw_detections(image, boxes, NO_LABELS, trails=[trail])
    np.testing.assert_array_equal(image, grey())
    assert [tuple(drawn[60, x].tolist()) for x in (20, 70)] == [track_colour(3)] * 2
    without = draw_detections(image, boxes, NO_LABELS)
    np.testing.assert_array_equal(drawn[38:43, 58:102], without[38:43, 58:102])


def test_pictures_of_every_format_are_drawn_as_8_bit_rgb():
    """The picture itself stays as it is; deep ones are stretched so that something can be seen."""
    image = np.random.default_rng(0).integers(1000, 1100, (120, 160, 5)).astype(np.uint16)
    before = image.copy()
    drawn = draw_detections(image, found([[20, 20, 90, 90]]))
    assert drawn.shape == (120, 160, 3)
    assert drawn.dtype == np.uint8
    assert drawn.std() > 40
    np.testing.assert_array_equal(image, before)
    dark = np.full((120, 160, 1), 50, np.uint8)
    assert (draw_detections(dark, found([]))[0, 0] == 50).all()
