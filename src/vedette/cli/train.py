"""``vedette train``: a data set in, a detector out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from vedette.cli.flags import parse_arguments, spelled_out, validate
from vedette.config.hyperparameters import Hyperparameters, read_hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import UsageError

COMMAND = "vedette train"


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    given = parse_arguments(
        COMMAND, "Train a detector on your pictures.", [TrainConfig, Hyperparameters], arguments
    )
    if given is None:
        return 0
    if given[TrainConfig].get("evolve"):
        return _search(given[TrainConfig]["evolve"], arguments)
    config = validate(COMMAND, TrainConfig, given[TrainConfig])
    loaded = read_hyperparameters(config.hyp)
    hyperparameters = overridden(loaded.values, given[Hyperparameters])

    from vedette.track.console import ConsoleTracker
    from vedette.train.distributed.ranks import Ranks
    from vedette.train.run import train

    console = Console(highlight=False, soft_wrap=True, quiet=not Ranks.from_environment().first)
    for note in loaded.notes:
        console.print(note, markup=False)
    result = train(config, hyperparameters, trackers=[ConsoleTracker(console)])
    summary = result.summary
    ap, ap50 = (summary[name] or 0.0 for name in ("ap", "ap50"))
    console.print(f"\nAP {ap:.4f}  AP50 {ap50:.4f}  in {summary['seconds']:.0f} s")
    console.print(summary["ended"], markup=False)
    if summary["left_off"]:
        console.print(f"left off, see the warning above: {', '.join(summary['left_off'])}", markup=False)
    console.print(f"weights {(result.folder / 'weights' / 'best.safetensors').as_posix()}", markup=False)
    console.print(f"report  {(result.folder / 'report.html').as_posix()}", markup=False)
    return 0


def _search(generations: str, arguments: Sequence[str]) -> int:
    """``--evolve``: the search that ``vedette tune`` makes. Raises UsageError."""
    if not (generations.isdecimal() and int(generations)):
        raise UsageError(
            f"{generations!r} is no number of generations", where="--evolve", fix="give 1 or more, or nothing"
        )
    rest, following = [], False
    for argument in spelled_out(COMMAND, [TrainConfig, Hyperparameters], arguments):
        if not following and not argument.startswith("--evolve"):
            rest.append(argument)
        following = argument == "--evolve"
    search = ["--trials", generations, "--sampler", "genetic", "--pruner", "none", *rest]
    Console(soft_wrap=True).print(
        f"the same as: vedette tune {shlex.join(search)}", markup=False, highlight=False
    )

    from vedette.cli import tune

    return tune.run(search)


def overridden(base: Hyperparameters, values: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters with those given on the command line in place. Raises ConfigError."""
    return validate(COMMAND, Hyperparameters, {**base.model_dump(), **values})
