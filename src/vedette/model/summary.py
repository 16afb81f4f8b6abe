"""What a detector is made of, in numbers.

GFLOPs follow the published tables (specification ``model.md`` section 7): two operations a multiply-accumulate of
the fused network, one accumulate for a bias; only convolutions count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from vedette.model.blocks import Conv
from vedette.model.plan import Layer, head_strides
from vedette.model.rows import Argument


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One row of the layer table.

    Attributes:
        index: position in the table.
        source: layers it reads, as written.
        module: its name.
        arguments: as written, before scaling.
        output_channels: of its output; of every level for the head.
        stride: image size / output size; one number a level for the head.
        parameters: before fusing.
    """

    index: int
    source: tuple[int, ...]
    module: str
    arguments: tuple[Argument, ...]
    output_channels: int
    stride: int | tuple[int, ...]
    parameters: int


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A detector in numbers.

    Attributes:
        name: of the architecture.
        release: whose rules it follows.
        parameters: before fusing.
        parameters_fused: after it.
        gflops: operations on one image, in 1e9.
        classes: C.
        strides: of the levels, in the order of the head.
        anchors_px: per level the (width, height) pairs in pixels.
        layers: the layer table.
    """

    name: str
    release: str
    parameters: int
    parameters_fused: int
    gflops: float
    classes: int
    strides: tuple[int, ...]
    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    layers: tuple[LayerSummary, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``anchors_px`` is called ``anchors``."""
        values = {("anchors" if key == "anchors_px" else key): value for key, value in asdict(self).items()}
        return {key: _plain(value) for key, value in values.items()}


def count_parameters(module: nn.Module) -> int:
    """Numbers that are learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_fused_parameters(network: nn.Module) -> int:
    """Parameters after fusing: a bias takes the place of a normalisation's scale and shift."""
    fused = sum(conv.out_channels for conv in _normalised_convolutions(network))
    return count_parameters(network) - fused


def count_operations(
    layers: Sequence[Layer], modules: Sequence[nn.Module], size_hw: tuple[int, int]
) -> float:
    """Operations of the fused network's convolutions on one image of ``size_hw``, from shapes alone."""
    operations = 0.0
    for layer, module in zip(layers, modules, strict=True):
        biased = set(_normalised_convolutions(module))
        for convolution, stride in _convolutions_at(layer, module, layers):
            accumulates = convolution.weight[0].numel()
            if convolution.bias is not None or convolution in biased:
                accumulates += 1
            cells = size_hw[0] * size_hw[1] / stride**2
            operations += 2.0 * cells * convolution.out_channels * accumulates
    return operations


def _normalised_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module.conv for module in network.modules() if isinstance(module, Conv) and module.bn is not None]


def _convolutions_at(
    layer: Layer, module: nn.Module, layers: Sequence[Layer]
) -> Iterator[tuple[nn.Conv2d, int]]:
    """The convolutions of one layer with the stride of their output."""
    if layer.module == "Detect":
        parts = [conv for conv in module.modules() if isinstance(conv, nn.Conv2d)]
        yield from zip(parts, head_strides(layers) if parts else (), strict=True)
        return
    copies = list(module) if isinstance(module, nn.Sequential) else [module]
    before = layers[layer.sources[0]].stride if layer.sources[0] >= 0 else 1
    for number, copy in enumerate(copies, start=1):
        # Every copy enlarges the stride by the same factor.
        stride = before * round((layer.stride / before) ** (number / len(copies)))
        yield from ((conv, stride) for conv in copy.modules() if isinstance(conv, nn.Conv2d))


def _plain(value: Any) -> Any:
    convert: Callable[[Any], Any] = _plain
    if isinstance(value, dict):
        return {key: convert(entry) for key, entry in value.items()}
    return [convert(entry) for entry in value] if isinstance(value, (list, tuple)) else value
