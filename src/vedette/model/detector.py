"""The detector: runs the rows of an architecture and returns raw levels; taps at any layer; summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vedette.errors import ModelError, nearest
from vedette.model.anchors import placeholder_anchors
from vedette.model.blocks import (
    ACTIVATIONS,
    C3,
    SPP,
    SPPF,
    Bottleneck,
    BottleneckCSP,
    Concat,
    Conv,
    DWConv,
    Focus,
    Style,
)
from vedette.model.head import Detect, initialise_biases
from vedette.model.plan import (
    CSP_MODULES,
    Layer,
    feature_names,
    head_has_convolutions,
    head_strides,
    plan,
)
from vedette.model.releases import architecture as find_architecture
from vedette.model.rows import Architecture
from vedette.model.summary import (
    LayerSummary,
    ModelSummary,
    count_fused_parameters,
    count_operations,
    count_parameters,
)

MAX_PARAMETERS = 1_000_000_000

_BLOCKS: dict[str, Any] = {
    "Bottleneck": Bottleneck,
    "BottleneckCSP": BottleneckCSP,
    "C3": C3,
    "Conv": Conv,
    "DWConv": DWConv,
    "Focus": Focus,
    "SPP": SPP,
    "SPPF": SPPF,
}
"""Row modules that are built as block(in_channels, out_channels, style, **arguments)."""


class _Step(NamedTuple):
    """How the network runs one layer."""

    sources: tuple[int, ...]
    joins: bool
    """The module takes a list of maps."""
    finished: tuple[int, ...]
    """Layers whose output nobody reads after this one."""


class Detector(nn.Module):
    """A network of layer-table rows.

    Tensors are named ``model.<row>.…`` in the order of the rows. The weights are initialised from torch's global
    generator; ``build_detector`` does it from a seed.

    Args:
        architecture: what to build.

    Attributes:
        architecture: as given.
        strides: of the levels, in the order of the head (v1.0: coarse to fine).
        classes: C.
        max_stride: image sides must be multiples of it.

    Raises:
        ModelError: the architecture does not fit together, or has over a billion parameters.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        layers = plan(architecture)
        with torch.device("meta"):
            size = sum(count_parameters(module) for module in _build_modules(architecture, layers))
        if size > MAX_PARAMETERS:
            raise ModelError(f"has {size} parameters, more than {MAX_PARAMETERS}", where=architecture.name)
        self.architecture = architecture
        self.classes = architecture.classes
        self.strides = head_strides(layers)
        self.max_stride = max(layer.stride for layer in layers)
        self.model = nn.ModuleList(_build_modules(architecture, layers))
        self._steps = _steps(layers)
        self._feature_names = feature_names(architecture, layers)

    @property
    def head(self) -> Detect:
        """The last row."""
        head = self.model[-1]
        assert isinstance(head, Detect)
        return head

    @property
    def output_convolutions(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that make the raw outputs, in the order of the levels."""
        inside = self.head._modules.get("m")
        modules = (
            inside.children() if inside is not None else [self.model[s] for s in self._steps[-1].sources]
        )
        return tuple(module for module in modules if isinstance(module, nn.Conv2d))

    @property
    def level_inputs(self) -> tuple[int, ...]:
        """Index of the layer that the output convolution of each level reads, in the order of ``strides``."""
        sources = self._steps[-1].sources
        if "m" in self.head._modules:
            return sources
        return tuple(self._steps[source].sources[0] for source in sources)

    @property
    def feature_names(self) -> dict[str, int]:
        """Names that ``features`` knows, with the index of their layer."""
        return dict(self._feature_names)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Raw levels, in training and in evaluation mode.

        Args:
            images: floating [B, channels, H, W], 0..1, RGB; H and W multiples of ``max_stride``.

        Returns:
            One [B, A, h, w, 5+C] a level, in the order of ``strides``: logits, see ``Detect.decode``. They are
            views, not contiguous in general.

        Raises:
            ModelError: images of a wrong shape or type.
        """
        return self.inspect(images, ())[0]

    def train(self, mode: bool = True) -> Detector:
        """As any module; but normalization layers whose parameters are frozen keep their statistics.

        A layer is frozen if none of its parameters requires a gradient.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.eval()
        return self

    def features(self, images: Tensor, layers: Sequence[int | str]) -> dict[int | str, Tensor]:
        """Outputs of chosen layers.

        Args:
            images: as for ``forward``.
            layers: row numbers, or names: ``backbone.p3`` (the last backbone layer of stride 2^3) or ``neck.p4``
                (what the head's level of stride 2^4 is computed from); ``feature_names`` lists them.

        Returns:
            The map [B, c, h, w] of every layer asked for, under the key it was asked by.

        Raises:
            ModelError: no such layer, or images of a wrong shape or type.
        """
        chosen = {layer: self.layer_index(layer) for layer in layers}
        outputs = self._run(images, max(chosen.values(), default=-1) + 1, frozenset(chosen.values()))
        return {layer: outputs[index] for layer, index in chosen.items()}

    def inspect(
        self, images: Tensor, layers: Sequence[int | str]
    ) -> tuple[list[Tensor], dict[int | str, Tensor]]:
        """Raw levels, as of ``forward``, and outputs of chosen layers, as of ``features``, in one pass."""
        chosen = {layer: self.layer_index(layer) for layer in layers}
        outputs = self._run(images, len(self.model) - 1, frozenset(chosen.values()))
        levels: list[Tensor] = self.head([outputs[source] for source in self._steps[-1].sources])
        return levels, {layer: outputs[index] for layer, index in chosen.items()}

    def planes(self, images: Tensor) -> list[Tensor]:
        """What the output convolutions give: [B, A*(5+C), h, w] a level; images as for ``forward``."""
        return self.planes_and_maps(images, ())[0]

    def planes_and_maps(self, images: Tensor, layers: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Planes, as of ``planes``, and the outputs [B, c, h, w] of chosen layers, in one pass."""
        outputs = self._run(images, len(self.model) - 1, frozenset(layers))
        planes = self.head.convolve([outputs[source] for source in self._steps[-1].sources])
        return planes, [outputs[layer] for layer in layers]

    def _run(self, images: Tensor, count: int, kept: frozenset[int]) -> dict[int, Tensor]:
        """Run the first ``count`` layers; outputs nobody reads any more are dropped, except those ``kept``."""
        self._check_images(images)
        outputs: dict[int, Tensor] = {-1: images}
        for index, (layer, step) in enumerate(zip(self.model, self._steps, strict=True)):
            if index == count:
                break
            maps = [outputs[source] for source in step.sources]
            outputs[index] = layer(maps if step.joins else maps[0])
            for finished in step.finished:
                if finished not in kept:
                    del outputs[finished]
        return outputs

    def layer_index(self, layer: int | str) -> int:
        """Index of a layer that ``features`` can give, by index or name. Raises ModelError."""
        index = self._feature_names.get(layer) if isinstance(layer, str) else layer
        if index is None:
            raise ModelError(
                "no feature of that name",
                where=f"layers: {layer}",
                fix=nearest(str(layer), self._feature_names),
            )
        if isinstance(index, bool) or not 0 <= index < len(self.model) - 1:
            last = len(self.model) - 2
            raise ModelError(
                "no such layer with one output", where=f"layers: {layer}", fix=f"choose from 0 to {last}"
            )
        return index

    def _check_images(self, images: Tensor) -> None:
        tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if tracing or torch.compiler.is_compiling():
            return  # sizes may be symbols there
        channels, step = self.architecture.channels, self.max_stride
        if (
            images.ndim != 4
            or images.shape[1] != channels
            or images.shape[2] % step
            or images.shape[3] % step
        ):
            expected = f"[B, {channels}, H, W] with H and W multiples of {step}"
            raise ModelError(
                f"images have the shape {list(images.shape)}, expected {expected}", where="images"
            )
        if not images.is_floating_point():
            raise ModelError(f"images are {images.dtype}, expected a floating type in 0..1", where="images")


def build_detector(
    model: str | Architecture, classes: int | None = None, channels: int = 3, seed: int = 0
) -> Detector:
    """A freshly initialised detector on the CPU, the same for the same seed; global generators stay as they are.

    Convolutions keep torch's default initialisation; the output biases get ``head.bias_offsets``.

    Args:
        model: a name or YAML file (see ``releases.architecture``), or an architecture.
        classes: C; None means 80, or what the file or architecture says.
        channels: of the images, unless a file or architecture says.
        seed: of the weights.

    Raises:
        ModelError: an unknown name, or an architecture that is not accepted.
    """
    if isinstance(model, str):
        chosen = find_architecture(model, classes=classes, channels=channels)
    else:
        chosen = model if classes is None else replace(model, classes=classes)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        detector = Detector(chosen)
    for convolution, stride in zip(detector.output_convolutions, detector.strides, strict=True):
        initialise_biases(convolution, stride, chosen.classes, class_prior_offset=chosen.class_prior_offset)
    return detector


def summary(model: Detector | Architecture, size_hw: tuple[int, int] = (640, 640)) -> ModelSummary:
    """A detector or architecture in numbers; nothing is computed on images and no weights are allocated.

    Args:
        model: what to describe; the anchors of a detector are those it holds now.
        size_hw: image size of the GFLOPs.

    Raises:
        ModelError: the architecture is not accepted.
    """
    chosen = model.architecture if isinstance(model, Detector) else model
    layers = plan(chosen)
    with torch.device("meta"):
        plain = Detector(chosen)
    head = model.head if isinstance(model, Detector) else _build_head(chosen, layers)
    return ModelSummary(
        name=chosen.name,
        release=chosen.release,
        parameters=count_parameters(plain),
        parameters_fused=count_fused_parameters(plain),
        gflops=count_operations(layers, list(plain.model), size_hw) / 1e9,
        classes=chosen.classes,
        strides=plain.strides,
        anchors_px=tuple(
            tuple((width, height) for width, height in level) for level in head.anchors_px().tolist()
        ),
        layers=tuple(
            LayerSummary(
                index=layer.index,
                source=row.source,
                module=layer.module,
                arguments=row.arguments,
                output_channels=layer.out_channels,
                stride=plain.strides if layer.module == "Detect" else layer.stride,
                parameters=count_parameters(module),
            )
            for layer, row, module in zip(layers, chosen.rows, plain.model, strict=True)
        ),
    )


def _build_modules(architecture: Architecture, layers: Sequence[Layer]) -> list[nn.Module]:
    activation = ACTIVATIONS[architecture.activation]
    if architecture.shared_activation:
        shared = activation()
        style = Style(lambda: shared, ACTIVATIONS[architecture.csp_activation], architecture.bn_eps)
    else:
        style = Style(activation, ACTIVATIONS[architecture.csp_activation], architecture.bn_eps)
    blocks = [_build_layer(layer, style) for layer in layers[:-1]]
    return [*blocks, _build_head(architecture, layers)]


def _build_layer(layer: Layer, style: Style) -> nn.Module:
    if layer.module in CSP_MODULES:
        return _build_once(layer, style, repeats=layer.repeats)
    copies = [_build_once(layer, style) for _ in range(layer.repeats)]
    return copies[0] if len(copies) == 1 else nn.Sequential(*copies)


def _build_once(layer: Layer, style: Style, **more: int) -> nn.Module:
    if layer.module == "Concat":
        return Concat()
    if layer.module == "Upsample":
        return nn.Upsample(scale_factor=layer.arguments["factor"], mode="nearest")
    if layer.module == "Conv2d":
        arguments = layer.arguments
        return nn.Conv2d(
            layer.in_channels[0],
            layer.out_channels,
            arguments["kernel"],
            arguments["stride"],
            arguments["padding"],
        )
    block: nn.Module = _BLOCKS[layer.module](
        layer.in_channels[0], layer.out_channels, style, **layer.arguments, **more
    )
    return block


def _build_head(architecture: Architecture, layers: Sequence[Layer]) -> Detect:
    head = layers[-1]
    anchors = architecture.anchors_px
    if isinstance(anchors, int):
        anchors = placeholder_anchors(len(head.sources), anchors)
    return Detect(
        architecture.classes,
        anchors,
        head_strides(layers),
        head.in_channels if head_has_convolutions(layers) else (),
        anchor_grid=architecture.anchor_grid,
    )


def _steps(layers: Sequence[Layer]) -> tuple[_Step, ...]:
    last_reader = {source: layer.index for layer in layers for source in layer.sources}
    return tuple(
        _Step(
            layer.sources,
            layer.module in ("Concat", "Detect"),
            tuple(source for source, reader in last_reader.items() if reader == layer.index),
        )
        for layer in layers
    )
