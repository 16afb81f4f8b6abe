"""Settings of how files, views and tiles become one detector; ``vedette detect`` and ``vedette val`` share them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vedette.config.base import SizeHWField

Augment = Annotated[
    bool,
    Field(
        description="Look at each picture three times: at three sizes, once mirrored; takes 2.3 times as long"
    ),
]

Compile = Annotated[
    bool,
    Field(
        description="Run checkpoints through torch.compile: the same boxes, usually a little sooner, after up to a "
        "minute for each size of batch; needs a C++ compiler"
    ),
]

Ensemble = Annotated[
    Literal["nms", "wbf"],
    Field(
        description="How several --weights become one: nms: one suppression of all predictions; "
        "wbf: weighted box fusion, boxes are averaged and what few find counts less"
    ),
]

EnsembleWeights = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None,
    Field(description="With --ensemble wbf: how much each of the --weights counts; default: all the same"),
]

Tile = Annotated[
    SizeHWField | None,
    Field(
        description="Look at pictures in overlapping tiles of this size in pixels, and as a whole: one number, or "
        "height and width; for small objects in large pictures"
    ),
]

Overlap = Annotated[
    float,
    Field(ge=0, le=0.9, description="With --tile: what neighbouring tiles share, as a part of their side"),
]

TileWhole = Annotated[
    bool,
    Field(description="With --tile: look at the whole picture, too, for what is larger than a tile"),
]
