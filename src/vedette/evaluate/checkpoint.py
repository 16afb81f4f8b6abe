"""``vedette val``: a checkpoint and a data set in, figures and plots in a run folder out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vedette.config.evaluate import EvaluateConfig
from vedette.config.run_folder import create_run_folder
from vedette.core.device import cpu_threads
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.errors import UsageError
from vedette.evaluate.report import write_evaluation_report
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import Progress, evaluate
from vedette.infer.predictor import Predictor


@dataclass(frozen=True, slots=True)
class CheckpointEvaluation:
    """Figures of a checkpoint, and where they were written."""

    evaluation: Evaluation
    index: SplitIndex
    folder: Path


def evaluate_checkpoint(config: EvaluateConfig, *, progress: Progress | None = None) -> CheckpointEvaluation:
    """Evaluate ``config.weights`` on ``config.split`` of ``config.data``.

    Writes ``metrics.json``, plots and pictures, ``report.html`` and, if asked for, ``predictions.json`` into a new
    run folder, and the numbers a second time to ``config.json_path`` if that is given.

    Raises:
        UsageError: weights or data are not named, or a setting makes no sense.
        DataError: the data set cannot be used.
        CheckpointError: the weights cannot be loaded.
        WriteError: a result cannot be written.
    """
    for name in ("weights", "data"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing", where="vedette val", fix=f"give --{name} FILE")
    predictor = Predictor.from_file(config.weights, device=config.device, precision=config.precision)
    description = load_description(config.data)
    index = load_index(description, config.split, on_bad_label=config.on_bad_label)
    folder = create_run_folder(config.project, config.name, config.exist_ok)
    with cpu_threads(config.threads):
        evaluation = evaluate(predictor, index, config, progress=progress)
    evaluation.write_json(folder / "metrics.json")
    if config.json_path:
        evaluation.write_json(Path(config.json_path))
    if config.save_json:
        evaluation.write_predictions_json(folder / "predictions.json")
    title = f"{folder.name}: {Path(config.weights).name} on {Path(config.data).stem}"
    write_evaluation_report(evaluation, folder, title=title, plots=config.plots)
    return CheckpointEvaluation(evaluation, index, folder)
