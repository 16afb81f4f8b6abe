"""``report.html`` of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.evaluate.plots import draw_all
from vedette.evaluate.result import Evaluation
from vedette.track.durations import format_seconds
from vedette.track.report import Section, build_report, write_report
from vedette.train.pictures import draw_found
from vedette.train.run_files import RunFiles

if TYPE_CHECKING:
    from vedette.train.setup import Setup

CAPTIONS = {
    "precision_recall.png": "Precision over recall",
    "f1_confidence.png": "F1 over the score",
    "precision_confidence.png": "Precision over the score",
    "recall_confidence.png": "Recall over the score",
    "confusion_matrix.png": "Confusion: rows are true classes, columns predicted ones",
    "confusion_matrix_normalised.png": "Confusion, as parts of each row",
}


def write_run_report(
    setup: Setup, files: RunFiles, summary: Mapping[str, Any], evaluation: Evaluation
) -> None:
    """Draw the plots of the last evaluation and write the page. Raises WriteError, MissingExtraError."""
    plots = draw_all(evaluation, files.plots)
    found = files.plots / "val_found.jpg"
    draw_found(evaluation, setup.class_names, found)
    batches = sorted(files.plots.glob("train_batch*.jpg"))
    sections = [
        Section("Course of the run", pictures=[(files.plots / "results.png", "By epoch")]),
        class_section(evaluation),
        Section(
            "What it finds",
            "Pictures of the validation split with the boxes above a score of 0.25.",
            pictures=[(found, "Validation pictures")],
        ),
        Section("How well it finds it", pictures=[(path, caption(path)) for path in plots]),
        Section(
            "What it was shown",
            "The first training batches, augmented, with their targets.",
            pictures=[(path, path.stem) for path in batches],
        ),
        Section("Facts", rows=[(name, value) for name, value in setup.facts.items()]),
        Section("Settings", rows=_settings(files)),
    ]
    page = build_report(
        f"{files.folder.name}: {setup.facts['model']}",
        f"Trained on {setup.facts['data']}.",
        [
            ("AP (IoU 0.5 to 0.95)", percent(summary["ap"])),
            ("AP50", percent(summary["ap50"])),
            ("epochs", str(summary["epochs"])),
            ("pictures seen", f"{summary['images_seen']:,}"),
            ("time", format_seconds(summary["seconds"])),
        ],
        sections,
    )
    write_report(files.report, page)


def class_section(evaluation: Evaluation) -> Section:
    """A table of the figures of every class."""
    header = ("class", "pictures", "boxes", "AP", "AP50", "precision", "recall", "at score")
    rows: list[Sequence[object]] = [
        (
            result.name,
            result.images,
            result.instances,
            percent(result.ap),
            percent(result.ap50),
            percent(result.precision),
            percent(result.recall),
            "-" if result.confidence is None else f"{result.confidence:.2f}",
        )
        for result in evaluation.per_class
    ]
    return Section("By class", "Precision and recall at the score with the best F1.", header, rows)


def percent(value: float | None) -> str:
    """0.8731 -> 87.3 %."""
    return "-" if value is None else f"{100 * value:.1f} %"


def caption(path: Path) -> str:
    """What a plot shows."""
    return CAPTIONS.get(path.name, path.stem.replace("_", " "))


def _settings(files: RunFiles) -> list[tuple[str, object]]:
    values = {**files.config.model_dump(mode="json"), **files.hyperparameters.model_dump(mode="json")}
    return list(values.items())
