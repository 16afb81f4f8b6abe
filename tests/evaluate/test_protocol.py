from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.evaluate.boxes_made import truth_made
from vedette.core.letterbox import LetterboxPolicy
from vedette.evaluate.protocol import frame_yolov5, plan_batches, plan_batches_yolov5, truth_yolov5


@pytest.mark.parametrize(
    "case", read_golden("training/14-rect-batches.json")["cases"], ids=lambda case: case["id"]
)
def test_rectangular_batches_golden(case: dict) -> None:
    """golden 14-rect-batches.json: all exact but the labels, which the file holds in float32 (1e-6)."""
    given, expected = case["input"], case["expected"]
    names = list(given["images_wh"])
    sizes_hw = np.array([size[::-1] for size in given["images_wh"].values()])
    planned = plan_batches_yolov5(
        sizes_hw, given["batch_size"], given["img_size"], given["stride"], given["pad"]
    )
    assert [list(batch.frame_hw) for batch in planned] == expected["batch_shapes_hw"]
    places = [(number, place) for number, batch in enumerate(planned) for place in batch.positions.tolist()]
    assert [names[place] for _, place in places] == expected["order"]
    assert [number for number, _ in places] == expected["batch_index"]
    label = [float(value) for value in given["label"].split()]
    for (number, place), item in zip(places, expected["items"], strict=True):
        height, width = sizes_hw[place].tolist()
        frame = frame_yolov5((height, width), given["img_size"], planned[number].frame_hw)
        picture = np.full((height, width, 3), 200, np.uint8)
        pixels = frame.apply(picture)
        assert [3, *pixels.shape[:2]] == item["tensor_shape"]
        assert list(frame.gain_hw) == item["gain_hw"]
        assert list(frame.letterbox.pad_wh) == item["pad_wh"]
        assert pixels[0, 0].tolist() == item["first_pad_row_value"]
        sides = np.array(frame.resized_hw[::-1]) * label[3:] / np.array(planned[number].frame_hw[::-1])
        np.testing.assert_allclose(item["label_out"][0][4:], sides, rtol=1e-6)


def test_resize_averages_when_shrinking_and_interpolates_when_growing() -> None:
    """data.md section 6; sides are cut off, not rounded: 99 * 64 / 100 = 63.36, 61 * 64 / 100 = 39.04."""
    picture = np.random.default_rng(0).integers(0, 256, (61, 100, 3), dtype=np.uint8)
    frame = frame_yolov5((61, 100), 64, (64, 64))
    assert frame.resized_hw == (39, 64)
    expected = cv2.resize(picture, (64, 39), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(frame.apply(picture)[12:51], expected)
    grown = frame_yolov5((61, 100), 128, (96, 128))
    expected = cv2.resize(picture, (128, 78), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(grown.apply(picture)[9:87], expected)
    same = frame_yolov5((61, 100), 100, (64, 128))
    np.testing.assert_array_equal(same.apply(picture)[1:62, 14:114], picture)


def test_boxes_come_back_by_the_scale_of_the_height() -> None:
    """Height 61 -> 39, width 100 -> 64: both axes are divided by 39 / 61, then clipped."""
    frame = frame_yolov5((61, 100), 64, (64, 64))
    boxes = np.array([[0, 12.5, 64, 51.5], [-5, -5, 32, 32]], np.float32)
    back = frame.boxes_to_source(boxes)
    assert back.dtype == np.float32
    scale = 61 / 39
    np.testing.assert_allclose(back, [[0, 0, 100, 61], [0, 0, 32 * scale, 19.5 * scale]], rtol=1e-6)


def test_truth_takes_the_same_way() -> None:
    """x is stretched by (64 / 100) / (39 / 61) and clipped; y stays."""
    truth = truth_made(
        [[[0, 10, 10, 50, 50], [0, 60, 20, 100, 61]], []], sizes_hw=np.array([[61, 100], [80, 80]])
    )
    moved = truth_yolov5(truth, 64)
    stretch = (64 / 100) / (39 / 61)
    np.testing.assert_allclose(
        moved.boxes_xyxy_px, [[10 * stretch, 10, 50 * stretch, 50], [60 * stretch, 20, 100, 61]], rtol=1e-12
    )
    assert truth.boxes_xyxy_px[0, 0] == 10


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), max_size=40),
    batch_size=st.integers(1, 9),
    shape=st.sampled_from(["square", "minimal", "stretch"]),
)
def test_every_picture_is_planned_once_with_its_own_frame(sizes: list, batch_size: int, shape: str) -> None:
    letterbox = LetterboxPolicy((128, 160), 32, shape=shape)  # type: ignore[arg-type]
    sizes_hw = np.array(sizes, np.int64).reshape(-1, 2)
    planned = plan_batches(sizes_hw, letterbox, batch_size)
    assert sorted(place for batch in planned for place in batch.positions.tolist()) == list(range(len(sizes)))
    for batch in planned:
        assert 1 <= len(batch.positions) <= batch_size
        for place in batch.positions:
            assert letterbox.place(sizes[place]).frame_hw == batch.frame_hw
    rectangles = plan_batches_yolov5(sizes_hw, batch_size, 128, 32)
    assert sorted(p for batch in rectangles for p in batch.positions.tolist()) == list(range(len(sizes)))
    for batch in rectangles:
        for place in batch.positions:
            frame = frame_yolov5(sizes[place], 128, batch.frame_hw)
            assert frame.letterbox.resized_hw == frame.resized_hw  # the letterbox itself never scales
            assert all(side % 32 == 0 for side in batch.frame_hw)
