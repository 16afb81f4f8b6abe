"""Affine and perspective changes of pictures and boxes, and flips. Rules: data.md, section 9."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vedette.config.hyperparameters import Hyperparameters
    from vedette.core.types import BoolArray, IntArray, SizeHW

Boxes = NDArray[np.float64]
Matrix = NDArray[np.float64]
Corners = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels; x2 and y2 are exclusive."""

AFFINE_DRAWS: Final = 8
MIN_SIDE_PX: Final = 2.0
MIN_VISIBLE_AREA: Final = 0.1
MAX_ASPECT: Final = 20.0


@dataclass(frozen=True, slots=True)
class AffineChoice:
    """What happens to a canvas on its way to the output.

    Attributes:
        perspective_x: entry (2, 0) of the perspective matrix, about +-0.001; ``perspective_y`` is (2, 1).
        perspective_y: see ``perspective_x``.
        degrees: rotation.
        scale: zoom factor.
        shear_x: degrees; ``shear_y`` likewise.
        shear_y: see ``shear_x``.
        translate_x: where the centre of the canvas goes, as a fraction of the output width; ``translate_y`` of
            its height.
        translate_y: see ``translate_x``.
        projective: whether the perspective entries are used at all.
    """

    perspective_x: float = 0.0
    perspective_y: float = 0.0
    degrees: float = 0.0
    scale: float = 1.0
    shear_x: float = 0.0
    shear_y: float = 0.0
    translate_x: float = 0.5
    translate_y: float = 0.5
    projective: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """The true boxes of a picture or canvas.

    Attributes:
        boxes_xyxy_px: float64 [M, 4].
        class_ids: int64 [M].
        ignored: bool [M].
        labelled: bool [M, C], see :class:`vedette.core.types.Sample`; None: all.
    """

    boxes_xyxy_px: Boxes
    class_ids: IntArray
    ignored: BoolArray
    labelled: BoolArray | None = None

    def moved(self, scale_wh: tuple[float, float], shift_xy: tuple[float, float]) -> Labels:
        """Scaled about the origin, then shifted by pixels."""
        boxes = self.boxes_xyxy_px * np.array(scale_wh * 2) + np.array(shift_xy * 2)
        return replace(self, boxes_xyxy_px=boxes)

    def clipped(self, size_hw: SizeHW) -> Labels:
        """Cut to a picture or canvas of this size; boxes outside of it keep a zero side."""
        return replace(self, boxes_xyxy_px=_clip(self.boxes_xyxy_px, size_hw))

    def kept(self, keep: BoolArray) -> Labels:
        """Only the rows where ``keep`` [M] is true."""
        labelled = None if self.labelled is None else self.labelled[keep]
        return Labels(self.boxes_xyxy_px[keep], self.class_ids[keep], self.ignored[keep], labelled)

    @staticmethod
    def joined(parts: list[Labels]) -> Labels:
        """All rows, in the order of ``parts``; ``labelled`` is None in all parts or in none."""
        labelled = [part.labelled for part in parts if part.labelled is not None]
        return Labels(
            np.concatenate([part.boxes_xyxy_px for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            np.concatenate([part.ignored for part in parts]),
            np.concatenate(labelled) if labelled else None,
        )


def choose_affine(uniform: NDArray[np.float64], hyperparameters: Hyperparameters) -> AffineChoice:
    """Turn ``AFFINE_DRAWS`` numbers in [0, 1) into a choice, in the published order of draws."""

    def spread(draw: int, middle: float, reach: float) -> float:
        return middle + (2.0 * float(uniform[draw]) - 1.0) * reach

    return AffineChoice(
        perspective_x=spread(0, 0.0, hyperparameters.perspective),
        perspective_y=spread(1, 0.0, hyperparameters.perspective),
        degrees=spread(2, 0.0, hyperparameters.degrees),
        scale=spread(3, 1.0, hyperparameters.scale),
        shear_x=spread(4, 0.0, hyperparameters.shear),
        shear_y=spread(5, 0.0, hyperparameters.shear),
        translate_x=spread(6, 0.5, hyperparameters.translate),
        translate_y=spread(7, 0.5, hyperparameters.translate),
        projective=hyperparameters.perspective != 0.0,
    )


def affine_matrix(choice: AffineChoice, canvas_hw: SizeHW, output_hw: SizeHW) -> Matrix:
    """float64 [3, 3] that maps canvas to output coordinates: M = T S R P C of data.md, section 9."""
    angle = math.radians(choice.degrees)
    cosine, sine = choice.scale * math.cos(angle), choice.scale * math.sin(angle)
    shear_x, shear_y = math.tan(math.radians(choice.shear_x)), math.tan(math.radians(choice.shear_y))
    centre = np.array([[1, 0, -canvas_hw[1] / 2], [0, 1, -canvas_hw[0] / 2], [0, 0, 1]])
    perspective = np.array([[1, 0, 0], [0, 1, 0], [choice.perspective_x, choice.perspective_y, 1]])
    rotation = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    shear = np.array([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]])
    translation = np.array(
        [[1, 0, choice.translate_x * output_hw[1]], [0, 1, choice.translate_y * output_hw[0]], [0, 0, 1]]
    )
    matrix: Matrix = translation @ shear @ rotation @ perspective @ centre
    return matrix


def warp_points(points_xy: NDArray[Any], matrix: Matrix, projective: bool) -> NDArray[np.float64]:
    """Map points [..., 2]; ``projective`` divides by the third homogeneous coordinate."""
    mapped = points_xy @ matrix[:2, :2].T + matrix[:2, 2]
    if projective:
        mapped = mapped / (points_xy @ matrix[2, :2] + matrix[2, 2])[..., None]
    return np.asarray(mapped, dtype=np.float64)


def warp_boxes(boxes_xyxy: Boxes, matrix: Matrix, output_hw: SizeHW, projective: bool = False) -> Boxes:
    """The upright boxes around the mapped corners, cut to the output: float64 [M, 4]."""
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    mapped = warp_points(corners, matrix, projective)
    return _clip(np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1), output_hw)


