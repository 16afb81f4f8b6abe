"""LiteRT files, run by LiteRT on the CPU; no torch is needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported.litert import read_litert
from vedette.core.device import Precision, thread_count
from vedette.errors import CheckpointError, MissingExtraError, ModelError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import only_cpu, same_as_file


def open_litert(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0
) -> ExportedBackend:
    """The backend of a LiteRT file.

    Args:
        path: the file.
        device: "cpu" or "".
        precision: the file's own, or "auto", or the default.
        threads: of the CPU; 0: all.

    Raises:
        CheckpointError: the file is not accepted.
        MissingExtraError: ai-edge-litert is not installed.
        UsageError: no such device or precision.
    """
    exported = read_litert(path)
    same_as_file(precision, exported.contract)
    only_cpu("LiteRT", device)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingExtraError("ai_edge_litert", "litert", "running a LiteRT model") from None
    try:
        interpreter = Interpreter(model_content=exported.parts["model"], num_threads=thread_count(threads))
        (signature,) = interpreter.get_signature_list().values()
        (name,) = signature["inputs"]
        runner = interpreter.get_signature_runner()
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(f"LiteRT cannot open it ({said})", where=path) from None
    outputs = sorted(signature["outputs"], key=lambda output: int(output.rpartition("_")[2]))
    return ExportedBackend(
        exported.contract, _call(runner, name, outputs), "cpu", exported.contract.precision
    )


def _call(runner: Any, name: str, outputs: Sequence[str]) -> Call:
    """An interpreter has one set of maps, so frames of several threads go through it one after the other."""
    lock = threading.Lock()

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        with lock:
            try:
                found = runner(**{name: values})
            except (RuntimeError, ValueError) as error:
                said = " ".join(str(error).split())[:200]
                raise ModelError(f"LiteRT could not run it ({said})") from None
            return [np.array(found[output]) for output in outputs]

    return call
