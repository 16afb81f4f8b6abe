"""OpenVINO models, run by OpenVINO."""

from __future__ import annotations

import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.contract import ExportContract
from vedette.checkpoint.exported.openvino import read_openvino
from vedette.core.device import Precision, thread_count
from vedette.core.silent_import import import_silently
from vedette.errors import CheckpointError, MissingExtraError, ModelError, UsageError
from vedette.infer.backends.exported import ExportedBackend, network_input
from vedette.infer.backends.precision import same_as_file

_TYPES = {"float32": "f32", "bf16": "bf16", "fp16": "f16"}
_NAMES = {"f32": "float32", "bf16": "bf16", "f16": "fp16"}

WORTH_COMPILING = 32
"""How often a shape has come when it is compiled by itself: v4.0-s at 640 px takes 0.1 to 0.3 s to compile, and then
saves 3 to 4 ms a picture."""

KEPT_SHAPES = 4
"""Shapes whose models are kept, each with weights of its own."""

Shape = tuple[int, ...]


def open_openvino(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0, lanes: int = 1
) -> ExportedBackend:
    """The backend of an OpenVINO folder, or of the ``.xml`` in it.

    Args:
        path: the folder or file.
        device: "cpu", "gpu", "gpu.1", "npu" or "auto" in OpenVINO's words; "": the CPU.
        precision: what layers compute in; a file of float32 can run in bf16 or fp16. "auto": what OpenVINO finds
            fastest on the machine. A file of another number format is run in its own.
        threads: of the CPU; 0: all.
        lanes: how many threads will call at once; they share the CPU threads.

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
    hints = _hints(contract, precision, threads, lanes if name == "CPU" else 1)
    try:
        model = core.read_model(exported.parts["model"], exported.parts["weights"])
        compiled = CompiledShapes(
            model, lambda chosen: core.compile_model(chosen, name, hints), _usual_shape(contract)
        )
    except RuntimeError as error:
        raise CheckpointError(f"OpenVINO cannot open it ({_said(error)})", where=path) from None
    return ExportedBackend(contract, compiled.call, name.lower(), _precision(compiled.first, contract))


def _device(device: str, available: Sequence[str]) -> str:
    name = (device.strip() or "cpu").upper()
    if name != "AUTO" and name not in available:
        raise UsageError(
            "OpenVINO has no such device here",
            where=f"device '{device:.40}'",
            fix=f"available: {', '.join(available).lower()}",
        )
    return name


def _hints(contract: ExportContract, precision: Precision, threads: int, lanes: int) -> Mapping[str, Any]:
    """What is said to OpenVINO: this arithmetic, and one picture as fast as can be, or as many as can be."""
    wanted = contract.precision if contract.precision != "float32" else precision
    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": thread_count(threads)}
    if lanes > 1:
        hints |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": lanes}
    if wanted in _TYPES:
        hints["INFERENCE_PRECISION_HINT"] = _TYPES[wanted]
    return hints


def _precision(compiled: Any, contract: ExportContract) -> str:
    if contract.precision == "int8":
        return "int8"
    name = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return _NAMES.get(name, str(name))


def _usual_shape(contract: ExportContract) -> Shape:
    """What a picture is by the preprocessing of the file, as its network takes it."""
    height, width = contract.letterbox.size_hw
    frame = np.zeros((contract.batch_size or 1, height, width, 3), dtype=np.uint8)
    return network_input(frame, contract).shape


def _said(error: RuntimeError) -> str:
    return " ".join(str(error).split())[:200]


class CompiledShapes:
    """A model, compiled for all shapes at once where it leaves them open, and once more for those that come often.

    Known shapes spare copies (docs/benchmarks.md), but compiling takes as long as ten pictures and holds the weights
    once more. So the usual shape is compiled first; any other is run on a model of open shapes until it has come so
    often that its own would have paid; and only the few used last are kept. Several threads may call at once.

    Args:
        model: as it was read.
        compile_model: what makes a model ready to run.
        usual: shape to begin with, where the model leaves it open.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """

    def __init__(self, model: Any, compile_model: Callable[[Any], Any], usual: Shape) -> None:
        self._model, self._compile = model, compile_model
        self._lock = threading.Lock()
        self._seen: Counter[Shape] = Counter()
        self._shaped: OrderedDict[Shape, _Requests] = OrderedDict()
        self._open: _Requests | None = None
        shaped = self._for_shape(usual) if model.is_dynamic() else None
        if shaped is None:
            self._open = _Requests(compile_model(model))
        else:
            self._shaped[usual] = shaped

    @property
    def first(self) -> Any:
        """What was compiled first."""
        return next(iter(self._shaped.values()), self._open).compiled  # type: ignore[union-attr]  # one is there

    def call(self, values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Run the network. Raises ModelError."""
        try:
            return self._requests(values.shape).run(values)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO could not run it ({_said(error)})") from None

    def _requests(self, shape: Shape) -> _Requests:
        with self._lock:
            if shape in self._shaped:
                self._shaped.move_to_end(shape)
                return self._shaped[shape]
            if self._open is None:
                self._open = _Requests(self._compile(self._model))
            if not self._model.is_dynamic():
                return self._open
            self._seen[shape] += 1
            if self._seen[shape] != WORTH_COMPILING:  # only one thread sees it there
                return self._open
        shaped = self._for_shape(shape)  # others go on meanwhile
        if shaped is None:
            return self._open
        with self._lock:
            self._shaped[shape] = shaped
            if len(self._shaped) > KEPT_SHAPES:
                forgotten, _ = self._shaped.popitem(last=False)
                self._seen[forgotten] = 0
        return shaped

    def _for_shape(self, shape: Shape) -> _Requests | None:
        """The model for one shape; None if it cannot have it."""
        model = self._model.clone()
        try:
            model.reshape(list(shape))
            return _Requests(self._compile(model))
        except RuntimeError:
            return None


class _Requests:
    """A compiled model with its requests, which are used again; each serves one thread at a time."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, in memory of a request that is not used again before the last of them is gone."""
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self.compiled.create_infer_request()
        loan = _Loan(request, self._idle)
        found = request.infer([values], share_inputs=True, share_outputs=True)
        return [np.asarray(_Lent(found[number], loan)) for number in range(len(found))]


class _Loan:
    """A request whose outputs are read; it is idle again when nobody holds this any more."""

    def __init__(self, request: Any, idle: queue.SimpleQueue[Any]) -> None:
        self._request, self._idle = request, idle

    def __del__(self) -> None:
        self._idle.put(
            self._request
        )  # may be called in any thread at any moment, unlike that of other queues


class _Lent:
    """What numpy makes an array of without a copy; the array, and every view of it, holds this and so the loan."""

    def __init__(self, array: NDArray[Any], loan: _Loan) -> None:
        self.__array_interface__ = array.__array_interface__
        self._loan = loan
