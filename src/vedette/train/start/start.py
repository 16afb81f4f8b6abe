"""What a run starts from: an architecture, its anchors, the weights of an earlier training, frozen layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.deployable import LoadedDetector
from vedette.checkpoint.load import load
from vedette.config.train import TrainConfig
from vedette.core.letterbox import round_up_to_stride
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.index import SplitIndex
from vedette.errors import CheckpointError, UsageError
from vedette.model.anchors import read_anchors
from vedette.model.detector import Detector, build_detector
from vedette.model.plan import head_strides, plan
from vedette.model.releases import architecture as find_architecture
from vedette.model.rows import Architecture
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.start.anchor_choice import AnchorChoice, box_sizes, choose_anchors
from vedette.train.start.freezing import freeze
from vedette.train.start.transfer import transfer

DEFAULT_MODEL = "yolov5s"


@dataclass(frozen=True, slots=True)
class Start:
    """The detector of a run before its first step.

    Attributes:
        detector: on the CPU, its frozen layers frozen.
        text: where it comes from, in words.
    """

    detector: Detector
    text: str


def start_anew(files: RunFiles, train_index: SplitIndex, emitter: Emitter) -> Start:
    """The detector of a new run.

    The architecture is that of ``--cfg``, else of the checkpoint, else yolov5s; its anchors are measured and, if
    they fit badly, fitted; then it is initialised from the seed, takes the weights that fit, and is frozen in part.

    Args:
        files: settings; ``transfer.txt`` is written if there are weights to take.
        train_index: its class names, and the boxes that anchors are measured on.
        emitter: gets notes.

    Raises:
        CheckpointError: the weights cannot be read.
        ModelError: there is no such model, or it has no anchors and there are no boxes.
        UsageError: layers to freeze that do not exist, or anchors that cannot be kept.
    """
    config, class_names = files.config, train_index.class_names
    loaded = load(Path(config.weights)) if config.weights else None
    choice = _anchors(files, _architecture(config, train_index, loaded), train_index)
    detector = build_detector(choice.architecture, seed=config.seed)
    parts = []
    if loaded is not None:
        taken = transfer(detector, class_names, loaded, anchors=not (choice.fitted or config.cfg))
        write_atomic(files.transfer, taken.report(config.weights).encode("utf-8"))
        parts.append(f"{taken.sentence} from {Path(config.weights).name}")
        emitter.note(parts[-1])
        if taken.classes_new:
            emitter.note(f"classes that start anew: {_listed(taken.classes_new)}")
    parts.append(f"anchors: {choice.text}")
    if choice.fitted:
        emitter.note(parts[-1])
    parts += _freeze(detector, config, emitter)
    return Start(detector, "; ".join(parts))


def start_again(
    files: RunFiles,
    identity: Mapping[str, Any],
    class_names: tuple[str, ...],
    picture_format: PictureFormat = RGB8,
) -> Start:
    """The detector of a resumed run, with the anchors it was started with; its weights are still to be restored.

    Neither the checkpoint of the start nor the boxes are looked at again.

    Args:
        files: settings.
        identity: what the saved state says about its run.
        class_names: of the data set as it is now.
        picture_format: likewise.

    Raises:
        CheckpointError: the state lacks its architecture.
        UsageError: the data set has another number of classes than at the start, or another picture format.
    """
    values = identity.get("architecture")
    if not isinstance(values, dict):
        raise CheckpointError("the saved state lacks its architecture", where=files.state)
    architecture = Architecture.from_dict(values, where=f"{files.state}: architecture")
    trained_for = PictureFormat.from_dict(identity.get("picture_format", RGB8.to_dict()))
    if architecture.classes != len(class_names):
        raise _other_data(f"{len(class_names)} classes", f"{architecture.classes}")
    if trained_for != picture_format:
        raise _other_data(f"pictures of {picture_format}", f"pictures of {trained_for}")
    detector = build_detector(architecture, seed=files.config.seed)
    freeze(detector, files.config.freeze)
    return Start(detector, str(identity.get("start", "")))


def _other_data(now: str, before: str) -> UsageError:
    return UsageError(
        f"the data set has {now}, at the start of the run it had {before}",
        where="--resume",
        fix="start a new run with --weights",
    )


def _architecture(config: TrainConfig, index: SplitIndex, loaded: LoadedDetector | None) -> Architecture:
    """That of ``--cfg``, else of the checkpoint with the anchors it holds, else of yolov5s; for the data set.

    Raises:
        UsageError: a YAML file of ``--cfg`` is for pictures of another number of channels.
    """
    classes, channels = len(index.class_names), index.picture_format.channels
    if config.cfg or loaded is None:
        found = find_architecture(config.cfg or DEFAULT_MODEL, classes=classes, channels=channels)
        if found.channels != channels:
            raise UsageError(
                f"is for pictures of {found.channels} channels, those of the data set have {channels}",
                where=f"--cfg {config.cfg}: ch",
                fix="leave 'ch' out of the model, or set 'channels' in the description of the data set",
            )
        return found
    anchors = read_anchors(loaded.detector.head.anchors_px().tolist(), "anchors")
    return replace(loaded.detector.architecture, classes=classes, channels=channels, anchors_px=anchors)


def _anchors(files: RunFiles, architecture: Architecture, index: SplitIndex) -> AnchorChoice:
    config, hyperparameters = files.config, files.hyperparameters
    stride = max(head_strides(plan(architecture)))
    height, width = (round_up_to_stride(side, stride) for side in config.image_size)
    return choose_anchors(
        architecture,
        box_sizes(index, (height, width)),
        threshold=hyperparameters.anchor_t,
        seed=config.seed,
        keep=config.noautoanchor,
        per_level=round(hyperparameters.anchors),
    )


def _freeze(detector: Detector, config: TrainConfig, emitter: Emitter) -> list[str]:
    frozen = freeze(detector, config.freeze)
    if not config.freeze:
        return []
    total = len(list(detector.parameters()))
    text = f"{len(frozen)} of {total} parameters frozen ({' '.join(config.freeze)})"
    emitter.note(text)
    return [text]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
