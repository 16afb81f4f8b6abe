"""``vedette verify``: does an exported file find what PyTorch finds?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vedette.cli.export import feature_line, heading, verification_table
from vedette.cli.flags import run_with_config
from vedette.config.export import VerifyConfig
from vedette.errors import EXIT_DONE, EXIT_REFUSED


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 2 if the file differs by more than the tolerance."""
    return run_with_config(
        "vedette verify",
        "Compare an exported file with PyTorch, on its golden pictures and on yours.",
        VerifyConfig,
        arguments,
        _verify,
    )


def _verify(config: VerifyConfig) -> int:
    from vedette.checkpoint.atomic import write_atomic
    from vedette.core.device import cpu_threads
    from vedette.export.verify import verify

    console = Console(highlight=False, soft_wrap=True)
    with cpu_threads(config.threads):
        result = verify(config)
    if config.json_path:
        write_atomic(Path(config.json_path), json.dumps(result.to_dict(), indent=1).encode("ascii"))
    console.print(heading(result), markup=False, style="bold")
    console.print(verification_table(result))
    console.print(feature_line(result), markup=False, end="")
    for problem in result.problems:
        console.print(f"differs: {problem}", markup=False)
    verdict = "finds what PyTorch finds" if result.passed else "does not find what PyTorch finds"
    console.print(f"{result.file} {verdict}", markup=False)
    return EXIT_DONE if result.passed else EXIT_REFUSED
