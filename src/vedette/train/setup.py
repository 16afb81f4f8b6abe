"""Everything a run is made of, built once at its start."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from vedette.augment.pipeline import Augmenter
from vedette.checkpoint.state_folder import SavedState, StateFolder
from vedette.config.train import TrainConfig
from vedette.core.device import Precision, select_dtype, thread_count
from vedette.core.letterbox import LetterboxPolicy, round_up_to_stride
from vedette.core.picture_format import PictureFormat
from vedette.core.types import Batch
from vedette.data.cache_folder import cache_folder
from vedette.data.index import SplitIndex
from vedette.data.loader import BatchStream, LoaderSettings, RunSampler
from vedette.data.pictures import PictureStore
from vedette.errors import CheckpointError, UsageError
from vedette.loss.detection_loss import DetectionLoss
from vedette.loss.rules import RULES, scaled_gains
from vedette.model.detector import Detector
from vedette.train.course import take_new_length
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.distributed.synchronized import synchronized, unsynchronized
from vedette.train.ema import WeightAverage, fitted_average
from vedette.train.epoch import StepRules
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.optimizer import build_optimizer, scaled_weight_decay
from vedette.train.picture_plan import PicturePlan
from vedette.train.reporting.facts import run_facts
from vedette.train.schedule import Schedule
from vedette.train.start.batch_fit import settle_batch_size
from vedette.train.start.indexes import load_indexes
from vedette.train.start.start import start_again, start_anew
from vedette.train.state import TrainState

_MAX_WORKERS = 8
_PRECISION_NAMES: dict[torch.dtype, Precision] = {
    torch.float32: "float32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


@dataclass
class Setup:
    """The parts of a run.

    Attributes:
        config: settings of the run.
        files: its folder.
        rules: what every step has in common.
        state: what training changes.
        class_names: of the data set.
        letterbox: how pictures become frames when the detector is used.
        train_index: the training split.
        val_index: the split to measure on.
        augmenter: makes samples.
        picture_plan: which pictures come when, and in what shape.
        facts: what to tell people about the run.
        identity: what a saved state must agree with.
        watch_batch: told every batch and its step, counted from 0, before it is used.
    """

    config: TrainConfig
    files: RunFiles
    rules: StepRules
    state: TrainState
    class_names: tuple[str, ...]
    letterbox: LetterboxPolicy
    train_index: SplitIndex
    val_index: SplitIndex
    augmenter: Augmenter
    picture_plan: PicturePlan
    facts: dict[str, Any]
    identity: dict[str, Any]
    watch_batch: Callable[[int, Batch], None] | None = None
    _averaged: Detector | None = field(default=None, repr=False)
    _stream: BatchStream | None = field(default=None, repr=False)
    _store: PictureStore | None = field(default=None, repr=False)

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network by name."""
        return _PRECISION_NAMES[self.rules.dtype]

    @property
    def workers(self) -> int:
        """Processes that load pictures."""
        return worker_count(self.config.workers, self.rules.device, self.rules.ranks.local_world_size)

    def averaged_detector(self, state: TrainState) -> Detector:
        """A detector with the averaged weights as they are now; the same object each time."""
        if self._averaged is None:
            self._averaged = unsynchronized(copy.deepcopy(state.model).eval())  # type: ignore[arg-type]
            self._averaged.requires_grad_(False)
        state.average.copy_to(self._averaged)
        return self._averaged

    def follow_turns(self) -> None:
        """Fit what depends on the run's length to the turns that the state holds.

        Warm-up and pictures per step stay as they were fitted to the length at the start.
        """
        hyperparameters, progress = self.files.hyperparameters, self.state.progress
        schedule = replace(self.rules.schedule, turns=tuple(progress.turns))
        self.rules = replace(self.rules, schedule=schedule)
        average = self.state.average
        average.decay, average.ramp = fitted_average(
            schedule.optimizer_steps(), hyperparameters.ema_decay, hyperparameters.ema_ramp
        )
        off = hyperparameters.mosaic_off_fraction
        epochs = math.ceil(schedule.planned_epochs * (1 - off)) if off > 0 else None
        self.augmenter = replace(self.augmenter, mosaic_epochs=epochs)

    def open_batches(self, step: int) -> Iterator[Batch]:
        """The stream of batches from ``step`` on; :meth:`close_batches` stops its workers.

        It goes to the end of the run, so that workers prepare the next epoch while the model is measured; where
        that epoch depends on what is measured (:attr:`PicturePlan.follows_results`), to the end of this one.
        """
        config, plan, store = self.config, self.picture_plan, self._pictures()
        order = plan.order(self.state.progress.class_ap)
        this_epoch = step // self.rules.schedule.batches_per_epoch
        self._stream = BatchStream(
            partial(plan.fitted(self.augmenter, order).sample, store, self.train_index),
            RunSampler(
                len(self.train_index),
                config.batch_size,
                this_epoch + 1 if plan.follows_results else config.epochs,
                config.seed,
                start_step=step,
                rank=self.rules.ranks.rank,
                world_size=self.rules.ranks.world_size,
                order=order,
                group=plan.pictures_per_frame,
            ),
            LoaderSettings(
                self.augmenter.size_hw,
                workers=self.workers,
                pin_memory=self.rules.device.type == "cuda",
                picture_format=self.train_index.picture_format,
            ),
            collate_samples=plan.collate(),
            marks=store.marks,
            picture_name=self.train_index.image_path,
        )
        return self._watched(self._stream, step)

    def _pictures(self) -> PictureStore:
        """The decoded pictures, kept from one stream to the next."""
        if self._store is None:
            self._store = PictureStore(
                self.train_index,
                self.augmenter.size_hw,
                cache=self.config.cache,
                cache_dir=cache_folder(),
                picture_format=self.train_index.picture_format,
            )
        return self._store

    def close_batches(self) -> None:
        """Stop the workers of the stream."""
        if self._stream is not None:
            self._stream.close()

    def _watched(self, stream: BatchStream, step: int) -> Iterator[Batch]:
        """The stream, each batch shown to :attr:`watch_batch` on the way."""
        for number, batch in enumerate(stream, start=step):
            if self.watch_batch is not None:
                self.watch_batch(number, batch)
            yield batch


