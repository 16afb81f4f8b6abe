"""``vedette data check``: every defect of a data set, one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.base import Config
from vedette.errors import EXIT_SOME_FAILED, ConfigError, WriteError

if TYPE_CHECKING:
    from vedette.data.check import CheckReport


class DataCheckConfig(Config):
    """What to check."""

    data: str = Field(
        "",
        description="Data set: a YAML file, or the name of one that ships with the package",
        json_schema_extra={"positional": True},
    )
    splits: tuple[Literal["train", "val", "test"], ...] | None = Field(
        None,
        description="Parts to check; empty: all",
        json_schema_extra={"flags": ["--splits", "--split", "--task"]},
    )
    json_path: str = Field(
        "", description="Write the defects to this JSON file", json_schema_extra={"flags": ["--json"]}
    )
    no_decode: bool = Field(
        False, description="Read only the headers of pictures, not their pixels: faster, finds less"
    )


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command. Exit code 1 if the data set has rows or pictures that cannot be used."""
    return run_with_config(
        "vedette data check",
        "List every defect of a data set as path:line: kind: text.",
        DataCheckConfig,
        arguments,
        _check,
    )


def _check(config: DataCheckConfig) -> int:
    from vedette.data.check import check_dataset
    from vedette.data.description import load_description

    if not config.data:
        raise ConfigError("name a data set", where="vedette data check", fix="vedette data check bccd")
    report = check_dataset(load_description(config.data), config.splits, decode=not config.no_decode)
    if config.json_path:
        _write(report, Path(config.json_path))
    console = Console(highlight=False, soft_wrap=True)
    for defect in report.defects:
        console.print(str(defect), markup=False)
    for line in report.summary_lines():
        console.print(line, markup=False)
    return EXIT_SOME_FAILED if report.bad else 0


def _write(report: CheckReport, path: Path) -> None:
    text = json.dumps([defect.to_json() for defect in report.defects], indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None
