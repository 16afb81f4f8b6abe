"""ncnn folders: a text of layers, and weights whose length follows from it.

ncnn trusts both. So every layer must be one that a detector is made of, the shapes of all maps are followed from a
frame to the outputs, every convolution must have as many weights as its shapes ask for, and the file of weights must
be exactly that long. Sources: ncnn's documentation of the two files and of its layers' settings (BSD-3).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.exported import ExportedFile, read_bounded
from vedette.checkpoint.exported.folder import read_folder_contract
from vedette.errors import CheckpointError

GRAPH_FILE = "model.ncnn.param"
WEIGHTS_FILE = "model.ncnn.bin"
MAX_GRAPH_BYTES = 4 * 1024 * 1024
_MAGIC = "7767517"
_MAX_LAYERS = 20_000
_MAX_SIZE = 10**7
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_POINTWISE_NAMES = "Split BinaryOp Swish Sigmoid ReLU HardSwish HardSigmoid Mish TanH GELU ELU Clip"
_POINTWISE = frozenset(_POINTWISE_NAMES.split())
SINGLE_TAG, HALF_TAG = bytes(4), struct.pack("<I", 0x01306B47)
"""What stands before the weights of a convolution."""
_NAME = re.compile(r"[\w.]{1,200}", re.ASCII)
_SETTING = re.compile(r"([0-9]{1,2})=(-?[0-9]{1,9}(?:\.[0-9]{0,12})?(?:e[+-]?[0-9]{1,3})?)", re.ASCII)

_ACTIVATION_VALUES = re.compile(
    r"-23310=([12])((?:,-?[0-9]{1,9}(?:\.[0-9]{0,12})?(?:e[+-]?[0-9]{1,3})?){1,2})", re.ASCII
)
"""An array under key 10: what the activation that is part of a convolution takes."""
_ACTIVATIONS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 0, 5: 0, 6: 2}
"""Numbers it takes, by activation: none, ReLU, leaky ReLU, clip, sigmoid, Mish, Hardswish."""

Shape = tuple[int, int, int]
"""Channels, rows, columns."""


def read_ncnn(path: Path) -> ExportedFile:
    """Read and check a folder; nothing of it is run.

    Returns:
        Parts "model" (the text) and "weights".

    Raises:
        CheckpointError: no ncnn folder of vedette, damaged, or holding what a detector never needs.
    """
    contract = read_folder_contract(path, ("ncnn",))
    graph = read_bounded(path / GRAPH_FILE, MAX_GRAPH_BYTES)
    weights = read_bounded(path / WEIGHTS_FILE)
    walk = _Walk(path / GRAPH_FILE, weights, contract)
    walk.read(graph)
    if walk.place != len(weights):
        _refuse(f"has {len(weights)} bytes, its layers take {walk.place}", path / WEIGHTS_FILE)
    return ExportedFile(contract, {"model": graph, "weights": weights})


class _Walk:
    """Sees every layer once, in order, with a frame of a few cells.

    Args:
        path: the text.
        weights: the weights.
        contract: what the frame and the outputs must be.

    Attributes:
        place: how many bytes of the weights are used.
    """

    def __init__(self, path: Path, weights: bytes, contract: ExportContract) -> None:
        self._path = path
        self._weights = weights
        self._contract = contract
        self.place = 0
        self._blobs: dict[str, Shape] = {}

    def read(self, raw: bytes) -> None:
        try:
            lines = raw.decode("ascii").splitlines()
        except UnicodeDecodeError:
            _refuse("is no text", self._path)
        if len(lines) < 3 or lines[0].strip() != _MAGIC or len(lines) > _MAX_LAYERS + 2:
            _refuse("is no graph of ncnn", self._path)
        blobs = sum(self._layer(number, line.split()) for number, line in enumerate(lines[2:]))
        if lines[1].split() != [str(len(lines) - 2), str(blobs)]:
            _refuse("has other numbers of layers and blobs than it says", self._path)
        if self._blobs != self._expected():
            _refuse("gives other maps than its contract says", self._path)

    def _frame(self) -> Shape:
        side = max(self._contract.strides)
        return (3, 2 * side, 3 * side)

    def _expected(self) -> dict[str, Shape]:
        _, height, width = self._frame()
        channels = len(self._contract.anchors_px[0]) * (5 + self._contract.classes)
        return {
            f"out{number}": (channels, height // stride, width // stride)
            for number, stride in enumerate(self._contract.strides)
        }

    def _layer(self, number: int, words: list[str]) -> int:
        """Check a line: type, name, numbers of inputs and outputs, their names, settings. Returns what it makes."""
        if len(words) < 4 or not all(re.fullmatch("[0-9]{1,3}", word, re.ASCII) for word in words[2:4]):
            _refuse("has a line that is no layer", self._path)
        kind, reads, makes = words[0], int(words[2]), int(words[3])
        names = words[4 : 4 + reads + makes]
        if len(names) != reads + makes or not all(map(_NAME.fullmatch, [words[1], *names])):
            _refuse(f"has a layer with missing or odd names ({words[1][:40]!r})", self._path)
        shapes = [self._used(name) for name in names[:reads]]
        settings = self._settings(words[4 + reads + makes :])
        if number == 0:
            if [kind, *names] != ["Input", "in0"]:
                _refuse("does not begin with its input", self._path)
            shape: Shape | None = self._frame()
        else:
            shape = self._made(kind, shapes, settings) if shapes else None
        if shape is None or (makes != 1 and kind != "Split"):
            _refuse(f"has a layer that no detector needs ({kind[:40]} {words[1][:40]!r})", self._path)
        for name in names[reads:]:
            if name in self._blobs:
                _refuse(f"makes {name[:40]!r} twice", self._path)
            self._blobs[name] = shape
        return makes

    def _used(self, name: str) -> Shape:
        if name not in self._blobs:
            _refuse(f"uses {name[:40]!r} twice or before it is made", self._path)
        return self._blobs.pop(name)

    def _settings(self, words: Sequence[str]) -> dict[int, float]:
        settings: dict[int, float] = {}
        for word in words:
            array = _ACTIVATION_VALUES.fullmatch(word)
            if array is not None and int(array[1]) == array[2].count(",") and 10 not in settings:
                settings[10] = float(array[1])
                continue
            match = _SETTING.fullmatch(word)
            if match is None or int(match[1]) in settings:
                _refuse(f"has a setting that is no number ({word[:40]!r})", self._path)
            settings[int(match[1])] = float(match[2])
        return settings

    def _made(self, kind: str, shapes: Sequence[Shape], settings: Mapping[int, float]) -> Shape | None:
        """What a layer makes of maps of these shapes; None if it cannot."""
        first = shapes[0]
        if kind == "Concat":
            fits = settings.get(0, 0) == 0 and all(shape[1:] == first[1:] for shape in shapes)
            return (sum(shape[0] for shape in shapes), *first[1:]) if fits else None
        if kind in _POINTWISE:
            return first if all(shape == first for shape in shapes) else None
        if len(shapes) != 1:
            return None
        if kind == "Interp":
            return _enlarged(first, settings)
        if kind == "Pooling":
            plain = settings.get(5) == 1 and not any(settings.get(key) for key in (4, 7, 8))
            return _slid(first[0], first, settings) if plain else None
        return self._convolved(first, settings) if kind in CONVOLUTIONS else None

    def _convolved(self, shape: Shape, settings: Mapping[int, float]) -> Shape | None:
        """Go over the weights of a convolution: a tag, the weights, the bias in float32."""
        outputs, groups = int(settings.get(0, 0)), int(settings.get(7, 1))
        columns = int(settings.get(1, 0))
        count = outputs * (shape[0] // max(groups, 1)) * columns * int(settings.get(11, columns))
        unknown = set(settings) - {0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16}
        if _ACTIVATIONS.get(int(settings.get(9, 0))) != settings.get(10, 0):
            return None
        if unknown or groups < 1 or shape[0] % groups or outputs % groups or settings.get(6) != count:
            return None
        if count <= 0 or len(self._weights) < self.place + 4:
            return None
        tag = self._weights[self.place : self.place + 4]
        if tag not in (SINGLE_TAG, HALF_TAG):
            _refuse("has weights of another number format than float32 and float16", self._path)
        size = 4 * count if tag == SINGLE_TAG else (2 * count + 3) // 4 * 4
        self.place += 4 + size + (4 * outputs if settings.get(5) else 0)
        return _slid(outputs, shape, {**settings, 5: 0}, pads=(4, 14, 15, 16))


def _enlarged(shape: Shape, settings: Mapping[int, float]) -> Shape | None:
    """Interpolation by whole factors, nearest or bilinear."""
    factors = settings.get(1, 0), settings.get(2, 0)
    fits = all(1 <= factor <= 64 and factor == int(factor) for factor in factors)
    fits = fits and settings.get(0) in (1, 2) and not any(settings.get(key) for key in (3, 4, 5))
    return (shape[0], shape[1] * int(factors[0]), shape[2] * int(factors[1])) if fits else None


def _slid(
    channels: int,
    shape: Shape,
    settings: Mapping[int, float],
    pads: tuple[int, int, int, int] = (3, 13, 14, 15),
) -> Shape | None:
    """What a kernel that slides over a map makes.

    Convolutions number kernel, dilation, stride 1, 2, 3 (rows: 11, 12, 13), pools kernel, stride 1, 2 (11, 12).

    Args:
        channels: of what is made.
        shape: of the map.
        settings: of the layer.
        pads: their keys: left, top, right, bottom.
    """
    pooling = pads[0] == 3
    keys = ((1, 2), (11, 12)) if pooling else ((1, 3), (11, 13))
    sides = []
    for axis, (kernel_key, stride_key), before, after in (
        (2, keys[0], pads[0], pads[2]),
        (1, keys[1], pads[1], pads[3]),
    ):
        kernel = settings.get(kernel_key, settings.get(1, 0))
        stride = settings.get(stride_key, settings.get(keys[0][1], 1))
        dilation = 1 if pooling else settings.get(12 if axis == 1 else 2, settings.get(2, 1))
        left = settings.get(before, settings.get(pads[0], 0))
        padding = left + settings.get(after, left)
        numbers = (kernel, stride, dilation, padding)
        if not all(0 <= number <= _MAX_SIZE and number == int(number) for number in numbers):
            return None
        reach = dilation * (kernel - 1) + 1
        if not (kernel and stride and dilation) or left >= kernel * dilation:
            return None
        sides.append(int((shape[axis] + padding - reach) // stride) + 1)
    return (channels, sides[1], sides[0]) if min(sides) > 0 and channels <= _MAX_SIZE else None


def _refuse(what: str, path: Path) -> NoReturn:
    raise CheckpointError(what, where=path, fix="export the checkpoint with `vedette export`")
