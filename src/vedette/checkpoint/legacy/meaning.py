"""From the object in a checkpoint to a detector's architecture, weights and class names, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vedette.checkpoint.legacy.agreement import check_agreement
from vedette.checkpoint.legacy.fitting import fitted, non_finite
from vedette.checkpoint.legacy.modules import IGNORED_SUFFIXES, StoredModule, read_modules, tensor_records
from vedette.checkpoint.legacy.names import check_names
from vedette.checkpoint.legacy.records import Record, attributes_of, damaged, mapping_of, target_of
from vedette.checkpoint.legacy.state_dicts import recognised
from vedette.checkpoint.legacy.tables import head_of, stored_architecture
from vedette.checkpoint.legacy.tensors import TensorReader
from vedette.checkpoint.legacy.values import number
from vedette.errors import CheckpointError
from vedette.model.detector import Detector
from vedette.model.rows import Architecture

MAX_CLASS_NAME_LENGTH = 256
_MAX_CLASS_DIGITS = 9
_GRID_TOLERANCE = 0.01
"""Of the two copies of the anchors: half precision rounds each on its own."""
_READ_KEYS = ("model", "ema", "epoch", "best_fitness", "date", "updates")
_STATE_KEYS = ("ema", "model", "state_dict", "model_state_dict")


@dataclass(frozen=True, slots=True)
class LegacyCheckpoint:
    """What a checkpoint of YOLOv5 holds.

    Attributes:
        architecture: of the network, with the anchors its head holds.
        tensors: its state by the names of our detector, float32.
        class_names: by class id.
        facts: ``release``, ``weights`` (which of the stored copies), ``precision`` as stored, ``epoch``,
            ``fitness``, ``date`` (None if not said), ``image_size`` it was trained with, ``ignored`` (what was
            not used); JSON values.
    """

    architecture: Architecture
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Network:
    """Weights and what belongs to them, before they are compared with a detector."""

    architecture: Architecture
    tensors: dict[str, Tensor]
    modules: list[StoredModule]
    names: object
    ignored: list[str]


def understand(
    root: object,
    tensors: TensorReader,
    *,
    name: str,
    table: Architecture | None = None,
    allow_nonfinite: bool = False,
) -> LegacyCheckpoint:
    """Find the detector in the object of a checkpoint.

    Args:
        root: what the pickle holds.
        tensors: reads tensors of the file.
        name: what to call a model that does not say.
        table: model of a file that holds tensors only; None to find it.
        allow_nonfinite: accept weights that are NaN or infinite.

    Raises:
        CheckpointError: a name or module vedette does not have, a network of another kind, or tensors that do
            not fit its layers; nothing is taken in part.
    """
    check_names(root)
    entries = _entries(root)
    which, stored = _weights(root, entries)
    if mapping_of(stored) is None:
        network = _from_modules(stored, tensors, which, name)
    else:
        network = _from_tensors(stored, tensors, which, table)
    with torch.device("meta"):
        detector = Detector(network.architecture)
    if network.modules:
        check_agreement(network.modules, detector)
        _check_strides(head_of(network.modules), tensors, detector.strides)
    state = fitted(network.tensors, detector)
    _check_anchors(state, detector.strides)
    bad = non_finite(state)
    if bad and not allow_nonfinite:
        raise CheckpointError(
            f"holds NaN or infinity in {len(bad)} tensors: {', '.join(bad[:5])}",
            where="model",
            fix="use an earlier checkpoint of that training, or import it as it is with --allow-nonfinite",
        )
    names, renamed = _class_names(network.names, network.architecture.classes)
    facts = _facts(entries, network)
    facts["weights"] = which or "tensors"
    facts["ignored"] = [*network.ignored, *renamed, *_unread(entries)]
    return LegacyCheckpoint(network.architecture, state, names, facts)


def _entries(root: object) -> dict[object, object]:
    """The entries of the file; of one that is a network and nothing else, none."""
    entries = mapping_of(root)
    if entries is not None:
        return entries
    if isinstance(root, Record) and root.built:
        return {}
    raise _nothing_known("")


def _nothing_known(where: str) -> CheckpointError:
    return CheckpointError(
        "holds neither a network nor tensors by name",
        where=where,
        fix="vedette imports YOLOv5 v1.0 to v7.0; docs/import.md lists what is read",
    )


def _weights(root: object, entries: dict[object, object]) -> tuple[str, object]:
    """Which copy of the weights to use: the average if it is stored apart (v5.0 and later), else the only one."""
    if isinstance(root, Record) and mapping_of(root) is None:
        return "model", root
    for key in _STATE_KEYS:
        if entries.get(key) is not None:
            return key, entries[key]
    return "", root


def _from_modules(stored: object, tensors: TensorReader, which: str, name: str) -> _Network:
    if not isinstance(stored, Record):
        raise _nothing_known(which)
    try:
        modules = read_modules(stored)
    except CheckpointError as error:
        raise CheckpointError(
            error.what, where=error.where.replace("model", which, 1), fix=error.fix
        ) from None
    if modules[0].kind != "Model":
        raise CheckpointError(f"holds a {modules[0].kind}, not a whole detector", where=which)
    records, skipped = tensor_records(modules)
    loaded = {place: tensors.read(record, f"{which}.{place}"[:200]) for place, record in records.items()}
    head = head_of(modules)
    anchors = loaded.get(f"{head.place}.anchors")
    if anchors is None or anchors.ndim != 3:
        raise damaged("its head has no anchors", f"{which}.{head.place}")
    grid = f"{head.place}.anchor_grid" in loaded
    architecture, ignored = stored_architecture(modules, anchors, anchor_grid=grid, name=name)
    if skipped:
        ignored.append(f"{len(skipped)} counters of a profiler")
    momenta = {module.attributes.get("momentum") for module in modules if module.kind == "BatchNorm2d"}
    if momenta - {0.03, None}:
        ignored.append("momentum of the normalisations; vedette has 0.03")
    return _Network(architecture, loaded, modules, modules[0].attributes.get("names"), ignored)


def _from_tensors(stored: object, tensors: TensorReader, which: str, table: Architecture | None) -> _Network:
    entries = mapping_of(stored) or {}
    records = {key: value for key, value in entries.items() if isinstance(key, str) and target_of(value)}
    if not records or len(records) != len(entries):
        raise _nothing_known(which)
    # Training on several GPUs puts this before every name.
    prefix = "module." if all(str(key).startswith("module.") for key in records) else ""
    loaded = {
        str(key).removeprefix(prefix): tensors.read(record, str(key)[:200])
        for key, record in records.items()
        if not str(key).endswith(IGNORED_SUFFIXES)
    }
    return _Network(recognised(loaded, table), loaded, [], None, ["class names: the file holds none"])


def _check_anchors(state: dict[str, Tensor], strides: tuple[int, ...]) -> None:
    """The head's copy of its anchors in pixels must be that of its anchors in cells."""
    for name, grid in state.items():
        if not name.endswith(".anchor_grid"):
            continue
        cells = state[name.replace(".anchor_grid", ".anchors")]
        pixels = cells * torch.tensor(strides, dtype=torch.float32)[:, None, None]
        if not torch.allclose(pixels, grid.reshape(pixels.shape), rtol=_GRID_TOLERANCE, equal_nan=True):
            raise CheckpointError("its head holds two different sets of anchors", where=f"model: {name}")


