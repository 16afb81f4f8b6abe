"""The entry points that ``hubconf.py`` offers: published models by name, and any file (inference.md, section 7)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from vedette.core.device import select_device
from vedette.errors import UsageError, nearest
from vedette.hub.autoshape import AutoShape
from vedette.hub.exported import ExportedModel
from vedette.hub.model import HubModel, describe
from vedette.hub.weights import find_weights, read_weights
from vedette.infer.backends.files import runtime_of
from vedette.model.detector import Detector, build_detector
from vedette.model.fuse import fuse
from vedette.model.releases import DEFAULT_CLASSES
from vedette.train.start.transfer import first_convolution, fitted_channels, transferable

RELEASES = {
    **{f"yolov5{size}": "v4.0" for size in "smlx"},
    "yolov5n": "v7.0",
    **{f"yolov5{size}6": "v7.0" for size in "nsmlx"},
}
"""The release whose layer table a name means: v4.0, or v7.0 for those that v4.0 did not have."""

Device = str | int | torch.device | None


class EntryPoint(Protocol):
    """A published model; arguments as for :func:`create`."""

    def __call__(  # noqa: PLR0913 - the published arguments
        self,
        pretrained: bool | str | Path = True,
        channels: int = 3,
        classes: int = DEFAULT_CLASSES,
        autoshape: bool = True,
        verbose: bool = True,
        device: Device = None,
        *,
        _verbose: bool = True,
        release: str = "",
    ) -> HubModel | AutoShape:
        """The model."""
        ...


def entry_point(name: str) -> EntryPoint:
    """A function that makes the model of that name."""
    point = partial(create, name)
    point.__doc__ = f"{name}. {create.__doc__}"
    return point


def create(  # noqa: PLR0913, PLR0917 - the published arguments
    name: str,
    pretrained: bool | str | Path = True,
    channels: int = 3,
    classes: int = DEFAULT_CLASSES,
    autoshape: bool = True,
    verbose: bool = True,
    device: Device = None,
    *,
    _verbose: bool = True,
    release: str = "",
) -> HubModel | AutoShape:
    """A published model.

    Args:
        name: ``yolov5n`` to ``yolov5x``, ``yolov5n6`` to ``yolov5x6``.
        pretrained: True: from a file ``NAME.pt`` or ``NAME.safetensors`` in the current folder. A path: from that
            file. False: random weights, the same every time.
        channels: of the pictures, 8 bits each. The first convolution of a file is fitted to them.
        classes: number of classes. Tensors of a file that do not fit it are left out.
        autoshape: return a model that takes pictures of any kind, fused and in evaluation mode; else the bare
            model, in training mode.
        verbose: print what was made.
        device: "cpu", 0, "cuda:0", "mps"; None: the first GPU, else the CPU.
        _verbose: the same as ``verbose``, which ``torch.hub.load`` keeps for itself.
        release: with ``pretrained=False``: the layer table of another release ("v1.0", "v6.0" ...).

    Raises:
        CheckpointError: there is no file of weights, or it cannot be read.
        ModelError: no such model.
        UsageError: no such device.
    """
    chosen = _device(device)
    if pretrained is False:
        detector = build_detector(f"{name}@{release or RELEASES.get(name, 'v7.0')}", classes, channels)
        model = HubModel(detector, _numbered(classes))
    else:
        model = _pretrained(find_weights(name) if pretrained is True else pretrained, classes, channels)
    return _finished(model.train(), autoshape=autoshape, verbose=verbose and _verbose, device=chosen)


def custom(
    path: object = "path/to/model.pt",
    autoshape: bool = True,
    _verbose: bool = True,
    device: Device = None,
    *,
    path_or_model: object = None,
    verbose: bool = True,
) -> HubModel | AutoShape | ExportedModel:
    """The model of a file.

    Args:
        path: a checkpoint of vedette, a published ``.pt``, or a file that `vedette export` wrote; or a model that is
            already there, also as the entry ``model`` of a dict.
        autoshape: return a model that takes pictures of any kind, fused and in evaluation mode; else the bare
            model of a file, in training mode.
        _verbose: print what was loaded.
        device: "cpu", 0, "cuda:0", "mps"; None: the first GPU, else the CPU.
        path_or_model: the older name of ``path``.
        verbose: the same as ``_verbose``.

    Raises:
        CheckpointError: the file is missing, damaged or of no known kind.
        UsageError: neither file nor model; or no such device.
    """
    given = path if path_or_model is None else path_or_model
    if isinstance(given, (str, Path)) and runtime_of(Path(given)):
        exported = ExportedModel(Path(given), "" if device is None else str(device))
        if verbose and _verbose:
            sys.stdout.write(f"{Path(given).name}: {exported.nc} classes\n")
        return AutoShape(exported) if autoshape else exported
    return _finished(
        _existing(given), autoshape=autoshape, verbose=verbose and _verbose, device=_device(device)
    )


def load(model: str, *arguments: object, **options: object) -> HubModel | AutoShape | ExportedModel:
    """``torch.hub.load`` without the repository: ``load("custom", path="best.pt")``, ``load("yolov5s", ...)``.

    Raises:
        UsageError: no such entry point; and what the entry point raises.
    """
    points = {"custom": custom, **{name: partial(create, name) for name in RELEASES}}
    if model not in points:
        raise UsageError("no such entry point", where=str(model)[:80], fix=nearest(str(model)[:80], points))
    return points[model](*arguments, **options)  # type: ignore[operator,no-any-return]


def _pretrained(path: str | Path, classes: int, channels: int) -> HubModel:
    """The file's detector; for another number of classes or channels a new one with all tensors that fit."""
    loaded = read_weights(path)
    given, before = loaded.detector, loaded.detector.architecture.channels
    if (given.classes, before) == (classes, channels):
        return HubModel(given, loaded.class_names, loaded.letterbox.picture_format)
    detector = build_detector(replace(given.architecture, classes=classes, channels=channels))
    own, theirs = detector.state_dict(), given.state_dict()
    taken = {name: theirs[name] for name in transferable(own, theirs)}
    for name in first_convolution(own, theirs, (before, channels)):
        taken[name] = fitted_channels(theirs[name], before, channels)
    detector.load_state_dict(taken, strict=False)
    same = before == channels
    return HubModel(
        detector,
        loaded.class_names if given.classes == classes else _numbered(classes),
        loaded.letterbox.picture_format if same else None,
    )


def _existing(model: object) -> HubModel:
    if isinstance(model, Mapping):
        model = model.get("model")
    if isinstance(model, AutoShape):
        model = model.model
    if isinstance(model, HubModel):
        return model
    if isinstance(model, Detector):
        return HubModel(model, _numbered(model.classes))
    if isinstance(model, (str, Path)):
        loaded = read_weights(model)
        return HubModel(loaded.detector, loaded.class_names, loaded.letterbox.picture_format).train()
    raise UsageError(
        f"a {type(model).__name__} is neither a file nor a model",
        where="custom(path=...)",
        fix="give the path of a checkpoint",
    )


def _finished(
    model: HubModel, *, autoshape: bool, verbose: bool, device: torch.device
) -> HubModel | AutoShape:
    if verbose:
        sys.stdout.write(f"{describe(model.detector)}\n")
    finished: HubModel | AutoShape = model
    if autoshape:
        names = [model.names[number] for number in range(model.nc)]
        finished = AutoShape(HubModel(fuse(model.detector), names, model.picture_format))
    return finished.to(device)


def _device(device: Device) -> torch.device:
    return (
        device if isinstance(device, torch.device) else select_device("" if device is None else str(device))
    )


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(f"class{number}" for number in range(classes))
