"""``vedette import``: a YOLOv5 checkpoint becomes one of vedette. Nothing in the file is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.base import Config
from vedette.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from vedette.checkpoint.legacy.convert import Converted


class ImportConfig(Config):
    """What to import, and where to."""

    checkpoint: str = Field(
        "",
        description="The .pt file of YOLOv5 v1.0 to v7.0",
        json_schema_extra={"flags": ["--checkpoint", "--weights"], "positional": True},
    )
    output: str = Field("", description="File to write; empty: beside the checkpoint, with .safetensors")
    cfg: str = Field(
        "",
        description="Model of a file that holds tensors only: a name or a YAML file; empty: found by their shapes",
        json_schema_extra={"flags": ["--cfg", "--model"]},
    )
    allow_nonfinite: bool = Field(False, description="Accept weights that are NaN or infinite")
    exist_ok: bool = Field(False, description="Replace the output if it exists")


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    return run_with_config(
        "vedette import",
        "Turn a YOLOv5 .pt checkpoint into one of vedette, without running it.",
        ImportConfig,
        arguments,
        _import,
    )


def _import(config: ImportConfig) -> int:
    from vedette.checkpoint.legacy.convert import convert

    if not config.checkpoint:
        raise ConfigError(
            "name a checkpoint", where="vedette import", fix="for example: vedette import best.pt"
        )
    source = Path(config.checkpoint)
    output = Path(config.output) if config.output else source.with_suffix(".safetensors")
    if output.suffix != ".safetensors":
        raise UsageError("must end in .safetensors", where=f"--output: {output}")
    if output.exists() and not config.exist_ok:
        raise UsageError("exists already", where=f"--output: {output}", fix="name another, or add --exist-ok")
    converted = convert(source, output, cfg=config.cfg, allow_nonfinite=config.allow_nonfinite)
    _print(Console(highlight=False, soft_wrap=True), converted)
    return 0


def _print(console: Console, converted: Converted) -> None:
    from vedette.core.printable import printable

    facts = converted.facts
    names = ", ".join(converted.class_names[:10])
    more = f" and {len(converted.class_names) - 10} more" if len(converted.class_names) > 10 else ""
    lines = [
        ("model", f"{converted.name} (rules of {facts['release']})"),
        ("file", facts["container"]),
        ("weights", f"{facts['weights']}, {facts['precision']}"),
        ("classes", f"{len(converted.class_names)}: {names}{more}"),
        ("date", facts["date"] or "not stored"),
        ("epoch", "training finished" if facts["epoch"] == -1 else _or_unknown(facts["epoch"])),
        ("fitness", _or_unknown(facts["fitness"])),
        ("image size", _or_unknown(facts["image_size"])),
        ("not used", "; ".join(facts["ignored"]) or "nothing"),
    ]
    for name, text in lines:
        console.print(f"{name + ':':<12}{printable(text)}", markup=False)
    console.print(f"written to {converted.path}", markup=False)


def _or_unknown(value: object) -> str:
    return "not stored" if value is None else str(value)
