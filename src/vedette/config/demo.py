"""What the demonstration needs to know."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vedette.config.base import Config, SizeHWField


class DemoConfig(Config):
    """Sizes of the demonstration; the defaults take some minutes on two cores."""

    data: str = Field("", description="Use this data set (YAML file or shipped name) instead of drawing one")
    cfg: str = Field("yolov5n", description="Model", json_schema_extra={"flags": ["--cfg", "--model"]})
    epochs: Annotated[int, Field(ge=1)] = Field(20, description="Passes over the data set")
    batch_size: Annotated[int, Field(ge=1)] = Field(
        8, description="Pictures per batch", json_schema_extra={"flags": ["--batch-size", "--batch", "-b"]}
    )
    image_size: SizeHWField = Field(
        (192, 192),
        description="Size of the frames",
        json_schema_extra={"flags": ["--img-size", "--img", "--imgsz"]},
    )
    train_pictures: Annotated[int, Field(ge=8)] = Field(400, description="Pictures to draw for training")
    val_pictures: Annotated[int, Field(ge=4)] = Field(80, description="Pictures to draw for measuring")
    device: str = Field("", description="cpu, 0, cuda:1, mps; empty: the first GPU, else the CPU")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Seed of everything random")
    project: str = Field("runs", description="Folder that holds the results")
    name: str = Field("demo", description="Name of the folder; a number is added if it exists")
    exist_ok: bool = Field(False, description="Replace an existing folder of that name")
