"""``vedette data anchors``: how the anchors of a model fit the boxes of a data set, and which would fit better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from rich.console import Console

from vedette.cli.flags import run_with_config
from vedette.config.base import Config, SizeHWField
from vedette.errors import ConfigError

if TYPE_CHECKING:
    from vedette.model.anchors import Anchors


class DataAnchorsConfig(Config):
    """What to fit to what."""

    data: str = Field(
        "",
        description="Data set: a YAML file, or the name of one that ships with the package",
        json_schema_extra={"positional": True},
    )
    cfg: str = Field(
        "yolov5s",
        description="Model whose anchors are measured: a name or a YAML file",
        json_schema_extra={"flags": ["--cfg", "--model"]},
    )
    image_size: SizeHWField = Field(
        (640, 640),
        description="Size of the training frames: one number, or height and width",
        json_schema_extra={"flags": ["--img-size", "--img", "--imgsz"]},
    )
    split: str = Field("train", description="Part of the data set")
    anchor_t: Annotated[float, Field(ge=1.0)] = Field(
        4.0, description="A box fits an anchor if neither side is this many times larger or smaller"
    )
    anchors: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="Anchors to fit for each level; 0: as many as the model has"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Seed of the fit")


def run(arguments: Sequence[str]) -> int:
    """Entry point of the command."""
    return run_with_config(
        "vedette data anchors",
        "Measure how anchors fit the boxes of a data set, and fit new ones.",
        DataAnchorsConfig,
        arguments,
        _show,
    )


def _show(config: DataAnchorsConfig) -> int:
    from vedette.data.description import load_description
    from vedette.data.index import load_index
    from vedette.model.releases import architecture
    from vedette.train.start.anchor_choice import box_sizes, choose_anchors

    if not config.data:
        raise ConfigError("name a data set", where="vedette data anchors", fix="vedette data anchors bccd")
    index = load_index(load_description(config.data), config.split)
    model = architecture(config.cfg, classes=len(index.class_names))
    sizes = box_sizes(index, config.image_size)
    choice = choose_anchors(model, sizes, threshold=config.anchor_t, seed=config.seed)
    fitted = choose_anchors(
        model,
        sizes,
        threshold=config.anchor_t,
        seed=config.seed,
        per_level=config.anchors or model.anchors_per_level,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"training would use anchors {choice.text}", markup=False)
    console.print(f"anchors {fitted.text}", markup=False)
    assert not isinstance(fitted.architecture.anchors_px, int)
    console.print(anchors_yaml(fitted.architecture.anchors_px), markup=False)
    return 0


def anchors_yaml(anchors_px: Anchors) -> str:
    """Anchors as the lines of a model file, level by level."""
    rows = [", ".join(f"{width:g},{height:g}" for width, height in level) for level in anchors_px]
    return "\n".join(["anchors:", *(f"  - [{row}]" for row in rows)])
