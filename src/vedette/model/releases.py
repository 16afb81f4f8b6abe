"""What each published release is: stem, block, pooling, activation, head and sizes.

=======  ======  =============  =====  ==============  =========================================================
release  stem    block          pool   activation      head
=======  ======  =============  =====  ==============  =========================================================
v1.0     Focus   BottleneckCSP  SPP    LeakyReLU(0.1)  output convolutions are rows; levels from coarse to fine
v3.1     Focus   BottleneckCSP  SPP    Hardswish       Detect brings its convolutions; from fine to coarse
v4.0     Focus   C3             SPP    SiLU            as v3.1
v5.0     Focus   C3             SPP    SiLU            as v3.1, and a fourth level of stride 64 (the P6 models)
v6.0     Conv 6  C3             SPPF   SiLU            as v3.1, without the buffer ``anchor_grid``
v7.0     Conv 6  C3             SPPF   SiLU            as v6.0
=======  ======  =============  =====  ==============  =========================================================

Tables: specification ``model.md`` sections 1, 2 and 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vedette.config.base import read_yaml_mapping
from vedette.errors import ModelError, nearest
from vedette.model.anchors import DEFAULT_ANCHORS_P5, DEFAULT_ANCHORS_P6, Anchors
from vedette.model.bounds import check_word
from vedette.model.rows import (
    ANCHORS_TOKEN,
    CLASSES_TOKEN,
    NEAREST_TOKEN,
    OUTPUTS_TOKEN,
    Architecture,
    Argument,
    Row,
    parse_architecture,
)

DEFAULT_RELEASE = "v4.0"
DEFAULT_CLASSES = 80

SIZES: dict[str, tuple[float, float]] = {
    "tiny": (0.33, 0.05),
    "n": (0.33, 0.25),
    "s": (0.33, 0.50),
    "m": (0.67, 0.75),
    "l": (1.0, 1.0),
    "x": (1.33, 1.25),
}
"""Depth and width multiple by size; ``tiny`` is for tests and was never published."""


@dataclass(frozen=True, slots=True)
class Release:
    """One published release.

    Attributes:
        name: as in ``yolov5s@NAME``.
        sizes: of the models of strides 8 to 32.
        rows: makes their table; the first ``backbone_rows`` are the backbone.
        anchors: in the order of its levels.
        rules: fields of ``Architecture`` that it decides.
        rows_p6: makes the table of the models with a fourth level of stride 64, if there are any.
        sizes_p6: of those models.
    """

    name: str
    sizes: tuple[str, ...]
    rows: Callable[[], tuple[Row, ...]]
    anchors: Anchors
    rules: dict[str, Any]
    rows_p6: Callable[[], tuple[Row, ...]] | None = None
    sizes_p6: tuple[str, ...] = ()


def row(module: str, *arguments: Argument, source: int | tuple[int, ...] = -1, repeats: int = 1) -> Row:
    """A row that reads the previous layer and is not repeated, unless said."""
    return Row(source if isinstance(source, tuple) else (source,), repeats, module, arguments)


def focus_stem() -> Row:
    """v1.0 to v5.0."""
    return row("Focus", 64, 3)


def convolution_stem() -> Row:
    """v6.0 and later: the same receptive field and parameters as Focus, in one convolution."""
    return row("Conv", 64, 6, 2, 2)


def backbone_start(stem: Row, block: str, *, p3_repeats: int) -> list[Row]:
    """Rows 0 to 6, strides 2 to 16."""
    return [
        stem,
        row("Conv", 128, 3, 2),
        row(block, 128, repeats=3),
        row("Conv", 256, 3, 2),
        row(block, 256, repeats=p3_repeats),
        row("Conv", 512, 3, 2),
        row(block, 512, repeats=9),
    ]


def spp_end(block: str, kernels: tuple[int, ...] = (5, 9, 13)) -> list[Row]:
    """Rows 7 to 9 of v1.0 to v4.0: pooling first, then a block without shortcuts."""
    return [
        row("Conv", 1024, 3, 2),
        row("SPP", 1024, kernels),
        row(block, 1024, False, repeats=3),
    ]


def sppf_end() -> list[Row]:
    """Rows 7 to 9 of v6.0 and later: a block with shortcuts, then pooling."""
    return [row("Conv", 1024, 3, 2), row("C3", 1024, repeats=3), row("SPPF", 1024, 5)]


BACKBONE_ROWS = 10
BACKBONE_ROWS_P6 = 12


def upward_path(block: str) -> list[Row]:
    """Rows 10 to 17 (16 to 23 of a P6 model): up to stride 8."""
    return [
        row("Conv", 512, 1, 1),
        row("Upsample", None, 2, NEAREST_TOKEN),
        row("Concat", 1, source=(-1, 6)),
        row(block, 512, False, repeats=3),
        row("Conv", 256, 1, 1),
        row("Upsample", None, 2, NEAREST_TOKEN),
        row("Concat", 1, source=(-1, 4)),
        row(block, 256, False, repeats=3),
    ]


def downward_path(block: str) -> list[Row]:
    """Rows 18 to 24: back down to stride 32, and the head."""
    return [
        row("Conv", 256, 3, 2),
        row("Concat", 1, source=(-1, 14)),
        row(block, 512, False, repeats=3),
        row("Conv", 512, 3, 2),
        row("Concat", 1, source=(-1, 10)),
        row(block, 1024, False, repeats=3),
        detect(17, 20, 23),
    ]


def downward_path_with_outputs(block: str) -> list[Row]:
    """Rows 18 to 27 of v1.0: an output convolution after every level, which the next row steps over."""
    return [
        row("Conv2d", OUTPUTS_TOKEN, 1, 1),
        row("Conv", 256, 3, 2, source=-2),
        row("Concat", 1, source=(-1, 14)),
        row(block, 512, False, repeats=3),
        row("Conv2d", OUTPUTS_TOKEN, 1, 1),
        row("Conv", 512, 3, 2, source=-2),
        row("Concat", 1, source=(-1, 10)),
        row(block, 1024, False, repeats=3),
        row("Conv2d", OUTPUTS_TOKEN, 1, 1),
        detect(-1, 22, 18),
    ]


def detect(*sources: int) -> Row:
    """The head."""
    return row("Detect", CLASSES_TOKEN, ANCHORS_TOKEN, source=sources)


def rows_v1() -> tuple[Row, ...]:
    """v1.0."""
    block = "BottleneckCSP"
    start = backbone_start(focus_stem(), block, p3_repeats=9)
    return (*start, *spp_end(block), *upward_path(block), *downward_path_with_outputs(block))


def rows_v3() -> tuple[Row, ...]:
    """v3.1: the head takes over the output convolutions."""
    block = "BottleneckCSP"
    start = backbone_start(focus_stem(), block, p3_repeats=9)
    return (*start, *spp_end(block), *upward_path(block), *downward_path(block))


def rows_v4() -> tuple[Row, ...]:
    """v4.0: C3 instead of BottleneckCSP."""
    start = backbone_start(focus_stem(), "C3", p3_repeats=9)
    return (*start, *spp_end("C3"), *upward_path("C3"), *downward_path("C3"))


def rows_v6() -> tuple[Row, ...]:
    """v6.0 and v7.0: convolution stem, SPPF last, a shallower block at stride 8."""
    start = backbone_start(convolution_stem(), "C3", p3_repeats=6)
    return (*start, *sppf_end(), *upward_path("C3"), *downward_path("C3"))


def rows_v5_p6() -> tuple[Row, ...]:
    """v5.0 with a fourth level of stride 64, whose cells are pooled over less: 3, 5 and 7 of them."""
    start = backbone_start(focus_stem(), "C3", p3_repeats=9)
    return _with_fourth_level(start, spp_end("C3", (3, 5, 7)))


def rows_v6_p6() -> tuple[Row, ...]:
    """v6.0 and v7.0 with a fourth level of stride 64."""
    return _with_fourth_level(backbone_start(convolution_stem(), "C3", p3_repeats=6), sppf_end())


def _with_fourth_level(start: list[Row], end: list[Row]) -> tuple[Row, ...]:
    """One step more down, up, and down again than the other models."""
    return (
        *start,
        row("Conv", 768, 3, 2),
        row("C3", 768, repeats=3),
        *end,
        row("Conv", 768, 1, 1),
        row("Upsample", None, 2, NEAREST_TOKEN),
        row("Concat", 1, source=(-1, 8)),
        row("C3", 768, False, repeats=3),
        *upward_path("C3"),
        row("Conv", 256, 3, 2),
        row("Concat", 1, source=(-1, 20)),
        row("C3", 512, False, repeats=3),
        row("Conv", 512, 3, 2),
        row("Concat", 1, source=(-1, 16)),
        row("C3", 768, False, repeats=3),
        row("Conv", 768, 3, 2),
        row("Concat", 1, source=(-1, 12)),
        row("C3", 1024, False, repeats=3),
        detect(23, 26, 29, 32),
    )


_SIZES = ("n", "s", "m", "l", "x")

_RULES_V6 = {
    "activation": "SiLU",
    "csp_activation": "SiLU",
    "shared_activation": True,
    "anchor_grid": False,
    "class_prior_offset": 0.99999,
}

RELEASES = {
    release.name: release
    for release in (
        Release(
            "v1.0",
            _SIZES[1:],
            rows_v1,
            DEFAULT_ANCHORS_P5[::-1],
            {"activation": "LeakyReLU(0.1)", "bn_eps": 1e-4},
        ),
        Release("v3.1", _SIZES[1:], rows_v3, DEFAULT_ANCHORS_P5, {"activation": "Hardswish"}),
        Release("v4.0", _SIZES, rows_v4, DEFAULT_ANCHORS_P5, {"activation": "SiLU"}),
        Release("v5.0", (), rows_v4, DEFAULT_ANCHORS_P5, {"activation": "SiLU"}, rows_v5_p6, _SIZES[1:]),
        Release("v6.0", _SIZES, rows_v6, DEFAULT_ANCHORS_P5, _RULES_V6, rows_v6_p6, _SIZES),
        Release("v7.0", _SIZES, rows_v6, DEFAULT_ANCHORS_P5, _RULES_V6, rows_v6_p6, _SIZES),
    )
}
"""Releases by name. Size n at v4.0 was not published; it is v4.0's table at the n multiples.

