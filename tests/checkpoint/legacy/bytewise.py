"""Checkpoints written byte by byte, as torch 1.4 to 1.13 wrote those of the releases; no class, no pickler.

What a file holds follows the specification ``checkpoint.md``: keys (section 1), precision (1 and 2), class paths and
attributes (3), names and order of tensors (4), both containers (5). The attributes of torch's own modules are those
of torch at the time. Everything comes from a detector of ours, which is what reading must give back.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.checkpoint.legacy.pickler import Global, Object, Pickler, Reference
from tests.checkpoint.legacy.published import settings_of
from vedette.model.detector import Detector

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STORAGES = {torch.float16: "HalfStorage", torch.float32: "FloatStorage", torch.float64: "DoubleStorage",
             torch.int64: "LongStorage"}  # fmt: skip


# ------------------------------------------------------------------------------------------------ objects of torch


_ORDERED = Global("collections", "OrderedDict")
_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = Global("torch._utils", "_rebuild_parameter")


def ordered(entries: dict[str, Any] | None = None) -> Object:
    return Object(_ORDERED, entries=entries or {})


class Storages:
    """Tensors of a file, each over a storage of its own, under the keys of its container."""

    def __init__(self, *, stream: bool, half: bool, location: str) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._stream, self._half, self._location = stream, half, location
        self._kinds = {kind: Global("torch", kind) for kind in _STORAGES.values()}

    def tensor(self, tensor: Tensor, *, gradient: bool = False, keep: bool = False) -> Object:
        """A record of a tensor; floating ones in half precision if the file is, unless they are to be kept."""
        stored = (
            tensor.detach().half()
            if self._half and tensor.is_floating_point() and not keep
            else tensor.detach()
        )
        number = len(self.tensors)
        key = str(94057213921648 + 64 * number) if self._stream else str(number)
        self.tensors[key] = stored.contiguous()
        whole = ("storage", self._kinds[_STORAGES[stored.dtype]], key, self._location, stored.numel())
        reference = Reference((*whole, None) if self._stream else whole)
        size, strides = tuple(stored.shape), stored.contiguous().stride()
        return Object(_TENSOR, (reference, 0, size, strides, gradient, ordered()))

    def parameter(self, tensor: Tensor, *, gradient: bool) -> Object:
        return Object(_PARAMETER, (self.tensor(tensor, gradient=gradient), gradient, ordered()))


@dataclasses.dataclass(frozen=True)
class Era:
    """What decides how a file looks besides the release."""

    torch: tuple[int, int]
    newline: str = "\n"
    """Of the source text that the stream carries; Windows has another."""
    path_class: str = "PosixPath"
    location: str = "cpu"


ERAS = {
    "v1.0": Era((1, 4)),
    "v3.1": Era((1, 6)),
    "v4.0": Era((1, 7)),
    "v5.0": Era((1, 8)),
    "v7.0": Era((1, 13)),
}
"""The torch that each release asked for, or had at its time."""


class Network:
    """Modules of a detector of ours as the objects a release would have pickled."""

    def __init__(self, storages: Storages, era: Era, *, gradient: bool) -> None:
        self._storages, self._era, self._gradient = storages, era, gradient
        self._classes: dict[str, Any] = {}
        self._made: dict[int, Object] = {}  # one activation may serve all blocks

    def object(
        self, path: str, module: nn.Module, attributes: dict[str, Any], children: dict[str, Any]
    ) -> Object:
        state = {
            "training": False,
            "_parameters": ordered(self._parameters(module)),
            "_buffers": ordered(
                {name: self._storages.tensor(value) for name, value in _buffers(module).items()}
            ),
        }
        if self._era.torch >= (1, 6):
            state["_non_persistent_buffers_set"] = Object(Global("__builtin__", "set"), ([],))
        hooks = ["_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks",
                 "_load_state_dict_pre_hooks"]  # fmt: skip
        if self._era.torch >= (1, 13):
            state["_is_full_backward_hook"] = None
            hooks.append("_load_state_dict_post_hooks")
        state |= {name: ordered() for name in hooks}
        return Object(self._class(path), (), {**state, "_modules": ordered(children), **attributes}, new=True)

    def of_torch(self, module: nn.Module) -> Object:
        if id(module) not in self._made:
            attributes = {name: value for name, value in module.__dict__.items() if name in _OF_TORCH}
            if isinstance(module, nn.Upsample):
                attributes |= {"name": "Upsample", "align_corners": None}
            path = f"{type(module).__module__}.{type(module).__name__}"
            self._made[id(module)] = self.object(path, module, attributes, {})
        return self._made[id(module)]

    def twin(self, module: nn.Module, attributes: dict[str, Any] | None = None) -> Object:
        kind = type(module).__name__
        if type(module).__module__.startswith("torch.") and not module._modules:
            made = self.of_torch(module)
            made.state.update(attributes or {})
            return made
        children = {
            name: None if child is None else self.twin(child) for name, child in module._modules.items()
        }
        own = dict(attributes or {})
        if kind == "Bottleneck":
            own["add"] = module.__dict__["add"]
        if kind == "Concat":
            own["d"] = 1
        container = {"ModuleList": "torch.nn.modules.container.ModuleList",
                     "Sequential": "torch.nn.modules.container.Sequential", "Detect": "models.yolo.Detect"}  # fmt: skip
        return self.object(container.get(kind, f"models.common.{kind}"), module, own, children)

    def _parameters(self, module: nn.Module) -> dict[str, Any]:
        return {
            name: None if value is None else self._storages.parameter(value, gradient=self._gradient)
            for name, value in module._parameters.items()
        }

    def _class(self, path: str) -> Any:
        """A class by its name; the stream wraps it, unless it is a container, with the text of its source."""
        if path not in self._classes:
            module, _, name = path.rpartition(".")
            found: Any = Global(module, name)
            if self._storages._stream and "container" not in module:
                lines = [f"class {name}(nn.Module):", "    import os; os.system('echo >canary')", ""]
                file = f"C:\\yolov5\\{name}.py" if self._era.newline != "\n" else f"/yolov5/{name}.py"
                found = Reference(("module", found, file, self._era.newline.join(lines)))
            self._classes[path] = found
        return self._classes[path]


_OF_TORCH = {
    "affine", "ceil_mode", "dilation", "eps", "groups", "in_channels", "inplace", "kernel_size", "mode", "momentum",
    "negative_slope", "num_features", "out_channels", "output_padding", "padding", "padding_mode", "return_indices",
    "scale_factor", "size", "stride", "track_running_stats", "transposed",
}  # fmt: skip


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module._buffers.items() if value is not None}


# ------------------------------------------------------------------------------------------------ checkpoints


def network_object(detector: Detector, storages: Storages, era: Era, *, names: Any, stripped: bool) -> Object:
    """The network of a release: ``models.yolo.Model``, or ``DetectionModel`` for v7.0."""
    architecture, made = detector.architecture, Network(storages, era, gradient=False)
    settings = settings_of(architecture)
    strides = torch.tensor([float(stride) for stride in detector.strides])
    rows = {}
    for number, (row, layer) in enumerate(zip(architecture.rows, detector.model, strict=True)):
        attributes: dict[str, Any] = {
            "i": number,
            "f": row.source[0] if len(row.source) == 1 else list(row.source),
            "type": f"models.common.{row.module}",
            "np": sum(parameter.numel() for parameter in layer.parameters()),
        }
        if row.module == "Detect":
            grids = [storages.tensor(torch.zeros(1), keep=True) for _ in detector.strides]
            attributes |= {
                "nc": architecture.classes, "no": architecture.classes + 5, "nl": len(detector.strides),
                "na": architecture.anchors_per_level, "grid": grids, "stride": storages.tensor(strides, keep=True),
            }  # fmt: skip
            attributes |= {"export": False} if architecture.release == "v1.0" else {}
            attributes |= (
                {"inplace": True, "anchor_grid": list(grids)} if architecture.release == "v7.0" else {}
            )
        rows[str(number)] = made.twin(layer, attributes)
    top: dict[str, Any] = {
        "save": [4, 6, 10, 14, 17, 20, 23],
        "stride": storages.tensor(strides, keep=True),
        "nc": architecture.classes,
        "hyp": {"lr0": 0.01, "box": 0.05, "cls": 0.5 * architecture.classes / 80, "anchor_t": 4.0},
    }
    if architecture.release == "v1.0":
        top["md"] = settings
    else:
        top |= {"yaml": settings, "yaml_file": f"{architecture.name}.yaml"}
    top |= {"names": names} if names is not None else {}
    top |= {"inplace": True} if architecture.release == "v7.0" else {"gr": 1.0}
    if architecture.release != "v3.1":
        top["class_weights"] = storages.tensor(
            torch.ones(architecture.classes, dtype=torch.float64), keep=not stripped
        )
    rows_object = made.object("torch.nn.modules.container.Sequential", nn.Module(), {}, rows)
    kind = "models.yolo.DetectionModel" if architecture.release == "v7.0" else "models.yolo.Model"
    return made.object(kind, nn.Module(), top, {"model": rows_object})


def _number(value: float) -> Object:
    """A NumPy array of one float64, as ``best_fitness`` is."""
    raw = Object(Global("_codecs", "encode"), (struct.pack("<d", value).decode("latin1"), "latin1"))
    nothing = Object(Global("_codecs", "encode"), ("b", "latin1"))
    kind = Object(Global("numpy", "dtype"), ("f8", 0, 1), state=(3, "<", None, None, None, -1, -1, 0))
    empty = (Global("numpy", "ndarray"), (0,), nothing)
    state = (1, (1,), kind, False, raw)
    return Object(Global("numpy.core.multiarray", "_reconstruct"), empty, state=state)


def entries_of(
    detector: Detector, storages: Storages, era: Era, *, stripped: bool, names: Any
) -> dict[str, Any]:
    """What a release saves around a network (section 1), in the middle of a training or stripped after it."""
    release = detector.architecture.release

    def network(one: Detector) -> Object:
        return network_object(one, storages, era, names=names, stripped=stripped)

    entries: dict[str, Any] = {"epoch": -1 if stripped else 11, "best_fitness": _number(0.4375)}
    if release == "v7.0":
        entries["best_fitness"] = None if stripped else entries["best_fitness"]
        raw = Detector(detector.architecture)  # what the average is not
        entries |= {"model": network(detector if stripped else raw)}
        entries |= {"ema": None if stripped else network(detector), "updates": None if stripped else 120}
    else:
        entries["training_results"] = None if stripped else "     0/11     1.2G    0.1047\n"
        entries["model"] = network(detector)
    entries["optimizer"] = None
    if not stripped:
        group = {"lr": 0.01, "momentum": 0.937, "nesterov": True, "weight_decay": 0.0005, "params": [0]}
        state = {0: {"momentum_buffer": storages.tensor(torch.ones(3), keep=True)}}
        entries["optimizer"] = {"state": state, "param_groups": [group]}
    if release in ("v4.0", "v5.0"):
        entries["wandb_id"] = None
    if release == "v7.0":
        path = Object(Global("pathlib", era.path_class), ("runs", "train", "exp"))
        entries |= {"opt": {"imgsz": 416, "save_dir": path, "weights": "yolov5s.pt"}, "git": {"remote": None}}
        entries["date"] = "2023-01-02T03:04:05.000006"
    return entries


def write_release(
    path: Path,
    detector: Detector,
    *,
    stripped: bool = False,
    stream: bool = False,
    half: bool = False,
    names: Any = None,
    era: Era | None = None,
) -> Path:
    """A checkpoint of the release that the detector's architecture names."""
    chosen = era or ERAS[detector.architecture.release]
    storages = Storages(stream=stream, half=half, location=chosen.location)
    entries = entries_of(detector, storages, chosen, stripped=stripped, names=names)
    pickled = Pickler().finished(entries)
    path.write_bytes(_stream(pickled, storages) if stream else _archive(pickled, storages))
    return path


