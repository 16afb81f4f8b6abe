"""Records of tensors to tensors that own their memory. Sizes are compared with what the file holds before any copy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from vedette.checkpoint.legacy.limits import MAX_DIMENSIONS, MAX_NUMBER
from vedette.checkpoint.legacy.names import PARAMETER_FUNCTIONS, TENSOR_FUNCTIONS
from vedette.checkpoint.legacy.records import Record, Storage, damaged, target_of

DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.uint8,  # a byte of a stranger is not always 0 or 1
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
"""Type of the numbers of a storage."""


class TensorReader:
    """Copies tensors out of a file.

    Args:
        storage_bytes: the bytes of a storage, by its key.
        budget: bytes that all tensors together may take; tensors that share a storage count each.
    """

    def __init__(self, storage_bytes: Callable[[str], bytearray], budget: int) -> None:
        self._storage_bytes = storage_bytes
        self._budget = budget
        self._loaded: dict[str, torch.Tensor] = {}

    def read(self, value: object, where: str) -> torch.Tensor:
        """The tensor that a record describes, on the CPU, contiguous, in its own memory.

        Raises:
            CheckpointError: the record is no tensor's, or reaches outside its storage.
        """
        if target_of(value) in PARAMETER_FUNCTIONS:
            assert isinstance(value, Record)
            value = value.arguments[0] if value.arguments else None
        if not isinstance(value, Record) or value.target.path not in TENSOR_FUNCTIONS or value.built:
            raise damaged("no tensor where one belongs", where)
        if not 4 <= len(value.arguments) <= 7:
            raise damaged("a tensor without its sizes", where)
        storage, offset, size, stride = value.arguments[:4]
        if not isinstance(storage, Storage):
            raise damaged("a tensor without its storage", where)
        sizes, strides = _numbers(size, where), _numbers(stride, where)
        start = _numbers((offset,), where)[0]
        _check_inside(storage, start, sizes, strides, where)
        dtype = DTYPES[storage.kind]
        self._budget -= math.prod(sizes) * dtype.itemsize
        if self._budget < 0:
            raise damaged("its tensors are larger than the file", where)
        if not math.prod(sizes):
            return torch.empty(sizes, dtype=dtype)
        return (
            self._storage(storage)
            .as_strided(sizes, strides, start)
            .clone(memory_format=torch.contiguous_format)
        )

    def _storage(self, storage: Storage) -> torch.Tensor:
        if storage.key not in self._loaded:
            data = self._storage_bytes(storage.key)
            self._loaded[storage.key] = torch.frombuffer(data, dtype=DTYPES[storage.kind])
        return self._loaded[storage.key]


def _numbers(value: object, where: str) -> tuple[int, ...]:
    """``value`` as a tuple of whole numbers from 0 up, at most eight."""
    if isinstance(value, Record) and value.target.path == "torch.Size" and len(value.arguments) == 1:
        value = value.arguments[0]
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        raise damaged("a tensor with impossible sizes", where)
    numbers = [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool)]
    if len(numbers) != len(value) or not all(0 <= number < MAX_NUMBER for number in numbers):
        raise damaged("a tensor with impossible sizes", where)
    return tuple(numbers)


def _check_inside(
    storage: Storage, start: int, sizes: tuple[int, ...], strides: tuple[int, ...], where: str
) -> None:
    count = math.prod(sizes)
    if len(sizes) != len(strides) or count > storage.count:
        raise damaged("a tensor with more numbers than its storage", where)
    last = start + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if count and last >= storage.count:
        raise damaged("a tensor that reaches outside its storage", where)
