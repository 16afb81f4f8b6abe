"""From a file to the backend that runs it: the file's name says which runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vedette.checkpoint.contract import ExportContract
from vedette.core.device import Precision, lane_threads
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import MissingExtraError, UsageError
from vedette.infer.backends import Backend
from vedette.infer.backends.exported import ExportedBackend


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A network ready to run, and what its file says of it.

    Attributes:
        backend: runs the network.
        letterbox: the preprocessing it was trained with.
        class_names: by class id.
        nms: the suppression that is built into the network; None: none is, any settings will do.
        contract: all that an exported file says of itself; None for a checkpoint.
        release: the release whose rules a checkpoint's model follows; "" for an exported file, which does not say.
    """

    backend: Backend
    letterbox: LetterboxPolicy
    class_names: tuple[str, ...]
    nms: NmsSettings | None = None
    contract: ExportContract | None = None
    release: str = ""


_RUNTIMES = {
    ".onnx": "onnx",
    ".xml": "openvino",
    "_openvino_model": "openvino",
    ".torchscript": "torchscript",
    ".torchscript.pt": "torchscript",
    "_ncnn_model": "ncnn",
    ".mlpackage": "coreml",
    "_executorch_model": "executorch",
    ".tflite": "litert",
    ".pt2": "pt2",
}
"""Ends of names; any other file is a checkpoint."""


_OPENERS = {
    "coreml": "coreml.open_coreml",
    "executorch": "executorch.open_executorch",
    "litert": "litert.open_litert",
    "ncnn": "ncnn.open_ncnn",
    "onnx": "onnxruntime.open_onnx",
    "openvino": "openvino.open_openvino",
    "pt2": "pt2.open_pt2",
    "torchscript": "torchscript.open_torchscript",
}
"""By runtime: the module of this folder, and its function."""

_THREADS_ELSEWHERE = ("coreml", "executorch", "pt2", "torchscript")
"""These cannot be told a number of threads."""

_LANES = ("onnx", "openvino")
"""These are told how many threads will call at once, and pass more pictures that way (docs/benchmarks.md)."""

_THREADS_OF_A_CALL = ("ncnn",)
"""These give so many threads to each call, whoever else calls."""


def runtime_of(path: Path) -> str:
    """What runs a file, a key of ``_OPENERS``; "" for a checkpoint."""
    name = path.name.lower()
    runtimes = [runtime for end, runtime in _RUNTIMES.items() if name.endswith(end)]
    if not runtimes and path.is_dir() and any(path.glob("*.xml")):
        return "openvino"
    return runtimes[0] if runtimes else ""


def gains_by_lanes(path: Path) -> bool:
    """Whether what runs a file passes more pictures a second when several threads call it at once.

    PyTorch does not: docs/benchmarks.md, "Several lanes". Of other runtimes it is not known.
    """
    return runtime_of(path) in _LANES


def open_file(
    path: Path,
    *,
    device: str = "",
    precision: Precision = "float32",
    threads: int = 0,
    lanes: int = 1,
    compile: bool = False,
) -> OpenedFile:
    """Open a checkpoint or an exported file with its runtime; only that runtime is imported.

    Args:
        path: the file or folder.
        device: where it is to run; "": the best there is.
        precision: number format of the network.
        threads: of the CPU, for runtimes other than PyTorch; 0: all.
        lanes: how many threads will call at once; they share the CPU threads. More or fewer may, only slower.
        compile: run a checkpoint through torch.compile.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
        UsageError: there is no such device, or it has no such precision; or the file or machine cannot be compiled.
        MissingExtraError: the runtime is not installed.
    """
    runtime = runtime_of(path)
    if not runtime:
        return _open_checkpoint(path, device, precision, compile)
    if compile:
        raise UsageError(
            f"its network is run by {runtime}, not by torch.compile",
            where=path,
            fix="leave --compile out, or give the checkpoint",
        )
    options: dict[str, Any] = {"device": device, "precision": precision}
    if runtime not in _THREADS_ELSEWHERE:
        options["threads"] = lane_threads(threads, lanes) if runtime in _THREADS_OF_A_CALL else threads
    if runtime in _LANES:
        options["lanes"] = lanes
    backend = _opener(runtime)(path, **options)
    contract = backend.contract
    return OpenedFile(backend, contract.letterbox, contract.class_names, contract.nms, contract)


def _opener(runtime: str) -> Callable[..., ExportedBackend]:
    module, _, function = _OPENERS[runtime].partition(".")
    opener: Callable[..., ExportedBackend] = getattr(
        importlib.import_module(f"vedette.infer.backends.{module}"), function
    )
    return opener


def _open_checkpoint(path: Path, device: str, precision: Precision, compile: bool) -> OpenedFile:
    try:
        import torch  # noqa: F401 - what runs checkpoints
    except ImportError:
        raise MissingExtraError("torch", "cpu", "running a checkpoint") from None
    from vedette.checkpoint.load import load
    from vedette.core.device import select_device
    from vedette.infer.backends.pytorch import TorchBackend

    chosen = select_device(device)
    loaded = load(path)
    pictures = loaded.letterbox.picture_format
    backend = TorchBackend(
        loaded.detector, chosen, pictures.precision(precision), picture_format=pictures, compile=compile
    )
    release = loaded.detector.architecture.release
    return OpenedFile(backend, loaded.letterbox, loaded.class_names, release=release)
