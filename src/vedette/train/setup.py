"""Everything a run is made of, built once at its start."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vedette.augment.pipeline import Augmenter
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import SavedState, StateFolder
from vedette.config.train import TrainConfig
from vedette.core.device import Precision, select_device, select_dtype, thread_count
from vedette.core.letterbox import LetterboxPolicy, round_up_to_stride
from vedette.core.types import Batch
from vedette.data.cache_folder import cache_folder
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.data.loader import BatchStream, LoaderSettings, RunSampler
from vedette.data.pictures import PictureStore
from vedette.errors import CheckpointError, UsageError
from vedette.loss.detection_loss import DetectionLoss
from vedette.loss.rules import RULES, scaled_gains
from vedette.model.detector import Detector, build_detector, summary
from vedette.train.ema import WeightAverage, fitted_average
from vedette.train.epoch import StepRules
from vedette.train.events import Emitter
from vedette.train.optimizer import build_optimizer, scaled_weight_decay
from vedette.train.pictures import draw_batch
from vedette.train.run_files import RunFiles
from vedette.train.schedule import Schedule
from vedette.train.state import TrainState

DEFAULT_MODEL = "yolov5s"
_DRAWN_BATCHES = 3
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
        facts: what to tell people about the run.
        identity: what a saved state must agree with.
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
    facts: dict[str, Any]
    identity: dict[str, Any]
    _averaged: Detector | None = field(default=None, repr=False)
    _stream: BatchStream | None = field(default=None, repr=False)

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network by name."""
        return _PRECISION_NAMES[self.rules.dtype]

    def averaged_detector(self, state: TrainState) -> Detector:
        """A detector with the averaged weights as they are now; the same object each time."""
        if self._averaged is None:
            self._averaged = copy.deepcopy(state.model).eval()  # type: ignore[assignment]
            assert self._averaged is not None
            self._averaged.requires_grad_(False)
        state.average.copy_to(self._averaged)
        return self._averaged

    def open_batches(self, step: int) -> Iterator[Batch]:
        """The stream of batches from ``step`` to the end of the run; :meth:`close_batches` stops its workers."""
        config = self.config
        store = PictureStore(
            self.train_index, self.augmenter.size_hw, cache=config.cache, cache_dir=cache_folder()
        )
        self._stream = BatchStream(
            partial(self.augmenter.sample, store, self.train_index),
            RunSampler(len(self.train_index), config.batch_size, config.epochs, config.seed, start_step=step),
            LoaderSettings(
                self.augmenter.size_hw,
                workers=worker_count(config.workers, self.rules.device),
                pin_memory=self.rules.device.type == "cuda",
            ),
            marks=store.marks,
            picture_name=self.train_index.image_path,
        )
        return self._drawn(self._stream, step)

    def close_batches(self) -> None:
        """Stop the workers of the stream."""
        if self._stream is not None:
            self._stream.close()

    def _drawn(self, stream: BatchStream, step: int) -> Iterator[Batch]:
        """The stream, its first batches drawn into the run folder on the way."""
        for number, batch in enumerate(stream, start=step):
            if number < _DRAWN_BATCHES:
                draw_batch(batch, self.class_names, self.files.plots / f"train_batch{number}.jpg")
            yield batch


def prepare(files: RunFiles, emitter: Emitter) -> Setup:
    """Build the parts of a run and, if it is resumed, take up its state.

    Raises:
        UsageError: settings that make no sense, or nothing to resume.
        DataError: the data set cannot be used.
        ModelError: there is no such model.
        CheckpointError: weights or state cannot be used.
    """
    config, hyperparameters = files.config, files.hyperparameters
    device = select_device(config.device)
    saved = StateFolder(files.state).load_latest() if files.resumed else None
    if files.resumed and saved is None:
        raise UsageError("holds no saved state", where=files.state, fix="start the run again")
    started_with = _identity_of(saved, files) if saved else {}
    precision: Precision = started_with.get("precision", config.precision)
    dtype = select_dtype(precision, device)
    train_index, val_index = _load_indexes(files, emitter)
    detector = _build_model(config, train_index.class_names, emitter)
    letterbox = _letterbox(config, detector)
    detector.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    schedule = Schedule.build(
        hyperparameters,
        epochs=config.epochs,
        images_per_epoch=len(train_index),
        batch_size=config.batch_size,
        kind=config.schedule,
        published=hyperparameters.published_schedule,
    )
    decay, ramp = fitted_average(
        schedule.optimizer_steps(), hyperparameters.ema_decay, hyperparameters.ema_ramp
    )
    optimizer_kind = "Adam" if config.adam else config.optimizer
    weight_decay = scaled_weight_decay(
        hyperparameters.weight_decay, config.batch_size, schedule.nominal_batch
    )
    state = TrainState(
        detector,
        WeightAverage(detector, decay=decay, ramp=ramp),
        build_optimizer(detector, hyperparameters, optimizer_kind, weight_decay),
        torch.amp.GradScaler("cuda" if device.type == "cuda" else "cpu", enabled=dtype == torch.float16),
    )
    identity = {
        "precision": _PRECISION_NAMES[dtype],
        "architecture": detector.architecture.to_dict(),
        "train_data": train_index.content_hash,
        "val_data": val_index.content_hash,
    }
    if saved is not None:
        for path, reason in saved.skipped:
            emitter.note(f"{path} cannot be used ({reason}); going on from an earlier state", "warning")
        _note_changes(started_with, identity, emitter)
        state.restore(saved.tensors, saved.metadata)
    return Setup(
        config=config,
        files=files,
        rules=StepRules(
            loss=_loss(files, detector, letterbox),
            schedule=schedule,
            device=device,
            dtype=dtype,
            picture_name=lambda number: str(train_index.image_path(number)),
        ),
        state=state,
        class_names=train_index.class_names,
        letterbox=letterbox,
        train_index=train_index,
        val_index=val_index,
        augmenter=Augmenter(
            hyperparameters,
            letterbox.size_hw,
            config.seed,
            mosaic_epochs=math.ceil(config.epochs * (1 - hyperparameters.mosaic_off_fraction)),
        ),
        facts={
            "model": _describe_model(detector, letterbox),
            "data": _describe_data(config, train_index, val_index),
            "device": f"{device}, {identity['precision']}, {torch.get_num_threads()} threads, "
            f"{worker_count(config.workers, device)} workers",
            "recipe": f"{optimizer_kind}, {schedule.optimizer_steps():,} steps of {schedule.nominal_batch} "
            f"pictures, warm-up {schedule.warmup_iterations} batches, average decay {decay:.4f}",
        },
        identity=identity,
    )


