"""ncnn folders, run by ncnn on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.exported import ExportedFile
from vedette.checkpoint.exported.ncnn import GRAPH_FILE, WEIGHTS_FILE, read_ncnn
from vedette.core.device import Precision, thread_count
from vedette.errors import CheckpointError, MissingExtraError, ModelError
from vedette.infer.backends.exported import Call, ExportedBackend
from vedette.infer.backends.precision import only_cpu, same_as_file


def open_ncnn(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0
) -> ExportedBackend:
    """The backend of an ncnn folder.

    Args:
        path: the folder.
        device: "cpu" or "".
        precision: the file's own, or "auto", or the default.
        threads: of the CPU; 0: all.

    Raises:
        CheckpointError: the folder is not accepted.
        MissingExtraError: ncnn is not installed.
        UsageError: no such device or precision.
    """
    exported = read_ncnn(path)
    same_as_file(precision, exported.contract)
    only_cpu("ncnn", device)
    try:
        import ncnn
    except ImportError:
        raise MissingExtraError("ncnn", "export-ncnn", "running an ncnn model") from None
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = thread_count(threads)
    if exported.contract.precision == "float32":
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    _load(net, exported, path)
    call = _call(ncnn, net, len(exported.contract.strides))
    return ExportedBackend(exported.contract, call, "cpu", exported.contract.precision)


def _load(net: Any, exported: ExportedFile, path: Path) -> None:
    """Load what was checked, through files of our own: the path given may have changed since."""
    with tempfile.TemporaryDirectory(prefix="vedette-ncnn-") as folder:
        graph, weights = Path(folder, GRAPH_FILE), Path(folder, WEIGHTS_FILE)
        graph.write_bytes(exported.parts["model"])
        weights.write_bytes(exported.parts["weights"])
        if net.load_param(str(graph)) or net.load_model(str(weights)):
            raise CheckpointError("ncnn cannot open it", where=path, fix="export the checkpoint again")


def _call(ncnn: Any, net: Any, levels: int) -> Call:
    """There are no batches: frames are run one after the other, each on all threads."""

    def one(planes: NDArray[Any]) -> list[NDArray[Any]]:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(planes))
            found = [extractor.extract(f"out{number}") for number in range(levels)]
            if any(failed for failed, _ in found):
                raise ModelError("ncnn could not run the network")
            return [np.array(mat) for _, mat in found]

    def call(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        pictures = [one(planes) for planes in values]
        return [np.stack(level) for level in zip(*pictures, strict=True)]

    return call
