"""Maps of layers that an exported file gives besides its raw outputs: which they are, and what they must be.

What PyTorch computed for a golden picture is too large to be stored. So a map is kept as the mean of every channel,
which sees a change of any one of them, and as some of its values, which see a change of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.strict_json import Fields
from vedette.core.letterbox import MAX_STRIDE
from vedette.core.types import FloatArray
from vedette.errors import CheckpointError, ModelError

MAX_MAPS = 64
MAX_LAYER = 9_999
_MAX_CHANNELS = 65_536
_MAX_NAMES = 16
_MAX_VALUE = 1e38
_SAMPLES = 256
_GOLDEN_STEP = 0x9E3779B97F4A7C15
"""2^64 / golden ratio: multiples of it, modulo 2^64, lie evenly, however many are taken."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One layer that a file shows.

    Attributes:
        layer: its number in the layer table.
        names: what it is also called, such as ``backbone.p3``.
        channels: of its map.
        stride: frame pixels a cell of its map.
    """

    layer: int
    names: tuple[str, ...]
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class FeatureMaps:
    """The maps [B, channels, h, w] that follow the raw outputs of a file.

    Attributes:
        level_inputs: number of the layer that the output convolution of each level reads, shown or not.
        maps: in the order of the outputs; by rising layer.
    """

    level_inputs: tuple[int, ...]
    maps: tuple[FeatureMap, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that are shown."""
        return tuple(shown.layer for shown in self.maps)

    def place(self, layer: int | str) -> int:
        """The position among ``maps`` of a layer, by number or name. Raises ModelError."""
        for number, shown in enumerate(self.maps):
            if layer in shown.names or (type(layer) is int and layer == shown.layer):
                return number
        there = ", ".join(" = ".join((str(shown.layer), *shown.names)) for shown in self.maps)
        raise ModelError(
            "the file has no map of that layer",
            where=f"layers: {layer!s:.80}",
            fix=f"it has {there}; export it again with --features for others",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_fields` reads it back equal."""
        maps = [{**asdict(shown), "names": list(shown.names)} for shown in self.maps]
        return {"level_inputs": list(self.level_inputs), "maps": maps}

    @classmethod
    def from_fields(cls, parent: Fields, key: str) -> FeatureMaps:
        """Read what :meth:`to_dict` wrote. Raises CheckpointError."""
        read = parent.record(key, [field.name for field in fields(cls)])
        values = read.several("maps", 1, MAX_MAPS)
        maps = tuple(_map(value, read.place(f"map {number}")) for number, value in enumerate(values))
        names = [name for shown in maps for name in shown.names]
        layers = [shown.layer for shown in maps]
        if layers != sorted(set(layers)) or len(names) != len(set(names)):
            raise CheckpointError("layers must rise, and names must differ", where=read.place("maps"))
        return cls(read.whole_numbers("level_inputs", (1, MAX_MAPS), 0, MAX_LAYER), maps)


@dataclass(frozen=True, slots=True)
class ExpectedMap:
    """What is kept of a map [c, h, w].

    Attributes:
        layer: number of the layer.
        means: of every channel.
        samples: values at places that follow from the size of the map.
    """

    layer: int
    means: tuple[float, ...]
    samples: tuple[float, ...]

    @classmethod
    def of(cls, layer: int, feature_map: NDArray[Any]) -> ExpectedMap:
        """What is kept of a floating [c, h, w]; six digits of each number."""
        values: FloatArray = np.asarray(feature_map, dtype=np.float32)
        samples = values.reshape(-1)[_places(values.size)]
        return cls(layer, _rounded(values.mean(axis=(1, 2), dtype=np.float64)), _rounded(samples))

    def difference(self, other: ExpectedMap) -> float:
        """How far another map of that layer is from this one, in parts of the size of this one's values.

        The root mean square of the differences of samples, or the greatest difference of means if that is more, over
        the root mean square of this map's samples.
        """
        means, samples, others = (np.array(values) for values in (self.means, self.samples, other.samples))
        if len(other.means) != len(means) or len(others) != len(samples):
            return float(_MAX_VALUE)
        apart = max(_root_mean_square(samples - others), float(np.abs(means - np.array(other.means)).max()))
        if not np.isfinite(apart):
            return float(_MAX_VALUE)
        return apart / max(_root_mean_square(samples), float(np.finfo(np.float32).eps))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"layer": self.layer, "means": list(self.means), "samples": list(self.samples)}

    @classmethod
    def from_value(cls, value: object, where: str) -> ExpectedMap:
        """Read what :meth:`to_dict` wrote. Raises CheckpointError."""
        read = Fields.of(value, where, [field.name for field in fields(cls)])
        channels = len(read.several("means", 1, _MAX_CHANNELS))
        count = len(read.several("samples", 1, _SAMPLES))
        return cls(
            read.whole("layer", 0, MAX_LAYER),
            read.numbers("means", channels, -_MAX_VALUE, _MAX_VALUE),
            read.numbers("samples", count, -_MAX_VALUE, _MAX_VALUE),
        )


def _map(value: object, where: str) -> FeatureMap:
    read = Fields.of(value, where, [field.name for field in fields(FeatureMap)])
    names = tuple(
        Fields({"names": name}, read.where).text("names", 80, 1)
        for name in read.several("names", 0, _MAX_NAMES)
    )
    return FeatureMap(
        read.whole("layer", 0, MAX_LAYER),
        names,
        read.whole("channels", 1, _MAX_CHANNELS),
        read.whole("stride", 1, MAX_STRIDE),
    )


def _places(size: int) -> list[int]:
    """Positions in an array of so many values, spread evenly without a pattern."""
    return [((number * _GOLDEN_STEP) % 2**64) * size >> 64 for number in range(1, min(_SAMPLES, size) + 1)]


def _rounded(values: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
