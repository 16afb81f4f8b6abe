"""What an evaluation needs to know: data, model, protocol, thresholds, places."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vedette.config.base import Config, SizeHWField

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]


class EvaluateConfig(Config):
    """Settings of one evaluation. The thresholds are those of the published COCO results (AP at IoU 0.65)."""

    data: str = Field("", description="Data set: a YAML file, or the name of one that ships with the package")
    weights: str = Field("", description="Checkpoint to evaluate")
    split: Literal["train", "val", "test"] = Field(
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
    device: str = Field("", description="cpu, 0, cuda:1, mps; empty: the first GPU, else the CPU")
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32", description="Arithmetic of the network; boxes are decoded in float32 always"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Threads that read pictures ahead")
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads of the network; 0: all")
    project: str = Field("runs/val", description="Folder that holds the runs")
    name: str = Field("exp", description="Name of the run; a number is added if it exists")
    exist_ok: bool = Field(False, description="Write into an existing run folder of that name")
    json_path: str = Field(
        "", description="Write the numbers to this JSON file", json_schema_extra={"flags": ["--json"]}
    )
    save_json: bool = Field(False, description="Write predictions.json (COCO results) into the run folder")
    plots: bool = Field(True, description="Draw curves, confusion matrix and pictures into the run folder")
    verbose: bool = Field(False, description="Print a line per class")
