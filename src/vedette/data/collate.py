"""Samples into batches: one frame a picture, or four pictures in one frame of twice the size.

Rules: data.md, section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import torch

from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.random import generator
from vedette.core.resample import resize
from vedette.core.types import Batch, Sample

if TYPE_CHECKING:
    from vedette.core.types import BoolArray, FloatArray, SizeHW
    from vedette.data.order import Place

QUAD: Final = 4
"""Pictures that :func:`collate_quad` joins."""

_ENLARGED_SHARE: Final = 0.5
_BACKGROUND: Final = LetterboxPolicy().pad_value

Collate = Callable[[Sequence["Place"], Sequence[Sample]], Batch]
"""Makes a batch of samples, given with their places; must be picklable to be used by workers."""


def collate(
    samples: Sequence[Sample], size_hw: SizeHW | None = None, picture_format: PictureFormat = RGB8
) -> Batch:
    """Stack samples of one size.

    Args:
        samples: in batch order; all of one size.
        size_hw: needed only if there may be no sample at all.
        picture_format: of the samples.
    """
    height, width = samples[0].image.shape[:2] if samples else size_hw or (0, 0)
    shape = (len(samples), height, width, picture_format.channels)
    pixels = np.empty(shape, dtype=picture_format.dtype)
    for row, sample in enumerate(samples):
        pixels[row] = sample.image
    boxes = [_target_rows(row, sample, (height, width)) for row, sample in enumerate(samples)]
    rows = np.concatenate(boxes) if boxes else np.empty((0, 6), dtype=np.float32)
    ignored = (
        np.concatenate([sample.ignored for sample in samples]) if samples else np.empty(0, dtype=np.bool_)
    )
    labelled = _joined_labelled(samples)
    return Batch(
        # A view: [B, H, W, C] in memory is what torch calls channels-last [B, C, H, W].
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        targets=torch.from_numpy(rows[~ignored]),
        ignored=torch.from_numpy(rows[ignored]),
        image_numbers=torch.tensor([sample.image_number for sample in samples], dtype=torch.int64),
        labelled=None if labelled is None else torch.from_numpy(labelled[~ignored]),
    )


def collate_single(
    places: Sequence[Place],
    samples: Sequence[Sample],
    *,
    size_hw: SizeHW,
    picture_format: PictureFormat = RGB8,
) -> Batch:
    """:func:`collate`, as a loader calls it."""
    del places  # nothing is drawn
    return collate(samples, size_hw, picture_format)


def collate_quad(
    places: Sequence[Place],
    samples: Sequence[Sample],
    *,
    size_hw: SizeHW,
    seed: int,
    picture_format: PictureFormat = RGB8,
) -> Batch:
    """Join every four samples into one frame of twice the size, then stack these.

    By a draw of the place of its first sample, a group becomes either that sample enlarged, or all four as tiles.
    Where the reference drops what is left over of a batch, and fails if that is all, a last group of one to three
    samples is joined like any other, with background in place of what is missing.

    Returns:
        A batch of ceil(B / 4) frames. Its ``image_numbers`` are those of all B samples.
    """
    groups = range(0, len(samples), QUAD)
    draws = [generator(seed, "quad", *places[first][:2]).random() for first in groups]
    joined = [
        enlarge(samples[first])
        if draw < _ENLARGED_SHARE
        else tile_four(samples[first : first + QUAD], picture_format)
        for first, draw in zip(groups, draws, strict=True)
    ]
    numbers = torch.tensor([sample.image_number for sample in samples], dtype=torch.int64)
    height, width = size_hw
    return replace(collate(joined, (2 * height, 2 * width), picture_format), image_numbers=numbers)


def enlarge(sample: Sample) -> Sample:
    """A sample at twice its size, bilinear."""
    height, width = sample.image.shape[:2]
    image = resize(sample.image, (2 * height, 2 * width), cv2.INTER_LINEAR)
    return replace(sample, image=image, boxes_xyxy_px=sample.boxes_xyxy_px * np.float32(2))


def tile_four(samples: Sequence[Sample], picture_format: PictureFormat = RGB8) -> Sample:
    """One to four samples of one size in a frame of twice that size, down the columns.

    The order is top left, bottom left, top right, bottom right.
    """
    height, width = samples[0].image.shape[:2]
    shape = (2 * height, 2 * width, picture_format.channels)
    image = np.full(shape, picture_format.grey(_BACKGROUND), dtype=picture_format.dtype)
    boxes = []
    for number, sample in enumerate(samples):
        left, top = number // 2 * width, number % 2 * height
        image[top : top + height, left : left + width] = sample.image
        boxes.append(sample.boxes_xyxy_px + np.array([left, top] * 2, dtype=np.float32))
    return Sample(
        image=image,
        boxes_xyxy_px=np.concatenate(boxes),
        class_ids=np.concatenate([sample.class_ids for sample in samples]),
        ignored=np.concatenate([sample.ignored for sample in samples]),
        image_number=samples[0].image_number,
        labelled=_joined_labelled(samples),
    )


def _joined_labelled(samples: Sequence[Sample]) -> BoolArray | None:
    """``labelled`` of all boxes of the samples, bool [M, C]; None where all classes are labelled in all of them."""
    classes = max((sample.labelled.shape[1] for sample in samples if sample.labelled is not None), default=0)
    if not classes:
        return None
    parts = [sample.labelled for sample in samples]
    counts = [len(sample.class_ids) for sample in samples]
    whole = [np.ones((count, classes), np.bool_) for count in counts]
    return np.concatenate([whole[row] if part is None else part for row, part in enumerate(parts)])


def _target_rows(row: int, sample: Sample, size_hw: SizeHW) -> FloatArray:
    """float32 [M, 6]: (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame."""
    height, width = size_hw
    x1, y1, x2, y2 = sample.boxes_xyxy_px.T
    rows = np.empty((len(sample.class_ids), 6), dtype=np.float32)
    rows[:, 0] = row
    rows[:, 1] = sample.class_ids
    rows[:, 2] = (x1 + x2) / 2 / width
    rows[:, 3] = (y1 + y2) / 2 / height
    rows[:, 4] = (x2 - x1) / width
    rows[:, 5] = (y2 - y1) / height
    return rows
