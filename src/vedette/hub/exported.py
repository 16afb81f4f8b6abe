"""An exported file behind the names that scripts know from torch.hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.types import SizeHW
from vedette.errors import UsageError
from vedette.infer.backends.exported import ExportedBackend
from vedette.infer.backends.files import open_file
from vedette.infer.predictor import Predictor


class ExportedModel(nn.Module):
    """A file of ONNX, OpenVINO or TorchScript; it has no layers and cannot be trained.

    Args:
        path: the file or folder.
        device: in the words of the file's runtime.

    Attributes:
        names: class id to name.
        nc: number of classes.
        stride: float tensor, of the levels.
        yaml: what the file says of itself, as plain values.

    Raises:
        CheckpointError: the file is not accepted.
        MissingExtraError: its runtime is not installed.
        UsageError: no such device.
    """

    def __init__(self, path: Path, device: str = "") -> None:
        super().__init__()
        opened = open_file(path, device=device)
        if not isinstance(opened.backend, ExportedBackend):
            raise UsageError("is a checkpoint, no exported file", where=path, fix="use HubModel")
        self._backend = opened.backend
        self._letterbox = opened.letterbox
        self.names = dict(enumerate(opened.class_names))
        self.nc = len(opened.class_names)
        self.stride = torch.tensor(self._backend.strides, dtype=torch.float32)
        self.yaml: dict[str, Any] = {**self._backend.contract.to_dict(), "golden": None}

    @property
    def max_stride(self) -> int:
        """Frame sides are multiples of it."""
        return max(self._backend.strides)

    @property
    def frame_hw(self) -> SizeHW | None:
        """The only frame size the file takes; None: any."""
        return self._backend.frame_hw

    def predictor(self, frame_hw: SizeHW, nms: NmsSettings) -> Predictor:
        """The file with a frame size and suppression; what is built into it comes before what is asked for."""
        built_in = self._backend.contract.nms
        if built_in is not None:
            nms = replace(
                built_in,
                conf_threshold=max(nms.conf_threshold, built_in.conf_threshold),
                max_detections=min(nms.max_detections, built_in.max_detections),
                class_ids=nms.class_ids,
            )
        letterbox = LetterboxPolicy(frame_hw, self.max_stride, pad_value=self._letterbox.pad_value)
        return Predictor(self._backend, letterbox, tuple(self.names.values()), nms)

    def forward(self, x: Tensor, augment: bool = False, profile: bool = False) -> tuple[Tensor, None]:
        """(Decoded predictions float32 [B, N, 5+C], None) of images, floating [B, 3, H, W] in 0..1.

        Raises:
            ModelError: images of a size that the file does not take, or it ends in suppression.
            UsageError: ``augment`` or ``profile``, which need the layers.
        """
        if augment or profile:
            raise UsageError(
                "an exported file has no layers to run again or to time", fix="load the checkpoint instead"
            )
        frames = (x.float() * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        outputs = self._backend.run(np.ascontiguousarray(frames.cpu().numpy()))
        return torch.from_numpy(outputs.decoded()), None
