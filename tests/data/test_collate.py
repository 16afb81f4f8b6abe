"""Samples into batches, alone and in fours."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from vedette.core.picture_format import PictureFormat
from vedette.core.random import generator
from vedette.core.types import Sample
from vedette.data.collate import collate, collate_quad, collate_single, enlarge, tile_four

GOLDEN = {case["id"]: case for case in read_golden("training/21-collate.json")["cases"]}


def sample_of(image, boxes=(), class_ids=(), ignored=None, number=0):
    count = len(boxes)
    return Sample(
        image=image,
        boxes_xyxy_px=np.array(boxes, dtype=np.float32).reshape(count, 4),
        class_ids=np.array(class_ids, dtype=np.int64),
        ignored=np.zeros(count, dtype=np.bool_) if ignored is None else np.array(ignored),
        image_number=number,
    )


def golden_samples(case):
    """Picture i holds the value i + 1 and so many boxes of class i, of a fifth of the side, in the middle."""
    return [
        sample_of(
            np.full((4, 4, 3), number + 1, np.uint8),
            [[1.6, 1.6, 2.4, 2.4]] * count,
            [number] * count,
            None,
            number,
        )
        for number, count in enumerate(case["input"]["labels_per_image"])
    ]


def test_published_batch_golden():
    """Golden 21-collate.json, case T21.1: exact, both are float32 of the same decimals."""
    case = GOLDEN["T21.1"]
    batch = collate(golden_samples(case))
    assert list(batch.images.shape) == case["expected"]["images_shape"]
    np.testing.assert_allclose(batch.targets.numpy(), case["expected"]["targets"], rtol=1e-6)
    assert [f"{number}.jpg" for number in batch.image_numbers] == case["expected"]["paths"]
    assert batch.ignored.shape == (0, 6)


@pytest.mark.parametrize("name", ["T21.2", "T21.3"])
def test_published_quad_golden(name):
    """Golden 21-collate.json, cases T21.2 and T21.3: tiles, and the first of each four enlarged.

    The paths of the file are the first two of eight, which belong to the first frame both; here a batch knows all.
    """
    case = GOLDEN[name]
    samples = golden_samples(case)
    fours = [samples[:4], samples[4:]]
    tiles = case["input"]["draw"] >= 0.5
    batch = collate([tile_four(four) if tiles else enlarge(four[0]) for four in fours])
    assert list(batch.images.shape) == case["expected"]["images_shape"]
    assert batch.images[0, 0].tolist() == case["expected"]["first_channel_of_first_image"]
    np.testing.assert_allclose(batch.targets.numpy(), case["expected"]["targets"], rtol=1e-6)


def test_collate_is_channels_last_and_keeps_ignored_boxes_apart():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    sample = sample_of(image, [[0, 0, 2, 1], [1, 0, 3, 2]], [3, 4], [False, True], number=7)
    batch = collate([sample, sample_of(image + 1)])
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0).numpy(), image)
    assert batch.targets.tolist() == [[0, 3, 0.25, 0.25, 0.5, 0.5]]
    assert batch.ignored.tolist() == [[0, 4, 0.5, 0.5, 0.5, 1.0]]


def test_nothing_makes_an_empty_batch():
    for batch, size_hw in [
        (collate([], (4, 6)), (4, 6)),
        (collate_single([], [], size_hw=(4, 6)), (4, 6)),
        (collate_quad([], [], size_hw=(4, 6), seed=0), (8, 12)),
    ]:
        assert batch.images.shape == (0, 3, *size_hw)
        assert batch.targets.shape == batch.ignored.shape == (0, 6)
        assert batch.image_numbers.shape == (0,)


def test_enlarging_is_bilinear_and_takes_boxes_along():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    large = enlarge(sample_of(image, [[1, 2, 3.5, 4]], [2], [True], number=5))
    np.testing.assert_array_equal(large.image, cv2.resize(image, (16, 12), interpolation=cv2.INTER_LINEAR))
    assert large.boxes_xyxy_px.tolist() == [[2, 4, 7, 8]]
    assert (large.class_ids.tolist(), large.ignored.tolist(), large.image_number) == ([2], [True], 5)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 11), epoch=st.integers(0, 3), first=st.integers(0, 50))
def test_every_group_is_drawn_by_the_place_of_its_first_sample(count, epoch, first):
    samples = [
        sample_of(np.full((2, 3, 3), number + 1, np.uint8), [[0, 0, 3, 2]], [number], None, number)
        for number in range(count)
    ]
    places = [(epoch, first + number, number) for number in range(count)]
    batch = collate_quad(places, samples, size_hw=(2, 3), seed=9)
    assert batch.images.shape == (-(-count // 4), 3, 4, 6)
    assert batch.image_numbers.tolist() == list(range(count))
    for group, frame in enumerate(batch.images):
        rows = batch.targets[batch.targets[:, 0] == group]
        if generator(9, "quad", epoch, first + 4 * group).random() < 0.5:
            assert (frame == 4 * group + 1).all()
            assert rows[:, 1].tolist() == [4 * group]
            continue
        held = min(4, count - 4 * group)
        assert rows[:, 1].tolist() == list(range(4 * group, 4 * group + held))
        corners = frame[0, [0, 2, 0, 2], [0, 0, 3, 3]].tolist()
        assert corners == [4 * group + 1 + tile if tile < held else 114 for tile in range(4)]
        centres = [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
        assert rows[:, 2:4].tolist() == centres[:held]


def test_labelled_classes_follow_the_targets():
    """Rows of targets only, in their order; a sample that says nothing has all classes labelled."""
    image = np.zeros((2, 4, 3), np.uint8)
    whole = sample_of(image, [[0, 0, 2, 1]], [1])
    partly = replace(
        sample_of(image, [[0, 0, 2, 1], [1, 0, 3, 2]], [0, 2], [True, False]),
        labelled=np.array([[True, False, True], [False, False, True]]),
    )
    assert collate([whole, whole]).labelled is None
    assert collate([partly, whole]).labelled.tolist() == [[False, False, True], [True, True, True]]
    assert enlarge(partly).labelled is partly.labelled
    joined = tile_four([whole, partly, whole])
    assert joined.labelled.tolist() == [[True] * 3, *partly.labelled.tolist(), [True] * 3]
    assert tile_four([whole]).labelled is None
    assert collate([], (4, 6)).labelled is None


@pytest.mark.parametrize(
    "picture_format", [PictureFormat(1, 16), PictureFormat(5, 16, (0, 4095)), PictureFormat(4)]
)
def test_batches_of_other_pictures(picture_format):
    """Type and channels also where a rank's part of a batch is empty; background as bright as in 8 bits."""
    shape = (6, 8, picture_format.channels)
    samples = [sample_of(np.full(shape, number, picture_format.dtype), number=number) for number in range(3)]
    batch = collate(samples, picture_format=picture_format)
    dtype = torch.uint8 if picture_format.bits == 8 else torch.uint16
    assert batch.images.dtype == dtype
    assert batch.images.shape == (3, picture_format.channels, 6, 8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last) or picture_format.channels == 1
    empty = collate_single([], [], size_hw=(6, 8), picture_format=picture_format)
    assert (empty.images.dtype, empty.images.shape) == (dtype, (0, picture_format.channels, 6, 8))
    tiled = tile_four(samples, picture_format).image
    assert (tiled[6:, 8:] == picture_format.grey(114)).all()
    assert tiled.dtype == picture_format.dtype
    assert enlarge(samples[1]).image.shape == (12, 16, picture_format.channels)
    places = [(0, number, number) for number in range(3)]
    quad = collate_quad(places, samples, size_hw=(6, 8), seed=0, picture_format=picture_format)
    assert quad.images.shape == (1, picture_format.channels, 12, 16)
