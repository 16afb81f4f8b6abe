"""Settings of ``vedette export`` and ``vedette verify``. Old flags: specification ``inference.md`` section 11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vedette.config.base import Config, SizeHWField

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def as_words(value: object) -> object:
    """One word or several; ``onnx,openvino`` too."""
    words = value.split(",") if isinstance(value, str) else value
    if isinstance(words, (list, tuple)):
        return tuple(
            part for word in words for part in (word.split(",") if isinstance(word, str) else [word]) if part
        )
    return words


def _flags(*names: str, **more: Any) -> dict[str, Any]:
    return {"flags": list(names), **more}


class ExportConfig(Config):
    """What to export, to which formats, and in which form."""

    weights: str = Field("", description="Checkpoint to export, or the name of shipped weights")
    formats: Annotated[tuple[str, ...], BeforeValidator(as_words), Field(min_length=1)] = Field(
        ("onnx",),
        description="Formats, several at once: onnx, openvino, torchscript, torch-export, aotinductor, ncnn, coreml, "
        "litert, executorch",
        json_schema_extra=_flags("--format", "--include", "--formats"),
    )
    image_size: SizeHWField | None = Field(
        None,
        description="Size of the frames: one number, or height and width; default: that of the checkpoint",
        json_schema_extra=_flags("--img-size", "--img", "--imgsz"),
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        1,
        description="Frames that go through the network at once",
        json_schema_extra=_flags("--batch-size", "--batch"),
    )
    dynamic: Literal["", "all", "batch", "size"] = Field(
        "",
        description="Leave the number of frames and their size open; or one of both",
        json_schema_extra=_flags("--dynamic", bare="all"),
    )
    precision: Literal["float32", "fp16", "bf16", "int8"] = Field(
        "float32",
        description="Number format of the network; int8 is calibrated on the training split of --data",
    )
    half: bool = Field(False, description="The same as --precision fp16")
    int8: bool = Field(False, description="The same as --precision int8")
    outputs: Literal["planes", "cells", "predictions"] | None = Field(
        None,
        description="What the network gives: raw planes, raw cells, or decoded predictions, as v7.0 did; default: "
        "what the format is fastest with",
    )
    features: Annotated[tuple[str, ...], BeforeValidator(as_words)] = Field(
        (),
        description="Layers whose maps the file gives, too: rows, names such as backbone.p3, or box: what the output "
        "convolutions read",
        json_schema_extra=_flags("--features", bare="box"),
    )
    nms: bool = Field(False, description="End the network in suppression, with the thresholds below built in")
    agnostic_nms: bool = Field(False, description="Built-in suppression across classes; includes --nms")
    conf_threshold: Fraction = Field(
        0.25,
        description="Score that a box needs; built in with --nms, else recommended",
        json_schema_extra=_flags("--conf-thres", "--conf"),
    )
    iou_threshold: Fraction = Field(
        0.45,
        description="Overlap above which the weaker box goes; built in with --nms, else recommended",
        json_schema_extra=_flags("--iou-thres", "--iou"),
    )
    max_detections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        300,
        description="At most this many boxes a picture",
        json_schema_extra=_flags("--max-det", "--topk-all"),
    )
    opset: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="Version of ONNX operators, 17 or later; 0: one that runtimes of the last years read"
    )
    simplify: bool = Field(True, description="Accepted for old scripts: ONNX graphs are always simplified")
    data: str = Field(
        "",
        description="Data set: calibration from its training split, golden pictures and the change in AP from --split",
    )
    split: Literal["train", "val", "test"] = Field("val", description="Part of the data set to verify on")
    pictures: Annotated[tuple[str, ...], BeforeValidator(as_words)] = Field(
        (), description="Picture files for golden pictures, instead of those of --data or drawn ones"
    )
    calibration_pictures: Annotated[int, Field(ge=8, le=10_000)] = Field(
        128, description="Pictures to calibrate int8 on"
    )
    output: str = Field("", description="Folder for the files; default: beside the checkpoint")
    keep_differing: bool = Field(
        False,
        description="Keep a file that differs from PyTorch by more than the tolerance; the exit code stays 1",
    )
    device: str = Field("cpu", description="Where exported files are verified")
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads; 0: all")

    @model_validator(mode="before")
    @classmethod
    def _one_precision(cls, values: Any) -> Any:
        """``--half`` and ``--int8`` are precisions."""
        if not isinstance(values, Mapping):
            return values
        settled = dict(values)
        for switch, precision in (("half", "fp16"), ("int8", "int8")):
            if settled.get(switch) in (True, "true", "True"):
                if settled.get("precision", precision) != precision:
                    raise ValueError(
                        f"--{switch} and --precision {settled['precision']} contradict each other"
                    )
                settled["precision"] = precision
        return settled


class VerifyConfig(Config):
    """What to compare an exported file with, and how strictly."""

    file: str = Field(
        description="Exported file or folder", json_schema_extra={"flags": ["--file"], "positional": True}
    )
    weights: str = Field("", description="The checkpoint it was exported from; needed for --data")
    data: str = Field("", description="Data set to compare detections and AP on, besides the golden pictures")
    split: Literal["train", "val", "test"] = Field("val", description="Part of the data set")
    min_overlap: Fraction | None = Field(
        None, description="Least overlap (IoU) of a box with PyTorch's; default: by precision"
    )
    max_score_difference: Fraction | None = Field(
        None, description="Greatest difference of a score; default: by precision"
    )
    max_differing: Fraction | None = Field(
        None,
        description="Greatest share of boxes that differ by more, or that one of both misses; default: by precision",
    )
    max_feature_difference: Fraction | None = Field(
        None,
        description="Greatest difference of a map of a layer, as a part of its values; default: by precision",
    )
    max_ap_change: Fraction | None = Field(
        None, description="Greatest change of AP, 0..1; default: by precision"
    )
    device: str = Field("cpu", description="Where the file is run")
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads; 0: all")
    json_path: str = Field(
        "", description="Write the report to this JSON file", json_schema_extra=_flags("--json")
    )
