"""What the report of a run reads from the run's folder; the page itself: tests/flow/test_report.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vedette.train.reporting.report import manifest_tables, read_notes


def test_notes_are_read_once_each_also_from_a_log_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    notes = [("warning", "<b>"), ("info", "hello"), ("warning", "<b>"), ("info", "bye")]
    lines = [json.dumps({"event": "Note", "level": level, "text": text}) for level, text in notes]
    lines += [json.dumps({"event": "EpochDone"}), "[1]", '{"event": "No']
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_notes(path) == (["<b>"], ["hello", "bye"])
    assert read_notes(tmp_path / "none") == ([], [])


def test_the_last_start_of_a_manifest_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    start = {"time": "now", "command": ["vedette", "train", "a b"], "versions": {"torch": "2"}, "git": None}
    path.write_text(json.dumps({"seed": 7, "starts": [{}, start]}), encoding="utf-8")
    facts, versions = manifest_tables(path)
    assert ("seed", "7") in facts.rows
    assert ("time", "now") in facts.rows
    assert ("command", "vedette train 'a b'") in facts.rows
    assert versions.caption == "versions"
    assert versions.rows == [("torch", "2")]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"starts": []}', '{"starts": [3]}'])
def test_a_manifest_that_cannot_be_read_shows_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert manifest_tables(path) == []
