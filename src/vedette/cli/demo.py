"""``vedette demo``: the whole path once, on a data set drawn for the purpose."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.demo import DemoConfig
from vedette.config.detect import DetectConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.run_folder import create_run_folder
from vedette.config.train import TrainConfig

if TYPE_CHECKING:
    from vedette.evaluate.checkpoint import CheckpointEvaluation
    from vedette.infer.tally import DetectSummary
    from vedette.train.run import TrainResult

_SHOWN_PICTURES = 12
_RECIPE = Hyperparameters(
    lr0=0.002, nominal_batch=8, mosaic=0.15, scale=0.3, obj=2.0, cls_min_scale=0.25, obj_min_scale=0.4
)
"""A sprint: many small steps, little augmentation. A longer run learns more with the default recipe."""


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    return run_with_config(
        "vedette demo",
        "Draw a data set, train a small detector on it, measure it, detect, and write a report.",
        DemoConfig,
        arguments,
        _demo,
    )


def _demo(config: DemoConfig) -> int:
    from vedette.evaluate.checkpoint import evaluate_checkpoint
    from vedette.infer.run import detect
    from vedette.track.console import ConsoleTracker
    from vedette.train.run import train

    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    folder = create_run_folder(config.project, config.name, config.exist_ok)
    _empty(folder)
    data, pictures = _data(config, folder, console)

    console.print("\n[bold]2. Train[/bold]")
    result = train(
        TrainConfig(
            data=data,
            cfg=config.cfg,
            epochs=config.epochs,
            batch_size=config.batch_size,
            image_size=config.image_size,
            device=config.device,
            seed=config.seed,
            optimizer="Adam",
            val_interval=4,
            project=str(folder),
            name="train",
            exist_ok=True,
        ),
        _RECIPE,
        trackers=[ConsoleTracker(console)],
    )

    console.print("\n[bold]3. Measure[/bold] the best weights on the held-out pictures")
    weights = result.folder / "weights" / "best.safetensors"
    measured = evaluate_checkpoint(
        EvaluateConfig(
            data=data,
            weights=str(weights),
            device=config.device,
            project=str(folder),
            name="val",
            exist_ok=True,
        )
    )
    numbers = measured.evaluation.numbers
    console.print(f"AP {numbers['ap'] or 0.0:.4f}  AP50 {numbers['ap50'] or 0.0:.4f}")

    console.print("\n[bold]4. Detect[/bold] in held-out pictures")
    found = detect(
        DetectConfig(
            weights=str(weights),
            source=pictures,
            device=config.device,
            project=str(folder),
            name="detect",
            exist_ok=True,
            save_json=True,
            save_txt=True,
        )
    )
    counts = ", ".join(f"{count} {name}" for name, count in found.class_counts.items())
    console.print(f"{found.pictures} pictures: {counts or 'nothing'}", markup=False)

    seconds = time.monotonic() - started
    report = _write_report(folder, result, measured, found, seconds)
    console.print(f"\n[bold]Done in {seconds:.0f} s.[/bold] Open {report.as_posix()}")
    return found.exit_code


def _data(config: DemoConfig, folder: Path, console: Console) -> tuple[str, tuple[str, ...]]:
    """The data set and the pictures to detect in: evenly spaced ones of its validation split."""
    from vedette.data.description import load_description
    from vedette.data.index import load_index

    data = config.data
    if data:
        console.print(f"[bold]1. Use[/bold] the data set {data}")
    else:
        from vedette.data.synthetic import draw_dataset

        console.print(f"[bold]1. Draw[/bold] {config.train_pictures + config.val_pictures} pictures")
        data = str(
            draw_dataset(
                folder / "data",
                seed=config.seed,
                train=config.train_pictures,
                val=config.val_pictures,
                size_hw=config.image_size,
            )
        )
    index = load_index(load_description(data), "val")
    step = max(1, len(index) // _SHOWN_PICTURES)
    chosen = range(0, len(index), step)[:_SHOWN_PICTURES]
    return data, tuple(str(index.image_path(number)) for number in chosen)


def _empty(folder: Path) -> None:
    """Remove what an earlier demonstration left in a folder that is used again; not while one is at it."""
    from vedette.train.folder.run_lock import run_lock

    if (folder / "train").is_dir():
        with run_lock(folder / "train"):
            pass  # refused if another process trains in it; on Windows a locked file could not be removed
    for name in ("data", "train", "val", "detect"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _write_report(
    folder: Path,
    result: TrainResult,
    measured: CheckpointEvaluation,
    found: DetectSummary,
    seconds: float,
) -> Path:
    from vedette.evaluate.report import evaluation_sections, headline
    from vedette.track.durations import format_seconds
    from vedette.track.report import Picture, Section, build_report, write_report

    pictures = sorted(path for path in found.folder.glob("*.*") if path.suffix in (".jpg", ".jpeg", ".png"))
    curves, batch = (result.folder / "plots" / name for name in ("results.png", "train_batch0.jpg"))
    page = build_report(
        "vedette: from pictures to a detector",
        "A detector trained from scratch, measured on pictures it has not seen, and used on some of them.",
        [
            *headline(measured.evaluation),
            ("pictures seen", f"{result.summary['images_seen']:,}"),
            ("time in all", format_seconds(seconds)),
        ],
        [
            Section(
                "What it finds",
                "Held-out pictures with the boxes above a score of 0.25.",
                pictures=[Picture(path, "Found") for path in pictures],
            ),
            Section(
                "Course of the training",
                pictures=[Picture(curves, "Losses and precision by epoch.", wide=True)],
            ),
            *evaluation_sections(measured.evaluation, measured.folder / "plots"),
            Section(
                "What it was shown", "A training batch.", pictures=[Picture(batch, "Augmented pictures")]
            ),
        ],
    )
    path = folder / "report.html"
    write_report(path, page)
    return path
