"""What an exported file carries besides its network: all that is needed to use it and to prove that it is right.

The contract is JSON text. Formats with a place for metadata keep it under the name ``vedette``; the others are folders
with a file ``vedette.json``. It is read, and refused if a single value is not as it must be, before any runtime sees
the file (:mod:`vedette.checkpoint.exported`). No torch is needed for any of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from vedette.checkpoint.class_names import checked_class_names
from vedette.checkpoint.feature_maps import FeatureMaps
from vedette.checkpoint.golden import Golden
from vedette.checkpoint.strict_json import Fields, parse_json
from vedette.checkpoint.suppression import nms_from_fields, nms_to_dict
from vedette.core.letterbox import MAX_SIDE, MAX_STRIDE, LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.types import SizeHW
from vedette.errors import CheckpointError, ModelError

KIND = "vedette-export"
SCHEMA_VERSION = 1
CONTRACT_NAME = "vedette"
"""The key of the contract in a format's metadata; ``vedette.json`` in a folder."""

MAX_CONTRACT_BYTES = 16 * 1024 * 1024
MAX_BATCH = 4096
_MAX_CLASSES = 10_000
_MAX_LEVELS = 8
_MAX_ANCHORS = 32
_MAX_ANCHOR_PX = 65_536.0

OutputKind = Literal["planes", "cells", "predictions", "detections"]
FilePrecision = Literal["float32", "fp16", "bf16", "int8"]
Layout = Literal["nhwc", "nchw"]
ColourOrder = Literal["rgb", "bgr"]
InputType = Literal["uint8", "float32", "float16"]

# These of a letterbox's constants describe what the network was trained with; the input of a file may differ.
_INPUT_CONSTANTS: dict[str, Any] = {"colour_order": "rgb", "scale": 1 / 255, "layout": "nchw"}


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What the network takes.

    Attributes:
        layout: order of the axes: batch, height, width, channels; or batch, channels, height, width.
        dtype: type of the numbers.
        colour_order: of the channels.
        scale: what the bytes of a frame are multiplied by; 1 for uint8.
    """

    layout: Layout = "nhwc"
    dtype: InputType = "uint8"
    colour_order: ColourOrder = "rgb"
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Recommended settings of suppression, as of :class:`vedette.core.nms.NmsSettings`."""

    conf_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 300


