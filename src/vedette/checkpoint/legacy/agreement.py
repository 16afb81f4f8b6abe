"""Whether a stored network computes what the detector built from its layer table computes.

Modules are compared at every place: kind, sizes of kernels, steps, eps, shortcuts, sources. So a network whose
modules were changed after it was built is refused, not imported as something else.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vedette.checkpoint.legacy.modules import StoredModule
from vedette.checkpoint.legacy.values import plain
from vedette.errors import CheckpointError
from vedette.model.detector import Detector

_PAIRS = ("kernel_size", "stride", "padding", "dilation")
_COMPARED = {
    "Conv2d": (*_PAIRS, "groups", "padding_mode"),
    "MaxPool2d": (*_PAIRS, "ceil_mode"),
    "BatchNorm2d": ("eps",),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "Upsample": ("scale_factor", "mode", "size"),
    "Bottleneck": ("add",),
}
"""Attributes that decide what a module computes, besides its tensors."""

_MOST_VALUES = 100
"""Of an attribute: sizes are pairs, and a row reads at most 64 others."""

_SAME = {"ModuleList": "Sequential", "DWConv": "Conv", "Detector": "Model"}
"""Kinds that compute the same, and differ in what runs them."""


def check_agreement(modules: Sequence[StoredModule], detector: Detector) -> None:
    """Compare stored modules with a detector.

    A normalisation that was fused into its convolution may be missing.

    Raises:
        CheckpointError: naming the first places at which they differ.
    """
    stored = {module.place: module for module in modules}
    own = dict(detector.named_modules(remove_duplicate=False))
    problems = [f"{place} is not in its layer table" for place in stored if place not in own]
    for place, module in own.items():
        twin = stored.get(place)
        if twin is None:
            if not place.endswith(".bn"):
                problems.append(f"{place} is missing")
            continue
        problems += [f"{place or 'model'}: {text}" for text in _differences(twin, module)]
    problems += _source_problems(stored, detector)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"its modules are not those of its layer table: {'; '.join(problems[:5])}{more}", where="model"
        )


def _differences(stored: StoredModule, own: nn.Module) -> list[str]:
    kind = type(own).__name__
    if _SAME.get(stored.kind, stored.kind) != _SAME.get(kind, kind):
        return [f"{stored.kind} instead of {kind}"]
    problems = []
    for name in _COMPARED.get(kind, ()):
        if name in stored.attributes and hasattr(own, name):
            theirs, ours = _comparable(name, stored.attributes[name]), _comparable(name, getattr(own, name))
            if theirs != ours:
                problems.append(f"{name} is {str(theirs)[:40]} instead of {ours}")
    if kind == "Concat" and stored.attributes.get("d", 1) != 1:
        problems.append("joins along another dimension than 1")
    return problems


def _comparable(name: str, value: object) -> object:
    """Sizes as pairs; numbers as floats, for 2 and 2.0 are the same factor."""
    value = plain(value, name, _MOST_VALUES)
    if isinstance(value, list):
        return value if len(value) != 1 else value * 2
    if name in _PAIRS and isinstance(value, int):
        return [value, value]
    return (
        float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e9 else value
    )


def _source_problems(stored: dict[str, StoredModule], detector: Detector) -> list[str]:
    problems = []
    for number, row in enumerate(detector.architecture.rows):
        module = stored.get(f"model.{number}")
        source = None if module is None else plain(module.attributes.get("f"), "f", _MOST_VALUES)
        sources = source if isinstance(source, list) else [source]
        count = len(detector.architecture.rows)
        if source is not None and not _same_sources(sources, row.source, number, count):
            problems.append(f"model.{number} reads {str(sources)[:40]} instead of {list(row.source)}")
    return problems


def _same_sources(theirs: list[object], ours: Sequence[int], number: int, count: int) -> bool:
    """Whether two lists of sources, each absolute or counted backwards, are the same layers."""
    if not all(isinstance(source, int) and -count <= source < count for source in theirs):
        return False
    absolute = [source if source >= 0 else number + source for source in theirs if isinstance(source, int)]
    return absolute == [source if source >= 0 else number + source for source in ours]
