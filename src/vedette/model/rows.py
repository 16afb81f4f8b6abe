"""The layer table as typed values: rows, and an architecture made of them; reads a user's YAML.

Architectures come from strangers too (the header of a checkpoint, a YAML from the web), so every value is
checked for type and size before anything is built from it. Nothing is evaluated: string arguments are tokens
from a small list. Scaling rules and fields: specification ``model.md`` section 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vedette.errors import ModelError
from vedette.model.anchors import Anchors, read_anchors
from vedette.model.bounds import (
    check_flag,
    check_integer,
    check_list,
    check_mapping,
    check_number,
    check_text,
    check_word,
    placed,
)

MODULES = (
    "Bottleneck",
    "BottleneckCSP",
    "C3",
    "Concat",
    "Conv",
    "Conv2d",
    "DWConv",
    "Detect",
    "Focus",
    "SPP",
    "SPPF",
    "Upsample",
)
"""Module names that a row may carry."""

ACTIVATIONS = (
    "ELU",
    "GELU",
    "Hardswish",
    "Identity",
    "LeakyReLU",
    "LeakyReLU(0.1)",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
)
"""Activations by name; LeakyReLU alone has the slope 0.01."""

CLASSES_TOKEN = "nc"
ANCHORS_TOKEN = "anchors"
OUTPUTS_TOKEN = "na * (nc + 5)"
NEAREST_TOKEN = "nearest"
TOKENS = (CLASSES_TOKEN, ANCHORS_TOKEN, OUTPUTS_TOKEN, NEAREST_TOKEN)
"""The strings that may stand among a row's arguments; they keep their name until the layers are planned."""

MAX_ROWS = 1000
MAX_CHANNELS = 65536
MAX_REPEATS = 100
MAX_CLASSES = 100_000
MAX_IMAGE_CHANNELS = 1024
MAX_SOURCES = 64
MAX_ARGUMENTS = 16
MAX_MULTIPLE = 16.0

