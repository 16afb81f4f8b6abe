"""Reads golden files and computes the pseudo-random sequence they are defined by (golden/README.md)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def read_golden(name: str) -> dict[str, Any]:
    """A golden file by its path below tests/golden."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def sequence(key: str, count: int) -> np.ndarray:
    """u(key, n): ``count`` values in [-1, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    x = (
        np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(key.encode()))
    ) & mask
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(0x2C1B3C6D)) & mask
    x ^= x >> np.uint64(12)
    x = (x * np.uint64(0x297A2D39)) & mask
    x ^= x >> np.uint64(15)
    return x.astype(np.float64) / 2**31 - 1


def suppression_predictions(key: str, rows: int, classes: int, spread: float) -> np.ndarray:
    """The prediction formula of nms.json, float32 [1, rows, 5 + classes]."""
    z = (sequence(key, rows * (5 + classes)) + 1) / 2
    z = z.reshape(1, rows, 5 + classes)
    values = z.copy()
    for column in (0, 1):
        values[..., column] = 50 + spread * np.round(6 * z[..., column]) / 6 + 6 * (z[..., column + 2] - 0.5)
    values[..., 2:4] = 60 + 20 * z[..., 2:4]
    return np.round(values, 6).astype(np.float32)
