"""From a kept row of the prediction back to its level, cell, anchor and logits, and on to a feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

import numpy as np
import torch
from torch.nn import functional

from vedette.core.boxes import cxcywh_to_xyxy
from vedette.core.letterbox import Letterbox
from vedette.core.provenance import FeatureKind, Provenance
from vedette.core.types import FloatArray, IntArray
from vedette.errors import UsageError, nearest
from vedette.infer.backends import Inspection
from vedette.model.head import decode_logits

_WHOLE_VECTORS = 64  # a multiple of twice the widest vector of any processor, 16 numbers
_ONE_THREAD = 256

ROI_SAMPLES = 14
"""Points a side at which a map is read inside a box."""


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """Which vector describes a box, and the layers it is read from.

    Attributes:
        kind: see :class:`vedette.core.provenance.Provenance`.
        layers: "cell": the input of each level's output convolution. "roi": one layer.
    """

    kind: FeatureKind
    layers: tuple[int | str, ...]


def feature_request(
    kind: FeatureKind, layer: int | str | None, level_inputs: Sequence[int], strides: Sequence[int]
) -> FeatureRequest:
    """The request for a kind of features.

    Args:
        kind: "cell" or "roi".
        layer: for "roi": what to read; None: the input of the finest level.
        level_inputs: the layer that each level is computed from.
        strides: of the levels.

    Raises:
        UsageError: no such kind, or a layer for "cell", whose layers follow from the boxes.
    """
    if kind not in get_args(FeatureKind):
        raise UsageError(
            "no such kind of features",
            where=f"features={kind!r:.80}",
            fix=nearest(str(kind), get_args(FeatureKind)),
        )
    if kind == "cell":
        if layer is not None:
            raise UsageError(
                "features='cell' are those that the box was computed from; there is no layer to choose",
                where=f"feature_layer={layer!r:.80}",
                fix="leave it out, or use features='roi'",
            )
        return FeatureRequest(kind, tuple(level_inputs))
    finest = level_inputs[min(range(len(strides)), key=strides.__getitem__)]
    return FeatureRequest(kind, (finest if layer is None else layer,))


def trace(
    inspection: Inspection,
    picture: int,
    rows: IntArray,
    request: FeatureRequest,
    placement: Letterbox,
) -> Provenance:
    """Where rows of a picture's prediction come from.

    Args:
        inspection: of a batch, with the maps of the request's layers.
        picture: number of the picture in the batch.
        rows: int64 [n], kept rows of its prediction, as :func:`vedette.core.nms.suppress` gives them.
        request: which features.
        placement: the picture in its frame.
    """
    levels = [level[picture] for level in inspection.levels]  # each [A, h, w, 5+C]
    sizes = [level.shape[0] * level.shape[1] * level.shape[2] for level in levels]
    frame_hw = placement.frame_hw
    places = [_place(int(row), levels, sizes) for row in rows.tolist()]
    numbers = np.array(places, dtype=np.int64).reshape(-1, 4)  # level, anchor, row, column
    logits = [levels[level][anchor, y, x].float() for level, anchor, y, x in places]
    anchors = inspection.anchors_px.cpu().numpy()
    strides = np.array([frame_hw[0] // level.shape[1] for level in levels], dtype=np.int64)
    maps = [inspection.maps[layer][picture] for layer in request.layers]
    if request.kind == "cell":
        vectors = [maps[level][:, y, x].float() for level, _, y, x in places]
    else:
        boxes = cxcywh_to_xyxy(inspection.predictions[picture, torch.from_numpy(rows), :4])
        vectors = list(roi_means(maps[0], boxes, frame_hw))
    outputs = inspection.predictions.shape[2]
    return Provenance(
        kind=request.kind,
        levels=numbers[:, 0],
        strides=strides[numbers[:, 0]],
        cells_xy=np.stack((numbers[:, 3], numbers[:, 2]), axis=1),
        anchors=numbers[:, 1],
        anchors_wh_px=anchors[numbers[:, 0], numbers[:, 1]],
        logits=(torch.stack(logits).cpu() if logits else torch.empty((0, outputs))).numpy(),
        features=tuple(vector.cpu().numpy() for vector in vectors),
        placement=placement,
    )


def decode_boxes(provenance: Provenance) -> FloatArray:
    """The boxes that the logits stand for: float32 [N, 4], picture pixels, clipped to the picture.

    They equal ``Detections.boxes_xyxy_px`` bit for bit: the predictor takes the boxes that have a provenance from
    here. A box does not depend on which others are decoded with it.
    """
    count = len(provenance)
    # Torch computes whole vectors by other instructions than what is left over at the end of an array, which may
    # differ in the last bit. Rows of whole vectors, and fewer than are shared among threads, leave nothing over.
    rows = np.zeros((count, _WHOLE_VECTORS), dtype=np.float32)
    rows[:, :4] = provenance.logits[:, :4]
    boxes = np.empty((count, 4), dtype=np.float32)
    for first in range(0, count, _ONE_THREAD):
        some = slice(first, first + _ONE_THREAD)
        decoded = decode_logits(
            torch.from_numpy(rows[some]),
            torch.from_numpy(provenance.cells_xy[some]).float(),
            torch.from_numpy(provenance.anchors_wh_px[some]),
            torch.from_numpy(provenance.strides[some])[:, None],
        )
        boxes[some] = provenance.placement.boxes_to_source(cxcywh_to_xyxy(decoded[:, :4])).numpy()
    return boxes


def roi_means(
    feature_map: torch.Tensor, boxes_xyxy_px: torch.Tensor, frame_hw: tuple[int, int]
) -> torch.Tensor:
    """Means of a map over boxes, by bilinear interpolation.

    The box is divided into equal parts, as RoIAlign does it (He et al., "Mask R-CNN", 2017), and the map is read
    at the centre of each; what lies outside of the frame counts as its edge.

    Args:
        feature_map: [c, h, w] of any floating type.
        boxes_xyxy_px: [n, 4] in frame pixels.
        frame_hw: size of the frame that the map covers.

    Returns:
        float32 [n, c].
    """
    if not len(boxes_xyxy_px):
        return feature_map.new_empty((0, feature_map.shape[0]), dtype=torch.float32)
    boxes = boxes_xyxy_px.float()
    steps = (torch.arange(ROI_SAMPLES, dtype=torch.float32, device=boxes.device) + 0.5) / ROI_SAMPLES
    low, side = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[:, :, None]
    points = low + side * steps  # [n, 2, samples]
    # grid_sample without aligned corners: -1 and 1 are the outer edges of the map, as 0 and W are of the frame.
    x = points[:, 0] * (2.0 / frame_hw[1]) - 1.0
    y = points[:, 1] * (2.0 / frame_hw[0]) - 1.0
    grid = torch.stack(
        (x[:, None, :].expand(-1, ROI_SAMPLES, -1), y[:, :, None].expand(-1, -1, ROI_SAMPLES)), -1
    )
    flat = grid.reshape(1, len(boxes), ROI_SAMPLES * ROI_SAMPLES, 2)
    sampled = functional.grid_sample(
        feature_map[None].float(), flat, mode="bilinear", padding_mode="border", align_corners=False
    )  # [1, c, n, samples]
    return sampled[0].mean(dim=2).t().contiguous()


def _place(row: int, levels: Sequence[torch.Tensor], sizes: Sequence[int]) -> tuple[int, int, int, int]:
    """Level, anchor, row and column of the cell of a row of the prediction."""
    ends = list(accumulate(sizes))
    level = next(number for number, end in enumerate(ends) if row < end)
    height, width = levels[level].shape[1:3]
    anchor, rest = divmod(row - (ends[level] - sizes[level]), height * width)
    return level, anchor, rest // width, rest % width