def _check_strides(head: StoredModule, tensors: TensorReader, strides: tuple[int, ...]) -> None:
    """The strides a head was built with, which are no buffer, must be those of its layer table."""
    stored = head.attributes.get("stride")
    if stored is None:
        return
    found = tensors.read(stored, f"model.{head.place}.stride").flatten().tolist()
    if found != list(strides):
        raise CheckpointError(
            f"its head has the strides {found[:8]} instead of {list(strides)}", where=f"model.{head.place}"
        )


def _class_names(stored: object, classes: int) -> tuple[tuple[str, ...], list[str]]:
    """A name for every class, and what had to be changed; v7.0 stores them by number, the others in a list."""
    by_number = mapping_of(stored)
    given: dict[object, object] = {}
    if by_number is not None:
        given = {_class_number(key): name for key, name in by_number.items()}
    elif isinstance(stored, list | tuple):
        given = dict(enumerate(stored))
    names, changed = [], []
    for number_of_class in range(classes):
        name = given.get(number_of_class)
        text = str(name).strip() if isinstance(name, str | int | float) else ""
        if not 0 < len(text) <= MAX_CLASS_NAME_LENGTH or not text.isprintable():
            changed.append(number_of_class)
            text = f"class {number_of_class}"
        names.append(text)
    notes = (
        [f"names of {len(changed)} classes: missing or unreadable"] if changed and stored is not None else []
    )
    if len(given) > classes:
        notes.append(f"{len(given) - classes} class names more than classes")
    return tuple(names), notes


def _class_number(key: object) -> object:
    """A class id that may be written as text. Longer texts are none, and Python refuses to convert the longest."""
    return int(key) if isinstance(key, str) and len(key) <= _MAX_CLASS_DIGITS and key.isdecimal() else key


def _facts(entries: dict[object, object], network: _Network) -> dict[str, Any]:
    date, epoch = entries.get("date"), number(entries.get("epoch"))
    options = entries.get("opt")
    settings = mapping_of(options) or attributes_of(options)
    side = settings.get("imgsz", settings.get("img_size"))
    side = side[-1] if isinstance(side, list) and side else side
    types = {
        str(tensor.dtype).removeprefix("torch.")
        for tensor in network.tensors.values()
        if tensor.is_floating_point()
    }
    return {
        "release": network.architecture.release,
        "precision": ", ".join(sorted(types)),
        "epoch": None if epoch is None else int(epoch),
        "fitness": number(entries.get("best_fitness")),
        "date": date[:40] if isinstance(date, str) and date.isprintable() else None,
        "image_size": side
        if isinstance(side, int) and not isinstance(side, bool) and 32 <= side <= 8192
        else None,
    }


def _unread(entries: dict[object, object]) -> list[str]:
    """Keys of the file that were not used; empty ones are none."""
    if not any(key in entries for key in _STATE_KEYS):
        return []
    second = ["model (the average of the weights is used)"] if entries.get("ema") is not None else []
    keys = [key for key, value in entries.items() if key not in _READ_KEYS and value is not None]
    return second + [str(key)[:60] for key in keys if str(key).isprintable()]
