"""Outputs of a network as arrays, and the way from each kind to detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.decode import HeadGeometry, cells_above, decode_chosen, logit_threshold
from vedette.core.nms import NmsSettings, Suppressed, suppress
from vedette.core.types import FloatArray
from vedette.errors import ModelError


@dataclass(frozen=True, slots=True)
class LevelOutputs:
    """Raw levels: only cells above the threshold are decoded.

    Attributes:
        levels: floating [B, A, 5+C, h, w], in the order of the head's strides; views will do.
        head: what their values mean.
    """

    levels: Sequence[NDArray[Any]]
    head: HeadGeometry

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        threshold = logit_threshold(settings.conf_threshold)
        chosen = [cells_above(level, threshold) for level in self.levels]
        decoded = decode_chosen(chosen, self.head, len(self.levels[0]))
        return [suppress(picture.rows, settings, picture.numbers) for picture in decoded]

    def decoded(self) -> FloatArray:
        """All rows, float32 [B, N, 5+C]."""
        pictures = len(self.levels[0])
        everything = [cells_above(level, -np.inf) for level in self.levels]
        found = decode_chosen(everything, self.head, pictures)
        return np.stack([picture.rows for picture in found])


@dataclass(frozen=True, slots=True)
class DecodedOutputs:
    """Decoded predictions, float32 [B, N, 5+C]."""

    predictions: FloatArray

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        return [suppress(picture, settings) for picture in self.predictions]

    def decoded(self) -> FloatArray:
        """The predictions."""
        return self.predictions


@dataclass(frozen=True, slots=True)
class FinalOutputs:
    """Detections of a network that ends in suppression.

    Attributes:
        detections: float32 [B, M, 6]: x1, y1, x2, y2, score, class; best first, the rest of M filled up with zeros.
        built_in: the settings that the network suppresses by.
    """

    detections: FloatArray
    built_in: NmsSettings

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """The detections that are above the threshold and of the classes asked for.

        Raises:
            ModelError: the settings ask for what the network has thrown away.
        """
        _check_against(settings, self.built_in)
        return [self._chosen(rows, settings) for rows in self.detections]

    def decoded(self) -> FloatArray:
        """Not told. Raises ModelError."""
        raise ModelError(
            "its network ends in suppression and gives no single predictions",
            fix="export it without suppression in the graph",
        )

    def _chosen(self, rows: FloatArray, settings: NmsSettings) -> Suppressed:
        wanted = rows[:, 4] > np.float32(settings.conf_threshold)
        if settings.class_ids is not None:
            wanted &= np.isin(rows[:, 5].astype(np.int64), settings.class_ids)
        kept = np.flatnonzero(wanted)[: settings.max_detections]
        broken = int((~np.isfinite(rows)).any(axis=1).sum())
        return Suppressed(rows[kept], kept, True, broken)


def _check_against(settings: NmsSettings, built_in: NmsSettings) -> None:
    """What the network suppresses by cannot be changed any more, only made stricter where that is the same."""
    problems = [
        f"{name} is {getattr(built_in, name)} in the file, not {getattr(settings, name)}"
        for name in ("iou_threshold", "agnostic", "multi_label", "class_offset", "merge")
        if getattr(settings, name) != getattr(built_in, name)
    ]
    for name, word in (("conf_threshold", "at least"), ("max_detections", "at most")):
        asked, there = getattr(settings, name), getattr(built_in, name)
        if (asked < there) if word == "at least" else (asked > there):
            problems.append(f"{name} must be {word} {there}")
    if built_in.class_ids is not None and not set(settings.class_ids or ()) <= set(built_in.class_ids):
        problems.append(f"it keeps classes {', '.join(map(str, built_in.class_ids))} only")
    if problems:
        raise ModelError(
            f"the network ends in its own suppression: {'; '.join(problems)}",
            fix="use its settings, or export it without suppression in the graph",
        )
