"""The main path of training: a data set and a model in, a run folder out.

Reads top to bottom: open the folder, prepare what does not change (:class:`vedette.train.setup.Setup`), take up a
saved state if there is one, then epochs: train, measure, save; at the end the summary and the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.state_folder import StateFolder
from vedette.checkpoint.tensors import weights_sha256
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.core.device import cpu_threads
from vedette.errors import CheckpointError, InterruptedRunError
from vedette.evaluate.result import Evaluation
from vedette.track.background import in_background
from vedette.track.choose import open_trackers, require_packages
from vedette.track.events import EpochDone, RunFinished, RunStarted, Tracker
from vedette.track.files import EventLog, ResultsTable
from vedette.track.results_text import ResultsText
from vedette.train.course import Course, StopWhen
from vedette.train.distributed.joining import joined
from vedette.train.distributed.ranks import Ranks
from vedette.train.epoch import train_epoch
from vedette.train.events import Emitter
from vedette.train.folder.bucket import Bucket, open_bucket
from vedette.train.folder.disk import check_disk_space
from vedette.train.folder.manifest import write_manifest
from vedette.train.folder.run_files import RunFiles
from vedette.train.folder.run_opening import opened_run
from vedette.train.folder.weights import save_weights
from vedette.train.interruption import StopRequest
from vedette.train.measure import epoch_row, fitness, measure
from vedette.train.reporting.drawing import RunDrawing
from vedette.train.reporting.tracked import data_facts, found_pictures, pictures_are_due
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
    config: TrainConfig,
    hyperparameters: Hyperparameters,
    *,
    trackers: Iterable[Tracker] = (),
    stop_when: StopWhen | None = None,
) -> TrainResult:
    """Train a detector, or continue a run (``config.resume``).

    Args:
        config: data, model, length, device, places.
        hyperparameters: of a new run; a resumed one takes those it was started with.
        trackers: told what happens, besides the files of the run folder.
        stop_when: asked after every epoch that was measured whether the run shall end with it.

    Raises:
        UsageError: the configuration makes no sense, or there is nothing to resume.
        DataError: the data set cannot be used.
        CheckpointError: the weights or the saved state cannot be used.
        WriteError: the run folder cannot be written.
        DivergedError: gradients were not finite several times in a row.
        InterruptedRunError: SIGINT or SIGTERM; the state was saved.
        RankError: one of several ranks is gone.
    """
    require_packages(config.track)
    ranks = Ranks.from_environment()
    bucket = open_bucket(config.bucket) if ranks.first else None
    with (
        joined(ranks, ranks.device(config.device), config.rank_timeout) as ranks,
        opened_run(config, hyperparameters, ranks) as (files, locked),
    ):
        bucket = bucket or (open_bucket(files.config.bucket) if ranks.first else None)
        emitter = _emitter(files, trackers) if ranks.first else Emitter([])
        try:
            if not locked:
                emitter.note(
                    f"{files.folder}: no lock can be held here; see that no other run uses it", "warning"
                )
            for text in files.warnings:
                emitter.note(text, "warning")
            with cpu_threads(files.config.threads), StopRequest() as stop:
                setup = prepare(files, emitter, ranks)
                ranks.from_first(lambda: _begin(setup, emitter))
                result = _train_epochs(setup, emitter, stop, stop_when)
                if bucket is not None:
                    _upload(bucket, files)
                return result
        finally:
            emitter.close()


def _emitter(files: RunFiles, trackers: Iterable[Tracker]) -> Emitter:
    """Tells the trackers. No run goes on without its tables: they are what it is read by."""
    tables: list[Tracker] = [
        EventLog(files.events),
        ResultsTable(files.results),
        ResultsText(files.results_text),
    ]
    named = open_trackers(files.folder, files.config, resumed=files.resumed)
    return Emitter([*map(in_background, trackers), *named], own=tables)


def _begin(setup: Setup, emitter: Emitter) -> None:
    """What is left to check and write before the first step."""
    _refuse_finished(setup)
    check_disk_space(setup, emitter)
    write_manifest(setup, emitter)


def _upload(bucket: Bucket, files: RunFiles) -> None:
    """Copy weights and results of a finished run into a folder of its name. Raises WriteError."""
    name = files.folder.name
    results = [files.config_file, files.results, files.results_text, files.summary, files.report]
    bucket.upload(sorted(files.weights.glob("*.safetensors")), f"{name}/weights")
    bucket.upload(results, name)


def _refuse_finished(setup: Setup) -> None:
    """Raise CheckpointError for a run that has nothing left to do; the summary of one that has is out of date."""
    left = setup.rules.schedule.iterations - setup.state.progress.step
    if left <= 0 and setup.files.summary.is_file():
        raise CheckpointError(
            f"is finished, nothing to resume ({_ending(setup)})",
            where=setup.files.folder,
            fix="give a number of --epochs to make it longer, or start a new run with --weights",
        )
    setup.files.summary.unlink(missing_ok=True)


def _ending(setup: Setup) -> str:
    """Why the run ended, or will end, where it does."""
    return setup.state.progress.ended or f"all {setup.rules.schedule.planned_epochs} epochs done"


def _train_epochs(
    setup: Setup, emitter: Emitter, stop: StopRequest, stop_when: StopWhen | None
) -> TrainResult:
    state, files, config = setup.state, setup.files, setup.config
    progress, ranks = state.progress, setup.rules.ranks
    states, course = StateFolder(files.state), Course(setup, emitter, stop_when)
    emitter.emit(
        RunStarted(
            folder=files.folder,
            config=config.model_dump(mode="json"),
            hyperparameters=files.hyperparameters.model_dump(mode="json"),
            facts=setup.facts,
            epochs=setup.rules.schedule.planned_epochs,
            batches_per_epoch=setup.rules.schedule.batches_per_epoch,
            step=progress.step,
            history=progress.rows(),
            data=data_facts(setup),
        )
    )

    def save_state() -> None:
        course.note_time()
        metadata = {**state.metadata(), "run": setup.identity}
        ranks.from_first(lambda: states.save(progress.step, state.tensors(), metadata))

    if files.replanned:  # from here on a resumption that names no length goes on under the new one
        ranks.from_first(files.keep_length)
        save_state()
    evaluation: Evaluation | None = None
    drawing = RunDrawing(setup, emitter)
    drawing.begin()
    setup.watch_batch = drawing.batch
    batches = setup.open_batches(progress.step)
    try:
        while progress.step < setup.rules.schedule.iterations:
            done = train_epoch(
                setup.rules, state, batches, emitter, stop, save=save_state, save_seconds=config.save_seconds
            )
            if not done:
                raise _interrupted(files, stop)
            mosaic_epochs = setup.augmenter.mosaic_epochs
            course.fit_to_budget()
            last = progress.step == setup.rules.schedule.iterations
            due = not config.noval and len(progress.history) % config.val_interval == config.val_interval - 1
            evaluation = measure(setup, state) if last or due else None
            ended = _end_of_epoch(setup, state, evaluation, emitter)
            last = last or (evaluation is not None and course.ends_with(ended))
            if last or not config.nosave:
                best = ended.best or (last and config.nosave)
                ranks.from_first(partial(save_weights, setup, evaluation, emitter, best=best, final=last))
                save_state()
            course.close_epoch()
            if stop.agreed(ranks)[0] and not last:
                if config.nosave:
                    save_state()
                raise _interrupted(files, stop)
            stale = setup.picture_plan.follows_results or setup.augmenter.mosaic_epochs != mosaic_epochs
            if stale and not last:
                setup.close_batches()
                batches = setup.open_batches(progress.step)
    except InterruptedRunError:
        drawing.interrupted()
        raise
    finally:
        setup.close_batches()
    measured = evaluation or measure(setup, state)  # killed between its last epoch and its summary: not yet
    return ranks.from_first(lambda: _finish(setup, emitter, drawing, measured))


def _end_of_epoch(
    setup: Setup, state: TrainState, evaluation: Evaluation | None, emitter: Emitter
) -> EpochDone:
    """Add the epoch's row to the history; returns what the trackers are told."""
    progress = state.progress
    row = epoch_row(setup, state, evaluation)
    if evaluation is not None:
        progress.class_ap = [result.ap or 0.0 for result in evaluation.per_class]
    best = evaluation is not None and fitness(evaluation) > progress.best_fitness
    if evaluation is not None and best:
        progress.best_fitness = fitness(evaluation)
        progress.best_epoch = int(row["epoch"] or 0)
    progress.history.append(row)
    progress.sums = EpochSums()
    if evaluation is not None and pictures_are_due(setup.config, len(progress.history)):
        emitter.emit(found_pictures(setup, evaluation))
    ended = EpochDone(progress.step, row, progress.rows(), best)
    emitter.emit(ended)
    return ended


