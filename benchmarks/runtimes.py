"""One network in every runtime that is installed: torch, ONNX Runtime and OpenVINO, by precision and form of the graph.

Protocol: random weights; one frame of random bytes [1, 640, 640, 3] goes in, and what the network gives comes out;
decoding is counted only where a line says "predictions". Every way runs once in a round, in an order drawn anew, so
that whatever else the machine does meets all; the medians of the milliseconds are printed, and the median over the
rounds of the time relative to the first line. `--profile` adds where OpenVINO spends the time, by kind of layer.
`--cpu-time` with `--threads 1` counts the CPU time of the process instead, which a busy machine distorts less.

The forms of the graph:

* plain: convolution and normalisation fused, nothing else rewritten; outputs [B, A*(5+C), h, w];
* rewritten: Focus as a convolution, pools in a row, columns in pairs (`model/rewrites.py`);
* merged: and the first convolutions of both branches of a block as one;
* compiled: through torch.compile;
* cells: outputs [B, h, w, A*(5+C)]; predictions: decoded in the graph; any shape: not compiled for one size.

int8 is measured on frames of noise: the time does not depend on what they show, the accuracy does.

    python benchmarks/runtimes.py [--model yolov5s] [--size 640] [--threads 2] [--rounds 40] [--only bf16] [--profile]
"""

from __future__ import annotations

import argparse
import collections
import os
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the `vedette` command sets, before torch starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch

from vedette.core.silent_import import import_silently
from vedette.errors import MissingExtraError
from vedette.export.onnx import convert_onnx
from vedette.export.openvino import convert_openvino, quantize_openvino
from vedette.model.detector import Detector, build_detector
from vedette.model.frame_detector import FrameDetector
from vedette.model.rewrites import REWRITES

PLAIN: dict[str, Any] = {"output": "planes", "rewrites": (), "paired": False}
CALIBRATION_FRAMES = 8

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Way:
    """One line of the table: a runtime, a precision, the arguments of FrameDetector, and what is said of it."""

    runtime: str
    precision: str
    form: str
    arguments: dict[str, Any]
    any_shape: bool = False
    float_outputs: bool = False
    output_type: str = ""
    compiled: bool = False

    @property
    def label(self) -> str:
        """Text of the line."""
        return f"{self.runtime} {self.precision}, {self.form}"


WAYS = (
    Way("torch", "float32", "plain", PLAIN),
    Way("torch", "float32", "rewritten, columns not paired", {"output": "planes", "paired": False}),
    Way("torch", "float32", "rewritten", {"output": "planes"}),
    Way("torch", "float32", "rewritten, merged", {"output": "planes", "rewrites": REWRITES}),
    Way(
        "torch",
        "float32",
        "rewritten, columns not paired, compiled",
        {"output": "planes", "paired": False},
        compiled=True,
    ),
    Way("torch", "bf16", "plain", PLAIN),
    Way("torch", "bf16", "rewritten, columns not paired", {"output": "planes", "paired": False}),
    Way("torch", "bf16", "rewritten", {"output": "planes"}),
    Way("torch", "bf16", "rewritten, merged", {"output": "planes", "rewrites": REWRITES}),
    Way(
        "torch",
        "bf16",
        "rewritten, columns not paired, compiled",
        {"output": "planes", "paired": False},
        compiled=True,
    ),
    Way("onnxruntime", "float32", "plain", PLAIN),
    Way("onnxruntime", "float32", "rewritten, columns not paired", {"output": "planes", "paired": False}),
    Way("onnxruntime", "float32", "rewritten", {"output": "planes"}),
    Way("onnxruntime", "float32", "rewritten, cells", {"output": "cells"}),
    Way("openvino", "float32", "plain", PLAIN),
    Way("openvino", "float32", "rewritten, cells", {"output": "cells"}),
    Way("openvino", "bf16", "plain", PLAIN),
    Way("openvino", "bf16", "plain, predictions", {**PLAIN, "output": "predictions"}),
    Way("openvino", "bf16", "rewritten", {"output": "planes"}),
    Way("openvino", "bf16", "rewritten, cells", {"output": "cells"}),
    Way("openvino", "bf16", "rewritten, merged, cells", {"output": "cells", "rewrites": REWRITES}),
    Way("openvino", "bf16", "rewritten, cells in bf16", {"output": "cells"}, output_type="bf16"),
    Way("openvino", "bf16", "rewritten, cells, any shape", {"output": "cells"}, any_shape=True),
    Way("openvino", "bf16", "rewritten, predictions", {"output": "predictions"}),
    Way("openvino", "int8", "plain, predictions", {**PLAIN, "output": "predictions"}),
    Way("openvino", "int8", "rewritten, cells", {"output": "cells"}),
    Way("openvino", "int8", "rewritten, merged, cells", {"output": "cells", "rewrites": REWRITES}),
    Way("openvino", "int8", "rewritten, cells, head in bf16", {"output": "cells"}, float_outputs=True),
)


def torch_call(detector: Detector, way: Way, frames: np.ndarray, threads: int) -> Call:
    """Eager or compiled, channels last."""
    del threads  # set for the whole process
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[way.precision]
    network = FrameDetector(detector, **way.arguments).to(dtype).to(memory_format=torch.channels_last)
    batch = torch.from_numpy(frames)
    run = torch.compile(network, dynamic=False) if way.compiled else network

    def call() -> Any:
        with torch.inference_mode():
            return run(batch)

    return call


