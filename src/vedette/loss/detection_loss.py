"""What a batch of raw predictions costs (specification loss.md sections 2, 3 and 6)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vedette.config.hyperparameters import Hyperparameters
from vedette.core.iou import paired_iou
from vedette.errors import ConfigError
from vedette.loss.answers import read_answers
from vedette.loss.assign import COPIES, Assignment, Grid, assign_targets, make_grid
from vedette.loss.cross_entropy import binary_cross_entropy, smoothed_targets
from vedette.loss.ignored import silent_cells
from vedette.loss.rules import RULES, LossGains, LossRules, plain_gains

_BALANCE_RATE = 0.0001
_BALANCE_STRIDE = 16


def _whole(tensor: Tensor) -> Tensor:
    return tensor


class _Frame(NamedTuple):
    """Constants of one batch shape, on the device."""

    grid: Grid
    heights: Tensor  # int64 [L, 1], cells
    widths: Tensor  # int64 [L, 1]
    level_starts: Tensor  # int64 [L, 1], where a level's cells begin in the list of all cells
    level_sizes: tuple[int, ...]  # cells of each level, over images and anchors
    frame_cells: Tensor  # int64 [L], cells of each level of one image, over anchors


class DetectionLoss:
    """Box, objectness and class loss of raw level outputs against true boxes.

    Shapes never depend on the data and the host never waits for the device, so a step that uses it can be
    compiled and captured; :func:`vedette.loss.assign.pad_targets` then keeps the number of targets constant.
    The loss is computed in float32 whatever the dtype of the predictions, inside autocast too. Several entries for
    one cell and anchor: the last in the order of :class:`vedette.loss.assign.Assignment` sets its objectness
    target, on every device.

    Args:
        hyperparameters: ``anchor_t``, ``cls_pw``, ``obj_pw``, ``fl_gamma`` and ``label_smoothing`` are used.
        anchors: float32 [L, A, 2] in cells of each level, on the device of the predictions.
        classes: number of classes; with one there is no class loss.
        strides: of the L levels, in pixels.
        gains: factors of the three terms, see :func:`vedette.loss.rules.scaled_gains`; by default
            those of ``hyperparameters``, unscaled.
        rules: which release's loss.

    Attributes:
        level_weights: float32 [L]; changes only with ``rules.balances_levels``, and then belongs to the run's state.

    Raises:
        ConfigError: the release weighs no such number of levels, or balances levels without one of stride 16.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        *,
        anchors: Tensor,
        classes: int,
        strides: Sequence[int],
        gains: LossGains | None = None,
        rules: LossRules = RULES["v4.0"],
    ) -> None:
        self.hyperparameters = hyperparameters
        self.anchors = anchors.detach().float()
        self.classes = classes
        self.gains = gains or plain_gains(hyperparameters)
        self.rules = rules
        self._total: Callable[[Tensor], Tensor] = _whole
        levels = len(strides)
        if anchors.shape[0] != levels:
            raise ConfigError(
                f"anchors for {anchors.shape[0]} levels and {levels} strides do not fit together"
            )
        if rules.balances_levels and _BALANCE_STRIDE not in strides:
            raise ConfigError(
                f"balancing levels needs one of stride {_BALANCE_STRIDE}", where=str(tuple(strides))
            )
        self.level_weights = torch.tensor(rules.weights(levels), dtype=torch.float32, device=anchors.device)
        self._reference_level = list(strides).index(_BALANCE_STRIDE) if rules.balances_levels else 0
        self._frames: dict[tuple[tuple[int, ...], ...], _Frame] = {}
        self._factors = self._level_factors(levels)

    def of_parts(self, total: Callable[[Tensor], Tensor]) -> DetectionLoss:
        """The same loss for a process that has a part of each batch, which may be empty.

        Its sums are divided by the numbers of entries and frames of the whole batch, so that the losses of all
        parts, and their gradients, add up to those of the batch. Every part calls it for every batch.

        Args:
            total: adds a small tensor up over all parts.
        """
        part = copy.copy(self)
        part._total = total
        return part

    def of_whole_batches(self) -> DetectionLoss:
        """The inverse of :meth:`of_parts`."""
        return self.of_parts(_whole)

    def __call__(
        self,
        levels: Sequence[Tensor],
        targets: Tensor,
        ignored: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss to go back from, and its parts.

        Args:
            levels: raw logits, [B, A, h, w, 5 + C] for each level.
            targets: float32 [M, 6], (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame; rows
                with a negative image are padding; M may be 0.
            ignored: float32 [K, 6], likewise: boxes that are neither target nor background, see
                :mod:`vedette.loss.ignored`.
            labelled: bool [M, C], one row a target: which classes are labelled in the picture that the target comes
                from; about the others nothing is learned from it. None: all of them.

        Returns:
            The loss of the batch, a scalar: (box + obj + cls) times B. And [box, obj, cls], float32 [3], detached,
            with gains but not times B. Of a part of a batch (:meth:`of_parts`): its share of both.
        """
        with torch.autocast(device_type=levels[0].device.type, enabled=False):
            return self._compute(levels, targets.float(), ignored, labelled)

    def _compute(
        self, levels: Sequence[Tensor], targets: Tensor, ignored: Tensor | None, labelled: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        frame = self._frame(levels)
        found = assign_targets(
            targets,
            frame.grid,
            ratio_threshold=self.hyperparameters.anchor_t,
            mirrored_neighbours=self.rules.mirrored_neighbours,
        )
        answers, logits = read_answers(  # [L, N, 5 + C], [all cells]
            levels, (found.image, found.anchor, found.row, found.column)
        )
        anchors = self.anchors.shape[1]
        cells = (
            (found.image * anchors + found.anchor) * frame.heights + found.row
        ) * frame.widths + found.column
        overlaps = self._overlaps(answers, found)  # [L, N]
        entries, frames = self._counts(found.valid, levels[0].shape[0])
        box = _masked(1 - overlaps, found.valid).sum(dim=1) / entries
        silent = None
        if ignored is not None and ignored.shape[0]:
            sizes_hw = [(level.shape[2], level.shape[3]) for level in levels]
            silent = silent_cells(ignored.float(), levels[0].shape[0], anchors, sizes_hw)
        objectness = self._objectness(
            logits, overlaps, cells + frame.level_starts, found.valid, frame.level_sizes, silent
        )
        objectness = objectness / (frames * frame.frame_cells)
        box_factor, obj_factor, cls_factor = self._factors
        parts = torch.stack(
            (
                box.sum() * box_factor,
                (objectness * self.level_weights.clone()).sum() * obj_factor,
                self._class_loss(answers, found, entries, labelled) * cls_factor,
            )
        )
        if self.rules.balances_levels:
            self._balance(self._total(objectness.detach()))
        return parts.sum() * frames, parts.detach()

    def _counts(self, valid: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Entries of every level, int64 [L], at least 1, and B, int64 []: those of the whole batch."""
        own = torch.cat((valid.sum(dim=1), valid.new_full((1,), frames, dtype=torch.int64)))
        whole = self._total(own)
        return whole[:-1].clamp(min=1), whole[-1]

    def _level_factors(self, levels: int) -> tuple[float, float, float]:
        """Gain of box, objectness and class loss, times what the release scales by the number of levels."""
        scale = {
            term: 3 / levels if term in self.rules.scaled_by_levels else 1.0 for term in ("box", "obj", "cls")
        }
        four = self.rules.four_level_objectness if levels == 4 else 1.0
        return (
            self.gains.box * scale["box"],
            self.gains.obj * scale["obj"] * four,
            self.gains.cls * scale["cls"],
        )

    def _frame(self, levels: Sequence[Tensor]) -> _Frame:
        """Constants for this batch shape; made once, because copying them to a GPU would make the host wait."""
        key = tuple(tuple(level.shape[:4]) for level in levels)
        if key not in self._frames:
            device = self.anchors.device
            sizes = torch.tensor([shape[2:] for shape in key], device=device)
            counts = tuple(batch * anchors * height * width for batch, anchors, height, width in key)
            starts = [sum(counts[:level]) for level in range(len(counts))]
            self._frames[key] = _Frame(
                grid=make_grid(self.anchors, [(height, width) for _, _, height, width in key]),
                heights=sizes[:, :1],
                widths=sizes[:, 1:],
                level_starts=torch.tensor(starts, device=device)[:, None],
                level_sizes=counts,
                frame_cells=sizes.prod(dim=1) * self.anchors.shape[1],
            )
        return self._frames[key]

    def _overlaps(self, answers: Tensor, found: Assignment) -> Tensor:
        """IoU variant of every candidate's predicted box and its true box: float32 [L, N]."""
        # Columns of [4, K] in place of rows of [K, 4]: every operation then runs over consecutive numbers.
        squashed = answers[..., :4].flatten(0, 1).T.sigmoid() * 2
        anchors_wh = found.anchors_wh_cells.flatten(0, 1).T
        predicted = torch.cat((squashed[:2] - 0.5, squashed[2:].square() * anchors_wh))
        # A box of size 1 in place of padding and of boxes without area: no gradient of a masked entry is infinite.
        true = torch.where(found.valid.flatten(), found.boxes_cxcywh_cells.flatten(0, 1).T, 1.0)
        overlaps = paired_iou(predicted.T, true.T, self.rules.box_overlap, self.rules.overlap_eps)
        return overlaps.view(found.valid.shape)

    def _objectness(
        self,
        logits: Tensor,
        overlaps: Tensor,
        cells: Tensor,
        valid: Tensor,
        level_sizes: tuple[int, ...],
        silent: Tensor | None,
    ) -> Tensor:
        """Sum of the objectness loss of every level: float32 [L]; ``silent`` cells without an answer count 0."""
        share = self.rules.objectness_overlap
        values = (1 - share) + share * overlaps.detach().clamp(min=0)
        targets = last_written(values.flatten(), cells.flatten(), valid.flatten(), logits.shape[0])
        loss = binary_cross_entropy(
            logits,
            targets,
            positive_weight=self.hyperparameters.obj_pw,
            focal_gamma=self.hyperparameters.fl_gamma,
        )
        if silent is not None:
            answering = last_written(
                torch.ones_like(values).flatten(), cells.flatten(), valid.flatten(), logits.shape[0]
            )
            loss = torch.where(silent & (answering == 0), 0.0, loss)
        return torch.stack([part.sum() for part in torch.split(loss, list(level_sizes))])

    def _class_loss(
        self, answers: Tensor, found: Assignment, entries: Tensor, labelled: Tensor | None
    ) -> Tensor:
        """Sum over levels of the mean class loss of their entries and classes: a scalar.

        Classes that are not labelled count 0. The mean is still over all, so a labelled one weighs as much as ever.
        """
        if self.classes == 1:
            return answers.new_zeros(())
        logits = answers[..., 5:]
        true, other = smoothed_targets(self.hyperparameters.label_smoothing)
        class_ids = found.class_ids.clamp(0, self.classes - 1)[..., None]
        targets = torch.full_like(logits, other).scatter_(-1, class_ids, true)
        loss = binary_cross_entropy(
            logits,
            targets,
            positive_weight=self.hyperparameters.cls_pw,
            focal_gamma=self.hyperparameters.fl_gamma,
        )
        if labelled is not None:
            # Candidates come by copy, anchor, target: all targets once for each copy and anchor.
            repeats = COPIES * self.anchors.shape[1]
            loss = _masked(loss, labelled.expand(repeats, -1, -1).flatten(0, 1))
        per_level = _masked(loss.sum(dim=-1), found.valid).sum(dim=1)
        return (per_level / (entries * self.classes)).sum()

    @torch.no_grad()
    def _balance(self, objectness: Tensor) -> None:
        weights = self.level_weights * (1 - _BALANCE_RATE) + _BALANCE_RATE / objectness
        weights = weights / weights[self._reference_level]
        # A batch whose loss is not finite must not stay in the weights for ever.
        self.level_weights.copy_(torch.where(weights.isfinite().all(), weights, self.level_weights))


def last_written(values: Tensor, cells: Tensor, valid: Tensor, count: int) -> Tensor:
    """What is left in ``count`` cells, all 0 at first, when valid values are written one after the other.

    A parallel write of several values to one cell has no defined order on a GPU. So the greatest position that
    writes to each cell is found first, which has one, and then only the values at these positions are written.

    Args:
        values: float [K].
        cells: int64 [K], 0..count-1.
        valid: bool [K], which values are written.
        count: number of cells.

    Returns:
        Values of the cells, [count], dtype of ``values``.
    """
    positions = torch.arange(1, values.shape[0] + 1, device=values.device) * valid
    last = torch.zeros(count, dtype=torch.int64, device=values.device)
    last.scatter_reduce_(0, cells, positions, "amax")
    stays = valid & (last[cells] == positions)
    # All but one of the values added to a cell are 0, so the order of addition does not matter.
    return values.new_zeros(count).scatter_add_(0, cells, _masked(values, stays))


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0)
