"""Drawing follows a run, tells the trackers, and never stops it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from vedette.core.types import Batch
from vedette.track.events import Event, Note, PicturesSaved
from vedette.train.events import Emitter
from vedette.train.reporting import drawing


class _Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def _run_drawing(
    folder: Path, *, noplots: bool = False, first: bool = True, iterations: int = 9
) -> tuple[drawing.RunDrawing, _Recorder]:
    setup: Any = SimpleNamespace(
        files=SimpleNamespace(plots=folder),
        config=SimpleNamespace(noplots=noplots),
        rules=SimpleNamespace(
            ranks=SimpleNamespace(first=first), schedule=SimpleNamespace(iterations=iterations)
        ),
        class_names=("a",),
    )
    recorder = _Recorder()
    return drawing.RunDrawing(setup, Emitter([recorder])), recorder


def _batch() -> Batch:
    box = torch.tensor([[0, 0, 0.5, 0.5, 0.4, 0.4]])
    return Batch(torch.zeros(2, 3, 32, 48, dtype=torch.uint8), box, box[:0], torch.arange(2))


@pytest.mark.parametrize(("iterations", "drawn"), [(9, 3), (2, 2)])
def test_the_first_batches_are_drawn_and_told_of_together(
    tmp_path: Path, iterations: int, drawn: int
) -> None:
    drawer, recorder = _run_drawing(tmp_path, iterations=iterations)
    for step in range(iterations):
        drawer.batch(step, _batch())
    paths = tuple(tmp_path / f"train_batch{step}.jpg" for step in range(drawn))
    assert recorder.events == [PicturesSaved("train_batches", paths)]
    assert sorted(tmp_path.iterdir()) == list(paths)


@pytest.mark.parametrize("reason", [{"noplots": True}, {"first": False}], ids=str)
def test_nothing_is_drawn_where_it_is_not_wanted(tmp_path: Path, reason: dict[str, bool]) -> None:
    drawer, recorder = _run_drawing(tmp_path, **reason)
    drawer.begin()
    drawer.batch(0, _batch())
    drawer.interrupted()
    assert recorder.events == []
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Path:
        raise ValueError("no ink")

    monkeypatch.setattr(drawing, "draw_batch", fail)
    drawer, recorder = _run_drawing(tmp_path)
    drawer.begin()  # this setup has nothing to draw from, which is a failure like any other
    for step in range(3):
        drawer.batch(step, _batch())
    assert all(isinstance(event, Note) and event.level == "warning" for event in recorder.events)
    texts = [cast(Note, event).text for event in recorder.events]
    assert len(texts) == 4
    assert "labels" in texts[0]
    assert "train_batches" in texts[1]
    assert "ValueError: no ink" in texts[1]
