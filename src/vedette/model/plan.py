"""From the layer table to concrete layers: scaled channels and repeats, absolute sources, strides.

Pure arithmetic: nothing is built here, so an architecture can be refused before it costs memory.
Rules: specification ``model.md`` sections 1 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from vedette.errors import ModelError
from vedette.model.anchors import MAX_LEVELS
from vedette.model.bounds import check_flag, check_integer, check_list, check_number, placed
from vedette.model.rows import (
    ANCHORS_TOKEN,
    CLASSES_TOKEN,
    MAX_CHANNELS,
    MAX_REPEATS,
    NEAREST_TOKEN,
    OUTPUTS_TOKEN,
    Architecture,
    Argument,
    Row,
)

MAX_TOTAL_REPEATS = 2000
MAX_STRIDE = 1024
MAX_OUTPUTS = 2_000_000
# Values of a layer's output per pixel of the image; the largest published model has 20.
MAX_VALUES_PER_PIXEL = 1024

CSP_MODULES = ("BottleneckCSP", "C3")


@dataclass(frozen=True, slots=True)
class Layer:
    """One row with everything known.

    Attributes:
        index: position in the table.
        sources: absolute indices of the layers it reads; -1 is the image.
        module: name of its module.
        repeats: after the depth multiple: inner bottlenecks of a CSP module, else copies in sequence.
        arguments: keyword arguments of its module, besides the channels.
        in_channels: of every source.
        out_channels: of its output; of every level for Detect.
        stride: image size / output size; the largest level's for Detect.
    """

    index: int
    sources: tuple[int, ...]
    module: str
    repeats: int
    arguments: dict[str, Any]
    in_channels: tuple[int, ...]
    out_channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    kind: Literal["integer", "automatic", "integers", "fraction", "flag"]
    default: Argument
    low: int = 1
    high: int = 64


_KERNEL = _Parameter("kernel", "integer", 1)
_STRIDE = _Parameter("stride", "integer", 1, high=16)
_PADDING = _Parameter("padding", "automatic", None, low=0)
_GROUPS = _Parameter("groups", "integer", 1, high=MAX_CHANNELS)
_BOTTLENECK = (
    _Parameter("shortcut", "flag", True),
    _GROUPS,
    _Parameter("expansion", "fraction", 0.5),
)

_PARAMETERS: dict[str, tuple[_Parameter, ...]] = {
    "Bottleneck": _BOTTLENECK,
    "BottleneckCSP": _BOTTLENECK,
    "C3": _BOTTLENECK,
    "Conv": (_KERNEL, _STRIDE, _PADDING, _GROUPS),
    "Conv2d": (_KERNEL, _STRIDE, _Parameter("padding", "integer", 0, low=0)),
    "DWConv": (_KERNEL, _STRIDE),
    "Focus": (_KERNEL, _STRIDE),
    "SPP": (_Parameter("kernels", "integers", (5, 9, 13)),),
    "SPPF": (_Parameter("kernel", "integer", 5),),
}
"""What follows the channel count among a row's arguments, in order."""


def scaled_repeats(repeats: int, depth_multiple: float) -> int:
    """Repeats after the depth multiple: rounded half to even, at least 1; a single one stays single."""
    return max(round(repeats * depth_multiple), 1) if repeats > 1 else repeats


def scaled_channels(channels: float, multiple: float = 1.0, divisor: int = 8) -> int:
    """Channels after the width multiple, rounded up to a multiple of ``divisor``."""
    return math.ceil(channels * multiple / divisor) * divisor


def plan(architecture: Architecture) -> tuple[Layer, ...]:
    """The layers of an architecture.

    Raises:
        ModelError: a row reads a layer that does not exist before it, has arguments that its module does not
            take, does not fit its inputs, or is out of bounds; ``where`` names the row.
    """
    layers: list[Layer] = []
    for index, row in enumerate(architecture.rows):
        where = f"{architecture.name}: row {index}: {row.module}"
        layers.append(placed(partial(_resolve, architecture, row, layers), where))
    heads = [layer.index for layer in layers if layer.module == "Detect"]
    if heads != [len(layers) - 1]:
        raise ModelError("the last row, and no other, must be Detect", where=architecture.name)
    total = sum(layer.repeats for layer in layers)
    if total > MAX_TOTAL_REPEATS:
        raise ModelError(f"has {total} blocks, more than {MAX_TOTAL_REPEATS}", where=architecture.name)
    return tuple(layers)


