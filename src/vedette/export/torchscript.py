"""TorchScript: the network traced and frozen, in an archive without traces of this machine."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.exported.torchscript import CONTRACT_ENTRY, pack_archive, unpack_archive
from vedette.export.job import ExportJob
from vedette.model.frame_detector import FrameDetector

_COUNT = re.compile(rb"\.___torch_mangle_[0-9]+")
_COUNT_IN_PATH = re.compile(r"/___torch_mangle_[0-9]+(?=\.py$)")
_IDENTITY = ".data/serialization_id"
"""A hash over names that hold that count."""
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def write(job: ExportJob, path: Path) -> None:
    """Write one file. Raises WriteError."""
    network = job.network()
    parts = convert_torchscript(network.to(_DTYPES[job.contract.precision]), job.example_shape)
    parts[CONTRACT_ENTRY] = job.contract.to_json().encode("ascii")
    write_atomic(path, pack_archive(parts))


@torch.no_grad()
def convert_torchscript(network: FrameDetector, example_shape: tuple[int, int, int, int]) -> dict[str, bytes]:
    """The parts of an archive with the traced network; any batch and any sides that are multiples of the stride.

    Args:
        network: in its precision.
        example_shape: [B, H, W, 3] of the frames to trace with.
    """
    example = torch.zeros(example_shape, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The network's own shape arithmetic is traced as such; torch warns of every place where that could be wrong,
        # and of its tracer as a whole. The exported file is verified.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        stream = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced), stream)
    return _anonymous(unpack_archive(stream.getvalue()))


def _anonymous(parts: dict[str, bytes]) -> dict[str, bytes]:
    """Parts without debugging tables, which name files of this machine, and without a count of earlier traces."""
    kept = {}
    for name, content in parts.items():
        if name == _IDENTITY:
            continue
        if name.startswith("code/"):
            if not name.endswith(".py"):
                continue
            kept[_COUNT_IN_PATH.sub("", name)] = _COUNT.sub(b"", content)
        else:
            kept[name] = _COUNT.sub(b"", content) if name == "data.pkl" else content
    return kept
