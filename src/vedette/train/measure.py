"""Measuring the averaged weights after an epoch, through the same predictor as ``vedette val``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.config.evaluate import EvaluateConfig
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import evaluate
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.train.state import TrainState

if TYPE_CHECKING:
    from vedette.train.setup import Setup


def measure(setup: Setup, state: TrainState) -> Evaluation:
    """Evaluate the average of the weights on the validation split, with the settings of ``vedette val``."""
    backend = TorchBackend(setup.averaged_detector(state), setup.rules.device, setup.precision)
    predictor = Predictor(backend, setup.letterbox, setup.class_names)
    return evaluate(predictor, setup.val_index, EvaluateConfig(batch_size=setup.config.batch_size))


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
    return {
        "epoch": (progress.step - 1) // setup.rules.schedule.batches_per_epoch,
        "train/box_loss": losses["box"],
        "train/obj_loss": losses["obj"],
        "train/cls_loss": losses["cls"],
        "metrics/precision": point.precision if point else None,
        "metrics/recall": point.recall if point else None,
        "metrics/mAP_0.5": evaluation.numbers["ap50"] if evaluation else None,
        "metrics/mAP_0.5:0.95": evaluation.numbers["ap"] if evaluation else None,
        "x/lr0": rates[0],
        "x/lr1": rates[1],
        "x/lr2": rates[2],
        "images": sums.pictures,
        "seconds": sums.seconds,
        "images_per_second": sums.pictures / max(sums.seconds, 1e-9),
        "data_wait": sums.waited / max(sums.seconds, 1e-9),
        "skipped_steps": progress.skipped_steps,
    }
