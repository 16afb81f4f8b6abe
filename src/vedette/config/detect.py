"""Settings of ``vedette detect``. Flags and published defaults: specification ``inference.md`` section 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vedette.config.base import Config, SizeHWField

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _as_texts(value: object) -> object:
    """One path or several, as text."""
    if isinstance(value, (str, Path)):
        value = (value,)
    if isinstance(value, Sequence):
        return tuple(str(part) if isinstance(part, Path) else part for part in value)
    return value


def _flags(*names: str) -> dict[str, Any]:
    return {"flags": list(names)}


class DetectConfig(Config):
    """What to run on what, how boxes are chosen, and what is written where."""

    weights: str = Field(
        "",
        description="File of a trained detector (best.safetensors of a training run), or the name of shipped weights; "
        "empty: yolov5n-voc, which knows 20 everyday classes",
    )
    source: Annotated[tuple[str, ...], BeforeValidator(_as_texts), Field(min_length=1)] = Field(
        description="Pictures: a file, a folder, a glob such as 'shots/**/*.jpg', a .txt list of paths; or several",
        json_schema_extra={"flags": ["--source"], "positional": True},
    )
    image_size: SizeHWField | None = Field(
        None,
        description="Size of the network's frame: one number, or height and width; default: the one it was trained for",
        json_schema_extra=_flags("--img-size", "--img", "--imgsz"),
    )
    letterbox: Literal["square", "minimal", "stretch"] | None = Field(
        None,
        description="How a picture is put into the frame; default: as the weights' file says. "
        "'minimal' pads to the next stride only, which is faster",
    )
    conf_threshold: Fraction = Field(
        0.25,
        description="Boxes with a score at or below this are left out",
        json_schema_extra=_flags("--conf-thres", "--conf"),
    )
    iou_threshold: Fraction = Field(
        0.45,
        description="Of two boxes of a class that overlap more than this (IoU), the weaker is left out",
        json_schema_extra=_flags("--iou-thres", "--iou"),
    )
    max_detections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        300,
        description="At most this many boxes a picture",
        json_schema_extra=_flags("--max-det"),
    )
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="Keep only these class numbers, for example: --classes 0 2 3",
    )
    agnostic_nms: bool = Field(
        False,
        description="Let boxes of different classes suppress each other",
    )
    device: str = Field(
        "",
        description="cpu, 0, cuda:0 or mps; default: the first GPU, else the CPU",
    )
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32",
        description="Number format of the network; boxes are decoded in float32 always",
    )
    batch_size: Annotated[int, Field(ge=0, le=4096)] = Field(
        0,
        description="Pictures that go through the network together; 0: fitted to the device",
        json_schema_extra=_flags("--batch-size", "--batch"),
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        0,
        description="Threads that read pictures ahead of the network; 0: fitted to the machine",
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0,
        description="CPU threads of the network; 0: as many as PyTorch chooses",
    )
    nosave: bool = Field(
        False,
        description="Write no pictures with boxes drawn in",
    )
    save_txt: bool = Field(
        False,
        description="Write labels/NAME.txt: class cx cy w h, relative to the picture",
    )
    save_conf: bool = Field(
        False,
        description="Add the score as the last column of those files",
    )
    save_json: bool = Field(
        False,
        description="Write predictions.jsonl: one JSON line a picture",
    )
    save_csv: bool = Field(
        False,
        description="Write predictions.csv: one row a box",
    )
    save_coco: bool = Field(
        False,
        description="Write predictions_coco.json: COCO's list of results",
    )
    project: str = Field(
        "runs/detect",
        description="Folder that holds the runs",
    )
    name: str = Field(
        "exp",
        description="Name of this run's folder; a number is added if it exists",
    )
    exist_ok: bool = Field(
        False,
        description="Write into the folder even if it exists",
    )
    line_width: Annotated[int, Field(ge=0, le=100)] = Field(
        0,
        description="Width of drawn lines in pixels; 0: fitted to the picture",
        json_schema_extra=_flags("--line-thickness", "--line-width"),
    )
    hide_labels: bool = Field(
        False,
        description="Draw boxes without names",
    )
    hide_conf: bool = Field(
        False,
        description="Draw names without scores",
    )
    font: str = Field(
        "",
        description="Font file (.ttf, .otf, .ttc) for names that the built-in font has no letters for",
    )
