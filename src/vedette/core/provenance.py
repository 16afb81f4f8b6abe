"""Where in the network detections come from: one row a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vedette.core.letterbox import Letterbox
from vedette.core.types import BoolArray, FloatArray, IntArray

FeatureKind = Literal["cell", "roi"]
"""Which vector describes a box: what its output convolution read, or a mean over the box."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where each box of a ``Detections`` was predicted, from what, and a vector that describes it.

    Attributes:
        kind: "cell": the vector is the one value-by-channel column that the level's output convolution read, so
            its length differs by level. "roi": the mean of one layer's map over the box, of one length for all.
        levels: int64 [N], number of the level in the order of the network's strides.
        strides: int64 [N], frame pixels a cell of that level.
        cells_xy: int64 [N, 2], column and row of the cell.
        anchors: int64 [N], number of the anchor within its level.
        anchors_wh_px: float32 [N, 2], its width and height in frame pixels.
        logits: float32 [N, 5+C], raw outputs: tx, ty, tw, th, objectness, classes.
        features: float32 [c], one vector a box.
        placement: how the picture lies in the frame that the network saw.
    """

    kind: FeatureKind
    levels: IntArray
    strides: IntArray
    cells_xy: IntArray
    anchors: IntArray
    anchors_wh_px: FloatArray
    logits: FloatArray
    features: tuple[FloatArray, ...]
    placement: Letterbox

    def __len__(self) -> int:
        return len(self.levels)

    def chosen(self, rows: IntArray | BoolArray) -> Provenance:
        """That of some of the boxes, by number or by mask."""
        return Provenance(
            kind=self.kind,
            levels=self.levels[rows],
            strides=self.strides[rows],
            cells_xy=self.cells_xy[rows],
            anchors=self.anchors[rows],
            anchors_wh_px=self.anchors_wh_px[rows],
            logits=self.logits[rows],
            features=tuple(self.features[number] for number in np.arange(len(self))[rows]),
            placement=self.placement,
        )
