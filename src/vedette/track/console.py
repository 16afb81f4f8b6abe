"""The run on the terminal: a progress bar inside an epoch, one line for each epoch."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from vedette.track.durations import format_seconds
from vedette.track.events import (
    EpochDone,
    Event,
    LengthChanged,
    Note,
    RunFinished,
    RunStarted,
    StepDone,
)

_COLUMNS = ("epoch", "box", "obj", "cls", "P", "R", "AP50", "AP", "img/s", "wait", "left")
_WIDTHS = (9, 8, 8, 8, 7, 7, 7, 7, 7, 5, 8)
_PUBLISHED = {
    "box": "train/box_loss",
    "obj": "train/obj_loss",
    "cls": "train/cls_loss",
    "P": "metrics/precision",
    "R": "metrics/recall",
    "AP50": "metrics/mAP_0.5",
    "AP": "metrics/mAP_0.5:0.95",
}


class ConsoleTracker:
    """Shows a run. On a terminal with a moving bar; into a file or pipe one line an epoch."""

    immediate = True

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._batches = 0
        self._last_step: StepDone | None = None

    def handle(self, event: Event) -> None:
        """Show ``event``."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)
        elif isinstance(event, LengthChanged):
            self._epochs = event.epochs
            self._stop_bar()
            self._console.print(escape(event.reason))
        elif isinstance(event, Note):
            mark = "[yellow]warning:[/yellow] " if event.level == "warning" else ""
            self._console.print(mark + escape(event.text))
        elif isinstance(event, RunFinished):
            self._stop_bar()

    def close(self) -> None:
        """Give the terminal back."""
        self._stop_bar()

    def _start(self, event: RunStarted) -> None:
        self._epochs, self._batches = event.epochs, event.batches_per_epoch
        facts = event.facts
        for name in ("model", "start", "data", "device", "recipe"):
            if name in facts:
                self._console.print(f"[bold]{name:>7}[/bold]  {escape(str(facts[name]))}")
        self._console.print(f"[bold]{'run':>7}[/bold]  {escape(str(event.folder))}")
        if event.step:
            self._console.print(f"[bold]{'resume':>7}[/bold]  after {event.step} batches")
        header = "".join(f"{name:>{width}}" for name, width in zip(_COLUMNS, _WIDTHS, strict=True))
        self._console.print(f"\n[bold]{header}[/bold]")

    def _step(self, event: StepDone) -> None:
        self._last_step = event
        if not self._console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=self._batches, facts="")
            self._progress.start()
        losses = "  ".join(f"{name} {value:.4f}" for name, value in event.losses.items())
        assert self._task is not None
        self._progress.update(
            self._task,
            description=f"epoch {event.epoch + 1}/{self._epochs}",
            completed=event.batch,
            facts=f"{losses}  {event.images_per_second:.0f} img/s  wait {event.data_wait:.0%}  "
            f"left {format_seconds(event.seconds_left)}",
        )

    def _epoch(self, event: EpochDone) -> None:
        self._stop_bar()
        row, last = event.row, self._last_step
        cells = [f"{int(row['epoch'] or 0) + 1}/{self._epochs}"]
        cells += [_number(row.get(_PUBLISHED[name])) for name in _COLUMNS[1:8]]
        cells += [f"{row.get('images_per_second') or 0:.0f}", f"{row.get('data_wait') or 0:.0%}"]
        cells.append(format_seconds(last.seconds_left) if last else "")
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        self._console.print(line + ("  best" if event.best else ""))

    def _stop_bar(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4f}"