Of v5.0 only the P6 models are here: nothing says that its others differ from those of v4.0.
"""


def known_names() -> tuple[str, ...]:
    """Every model name ``architecture`` knows: v4.0 without a suffix, then ``NAME@RELEASE``."""
    default = RELEASES[DEFAULT_RELEASE]
    names = [f"yolov5{size}" for size in default.sizes] + ["tiny"]
    for release in RELEASES.values():
        names += [f"yolov5{size}@{release.name}" for size in release.sizes]
        names += [f"yolov5{size}6@{release.name}" for size in release.sizes_p6]
    return tuple(names)


def architecture(name: str, classes: int | None = None, channels: int = 3) -> Architecture:
    """The architecture of a published model, or of a YAML file in the published form.

    Args:
        name: ``yolov5s`` (v4.0), ``yolov5s@v1.0``, ``yolov5n6@v7.0``, ``tiny``, or the path of a ``.yaml`` file.
            A file may say with the key ``release`` whose rules (activation, eps of the normalisation, buffers
            of the head) hold; without it those of v4.0 do.
        classes: number of classes; None means 80, or what the file says.
        channels: channels of the images, unless the file says.

    Raises:
        ModelError: an unknown name (with the nearest known one), or a file that is not accepted.
        ConfigError: a file that cannot be read as YAML.
    """
    if name in known_names():
        return _published(name, DEFAULT_CLASSES if classes is None else classes, channels)
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ModelError("is no known model", where=name[:200], fix=nearest(name[:200], known_names()))
    if not path.is_file():
        hint = nearest(path.stem, known_names())
        raise ModelError("no such file", where=name[:200], fix=f"models are named without a suffix: {hint}")
    values = read_yaml_mapping(path)
    release = check_word(values.pop("release", DEFAULT_RELEASE), tuple(RELEASES), f"{path}: release")
    return parse_architecture(
        values,
        path,
        classes=classes,
        channels=channels,
        rules={"name": path.stem, "release": release, **RELEASES[release].rules},
    )


def _published(name: str, classes: int, channels: int) -> Architecture:
    model, _, suffix = name.partition("@")
    release = RELEASES[suffix or DEFAULT_RELEASE]
    depth_multiple, width_multiple = SIZES[model.removeprefix("yolov5").removesuffix("6")]
    rows, backbone_rows, anchors = release.rows(), BACKBONE_ROWS, release.anchors
    if model.endswith("6") and release.rows_p6 is not None:
        rows, backbone_rows, anchors = release.rows_p6(), BACKBONE_ROWS_P6, DEFAULT_ANCHORS_P6
    return Architecture(
        name=model,
        release=release.name,
        rows=rows,
        backbone_rows=backbone_rows,
        classes=classes,
        channels=channels,
        anchors_px=anchors,
        depth_multiple=depth_multiple,
        width_multiple=width_multiple,
        **release.rules,
    )
