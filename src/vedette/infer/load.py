"""From files to a predictor, with the settings in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vedette.core.device import Precision
from vedette.core.letterbox import FrameShape
from vedette.core.nms import NmsSettings
from vedette.core.types import SizeHW
from vedette.errors import UsageError, nearest
from vedette.infer.assemble import Assembly, assemble
from vedette.infer.ensemble import EnsembleRule
from vedette.infer.tiling import AnyPredictor


def load(  # noqa: PLR0913 - all but one by keyword, in the words of the command line
    path: str | Path | Sequence[str | Path],
    *,
    device: str = "",
    precision: Precision = "float32",
    compile: bool = False,
    image_size: int | SizeHW | None = None,
    letterbox: FrameShape | None = None,
    conf_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    classes: Sequence[int | str] | None = None,
    agnostic_nms: bool = False,
    multi_label: bool = True,
    max_detections: int = 300,
    augment: bool = False,
    ensemble: EnsembleRule = "nms",
    ensemble_weights: Sequence[float] | None = None,
    tile: int | SizeHW | None = None,
    overlap: float = 0.2,
    tile_whole: bool = True,
) -> AnyPredictor:
    """A trained detector, ready for pictures: ``load("best.safetensors").predict([read_image("a.jpg")])``.

    Args:
        path: a checkpoint or exported file; or several, which are an ensemble.
        device: "cpu", "0", "cuda:0" or "mps"; "": the first GPU, else the CPU.
        precision: number format of the network.
        compile: run checkpoints through torch.compile (:mod:`vedette.infer.backends.compiled`).
        image_size: of the frame, one number or (height, width); None: what it was trained for.
        letterbox: how a picture is put into the frame; None: as it was trained.
        conf_threshold: boxes with a score at or below it are left out.
        iou_threshold: of two boxes of a class that overlap more, the weaker is left out.
        classes: keep only these, by id or name; None: all.
        agnostic_nms: boxes of different classes suppress each other too.
        multi_label: a box may be several classes.
        max_detections: at most so many boxes a picture.
        augment: look at every picture three times, at three sizes, once mirrored.
        ensemble: how the answers of several files become one: one suppression, or weighted box fusion ("wbf").
        ensemble_weights: with "wbf", how much each file counts; None: all the same.
        tile: size of tiles that large pictures are looked at in, one number or (height, width); None: no tiles.
        overlap: of neighbouring tiles, as a part of their side, 0..0.9.
        tile_whole: look at the whole picture besides its tiles.

    Returns:
        A :class:`Predictor`; with ``tile`` a :class:`TiledPredictor`, which takes the same calls.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
        UsageError: there is no such device, precision or class.
        ModelError: a threshold or size is out of range.
    """
    predictor = assemble(
        Assembly(
            (path,) if isinstance(path, (str, Path)) else tuple(path),
            device=device,
            precision=precision,
            compile=compile,
            image_size=_size_hw(image_size),
            letterbox=letterbox,
            augment=augment,
            ensemble=ensemble,
            ensemble_weights=None if ensemble_weights is None else tuple(ensemble_weights),
            tile=_size_hw(tile),
            overlap=overlap,
            tile_whole=tile_whole,
        )
    )
    nms = NmsSettings(
        conf_threshold=conf_threshold,
        iou_threshold=iou_threshold,
        class_ids=None if classes is None else _class_ids(classes, predictor.class_names),
        agnostic=agnostic_nms,
        multi_label=multi_label,
        max_detections=max_detections,
    )
    return predictor.with_settings(nms=nms)


def _size_hw(size: int | SizeHW | None) -> SizeHW | None:
    return (size, size) if isinstance(size, int) else size


def _class_ids(classes: Sequence[int | str], class_names: Sequence[str]) -> tuple[int, ...]:
    unknown = [name for name in classes if isinstance(name, str) and name not in class_names]
    if unknown:
        raise UsageError(
            "there is no such class", where=f"class '{unknown[0]:.80}'", fix=nearest(unknown[0], class_names)
        )
    return tuple(class_names.index(name) if isinstance(name, str) else int(name) for name in classes)