def prepare(files: RunFiles, emitter: Emitter, ranks: Ranks = ALONE) -> Setup:
    """Build the parts of a run and, if it is resumed, take up its state.

    All ranks call this together; in the end they hold the same tensors and counters.

    Raises:
        UsageError: settings that make no sense, or nothing to resume.
        DataError: the data set cannot be used.
        ModelError: there is no such model.
        CheckpointError: weights or state cannot be used.
    """
    device = ranks.device(files.config.device)
    saved = _saved_state(files, ranks)
    started_with = _identity_of(saved, files) if saved else {}
    precision: Precision = started_with.get("precision", files.config.precision)
    select_dtype(precision, device)  # refused before anything is read
    train_index, val_index = load_indexes(files, emitter, ranks)
    pictures = train_index.picture_format
    dtype = select_dtype(pictures.precision(precision), device)
    start = (
        start_again(files, started_with, train_index.class_names, pictures)
        if saved
        else start_anew(files, train_index, emitter)
    )
    detector = start.detector
    letterbox = _letterbox(files.config, detector, pictures)
    detector.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = _loss(files, detector, letterbox)
    files = settle_batch_size(
        files, detector, loss, dtype, pictures=len(train_index), emitter=emitter, ranks=ranks
    )
    if files.config.sync_bn:
        detector = synchronized(detector, ranks, device)
    plan = PicturePlan(files.config, train_index, letterbox.size_hw, letterbox.stride)
    schedule = _schedule(files, saved, len(train_index))
    state = _new_state(files, detector, schedule, device, dtype)
    identity = {
        "precision": _PRECISION_NAMES[dtype],
        "architecture": detector.architecture.to_dict(),
        "start": start.text,
        "train_data": train_index.content_hash,
        "val_data": val_index.content_hash,
        "picture_format": pictures.to_dict(),
    }
    if saved is not None:
        _take_up(state, saved, started_with, identity, emitter)
    ranks.copy_from_first(list(state.tensors().values()))
    state.buffers.keep(state.model)
    state.progress.began_with = schedule.epochs
    setup = Setup(
        config=files.config,
        files=files,
        rules=StepRules(
            loss=loss.of_parts(ranks.total),
            schedule=schedule,
            device=device,
            dtype=dtype,
            picture_name=lambda number: str(train_index.image_path(number)),
            gradient_clip=files.hyperparameters.gradient_clip,
            multi_scale=plan.multi_scale(),
            pictures_per_frame=plan.pictures_per_frame,
            ranks=ranks,
            picture_format=pictures,
        ),
        state=state,
        class_names=train_index.class_names,
        letterbox=letterbox,
        train_index=train_index,
        val_index=val_index,
        augmenter=Augmenter(
            files.hyperparameters, letterbox.size_hw, files.config.seed, picture_format=pictures
        ),
        picture_plan=plan,
        facts={},
        identity=identity,
    )
    if files.replanned:
        take_new_length(
            state.progress,
            files.config.epochs,
            began_with=schedule.epochs,
            batches_per_epoch=schedule.batches_per_epoch,
        )
    setup.follow_turns()
    setup.facts.update(run_facts(setup, start.text))
    return setup


