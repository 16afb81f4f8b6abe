"""A detector in one file: weights, architecture, class names and preprocessing, usable without training code.

The file is one of :mod:`vedette.checkpoint.tensors`; its metadata is

=============== ======================================================================================
kind            ``detector``
schema_version  version of this layout: 1; 2 if the pictures are not 8-bit RGB, which versions that know 1 cannot read
architecture    the layer table, as plain values
anchors_px      anchors in pixels by level, in the order of the head; the same are among the tensors
class_names     by class id
letterbox       how a picture becomes a frame, and of what it is made (``picture_format``, where not 8-bit RGB)
metadata        the writer's own: metrics, epoch, training data
=============== ======================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vedette.checkpoint.class_names import checked_class_names
from vedette.checkpoint.tensors import read_tensors, write_tensors
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import CheckpointError, ModelError
from vedette.model.detector import Detector
from vedette.model.rows import Architecture

SCHEMA_VERSION = 2
_RGB8_SCHEMA = 1
_KIND = "detector"
_FIX = "use another copy of the file, or the original it was made from"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LoadedDetector:
    """A detector and what is needed to use it.

    Attributes:
        detector: on the CPU, float32, in evaluation mode.
        class_names: by class id.
        letterbox: the preprocessing it was trained with.
        metadata: what the writer added; not checked.
    """

    detector: Detector
    class_names: tuple[str, ...]
    letterbox: LetterboxPolicy
    metadata: dict[str, Any]


def save_detector(  # noqa: PLR0913  # a record's parts, all named but two
    path: Path,
    detector: Detector,
    *,
    class_names: Sequence[str],
    letterbox: LetterboxPolicy,
    metadata: Mapping[str, Any],
    half: bool = False,
    allow_nonfinite: bool = False,
) -> None:
    """Write a detector that :func:`load_detector` can read alone, whole or not at all.

    Args:
        path: the file to create or replace.
        detector: not fused; on any device.
        class_names: one a class, at most 256 characters each, no control characters.
        letterbox: the preprocessing that belongs to it.
        metadata: JSON values.
        half: store convolution weights in float16, for half the size; all else, and without it everything, is float32.
        allow_nonfinite: accept weights that are NaN or infinite.

    Raises:
        CheckpointError: a class name or weight cannot be stored, or the letterbox is for other channels.
        WriteError: the file could not be written; the previous one is kept.
    """
    path = Path(path)
    architecture = detector.architecture
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in detector.state_dict().items()
    }
    _check_tensors(tensors, architecture, path)
    if half:
        tensors = {
            name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
            for name, tensor in tensors.items()
        }
    letterbox = _for_channels(letterbox, architecture, path)
    content = {
        "kind": _KIND,
        "schema_version": _RGB8_SCHEMA if letterbox.picture_format == RGB8 else SCHEMA_VERSION,
        "architecture": architecture.to_dict(),
        "anchors_px": detector.head.anchors_px().tolist(),
        "class_names": list(checked_class_names(list(class_names), architecture.classes, path)),
        "letterbox": letterbox.to_dict(),
        "metadata": dict(metadata),
    }
    write_tensors(path, tensors, content, allow_nonfinite=allow_nonfinite)


def load_detector(path: Path) -> LoadedDetector:
    """Read a file of :func:`save_detector`. Nothing in it is executed; memory is bounded by the file's size.

    Raises:
        CheckpointError: the file is missing, damaged, or no detector of vedette; or its tensors do not fit its
            architecture (missing, unknown and misshapen ones are named).
    """
    path = Path(path)
    stored, content = read_tensors(path)
    tensors = {
        name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in stored.items()
    }
    if content.get("kind") != _KIND:
        raise CheckpointError("holds no detector", where=path, fix="use a file of the folder weights/")
    letterbox_values = content.get("letterbox")
    other_pictures = isinstance(letterbox_values, dict) and "picture_format" in letterbox_values
    if content.get("schema_version") != (SCHEMA_VERSION if other_pictures else _RGB8_SCHEMA):
        raise CheckpointError(
            f"has detector schema {content.get('schema_version')!r:.40}; this version reads {SCHEMA_VERSION}",
            where=path,
            fix="update vedette",
        )
    architecture_values, metadata = content.get("architecture"), content.get("metadata")
    if not isinstance(architecture_values, dict) or not isinstance(metadata, dict):
        raise CheckpointError("lacks its architecture or its metadata", where=path, fix=_FIX)
    try:
        architecture = Architecture.from_dict(architecture_values)
        letterbox = LetterboxPolicy.from_dict(letterbox_values)
    except ModelError as error:
        raise CheckpointError(
            f"is not accepted: {error.what}", where=f"{path}: {error.where}", fix=error.fix or _FIX
        ) from None
    letterbox = _for_channels(letterbox, architecture, path)
    class_names = checked_class_names(content.get("class_names"), architecture.classes, path)
    detector = _check_tensors(tensors, architecture, path)
    # The tensors become the weights: nothing is initialised first, so no random number is drawn either.
    detector.load_state_dict(tensors, assign=True)
    return LoadedDetector(detector.eval(), class_names, letterbox, metadata)


def _for_channels(letterbox: LetterboxPolicy, architecture: Architecture, path: Path) -> LetterboxPolicy:
    """The letterbox of a network's channels; one that says nothing of them means 8 bits each."""
    channels, pictures = architecture.channels, letterbox.picture_format
    if pictures.channels == channels:
        return letterbox
    if pictures != RGB8:
        raise CheckpointError(
            f"its network is for {channels} channels, its letterbox for {pictures.channels}",
            where=path,
            fix=_FIX,
        )
    try:
        return replace(letterbox, picture_format=PictureFormat(channels))
    except ModelError as error:
        raise CheckpointError(f"is not accepted: {error.what}", where=path, fix=_FIX) from None


def _check_tensors(tensors: Mapping[str, torch.Tensor], architecture: Architecture, path: Path) -> Detector:
    """Compare tensors with an architecture; returns its detector, still without memory (on the meta device)."""
    try:
        with torch.device("meta"):
            detector = Detector(architecture)
    except ModelError as error:
        raise CheckpointError(
            f"its architecture is not accepted: {error.what}", where=path, fix=error.fix or _FIX
        ) from None
    expected = detector.state_dict()
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unknown {name[:200]!r}" for name in tensors if name not in expected]
    for name, tensor in expected.items():
        stored = tensors.get(name)
        if stored is not None and (stored.shape != tensor.shape or stored.dtype != tensor.dtype):
            problems.append(f"{name} is {_described(stored)} and should be {_described(tensor)}")
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{len(problems)} tensors do not fit its architecture: {'; '.join(problems[:_SHOWN])}{more}",
            where=path,
            fix=_FIX,
        )
    return detector


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