def _finish(setup: Setup, emitter: Emitter, drawing: RunDrawing, evaluation: Evaluation) -> TrainResult:
    files, progress = setup.files, setup.state.progress
    summary = {
        "ap": evaluation.numbers["ap"],
        "ap50": evaluation.numbers["ap50"],
        "numbers": dict(evaluation.numbers),
        "per_class": evaluation.to_json()["per_class"],
        "best": {"epoch": progress.best_epoch + 1, "fitness": progress.best_fitness},
        "epochs": len(progress.history),
        "ended": _ending(setup),
        "images_seen": progress.images_seen,
        "optimizer_steps": progress.optimizer_steps,
        "skipped_steps": progress.skipped_steps,
        "seconds": progress.seconds,
        "weights_sha256": weights_sha256(setup.state.average.state()),
        "left_off": sorted(files.left_off),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    drawing.end(summary, evaluation)
    if setup.config.log_imgs and not pictures_are_due(setup.config, len(progress.history)):
        emitter.emit(found_pictures(setup, evaluation))
    emitter.emit(RunFinished(summary, progress.rows()))
    # Last of all files: a run that has a summary is finished, and only that one is not resumed. Trackers are
    # closed later: no slow one shall stand between a run and its end.
    write_atomic(files.summary, (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode())
    return TrainResult(files.folder, summary)


def _interrupted(files: RunFiles, stop: StopRequest) -> InterruptedRunError:
    return InterruptedRunError(
        "stopped on request, the state is saved",
        signal_number=stop.signal_number,
        where=files.folder,
        fix=f"go on with: vedette train --resume {files.folder.as_posix()}",
    )
