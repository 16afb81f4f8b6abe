"""How the ranks of a run come to its folder: rank 0 finds or makes it, locks it and reads the settings for all.

Every rank runs the same code, so each has a folder to write into. That of rank 0 is the run's; those of the others
are temporary, empty at first, and thrown away at the end. They hold a few small files; what is large (states, weights,
plots, the report) only rank 0 writes. So no other machine has to see the folder.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vedette.checkpoint.atomic import remove_stale_temporaries
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.train.distributed.ranks import Ranks
from vedette.train.folder.disk import named_write_errors
from vedette.train.folder.run_files import RunFiles, restarted, run_folder
from vedette.train.folder.run_lock import run_lock


@contextlib.contextmanager
def opened_run(
    config: TrainConfig, hyperparameters: Hyperparameters, ranks: Ranks
) -> Iterator[tuple[RunFiles, bool]]:
    """Open a new run, or one to go on with, for the time of the block.

    When the launcher starts its processes again after a failure, they go on with the run they had begun.

    Yields:
        The files, and whether other processes are kept out of the folder.

    Raises:
        UsageError: no data set is named, there is no such run, or another process trains in it.
        ConfigError: the settings of the run to resume are damaged.
        WriteError: the folder cannot be written.
    """
    with contextlib.ExitStack() as held:

        def open_folder() -> tuple[RunFiles, bool]:
            begun = ranks.remembered_run()
            settings = restarted(config, Path(begun)) if begun else config
            folder = run_folder(settings)
            held.enter_context(named_write_errors(folder))
            locked = held.enter_context(run_lock(folder))
            if locked:  # nobody else writes here now
                for place in (folder, folder / "weights", folder / "state"):
                    remove_stale_temporaries(place)
            ranks.remember_run(str(folder.resolve()))
            if settings.resume:
                return RunFiles.resume(folder, settings), locked
            return RunFiles.create(folder, settings, hyperparameters), locked

        files, locked = ranks.from_first(open_folder)
        if not ranks.first:
            own = tempfile.TemporaryDirectory(prefix="vedette-rank-", ignore_cleanup_errors=True)
            files = replace(files, folder=Path(held.enter_context(own)))
            files.clear()
        yield files, locked