def _identity_of(saved: SavedState, files: RunFiles) -> dict[str, Any]:
    identity = saved.metadata.get("run")
    if not isinstance(identity, dict):
        raise CheckpointError("the saved state does not say what it belongs to", where=files.state)
    return identity


def worker_count(requested: int, device: torch.device) -> int:
    """Processes that load pictures: the number asked for, or for -1 what the machine has to spare.

    On a CPU the network takes all cores anyway; on two of them a worker slows it down by more than it saves.
    """
    if requested >= 0:
        return requested
    spare = thread_count() - (2 if device.type == "cpu" else 1)
    return min(_MAX_WORKERS, max(spare, 0 if device.type == "cpu" else 1))


def _load_indexes(files: RunFiles, emitter: Emitter) -> tuple[SplitIndex, SplitIndex]:
    """The training split, and the split to measure on; what is wrong with them is listed in the run folder."""
    config = files.config
    description = load_description(config.data)
    train_index = load_index(description, "train", on_bad_label=config.on_bad_label)
    val_index = load_index(description, "val", on_bad_label=config.on_bad_label)
    defects = [*train_index.defects, *val_index.defects]
    files.bad_labels.write_text("".join(f"{defect}\n" for defect in defects), encoding="utf-8", newline="\n")
    for index in (train_index, val_index):
        for note in index.notes:
            emitter.note(note)
        bad = [defect for defect in index.defects if defect.bad]
        for defect in bad[:5]:
            emitter.note(f"left out: {defect}", "warning")
        if len(bad) > 5:
            emitter.note(f"... and {len(bad) - 5} more of {index.split}: see {files.bad_labels}", "warning")
    return train_index, val_index


def _build_model(config: TrainConfig, class_names: tuple[str, ...], emitter: Emitter) -> Detector:
    if not config.weights:
        return build_detector(config.cfg or DEFAULT_MODEL, classes=len(class_names), seed=config.seed)
    loaded = load_detector(Path(config.weights)).detector
    if config.cfg:
        detector = build_detector(config.cfg, classes=len(class_names), seed=config.seed)
    else:
        wanted = replace(loaded.architecture, classes=len(class_names))
        detector = build_detector(wanted, classes=len(class_names), seed=config.seed)
    own, given = detector.state_dict(), loaded.state_dict()
    taken = {
        name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape
    }
    detector.load_state_dict(taken, strict=False)
    emitter.note(f"{len(taken)} of {len(own)} tensors taken from {config.weights}")
    return detector


def _letterbox(config: TrainConfig, detector: Detector) -> LetterboxPolicy:
    stride = max(detector.strides)
    height, width = (round_up_to_stride(side, stride) for side in config.image_size)
    return LetterboxPolicy(size_hw=(height, width), stride=stride, shape="minimal")


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


def _describe_model(detector: Detector, letterbox: LetterboxPolicy) -> str:
    facts = summary(detector, letterbox.size_hw)
    height, width = letterbox.size_hw
    name = facts.name if "@" in facts.name else f"{facts.name} ({facts.release})"
    return f"{name}, {facts.parameters:,} parameters, {facts.gflops:.1f} GFLOPs at {height} x {width}"


def _describe_data(config: TrainConfig, train_index: SplitIndex, val_index: SplitIndex) -> str:
    names = ", ".join(train_index.class_names[:6]) + (", ..." if len(train_index.class_names) > 6 else "")
    return (
        f"{Path(config.data).stem}: {len(train_index)} pictures to train on "
        f"({train_index.background_count} background), {len(val_index)} to measure on, "
        f"{len(train_index.class_names)} classes ({names})"
    )
