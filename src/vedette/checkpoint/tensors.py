"""One safetensors file: named tensors, JSON metadata, and a checksum over every bit of it.

The layout is the public safetensors format, so any safetensors reader opens the file: 8 bytes header length
(little endian), a JSON header, the tensors' bytes (little endian, row-major, no gaps). Its ``__metadata__`` holds

========== ===========================================================================================
format     ``pt``, as other tools expect it
schema     version of this layout, ``1``
metadata   the caller's metadata as JSON text
sha256     SHA-256 of the whole file, computed with these 64 digits replaced by zeros
========== ===========================================================================================

A file that differs from what was written in a single bit is refused. Nothing is ever unpickled, no file handle
stays open, and memory use is bounded by the size of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vedette.checkpoint.atomic import atomic_file
from vedette.core.printable import printable
from vedette.errors import CheckpointError

SCHEMA_VERSION = 1
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 16
_MAX_NUMBER = 1 << 40  # of a dimension or offset: a terabyte
_NO_DIGEST = "0" * 64
_FIX_DAMAGED = "use another copy, or the previous file"
_FIX_NAME = "name a file of the folder weights/ of a run"

_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one tensor lies: dtype, shape, and its byte range behind the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
    *,
    allow_nonfinite: bool = False,
) -> None:
    """Write tensors and metadata to one file, whole or not at all.

    Args:
        path: the file to create or replace.
        tensors: by name, on any device, of any layout; stored with their dtypes. Names have at most 512 characters.
        metadata: JSON values only; not-a-number is no JSON value.
        allow_nonfinite: accept NaN and infinity in floating tensors.

    Raises:
        CheckpointError: a tensor or the metadata cannot be stored, or holds non-finite numbers.
        WriteError: the file could not be written; the previous one is kept.
    """
    path = Path(path)
    stored = {name: _storable(path, name, tensors[name], allow_nonfinite) for name in _storage_order(tensors)}
    text = _metadata_text(path, metadata)
    blank = _encode_header(stored, text, _NO_DIGEST)
    if len(blank) - 8 > MAX_HEADER_BYTES:
        raise CheckpointError(f"names and metadata take more than {MAX_HEADER_BYTES} bytes", where=path)
    digest = hashlib.sha256(blank)
    for tensor in stored.values():
        digest.update(_bytes_of(tensor))
    header = _encode_header(stored, text, digest.hexdigest())
    with atomic_file(path, len(header) + sum(tensor.nbytes for tensor in stored.values())) as writer:
        writer.write(header)
        for tensor in stored.values():
            writer.write(_bytes_of(tensor))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file of :func:`write_tensors` back: CPU tensors that own their memory, and the metadata.

    Raises:
        CheckpointError: the file is missing, damaged, truncated, of a newer schema, or was not written by vedette.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError("is no regular file", where=path, fix=_FIX_NAME)
        with path.open("rb") as file:
            return _read_open_file(file, path)
    except OSError as error:
        raise CheckpointError(
            f"cannot be read ({error.strerror or error})", where=path, fix=_FIX_NAME
        ) from None
    except MemoryError:
        raise CheckpointError("does not fit into memory", where=path, fix=_FIX_DAMAGED) from None


def weights_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Fingerprint of weights, independent of file, device and stored dtype.

    SHA-256 over, for each name in sorted order, the UTF-8 name followed by the tensor's values as float32,
    little endian, row-major.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(name.encode("utf-8"))
        digest.update(_bytes_of(values))
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------- writing


def _storage_order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Wide dtypes first, then by name: so every tensor starts at a multiple of its element size."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _storable(path: Path, name: str, tensor: torch.Tensor, allow_nonfinite: bool) -> torch.Tensor:
    if not 0 < len(name) <= MAX_NAME_LENGTH or name == "__metadata__":
        raise CheckpointError("is no name for a tensor", where=f"{path}: {name[:80]!r}")
    if tensor.dtype not in _DTYPE_NAMES:
        raise CheckpointError(f"has dtype {tensor.dtype}, which is not stored", where=f"{path}: {name}")
    stored = tensor.detach().to("cpu").contiguous()
    if stored.is_floating_point() and not allow_nonfinite and not bool(torch.isfinite(stored).all()):
        raise CheckpointError(
            "holds NaN or infinity; nothing was written",
            where=f"{path}: {name}",
            fix="go on from the last good file, with a lower learning rate",
        )
    return stored


def _metadata_text(path: Path, metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(metadata), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"metadata is not JSON ({error})", where=path) from None


def _encode_header(tensors: Mapping[str, torch.Tensor], metadata_text: str, digest: str) -> bytes:
    """Length and JSON header; padded with blanks so that the tensors start at a multiple of 8 bytes."""
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pt",
            "schema": str(SCHEMA_VERSION),
            "sha256": digest,
            "metadata": metadata_text,
        }
    }
    begin = 0
    for name, tensor in tensors.items():
        end = begin + tensor.nbytes
        header[name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as bytes, without a copy."""
    if tensor.numel() == 0:
        return memoryview(b"")
    return tensor.reshape(-1).view(torch.uint8).numpy().data


