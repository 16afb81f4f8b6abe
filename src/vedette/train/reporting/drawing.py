"""Draws the plots and pictures of a run and tells the trackers of them. Nothing here can stop or change a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from vedette.core.types import Batch
from vedette.evaluate.pictures import draw_pictures
from vedette.evaluate.plots import draw_all
from vedette.evaluate.result import Evaluation
from vedette.track.events import PicturesSaved
from vedette.track.label_plots import draw_anchors, draw_labels, draw_labels_correlogram, label_statistics
from vedette.track.plots import draw_learning_rate, draw_results
from vedette.train.events import Emitter
from vedette.train.reporting.pictures import draw_batch
from vedette.train.reporting.report import write_run_report
from vedette.train.start.anchor_choice import box_sizes

if TYPE_CHECKING:
    from vedette.model.detector import Detector
    from vedette.train.setup import Setup

DRAWN_BATCHES: Final = 3

_SCHEDULE_POINTS = 400


class RunDrawing:
    """The plots and pictures of one run, in its folder ``plots``.

    Each group of files is followed by a :class:`PicturesSaved`. What cannot be drawn is a warning. With
    ``--noplots``, and on all ranks but the first, nothing is drawn; the report is written without pictures.
    """

    def __init__(self, setup: Setup, emitter: Emitter) -> None:
        self._setup = setup
        self._emitter = emitter
        self._folder = setup.files.plots
        self._on = not setup.config.noplots and setup.rules.ranks.first

    def begin(self) -> None:
        """Draw what the training split and the anchors are like; a resumed run has that already."""
        if not (self._folder / "anchors.png").is_file():
            self._draw("labels", self._labels)

    def batch(self, step: int, batch: Batch) -> None:
        """Draw one of the first training batches; ``step`` counts them from 0."""
        if step >= DRAWN_BATCHES:
            return
        last = step == min(DRAWN_BATCHES, self._setup.rules.schedule.iterations) - 1
        path = self._folder / f"train_batch{step}.jpg"

        def draw() -> list[Path]:
            draw_batch(batch, self._setup.class_names, path)
            return sorted(self._folder.glob("train_batch*.jpg")) if last else []

        self._draw("train_batches", draw)

    def interrupted(self) -> None:
        """Draw the curves of a run that stops before its end."""
        self._draw("results", self._curves)

    def end(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        """Draw the curves and what the last evaluation found, and write the report."""
        self._draw("validation", lambda: draw_pictures(evaluation, self._folder))
        self._draw("results", lambda: [*self._curves(), *draw_all(evaluation, self._folder)])
        if self._setup.rules.ranks.first:
            self._try("the report", lambda: write_run_report(self._setup, summary, evaluation))

    def _draw(self, group: str, job: Callable[[], Sequence[Path]]) -> None:
        if not self._on:
            return
        paths = self._try(f"plots and pictures ({group})", job)
        if paths:
            self._emitter.emit(PicturesSaved(group, tuple(paths)))

    def _try(self, what: str, job: Callable[[], Any]) -> Any:
        """What the job returns; None if it failed, of which only a warning tells."""
        try:
            return job()
        except Exception as error:  # whatever a drawing library raises, the run goes on
            self._emitter.note(f"{what} could not be made ({type(error).__name__}: {error})", "warning")
            return None

    def _labels(self) -> list[Path]:
        setup, index = self._setup, self._setup.train_index
        kept = ~index.ignored
        picture = np.repeat(np.arange(len(index)), np.diff(index.offsets))[kept]
        statistics = label_statistics(
            index.class_names,
            index.class_ids[kept],
            index.boxes_xyxy_px[kept],
            index.sizes_hw,
            np.bincount(picture, minlength=len(index)),
        )
        head = cast("Detector", setup.state.model).head
        strides = [int(stride) for stride in head.strides]
        anchors = [
            [(float(width * stride), float(height * stride)) for width, height in level.tolist()]
            for level, stride in zip(head.anchors.cpu(), strides, strict=True)
        ]
        return [
            draw_labels(statistics, self._folder / "labels.png"),
            draw_labels_correlogram(statistics, self._folder / "labels_correlogram.png"),
            draw_anchors(
                box_sizes(index, setup.letterbox.size_hw),
                anchors,
                strides,
                setup.files.hyperparameters.anchor_t,
                self._folder / "anchors.png",
            ),
        ]

    def _curves(self) -> list[Path]:
        progress, schedule = self._setup.state.progress, self._setup.rules.schedule
        history = progress.rows()
        if not history:
            return []
        steps = np.unique(np.linspace(0, progress.step - 1, min(progress.step, _SCHEDULE_POINTS)).astype(int))
        settings = [schedule.at(int(step)) for step in steps]
        return [
            draw_results({self._setup.files.folder.name: history}, self._folder / "results.png"),
            draw_learning_rate(
                [float(step) / schedule.batches_per_epoch for step in steps],
                [setting.learning_rates for setting in settings],
                [setting.momentum for setting in settings],
                self._folder / "learning_rate.png",
            ),
        ]