def _saved_state(files: RunFiles, ranks: Ranks) -> SavedState | None:
    """The state of a resumed run; None for a new one. Raises UsageError."""
    if not files.resumed:
        return None
    saved = ranks.from_first(StateFolder(files.state).load_latest)
    if saved is None:
        raise UsageError("holds no saved state", where=files.state, fix="start the run again")
    return saved


def _schedule(files: RunFiles, saved: SavedState | None, pictures: int) -> Schedule:
    return Schedule.build(
        files.hyperparameters,
        epochs=_began_with(saved) or files.config.epochs,
        images_per_epoch=pictures,
        batch_size=files.config.batch_size,
        kind=files.config.schedule,
        published=files.hyperparameters.published_schedule,
    )


def _new_state(
    files: RunFiles, detector: Detector, schedule: Schedule, device: torch.device, dtype: torch.dtype
) -> TrainState:
    """Weights, their average, optimizer and scaler, as they are before the first step."""
    hyperparameters = files.hyperparameters
    decay, ramp = fitted_average(
        schedule.optimizer_steps(), hyperparameters.ema_decay, hyperparameters.ema_ramp
    )
    weight_decay = scaled_weight_decay(
        hyperparameters.weight_decay, files.config.batch_size, schedule.nominal_batch
    )
    return TrainState(
        detector,
        WeightAverage(detector, decay=decay, ramp=ramp),
        build_optimizer(detector, hyperparameters, files.config.optimizer, weight_decay),
        torch.amp.GradScaler("cuda" if device.type == "cuda" else "cpu", enabled=dtype == torch.float16),
    )


def _take_up(
    state: TrainState,
    saved: SavedState,
    started_with: dict[str, Any],
    identity: dict[str, Any],
    emitter: Emitter,
) -> None:
    """Put the saved tensors and counters in place; say what is not as it was."""
    for path, reason in saved.skipped:
        emitter.note(f"{path} cannot be used ({reason}); going on from an earlier state", "warning")
    _note_changes(started_with, identity, emitter)
    state.restore(saved.tensors, saved.metadata)


def _began_with(saved: SavedState | None) -> int:
    """Epochs that the saved run was started with; 0 if there is none or it does not say."""
    progress = saved.metadata.get("progress") if saved else None
    epochs = progress.get("began_with") if isinstance(progress, dict) else None
    return epochs if isinstance(epochs, int) else 0


def _identity_of(saved: SavedState, files: RunFiles) -> dict[str, Any]:
    identity = saved.metadata.get("run")
    if not isinstance(identity, dict):
        raise CheckpointError("the saved state does not say what it belongs to", where=files.state)
    return identity


def worker_count(requested: int, device: torch.device, ranks_here: int = 1) -> int:
    """Processes that load pictures: the number asked for, or for -1 what the machine has to spare for a rank.

    On a CPU the network takes all cores anyway; on two of them a worker slows it down by more than it saves.
    """
    if requested >= 0:
        return requested
    spare = thread_count() // ranks_here - (2 if device.type == "cpu" else 1)
    return min(_MAX_WORKERS, max(spare, 0 if device.type == "cpu" else 1))


def _letterbox(config: TrainConfig, detector: Detector, pictures: PictureFormat) -> LetterboxPolicy:
    stride = max(detector.strides)
    height, width = (round_up_to_stride(side, stride) for side in config.image_size)
    return LetterboxPolicy(size_hw=(height, width), stride=stride, shape="minimal", picture_format=pictures)


def _loss(files: RunFiles, detector: Detector, letterbox: LetterboxPolicy) -> DetectionLoss:
    """The loss of the model's release; of v4.0 where a release or a user's YAML has none of its own."""
    rules = RULES.get(detector.architecture.release, RULES["v4.0"])
    gains = scaled_gains(
        files.hyperparameters,
        classes=detector.classes,
        size_hw=letterbox.size_hw,
        levels=len(detector.strides),
        rules=rules,
    )
    return DetectionLoss(
        files.hyperparameters,
        anchors=detector.head.anchors,
        classes=detector.classes,
        strides=detector.strides,
        gains=gains,
        rules=rules,
    )


def _note_changes(saved: dict[str, Any], now: dict[str, Any], emitter: Emitter) -> None:
    for key, words in (("train_data", "the training data"), ("val_data", "the validation data")):
        if saved.get(key) != now[key]:
            emitter.note(
                f"{words} changed since the run was started: the result will not be the same", "warning"
            )
