"""The main path of training: a data set and a model in, a run folder out.

Reads top to bottom: open the folder, prepare what does not change (:class:`vedette.train.setup.Setup`), take up a
saved state if there is one, then epochs: train, measure, save; at the end the summary and the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.deployable import save_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.checkpoint.tensors import weights_sha256
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.core.device import cpu_threads
from vedette.errors import CheckpointError, InterruptedRunError
from vedette.evaluate.result import Evaluation
from vedette.track.events import EpochDone, RunFinished, RunStarted, Tracker
from vedette.track.files import EventLog, ResultsTable
from vedette.track.plots import PlotTracker
from vedette.train.epoch import train_epoch
from vedette.train.events import Emitter
from vedette.train.interruption import StopRequest
from vedette.train.measure import epoch_row, fitness, measure
from vedette.train.report import write_run_report
from vedette.train.run_files import RunFiles
from vedette.train.setup import Setup, prepare
from vedette.train.state import EpochSums, TrainState


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        folder: the run folder.
        summary: what its ``summary.json`` holds.
    """

    folder: Path
    summary: dict[str, Any]


def train(
    config: TrainConfig, hyperparameters: Hyperparameters, *, trackers: Iterable[Tracker] = ()
) -> TrainResult:
    """Train a detector, or continue a run (``config.resume``).

    Args:
        config: data, model, length, device, places.
        hyperparameters: of a new run; a resumed one takes those it was started with.
        trackers: told what happens, besides the files of the run folder.

    Raises:
        UsageError: the configuration makes no sense, or there is nothing to resume.
        DataError: the data set cannot be used.
        CheckpointError: the weights or the saved state cannot be used.
        WriteError: the run folder cannot be written.
        DivergedError: gradients were not finite several times in a row.
        InterruptedRunError: SIGINT or SIGTERM; the state was saved.
    """
    files = RunFiles.resume(config) if config.resume else RunFiles.create(config, hyperparameters)
    emitter = Emitter(
        [EventLog(files.events), ResultsTable(files.results), PlotTracker(files.plots), *trackers]
    )
    try:
        with cpu_threads(files.config.threads), StopRequest() as stop:
            return _train_epochs(prepare(files, emitter), files, emitter, stop)
    finally:
        emitter.close()


def _train_epochs(setup: Setup, files: RunFiles, emitter: Emitter, stop: StopRequest) -> TrainResult:
    state, config = setup.state, files.config
    progress = state.progress
    states = StateFolder(files.state)
    emitter.emit(
        RunStarted(
            folder=files.folder,
            config=config.model_dump(mode="json"),
            hyperparameters=files.hyperparameters.model_dump(mode="json"),
            facts=setup.facts,
            epochs=config.epochs,
            batches_per_epoch=setup.rules.schedule.batches_per_epoch,
            step=progress.step,
            history=progress.rows(),
        )
    )

    def save_state() -> None:
        states.save(progress.step, state.tensors(), {**state.metadata(), "run": setup.identity})

    evaluation: Evaluation | None = None
    batches = setup.open_batches(progress.step)
    try:
        while progress.step < setup.rules.schedule.iterations:
            done = train_epoch(
                setup.rules, state, batches, emitter, stop, save=save_state, save_seconds=config.save_seconds
            )
            if not done:
                raise _interrupted(files, stop)
            last = progress.step == setup.rules.schedule.iterations
            due = not config.noval and len(progress.history) % config.val_interval == config.val_interval - 1
            evaluation = measure(setup, state) if last or due else None
            best = _end_of_epoch(setup, state, evaluation, emitter)
            if last or not config.nosave:
                _save_weights(setup, state, files, evaluation, best=best or (last and config.nosave))
                save_state()
            if stop and not last:
                if config.nosave:
                    save_state()
                raise _interrupted(files, stop)
    finally:
        setup.close_batches()
    return _finish(setup, files, emitter, evaluation)


def _end_of_epoch(setup: Setup, state: TrainState, evaluation: Evaluation | None, emitter: Emitter) -> bool:
    """Add the epoch's row to the history; returns whether it is the best so far."""
    progress = state.progress
    row = epoch_row(setup, state, evaluation)
    best = evaluation is not None and fitness(evaluation) > progress.best_fitness
    if evaluation is not None and best:
        progress.best_fitness = fitness(evaluation)
        progress.best_epoch = int(row["epoch"] or 0)
    progress.history.append(row)
    progress.sums = EpochSums()
    emitter.emit(EpochDone(progress.step, row, progress.rows(), best))
    return best


def _save_weights(
    setup: Setup, state: TrainState, files: RunFiles, evaluation: Evaluation | None, *, best: bool
) -> None:
    """Write the averaged weights, deployable alone, as ``last`` and, if they are, as ``best``."""
    detector = setup.averaged_detector(state)
    metadata = {
        "epoch": len(state.progress.history) - 1,
        "metrics": dict(evaluation.numbers) if evaluation is not None else {},
        "trained": setup.facts,
    }
    for path in [files.last, *([files.best] if best or not files.best.exists() else [])]:
        save_detector(
            path,
            detector,
            class_names=setup.class_names,
            letterbox=setup.letterbox,
            metadata=metadata,
        )


def _finish(setup: Setup, files: RunFiles, emitter: Emitter, evaluation: Evaluation | None) -> TrainResult:
    progress = setup.state.progress
    if evaluation is None:
        raise CheckpointError(
            "is finished, nothing to resume", where=files.folder, fix="start a new run with --weights"
        )
    summary = {
        "ap": evaluation.numbers["ap"],
        "ap50": evaluation.numbers["ap50"],
        "numbers": dict(evaluation.numbers),
        "per_class": evaluation.to_json()["per_class"],
        "best": {"epoch": progress.best_epoch + 1, "fitness": progress.best_fitness},
        "epochs": len(progress.history),
        "images_seen": progress.images_seen,
        "optimizer_steps": progress.optimizer_steps,
        "skipped_steps": progress.skipped_steps,
        "seconds": progress.seconds,
        "weights_sha256": weights_sha256(setup.state.average.state()),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_atomic(files.summary, (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    emitter.emit(RunFinished(summary, progress.rows()))
    emitter.close()  # the plots are drawn when their tracker closes
    write_run_report(setup, files, summary, evaluation)
    return TrainResult(files.folder, summary)


def _interrupted(files: RunFiles, stop: StopRequest) -> InterruptedRunError:
    return InterruptedRunError(
        "stopped on request, the state is saved",
        signal_number=stop.signal_number,
        where=files.folder,
        fix=f"go on with: vedette train --resume {files.folder.as_posix()}",
    )
