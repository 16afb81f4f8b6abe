"""ExecuTorch folders, run by its Python runtime on the CPU; that runtime needs torch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported.executorch import read_executorch
from vedette.core.device import Precision
from vedette.errors import CheckpointError, MissingExtraError, ModelError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import only_cpu, same_as_file

_METHOD = "forward"


def open_executorch(path: Path, *, device: str = "", precision: Precision = "float32") -> ExportedBackend:
    """The backend of an ExecuTorch folder; it uses all threads of the CPU.

    Raises:
        CheckpointError: the folder is not accepted.
        MissingExtraError: executorch is not installed.
        UsageError: no such device or precision.
    """
    exported = read_executorch(path)
    same_as_file(precision, exported.contract)
    only_cpu("ExecuTorch", device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about how the package uses it
        try:
            from executorch.runtime import Runtime, Verification
        except ImportError:
            raise MissingExtraError(
                "executorch", "export-executorch", "running an ExecuTorch program"
            ) from None
        try:
            program = Runtime.get().load_program(
                exported.parts["model"], verification=Verification.InternalConsistency
            )
            program.load_method(_METHOD)
        except (RuntimeError, KeyError) as error:
            said = " ".join(str(error).split())[:200]
            raise CheckpointError(f"ExecuTorch cannot open it ({said})", where=path) from None
    return ExportedBackend(exported.contract, _call(program), "cpu", exported.contract.precision)


def _call(program: Any) -> Call:
    """A method has one plan for its memory, so frames of several threads go through it one after the other.

    It reads the program's bytes, so it is asked for again each time: the program must not be gone before it.
    """
    import torch

    lock = threading.Lock()

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        frames = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        with lock:
            try:
                found = program.load_method(_METHOD).execute([frames])
            except RuntimeError as error:
                raise ModelError(
                    f"ExecuTorch could not run it ({' '.join(str(error).split())[:200]})"
                ) from None
            return [tensor.numpy().copy() for tensor in found]

    return call
