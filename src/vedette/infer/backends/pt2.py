"""Files of ``torch.export`` and packages of AOTInductor, run by torch on the CPU."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported import ExportedFile
from vedette.checkpoint.exported.pt2 import read_pt2
from vedette.core.device import Precision
from vedette.errors import CheckpointError, UsageError
from vedette.infer.backends.exported import ExportedBackend
from vedette.infer.backends.precision import same_as_file


def open_pt2(path: Path, *, device: str = "", precision: Precision = "float32") -> ExportedBackend:
    """The backend of a file that vedette wrote on this machine; it uses the threads that torch uses.

    Raises:
        CheckpointError: the file is not accepted.
        UsageError: no such device or precision.
    """
    exported = read_pt2(path)
    same_as_file(precision, exported.contract)
    if device.strip().lower() not in ("", "cpu"):
        raise UsageError(
            "the file was exported for the CPU", where=f"device '{device:.40}'", fix="leave it out"
        )
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own parts
        try:
            network = _network(exported)
        except (RuntimeError, OSError) as error:
            said = " ".join(str(error).split())[:200]
            raise CheckpointError(f"torch cannot open it ({said})", where=path) from None

    @torch.inference_mode()
    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found = network(torch.from_numpy(np.require(values, requirements=["W"])))
        tensors = found if isinstance(found, (tuple, list)) else (found,)
        return [tensor.float().numpy() for tensor in tensors]

    return ExportedBackend(exported.contract, call, "cpu", exported.contract.precision)


def _network(exported: ExportedFile) -> Callable[..., Any]:
    import torch

    content = exported.parts["model"]
    if exported.contract.format == "torch-export":
        module: Callable[..., Any] = torch.export.load(io.BytesIO(content)).module()
        return module
    from torch._inductor import aoti_load_package

    # The loader takes a path, and unpacks what lies there; what lies at the path given may have changed since.
    with tempfile.TemporaryDirectory(prefix="vedette-aotinductor-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "network.pt2")
        file.write_bytes(content)
        package: Callable[..., Any] = aoti_load_package(str(file))
        return package
