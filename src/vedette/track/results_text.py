"""``results.txt``: the published 15 columns, for scripts that people have around them.

Specification experiment-tracking.md section 2; golden 24.
"""

from __future__ import annotations

from pathlib import Path

from vedette.track.events import EpochDone, Event, LengthChanged, Row, RunStarted

_TRAINING = ("train/box_loss", "train/obj_loss", "train/cls_loss")
_MEASURED = (
    *("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
    *("val/box_loss", "val/obj_loss", "val/cls_loss"),
)


class ResultsText:
    """Keeps ``results.txt`` equal to the history of the run; the length is the one that is planned now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._epochs = 0

    def handle(self, event: Event) -> None:
        """Rewrite the table when an epoch ended."""
        if isinstance(event, RunStarted | LengthChanged):
            self._epochs = event.epochs
        if isinstance(event, EpochDone) or (isinstance(event, RunStarted) and event.history):
            partial = self._path.with_name(self._path.name + ".partial")
            lines = [results_line(row, self._epochs) for row in event.history]
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
            partial.replace(self._path)

    def close(self) -> None:
        """Nothing is held open."""


def results_line(row: Row, epochs: int) -> str:
    """One row of ``results.csv`` as a line of 15 columns; what was not measured is 0, as published.

    Columns: epoch/last epoch, GPU memory, box, obj, cls and total loss, targets and frame width of the last batch, P,
    R, AP50, AP, and box, obj and cls loss on the validation split.
    """
    losses = [_number(row, name) for name in _TRAINING]
    numbers = [*losses, sum(losses), _number(row, "targets"), _number(row, "frame_width")]
    numbers += [_number(row, name) for name in _MEASURED]
    texts = [f"{int(_number(row, 'epoch'))}/{epochs - 1}", f"{_number(row, 'gpu_gb'):.3g}G"]
    return "".join([f"{text:>10}" for text in texts] + [f"{number:10.4g}" for number in numbers])


def _number(row: Row, name: str) -> float:
    return float(row.get(name) or 0.0)
