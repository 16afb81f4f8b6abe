"""``vedette info``: what a model or checkpoint is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table

from vedette.cli.flags import run_with_config
from vedette.config.base import Config, SizeHWField
from vedette.errors import ConfigError


class InfoConfig(Config):
    """What to describe, and how."""

    model: str = Field(
        "",
        description="Name (yolov5s, yolov5s@v1.0, yolov5s6@v7.0), YAML file or checkpoint",
        json_schema_extra={"flags": ["--model", "--cfg", "--weights"], "positional": True},
    )
    image_size: SizeHWField = Field(
        (640, 640),
        description="Size for the GFLOPs",
        json_schema_extra={"flags": ["--img-size", "--img", "--imgsz"]},
    )
    classes: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Number of classes; empty: that of the file, else 80",
        json_schema_extra={"flags": ["--classes", "--nc"]},
    )
    json_output: bool = Field(
        False, description="Print JSON instead of a table", json_schema_extra={"flags": ["--json"]}
    )


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    return run_with_config(
        "vedette info",
        "Show a model or checkpoint: layers, parameters, GFLOPs, strides, anchors.",
        InfoConfig,
        arguments,
        _info,
    )


def _info(config: InfoConfig) -> int:
    if not config.model:
        raise ConfigError(
            "name a model or file", where="vedette info", fix="for example: vedette info yolov5s"
        )
    summary, extra = _summarise(config)
    if config.json_output:
        print(json.dumps({**summary.to_json(), **extra}, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _print_tables(Console(highlight=False), summary.to_json(), extra)
    return 0


def _summarise(config: InfoConfig) -> tuple[Any, dict[str, Any]]:
    from vedette.model.detector import summary
    from vedette.model.releases import architecture

    if Path(config.model).suffix.lower() in (".safetensors", ".pt", ".pth"):
        from vedette.checkpoint.load import load

        loaded = load(Path(config.model))
        extra = {
            "class_names": list(loaded.class_names),
            "letterbox": loaded.letterbox.to_dict(),
            "picture_format": loaded.letterbox.picture_format.to_dict(),
            "metadata": loaded.metadata,
        }
        return summary(loaded.detector.architecture, config.image_size), extra
    return summary(architecture(config.model, classes=config.classes), config.image_size), {}


def _print_tables(console: Console, facts: dict[str, Any], extra: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, justify in (
        ("layer", "right"),
        ("from", "right"),
        ("module", "left"),
        ("arguments", "left"),
        ("channels", "right"),
        ("stride", "right"),
        ("parameters", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for layer in facts["layers"]:
        table.add_row(
            str(layer["index"]),
            _several(layer["source"]),
            layer["module"],
            _several(layer["arguments"]),
            _several(layer["output_channels"]),
            _several(layer["stride"]),
            f"{layer['parameters']:,}",
        )
    console.print(table)
    console.print(
        f"\n[bold]{facts['name']}[/bold] ({facts['release']}): {facts['parameters']:,} parameters "
        f"({facts['parameters_fused']:,} fused), {facts['gflops']:.1f} GFLOPs, {facts['classes']} classes"
    )
    for stride, anchors in zip(facts["strides"], facts["anchors"], strict=True):
        console.print(f"stride {stride:>3}: anchors " + "  ".join(f"{w:g} x {h:g}" for w, h in anchors))
    if "picture_format" in extra:
        from vedette.core.picture_format import PictureFormat

        console.print(f"pictures: {PictureFormat.from_dict(extra['picture_format'])}", markup=False)
    if "class_names" in extra:
        console.print("classes: " + ", ".join(extra["class_names"]), markup=False)


def _several(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_several(part) for part in value)
    return str(value)
