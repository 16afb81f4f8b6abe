"""``vedette val``: how good a detector is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vedette.cli.flags import run_with_config
from vedette.config.evaluate import EvaluateConfig
from vedette.errors import EXIT_DONE, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from vedette.evaluate.result import Evaluation, WithoutTiles

SIZE_NUMBERS = ("ap_small", "ap_medium", "ap_large", "ap")
"""Of COCO's twelve: by area, below 32 x 32 pixels, below 96 x 96, above; and all."""


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if some pictures could not be read."""
    return run_with_config(
        "vedette val",
        "Measure a detector: AP, precision, recall, confusion.",
        EvaluateConfig,
        arguments,
        _val,
    )


def _val(config: EvaluateConfig) -> int:
    from vedette.evaluate.checkpoint import evaluate_checkpoint

    console = Console(highlight=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)
        measured = evaluate_checkpoint(
            config, progress=lambda done, count: bar.update(task, completed=done, total=count)
        )
    evaluation = measured.evaluation
    for defect in measured.index.defects:
        if defect.bad:
            console.print(str(defect), markup=False)
    console.print(class_table(evaluation, verbose=config.verbose))
    _print_numbers(console, evaluation)
    if evaluation.without_tiles is not None:
        console.print()
        console.print(tile_table(evaluation, evaluation.without_tiles))
    for failure in evaluation.failed:
        console.print(f"failed: {failure.path}: {failure.reason}", markup=False)
    console.print(f"results in {measured.folder}", markup=False)
    return EXIT_SOME_FAILED if evaluation.failed else EXIT_DONE


def class_table(evaluation: Evaluation, *, verbose: bool) -> Table:
    """A row for all classes together and, if ``verbose`` or there are few, one for each."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("class")
    for name in ("pictures", "boxes", "P", "R", "AP50", "AP"):
        table.add_column(name, justify="right")
    point, numbers = evaluation.operating_point, evaluation.numbers
    boxes = sum(result.instances for result in evaluation.per_class)
    shown: list[tuple[object, ...]] = [
        (
            "all",
            len(evaluation.image_paths),
            boxes,
            point.precision,
            point.recall,
            numbers["ap50"],
            numbers["ap"],
        )
    ]
    if verbose or len(evaluation.per_class) <= 20:
        for result in evaluation.per_class:
            shown.append(
                (
                    result.name,
                    result.images,
                    result.instances,
                    result.precision,
                    result.recall,
                    result.ap50,
                    result.ap,
                )
            )
    for row in shown:
        table.add_row(*(_cell(value) for value in row))
    return table


def tile_table(evaluation: Evaluation, without: WithoutTiles) -> Table:
    """What tiles change: AP by the size of objects, and what a picture costs."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", *SIZE_NUMBERS, "inference ms", "wall ms"):
        table.add_column(name, justify="right" if name else "left")
    for name, numbers, timing in (
        ("whole pictures", without.numbers, without.timing),
        ("in tiles", evaluation.numbers, evaluation.timing),
    ):
        figures = [_cell(numbers[number]) for number in SIZE_NUMBERS]
        table.add_row(name, *figures, *(f"{timing.get(stage, 0.0):.1f}" for stage in ("inference", "wall")))
    return table


def _print_numbers(console: Console, evaluation: Evaluation) -> None:
    shown = "  ".join(f"{name} {_cell(value)}" for name, value in evaluation.numbers.items())
    console.print(f"\n{shown}", markup=False)
    if evaluation.reference is not None:
        figures = "  ".join(
            f"{name} {_cell(value)}"
            for name, value in evaluation.reference.to_dict().items()
            if value is None or isinstance(value, float)
        )
        console.print(f"by the reference's own rules: {figures}", markup=False)
    stages = ", ".join(f"{name} {value:.1f}" for name, value in evaluation.timing.items())
    console.print(f"milliseconds a picture: {stages}", markup=False)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))
