"""What people see of a run."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from vedette.track.console import ConsoleTracker
from vedette.track.events import EpochDone, Note, RunFinished, RunStarted, StepDone

ROW = {
    "epoch": 0,
    "train/box_loss": 0.1,
    "train/obj_loss": 0.2,
    "train/cls_loss": 0.3,
    "metrics/precision": 0.5,
    "metrics/recall": None,
    "metrics/mAP_0.5": 0.625,
    "metrics/mAP_0.5:0.95": 0.25,
    "images_per_second": 12.0,
    "data_wait": 0.05,
}


def _show(terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=140, highlight=False)
    tracker = ConsoleTracker(console)
    tracker.handle(RunStarted(Path("runs/train/exp"), {}, {}, {"model": "yolov5n [red]"}, 3, 10, 4))
    tracker.handle(Note("2 label rows left out [x]", "warning"))
    tracker.handle(StepDone(1, 0, 1, {"box": 0.1}, 20.0, 0.1, 65.0))
    tracker.handle(EpochDone(10, ROW, (ROW,), best=True))
    tracker.handle(RunFinished({}, (ROW,)))
    tracker.close()
    return stream.getvalue()


def test_a_pipe_gets_one_line_an_epoch() -> None:
    lines = _show(terminal=False).splitlines()
    (epoch,) = [line for line in lines if line.endswith("best")]
    cells = [
        "1/3",
        "0.1000",
        "0.2000",
        "0.3000",
        "0.5000",
        "-",
        "0.6250",
        "0.2500",
        "12",
        "5%",
        "1m05s",
        "best",
    ]
    assert epoch.split() == cells
    assert "yolov5n [red]" in "\n".join(lines), "names are shown as they are, not as markup"
    assert "warning: 2 label rows left out [x]" in lines
    assert any("after 4 batches" in line for line in lines)


def test_a_terminal_gets_a_bar() -> None:
    assert "epoch 1/3" in _show(terminal=True)
