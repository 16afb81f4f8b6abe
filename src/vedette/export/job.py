"""What the writer of a format is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.contract import ExportContract
from vedette.core.types import SizeHW
from vedette.model.detector import Detector
from vedette.model.frame_detector import FrameDetector, Output


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One file to write.

    Attributes:
        detector: float32, on the CPU, not fused.
        contract: what the file must carry, and what its shapes, precision and output must be.
        opset: of ONNX; 0: the newest that runtimes of the last years read.
        calibration: uint8 [n, H, W, 3], frames to measure int8 ranges on; None for other precisions.
    """

    detector: Detector
    contract: ExportContract
    opset: int = 0
    calibration: NDArray[np.uint8] | None = None

    def network(self) -> FrameDetector:
        """The network of the file, in float32, before any suppression in the file."""
        network = FrameDetector(self.detector, frame_output(self.contract))
        if self.contract.precision == "fp16":
            network.shrink_frames()
        if self.contract.features is not None:
            network.layers = self.contract.features.layers
        return network

    @property
    def example_shape(self) -> tuple[int, int, int, int]:
        """Shape [B, H, W, 3] of frames to trace with; where a side is open, any that is allowed."""
        height, width = self.example_hw
        return (self.contract.batch_size or 1, height, width, 3)

    @property
    def example_hw(self) -> SizeHW:
        """Size of these frames."""
        return self.contract.frame_hw or self.contract.letterbox.size_hw


def frame_output(contract: ExportContract) -> Output:
    """What the network of a file gives, before any suppression in the file."""
    return "predictions" if contract.output == "detections" else contract.output
