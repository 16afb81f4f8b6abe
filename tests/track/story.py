"""The events of a short run, as a trainer would send them, with real files behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vedette.track.events import (
    EpochDone,
    Event,
    FoundPicture,
    Note,
    PicturesFound,
    PicturesSaved,
    Row,
    RunFinished,
    RunStarted,
    StepDone,
    WeightsSaved,
)

CLASS_NAMES = ("red", "blue cell")
BATCHES = 10


def row(epoch: int, ap: float | None = 0.25) -> dict[str, float | int | None]:
    """A line of results.csv; every figure is another number."""
    return {
        "epoch": epoch,
        "train/box_loss": 0.5 + epoch,
        "train/obj_loss": 0.625 + epoch,
        "train/cls_loss": 0.75 + epoch,
        "metrics/precision": None if ap is None else ap + 0.125,
        "metrics/recall": None if ap is None else ap + 0.25,
        "metrics/mAP_0.5": None if ap is None else ap + 0.375,
        "metrics/mAP_0.5:0.95": ap,
        "val/box_loss": 1.5 + epoch,
        "val/obj_loss": 1.625 + epoch,
        "val/cls_loss": 1.75 + epoch,
        "x/lr0": 0.01,
        "x/lr1": 0.02,
        "x/lr2": 0.03,
        "images": 48,
    }


def started(folder: Path, *history: Row) -> RunStarted:
    """The beginning of a run, or of its second part if there is a history."""
    pictures = folder / "data" / "train"
    pictures.mkdir(parents=True, exist_ok=True)
    return RunStarted(
        folder=folder,
        config={"epochs": 2, "device": "cpu"},
        hyperparameters={"lr0": 0.01, "box": 0.05},
        facts={"model": "tiny, 1,000 parameters"},
        epochs=2,
        batches_per_epoch=BATCHES,
        step=BATCHES * len(history),
        history=history,
        data={
            "name": "two classes",
            "description": str(folder / "data" / "two.yaml"),
            "class_names": list(CLASS_NAMES),
            "class_counts": [5, 3],
            "splits": {"train": {"pictures": 1, "folders": [str(pictures)], "content_hash": "ab" * 32}},
        },
    )


def epoch_done(epoch: int, *, best: bool = False, ap: float | None = 0.25) -> EpochDone:
    """The end of an epoch."""
    history = tuple(row(number) for number in range(epoch + 1))
    return EpochDone(BATCHES * (epoch + 1), row(epoch, ap), history, best)


def picture(path: Path, size_hw: tuple[int, int] = (64, 96)) -> Path:
    """A picture file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(3).integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def weights_saved(folder: Path, epoch: int, aliases: tuple[str, ...], content: bytes) -> WeightsSaved:
    """A checkpoint, which the next one replaces."""
    path = folder / "weights" / "last.safetensors"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return WeightsSaved(path, epoch, aliases, {"fitness": 0.5, "save_period": -1})


def found(folder: Path, epoch: int) -> PicturesFound:
    """One picture of twice the size that is shown, with a true and two found boxes."""
    red: dict[str, Any] = {"class_id": 0, "class_name": CLASS_NAMES[0]}
    blue: dict[str, Any] = {"class_id": 1, "class_name": CLASS_NAMES[1]}
    shown = FoundPicture(
        path=picture(folder / "data" / "val" / "000.png", (640, 1280)),
        size_hw=(640, 1280),
        true_boxes=({"box_xyxy": [100.0, 100.0, 300.0, 200.0], **red},),
        found_boxes=(
            {"box_xyxy": [104.0, 96.0, 304.0, 200.0], **red, "score": 0.9},
            {"box_xyxy": [500.0, 300.0, 700.0, 400.0], **blue, "score": 0.125},
        ),
    )
    return PicturesFound(BATCHES * (epoch + 1), epoch, CLASS_NAMES, (shown,))


def whole_story(folder: Path) -> list[Event]:
    """Two epochs with everything there is; checkpoints have to be taken as they come."""
    plots = folder / "plots"
    return [
        started(folder),
        PicturesSaved("labels", (picture(plots / "labels.jpg"),)),
        Note("a note"),
        StepDone(1, 0, 1, {"box": 0.5}, 10.0, 0.0, 5.0),
        PicturesSaved("train_batches", (picture(plots / "train_batch0.jpg"),)),
        epoch_done(0, best=True),
        weights_saved(folder, 0, ("last", "best", "epoch-1"), b"first"),
        found(folder, 1),
        epoch_done(1, ap=None),
        PicturesSaved("results", (picture(plots / "results.png"),)),
        RunFinished({"ap": 0.25}, (row(0), row(1, None))),
    ]
