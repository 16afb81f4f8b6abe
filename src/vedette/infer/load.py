"""From a file to a predictor, with the settings in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vedette.core.device import Precision
from vedette.core.letterbox import FrameShape
from vedette.core.nms import NmsSettings
from vedette.core.types import SizeHW
from vedette.errors import UsageError, nearest
from vedette.infer.predictor import Predictor


def load(  # noqa: PLR0913 - all but one by keyword, in the words of the command line
    path: str | Path,
    *,
    device: str = "",
    precision: Precision = "float32",
    image_size: int | SizeHW | None = None,
    letterbox: FrameShape | None = None,
    conf_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    classes: Sequence[int | str] | None = None,
    agnostic_nms: bool = False,
    multi_label: bool = True,
    max_detections: int = 300,
) -> Predictor:
    """A trained detector, ready for pictures: ``load("best.safetensors").predict([read_image("a.jpg")])``.

    Args:
        path: a checkpoint.
        device: "cpu", "0", "cuda:0" or "mps"; "": the first GPU, else the CPU.
        precision: number format of the network.
        image_size: of the frame, one number or (height, width); None: what it was trained for.
        letterbox: how a picture is put into the frame; None: as it was trained.
        conf_threshold: boxes with a score at or below it are left out.
        iou_threshold: of two boxes of a class that overlap more, the weaker is left out.
        classes: keep only these, by id or name; None: all.
        agnostic_nms: boxes of different classes suppress each other too.
        multi_label: a box may be several classes.
        max_detections: at most so many boxes a picture.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
        UsageError: there is no such device, precision or class.
        ModelError: a threshold or size is out of range.
    """
    predictor = Predictor.from_file(path, device=device, precision=precision)
    size_hw = (image_size, image_size) if isinstance(image_size, int) else image_size
    policy = replace(
        predictor.letterbox,
        size_hw=size_hw or predictor.letterbox.size_hw,
        shape=letterbox or predictor.letterbox.shape,
    )
    nms = NmsSettings(
        conf_threshold=conf_threshold,
        iou_threshold=iou_threshold,
        class_ids=None if classes is None else _class_ids(classes, predictor.class_names),
        agnostic=agnostic_nms,
        multi_label=multi_label,
        max_detections=max_detections,
    )
    return predictor.with_settings(nms=nms, letterbox=policy)


def _class_ids(classes: Sequence[int | str], class_names: Sequence[str]) -> tuple[int, ...]:
    unknown = [name for name in classes if isinstance(name, str) and name not in class_names]
    if unknown:
        raise UsageError(
            "there is no such class", where=f"class '{unknown[0]:.80}'", fix=nearest(unknown[0], class_names)
        )
    return tuple(class_names.index(name) if isinstance(name, str) else int(name) for name in classes)
