"""The network as a program of ``torch.export``: for torch itself, and for compilers that begin with it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.exported.pt2 import with_contract
from vedette.checkpoint.exported.record import prepare_record, record_written
from vedette.export.job import ExportJob
from vedette.model.frame_detector import FrameDetector

_MAX_BATCH = 4096
_MAX_SIDE_STRIDES = 2048
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def write(job: ExportJob, path: Path) -> None:
    """Write one file, and record that it was written here. Raises WriteError."""
    prepare_record()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own parts
        torch.export.save(program_of(job), stream)
    put_recorded(with_contract(stream.getvalue(), job.contract.to_json()), path)


def put_recorded(content: bytes, path: Path) -> None:
    """Write a file that may be opened on this machine. Raises WriteError."""
    record_written(content)
    write_atomic(path, content)


def program_of(job: ExportJob) -> Any:
    """The network of a job as a ``torch.export.ExportedProgram``, without traces of this machine."""
    network = job.network().to(DTYPES[job.contract.precision])
    frames, dimensions = _frames(network, job)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (frames,), dynamic_shapes=(dimensions,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _frames(network: FrameDetector, job: ExportJob) -> tuple[torch.Tensor, dict[int, Any]]:
    """Frames to export with, and the sizes that are open."""
    step, contract = network.max_stride, job.contract
    # Sizes that are 1, or alike, would be taken for constants, or for one.
    height, width = contract.frame_hw or (2 * step, 3 * step)
    dimensions: dict[int, Any] = {}
    if contract.batch_size is None:
        dimensions[0] = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    if contract.frame_hw is None:
        dimensions[1] = step * torch.export.Dim("rows", min=1, max=_MAX_SIDE_STRIDES)
        dimensions[2] = step * torch.export.Dim("columns", min=1, max=_MAX_SIDE_STRIDES)
    frames = torch.zeros(contract.batch_size or 2, height, width, network.channels, dtype=torch.uint8)
    return frames, dimensions
