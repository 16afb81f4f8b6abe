"""Measuring the averaged weights after an epoch, through the same predictor as ``vedette val``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from vedette.config.evaluate import EvaluateConfig
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import find_boxes, measure_found
from vedette.infer.predictor import Predictor
from vedette.train.state import TrainState
from vedette.train.validation_loss import LossMeter, WatchedBackend, mean_losses

if TYPE_CHECKING:
    from vedette.train.setup import Setup


def measure(setup: Setup, state: TrainState) -> Evaluation:
    """Evaluate the average of the weights on the validation split, with the settings of ``vedette val``.

    The ranks share the batches; rank 0 makes the figures of them all, the same that one rank alone would get.
    """
    backend = WatchedBackend(
        setup.averaged_detector(state),
        setup.rules.device,
        setup.precision,
        picture_format=setup.letterbox.picture_format,
    )
    predictor = Predictor(backend, setup.letterbox, setup.class_names)
    meter = LossMeter(setup.rules.loss, backend, setup.val_index, predictor.letterbox)
    ranks, settings = setup.rules.ranks, EvaluateConfig(batch_size=setup.config.batch_size)
    found = find_boxes(predictor, setup.val_index, settings, part=ranks.part, watch=meter.add)
    parts = ranks.gather((found, meter.items()))

    def figures() -> Evaluation:
        found, losses = zip(*parts, strict=True)
        evaluation = measure_found(predictor, setup.val_index, settings, found)
        return replace(evaluation, losses=mean_losses(losses))

    return ranks.from_first(figures)


def fitness(evaluation: Evaluation) -> float:
    """How good the weights are: 0.1 AP50 + 0.9 AP (specification training.md section 12); undefined counts 0."""
    return 0.1 * (evaluation.numbers["ap50"] or 0.0) + 0.9 * (evaluation.numbers["ap"] or 0.0)


def epoch_row(
    setup: Setup, state: TrainState, evaluation: Evaluation | None
) -> dict[str, float | int | None]:
    """The epoch that just ended as a row of ``results.csv``, under the published column names."""
    progress = state.progress
    sums, losses = progress.sums, progress.sums.mean_losses()
    rates = setup.rules.schedule.at(progress.step - 1).learning_rates
    point = evaluation.operating_point if evaluation is not None else None
    measured = evaluation.losses if evaluation is not None else {}
    row: dict[str, float | int | None] = {
        "epoch": (progress.step - 1) // setup.rules.schedule.batches_per_epoch,
        "train/box_loss": losses["box"],
        "train/obj_loss": losses["obj"],
        "train/cls_loss": losses["cls"],
        "metrics/precision": point.precision if point else None,
        "metrics/recall": point.recall if point else None,
        "metrics/mAP_0.5": evaluation.numbers["ap50"] if evaluation else None,
        "metrics/mAP_0.5:0.95": evaluation.numbers["ap"] if evaluation else None,
        "val/box_loss": measured.get("box"),
        "val/obj_loss": measured.get("obj"),
        "val/cls_loss": measured.get("cls"),
        "x/lr0": rates[0],
        "x/lr1": rates[1],
        "x/lr2": rates[2],
        "images": sums.pictures,
        "seconds": sums.seconds,
        "images_per_second": sums.pictures / max(sums.seconds, 1e-9),
        "data_wait": sums.waited / max(sums.seconds, 1e-9),
        "skipped_steps": progress.skipped_steps,
        "targets": sums.targets,
        "frame_width": sums.frame_width,
        "gpu_gb": _reserved_gb(setup.rules.device),
    }
    # A cell without a number says that there is none; not-a-number would break who reads the table.
    return {name: value if value is None or math.isfinite(value) else None for name, value in row.items()}


def _reserved_gb(device: torch.device) -> float:
    """GPU memory that torch holds, in 10^9 bytes; 0 elsewhere."""
    return torch.cuda.memory_reserved(device) / 1e9 if device.type == "cuda" else 0.0
