"""``events.jsonl``, what happened and when, and ``results.csv``, one row an epoch."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vedette.track.events import EpochDone, Event, PicturesFound, Row, RunStarted, StepDone


class EventLog:
    """Appends every event but progress and found boxes to a JSON-lines file.

    A log of what really happened: a run that was killed and resumed shows the epochs done twice, separated by
    a second ``RunStarted``. ``results.csv`` holds every epoch once.
    """

    def __init__(self, path: Path) -> None:
        _cut_unfinished_line(path)
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def handle(self, event: Event) -> None:
        """Append one line and flush it."""
        if isinstance(event, StepDone | PicturesFound):
            return
        self._file.write(json.dumps(_record(event), ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_unfinished_line(path: Path) -> None:
    """Remove what a process that died while writing left behind the last newline, so that every line is JSON."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _record(event: Event) -> dict[str, Any]:
    values = asdict(event)
    values.pop("history", None)
    return {"event": type(event).__name__, "time": time.time(), **values}


class ResultsTable:
    """Keeps ``results.csv`` equal to the history of the run, also after it was resumed from an earlier epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def handle(self, event: Event) -> None:
        """Rewrite the table when an epoch ended."""
        if isinstance(event, EpochDone) or (isinstance(event, RunStarted) and event.history):
            # A reader may hold the file open at any time, so it is replaced as a whole.
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(_csv_text(event.history), encoding="utf-8", newline="")
            partial.replace(self._path)

    def close(self) -> None:
        """Nothing is held open."""


def _csv_text(history: tuple[Row, ...]) -> str:
    columns = list(dict.fromkeys(name for row in history for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in history:
        writer.writerow([_cell(row.get(name)) for name in columns])
    return buffer.getvalue()


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def read_results(path: Path) -> list[dict[str, float | None]]:
    """The rows of a ``results.csv``, as numbers; empty cells are None."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]
