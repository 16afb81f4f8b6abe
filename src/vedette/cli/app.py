"""The ``vedette`` command: finds the sub-command, runs it, turns errors into one line and an exit code.

Sub-commands are imported only when they are asked for, so that `vedette --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from vedette.errors import (
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    MissingExtraError,
    UsageError,
    VedetteError,
    nearest,
)

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("vedette.cli.train", "Train a detector on your pictures."),
    "val": ("vedette.cli.val", "Measure a detector: AP, precision, recall, confusion."),
    "detect": ("vedette.cli.detect", "Find objects in pictures."),
    "export": (
        "vedette.cli.export",
        "Write a checkpoint for other runtimes, and prove that it finds the same boxes.",
    ),
    "verify": ("vedette.cli.verify", "Compare an exported file with PyTorch."),
    "bench": ("vedette.cli.bench", "Time a detector on every installed runtime."),
    "tune": ("vedette.cli.tune", "Search hyperparameters by training many times, on one or many machines."),
    "info": ("vedette.cli.info", "Show a model or checkpoint: layers, parameters, GFLOPs, strides, anchors."),
    "import": (
        "vedette.cli.import_checkpoint",
        "Turn a YOLOv5 .pt checkpoint into one of vedette, without running it.",
    ),
    "data check": ("vedette.cli.data_check", "List every defect of a data set as path:line: kind: text."),
    "data anchors": ("vedette.cli.data_anchors", "Measure how anchors fit a data set, and fit new ones."),
    "demo": ("vedette.cli.demo", "Draw a data set, train, measure, detect, and write a report, in minutes."),
}
"""Sub-command -> (module with a ``run(arguments) -> exit code``, one line of help)."""

EXIT_CODES = (
    "0 done; 1 done, some inputs failed; 2 wrong usage or input refused; 3 could not write; "
    "4 training diverged; 5 another rank failed; 130/143 interrupted, resumable"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors become one line on stderr.

    With ``VEDETTE_DEBUG`` set in the environment, errors keep their traceback.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(argv)
    except VedetteError as error:
        if os.environ.get("VEDETTE_DEBUG"):
            raise
        if not error.joint or os.environ.get("RANK", "0") == "0":
            _print_error(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        # Files of other runtimes do without torch; all that reads, writes or trains checkpoints imports it.
        if error.name != "torch" or os.environ.get("VEDETTE_DEBUG"):
            raise
        missing = MissingExtraError("torch", "cpu", f"vedette {argv[0]} with these arguments")
        _print_error(str(missing))
        return missing.exit_code
    except KeyboardInterrupt:
        _print_error("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`vedette info | head`): nothing left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(help_text())  # noqa: T201
        return 0 if argv else EXIT_REFUSED
    if argv[0] in ("--version", "-V"):
        print(version("vedette"))  # noqa: T201
        return 0
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:
            module = importlib.import_module(COMMANDS[name][0])
            code: int = module.run(argv[words:])
            return code
    if argv[0] == "data":
        raise UsageError("needs a sub-command", where="vedette data", fix="use `vedette data check DATA`")
    raise UsageError(f"unknown command '{argv[0]}'", where="vedette", fix=nearest(argv[0], COMMANDS))


def help_text() -> str:
    """The text of ``vedette --help``."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "vedette: train, measure and run object detectors of the YOLOv5 family.",
            "",
            "Usage: vedette COMMAND [FLAGS]",
            "",
            *lines,
            "",
            "vedette COMMAND --help shows the flags of a command; vedette --version the version.",
            f"Exit codes: {EXIT_CODES}.",
        ]
    )


def _print_error(text: str) -> None:
    print(f"vedette: error: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