def onnxruntime_call(detector: Detector, way: Way, frames: np.ndarray, threads: int) -> Call:
    """One session whose threads stop spinning when it is done; else they hold up whoever computes next."""
    import onnxruntime

    batch, height, width, _ = frames.shape
    model = convert_onnx(FrameDetector(detector, **way.arguments), batch, (height, width))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"frames": frames})


def compile_openvino(detector: Detector, way: Way, frames: np.ndarray, threads: int, **more: Any) -> Any:
    """The compiled model of a way."""
    openvino = import_silently("openvino")
    batch, height, width, _ = frames.shape
    shape = () if way.any_shape else (batch, (height, width))
    model = convert_openvino(FrameDetector(detector, **way.arguments), *shape)
    if way.precision == "int8":
        noise = np.random.default_rng(0).integers(0, 256, (CALIBRATION_FRAMES, 20, 20, 3), dtype=np.uint8)
        pictures = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() for picture in noise]
        smooth = [
            torch.nn.functional.interpolate(picture, (height, width), mode="bilinear") for picture in pictures
        ]
        calibration = [picture.byte().permute(0, 2, 3, 1).contiguous().numpy() for picture in smooth]
        model = quantize_openvino(model, calibration, float_outputs=way.float_outputs)
    if way.output_type:
        outputs = openvino.preprocess.PrePostProcessor(model)
        for number in range(len(model.outputs)):
            outputs.output(number).tensor().set_element_type(getattr(openvino.Type, way.output_type))
        model = outputs.build()
    arithmetic = {"float32": "f32", "bf16": "bf16", "int8": "bf16" if way.float_outputs else "f32"}
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": arithmetic[way.precision],
    }
    return openvino.Core().compile_model(model, "CPU", {**settings, **more})


def openvino_call(detector: Detector, way: Way, frames: np.ndarray, threads: int) -> Call:
    """One request; input and outputs are not copied."""
    request = compile_openvino(detector, way, frames, threads).create_infer_request()
    return lambda: request.infer([frames], share_inputs=True, share_outputs=True)


CALLS = {"torch": torch_call, "onnxruntime": onnxruntime_call, "openvino": openvino_call}


def measure(calls: dict[str, Call], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every call, in turn, each round in another order: what ran before leaves its data in the caches."""
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    order, generator = list(calls.items()), random.Random(0)
    for number in range(3 + rounds):
        generator.shuffle(order)
        for label, call in order:
            start = clock()
            call()
            if number >= 3:  # the first rounds warm up
                seconds[label].append(clock() - start)
    return seconds


def print_table(seconds: dict[str, list[float]]) -> None:
    """Medians, and medians of the ratio to the first line of the same round."""
    first = next(iter(seconds.values()))
    print(f"{'':<56}{'median ms':>10}{'fastest':>9}{'ratio':>8}")
    for label, values in seconds.items():
        ratio = statistics.median(value / other for value, other in zip(values, first, strict=True))
        print(f"{label:<56}{1e3 * statistics.median(values):10.1f}{1e3 * min(values):9.1f}{ratio:8.2f}")


def print_profile(detector: Detector, ways: list[Way], frames: np.ndarray, threads: int) -> None:
    """Where OpenVINO spends the time: microseconds by kind of layer and kernel, least of 20 runs each."""
    for way in ways:
        compiled = compile_openvino(detector, way, frames, threads, PERF_COUNT=True)
        request = compiled.create_infer_request()
        least: dict[tuple[str, str, str], float] = {}
        for _ in range(20):
            request.infer([frames])
            for node in request.profiling_info:
                key = (node.node_name, node.node_type, node.exec_type)
                least[key] = min(least.get(key, 1e9), node.real_time.total_seconds() * 1e6)
        kinds: collections.Counter[str] = collections.Counter()
        for (_, kind, kernel), microseconds in least.items():
            kinds[f"{kind} {kernel}"] += round(microseconds)
        parts = "; ".join(f"{kind} {total}" for kind, total in kinds.most_common() if total)
        print(f"{way.label}: {sum(kinds.values())} us: {parts}")


def processor() -> Iterator[str]:
    """Name of the processor and those of its instructions that matter here, if the system tells."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    yield values.get("model name", platform.processor() or platform.machine())
    known = set(values.get("flags", "").split())
    yield from (
        flag
        for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
        if flag in known
    )


def main() -> None:
    """Print the protocol, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov5s")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="", help="lines that contain this text")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the process; for a busy machine, --threads 1"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # what the runtimes say about themselves
    detector = build_detector(options.model)
    shape = (options.batch, options.size, options.size, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    print(", ".join(processor()))
    versions = [f"torch {torch.__version__}"]
    for package in ("onnxruntime", "openvino", "nncf"):
        try:
            versions.append(f"{package} {import_silently(package).__version__}")
        except ImportError:
            print(f"{package} is not installed: its lines are left out")
    print(f"{', '.join(versions)}, Python {platform.python_version()}, {options.threads} threads")
    print(f"{options.model}, frames {list(shape)}, {options.rounds} rounds in turn")
    calls, built = {}, []
    for way in WAYS:
        if options.only not in way.label:
            continue
        try:
            calls[way.label] = CALLS[way.runtime](detector, way, frames, options.threads)
        except (ImportError, MissingExtraError):
            continue
        built.append(way)
    clock = time.process_time if options.cpu_time else time.perf_counter
    print_table(measure(calls, options.rounds, clock))
    if options.profile:
        print_profile(detector, [way for way in built if way.runtime == "openvino"], frames, options.threads)


if __name__ == "__main__":
    main()
