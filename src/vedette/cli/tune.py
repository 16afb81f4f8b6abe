"""``vedette tune``: many short training runs in, better hyperparameters out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from vedette.cli.flags import parse_arguments, validate
from vedette.cli.train import overridden
from vedette.config.hyperparameters import Hyperparameters, load_hyperparameters
from vedette.config.train import TrainConfig
from vedette.config.tune import TuneConfig

COMMAND = "vedette tune"
_PURPOSE = (
    "Search hyperparameters by training many times. Start the command again to go on with a study, "
    "or start it several times at once, also on several machines, to work on it together."
)


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    given = parse_arguments(COMMAND, _PURPOSE, [TuneConfig, TrainConfig, Hyperparameters], arguments)
    if given is None:
        return 0
    config = validate(COMMAND, TuneConfig, given[TuneConfig])
    train_config = validate(COMMAND, TrainConfig, given[TrainConfig])
    base = overridden(load_hyperparameters(train_config.hyp), given[Hyperparameters])

    from vedette.tune.run import tune

    console = Console(highlight=False, soft_wrap=True)
    result = tune(config, train_config, base, report=lambda text: console.print(text, markup=False))
    console.print(
        f"\n{result.finished} trials, best fitness {result.best_fitness:.4f} (trial {result.best_trial})"
    )
    console.print(f"hyperparameters {result.hyperparameters.as_posix()}", markup=False)
    console.print(
        f"use them with   vedette train --hyp {result.hyperparameters.as_posix()} ...", markup=False
    )
    return 0
