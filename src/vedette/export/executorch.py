"""ExecuTorch: the network as a program whose convolutions are done by XNNPACK."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.exported.executorch import PROGRAM_FILE
from vedette.checkpoint.exported.folder import CONTRACT_FILE
from vedette.errors import MissingExtraError
from vedette.export.job import ExportJob, frame_output
from vedette.model.frame_detector import FrameDetector


def write(job: ExportJob, path: Path) -> None:
    """Write the folder.

    Raises:
        MissingExtraError: executorch is not installed.
        WriteError: a file could not be written.
    """
    network = FrameDetector(job.detector, frame_output(job.contract), paired=False)
    program = convert_executorch(network, job.example_shape)
    path.mkdir(exist_ok=True)
    write_atomic(path / PROGRAM_FILE, program)
    write_atomic(path / CONTRACT_FILE, job.contract.to_json().encode("ascii"))


def convert_executorch(network: FrameDetector, frames_shape: tuple[int, int, int, int]) -> bytes:
    """The network as an ExecuTorch program for frames of one shape [B, H, W, channels].

    Raises:
        MissingExtraError: executorch is not installed.
    """
    with _quiet(), torch.no_grad():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            package = (error.name or "executorch").partition(".")[0]
            raise MissingExtraError(package, "export-executorch", "export to executorch") from None
        program = torch.export.export(network, (torch.zeros(frames_shape, dtype=torch.uint8),))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the packages say about libraries for GPUs and about torch's newer ways."""
    loggers = [logging.getLogger(name) for name in ("torch", "torchao", "executorch", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
