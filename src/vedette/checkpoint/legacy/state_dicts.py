"""Tensors by name without a network: which published model do they belong to?

Names and shapes decide. What they leave open (the activations of the first releases, class names) is taken from the
release that fits, and said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vedette.checkpoint.legacy.fitting import unfused
from vedette.checkpoint.legacy.tables import with_anchors
from vedette.errors import CheckpointError, ModelError
from vedette.model.detector import Detector
from vedette.model.releases import architecture as find_architecture
from vedette.model.releases import known_names
from vedette.model.rows import Architecture

_ROW = re.compile(r"model\.([0-9]{1,4})\.", re.ASCII)
_OUTPUT_BIAS = re.compile(r"model\.[0-9]{1,4}\.(m\.[0-9]{1,2}\.)?bias", re.ASCII)
_MAX_CLASS_COUNTS = 2
_STEM = (".conv.conv.weight", ".conv.weight")


def recognised(tensors: Mapping[str, Tensor], table: Architecture | None = None) -> Architecture:
    """The architecture that tensors belong to, with their number of classes and their anchors.

    Args:
        tensors: by name, as stored.
        table: what they are said to belong to, but for classes and anchors; None to try the published models.

    Raises:
        CheckpointError: they fit none.
    """
    rows = [int(match.group(1)) for match in map(_ROW.match, tensors) if match]
    anchors = tensors.get(f"model.{max(rows, default=0)}.anchors")
    if anchors is None or anchors.ndim != 3 or anchors.shape[2] != 2 or not anchors.numel():
        raise CheckpointError(
            "holds tensors, but not those of a detector: the anchors of a head are missing",
            fix="vedette imports YOLOv5 v1.0 to v7.0",
        )
    for candidate in [table] if table else _candidates(tensors):
        found = _fitting(candidate, tensors, anchors)
        if found is not None:
            return found
    raise CheckpointError(
        f"holds tensors that do not fit {table.name if table else 'any published model'}",
        fix="name the model file of its layers with --cfg, or import the whole checkpoint instead of its tensors",
    )


def _candidates(tensors: Mapping[str, Tensor]) -> list[Architecture]:
    """Published models whose first layer has the channels of the stored one; newest first, v7.0 before v6.0."""
    stems = [tensors[f"model.0{end}"] for end in _STEM if f"model.0{end}" in tensors]
    width = stems[0].shape[0] if stems and stems[0].ndim == 4 else 0
    found = []
    for name in sorted(known_names(), key=lambda name: name.partition("@")[2] or "v4.0", reverse=True):
        chosen = find_architecture(name)
        if -(-64 * chosen.width_multiple // 8) * 8 == width:
            found.append(chosen)
    return found


def _fitting(candidate: Architecture, tensors: Mapping[str, Tensor], anchors: Tensor) -> Architecture | None:
    """An architecture with classes and anchors of its own, if exactly these tensors belong to it."""
    for classes in _class_counts(tensors, anchors.shape[1]):
        try:
            chosen = with_anchors(replace(candidate, classes=classes), anchors)
            with torch.device("meta"):
                detector = Detector(chosen)
        except ModelError:
            continue
        expected = {key: tensor.shape for key, tensor in detector.state_dict().items()}
        if expected == {key: tensor.shape for key, tensor in unfused(tensors, detector).items()}:
            return chosen
    return None


def _class_counts(tensors: Mapping[str, Tensor], anchors_per_level: int) -> list[int]:
    """Numbers of classes that the biases of output convolutions, which alone have one, may stand for.

    In v1.0 these convolutions are rows, and a table may have others like them; the most frequent are tried.
    """
    widths = Counter(
        tensor.shape[0]
        for name, tensor in tensors.items()
        if _OUTPUT_BIAS.fullmatch(name) and tensor.ndim == 1
    )
    counts = [
        width // anchors_per_level - 5
        for width, _ in widths.most_common()
        if width % anchors_per_level == 0 and width // anchors_per_level > 5
    ]
    return counts[:_MAX_CLASS_COUNTS]
