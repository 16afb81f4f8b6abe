"""Core ML packages, run by Core ML on macOS through coremltools; other systems have no runtime for them."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vedette.checkpoint.contract import CONTRACT_NAME, ExportContract
from vedette.checkpoint.exported import contract_of, read_bounded
from vedette.core.device import Precision
from vedette.errors import CheckpointError, MissingExtraError, UsageError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import same_as_file

_FOLDER = "Data/com.apple.CoreML"
_FILES = ("Manifest.json", f"{_FOLDER}/model.mlmodel", f"{_FOLDER}/weights/weight.bin")
_WEIGHTS = "@model_path/weights/weight.bin"


def open_coreml(path: Path, *, device: str = "", precision: Precision = "float32") -> ExportedBackend:
    """The backend of a Core ML package.

    Args:
        path: the package.
        device: "cpu"; "": all that Core ML can use.
        precision: the file's own, or "auto", or the default.

    Raises:
        CheckpointError: the package is not accepted.
        MissingExtraError: coremltools is not installed.
        UsageError: this is no Mac; or no such device or precision.
    """
    if platform.system() != "Darwin":
        raise UsageError(
            "Core ML models run on Apple's systems only",
            where=path,
            fix="run and verify it on a Mac, or export to another format",
        )
    contract, files = read_coreml(path)
    same_as_file(precision, contract)
    if device.strip().lower() not in ("", "cpu"):
        raise UsageError("Core ML chooses by itself", where=f"device '{device:.40}'", fix='use "cpu" or none')
    import coremltools

    units = coremltools.ComputeUnit.CPU_ONLY if device.strip() else coremltools.ComputeUnit.ALL
    with tempfile.TemporaryDirectory(prefix="vedette-coreml-") as folder:
        copy = Path(folder, "model.mlpackage")
        for name, content in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        model = coremltools.models.MLModel(str(copy), compute_units=units)
    return ExportedBackend(contract, _call(model, contract), "coreml", contract.precision)


def read_coreml(path: Path) -> tuple[ExportContract, dict[str, bytes]]:
    """The contract and the files of a package; nothing of it is run.

    Raises:
        CheckpointError: no Core ML package of vedette, damaged, or one that names other files.
        MissingExtraError: coremltools, which knows the format, is not installed.
    """
    try:
        from coremltools.proto import Model_pb2
    except ImportError:
        raise MissingExtraError("coremltools", "export-coreml", "reading a Core ML package") from None
    from google.protobuf.message import DecodeError

    files = {name: read_bounded(path / name) for name in _FILES}
    try:
        model = Model_pb2.Model.FromString(files[_FILES[1]])
    except DecodeError:
        _refuse("is no model of Core ML", path)
    if model.WhichOneof("Type") != "mlProgram" or list(model.mlProgram.functions) != ["main"]:
        _refuse("is no single ML program", path)
    for block in model.mlProgram.functions["main"].block_specializations.values():
        for operation in block.operations:
            _check_operation(operation, path)
    contract = contract_of(model.description.metadata.userDefined.get(CONTRACT_NAME), path, ("coreml",))
    return contract, files


def _check_operation(operation: Any, path: Path) -> None:
    if operation.blocks:
        _refuse("holds a graph within its graph", path)
    values = [*operation.attributes.values()]
    values += [binding.value for argument in operation.inputs.values() for binding in argument.arguments]
    for value in values:
        if value.WhichOneof("value") == "blobFileValue" and value.blobFileValue.fileName != _WEIGHTS:
            _refuse("takes weights from another file", path)


def _call(model: Any, contract: ExportContract) -> Call:
    names = [f"stride{stride}" for stride in contract.strides]

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found = model.predict({"frames": Image.fromarray(values[0])})
        return [np.asarray(found[name], dtype=np.float32) for name in names]

    return call


def _refuse(what: str, path: Path) -> NoReturn:
    raise CheckpointError(what, where=path, fix="export the checkpoint with `vedette export`")
