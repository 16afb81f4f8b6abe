"""The predictor that the settings of ``vedette detect`` ask for."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.checkpoint.shipped import DEFAULT as DEFAULT_WEIGHTS
from vedette.checkpoint.shipped import shipped_file
from vedette.config.detect import DetectConfig
from vedette.core.device import Precision
from vedette.core.nms import NmsSettings
from vedette.errors import UsageError
from vedette.infer.assemble import Assembly, assemble_whole, assembly_of, in_tiles
from vedette.infer.backends.files import gains_by_lanes, runtime_of
from vedette.infer.predictor import Predictor
from vedette.infer.prepared import PreparedRuntime, prepared_runtime
from vedette.infer.tracking.tracker import TrackingSettings

if TYPE_CHECKING:
    from vedette.infer.tiling import AnyPredictor

_log = logging.getLogger(__name__)


def configured_predictor(
    config: DetectConfig, loaded: Predictor | None = None, lanes: int = 1
) -> AnyPredictor:
    """The predictor with the thresholds, size, letterbox and tiles of the configuration.

    Args:
        config: what was asked for.
        loaded: a detector to use instead of ``config.weights``.
        lanes: how many threads will call at once; they share the CPU threads.

    Raises:
        UsageError: a setting makes no sense, or the weights know other classes than ``config.data``.
        CheckpointError: the weights cannot be loaded.
    """
    predictor = _loaded(config, lanes) if loaded is None else _with_frames(loaded, config)
    _check_names(config.data, predictor.class_names)
    nms = NmsSettings(
        conf_threshold=detection_threshold(config),
        iou_threshold=config.iou_threshold,
        class_ids=config.classes,
        agnostic=config.agnostic_nms,
        max_detections=config.max_detections,
    )
    return in_tiles(predictor.with_settings(nms=nms), assembly_of(config, config.precision))


def _with_frames(predictor: Predictor, config: DetectConfig) -> Predictor:
    """The predictor with the size and letterbox of the configuration."""
    letterbox = replace(
        predictor.letterbox,
        size_hw=config.image_size or predictor.letterbox.size_hw,
        shape=config.letterbox or predictor.letterbox.shape,
    )
    return predictor.with_settings(letterbox=letterbox)


def detection_threshold(config: DetectConfig) -> float:
    """Score that boxes need to come out of the network; the object tracker also wants weak ones."""
    return min(config.conf_threshold, config.track_low) if config.track else config.conf_threshold


def tracking_settings(config: DetectConfig) -> TrackingSettings:
    """How objects are tracked. Raises UsageError."""
    high_threshold = config.conf_threshold if config.track_high is None else config.track_high
    return TrackingSettings(
        high_threshold=high_threshold,
        low_threshold=min(config.track_low, high_threshold),
        lost_seconds=config.track_lost_seconds,
        class_aware=not config.track_any_class,
        frame_rate=config.track_frame_rate,
    )


def prepared_choice(config: DetectConfig) -> tuple[PreparedRuntime, Path] | None:
    """The faster runtime that was prepared for the weights, where the settings leave the choice; see ``--runtime``."""
    if config.runtime == "pytorch" or not leaves_the_runtime_open(config):
        return None
    return prepared_runtime(checkpoint_file(config), config.image_size, config.device)


def wants_lanes(config: DetectConfig) -> bool:
    """Whether all that runs the network passes more pictures a second when several threads call it at once."""
    prepared = prepared_choice(config)
    names = config.weights or (DEFAULT_WEIGHTS,)
    files = [Path(name) for name in names] if prepared is None else [prepared[1]]
    return all(gains_by_lanes(file) for file in files)


def leaves_the_runtime_open(config: DetectConfig) -> bool:
    """Whether another runtime than PyTorch on the CPU does all that is asked for."""
    usual = {name: field.default for name, field in DetectConfig.model_fields.items()}
    needs_pytorch = ("precision", "half", "compile", "augment", "visualize", "letterbox")
    one_checkpoint = len(config.weights) <= 1 and not runtime_of(checkpoint_file(config))
    on_cpu = config.device.strip().lower() in ("", "cpu")
    return one_checkpoint and on_cpu and all(getattr(config, name) == usual[name] for name in needs_pytorch)


def checkpoint_file(config: DetectConfig) -> Path:
    """The file of the first weights; shipped ones by their name."""
    name = config.weights[0] if config.weights else DEFAULT_WEIGHTS
    path = Path(name)
    return path if path.exists() else shipped_file(name) or path


def _loaded(config: DetectConfig, lanes: int) -> Predictor:
    prepared = prepared_choice(config)
    if prepared is not None:
        opened = Assembly(weights=(prepared[1],), threads=config.threads, lanes=lanes)
        return _with_frames(assemble_whole(opened), config)
    precision = asked_precision(config.half, config.precision, config.device)
    weights = config.weights or (DEFAULT_WEIGHTS,)
    return assemble_whole(replace(assembly_of(config, precision), weights=weights, lanes=lanes))


def asked_precision(half: bool, precision: Precision, device: str) -> Precision:
    """``--half`` as published: float16 on a GPU, and on a CPU what was asked for otherwise, with a word on it."""
    if not half:
        return precision
    if _on_cpu(device):
        _log.warning("--half: a CPU has no fast float16, so float32 is used; --precision bf16 may be faster")
        return "float32"
    return "fp16"


def _on_cpu(device: str) -> bool:
    if device.strip().lower() == "cpu":
        return True
    try:
        from vedette.core.device import select_device

        return str(select_device(device)) == "cpu"
    except ImportError:  # without PyTorch no GPU is used
        return True


def _check_names(data: str, class_names: tuple[str, ...]) -> None:
    """Raises UsageError where the description of a data set has other class names than the weights."""
    if not data:
        return
    from vedette.data.description import load_description

    names = tuple(load_description(Path(data) if Path(data).exists() else data).class_names)
    if len(names) != len(class_names):
        raise UsageError(
            f"has {len(names)} classes, and the weights have {len(class_names)}", where=f"--data {data}"
        )
    for number, (theirs, ours) in enumerate(zip(names, class_names, strict=True)):
        if theirs != ours:
            raise UsageError(
                f"calls class {number} '{theirs:.80}', and the weights call it '{ours:.80}'",
                where=f"--data {data}",
                fix="results have the names of the weights; leave --data out if they are right",
            )