# ---------------------------------------------------------------------------------------------------- reading


def _read_open_file(file: BinaryIO, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    header_bytes, data_length = _read_header(file, path)
    header = _parse_json(header_bytes, path)
    stored_digest, metadata = _read_metadata(header.pop("__metadata__", None), path)
    entries = _read_entries(header, data_length, path)
    blank = header_bytes.replace(stored_digest.encode("ascii"), _NO_DIGEST.encode("ascii"))
    digest = hashlib.sha256(len(header_bytes).to_bytes(8, "little") + blank)
    tensors = {}
    for entry in entries:
        tensor = _allocate(entry, path)
        view = _bytes_of(tensor)
        _read_exactly(file, view, path)
        digest.update(view)
        tensors[entry.name] = tensor.bool() if entry.dtype == torch.bool else tensor
    if digest.hexdigest() != stored_digest:
        raise _damaged("its checksum does not match its contents", path)
    return tensors, metadata


def _allocate(entry: _Entry, path: Path) -> torch.Tensor:
    """Memory for one tensor. Booleans are read as bytes: other values than 0 and 1 must not become a bool tensor."""
    try:
        return torch.empty(entry.shape, dtype=torch.uint8 if entry.dtype == torch.bool else entry.dtype)
    except RuntimeError:
        place = f"{path}: {printable(entry.name[:80])}"
        raise CheckpointError("does not fit into memory", where=place, fix=_FIX_DAMAGED) from None


def _damaged(what: str, path: Path) -> CheckpointError:
    return CheckpointError(f"is damaged or was not written by vedette ({what})", where=path, fix=_FIX_DAMAGED)


def _read_exactly(file: BinaryIO, view: memoryview, path: Path) -> None:
    while view.nbytes:
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise _damaged("it ends too early", path)
        view = view[count:]


def _read_header(file: BinaryIO, path: Path) -> tuple[bytes, int]:
    """The header's bytes and the number of bytes behind it."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise _damaged("it is too short", path)
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise _damaged("its header has an impossible length", path)
    header = file.read(length)
    if len(header) != length:
        raise _damaged("it ends too early", path)
    return header, size - 8 - length


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _parse_json(text: bytes | str, path: Path) -> dict[str, Any]:
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(decoded, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _damaged("its header is not JSON", path) from None
    if not isinstance(value, dict):
        raise _damaged("its header is no JSON object", path)
    return value


def _read_metadata(block: object, path: Path) -> tuple[str, dict[str, Any]]:
    """The stored digest and the caller's metadata."""
    if not isinstance(block, dict) or not {"schema", "sha256", "metadata"} <= block.keys():
        raise CheckpointError(
            "is a safetensors file that was not written by vedette",
            where=path,
            fix="such a file lacks its layers; import the .pt file that its training wrote",
        )
    if not all(isinstance(value, str) for value in block.values()):
        raise _damaged("its metadata is not text", path)
    if block["schema"] != str(SCHEMA_VERSION):
        raise CheckpointError(
            f"has schema {block['schema'][:20]!r}; this version reads {SCHEMA_VERSION}",
            where=path,
            fix="update vedette",
        )
    digest = str(block["sha256"])
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise _damaged("its checksum is unreadable", path)
    return digest, _parse_json(block["metadata"], path)


def _read_entries(header: Mapping[str, Any], data_length: int, path: Path) -> list[_Entry]:
    """Entries in file order, checked to fill the file without gap or overlap."""
    entries = [_read_entry(name, value, path) for name, value in header.items()]
    # Empty tensors share their offset with a neighbour; ordering by end as well keeps the chain unbroken.
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise _damaged("its tensors overlap or leave gaps", path)
        position = entry.end
    if position != data_length:
        raise _damaged(f"it holds {data_length} bytes of tensors, its header names {position}", path)
    return entries


def _whole_numbers(value: object, most: int) -> tuple[int, ...] | None:
    """``value`` as a tuple, if it is a list of at most ``most`` whole numbers from 0 to 2**40."""
    if not isinstance(value, list) or len(value) > most:
        return None
    if not all(type(number) is int and 0 <= number <= _MAX_NUMBER for number in value):
        return None
    return tuple(value)


def _read_entry(name: str, value: object, path: Path) -> _Entry:
    if len(name) > MAX_NAME_LENGTH or not isinstance(value, dict):
        raise _damaged("a tensor's entry is unreadable", path)
    dtype_name = value.get("dtype")
    dtype = _DTYPES.get(dtype_name) if isinstance(dtype_name, str) else None
    shape = _whole_numbers(value.get("shape"), MAX_DIMENSIONS)
    offsets = _whole_numbers(value.get("data_offsets"), 2)
    if dtype is None or shape is None or offsets is None or len(offsets) != 2:
        raise _damaged(f"the entry of tensor {name[:80]!r} is unreadable", path)
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(f"the size of tensor {name[:80]!r} does not fit its shape", path)
    return _Entry(name, dtype, shape, begin, end)
