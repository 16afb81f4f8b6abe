"""What a run tells its trackers, and what a tracker is.

Events are plain frozen records. A tracker is any object with the two methods of :class:`Tracker`; whatever it
raises is reported once and never stops or changes a run (see :mod:`vedette.train.events`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vedette.core.picture_format import RGB8, PictureFormat

Row = Mapping[str, float | int | None]
"""One line of ``results.csv``: column name to value, None where nothing was measured."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins, or goes on after an interruption (``step`` > 0)."""

    folder: Path
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    facts: Mapping[str, Any]
    """What was found out: model, parameters, pictures, classes, device, precision, optimizer steps, ..."""
    epochs: int
    batches_per_epoch: int
    step: int
    history: tuple[Row, ...] = ()
    """Rows of the epochs that a resumed run has already done."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The data set: ``name``, ``description``, ``class_names``, ``class_counts`` (training boxes of each class),
    ``splits`` (name -> ``pictures``, ``folders``, ``content_hash``)."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """Progress inside an epoch; sent a few times a second, not for every step."""

    step: int
    epoch: int
    batch: int
    """Batches of this epoch that are done, 1-based."""
    losses: Mapping[str, float]
    """Running means over the epoch: box, obj, cls."""
    images_per_second: float
    data_wait: float
    """Share of the time spent waiting for pictures, 0..1."""
    seconds_left: float
    """Estimate for the rest of the run."""


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch ended and, where that was due, the model was measured."""

    step: int
    row: Row
    history: tuple[Row, ...]
    """All rows so far, this one last."""
    best: bool


@dataclass(frozen=True, slots=True)
class LengthChanged:
    """The run will have another number of epochs than planned so far; it may be over."""

    step: int
    epochs: int
    """Of the whole run."""
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth reading: a warning, a saved file, left-out labels."""

    text: str
    level: str = "info"
    """``info`` or ``warning``."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WeightsSaved:
    """A deployable checkpoint was written; it may be replaced later, so a tracker that keeps it copies it now."""

    path: Path
    epoch: int
    """0-based."""
    aliases: tuple[str, ...]
    """``last``, ``best``, ``epoch-3`` (1-based), ``final``."""
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PicturesSaved:
    """Plots or drawn pictures of one group were written."""

    group: str
    """``labels``, ``train_batches``, ``validation`` or ``results``."""
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """One validation picture with what is in it and what was found."""

    path: Path
    size_hw: tuple[int, int]
    true_boxes: tuple[Mapping[str, Any], ...]
    """Each ``box_xyxy`` in pixels of the picture, ``class_id``, ``class_name``."""
    found_boxes: tuple[Mapping[str, Any], ...]
    """The same with ``score``."""
    picture_format: PictureFormat = RGB8
    """As which it was read."""


@dataclass(frozen=True, slots=True)
class PicturesFound:
    """Validation pictures with boxes, at the end of an epoch for which they were asked."""

    step: int
    epoch: int
    class_names: tuple[str, ...]
    pictures: tuple[FoundPicture, ...]


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run ended; ``summary`` is what ``summary.json`` holds."""

    summary: Mapping[str, Any]
    history: tuple[Row, ...]


Event = (
    RunStarted
    | StepDone
    | EpochDone
    | LengthChanged
    | Note
    | WeightsSaved
    | PicturesSaved
    | PicturesFound
    | RunFinished
)


class Tracker(Protocol):
    """Receives the events of one run, in order.

    It is called in a thread of its own (:mod:`vedette.track.background`), so it may take its time, and must not
    use torch. A tracker with an attribute ``immediate = True`` is called in the thread of the trainer, which
    waits for it.
    """

    def handle(self, event: Event) -> None:
        """Take note of ``event``."""

    def close(self) -> None:
        """The run is over, whatever its end: flush and release."""
