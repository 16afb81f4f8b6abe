"""Settings of ``vedette bench``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vedette.config.base import Config, SizeHWField
from vedette.config.export import as_words


def _flags(*names: str) -> dict[str, Any]:
    return {"flags": list(names)}


class BenchConfig(Config):
    """Which runtimes to time, in which number formats, on what."""

    weights: str = Field(
        "", description="Checkpoint to time, or the name of shipped weights; empty: the shipped ones"
    )
    formats: Annotated[tuple[str, ...], BeforeValidator(as_words)] = Field(
        (),
        description="pytorch and export formats; default: pytorch and all whose runtime is installed",
        json_schema_extra=_flags("--format", "--include", "--formats"),
    )
    precisions: tuple[Literal["float32", "bf16", "fp16", "int8"], ...] = Field(
        (),
        description="Number formats of the network; default: float32 and what this machine is fast with, "
        "and int8 if there is --data to calibrate on",
        json_schema_extra=_flags("--precision", "--precisions"),
    )
    compile: bool = Field(
        False,
        description="Time PyTorch through torch.compile, too; takes up to a minute for each number format",
    )
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1)] = Field(
        (1,),
        description="Pictures that go through the network together; several are timed one by one",
        json_schema_extra=_flags("--batch-size", "--batch", "-b"),
    )
    image_size: SizeHWField | None = Field(
        None,
        description="Size of the network's frame: one number, or height and width; default: that of the checkpoint",
        json_schema_extra=_flags("--img-size", "--img", "--imgsz"),
    )
    pictures: tuple[str, ...] = Field(
        (),
        description="Picture files to time on; default: drawn ones of 1280 x 720 pixels",
        json_schema_extra=_flags("--pictures", "--source"),
    )
    rounds: Annotated[int, Field(ge=3, le=100_000)] = Field(
        50, description="How often each variant is timed, in turn with the others"
    )
    data: str = Field(
        "", description="Data set to tell the change of AP on, and to calibrate int8 on (its training split)"
    )
    device: str = Field(
        "", description="Where PyTorch runs: cpu, 0, cuda:0 or mps; default: the best there is"
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads; 0: all")
    plots: bool = Field(True, description="Draw bench.png and bench.svg")
    project: str = Field("runs/bench", description="Folder that holds the runs")
    name: str = Field("exp", description="Name of this run's folder; a number is added if it exists")
    exist_ok: bool = Field(False, description="Write into the folder even if it exists")
    json_path: str = Field(
        "", description="Write the figures to this JSON file, too", json_schema_extra=_flags("--json")
    )
