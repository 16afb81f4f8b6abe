"""The cache of indexes: one file a split, outside the data set, believed only if everything still matches.

What decides a split is compared, not only measured: the content of its label files, the class names and settings of
its description, and path, size and modification time of every picture. (A picture that is replaced by another of the
same size in bytes with the same modification time is the one change that is not noticed; its labels are.)

A file is a line with name, version and SHA-256 of the rest, then safetensors. Nothing in it is ever executed; a file
that is damaged, foreign or of another version is rebuilt, and the caller gets a note.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vedette.core.picture_format import RGB8
from vedette.data.defects import pack_defects, unpack_defects
from vedette.data.description import DatasetDescription
from vedette.data.index_build import BuiltSplit, SplitCounts, stamp_files

FORMAT = "vedette-index 2"
"""Name and version; raise the version when the meaning of the content or any check changes."""

MAX_CACHE_BYTES = 4_000_000_000

Arrays = dict[str, NDArray[np.generic]]


class ForeignCacheError(Exception):
    """A cache file that cannot be used; args: why."""


def cache_path(folder: Path, description: DatasetDescription, split: str) -> Path:
    """The file that holds the index of a split: the same whatever its labels are, so that a rebuild replaces it."""
    identity = json.dumps([description.argument, str(description.root), split])
    key = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]
    return folder / "indexes" / f"{key}.index"


def fingerprint(description: DatasetDescription, split: str, labels_digest: str) -> str:
    """SHA-256 over everything but the pictures that decides an index."""
    decisive: list[object] = [
        FORMAT,
        description.format,
        description.class_names,
        description.category_ids,
        description.coordinates,
        repr(description.source(split)),
        labels_digest,
    ]
    if description.picture_format != RGB8:
        decisive.append(description.picture_format.to_dict())
    return hashlib.sha256(json.dumps(decisive).encode(errors="surrogateescape")).hexdigest()


def read_cache(path: Path, expected_fingerprint: str) -> BuiltSplit | None:
    """The cached split, or None if there is none or its files have changed since.

    Raises:
        ForeignCacheError: the file is damaged, of another version, or not ours.
    """
    try:
        if path.stat().st_size > MAX_CACHE_BYTES:
            raise ForeignCacheError("it is too large")
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ForeignCacheError(f"it cannot be read ({error.strerror})") from None
    head, _, payload = raw.partition(b"\n")
    if head != _head(payload):
        raise ForeignCacheError("it is damaged or was not written by this version")
    try:
        built, stored_fingerprint = _unpack(load(payload))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ForeignCacheError(f"its content is not an index ({type(error).__name__})") from None
    current = stored_fingerprint == expected_fingerprint
    if current and np.array_equal(built.stamps, stamp_files(built.checked_paths)):
        return built
    return None


def write_cache(path: Path, built: BuiltSplit, current_fingerprint: str) -> None:
    """Write the index so that a reader sees the old or the new file, never a part. Raises OSError."""
    payload = save(_pack(built, current_fingerprint))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(_head(payload) + b"\n" + payload)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _head(payload: bytes) -> bytes:
    return f"{FORMAT} {hashlib.sha256(payload).hexdigest()}".encode()


def _pack(built: BuiltSplit, current_fingerprint: str) -> Arrays:
    # Surrogates stand for bytes of file names that are not UTF-8; JSON escapes them.
    texts = {
        "fingerprint": current_fingerprint,
        "content_hash": built.content_hash,
        "counts": asdict(built.counts),
        "paths": list(built.paths),
        "checked_paths": list(built.checked_paths),
    }
    return {
        **built.arrays,
        "stamps": built.stamps,
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
        "defects": np.frombuffer(pack_defects(built.defects), np.uint8),
    }


def _unpack(arrays: Arrays) -> tuple[BuiltSplit, str]:
    texts = json.loads(arrays.pop("texts").tobytes())
    defects = unpack_defects(arrays.pop("defects").tobytes())
    stamps = arrays.pop("stamps").astype(np.int64)
    built = BuiltSplit(
        paths=texts["paths"],
        arrays=arrays,
        defects=defects,
        counts=SplitCounts(**texts["counts"]),
        checked_paths=texts["checked_paths"],
        stamps=stamps,
        content_hash=texts["content_hash"],
    )
    return built, texts["fingerprint"]
