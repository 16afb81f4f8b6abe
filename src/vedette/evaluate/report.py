"""What an evaluation found out, as sections of a page, and as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vedette.data.defects import KINDS, Defect
from vedette.evaluate.pictures import draw_pictures
from vedette.evaluate.plots import draw_all
from vedette.evaluate.result import Evaluation
from vedette.track.report import Picture, Section, Table, build_report, write_report

_LISTED_DEFECTS = 200
_CLASSES_BY_THE_SIDE = 20  # a confusion matrix of more has to fill the page to be read

_CURVES = {
    "precision_recall_curve.png": "Precision over recall at IoU 0.5, a line a class.",
    "f1_curve.png": "F1 over the score from which boxes count: the peak is the score to work with.",
    "precision_curve.png": "Precision over the score: the part of the boxes found that is right.",
    "recall_curve.png": "Recall over the score: the part of the true boxes that is found.",
}
_JUDGED = {
    "val_worst.jpg": "Where it fails most: pictures with the lowest F1.",
    "val_best.jpg": "Where it does best: pictures with the highest F1.",
}


def write_evaluation_report(evaluation: Evaluation, folder: Path, *, title: str, plots: bool) -> Path:
    """Write ``report.html`` into ``folder``, and the plots and pictures it shows into its folder ``plots``.

    Args:
        evaluation: what to show.
        folder: of the evaluation.
        title: of the page.
        plots: draw plots and pictures; else the page has tables only.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    if plots:
        draw_all(evaluation, folder / "plots")
        draw_pictures(evaluation, folder / "plots")
    failed = [f"{failure.path}: {failure.reason}" for failure in evaluation.failed]
    sections = [
        Section("Pictures left out", "They could not be read and count nowhere.", warnings=failed),
        *evaluation_sections(evaluation, folder / "plots"),
        Section("Settings", tables=[facts_table("Settings", list(evaluation.protocol.items()))]),
    ]
    path = folder / "report.html"
    summary = f"Measured on {len(evaluation.image_paths):,} pictures, {evaluation.protocol['split']} split."
    write_report(path, build_report(title, summary, headline(evaluation), sections))
    return path