@dataclass(frozen=True, slots=True)
class SourceCheckpoint:
    """The checkpoint that was exported: name of its file without folders, SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportContract:
    """Everything a file says of itself.

    Attributes:
        format: name of the file's format, as of the table of formats.
        class_names: by class id.
        letterbox: how a picture becomes a frame.
        strides: frame pixels a cell, by level, in the order of the outputs.
        anchors_px: by level the (width, height) pairs, in frame pixels.
        input: what the network takes.
        output: "planes": raw [B, A*(5+C), h, w], one output a level. "cells": the same as [B, h, w, A*(5+C)].
            "predictions": float [B, N, 5+C], decoded. "detections": float32 [B, M, 6] after suppression, see
            :class:`vedette.infer.outputs.FinalOutputs`.
        precision: number format of the network's weights and layers.
        frame_hw: the only frame size it takes; None: any multiples of the largest stride.
        batch_size: the only number of frames it takes; None: any.
        nms: the suppression that is built in; only with "detections".
        thresholds: recommended settings.
        source: what was exported.
        vedette_version: of the exporter.
        calibration_sha256: of the frames that int8 ranges were measured on; None without.
        golden: pictures with the detections that PyTorch found in them.
        features: maps of layers that follow these outputs; None: there are none.
    """

    format: str
    class_names: tuple[str, ...]
    letterbox: LetterboxPolicy
    strides: tuple[int, ...]
    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    input: InputFormat
    output: OutputKind
    precision: FilePrecision
    frame_hw: SizeHW | None
    batch_size: int | None
    nms: NmsSettings | None
    thresholds: Thresholds
    source: SourceCheckpoint
    vedette_version: str
    calibration_sha256: str | None = None
    golden: Golden | None = None
    features: FeatureMaps | None = None

    @property
    def classes(self) -> int:
        """C."""
        return len(self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back equal."""
        letterbox = self.letterbox.to_dict()
        return {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "format": self.format,
            "class_names": list(self.class_names),
            "letterbox": {key: value for key, value in letterbox.items() if key not in _INPUT_CONSTANTS},
            "strides": list(self.strides),
            "anchors_px": [[list(anchor) for anchor in level] for level in self.anchors_px],
            "input": asdict(self.input),
            "output": self.output,
            "precision": self.precision,
            "frame_hw": None if self.frame_hw is None else list(self.frame_hw),
            "batch_size": self.batch_size,
            "nms": None if self.nms is None else nms_to_dict(self.nms),
            "thresholds": asdict(self.thresholds),
            "source": asdict(self.source),
            "vedette_version": self.vedette_version,
            "calibration_sha256": self.calibration_sha256,
            "golden": None if self.golden is None else self.golden.to_dict(),
            # Without them, files are what they were before there were any.
            **({} if self.features is None else {"features": self.features.to_dict()}),
        }

    def to_json(self) -> str:
        """The text that files carry: ASCII, so that no format's encoding can hurt it."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))

    def fingerprint(self) -> str:
        """SHA-256 of everything that detections depend on; golden pictures store it with what they were made for."""
        values = self.to_dict()
        for name in ("golden", "thresholds", "source", "vedette_version"):
            del values[name]
        text = json.dumps(values, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes, where: object = "contract") -> ExportContract:
        """Read what :meth:`to_json` wrote; anything else is refused.

        Raises:
            CheckpointError: ``where`` is the file and the field.
        """
        return cls.from_dict(parse_json(text, where, MAX_CONTRACT_BYTES), where)

    @classmethod
    def from_dict(cls, value: object, where: object = "contract") -> ExportContract:
        """As :meth:`from_json`, of parsed JSON. Raises CheckpointError."""
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise CheckpointError(
                "its metadata is not of vedette",
                where=where,
                fix="export the checkpoint with `vedette export`",
            )
        schema = value.get("schema_version")
        if type(schema) is not int or schema != SCHEMA_VERSION:
            raise CheckpointError(
                f"has export schema {schema!r:.40}; this version reads {SCHEMA_VERSION}",
                where=where,
                fix="update vedette",
            )
        keys = ["kind", "schema_version", *(field.name for field in fields(cls))]
        read = Fields.of(value, where, [key for key in keys if key != "features" or key in value])
        anchors_px = _anchors(read)
        names = read.several("class_names", 1, _MAX_CLASSES)
        contract = cls(
            format=read.text("format", 40, 1),
            class_names=checked_class_names(names, len(names), where),
            letterbox=_letterbox(read),
            strides=read.whole_numbers("strides", (len(anchors_px), len(anchors_px)), 1, MAX_STRIDE),
            anchors_px=anchors_px,
            input=_input(read),
            output=read.choice("output", get_args(OutputKind)),
            precision=read.choice("precision", get_args(FilePrecision)),
            frame_hw=_frame_hw(read),
            batch_size=None if read.absent("batch_size") else read.whole("batch_size", 1, MAX_BATCH),
            nms=None if read.absent("nms") else nms_from_fields(read, "nms"),
            thresholds=_thresholds(read),
            source=_source(read),
            vedette_version=read.text("vedette_version", 100, 1),
            calibration_sha256=None
            if read.absent("calibration_sha256")
            else _sha256(read, "calibration_sha256"),
            golden=None if read.absent("golden") else Golden.from_fields(read, "golden"),
            features=FeatureMaps.from_fields(read, "features") if "features" in read.values else None,
        )
        contract.check(where)
        return contract

    def check(self, where: object = "contract") -> None:
        """Refuse values that contradict each other. Raises CheckpointError."""
        problems = {
            "nms": (self.nms is None) == (self.output == "detections"),
            "input.scale": self.input.dtype == "uint8" and self.input.scale != 1.0,
            "frame_hw": self.frame_hw is not None
            and (
                any(side % max(self.strides) for side in self.frame_hw)
                or self.frame_hw != self.letterbox.size_hw
                or self.letterbox.shape == "minimal"
            ),
            "calibration_sha256": (self.calibration_sha256 is None) == (self.precision == "int8"),
            "class_names": any(
                name not in self.class_names
                for picture in (self.golden.pictures if self.golden else ())
                for name in {found.class_name for found in picture.detections}
            ),
            "features": self.features is not None and not self._features_fit(self.features),
            "golden": any(
                {kept.layer: len(kept.means) for kept in picture.features} != self._shown_channels()
                for picture in (self.golden.pictures if self.golden else ())
            ),
        }
        for name, wrong in problems.items():
            if wrong:
                raise CheckpointError("contradicts other values of the contract", where=f"{where}: {name}")

    def _features_fit(self, features: FeatureMaps) -> bool:
        """Maps of whole cells, beside raw values: of a decoded box nobody knows its logits any more."""
        raw = self.output in ("planes", "cells")
        whole = all(max(self.strides) % shown.stride == 0 for shown in features.maps)
        return raw and whole and len(features.level_inputs) == len(self.strides)

    def _shown_channels(self) -> dict[int, int]:
        return {} if self.features is None else {shown.layer: shown.channels for shown in self.features.maps}


def _letterbox(parent: Fields) -> LetterboxPolicy:
    keys = [key for key in LetterboxPolicy().to_dict() if key not in _INPUT_CONSTANTS]
    read = parent.record("letterbox", keys)
    try:
        return LetterboxPolicy.from_dict({**read.values, **_INPUT_CONSTANTS})
    except ModelError as error:
        raise CheckpointError(error.what, where=f"{parent.where}: {error.where}", fix=error.fix) from None


def _anchors(read: Fields) -> tuple[tuple[tuple[float, float], ...], ...]:
    levels = []
    for number, value in enumerate(read.several("anchors_px", 1, _MAX_LEVELS)):
        level = Fields({"anchors_px": value}, read.place(f"level {number}"))
        pairs = [
            Fields({"anchor": pair}, level.where).numbers("anchor", 2, math.ulp(0.0), _MAX_ANCHOR_PX)
            for pair in level.several("anchors_px", 1, _MAX_ANCHORS)
        ]
        levels.append(tuple((width, height) for width, height in pairs))
    if len({len(level) for level in levels}) > 1:
        raise CheckpointError("levels have different numbers of anchors", where=read.place("anchors_px"))
    return tuple(levels)


def _input(parent: Fields) -> InputFormat:
    read = parent.record("input", [field.name for field in fields(InputFormat)])
    return InputFormat(
        layout=read.choice("layout", get_args(Layout)),
        dtype=read.choice("dtype", get_args(InputType)),
        colour_order=read.choice("colour_order", get_args(ColourOrder)),
        scale=read.number("scale", 1e-6, 1e6),
    )


def _frame_hw(read: Fields) -> SizeHW | None:
    if read.absent("frame_hw"):
        return None
    height, width = read.whole_numbers("frame_hw", (2, 2), 1, MAX_SIDE)
    return height, width


def _thresholds(parent: Fields) -> Thresholds:
    read = parent.record("thresholds", [field.name for field in fields(Thresholds)])
    return Thresholds(
        read.number("conf_threshold", 0, 1),
        read.number("iou_threshold", 0, 1),
        read.whole("max_detections", 1, 10**6),
    )


def _source(parent: Fields) -> SourceCheckpoint:
    read = parent.record("source", [field.name for field in fields(SourceCheckpoint)])
    return SourceCheckpoint(read.text("name", 255, 1), _sha256(read, "sha256"))


def _sha256(read: Fields, key: str) -> str:
    value = read.text(key, 64, 64)
    if any(character not in "0123456789abcdef" for character in value):
        raise CheckpointError("must be 64 hexadecimal digits", where=read.place(key))
    return value
