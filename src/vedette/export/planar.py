"""The network for runtimes whose pictures are planes of floating numbers: ncnn, Core ML, ExecuTorch."""

from __future__ import annotations

from torch import Tensor, nn

from vedette.model.detector import Detector
from vedette.model.frame_detector import FrameDetector, Output


class PlanarDetector(nn.Module):
    """A ``FrameDetector`` that takes its frames as planes; the division by 255 is in the network all the same.

    Columns are not paired: that pays where the channels of a pixel lie together.

    Args:
        detector: the detector.
        output: as of ``FrameDetector``.

    Attributes:
        frames: the network.
    """

    def __init__(self, detector: Detector, output: Output = "planes") -> None:
        super().__init__()
        self.frames = FrameDetector(detector, output, paired=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Floating [B, channels, H, W], 0..255 -> as of ``FrameDetector``."""
        return self.frames.from_planes(images)
