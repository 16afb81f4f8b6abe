"""Which anchors a run uses: those of its model if they fit the boxes of the data set, else fitted ones.

Specification data.md section 14. The published measurement also scales every picture by a random 0.9 to 1.1;
that is left out, so that the decision does not hang on luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import SizeHW
from vedette.data.index import SplitIndex
from vedette.errors import UsageError
from vedette.model.anchor_fitting import fit_anchors, fittable
from vedette.model.anchors import AnchorFit, Anchors, measure_anchors
from vedette.model.plan import head_strides, plan
from vedette.model.rows import Architecture

ENOUGH_RECALL = 0.98
"""Anchors that can answer for this part of the boxes are kept."""


@dataclass(frozen=True, slots=True)
class AnchorChoice:
    """The anchors of a run and why.

    Attributes:
        architecture: with the anchors to use.
        fit: how they fit the boxes; None if there are no boxes to measure.
        given_fit: how the anchors of the model fit; None if it has none, or there are no boxes.
        fitted: they were fitted to the boxes.
        text: the decision in words.
    """

    architecture: Architecture
    fit: AnchorFit | None
    given_fit: AnchorFit | None
    fitted: bool
    text: str


def box_sizes(index: SplitIndex, size_hw: SizeHW) -> NDArray[np.float64]:
    """Widths and heights of the boxes of a split, in pixels of a frame that its pictures are scaled into.

    Args:
        index: the split; ignored boxes are left out, and what reaches over the edge of a picture is cut off.
        size_hw: of the frame.

    Returns:
        float64 [M, 2], (width, height), > 0.
    """
    picture = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    limits = index.sizes_hw[picture][:, [1, 0]].astype(np.float64)  # [M, 2], (width, height)
    boxes = index.boxes_xyxy_px
    sizes = np.clip(boxes[:, 2:], 0, limits) - np.clip(boxes[:, :2], 0, limits)
    scales = (np.array(size_hw, dtype=np.float64) / index.sizes_hw).min(axis=1)
    sizes *= scales[picture][:, None]
    chosen: NDArray[np.float64] = sizes[~index.ignored & (sizes > 0).all(axis=1)]
    return chosen


def choose_anchors(
    architecture: Architecture,
    sizes_wh_px: NDArray[np.float64],
    *,
    threshold: float,
    seed: int,
    keep: bool = False,
    per_level: int = 0,
) -> AnchorChoice:
    """Decide on the anchors of a run.

    Args:
        architecture: of the model.
        sizes_wh_px: boxes [M, 2] in pixels of the frame.
        threshold: the hyperparameter ``anchor_t``.
        seed: of the fit.
        keep: use the anchors of the model in any case (``--noautoanchor``).
        per_level: fit so many anchors a level in any case (the hyperparameter ``anchors``); 0: as the model has.

    Raises:
        UsageError: the model's anchors cannot be kept because it has none, or because others are asked for.
        ModelError: anchors have to be fitted, and there are no boxes of two pixels to fit them to.
    """
    given = architecture.anchors_px
    if keep and (per_level or isinstance(given, int)):
        reason = "the hyperparameter 'anchors' asks for new ones" if per_level else "the model has none"
        raise UsageError(f"cannot keep the anchors: {reason}", where="--noautoanchor", fix="leave it out")
    given_fit = None
    if not isinstance(given, int) and len(sizes_wh_px):
        given_fit = measure_anchors(sizes_wh_px, _flat(given), threshold)
    forced = per_level > 0 or isinstance(given, int)
    enough = keep or given_fit is None or given_fit.best_possible_recall >= ENOUGH_RECALL
    if not forced and (enough or not fittable(sizes_wh_px).any()):
        return AnchorChoice(
            architecture, given_fit, given_fit, False, f"those of the model, {_words(given_fit)}"
        )
    count = per_level or architecture.anchors_per_level
    anchors = fit_anchors(sizes_wh_px, _strides(architecture), count, threshold=threshold, seed=seed)
    fit = measure_anchors(sizes_wh_px, _flat(anchors), threshold)
    if given_fit is not None and not forced and fit.best_possible_recall <= given_fit.best_possible_recall:
        text = f"those of the model, {_words(given_fit)}; fitted ones are no better, {_words(fit)}"
        return AnchorChoice(architecture, given_fit, given_fit, False, text)
    text = f"fitted to {len(sizes_wh_px):,} boxes, {_words(fit)}"
    if given_fit is not None:
        text += f" (those of the model: {_words(given_fit)})"
    return AnchorChoice(replace(architecture, anchors_px=anchors), fit, given_fit, True, text)


def _strides(architecture: Architecture) -> tuple[int, ...]:
    return head_strides(plan(architecture))


def _flat(anchors: Anchors) -> NDArray[np.float64]:
    return np.array(anchors, dtype=np.float64).reshape(-1, 2)


def _words(fit: AnchorFit | None) -> str:
    if fit is None:
        return "not measured: there are no boxes"
    return f"recall {fit.best_possible_recall:.4f} at best, {fit.anchors_above_threshold:.2f} for each box"
