"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported.onnx import read_onnx
from vedette.core.device import Precision, thread_count
from vedette.errors import CheckpointError, MissingExtraError, UsageError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import same_as_file

_QUIET = 3
"""Severity of ONNX Runtime's messages from which they are printed: errors."""


def open_onnx(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0, lanes: int = 1
) -> ExportedBackend:
    """The backend of an ONNX file.

    Args:
        path: the file.
        device: "cpu", or a GPU that the installed ONNX Runtime can use; "": the GPU if it can, else the CPU.
        precision: the file's own, or "auto", or the default.
        threads: of the CPU; 0: all.
        lanes: how many threads will call at once; they share the CPU threads.

    Raises:
        CheckpointError: the file is not accepted.
        MissingExtraError: onnxruntime is not installed.
        UsageError: no such device or precision.
    """
    exported = read_onnx(path)
    same_as_file(precision, exported.contract)
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime", "running an ONNX file") from None
    providers, where = _providers(device, onnxruntime.get_available_providers())
    options = session_options(onnxruntime, thread_count(threads), lanes)
    try:
        session = onnxruntime.InferenceSession(exported.parts["model"], options, providers=providers)
    except Exception as error:  # onnxruntime raises types of its own for every kind of damage
        raise CheckpointError(
            f"ONNX Runtime cannot open it ({' '.join(str(error).split())[:200]})", where=path
        ) from None
    return ExportedBackend(exported.contract, _call(session, path), where, exported.contract.precision)


def session_options(onnxruntime: Any, threads: int, lanes: int) -> Any:
    """How a session shares threads among so many callers; ``onnxruntime``: the package."""
    options = onnxruntime.SessionOptions()
    # Who calls works too, and all callers are helped by one pool: those are so many threads together.
    options.intra_op_num_threads = max(1, threads - lanes + 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # Between two runs its threads would wait in a loop, on cores that decode pictures and pick boxes meanwhile.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if lanes > 1:  # likewise between two layers of one run, while other runs want the core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _call(session: Any, path: Path) -> Call:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise CheckpointError(f"has {len(inputs)} inputs, expected one", where=path)
    name = inputs[0].name

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found: list[NDArray[Any]] = session.run(None, {name: values})
        return [np.asarray(array) for array in found]

    return call


def _providers(device: str, available: Sequence[str]) -> tuple[list[str], str]:
    word = device.strip().lower()
    if word == "cpu" or (word == "" and "CUDAExecutionProvider" not in available):
        return ["CPUExecutionProvider"], "cpu"
    number = word.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal() or "CUDAExecutionProvider" not in available:
        raise UsageError(
            "the installed ONNX Runtime cannot use it", where=f"device '{device:.40}'", fix="use --device cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"], f"cuda:{number}"
