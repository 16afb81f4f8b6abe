"""``vedette val``: a checkpoint and a data set in, figures and plots in a run folder out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from vedette.config.evaluate import EvaluateConfig
from vedette.config.run_folder import create_run_folder
from vedette.core.device import cpu_threads, lane_threads
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.errors import UsageError
from vedette.evaluate.label_files import write_label_files
from vedette.evaluate.report import write_evaluation_report
from vedette.evaluate.result import Evaluation, WithoutTiles
from vedette.evaluate.run import Progress, evaluate
from vedette.infer.assemble import assemble, assembly_of
from vedette.infer.backends.files import gains_by_lanes
from vedette.infer.configured import asked_precision
from vedette.infer.lanes import check_lanes, lanes_on, usual_lanes
from vedette.infer.tiling import AnyPredictor, TiledPredictor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckpointEvaluation:
    """Figures of a checkpoint, and where they were written."""

    evaluation: Evaluation
    index: SplitIndex
    folder: Path


def evaluate_checkpoint(config: EvaluateConfig, *, progress: Progress | None = None) -> CheckpointEvaluation:
    """Evaluate ``config.weights`` on ``config.split`` of ``config.data``.

    Writes ``metrics.json``, plots and pictures, ``report.html`` and, if asked for, ``predictions.json`` and labels
    into a new run folder, and the numbers a second time to ``config.json_path`` if that is given.

    Raises:
        UsageError: weights or data are not named, or a setting makes no sense.
        DataError: the data set cannot be used.
        CheckpointError: the weights cannot be loaded.
        WriteError: a result cannot be written.
    """
    for name in ("weights", "data"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing", where="vedette val", fix=f"give --{name} FILE")
    precision = asked_precision(config.half, config.precision, config.device)
    wanted = _lanes(config)
    predictor = assemble(replace(assembly_of(config, precision), lanes=wanted))
    lanes = lanes_on(predictor.backend.device, wanted, config.lanes)
    if config.dnn:
        _log.warning("--dnn: the file of the weights says what runs it; OpenCV's network reader is not used")
    description = load_description(config.data)
    index = load_index(description, config.split, on_bad_label=config.on_bad_label)
    if index.picture_format != predictor.picture_format:
        _log.warning(
            "the data set says that its pictures are %s, the weights were trained on %s: they are read as that",
            index.picture_format,
            predictor.picture_format,
        )
    folder = create_run_folder(config.project, config.name, config.exist_ok)
    with cpu_threads(lane_threads(config.threads, lanes)):
        settings = config.model_copy(update={"lanes": lanes})
        evaluation = _measured(predictor, index, settings, progress)
    evaluation.write_json(folder / "metrics.json")
    if config.json_path:
        evaluation.write_json(Path(config.json_path))
    if config.save_json:
        evaluation.write_predictions_json(folder / "predictions.json")
    if config.save_txt:
        write_label_files(evaluation, folder / "labels", scores=config.save_conf)
    names = " + ".join(Path(name).name for name in config.weights)
    title = f"{folder.name}: {names} on {Path(config.data).stem}"
    write_evaluation_report(evaluation, folder, title=title, plots=config.plots)
    return CheckpointEvaluation(evaluation, index, folder)


def _lanes(config: EvaluateConfig) -> int:
    """Those asked for, else what the files pass most pictures with. Raises UsageError."""
    check_lanes(config.lanes, config.threads)
    if config.lanes or config.tile is not None:
        return config.lanes or 1
    gains = all(gains_by_lanes(Path(name)) for name in config.weights)
    return usual_lanes(config.threads) if gains else 1


def _measured(
    predictor: AnyPredictor, index: SplitIndex, config: EvaluateConfig, progress: Progress | None
) -> Evaluation:
    """The figures; with tiles also those that the same detector has without them."""
    evaluation = evaluate(predictor, index, config, progress=progress)
    if not isinstance(predictor, TiledPredictor):
        return evaluation
    plain = evaluate(predictor.predictor, index, config, progress=progress)
    return replace(evaluation, without_tiles=WithoutTiles(plain.numbers, plain.timing))
