"""Hyperparameters of training under their published names, and the presets that ship with the package.

A hyperparameter file is a flat YAML mapping of these names, as people know it from YOLOv5 (``hyp.*.yaml``).
Names and published values: specification ``training.md`` sections 2, 3, 6, 8 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from vedette.config.base import Config, read_yaml_mapping
from vedette.errors import ConfigError, nearest

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Gain = Annotated[float, Field(ge=0.0)]


FITTED_RATES = {"SGD": 0.02, "Adam": 0.001, "AdamW": 0.001}
"""Initial learning rate by update rule, where none is given."""


class Hyperparameters(Config):
    """All numbers that shape learning. The defaults are vedette's own recipe; see ``PRESETS`` for others."""

    model_config = ConfigDict(title="Hyperparameters")

    # Optimizer and schedule
    lr0: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Initial learning rate; 0 = fitted to the update rule: SGD 0.02, Adam and AdamW 0.001 (published: 0.01)."""
    lrf: Fraction = 0.01
    """Final learning rate as a fraction of lr0."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.937
    """SGD momentum, or Adam's beta1."""
    weight_decay: Gain = 0.0005
    """L2 penalty on convolution weights, at the nominal batch size."""
    warmup_epochs: Gain = 3.0
    """Length of the warm-up in epochs; fractions are allowed."""
    warmup_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    """Momentum at the start of the warm-up."""
    warmup_bias_lr: Gain = 0.1
    """Learning rate of biases at the start of the warm-up."""
    warmup_min_iterations: Annotated[int, Field(ge=0)] = 0
    """Least length of the warm-up in iterations. The published value is 1000, which a small data set never leaves."""
    warmup_max_fraction: Fraction = 0.1
    """The warm-up never takes more than this part of the run (1 = no limit, as published)."""
    published_schedule: bool = False
    """Follow the published schedule to the letter, with its late epochs and discarded gradients."""
    nominal_batch: Annotated[int, Field(ge=0)] = 0
    """Images per optimizer step, reached by accumulating batches; 0 = fitted to the run's length (published: 64)."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the weight average; 0 = fitted to the run's length (published: 0.9999)."""
    ema_ramp: Gain = 0.0
    """Steps over which the decay ramps up; 0 = fitted to the run's length (published: 2000)."""
    gradient_clip: Gain = 0.0
    """Longest norm of the gradient of a step; 0 = no limit (published: none at v4.0, 10 later)."""

    # Loss
    box: Gain = 0.05
    """Gain of the box loss (1 - CIoU)."""
    cls: Gain = 0.5
    """Gain of the class loss, at 80 classes."""
    cls_min_scale: Fraction = 0.0
    """The gain shrinks with the number of classes, to this part at least. Short runs with few classes learn to tell
    them apart sooner with 0.25, at some cost in the precision of boxes."""
    cls_pw: Gain = 1.0
    """Weight of positives in the class loss."""
    obj: Gain = 1.0
    """Gain of the objectness loss, at 640 x 640."""
    obj_min_scale: Fraction = 0.0
    """The gain shrinks with the area of the frame, to this part at least."""
    obj_pw: Gain = 1.0
    """Weight of positives in the objectness loss."""
    anchor_t: Annotated[float, Field(ge=1.0)] = 4.0
    """A box is matched to an anchor if neither side is this many times larger or smaller."""
    anchors: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """Fit so many anchors a level to the boxes, rounded; 0 = as many as the model has, and only if those fit badly."""
    fl_gamma: Gain = 0.0
    """Exponent of the focal loss; 0 = plain binary cross-entropy."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Class targets become 1 - s/2 and s/2."""

    # Augmentation
    hsv_h: Fraction = 0.015
    """Hue jitter, as a fraction."""
    hsv_s: Fraction = 0.7
    """Saturation jitter, as a fraction."""
    hsv_v: Fraction = 0.4
    """Brightness jitter, as a fraction; of pictures without colours that of all channels."""
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """Rotation, plus or minus degrees."""
    translate: Fraction = 0.1
    """Shift, plus or minus this fraction of the image."""
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Zoom, 1 plus or minus this."""
    shear: Annotated[float, Field(ge=0.0, lt=90.0)] = 0.0
    """Shear, plus or minus degrees."""
    perspective: Annotated[float, Field(ge=0.0, le=0.001)] = 0.0
    """Perspective, plus or minus this (0..0.001)."""
    flipud: Fraction = 0.0
    """Probability of an up-down flip."""
    fliplr: Fraction = 0.5
    """Probability of a left-right flip."""
    mosaic: Fraction = 1.0
    """Probability that a sample is a mosaic of four pictures."""
    mixup: Fraction = 0.0
    """Probability that a mosaic is blended with a second one."""
    mosaic_off_fraction: Fraction = 0.1
    """The last part of the run that is trained without mosaics and blending, on pictures as they will come."""

    def for_optimizer(self, optimizer: str) -> Hyperparameters:
        """The same with the initial learning rate filled in, if it is to be fitted to this update rule."""
        return self if self.lr0 > 0 else self.model_copy(update={"lr0": FITTED_RATES[optimizer]})


_PUBLISHED: dict[str, Any] = {
    "lr0": 0.01,
    "nominal_batch": 64,
    "ema_decay": 0.9999,
    "ema_ramp": 2000.0,
    "mosaic_off_fraction": 0.0,
}

_V4_SCHEDULE: dict[str, Any] = {
    **_PUBLISHED,
    "warmup_min_iterations": 1000,
    "warmup_max_fraction": 1.0,
    "published_schedule": True,
}

# Not published_schedule: that is v4.0's way of accumulating gradients, which v7.0 has given up.
_V7_SCHEDULE: dict[str, Any] = {
    **_PUBLISHED,
    "warmup_min_iterations": 100,
    "warmup_max_fraction": 1.0,
    "gradient_clip": 10.0,
}

_V7_MEDIUM: dict[str, Any] = {
    **_V7_SCHEDULE,
    "lrf": 0.1,
    "cls": 0.3,
    "obj": 0.7,
    "scale": 0.9,
    "mixup": 0.1,
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "yolov5-v4": {**_V4_SCHEDULE, "lrf": 0.2},
    "yolov5-v4-finetune": {
        **_V4_SCHEDULE,
        "lr0": 0.0032,
        "lrf": 0.12,
        "momentum": 0.843,
        "weight_decay": 0.00036,
        "warmup_epochs": 2.0,
        "warmup_momentum": 0.5,
        "warmup_bias_lr": 0.05,
        "box": 0.0296,
        "cls": 0.243,
        "cls_pw": 0.631,
        "obj": 0.301,
        "obj_pw": 0.911,
        "anchor_t": 2.91,
        "hsv_h": 0.0138,
        "hsv_s": 0.664,
        "hsv_v": 0.464,
        "degrees": 0.373,
        "translate": 0.245,
        "scale": 0.898,
        "shear": 0.602,
        "flipud": 0.00856,
        "mixup": 0.243,
    },
    "yolov5-v7-low": {**_V7_SCHEDULE, "lrf": 0.01},
    "yolov5-v7-med": _V7_MEDIUM,
    "yolov5-v7-high": _V7_MEDIUM,
}
"""Named sets of hyperparameters: what differs from the defaults."""

PRESET_OF_FILE: dict[str, str] = {
    "hyp.scratch.yaml": "yolov5-v4",
    "hyp.finetune.yaml": "yolov5-v4-finetune",
    "hyp.scratch-low.yaml": "yolov5-v7-low",
    "hyp.scratch-med.yaml": "yolov5-v7-med",
    "hyp.scratch-high.yaml": "yolov5-v7-high",
}
"""The published files that scripts name, and the presets of the same values."""

_OUTLINES = "boxes are kept, not outlines, so there is nothing to cut out and paste"
_PRESET_NOTES = {"yolov5-v7-high": f"copy_paste 0.1 is left out: {_OUTLINES}"}

_UNUSED_KEYS = frozenset({"iou_t"})
"""Keys that published files carry and no release uses (specification loss.md section 1)."""


@dataclass(frozen=True, slots=True)
class LoadedHyperparameters:
    """Hyperparameters and what to know about where they come from.

    Attributes:
        values: the hyperparameters.
        notes: one sentence each.
    """

    values: Hyperparameters
    notes: tuple[str, ...] = ()


def load_hyperparameters(name_or_path: str) -> Hyperparameters:
    """The values of :func:`read_hyperparameters`."""
    return read_hyperparameters(name_or_path).values


def read_hyperparameters(name_or_path: str) -> LoadedHyperparameters:
    """A preset by name, a YAML file of published or own names, or a published file's name for its preset.

    A file starts from vedette's defaults: keys that it lacks, such as those of the schedule that published files do
    not know, stay at vedette's values. The old key ``giou`` is read as ``box``; ``iou_t``, which no release uses, is
    left out, and so is ``copy_paste``.

    Raises:
        ConfigError: unknown preset, unknown key (with the nearest known one), or value out of range.
    """
    path = Path(name_or_path)
    if name_or_path in PRESETS:
        return _preset(name_or_path)
    if not path.exists():
        preset = PRESET_OF_FILE.get(path.name)
        if preset is None:
            raise ConfigError(
                "is neither a preset nor a file", where=f"--hyp {name_or_path}", fix=_offered(name_or_path)
            )
        found = _preset(preset)
        note = (
            f"there is no file {name_or_path}: the preset {preset} has the values published under that name"
        )
        return LoadedHyperparameters(found.values, (note, *found.notes))
    values = {key: value for key, value in read_yaml_mapping(path).items() if key not in _UNUSED_KEYS}
    if "giou" in values and "box" not in values:
        values["box"] = values.pop("giou")
    copy_paste = values.pop("copy_paste", 0)
    notes = (f"{path}: copy_paste {copy_paste} is left out: {_OUTLINES}",) if copy_paste else ()
    return LoadedHyperparameters(Hyperparameters.parse(values, where=path), notes)


def _preset(name: str) -> LoadedHyperparameters:
    notes = (_PRESET_NOTES[name],) if name in _PRESET_NOTES else ()
    return LoadedHyperparameters(Hyperparameters.parse(PRESETS[name], where=name), notes)


def _offered(name: str) -> str:
    """A hint: for a word the nearest preset, for the name of a file all of them."""
    if Path(name).suffix in (".yaml", ".yml"):
        return "give the path of a file, or a preset: " + ", ".join(PRESETS)
    return nearest(name, PRESETS)