def is_candidate(before_xyxy: Boxes, after_xyxy: Boxes, max_aspect: float = MAX_ASPECT) -> BoolArray:
    """Which boxes are still worth learning after a change: bool [M].

    Sides over 2 px, more than a tenth of the area left, sides not more than ``max_aspect`` to one.

    Args:
        before_xyxy: [M, 4] before the change, already multiplied by its scale.
        after_xyxy: [M, 4] after the change and the cut.
        max_aspect: longer over shorter side.
    """
    tiny = 1e-16  # keeps divisions by an empty box finite
    width_before, height_before = (before_xyxy[:, 2:] - before_xyxy[:, :2]).T
    width, height = (after_xyxy[:, 2:] - after_xyxy[:, :2]).T
    aspect = np.maximum(width / (height + tiny), height / (width + tiny))
    large = (width > MIN_SIDE_PX) & (height > MIN_SIDE_PX)
    visible = width * height / (width_before * height_before + tiny) > MIN_VISIBLE_AREA
    return np.asarray(large & visible & (aspect < max_aspect), dtype=np.bool_)


def warp_labels(labels: Labels, matrix: Matrix, choice: AffineChoice, output_hw: SizeHW) -> Labels:
    """Labels of the canvas as labels of the output.

    Boxes to learn pass :func:`is_candidate`; of an ignored box every visible part stays, since nothing may be
    learned there.
    """
    boxes = warp_boxes(labels.boxes_xyxy_px, matrix, output_hw, choice.projective)
    visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    candidates = is_candidate(labels.boxes_xyxy_px * choice.scale, boxes)
    warped = replace(labels, boxes_xyxy_px=boxes)
    return warped.kept(np.where(labels.ignored, visible, candidates))


def flip_boxes(boxes_xyxy: Boxes, size_hw: SizeHW, *, left_right: bool, up_down: bool) -> Boxes:
    """Mirror boxes with their picture."""
    height, width = size_hw
    boxes: Boxes = boxes_xyxy.copy()
    if left_right:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if up_down:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    return boxes


def _clip(boxes_xyxy: Boxes, size_hw: SizeHW) -> Boxes:
    height, width = size_hw
    limits = np.array((width, height, width, height), dtype=np.float64)
    clipped: Boxes = np.minimum(np.maximum(boxes_xyxy, 0.0), limits)
    return clipped
