"""ncnn: the network for phones and small boards, as text and weights in a folder."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from vedette.checkpoint.atomic import write_atomic
from vedette.checkpoint.exported.folder import CONTRACT_FILE
from vedette.checkpoint.exported.ncnn import CONVOLUTIONS, GRAPH_FILE, HALF_TAG, WEIGHTS_FILE
from vedette.errors import MissingExtraError, ModelError
from vedette.export.job import ExportJob
from vedette.export.planar import PlanarDetector

_MAX_SECONDS = 1800


def write(job: ExportJob, path: Path) -> None:
    """Write the folder, which must exist or be to be made in one that does.

    Raises:
        MissingExtraError: pnnx is not installed.
        ModelError: pnnx cannot convert the network.
        WriteError: a file could not be written.
    """
    _, height, width, channels = job.example_shape
    network = PlanarDetector(job.detector)
    graph, weights = convert_ncnn(network, (1, channels, height, width))
    if job.contract.precision == "fp16":
        weights = with_half_weights(graph, weights)
    path.mkdir(exist_ok=True)
    write_atomic(path / GRAPH_FILE, graph)
    write_atomic(path / WEIGHTS_FILE, weights)
    write_atomic(path / CONTRACT_FILE, job.contract.to_json().encode("ascii"))


def convert_ncnn(network: PlanarDetector, example_shape: tuple[int, int, int, int]) -> tuple[bytes, bytes]:
    """Graph and weights of the network in float32 as ncnn reads them, by the program pnnx.

    Args:
        network: with planes as output; then the files take any sides that are multiples of the stride.
        example_shape: [1, channels, H, W] to trace with.

    Raises:
        MissingExtraError: pnnx is not installed.
        ModelError: pnnx cannot convert the network.
    """
    try:
        from pnnx import EXEC_PATH
    except ImportError:
        raise MissingExtraError("pnnx", "export-ncnn", "export to ncnn") from None
    with tempfile.TemporaryDirectory(prefix="vedette-ncnn-") as folder:
        traced = Path(folder, "network.pt")
        _trace(network, torch.zeros(example_shape), traced)
        shape = ",".join(map(str, example_shape))
        command = [EXEC_PATH, traced.name, f"inputshape=[{shape}]", "fp16=0"]
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_MAX_SECONDS
        )
        graph, weights = Path(folder, "network.ncnn.param"), Path(folder, "network.ncnn.bin")
        if finished.returncode or not graph.exists() or not weights.exists():
            said = " ".join(finished.stderr.split())[-200:]
            raise ModelError(f"pnnx cannot convert the network (exit {finished.returncode}: {said})")
        return graph.read_bytes(), weights.read_bytes()


def with_half_weights(graph: bytes, weights: bytes) -> bytes:
    """Weights with those of convolutions in float16, rounded to nearest; biases stay.

    pnnx would do it, but makes zeros of weights below 6e-5, of which the division by 255 leaves many in the first
    convolution: twenty times the difference in raw outputs.
    """
    parts, place = [], 0
    for line in graph.decode("ascii").splitlines():
        kind, *words = line.split()
        if kind not in CONVOLUTIONS:
            continue
        settings = dict(word.split("=") for word in words if "=" in word)
        count, outputs = int(settings["6"]), int(settings["0"]) if settings.get("5") == "1" else 0
        _, single, bias = np.split(np.frombuffer(weights, "<f4", 1 + count + outputs, place), (1, 1 + count))
        half = single.astype("<f2").tobytes()
        parts += [HALF_TAG, half, bytes(-len(half) % 4), bias.tobytes()]
        place += 4 * (1 + count + outputs)
    return b"".join(parts)


@torch.no_grad()
def _trace(network: PlanarDetector, example: torch.Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        # torch warns of its tracer as a whole; the exported file is verified.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path))
