"""TorchScript files, run by torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported.torchscript import read_torchscript
from vedette.core.device import Precision, select_device
from vedette.errors import CheckpointError, MissingExtraError
from vedette.infer.backends.exported import ExportedBackend
from vedette.infer.backends.precision import same_as_file


def open_torchscript(path: Path, *, device: str = "", precision: Precision = "float32") -> ExportedBackend:
    """The backend of a TorchScript file; it uses the threads that torch uses.

    Raises:
        CheckpointError: the file is not accepted.
        MissingExtraError: torch is not installed.
        UsageError: no such device or precision.
    """
    exported = read_torchscript(path)
    same_as_file(precision, exported.contract)
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "cpu", "running a TorchScript file") from None
    chosen = select_device(device)
    try:
        with warnings.catch_warnings():
            # torch would rather be given files of torch.export, and says so at each call.
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(io.BytesIO(exported.parts["model"]), map_location=chosen).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"torch cannot open it ({' '.join(str(error).split())[:200]})", where=path
        ) from None

    @torch.inference_mode()
    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found = network(torch.from_numpy(np.require(values, requirements=["W"])).to(chosen))
        tensors = found if isinstance(found, (tuple, list)) else (found,)
        return [tensor.float().cpu().numpy() for tensor in tensors]

    return ExportedBackend(exported.contract, call, str(chosen), exported.contract.precision)
