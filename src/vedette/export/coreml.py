"""Core ML: the network as an ML program for Apple's systems, with a picture as its input."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vedette.checkpoint.contract import CONTRACT_NAME, ExportContract
from vedette.core.types import SizeHW
from vedette.errors import MissingExtraError, WriteError
from vedette.export.job import ExportJob
from vedette.export.planar import PlanarDetector

INPUT_NAME = "frames"
_MAX_SIDE_STRIDES = 128
_DEBUG_FILE = "executorch_debug_handle_mapping.json"


def write(job: ExportJob, path: Path) -> None:
    """Write a package (a folder whose name ends in ``.mlpackage``).

    Raises:
        MissingExtraError: coremltools is not installed.
        WriteError: it could not be written.
    """
    network = PlanarDetector(job.detector)
    model = convert_coreml(network, job.example_hw, job.contract)
    model.user_defined_metadata[CONTRACT_NAME] = job.contract.to_json()
    try:
        model.save(str(path))
        (path / _DEBUG_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror or error})", where=path) from None


def convert_coreml(network: PlanarDetector, example_hw: SizeHW, contract: ExportContract) -> Any:
    """The network as a ``coremltools.models.MLModel`` of macOS 13 and iOS 16.

    Args:
        network: with planes as output.
        example_hw: size of the frames, or the usual one if the contract leaves it open.
        contract: says whether it does, and float32 or fp16: what the Neural Engine computes in.

    Raises:
        MissingExtraError: coremltools is not installed.
    """
    with _quiet():
        try:
            import coremltools
        except ImportError:
            raise MissingExtraError("coremltools", "export-coreml", "export to coreml") from None
        stride, channels = network.frames.max_stride, network.frames.channels
        height, width, dimensions = *example_hw, {}
        sides: list[Any] = [height, width]
        if contract.frame_hw is None:
            rows, columns = (
                torch.export.Dim(name, min=1, max=_MAX_SIDE_STRIDES) for name in ("rows", "columns")
            )
            dimensions = {2: stride * rows, 3: stride * columns}
            # Sizes that are alike would be taken for one.
            height, width = 2 * stride, 3 * stride
            sides = [
                coremltools.RangeDim(stride, stride * _MAX_SIDE_STRIDES, default=side) for side in example_hw
            ]
        example = torch.zeros(1, channels, height, width)
        with torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=(dimensions,))
        return coremltools.convert(
            program.run_decompositions({}),
            inputs=[
                coremltools.ImageType(
                    INPUT_NAME, shape=(1, channels, *sides), color_layout=coremltools.colorlayout.RGB
                )
            ],
            outputs=[coremltools.TensorType(name) for name in network.frames.output_names],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=getattr(
                coremltools.precision, "FLOAT16" if contract.precision == "fp16" else "FLOAT32"
            ),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of versions that the package was not tested with; the exported file is what is tested."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
