"""``vedette train``: a data set in, a detector out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from vedette.cli.flags import parse_arguments, validate
from vedette.config.hyperparameters import Hyperparameters, load_hyperparameters
from vedette.config.train import TrainConfig

COMMAND = "vedette train"


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    given = parse_arguments(
        COMMAND, "Train a detector on your pictures.", [TrainConfig, Hyperparameters], arguments
    )
    if given is None:
        return 0
    config = validate(COMMAND, TrainConfig, given[TrainConfig])
    hyperparameters = overridden(load_hyperparameters(config.hyp), given[Hyperparameters])

    from vedette.track.console import ConsoleTracker
    from vedette.train.run import train

    console = Console(highlight=False, soft_wrap=True)
    result = train(config, hyperparameters, trackers=[ConsoleTracker(console)])
    summary = result.summary
    ap, ap50 = (summary[name] or 0.0 for name in ("ap", "ap50"))
    console.print(f"\nAP {ap:.4f}  AP50 {ap50:.4f}  in {summary['seconds']:.0f} s")
    console.print(f"weights {(result.folder / 'weights' / 'best.safetensors').as_posix()}", markup=False)
    console.print(f"report  {(result.folder / 'report.html').as_posix()}", markup=False)
    return 0


def overridden(base: Hyperparameters, values: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters with those given on the command line in place. Raises ConfigError."""
    return validate(COMMAND, Hyperparameters, {**base.model_dump(), **values})
