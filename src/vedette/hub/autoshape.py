"""A hub model that takes pictures of any kind and gives results in their pixels (inference.md, section 8)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from vedette.core.display import display
from vedette.core.letterbox import LetterboxPolicy, rescale_boxes_yolov5, shared_frame_hw
from vedette.core.nms import NmsSettings
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import SizeHW
from vedette.errors import UsageError
from vedette.evaluate.protocol import YOLOV5_CLASS_OFFSET
from vedette.hub.backend import HubBackend
from vedette.hub.exported import ExportedModel
from vedette.hub.model import HubModel
from vedette.hub.pictures import Picture, read_pictures
from vedette.hub.results import Results, StageTimes
from vedette.infer.predictor import Predictor, PreparedPicture
from vedette.model.detector import Detector


class AutoShape(nn.Module):
    """Pictures in, :class:`vedette.hub.results.Results` out. Set the attributes to choose what is kept.

    Args:
        model: a hub model, which goes into evaluation mode; a detector; or an exported file.

    Attributes:
        conf: boxes with a score at or below it are left out, 0..1.
        iou: of two boxes of a class that overlap more, the weaker is left out, 0..1.
        agnostic: boxes of different classes suppress each other too.
        multi_label: a box may be several classes.
        classes: keep only these class ids; None: all; empty: nothing.
        max_det: at most so many boxes a picture.
        amp: on a GPU, compute in lower precision.
        allow_urls: fetch pictures given as http or https addresses.
        names: class id to name.
        stride: float tensor, of the levels.
        nc: number of classes.
        yaml: the architecture as plain values.
    """

    def __init__(self, model: HubModel | Detector | ExportedModel) -> None:
        super().__init__()
        if isinstance(model, Detector):
            model = HubModel(model, [f"class{number}" for number in range(model.classes)])
        self.model = model
        self.eval()
        self.conf = 0.25
        self.iou = 0.45
        self.agnostic = False
        self.multi_label = False
        self.classes: Sequence[int] | None = None
        self.max_det = 1000
        self.amp = False
        self.allow_urls = False
        self.names = model.names
        self.stride = model.stride
        self.nc = model.nc
        self.yaml = model.yaml

    def autoshape(self) -> AutoShape:
        """Itself."""
        return self

    @torch.no_grad()
    def forward(
        self,
        imgs: Picture | Sequence[Picture],
        size: int | tuple[int, int] = 640,
        augment: bool = False,
        profile: bool = False,
    ) -> Any:
        """Find objects.

        Args:
            imgs: a path, a Pillow picture, an RGB array [H, W, 3], [H, W] or [3, H, W], an address if
                ``allow_urls``; for a model of another picture format also an array of that; or a list of these. Or
                one tensor, floating [B, 3, H, W] in 0..1 with sides that are multiples of the stride: the network
                takes it as it is.
            size: what the longer side of each picture is scaled to; of a pair the longer side counts. An exported file
                that takes one size only uses that.
            augment: look at three sizes.
            profile: print what each layer costs.

        Returns:
            Results; for a tensor, what the model itself returns: (decoded predictions, raw levels).

        Raises:
            ImageError: a picture cannot be read.
            UsageError: a picture, size or attribute makes no sense.
            ModelError: the network's output is not a number.
        """
        # Exported files take and give arrays.
        weights = next(self.model.parameters(), torch.zeros(()))
        if isinstance(imgs, torch.Tensor):
            return self.model(imgs.to(weights), augment, profile)
        started = time.perf_counter()
        pictures = read_pictures(imgs, allow_urls=self.allow_urls, picture_format=self._picture_format)
        images = [image for image, _ in pictures]
        frame_hw = self._frame_hw([(image.shape[0], image.shape[1]) for image in images], size)
        predictor = self._predictor(frame_hw, augment=augment, profile=profile)
        prepared = [predictor.prepare(image, path=name) for image, name in pictures]
        frames = np.stack([picture.frame for picture in prepared])
        read = time.perf_counter()
        parts = predictor.run_in_parts(frames)
        inferred = time.perf_counter()
        kept = [picture for outputs in parts for picture in predictor.suppress(outputs)][: len(frames)]
        found = [torch.from_numpy(picture.detections) for picture in kept]
        rows = [
            _in_picture(boxes, picture).to(weights.device)
            for boxes, picture in zip(found, prepared, strict=True)
        ]
        times = StageTimes(read - started, inferred - read, time.perf_counter() - inferred)
        shown = [display(image) for image in images]
        shape = (len(images), self._picture_format.channels, *frame_hw)
        return Results(shown, rows, [name for _, name in pictures], times, self.names, shape)

    @property
    def _picture_format(self) -> PictureFormat:
        return RGB8 if isinstance(self.model, ExportedModel) else self.model.picture_format

    def _frame_hw(self, sizes_hw: list[SizeHW], size: int | tuple[int, int]) -> SizeHW:
        sides = size if isinstance(size, (tuple, list)) else (size,)
        if not sides or any(not isinstance(side, int) or side < 1 for side in sides):
            raise UsageError(f"{size!r:.40} is no size", where="size", fix="give whole pixels, such as 640")
        if isinstance(self.model, ExportedModel):
            return self.model.frame_hw or shared_frame_hw(sizes_hw, max(sides), self.model.max_stride)
        return shared_frame_hw(sizes_hw, max(sides), self.model.detector.max_stride)

    def _predictor(self, frame_hw: SizeHW, *, augment: bool, profile: bool) -> Predictor:
        """The attributes as they are now, as a predictor by the published rules."""
        nms = NmsSettings(
            conf_threshold=self.conf,
            iou_threshold=self.iou,
            class_ids=None if self.classes is None else tuple(int(number) for number in self.classes),
            agnostic=self.agnostic,
            multi_label=self.multi_label,
            max_detections=self.max_det,
            class_offset=YOLOV5_CLASS_OFFSET,
        )
        if isinstance(self.model, ExportedModel):
            if augment or profile:
                raise UsageError(
                    "an exported file has no layers to run again or to time",
                    fix="load the checkpoint instead",
                )
            return self.model.predictor(frame_hw, nms)
        backend = HubBackend(self.model, augment=augment, profile=profile, amp=self.amp)
        letterbox = LetterboxPolicy(
            size_hw=frame_hw,
            stride=self.model.detector.max_stride,
            picture_format=self._picture_format,
        )
        return Predictor(backend, letterbox, tuple(self.names[number] for number in range(self.nc)), nms)


def _in_picture(rows: torch.Tensor, picture: PreparedPicture) -> torch.Tensor:
    """Rows [n, 6] in pixels of the picture, mapped back as published: by the sizes, not by the rounded padding.

    Those that lie wholly in the padding, and so have no area in the picture, are left out.
    """
    placement = picture.placement
    boxes = rescale_boxes_yolov5(rows[:, :4], placement.frame_hw, placement.source_hw)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return torch.cat((boxes, rows[:, 4:]), 1)[inside]
