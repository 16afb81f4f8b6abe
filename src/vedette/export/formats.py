"""The table of export formats: what each is called, needs and can do.

A format is a module with ``write(job, path)``, which writes the whole file or folder with its contract, and one entry
here; what runs it is a backend in ``infer/backends/``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.checkpoint.contract import InputFormat, OutputKind
from vedette.core.silent_import import import_silently
from vedette.errors import MissingExtraError, UsageError, nearest

if TYPE_CHECKING:
    from vedette.export.job import ExportJob

FEATURES = (
    "float32",
    "fp16",
    "bf16",
    "int8",
    "several frames at once",
    "any batch size",
    "any image size",
    "planes",
    "cells",
    "predictions",
    "detections",
    "maps of layers",
)
"""What can be asked of a format: number formats, shapes left open, kinds of output."""


@dataclass(frozen=True, slots=True)
class Format:
    """One export format.

    Attributes:
        name: on the command line and in contracts.
        suffix: what is added to the name of the checkpoint.
        is_folder: several files in a folder of that name.
        module: where ``write`` is.
        packages: modules that must be there, by the extra of vedette that brings them.
        cannot: features it does not have, with the reason in words.
        input: what its networks take.
        output: what they give unless another kind is asked for.
        systems: where its runtime exists, as ``sys.platform``; empty: everywhere. Elsewhere files are written, and
            not verified.
    """

    name: str
    suffix: str
    is_folder: bool
    module: str
    packages: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)
    input: InputFormat = field(default_factory=InputFormat)
    output: OutputKind = "cells"
    systems: tuple[str, ...] = ()

    def refusal(self, feature: str) -> str:
        """Why the format has no such feature; "" if it has."""
        return self.cannot.get(feature, "")

    def path_for(self, weights: Path, output: Path | None) -> Path:
        """Where the file of a checkpoint goes: beside it, or into the folder ``output``."""
        folder = weights.parent if output is None else output
        return folder / f"{weights.stem}{self.suffix}"

    def writer(self) -> Callable[[ExportJob, Path], None]:
        """The function that writes a file. Raises MissingExtraError."""
        for package, extra in self.packages.items():
            try:
                import_silently(package)
            except ImportError:
                raise MissingExtraError(package, extra, f"export to {self.name}") from None
        write: Callable[[ExportJob, Path], None] = importlib.import_module(self.module).write
        return write


_SUPPRESSION_OUTSIDE = (
    "suppression in the graph is written for ONNX only; vedette suppresses outside, at any thresholds"
)

_TORCH_INT8 = "torch's quantised operators are on their way out; use onnx or openvino"
_NCNN_PLANES = (
    "its maps are planes, and shape arithmetic in its graphs would fix their size; use --outputs planes"
)

_ONE_PICTURE = (
    "its input is a picture, as apps have it, and those come one at a time; Core ML makes batches by itself"
)
_PLANNED_MEMORY = "its memory is laid out when it is exported, for frames of one number and size"
_NO_MAPS = "its files are for detection; use onnx, openvino or torchscript, or load the checkpoint"
_COREML_PLANES = "Core ML keeps maps as planes; use --outputs planes"

FORMATS: dict[str, Format] = {
    "torchscript": Format(
        name="torchscript",
        suffix=".torchscript",
        is_folder=False,
        module="vedette.export.torchscript",
        cannot={
            "fp16": "it is verified on the CPU, which has no fast float16; use bf16, or run the checkpoint on the GPU",
            "int8": _TORCH_INT8,
            "detections": _SUPPRESSION_OUTSIDE,
        },
    ),
    "onnx": Format(
        name="onnx",
        suffix=".onnx",
        is_folder=False,
        module="vedette.export.onnx",
        packages={"onnx": "export-onnx", "onnxscript": "export-onnx", "onnxruntime": "export-onnx"},
        cannot={"bf16": "ONNX Runtime has no bf16 convolutions on CPUs; use openvino, or fp16 for a GPU"},
    ),
    "openvino": Format(
        name="openvino",
        suffix="_openvino_model",
        is_folder=True,
        module="vedette.export.openvino",
        packages={"openvino": "export-openvino"},
        cannot={"detections": _SUPPRESSION_OUTSIDE},
    ),
    "torch-export": Format(
        name="torch-export",
        suffix=".pt2",
        is_folder=False,
        module="vedette.export.torch_program",
        cannot={
            "fp16": "it is verified on the CPU, which has no fast float16; use bf16, or run the checkpoint on the GPU",
            "int8": _TORCH_INT8,
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
    ),
    "aotinductor": Format(
        name="aotinductor",
        suffix=".aoti.pt2",
        is_folder=False,
        module="vedette.export.aotinductor",
        cannot={
            "fp16": "it is compiled for the CPU, which has no fast float16; use bf16, or run the checkpoint on the GPU",
            "int8": _TORCH_INT8,
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
    ),
    "ncnn": Format(
        name="ncnn",
        suffix="_ncnn_model",
        is_folder=True,
        module="vedette.export.ncnn",
        packages={"pnnx": "export-ncnn", "ncnn": "export-ncnn"},
        cannot={
            "bf16": "ncnn stores weights in float32 or fp16; its bf16 is an option of the program that runs them",
            "int8": "ncnn has a calibration program of its own, ncnn2int8, which is in no Python package",
            "cells": _NCNN_PLANES,
            "predictions": _NCNN_PLANES,
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
        input=InputFormat(layout="nchw", dtype="float32"),
        output="planes",
    ),
    "coreml": Format(
        name="coreml",
        suffix=".mlpackage",
        is_folder=True,
        module="vedette.export.coreml",
        packages={"coremltools": "export-coreml"},
        cannot={
            "bf16": "Core ML computes in float32 or fp16",
            "int8": "what it changes can be measured on a Mac only; use fp16",
            "several frames at once": _ONE_PICTURE,
            "any batch size": _ONE_PICTURE,
            "cells": _COREML_PLANES,
            "predictions": _COREML_PLANES,
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
        output="planes",
        systems=("darwin",),
    ),
    "executorch": Format(
        name="executorch",
        suffix="_executorch_model",
        is_folder=True,
        module="vedette.export.executorch",
        packages={"executorch": "export-executorch"},
        cannot={
            "fp16": "XNNPACK computes in fp16 on ARM processors only, so it could not be verified elsewhere",
            "bf16": "XNNPACK has no bf16 convolutions",
            "int8": "torch's quantisers for it are not used by vedette; use onnx or openvino",
            "any batch size": _PLANNED_MEMORY,
            "any image size": _PLANNED_MEMORY,
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
    ),
    "litert": Format(
        name="litert",
        suffix=".tflite",
        is_folder=False,
        module="vedette.export.litert",
        packages={"litert_torch": "export-litert", "ai_edge_litert": "export-litert"},
        cannot={
            "fp16": "litert-torch writes float32; its quantisers are not used by vedette",
            "bf16": "LiteRT has no bf16 convolutions",
            "int8": "litert-torch's quantisers are not used by vedette; use onnx or openvino",
            "any image size": "XNNPACK cannot follow a change of size; the number of frames can be open",
            "predictions": "litert-torch has no power of a tensor, which decoding takes; use cells or planes",
            "detections": _SUPPRESSION_OUTSIDE,
            "maps of layers": _NO_MAPS,
        },
    ),
}


FORMER_NAMES = {"tflite": "litert"}
"""What export.py called them."""

NOT_WRITTEN = {
    "engine": (
        "TensorRT builds an engine on the machine that runs it",
        "export onnx, and build the engine from that: docs/export.md, TensorRT",
    ),
    "saved_model": ("vedette writes no TensorFlow graphs", "use litert, which TensorFlow Lite runs, or onnx"),
    "pb": ("vedette writes no TensorFlow graphs", "use litert, which TensorFlow Lite runs, or onnx"),
    "edgetpu": (
        "the compiler of Edge TPUs takes int8 files of TensorFlow Lite, and vedette writes float32 ones",
        "use litert on the processor beside it, or openvino with --precision int8",
    ),
    "tfjs": ("vedette writes no TensorFlow graphs", "use onnx, which ONNX Runtime Web runs in browsers"),
    "paddle": ("vedette writes no files of PaddlePaddle", "use onnx, or openvino"),
}
"""Formats of export.py that vedette does not write: the reason, and what to use."""


def find_format(name: str) -> Format:
    """The format of that name, or of the one it had in export.py. Raises UsageError."""
    if name in NOT_WRITTEN:
        reason, route = NOT_WRITTEN[name]
        raise UsageError(reason, where=f"--format {name}", fix=route)
    current = FORMER_NAMES.get(name, name)
    if current not in FORMATS:
        raise UsageError("no such format", where=f"--format {name:.40}", fix=nearest(name[:40], FORMATS))
    return FORMATS[current]


def check_features(chosen: Format, features: tuple[str, ...]) -> None:
    """Refuse what a format cannot do, with the reason. Raises UsageError."""
    for feature in features:
        reason = chosen.refusal(feature)
        if reason:
            raise UsageError(
                f"{chosen.name} cannot be written with {feature}", where="vedette export", fix=reason
            )
