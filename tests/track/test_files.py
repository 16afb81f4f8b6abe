"""events.jsonl holds what happened; results.csv every epoch once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vedette.track.events import EpochDone, Note, RunStarted, StepDone
from vedette.track.files import EventLog, ResultsTable, read_results


def _row(epoch: int, ap: float | None) -> dict[str, float | int | None]:
    return {"epoch": epoch, "metrics/mAP_0.5:0.95": ap}


def test_event_log_appends_and_leaves_progress_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for text in ("first", "second"):
        log = EventLog(path)
        log.handle(Note(text, "warning"))
        log.handle(StepDone(1, 0, 1, {}, 1.0, 0.0, 1.0))
        log.close()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(record["event"], record["text"]) for record in records] == [
        ("Note", "first"),
        ("Note", "second"),
    ]
    assert all(record["time"] > 0 for record in records)


def test_results_table_equals_the_history(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    table = ResultsTable(path)
    history = (_row(0, None), _row(1, 0.25))
    table.handle(EpochDone(10, history[1], history, best=True))
    assert read_results(path) == [_row(0, None), _row(1, 0.25)]


def test_a_resumed_run_takes_back_the_rows_it_will_do_again(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    table = ResultsTable(path)
    history = (_row(0, 0.1), _row(1, 0.2))
    table.handle(EpochDone(10, history[1], history, best=True))
    table.handle(RunStarted(tmp_path, {}, {}, {}, 5, 10, 10, history[:1]))
    assert [row["epoch"] for row in read_results(path)] == [0]


@pytest.mark.parametrize("left", [b'{"event": "No', b"\xff\x00"])
def test_a_line_that_a_dying_process_cut_off_is_removed(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "events.jsonl"
    for text in ("first", "second"):
        log = EventLog(path)
        log.handle(Note(text, "info"))
        log.close()
        with path.open("ab") as file:
            file.write(left)
    EventLog(path).close()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["text"] for record in records] == ["first", "second"]
