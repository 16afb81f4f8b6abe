"""Weights, images and summaries of the golden files, by the rules of tests/golden/spec/README.md."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conftest import GOLDEN

SPEC = GOLDEN / "spec"


def read_golden(name: str) -> Any:
    return json.loads((SPEC / name).read_text(encoding="utf-8"))


def pseudo_random(key: str, count: int) -> NDArray[np.float64]:
    """u(key, count): values in [-1, 1)."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    x += np.uint32(zlib.crc32(key.encode("utf-8")))
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x2C1B3C6D)
    x ^= x >> np.uint32(12)
    x *= np.uint32(0x297A2D39)
    x ^= x >> np.uint32(15)
    return x / 2.0**31 - 1.0


def fill_weights(network: nn.Module, bn_k: dict[str, int]) -> None:
    for key, tensor in network.state_dict().items():
        prefix, _, entry = key.rpartition(".")
        if not tensor.is_floating_point() or entry in ("anchors", "anchor_grid"):
            continue
        z = pseudo_random(key, tensor.numel()).reshape(tensor.shape)
        tensor.copy_(torch.from_numpy(_value(entry, z, bn_k.get(prefix, 0))))


def _value(entry: str, z: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    if z.ndim == 4:
        return z * np.sqrt(3.0 / np.prod(z.shape[1:]))
    if entry == "running_var":
        return (1.0 + 0.5 * z) * 4.0**k
    if entry == "running_mean":
        return 0.1 * z * 2.0**k
    return 3.0 + 0.75 * z if entry == "weight" else 0.5 * z


def golden_image(shape: list[int], key: str = "input") -> Tensor:
    values = (pseudo_random(key, int(np.prod(shape))) + 1.0) / 2.0
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def assert_summary(actual: Tensor, expected: dict[str, Any], columns: list[float]) -> None:
    """Shape, statistics (relative 1e-4, as the golden README suggests) and samples of a tensor.

    ``columns`` are the tolerances of the entries of the last dimension.
    """
    assert list(actual.shape) == expected["shape"]
    values = actual.double().reshape(-1)
    index = torch.tensor(expected["samples"]["index"])
    tolerance = torch.tensor(columns, dtype=torch.float64)[index % actual.shape[-1]]
    difference = (values[index] - torch.tensor(expected["samples"]["value"], dtype=torch.float64)).abs()
    assert (difference <= tolerance).all(), difference.max()
    np.testing.assert_allclose(values.std(correction=0), expected["std"], rtol=1e-4)
    np.testing.assert_allclose(values.mean(), expected["mean"], rtol=1e-4, atol=1e-4 * expected["std"])
    np.testing.assert_allclose(values.abs().sum(), expected["abs_sum"], rtol=1e-4)
    for name, extreme in (("min", values.min()), ("max", values.max())):
        np.testing.assert_allclose(extreme, expected[name], rtol=1e-4, atol=max(columns))
