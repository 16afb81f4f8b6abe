"""What an evaluation needs to know: data, model, protocol, thresholds, places."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from vedette.config.assembly import Augment, Compile, Ensemble, EnsembleWeights, Overlap, Tile, TileWhole
from vedette.config.base import Config, SizeHWField

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]

_OTHER_TASKS = {
    "study": "no part of the data set: run `vedette val` once for each --img-size",
    "speed": "no part of the data set: the times of a picture are measured with every part",
}
"""Published values of ``--task`` that name something else to do."""


def _as_texts(value: object) -> object:
    """One file or several; none for an empty name."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def _part(value: object) -> object:
    if isinstance(value, str) and value in _OTHER_TASKS:
        raise ValueError(_OTHER_TASKS[value])
    return value


class EvaluateConfig(Config):
    """Settings of one evaluation. The thresholds are those of the published COCO results (AP at IoU 0.65)."""

    data: str = Field("", description="Data set: a YAML file, or the name of one that ships with the package")
    weights: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = Field(
        (), description="Checkpoint to evaluate; several are an ensemble"
    )
    split: Annotated[Literal["train", "val", "test"], BeforeValidator(_part)] = Field(
        "val", description="Part of the data set", json_schema_extra={"flags": ["--split", "--task"]}
    )
    protocol: Literal["vedette", "yolov5"] = Field(
        "vedette",
        description="How pictures become frames: vedette letterboxes as `vedette detect` does; yolov5 follows "
        "the reference's rectangular batches and padding, and adds its own AP",
    )
    image_size: SizeHWField | None = Field(
        None,
        description="Size of the frames: one number, or height and width; default: that of the checkpoint",
        json_schema_extra={"flags": ["--img-size", "--img", "--imgsz"]},
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(
        16, description="Pictures per batch", json_schema_extra={"flags": ["--batch-size", "--batch", "-b"]}
    )
    conf_threshold: Threshold = Field(
        0.001,
        description="Lowest score that counts; more than 0.01 cuts AP",
        json_schema_extra={"flags": ["--conf-thres", "--conf"]},
    )
    iou_threshold: Threshold = Field(
        0.65,
        description="Overlap above which non-maximum suppression drops a box",
        json_schema_extra={"flags": ["--iou-thres", "--iou"]},
    )
    max_detections: Annotated[int, Field(ge=1, le=30_000)] = Field(
        300,
        description="Most boxes per picture",
        json_schema_extra={"flags": ["--max-det"]},
    )
    confusion_conf: Threshold = Field(
        0.25, description="Score from which a box enters the confusion matrix and the background figures"
    )
    on_bad_label: Literal["skip", "error"] = Field(
        "skip",
        description="List bad label rows and leave them out (at most 1 % of all), or stop at the first",
    )
    single_cls: bool = Field(False, description="Treat all classes as one")
    augment: Augment = False
    ensemble: Ensemble = "nms"
    ensemble_weights: EnsembleWeights = None
    tile: Tile = None
    overlap: Overlap = 0.2
    tile_whole: TileWhole = True
    device: str = Field("", description="cpu, 0, cuda:1, mps; empty: the first GPU, else the CPU")
    compile: Compile = False
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32", description="Arithmetic of the network; boxes are decoded in float32 always"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Threads that read pictures ahead")
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads of the network; 0: all")
    lanes: Annotated[int, Field(ge=0, le=256)] = Field(
        0,
        description="Batches that are in the network at the same time, each on its share of the CPU threads; 0: one a "
        "thread, at most 8, where ONNX Runtime or OpenVINO runs it; else one",
    )
    project: str = Field("runs/val", description="Folder that holds the runs")
    name: str = Field("exp", description="Name of the run; a number is added if it exists")
    exist_ok: bool = Field(False, description="Write into an existing run folder of that name")
    json_path: str = Field(
        "", description="Write the numbers to this JSON file", json_schema_extra={"flags": ["--json"]}
    )
    save_json: bool = Field(False, description="Write predictions.json (COCO results) into the run folder")
    save_txt: bool = Field(
        False,
        description="Write labels/NAME.txt: class cx cy w h, relative to the picture, of every box that counts",
    )
    save_conf: bool = Field(False, description="Add the score as the last column of those files")
    plots: bool = Field(True, description="Draw curves, confusion matrix and pictures into the run folder")
    verbose: bool = Field(False, description="Print a line per class")
    half: bool = Field(
        False, description="The same as --precision fp16 on a GPU; the CPU stays at float32, and says so"
    )
    dnn: bool = Field(False, description="Of old scripts; the file of the weights says what runs it")
    save_hybrid: bool = Field(False, description="Of old scripts; refused, as it measured the true boxes too")
    merge: bool = Field(False, description="Of old scripts; refused, boxes are not averaged")

    @model_validator(mode="after")
    def _possible(self) -> EvaluateConfig:
        if self.tile is not None and self.protocol == "yolov5":
            raise ValueError("--tile has no place in --protocol yolov5: leave one of them out")
        if self.save_hybrid:
            raise ValueError(
                "--save-hybrid put the true boxes among those that were measured, which raises every figure: "
                "use --save-txt, and join the files with the labels"
            )
        if self.merge:
            raise ValueError(
                "--merge averaged boxes that overlap, which is no part of what is measured: leave it out"
            )
        if self.half and self.precision not in ("fp16", "float32"):
            raise ValueError(
                f"--half and --precision {self.precision} contradict each other: give one of them"
            )
        return self
