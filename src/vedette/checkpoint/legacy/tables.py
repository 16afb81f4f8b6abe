"""From what a stored network says about itself to our :class:`Architecture`.

The layer table is read from the settings that the network was built from; activation, eps and the form of the head
are read off its modules, which is where the releases differ. Anchors are those of the head's buffers: a run may have
fitted them without writing them back (specification ``checkpoint.md`` section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from vedette.checkpoint.legacy.modules import StoredModule
from vedette.checkpoint.legacy.names import supported_blocks
from vedette.checkpoint.legacy.records import damaged
from vedette.checkpoint.legacy.values import plain
from vedette.core.printable import printable
from vedette.errors import CheckpointError, ModelError
from vedette.model.anchors import read_anchors
from vedette.model.bounds import check_integer
from vedette.model.plan import head_strides, plan
from vedette.model.releases import RELEASES
from vedette.model.rows import ANCHORS_TOKEN, CLASSES_TOKEN, MAX_CLASSES, MODULES, OUTPUTS_TOKEN, Architecture
from vedette.model.rows import parse_architecture as parse_table

_KEYS = ("depth_multiple", "width_multiple", "backbone", "head", "ch")
_LEVELS_P6 = 4
_UNREAD_KEYS = ("nc", "anchors", "activation", "yaml_file", "inplace")
"""Settings of a network that are read elsewhere or change nothing."""


def stored_settings(root: StoredModule) -> dict[object, object]:
    """The settings a network was built from, which v1.0 calls ``md``. Raises CheckpointError."""
    settings = plain(root.attributes.get("yaml", root.attributes.get("md")), "model.yaml")
    if not isinstance(settings, dict):
        raise damaged("the network does not say which layers it has", "model.yaml")
    return settings


def stored_release(modules: Sequence[StoredModule], levels: int, anchor_grid: bool) -> str:
    """The release whose rules a network follows; of several that agree, the one vedette knows.

    v2.0 counts as v1.0 or v3.1 by its table, v3.0 as v3.1, v5.0 as v4.0 unless it has a fourth level.
    """
    if "md" in modules[0].attributes:
        return "v1.0"
    if not anchor_grid:
        return "v7.0"
    if any(module.kind == "BottleneckCSP" for module in modules):
        return "v3.1"
    return "v4.0" if levels < _LEVELS_P6 else "v5.0"


def stored_architecture(
    modules: Sequence[StoredModule], anchors: Tensor, *, anchor_grid: bool, name: str
) -> tuple[Architecture, list[str]]:
    """The architecture of a stored network.

    Args:
        modules: of the network.
        anchors: the buffer of its head [L, A, 2], in cells.
        anchor_grid: whether the head has a buffer of that name.
        name: what to call it if it does not say.

    Returns:
        The architecture, and the names of settings that were not used.

    Raises:
        CheckpointError: a row that vedette does not have, or settings that make no network.
    """
    settings = stored_settings(modules[0])
    values: dict[str, Any] = {key: settings[key] for key in _KEYS if key in settings}
    head = head_of(modules)
    classes = class_count(head)
    for part in ("backbone", "head"):
        values[part] = _rows(values.get(part), part, classes)
    values["anchors"] = int(anchors.shape[1])  # until the strides are known
    release = stored_release(modules, anchors.shape[0], anchor_grid)
    rules = {
        "csp_activation": "LeakyReLU(0.1)",
        **RELEASES[release].rules,
        "name": _name(settings.get("yaml_file", modules[0].attributes.get("yaml_file")), name),
        "release": release,
        "bn_eps": _eps(modules),
        "anchor_grid": anchor_grid,
        **_activations(modules),
    }
    ignored = [f"model.yaml: {key}"[:100] for key in settings if key not in (*_KEYS, *_UNREAD_KEYS)]
    try:
        table = parse_table(values, "model.yaml", classes=classes, rules=rules)
        return with_anchors(table, anchors), ignored
    except ModelError as error:
        raise CheckpointError(
            f"its layer table is not accepted: {error.what}", where=error.where, fix=error.fix
        ) from None


def with_anchors(architecture: Architecture, anchors: Tensor) -> Architecture:
    """An architecture with the anchors [L, A, 2] in cells that a head holds. Raises ModelError."""
    strides = head_strides(plan(replace(architecture, anchors_px=int(anchors.shape[1]))))
    if anchors.shape != (len(strides), anchors.shape[1], 2):
        raise ModelError(f"has the shape {list(anchors.shape)} for {len(strides)} levels", where="anchors")
    pixels = anchors.double() * torch.tensor(strides, dtype=torch.float64)[:, None, None]
    return replace(architecture, anchors_px=read_anchors(pixels.tolist(), "anchors"))


def head_of(modules: Sequence[StoredModule]) -> StoredModule:
    """The only Detect of a network. Raises CheckpointError."""
    heads = [module for module in modules if module.kind == "Detect"]
    if len(heads) != 1:
        raise CheckpointError(f"its network has {len(heads)} heads, not one", where="model")
    return heads[0]


def class_count(head: StoredModule) -> int:
    """Classes of a head; one that predicts more than boxes and classes is refused. Raises CheckpointError."""
    classes, outputs = head.attributes.get("nc"), head.attributes.get("no")
    try:
        count = check_integer(classes, 1, MAX_CLASSES, "nc")
    except ModelError as error:
        raise damaged(f"its number of classes {error.what}", f"model.{head.place}") from None
    if isinstance(outputs, int) and outputs != count + 5:
        raise CheckpointError(
            f"predicts {outputs} numbers a box for {count} classes, not {count + 5}: it finds more than boxes, "
            "such as the landmarks of faces",
            where=f"model.{head.place}",
            fix="vedette imports detectors of boxes",
        )
    return count


def _rows(lines: object, part: str, classes: int) -> list[object]:
    if not isinstance(lines, list):
        raise damaged(f"its layer table has no {part}", "model.yaml")
    return [_row(line, f"model.yaml: {part}: row {number}", classes) for number, line in enumerate(lines)]


def _row(line: object, where: str, classes: int) -> object:
    """A row as it was before its network was built: some releases wrote the values of expressions back."""
    if not isinstance(line, list) or len(line) != 4 or not isinstance(line[2], str):
        raise damaged("an unreadable row", where)
    source, repeats, module, arguments = line
    bare = module.removeprefix("torch.").removeprefix("nn.")
    if bare not in MODULES:
        known = ", ".join(supported_blocks())
        raise CheckpointError(
            f"its layer table has the module {''.join(c for c in bare[:80] if c.isprintable())}, which vedette does "
            "not have",
            where=where,
            fix=f"supported are {known}; docs/import.md says how to ask for more",
        )
    if (
        bare == "Detect"
        and isinstance(arguments, list)
        and arguments
        and arguments[0] in (CLASSES_TOKEN, classes)
    ):
        arguments = [CLASSES_TOKEN, ANCHORS_TOKEN]
    elif isinstance(arguments, list):
        arguments = [_argument(argument) for argument in arguments]
    return [source, repeats, module, arguments]


def _argument(argument: object) -> object:
    if isinstance(argument, str) and argument.replace(" ", "") == OUTPUTS_TOKEN.replace(" ", ""):
        return OUTPUTS_TOKEN
    return argument


def _activations(modules: Sequence[StoredModule]) -> dict[str, str]:
    """The activations of convolutions and of their joint normalisation, where a network has such blocks."""
    found = {
        "activation": _activation(modules, ("Conv", "DWConv")),
        "csp_activation": _activation(modules, ("BottleneckCSP",)),
    }
    return {name: activation for name, activation in found.items() if activation}


def _activation(modules: Sequence[StoredModule], parents: tuple[str, ...]) -> str:
    """The activation of the blocks of some kinds, by our name for it; empty if there are none of these."""
    kinds = {module.place: module.kind for module in modules}
    found = {
        activation_name(module)
        for module in modules
        if module.place.endswith(".act") and kinds.get(module.place[: -len(".act")]) in parents
    }
    found -= {"Identity"} if len(found) > 1 else set()
    if len(found) > 1:
        raise CheckpointError(
            f"its blocks have the different activations {', '.join(sorted(found))}", where="model"
        )
    return found.pop() if found else ""


def activation_name(module: StoredModule) -> str:
    """Our name of an activation; a slope is part of it. Raises CheckpointError."""
    if module.kind != "LeakyReLU":
        return module.kind
    slope = module.attributes.get("negative_slope", 0.01)
    names = {0.01: "LeakyReLU", 0.1: "LeakyReLU(0.1)"}
    if not isinstance(slope, int | float) or slope not in names:
        raise CheckpointError("LeakyReLU has another slope than 0.1 or 0.01", where=f"model.{module.place}")
    return names[slope]


def _eps(modules: Sequence[StoredModule]) -> float:
    found = {module.attributes.get("eps") for module in modules if module.kind == "BatchNorm2d"}
    values = [eps for eps in found if isinstance(eps, float)]
    if len(values) != len(found) or len(values) > 1:
        raise CheckpointError("its normalisations have different eps", where="model")
    return values[0] if values else 1e-3


def _name(stored: object, otherwise: str) -> str:
    """The stem of the file the table came from, whichever system wrote it."""
    if isinstance(stored, str) and stored.isprintable():
        stem = PurePosixPath(PureWindowsPath(stored[:1000]).name).stem
        if stem:
            return stem[:100]
    return printable(otherwise)[:100] or "imported"
