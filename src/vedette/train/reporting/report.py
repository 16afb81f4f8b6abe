"""``report.html`` of a finished run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.evaluate.report import defect_section, evaluation_sections, facts_table, headline, pictures_in
from vedette.evaluate.result import Evaluation
from vedette.track.durations import format_seconds
from vedette.track.report import Section, Table, build_report, write_report

if TYPE_CHECKING:
    from vedette.train.setup import Setup

_COURSE = {
    "results.png": "Losses, precision and recall, average precision and learning rate by epoch.",
    "learning_rate.png": "Learning rate and momentum as they were in force, warm-up included.",
}
_LABELS = {
    "labels.png": "Boxes of each class, their outlines, centres and sizes, and how many a picture has."
}
_FIT = {
    "anchors.png": "Sizes of boxes in the frame, and the anchors that answer for them.",
    "labels_correlogram.png": "Position and size of boxes, each against each.",
}
_MOST_NOTES = 100


def write_run_report(setup: Setup, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
    """Write the page from what lies in the run folder. Raises WriteError."""
    files = setup.files
    warnings, notes = read_notes(files.events)
    defects = [*setup.train_index.defects, *setup.val_index.defects]
    sections = [
        Section("Warnings", warnings=warnings),
        Section("Course of the run", pictures=pictures_in(files.plots, _COURSE, wide=True)),
        *evaluation_sections(evaluation, files.plots),
        Section(
            "What it learned from",
            pictures=[*pictures_in(files.plots, _LABELS, wide=True), *pictures_in(files.plots, _FIT)],
        ),
        defect_section(defects),
        Section(
            "What it was shown",
            "The first training batches, augmented, with their targets.",
            pictures=pictures_in(files.plots, _batches(files.plots)),
        ),
        Section("Facts", tables=[facts_table("The run", list(setup.facts.items())), *_settings(setup)]),
        Section("Where it comes from", tables=manifest_tables(files.manifest)),
        Section("Notes", tables=[Table(("note",), [(note,) for note in notes])] if notes else []),
    ]
    page = build_report(
        f"{files.folder.name}: {setup.facts['model']}",
        f"Trained on {setup.facts['data']}.",
        [
            *headline(evaluation),
            ("best epoch", f"{summary['best']['epoch']} of {summary['epochs']}"),
            ("pictures seen", f"{summary['images_seen']:,}"),
            ("time", format_seconds(summary["seconds"])),
        ],
        sections,
    )
    write_report(files.report, page)


def read_notes(path: Path) -> tuple[list[str], list[str]]:
    """Warnings and other notes of an event log, the same text once; nothing if there is no readable log."""
    found: dict[str, dict[str, None]] = {"warning": {}, "info": {}}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        if isinstance(event, dict) and event.get("event") == "Note":
            found["warning" if event.get("level") == "warning" else "info"][str(event.get("text"))] = None
    return list(found["warning"])[:_MOST_NOTES], list(found["info"])[:_MOST_NOTES]


def manifest_tables(path: Path) -> list[Table]:
    """Data, software and machine from a manifest; no tables if there is none that can be read."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        start = manifest["starts"][-1]
        facts = [(name, manifest.get(name)) for name in ("model", "precision", "seed", "data")]
        facts += [(name, value) for name, value in start.items() if not isinstance(value, (dict, list))]
        facts.append(("command", shlex.join(start["command"])))
        parts = [(name, value) for name, value in start.items() if isinstance(value, dict)]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return []
    return [
        facts_table("Last start", facts),
        *(facts_table(name, list(values.items()), folded=True) for name, values in parts),
    ]


def _batches(plots: Path) -> dict[str, str]:
    return {path.name: "Training batch" for path in sorted(plots.glob("train_batch?.jpg"))}


def _settings(setup: Setup) -> list[Table]:
    files = setup.files
    return [
        facts_table("Settings", list(files.config.model_dump(mode="json").items()), folded=True),
        facts_table(
            "Hyperparameters", list(files.hyperparameters.model_dump(mode="json").items()), folded=True
        ),
    ]
