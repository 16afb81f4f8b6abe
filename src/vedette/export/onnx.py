"""ONNX: the network as a graph of standard operators."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.core.types import SizeHW
from vedette.errors import MissingExtraError, UsageError
from vedette.export.job import ExportJob
from vedette.export.onnx_int8 import quantize_onnx
from vedette.export.onnx_suppression import add_suppression
from vedette.model.frame_detector import FrameDetector

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
_MAX_BATCH = 4096
_MAX_SIDE_STRIDES = 2048


def write(job: ExportJob, path: Path) -> None:
    """Write one file with its contract.

    Raises:
        MissingExtraError: a package is not installed.
        UsageError: the exporter cannot write the operators of that version.
        WriteError: the file cannot be written.
    """
    contract = job.contract
    wanted = job.opset or OPSET
    network = job.network()
    if contract.precision == "fp16":
        network.half()
    model = convert_onnx(network, contract.batch_size, contract.frame_hw, opset=wanted)
    if model.opset_import[0].version != wanted:
        raise UsageError(
            f"the network cannot be written with opset {wanted}", where="--opset", fix=f"use {OPSET}"
        )
    if job.calibration is not None:
        model = quantize_onnx(model, job.calibration, contract.batch_size, len(contract.strides))
    if contract.nms is not None:
        add_suppression(model, contract.nms, contract.classes, contract.batch_size)
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTRACT_NAME, contract.to_json()
    write_atomic(path, model.SerializeToString())


def convert_onnx(
    network: FrameDetector,
    batch_size: int | None = None,
    frame_hw: SizeHW | None = None,
    *,
    opset: int = OPSET,
) -> ModelProto:
    """The network as an ONNX model with the input ``frames`` and the outputs ``network.output_names``.

    Args:
        network: in float32 or float16, on the CPU.
        batch_size: of the frames; None means any.
        frame_hw: their size; None means any multiples of ``network.max_stride``.
        opset: version of the operators.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxslim is not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it
        import onnxslim
    except ImportError as error:
        package = (error.name or "onnx").partition(".")[0]
        raise MissingExtraError(package, "export-onnx", "export to onnx") from None
    frames, dimensions = _frames(network, batch_size, frame_hw)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (frames,),
            dynamo=True,
            dynamic_shapes=(dimensions,),
            input_names=["frames"],
            output_names=list(network.output_names),
            opset_version=opset,
            verbose=False,
        )
        assert program is not None  # it is None of the older exporter only
        model = program.model_proto
        write_constants_as_tensors(model)
        slim: ModelProto = onnxslim.slim(model)
    return slim


def write_constants_as_tensors(model: ModelProto) -> None:
    """Lists of float32 as tensors: torch 2.6 writes scales of Resize as lists, which onnxslim takes for float64."""
    from onnx import helper, numpy_helper

    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value_floats":
                tensor = numpy_helper.from_array(np.array(attribute.floats, np.float32))
                attribute.CopyFrom(helper.make_attribute("value", tensor))


def _frames(
    network: FrameDetector, batch_size: int | None, frame_hw: SizeHW | None
) -> tuple[torch.Tensor, dict[int, Any]]:
    """Frames to export with, and the sizes that are open."""
    step = network.max_stride
    # Sizes of 1 would be taken for constants.
    height, width = frame_hw or (2 * step, 3 * step)
    dimensions: dict[int, Any] = {}
    if batch_size is None:
        dimensions[0] = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    if frame_hw is None:
        dimensions[1] = step * torch.export.Dim("rows", min=1, max=_MAX_SIDE_STRIDES)
        dimensions[2] = step * torch.export.Dim("columns", min=1, max=_MAX_SIDE_STRIDES)
    frames = torch.zeros(batch_size or 2, height, width, network.channels, dtype=torch.uint8)
    return frames, dimensions


@contextlib.contextmanager
def _quiet() -> Any:
    """Without what the exporter says about packages that are not installed and about its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