Argument = int | float | bool | str | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the layer table.

    Attributes:
        source: layers it reads; -1 is the previous one, other negatives count back from this row,
            the rest are absolute indices.
        repeats: before the depth multiple.
        module: one of ``MODULES``.
        arguments: as written, before the width multiple; the channel count comes first.
    """

    source: tuple[int, ...]
    repeats: int
    module: str
    arguments: tuple[Argument, ...]

    def __post_init__(self) -> None:
        check_word(self.module, MODULES, "module")
        check_integer(self.repeats, 1, MAX_REPEATS, f"{self.module}: repeats")
        if not isinstance(self.source, tuple) or not isinstance(self.arguments, tuple):
            raise ModelError("source and arguments must be tuples", where=self.module)
        for index in check_list(self.source, 1, MAX_SOURCES, f"{self.module}: from"):
            check_integer(index, -MAX_ROWS, MAX_ROWS, f"{self.module}: from")
        for argument in check_list(self.arguments, 0, MAX_ARGUMENTS, f"{self.module}: arguments"):
            _check_argument(argument, f"{self.module}: arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything that decides which tensors a detector has and what it computes from them.

    Attributes:
        name: what people call it: ``yolov5s``, or the stem of a YAML file.
        release: the release whose rules hold.
        rows: the layer table, head last.
        backbone_rows: how many rows are the backbone; only names of features depend on it.
        classes: C.
        channels: channels of the images.
        anchors_px: per level (in the order of the head's inputs) the (width, height) pairs, or a number of
            anchors per level whose sizes are still to be fitted.
        depth_multiple: scales the repeats of the rows.
        width_multiple: scales the channels of the rows.
        activation: of every Conv.
        csp_activation: of BottleneckCSP, after its joint normalisation.
        shared_activation: one activation module serves all Convs (it shows in module counts only).
        bn_eps: eps of every batch normalisation.
        anchor_grid: the head also stores its anchors in pixels, in a buffer of that name.
        class_prior_offset: subtracted from the number of classes in the class prior
            (see ``head.published_bias_offsets``).
    """

    name: str
    release: str
    rows: tuple[Row, ...]
    backbone_rows: int
    classes: int
    channels: int
    anchors_px: Anchors | int
    depth_multiple: float
    width_multiple: float
    activation: str = "SiLU"
    csp_activation: str = "LeakyReLU(0.1)"
    shared_activation: bool = False
    bn_eps: float = 1e-3
    anchor_grid: bool = True
    class_prior_offset: float = 0.99

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_text(self.release, "release")
        check_list(self.rows, 1, MAX_ROWS, "rows")
        if not isinstance(self.rows, tuple) or not all(isinstance(row, Row) for row in self.rows):
            raise ModelError("must be a tuple of Row", where="rows")
        check_integer(self.backbone_rows, 0, len(self.rows), "backbone_rows")
        check_integer(self.classes, 1, MAX_CLASSES, "classes")
        check_integer(self.channels, 1, MAX_IMAGE_CHANNELS, "channels")
        check_number(self.depth_multiple, 1e-3, MAX_MULTIPLE, "depth_multiple")
        check_number(self.width_multiple, 1e-3, MAX_MULTIPLE, "width_multiple")
        check_word(self.activation, ACTIVATIONS, "activation")
        check_word(self.csp_activation, ACTIVATIONS, "csp_activation")
        check_flag(self.shared_activation, "shared_activation")
        check_number(self.bn_eps, 1e-12, 1.0, "bn_eps")
        check_flag(self.anchor_grid, "anchor_grid")
        check_number(self.class_prior_offset, 0.0, 0.999999, "class_prior_offset")
        if read_anchors(self.anchors_px, "anchors_px") != self.anchors_px:
            raise ModelError("must be a tuple of levels of (width, height) pairs", where="anchors_px")

    @property
    def anchors_per_level(self) -> int:
        """A, the same on every level."""
        return self.anchors_px if isinstance(self.anchors_px, int) else len(self.anchors_px[0])

    @property
    def outputs_per_cell(self) -> int:
        """Channels of a level's raw output: A * (5 + C)."""
        return self.anchors_per_level * (self.classes + 5)

    def to_dict(self) -> dict[str, Any]:
        """The architecture as plain JSON values."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values["rows"] = [
            {
                "source": list(row.source),
                "repeats": row.repeats,
                "module": row.module,
                "arguments": [list(a) if isinstance(a, tuple) else a for a in row.arguments],
            }
            for row in self.rows
        ]
        if not isinstance(self.anchors_px, int):
            values["anchors_px"] = [[list(pair) for pair in level] for level in self.anchors_px]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: object = "architecture") -> Architecture:
        """Read what ``to_dict`` wrote, or what a stranger wrote in its place.

        Raises:
            ModelError: a key is missing, unknown, of the wrong type or out of bounds; ``where`` names it.
        """
        entries = check_mapping(values, [field.name for field in fields(cls)], str(where))
        rows = check_list(entries["rows"], 1, MAX_ROWS, f"{where}: rows")
        entries["rows"] = tuple(_row_from_dict(row, f"{where}: row {i}") for i, row in enumerate(rows))
        entries["anchors_px"] = read_anchors(entries["anchors_px"], f"{where}: anchors_px")
        return placed(lambda: cls(**entries), where)


def parse_architecture(
    values: Mapping[str, Any],
    where: object,
    *,
    classes: int | None = None,
    channels: int = 3,
    rules: Mapping[str, Any] | None = None,
) -> Architecture:
    """Read a model file in the published form.

    Args:
        values: the file's mapping: ``nc``, ``depth_multiple``, ``width_multiple``, ``anchors`` (per level a list
            of widths and heights, or a number of anchors), ``backbone``, ``head``, optional ``ch`` and
            ``activation``. A row is ``[from, number, module, args]``.
        where: the file, for messages.
        classes: overrides ``nc``, which may lack then.
        channels: of the images, unless the file has ``ch``.
        rules: fields of ``Architecture`` that the file does not say: its name, its release and what that decides.
            Without them it is "custom" and follows v4.0.

    Raises:
        ModelError: with the file and row or key, and the nearest known word.
    """
    known = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head", "ch", "activation")
    optional = ["ch", "activation", *(["nc"] if classes is not None else [])]
    entries = check_mapping(values, known, str(where), optional=optional)
    backbone = check_list(entries["backbone"], 0, MAX_ROWS, f"{where}: backbone")
    lines = backbone + check_list(entries["head"], 1, MAX_ROWS, f"{where}: head")
    chosen = {"name": "custom", "release": "v4.0", **(rules or {})}
    if "activation" in entries:
        chosen["activation"] = parse_activation(entries["activation"], f"{where}: activation")
    anchors = read_anchors(entries["anchors"], f"{where}: anchors")
    rows = tuple(parse_row(line, f"{where}: row {index}") for index, line in enumerate(lines))
    return placed(
        lambda: Architecture(
            rows=rows,
            backbone_rows=len(backbone),
            classes=entries["nc"] if classes is None else classes,
            channels=entries.get("ch", channels),
            anchors_px=anchors,
            depth_multiple=entries["depth_multiple"],
            width_multiple=entries["width_multiple"],
            **chosen,
        ),
        where,
    )


def parse_row(line: object, where: str) -> Row:
    """Read one ``[from, number, module, args]`` of a model file.

    Raises:
        ModelError: naming the row and, for an unknown module, the nearest known one.
    """
    source, repeats, module, arguments = check_list(line, 4, 4, where)
    if isinstance(module, str):
        module = module.removeprefix("torch.").removeprefix("nn.")
    sources = tuple(source) if isinstance(source, list) else (source,)
    given = check_list(arguments, 0, MAX_ARGUMENTS, f"{where}: arguments")
    return placed(lambda: Row(sources, repeats, module, tuple(_parse_argument(a) for a in given)), where)


def parse_activation(text: object, where: str) -> str:
    """The known activation that ``nn.SiLU()``, ``SiLU`` or ``nn.LeakyReLU(0.1, inplace=True)`` stands for.

    Raises:
        ModelError: naming the nearest known one.
    """
    word = check_text(text, where).replace(" ", "").removeprefix("torch.").removeprefix("nn.")
    for ignored in (",inplace=True", "inplace=True", "negative_slope="):
        word = word.replace(ignored, "")
    return check_word(word.removesuffix("()"), ACTIVATIONS, where)


def _parse_argument(value: object) -> Any:
    if isinstance(value, str):
        word = " ".join(value.split())
        return {"None": None, "False": False, "True": True}.get(word, word)
    return tuple(value) if isinstance(value, list) else value


def _check_argument(argument: object, where: str) -> None:
    if isinstance(argument, str):
        check_word(argument, TOKENS, where)
    elif isinstance(argument, tuple):
        for entry in check_list(argument, 1, MAX_ARGUMENTS, where):
            check_integer(entry, 0, MAX_CHANNELS, where)
    elif isinstance(argument, float):
        if not math.isfinite(argument):
            raise ModelError("must be finite", where=where)
    elif not (argument is None or isinstance(argument, bool)):
        check_integer(argument, 0, MAX_CHANNELS, where)


def _row_from_dict(value: object, where: str) -> Row:
    entries = check_mapping(value, [field.name for field in fields(Row)], where)
    source = check_list(entries["source"], 1, MAX_SOURCES, f"{where}: source")
    arguments = check_list(entries["arguments"], 0, MAX_ARGUMENTS, f"{where}: arguments")
    typed = tuple(tuple(a) if isinstance(a, list) else a for a in arguments)
    return placed(lambda: Row(tuple(source), entries["repeats"], entries["module"], typed), where)