def _raw(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _stream(pickled: bytes, storages: Storages) -> bytes:
    """The container before torch 1.6: five pickles, then for every storage its count and its numbers."""
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    keys = sorted(storages.tensors)
    parts = [Pickler().finished(value) for value in (MAGIC_NUMBER, 1001, system)]
    parts += [pickled, Pickler().finished(keys)]
    for key in keys:
        parts += [struct.pack("<q", storages.tensors[key].numel()), _raw(storages.tensors[key])]
    return b"".join(parts)


def _archive(pickled: bytes, storages: Storages) -> bytes:
    """The container since torch 1.6: nothing compressed, data at multiples of 64 bytes, sizes behind the data."""
    records = {
        "data.pkl": pickled,
        **{f"data/{key}": _raw(tensor) for key, tensor in storages.tensors.items()},
    }
    out, central = bytearray(), bytearray()
    for name, content in {**records, "version": b"3\n"}.items():
        begin, raw, crc = len(out), f"archive/{name}".encode(), zlib.crc32(content)
        gap = -(begin + 30 + len(raw) + 4) % 64
        out += struct.pack("<4s5H3I2H", b"PK\x03\x04", 0, 0x0808, 0, 0, 0, 0, 0, 0, len(raw), gap + 4)
        out += raw + b"FB" + struct.pack("<H", gap) + b"Z" * gap + content
        out += struct.pack("<4s3I", b"PK\x07\x08", crc, len(content), len(content))
        central += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 0, 0, 0x0808, 0, 0, 0, crc, len(content), len(content),
                               len(raw), 0, 0, 0, 0, 0, begin) + raw  # fmt: skip
    count, length, begin = len(records) + 1, len(central), len(out)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 798, 45, 0, 0, count, count, length, begin)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, begin + length, 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, length, begin, 0)
    return bytes(out + central) + wide + locator + end
