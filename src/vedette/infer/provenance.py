"""From a kept row of the prediction back to its level, cell, anchor and logits, and on to a feature vector.

Arrays only: exported files answer in processes without torch too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vedette.core.boxes import cxcywh_to_xyxy
from vedette.core.decode import decode_logits
from vedette.core.letterbox import Letterbox
from vedette.core.provenance import FeatureKind, Provenance
from vedette.core.types import FloatArray, IntArray, SizeHW
from vedette.errors import UsageError, nearest
from vedette.infer.backends import Inspection

ROI_SAMPLES = 14
"""Points a side at which a map is read inside a box."""

_BOXES_AT_ONCE = 128


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
    levels, head = inspection.outputs.levels, inspection.outputs.head  # each level [B, A, 5+C, h, w]
    numbers, anchors, lines, columns = places(rows, [(level.shape[1], *level.shape[3:]) for level in levels])
    logits = np.empty((len(rows), levels[0].shape[2]), dtype=np.float32)
    for number, level in enumerate(levels):
        here = numbers == number
        logits[here] = level[picture, anchors[here], :, lines[here], columns[here]]
    strides = np.array(head.strides, dtype=np.int64)[numbers]
    anchors_wh_px: FloatArray = head.anchors_px[numbers, anchors]
    cells_xy = np.stack((columns, lines), axis=1)
    maps = [inspection.maps[layer][picture] for layer in request.layers]
    features: tuple[FloatArray, ...]
    if request.kind == "cell":
        features = tuple(
            maps[number][:, line, column].copy()
            for number, line, column in zip(numbers, lines, columns, strict=True)
        )
    else:
        boxes = cxcywh_to_xyxy(_decoded(logits, cells_xy, anchors_wh_px, strides))
        features = tuple(roi_means(maps[0], boxes, placement.frame_hw))
    return Provenance(
        kind=request.kind,
        levels=numbers,
        strides=strides,
        cells_xy=cells_xy,
        anchors=anchors,
        anchors_wh_px=anchors_wh_px,
        logits=logits,
        features=features,
        placement=placement,
    )


def decode_boxes(provenance: Provenance) -> FloatArray:
    """The boxes that the logits stand for: float32 [N, 4], picture pixels, clipped to the picture.

    They equal ``Detections.boxes_xyxy_px`` bit for bit: the predictor takes the boxes that have a provenance from
    here. A box does not depend on which others are decoded with it.
    """
    decoded = _decoded(provenance.logits, provenance.cells_xy, provenance.anchors_wh_px, provenance.strides)
    return provenance.placement.boxes_to_source(cxcywh_to_xyxy(decoded))


def roi_means(feature_map: NDArray[Any], boxes_xyxy_px: FloatArray, frame_hw: SizeHW) -> FloatArray:
    """Means of a map over boxes, by bilinear interpolation.

    The box is divided into equal parts, as RoIAlign does it (He et al., "Mask R-CNN", 2017), and the map is read
    at the centre of each; what lies outside of the frame counts as its edge. The points lie in lines and columns, so
    their mean is that of weighted lines, of weighted columns.

    Args:
        feature_map: floating [c, h, w].
        boxes_xyxy_px: float32 [n, 4] in frame pixels.
        frame_hw: size of the frame that the map covers.

    Returns:
        float32 [n, c].
    """
    values = np.asarray(feature_map, dtype=np.float32)
    channels, height, width = values.shape
    means = np.empty((len(boxes_xyxy_px), channels), dtype=np.float32)
    by_line = np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(height, channels * width)
    for first in range(0, len(boxes_xyxy_px), _BOXES_AT_ONCE):
        boxes = boxes_xyxy_px[first : first + _BOXES_AT_ONCE]
        lines = _weights(boxes[:, 1], boxes[:, 3], height, frame_hw[0])  # [n, h]
        columns = _weights(boxes[:, 0], boxes[:, 2], width, frame_hw[1])  # [n, w]
        narrowed = (lines @ by_line).reshape(len(boxes), channels, width)
        means[first : first + len(boxes)] = (narrowed @ columns[:, :, None])[:, :, 0]
    return means


def places(
    rows: IntArray, shapes: Sequence[tuple[int, ...]]
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Level, anchor, line and column of the cells of rows of a prediction, int64 [n] each.

    Args:
        rows: int64 [n]; they run over levels, then anchors, lines, columns.
        shapes: by level: anchors, height, width.
    """
    ends = np.cumsum([anchors * height * width for anchors, height, width in shapes])
    levels = np.searchsorted(ends, rows, side="right").astype(np.int64)
    sizes = np.array(shapes, dtype=np.int64)[levels]  # [n, 3]
    within = rows - np.concatenate(([0], ends[:-1]))[levels]
    anchors, cells = np.divmod(within, sizes[:, 1] * sizes[:, 2])
    lines, columns = np.divmod(cells, sizes[:, 2])
    return levels, anchors, lines, columns


def _decoded(
    logits: FloatArray, cells_xy: IntArray, anchors_wh_px: FloatArray, strides: IntArray
) -> FloatArray:
    """Boxes [n, 4] of raw values, centre and size in frame pixels."""
    boxes = np.empty((len(logits), 4), dtype=np.float32)
    for stride in np.unique(strides):
        here = strides == stride
        # Values of their own lie together in memory, so that all are computed by the same instructions.
        raw = np.ascontiguousarray(logits[here, :4])
        boxes[here] = decode_logits(raw, cells_xy[here].astype(np.float32), anchors_wh_px[here], int(stride))
    return boxes


def _weights(low: FloatArray, high: FloatArray, cells: int, frame_side: int) -> FloatArray:
    """How much each of the cells of a side counts in the mean over boxes from ``low`` to ``high``: [n, cells]."""
    steps = (np.arange(ROI_SAMPLES, dtype=np.float32) + 0.5) / ROI_SAMPLES
    points = low[:, None] + (high - low)[:, None] * steps
    # The first cell is that of 0.5: its edge is that of the frame.
    points = np.clip(points * np.float32(cells / frame_side) - 0.5, 0.0, cells - 1.0)
    before = np.floor(points).astype(np.int64)
    share = points - before
    boxes = np.arange(len(points))[:, None]
    weights = np.zeros((len(points), cells), dtype=np.float32)
    np.add.at(weights, (boxes, before), (1.0 - share) / ROI_SAMPLES)
    np.add.at(weights, (boxes, np.minimum(before + 1, cells - 1)), share / ROI_SAMPLES)
    return weights