def head_strides(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Strides of the head's levels, in the order of its inputs."""
    return tuple(layers[source].stride for source in layers[-1].sources)


def head_has_convolutions(layers: Sequence[Layer]) -> bool:
    """Whether Detect brings its own output convolutions; in v1.0 they are rows of the table."""
    outputs = layers[-1].out_channels
    inputs = [layers[source] for source in layers[-1].sources]
    return not all(layer.module == "Conv2d" and layer.out_channels == outputs for layer in inputs)


def feature_names(architecture: Architecture, layers: Sequence[Layer]) -> dict[str, int]:
    """Names of useful layers: ``backbone.p<k>`` and ``neck.p<k>``, stride 2^k, to their index.

    ``backbone.p<k>`` is the last backbone layer of that stride; ``neck.p<k>`` is the map the head's level of
    that stride is computed from (for v1.0 the one before the output convolution).
    """
    names: dict[str, int] = {}
    for layer in layers[: architecture.backbone_rows]:
        if layer.stride.bit_count() == 1:
            names[f"backbone.p{layer.stride.bit_length() - 1}"] = layer.index
    inside = not head_has_convolutions(layers)
    for source in layers[-1].sources:
        stride = layers[source].stride
        if stride.bit_count() == 1:
            names[f"neck.p{stride.bit_length() - 1}"] = layers[source].sources[0] if inside else source
    return names


def _resolve(architecture: Architecture, row: Row, layers: list[Layer]) -> Layer:
    index = len(layers)
    sources = tuple(_absolute(source, index) for source in row.source)
    channels = tuple(layers[s].out_channels if s >= 0 else architecture.channels for s in sources)
    strides = tuple(layers[s].stride if s >= 0 else 1 for s in sources)
    repeats = scaled_repeats(row.repeats, architecture.depth_multiple)
    check_integer(repeats, 1, MAX_REPEATS, "repeats after scaling")
    if row.module in ("Detect", "Concat") and repeats != 1:
        raise ModelError("cannot be repeated")
    if row.module not in ("Detect", "Concat") and len(sources) != 1:
        raise ModelError(f"reads one layer, not {len(sources)}")
    if any(layers[s].module == "Detect" for s in sources if s >= 0):
        raise ModelError("cannot read the head")
    if row.module == "Detect":
        arguments, width, stride = _detect(architecture, row, strides)
    elif row.module == "Concat":
        arguments, width, stride = _concat(row, channels, strides)
    elif row.module == "Upsample":
        arguments, width, stride = _upsample(row, channels[0], strides[0], repeats)
    else:
        arguments, width, stride = _convolutional(architecture, row, channels[0], strides[0], repeats)
    check_integer(stride, 1, MAX_STRIDE, "stride")
    if width > MAX_VALUES_PER_PIXEL * stride * stride:
        raise ModelError(f"{width} channels at stride {stride} are more than a picture can hold")
    return Layer(index, sources, row.module, repeats, arguments, channels, width, stride)


def _absolute(source: int, index: int) -> int:
    layer = source if source >= 0 else index + source
    if layer >= index or (layer < 0 and not (index == 0 and source == -1)):
        raise ModelError(f"'from' {source} is no earlier layer")
    return layer


def _detect(
    architecture: Architecture, row: Row, strides: tuple[int, ...]
) -> tuple[dict[str, Any], int, int]:
    if row.arguments != (CLASSES_TOKEN, ANCHORS_TOKEN):
        raise ModelError("takes the arguments nc, anchors")
    anchors = architecture.anchors_px
    if not isinstance(anchors, int) and len(anchors) != len(strides):
        raise ModelError(f"has {len(strides)} inputs but anchors for {len(anchors)} levels")
    check_integer(len(strides), 1, MAX_LEVELS, "levels")
    return {}, architecture.outputs_per_cell, max(strides)


def _concat(row: Row, channels: tuple[int, ...], strides: tuple[int, ...]) -> tuple[dict[str, Any], int, int]:
    if row.arguments != (1,):
        raise ModelError("takes the argument 1, the channel dimension")
    if len(set(strides)) != 1:
        raise ModelError(f"joins layers of the different strides {list(strides)}")
    return {}, check_integer(sum(channels), 1, MAX_CHANNELS, "channels"), strides[0]


def _upsample(row: Row, channels: int, stride: int, repeats: int) -> tuple[dict[str, Any], int, int]:
    if len(row.arguments) != 3 or row.arguments[0] is not None or row.arguments[2] != NEAREST_TOKEN:
        raise ModelError("takes the arguments None, a whole factor, nearest")
    factor = check_integer(row.arguments[1], 1, 16, "factor")
    if stride % factor**repeats:
        raise ModelError(f"cannot enlarge stride {stride} by {factor**repeats}")
    return {"factor": factor}, channels, stride // factor**repeats


def _convolutional(
    architecture: Architecture, row: Row, in_channels: int, stride: int, repeats: int
) -> tuple[dict[str, Any], int, int]:
    if not row.arguments:
        raise ModelError("takes the number of channels as its first argument")
    width = _width(architecture, row.arguments[0])
    arguments = _typed_arguments(row)
    _check_groups(row.module, arguments, in_channels, width)
    factor = _check_size(row.module, arguments)
    copies = 1 if row.module in CSP_MODULES else repeats
    if copies > 1 and in_channels != width:
        raise ModelError(f"cannot be repeated: it turns {in_channels} channels into {width}")
    return arguments, width, stride * factor**copies


def _width(architecture: Architecture, base: Argument) -> int:
    outputs = architecture.outputs_per_cell
    if base == OUTPUTS_TOKEN:
        return check_integer(outputs, 1, MAX_OUTPUTS, "channels")
    channels = check_integer(base, 1, MAX_CHANNELS, "channels")
    # The published rule exempts this number wherever it stands, so others' checkpoints rely on it.
    if channels == outputs:
        return channels
    width = scaled_channels(channels, architecture.width_multiple)
    return check_integer(width, 1, MAX_CHANNELS, "channels after scaling")


def _typed_arguments(row: Row) -> dict[str, Any]:
    parameters = _PARAMETERS[row.module]
    given = row.arguments[1:]
    if len(given) > len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise ModelError(f"takes at most channels, {names}")
    arguments: dict[str, Any] = {}
    for position, parameter in enumerate(parameters):
        value = given[position] if position < len(given) else parameter.default
        arguments[parameter.name] = _typed(value, parameter)
    return arguments


def _typed(value: Argument, parameter: _Parameter) -> Argument:
    if parameter.kind == "flag":
        return check_flag(value, parameter.name)
    if parameter.kind == "fraction":
        return check_number(value, 0.01, 4.0, parameter.name)
    if parameter.kind == "automatic" and value is None:
        return None
    if parameter.kind == "integers":
        entries = check_list(value, 1, 16, parameter.name)
        return tuple(check_integer(entry, parameter.low, parameter.high, parameter.name) for entry in entries)
    return check_integer(value, parameter.low, parameter.high, parameter.name)


def _check_groups(module: str, arguments: dict[str, Any], in_channels: int, width: int) -> None:
    groups = arguments.get("groups", 1)
    hidden = int(width * arguments.get("expansion", 1.0))
    check_integer(hidden, 1, MAX_CHANNELS, "hidden channels")
    grouped = {"Bottleneck": (hidden, width), "BottleneckCSP": (hidden,), "C3": (hidden,)}
    for channels in grouped.get(module, (in_channels, width)):
        if channels % groups:
            raise ModelError(f"{channels} channels do not fall into {groups} groups")


def _check_size(module: str, arguments: dict[str, Any]) -> int:
    """How many times smaller the output is; refuses kernels whose output is not exactly that."""
    if module in ("SPP", "SPPF"):
        kernels = arguments.get("kernels", (arguments.get("kernel"),))
        if any(kernel % 2 == 0 for kernel in kernels):
            raise ModelError(f"the kernels {list(kernels)} must be odd to keep the size")
        return 1
    kernel, stride = arguments.get("kernel", 1), arguments.get("stride", 1)
    padding = arguments.get("padding")
    border = 2 * (kernel // 2 if padding is None else padding)
    # (size + border - kernel) // stride + 1 must equal size / stride for every multiple of the stride
    if not 0 <= border - kernel + stride < stride:
        raise ModelError(
            f"kernel {kernel}, stride {stride}, padding {border // 2} do not divide the size evenly"
        )
    return int(2 * stride if module == "Focus" else stride)
