"""Non-maximum suppression of tensors, on the device they are on; :mod:`vedette.core.nms` is its twin for arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from vedette.core.boxes import cxcywh_to_xyxy
from vedette.core.iou import pairwise_iou
from vedette.core.nms import MERGE_BELOW, NmsSettings
from vedette.errors import ModelError

CPU_BLOCK = 256
GPU_BLOCK = 2048
"""Candidates resolved at once."""


@dataclass(frozen=True, slots=True)
class SuppressedTensors:
    """What was kept of one picture.

    Attributes:
        detections: float32 [n, 6]: x1, y1, x2, y2, score, class; best score first, ties in prediction order.
        rows: int64 [n], the row of the prediction each came from; -1 for an a-priori label.
        complete: False if ``max_candidates`` cut off candidates that might have been kept.
        non_finite_rows: rows left out because they hold NaN or infinity.
    """

    detections: torch.Tensor
    rows: torch.Tensor
    complete: bool
    non_finite_rows: int


def non_max_suppression(
    predictions: torch.Tensor,
    settings: NmsSettings,
    labels: Sequence[torch.Tensor | None] | None = None,
) -> list[torch.Tensor]:
    """The detections of :func:`suppress`, one float32 [n, 6] a picture."""
    return [picture.detections for picture in suppress(predictions, settings, labels)]


@torch.no_grad()
def suppress(
    predictions: torch.Tensor,
    settings: NmsSettings,
    labels: Sequence[torch.Tensor | None] | None = None,
) -> list[SuppressedTensors]:
    """Filter, suppress and bound the predictions of a batch.

    Args:
        predictions: [B, N, 5+C] decoded: centre and size in pixels, objectness, class probabilities. Not
            written to. Computed in float32. Rows with NaN or infinity anywhere are left out and counted.
        settings: what to keep.
        labels: a-priori boxes, one entry a picture: [m, 5] rows of class, cx, cy, w, h in the pixels of the
            predictions, or None. They take part with objectness and score 1.

    Returns:
        One result a picture, on the device of the predictions.

    Raises:
        ModelError: wrong shape, or a class id the model does not have.
    """
    if predictions.ndim != 3 or predictions.shape[2] < 6:
        raise ModelError(f"predictions have shape {list(predictions.shape)}, expected [B, N, 5 + classes]")
    classes = predictions.shape[2] - 5
    if any(class_id >= classes for class_id in settings.class_ids or ()):
        raise ModelError(f"the model has {classes} classes, 0 to {classes - 1}", where="nms.class_ids")
    if labels is None:
        labels = [None] * len(predictions)
    if len(labels) != len(predictions):
        raise ModelError(f"labels for {len(labels)} pictures, predictions for {len(predictions)}")
    return [
        _suppress_one(picture, settings, picture_labels)
        for picture, picture_labels in zip(predictions, labels, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Boxes [n, 4] corners, scores [n] descending, class ids [n], rows of the prediction [n]."""

    boxes: torch.Tensor
    scores: torch.Tensor
    class_ids: torch.Tensor
    rows: torch.Tensor


def _suppress_one(
    picture: torch.Tensor, settings: NmsSettings, labels: torch.Tensor | None
) -> SuppressedTensors:
    # NaN passes this comparison on purpose: such rows are counted below.
    rows = (~(picture[:, 4].float() <= settings.conf_threshold)).nonzero().squeeze(1)
    chosen = picture[rows].float()
    if labels is not None and len(labels):
        chosen = torch.cat((chosen, _label_rows(labels, chosen)))
        rows = torch.cat((rows, rows.new_full((len(labels),), -1)))
    found = len(chosen)
    # A row with a non-finite number has a non-finite sum; looking at every number is ten times slower.
    if not bool(chosen.sum(dim=1).isfinite().all()):
        finite = chosen.isfinite().all(dim=1)
        chosen, rows = chosen[finite], rows[finite]

    candidates, cut = _best_candidates(chosen, rows, settings)
    boxes, groups = candidates.boxes, None if settings.agnostic else candidates.class_ids
    if groups is not None and settings.class_offset is not None:
        boxes, groups = boxes + groups.unsqueeze(1).float() * settings.class_offset, None
    kept = _greedy_sorted(boxes, settings.iou_threshold, groups, settings.max_detections)
    kept_boxes = candidates.boxes[kept]
    complete = not cut or len(kept) == settings.max_detections
    if settings.merge and 1 < len(boxes) < MERGE_BELOW:
        kept_boxes, supported = _merge(candidates, boxes, groups, kept, settings.iou_threshold)
        kept_boxes, kept = kept_boxes[supported], kept[supported]
    detections = torch.cat(
        (kept_boxes, candidates.scores[kept].unsqueeze(1), candidates.class_ids[kept].unsqueeze(1).float()),
        dim=1,
    )
    return SuppressedTensors(detections, candidates.rows[kept], complete, found - len(chosen))


