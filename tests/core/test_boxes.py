"""Boxes: conversions and clipping of tensors and arrays."""

import numpy as np
import pytest
import torch

from vedette.core.boxes import box_area, clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh


@pytest.mark.parametrize("as_array", [torch.tensor, np.array])
def test_conversions(as_array):
    corners = as_array([[[10.0, 20.0, 30.0, 60.0]]])
    centred = xyxy_to_cxcywh(corners)
    assert type(centred) is type(corners)
    assert centred.tolist() == [[[20.0, 40.0, 20.0, 40.0]]]
    assert cxcywh_to_xyxy(centred).tolist() == corners.tolist()
    assert box_area(corners).tolist() == [[800.0]]


@pytest.mark.parametrize("as_array", [torch.tensor, np.array])
def test_clip(as_array):
    boxes = as_array([[-5.0, -7.0, 700.0, 700.0], [10.0, 20.0, 30.0, 40.0], [650.0, 1.0, 660.0, 2.0]])
    before = boxes.tolist()
    clipped = clip_boxes(boxes, (480, 640))
    assert clipped.tolist() == [[0, 0, 640, 480], [10, 20, 30, 40], [640, 1, 640, 2]]
    assert boxes.tolist() == before


def test_empty_arrays_keep_their_shape():
    empty = np.zeros((0, 4), np.float32)
    assert xyxy_to_cxcywh(empty).shape == (0, 4)
    assert clip_boxes(empty, (1, 1)).dtype == np.float32
    assert box_area(empty).shape == (0,)
