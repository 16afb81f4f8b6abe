"""OpenVINO models, run by OpenVINO."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.exported.openvino import read_openvino
from vedette.core.device import Precision, thread_count
from vedette.core.silent_import import import_silently
from vedette.errors import CheckpointError, MissingExtraError, UsageError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import same_as_file

_TYPES = {"float32": "f32", "bf16": "bf16", "fp16": "f16"}
_NAMES = {"f32": "float32", "bf16": "bf16", "f16": "fp16"}


def open_openvino(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0
) -> ExportedBackend:
    """The backend of an OpenVINO folder, or of the ``.xml`` in it.

    Args:
        path: the folder or file.
        device: "cpu", "gpu", "gpu.1", "npu" or "auto" in OpenVINO's words; "": the CPU.
        precision: what layers compute in; a file of float32 can run in bf16 or fp16. "auto": what OpenVINO finds
            fastest on the machine. A file of another number format is run in its own.
        threads: of the CPU; 0: all.

    Raises:
        CheckpointError: the file is not accepted.
        MissingExtraError: openvino is not installed.
        UsageError: no such device or precision.
    """
    exported = read_openvino(path)
    contract = exported.contract
    if contract.precision != "float32":
        same_as_file(precision, contract)
    try:
        openvino = import_silently("openvino")
    except ImportError:
        raise MissingExtraError("openvino", "openvino", "running an OpenVINO model") from None
    core = openvino.Core()
    name = _device(device, core.available_devices)
    try:
        model = core.read_model(exported.parts["model"], exported.parts["weights"])
        compiled = core.compile_model(model, name, _hints(contract, precision, threads))
    except RuntimeError as error:
        raise CheckpointError(
            f"OpenVINO cannot open it ({' '.join(str(error).split())[:200]})", where=path
        ) from None
    return ExportedBackend(contract, _call(compiled), name.lower(), _precision(compiled, contract))


def _device(device: str, available: Sequence[str]) -> str:
    name = (device.strip() or "cpu").upper()
    if name != "AUTO" and name not in available:
        raise UsageError(
            "OpenVINO has no such device here",
            where=f"device '{device:.40}'",
            fix=f"available: {', '.join(available).lower()}",
        )
    return name


def _hints(contract: ExportContract, precision: Precision, threads: int) -> Mapping[str, Any]:
    """What is said to OpenVINO: one picture as fast as can be, in this arithmetic."""
    wanted = contract.precision if contract.precision != "float32" else precision
    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": thread_count(threads)}
    if wanted in _TYPES:
        hints["INFERENCE_PRECISION_HINT"] = _TYPES[wanted]
    return hints


def _precision(compiled: Any, contract: ExportContract) -> str:
    if contract.precision == "int8":
        return "int8"
    name = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return _NAMES.get(name, str(name))


def _call(compiled: Any) -> Call:
    """Requests are kept and used again; each serves one thread at a time."""
    idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            found = request.infer([values], share_inputs=True)
            return [np.asarray(found[number]) for number in range(len(found))]
        finally:
            idle.put(request)

    return call