def _label_rows(labels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A-priori labels [m, 5] as prediction rows [m, 5+C] with objectness 1 and one class of score 1."""
    labels = labels.to(like)
    classes = like.shape[1] - 5
    if labels.ndim != 2 or labels.shape[1] != 5:
        raise ModelError(f"labels have shape {list(labels.shape)}, expected [m, 5]")
    class_ids = labels[:, 0].long()
    if bool(((class_ids < 0) | (class_ids >= classes)).any()):
        raise ModelError(f"a label has a class outside 0 to {classes - 1}")
    rows = like.new_zeros((len(labels), 5 + classes))
    rows[:, :4] = labels[:, 1:]
    rows[:, 4] = 1
    rows[torch.arange(len(labels), device=like.device), 5 + class_ids] = 1
    return rows


def _best_candidates(
    chosen: torch.Tensor, rows: torch.Tensor, settings: NmsSettings
) -> tuple[_Candidates, bool]:
    """The candidates of rows [n, 5+C], best first, and whether ``max_candidates`` cut some off."""
    scores = chosen[:, 5:] * chosen[:, 4:5]  # [n, C]
    if settings.multi_label and scores.shape[1] > 1:
        index, class_ids = (scores > settings.conf_threshold).nonzero().unbind(dim=1)
        scores = scores[index, class_ids]
    else:
        scores, class_ids = scores.max(dim=1)
        index = (scores > settings.conf_threshold).nonzero().squeeze(1)
        scores, class_ids = scores[index], class_ids[index]
    if settings.class_ids is not None:
        listed = torch.zeros(chosen.shape[1] - 5, dtype=torch.bool)
        listed[list(settings.class_ids)] = True
        wanted = listed.to(chosen.device)[class_ids]
        index, class_ids, scores = index[wanted], class_ids[wanted], scores[wanted]
    order = _best_first(scores, settings.max_candidates)
    cut = len(order) < len(scores)
    index = index[order]
    return _Candidates(cxcywh_to_xyxy(chosen[index, :4]), scores[order], class_ids[order], rows[index]), cut


def _best_first(scores: torch.Tensor, limit: int) -> torch.Tensor:
    """Positions of the ``limit`` highest scores, descending; equal scores in their order."""
    if len(scores) <= limit:
        return torch.argsort(scores, descending=True, stable=True)
    # Selecting first is several times faster than sorting millions; topk itself does not say which of several
    # equal scores it takes, so that only its lowest score is used.
    lowest = scores.topk(limit, sorted=False).values.min()
    above = (scores > lowest).nonzero().squeeze(1)
    equal = (scores == lowest).nonzero().squeeze(1)[: limit - len(above)]
    positions = torch.cat((above, equal))
    return positions[torch.argsort(scores[positions], descending=True, stable=True)]


def _merge(
    candidates: _Candidates,
    shifted: torch.Tensor,
    groups: torch.Tensor | None,
    kept: torch.Tensor,
    iou_threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merged boxes [n, 4] of the kept candidates, and which of them overlap another candidate, bool [n]."""
    everything = torch.arange(len(shifted), device=shifted.device)
    overlaps = _group_iou(shifted, kept, everything, groups) > iou_threshold  # [n, all]
    weights = overlaps * candidates.scores
    merged = weights @ candidates.boxes / weights.sum(dim=1, keepdim=True)
    return merged, overlaps.sum(dim=1) > 1


def greedy_nms(
    boxes_xyxy: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    groups: torch.Tensor | None = None,
    max_kept: int | None = None,
) -> torch.Tensor:
    """Greedy suppression, the fast way; equals :func:`plain_greedy_nms` exactly.

    Args:
        boxes_xyxy: [N, 4] corners.
        scores: [N]; equal scores count in their order.
        iou_threshold: a box is dropped if its IoU with a kept one is above it.
        groups: [N] whole numbers; only boxes of one group suppress each other. None: one group.
        max_kept: stop after so many.

    Returns:
        int64: positions of the kept boxes, best score first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    # Numbered from 0, so that they are exact in float32.
    sorted_groups = None if groups is None else torch.unique(groups[order], return_inverse=True)[1]
    limit = len(boxes_xyxy) if max_kept is None else max_kept
    return order[_greedy_sorted(boxes_xyxy[order], iou_threshold, sorted_groups, limit)]


def plain_greedy_nms(
    boxes_xyxy: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    groups: torch.Tensor | None = None,
    max_kept: int | None = None,
) -> torch.Tensor:
    """The definition of :func:`greedy_nms`, one box at a time; its twin in tests and benchmarks."""
    remaining = torch.argsort(scores, descending=True, stable=True)
    kept: list[torch.Tensor] = []
    while len(remaining) and (max_kept is None or len(kept) < max_kept):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        dropped = pairwise_iou(boxes_xyxy[best].unsqueeze(0), boxes_xyxy[remaining])[0] > iou_threshold
        if groups is not None:
            dropped &= groups[remaining] == groups[best]
        remaining = remaining[~dropped]
    return torch.stack(kept) if kept else remaining


def _greedy_sorted(
    boxes: torch.Tensor, iou_threshold: float, groups: torch.Tensor | None, max_kept: int
) -> torch.Tensor:
    """Greedy suppression of boxes [N, 4] in order of falling score: kept positions, int64, ascending.

    Block by block: what kept boxes of earlier blocks suppress is taken out, the rest is resolved among itself.
    """
    on_cpu = boxes.device.type == "cpu"
    # On a GPU the number of blocks costs (each waits for the device), on a CPU the size of the matrices.
    block = CPU_BLOCK if on_cpu else GPU_BLOCK
    kept = torch.empty(0, dtype=torch.int64, device=boxes.device)
    for start in range(0, len(boxes), block):
        alive = torch.arange(start, min(start + block, len(boxes)), device=boxes.device)
        if len(kept):
            worst = _group_iou(boxes, kept, alive, groups).amax(dim=0)
            alive = alive[worst <= iou_threshold]
        survivors = _resolve(_group_iou(boxes, alive, alive, groups), iou_threshold, 1 if on_cpu else 4)
        kept = torch.cat((kept, alive[survivors]))
        if len(kept) >= max_kept:
            return kept[:max_kept]
    return kept


def _group_iou(
    boxes: torch.Tensor, first: torch.Tensor, second: torch.Tensor, groups: torch.Tensor | None
) -> torch.Tensor:
    """IoU of the boxes at ``first`` and ``second``, [n, m]; below 0 for boxes of different groups.

    Arithmetic instead of masks: torch compares and reduces booleans several times slower than floats.
    """
    iou = pairwise_iou(boxes[first], boxes[second])
    if groups is not None:
        doubled = groups.to(iou.dtype) * 2  # groups differ by 1 or more, an IoU is below 2
        iou.sub_((doubled[first].unsqueeze(1) - doubled[second].unsqueeze(0)).abs_())
    return iou


def _resolve(iou: torch.Tensor, iou_threshold: float, rounds: int) -> torch.Tensor:
    """Greedy suppression within a block: bool [n] from its IoU [n, n] in order of falling score.

    Repeats "kept = not overlapped by an earlier kept one" from all-kept until nothing changes. Round k is right
    for boxes whose chain of suppressors is shorter than k, and only the greedy result does not change.
    ``rounds`` are made between two looks at the result, as each look waits for the device.
    """
    # 1 where the row suppresses the column, else 0, so that a product counts the kept suppressors exactly.
    suppressors = functional.threshold(iou, iou_threshold, 0.0, inplace=True).triu_(diagonal=1).ceil_()
    kept = before = suppressors.new_ones(len(iou))
    while True:
        for _ in range(rounds):
            before, kept = kept, torch.eq(kept @ suppressors, 0).to(kept.dtype)
        if torch.equal(before, kept):
            return kept.bool()