def headline(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The figures for the top of a page, name and value."""
    numbers, point = evaluation.numbers, evaluation.operating_point
    at = "" if point.confidence is None else f" at score {point.confidence:.2f}"
    return [
        ("AP (IoU 0.5 to 0.95)", percent(numbers["ap"])),
        ("AP50", percent(numbers["ap50"])),
        (f"precision{at}", percent(point.precision)),
        (f"recall{at}", percent(point.recall)),
    ]


def evaluation_sections(evaluation: Evaluation, plots: Path) -> list[Section]:
    """Classes, curves, confusion and pictures; plots and pictures as far as they lie in the folder ``plots``."""
    confusion = evaluation.confusion
    limits = f"boxes with a score above {confusion.confidence:g}, overlapping by more than {confusion.iou_threshold:g}"
    return [
        class_section(evaluation),
        _tile_section(evaluation),
        Section("How well it finds", pictures=pictures_in(plots, _CURVES)),
        Section(
            "What it takes for what",
            f"Counts {limits}. A row is a true class; its last cell counts what was missed. The last row counts "
            "boxes found where nothing is. The darker, the larger the part of the true class.",
            pictures=pictures_in(
                plots,
                {"confusion_matrix.png": _confusion_in_words(evaluation)},
                wide=len(confusion.class_names) > _CLASSES_BY_THE_SIDE,
            ),
        ),
        Section(
            "Where it fails and where it does well",
            f"Counts {limits}.",
            pictures=pictures_in(plots, _JUDGED, wide=True),
        ),
        Section(
            "Labels and what was found",
            "The same pictures of the split twice: with their labels, and with the boxes found "
            f"(score above {confusion.confidence:g}).",
            pictures=pictures_in(plots, _pairs(plots)),
        ),
    ]


def class_section(evaluation: Evaluation) -> Section:
    """A table of the figures of every class."""
    header = ("class", "pictures", "boxes", "AP", "AP50", "precision", "recall", "F1", "at score")
    rows: list[Sequence[object]] = [
        (
            result.name,
            result.images,
            result.instances,
            result.ap,
            result.ap50,
            result.precision,
            result.recall,
            result.f1,
            result.confidence,
        )
        for result in evaluation.per_class
    ]
    caption = "Precision, recall and F1 at the score with the best F1 of the class, at IoU 0.5."
    forms = ("", ",d", ",d", ".1%", ".1%", ".1%", ".1%", ".3f", ".2f")
    return Section("By class", tables=[Table(header, rows, caption, forms)])


def _tile_section(evaluation: Evaluation) -> Section:
    """What tiles change; empty without them."""
    without = evaluation.without_tiles
    if without is None:
        return Section("In tiles and without")
    header = ("", "AP small", "AP medium", "AP large", "AP", "ms inference", "ms in all")
    rows = [
        (
            name,
            *(numbers[f"ap{size}"] for size in ("_small", "_medium", "_large", "")),
            timing.get("inference"),
            timing["wall"],
        )
        for name, numbers, timing in (
            ("whole pictures", without.numbers, without.timing),
            ("in tiles", evaluation.numbers, evaluation.timing),
        )
    ]
    caption = (
        "By the area of objects: small is below 32 x 32 pixels, large above 96 x 96. Milliseconds a picture."
    )
    return Section(
        "In tiles and without", tables=[Table(header, rows, caption, ("", *[".1%"] * 4, ".1f", ".1f"))]
    )


def defect_section(defects: Sequence[Defect]) -> Section:
    """What is wrong with labels and pictures: how often each kind, and where."""
    counts: dict[str, int] = {}
    for defect in defects:
        counts[defect.kind] = counts.get(defect.kind, 0) + 1
    kinds = [
        (kind, count, KINDS[kind].effect, KINDS[kind].meaning)
        for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    listed = [(defect.place, defect.kind, defect.text) for defect in defects[:_LISTED_DEFECTS]]
    more = f", the first {_LISTED_DEFECTS:,}" if len(defects) > _LISTED_DEFECTS else ""
    tables = [
        Table(("kind", "places", "effect", "meaning"), kinds, "Kinds of defects", ("", ",d", "", "")),
        Table(("place", "kind", "what"), listed, f"{len(defects):,} places{more}", folded=True),
    ]
    return Section("Defects of the data set", tables=tables if defects else [])


def facts_table(caption: str, facts: Sequence[tuple[str, object]], *, folded: bool = False) -> Table:
    """Names and values; nested values in one line."""
    return Table(
        ("name", "value"), [(name, _one_line(value)) for name, value in facts], caption, folded=folded
    )


def pictures_in(folder: Path, captions: Mapping[str, str], *, wide: bool = False) -> list[Picture]:
    """Those of the named files that exist, in the given order; ``wide``: each fills the page."""
    return [
        Picture(folder / name, caption, wide=wide)
        for name, caption in captions.items()
        if (folder / name).is_file()
    ]


def percent(value: float | None) -> str:
    """0.8731 -> 87.3 %."""
    return "–" if value is None else f"{100 * value:.1f} %"


def _pairs(plots: Path) -> dict[str, str]:
    captions = {"labels": "Labels", "pred": "Found"}
    return {
        path.name: captions[path.stem.rpartition("_")[2]]
        for path in sorted(plots.glob("val_batch?_*.jpg"))
        if path.stem.rpartition("_")[2] in captions
    }


def _confusion_in_words(evaluation: Evaluation) -> str:
    counts = evaluation.confusion.counts
    right = int(counts.diagonal().sum())
    true, found = int(counts[:-1].sum()), int(counts[:, :-1].sum())
    return (
        f"Confusion matrix: of {true:,} true boxes {right:,} were found with their class, "
        f"{int(counts[:-1, -1].sum()):,} were missed; of {found:,} boxes found, "
        f"{int(counts[-1].sum()):,} lie where nothing is."
    )


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_one_line(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_one_line(item) for item in value)
    return "–" if value is None or value == "" else str(value)
