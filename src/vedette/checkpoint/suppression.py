"""Settings of suppression as JSON."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from vedette.checkpoint.strict_json import Fields
from vedette.core.nms import NmsSettings

_MAX_CLASSES = 10_000


def nms_to_dict(settings: NmsSettings) -> dict[str, Any]:
    """Suppression as JSON."""
    values = asdict(settings)
    return {**values, "class_ids": None if settings.class_ids is None else list(settings.class_ids)}


def nms_from_fields(parent: Fields, key: str) -> NmsSettings:
    """Suppression as of :func:`nms_to_dict`. Raises CheckpointError."""
    read = parent.record(key, [field.name for field in fields(NmsSettings)])
    ids = read.absent("class_ids")
    return NmsSettings(
        conf_threshold=read.number("conf_threshold", 0, 1),
        iou_threshold=read.number("iou_threshold", 0, 1),
        class_ids=None if ids else read.whole_numbers("class_ids", (0, _MAX_CLASSES), 0, _MAX_CLASSES),
        agnostic=read.flag("agnostic"),
        multi_label=read.flag("multi_label"),
        max_candidates=read.whole("max_candidates", 1, 10**9),
        max_detections=read.whole("max_detections", 1, 10**6),
        class_offset=None if read.absent("class_offset") else read.number("class_offset", 0, 1e9),
        merge=read.flag("merge"),
    )
