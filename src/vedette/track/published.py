"""Names under which trackers show a run: the 13 published scalars and the titles of picture groups."""

from __future__ import annotations

from pathlib import Path

from vedette.track.events import Row

SCALAR_TAGS = (
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
)
"""Columns of ``results.csv`` that every tracker gets once an epoch (experiment-tracking.md section 3)."""

BEST_TAGS = {
    "best/precision": "metrics/precision",
    "best/recall": "metrics/recall",
    "best/mAP_0.5": "metrics/mAP_0.5",
    "best/mAP_0.5:0.95": "metrics/mAP_0.5:0.95",
}
"""Summary name -> the scalar whose value at the best epoch it holds (section 4.4)."""

GROUP_TITLES = {
    "labels": "Labels",
    "train_batches": "Mosaics",
    "validation": "Validation",
    "results": "Results",
}
"""Group of ``PicturesSaved`` -> its published title."""

PROJECT = "vedette"
_DEFAULT_PROJECT_FOLDER = "runs/train"


def scalars(row: Row) -> dict[str, float]:
    """The published scalars of an epoch that were measured, in their published order."""
    return {tag: float(value) for tag in SCALAR_TAGS if (value := row.get(tag)) is not None}


def best_scalars(row: Row) -> dict[str, float]:
    """What is known about the best epoch, given its row; epochs are counted from 0, as in ``results.csv``."""
    found = {name: float(value) for name, tag in BEST_TAGS.items() if (value := row.get(tag)) is not None}
    return {"best/epoch": int(row["epoch"] or 0), **found}


def project_name(project_folder: str) -> str:
    """``vedette`` for the default folder of runs, else the stem of its last component (section 4.2)."""
    if Path(project_folder) == Path(_DEFAULT_PROJECT_FOLDER):
        return PROJECT
    return Path(project_folder).resolve().stem or PROJECT
