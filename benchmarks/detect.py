"""How much slower is ``detect`` over a folder than the forward passes it consists of?

Protocol: pictures of 640 x 480 in a folder (those of --pictures, else drawn ones, as JPEG), size s at 640 px with
random weights, a threshold that about 300 candidates of a
picture pass, predictions written as JSON lines and
text, no pictures drawn. Compared are, alternating, in one process and over the same pictures:

* forward: the fused network alone on ready float batches, without decoding, suppression or anything else;
* detect: ``vedette.infer.run.detect`` on the folder, from listing the files to the closed result files; loading
  the network is not counted.

The medians over the rounds and their ratio are printed; the goal is a ratio of at most 1.2. The same for CPU time of
the process, which a busy machine distorts less (with --threads 1, as idle threads of a pool burn time too).

    python benchmarks/detect.py [--pictures FOLDER] [--model yolov5s] [--precision float32] [--batch 4] ...
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

from vedette.config.detect import DetectConfig
from vedette.core.device import select_device, select_dtype
from vedette.core.letterbox import LetterboxPolicy
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.infer.run import DetectSummary, detect
from vedette.infer.sources import open_source
from vedette.model.detector import Detector, build_detector
from vedette.model.fuse import fuse

ResultT = TypeVar("ResultT")

CANDIDATES = 100


def main() -> None:
    """Measure and print."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = select_device(options.device)
    print_protocol(options, device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = gather_pictures(
            Path(options.pictures) if options.pictures else None, folder, options.count
        )
        letterbox = LetterboxPolicy(size_hw=(options.size, options.size), shape=options.letterbox)
        first = open_source(pictures).items[0].load()
        frame = letterbox.place((first.shape[0], first.shape[1])).apply(first)
        detector = lively(build_detector(options.model), frame[None])
        names = [str(number) for number in range(detector.classes)]
        predictor = Predictor(TorchBackend(detector, device, options.precision), letterbox, names)
        config = DetectConfig(
            weights="random",
            source=(str(pictures),),
            nosave=True,
            save_txt=True,
            save_json=True,
            batch_size=options.batch,
            workers=options.workers,
            conf_threshold=fitting_threshold(predictor, pictures),
            project=str(folder / "runs"),
        )
        network = fuse(detector).eval().to(device, select_dtype(options.precision, device))
        network = network.to(memory_format=torch.channels_last)
        batches = ready_batches(predictor, pictures, options, device)
        forward, whole = [], []
        for number in range(options.rounds + 1):
            forward_times, _ = timed(lambda: run_forward(network, batches))
            detect_times, summary = timed(lambda: detect(config, predictor=predictor))
            if number:  # the first round warms up
                forward.append(forward_times)
                whole.append(detect_times)
                print(f"round {number}: forward {forward_times[0]:.2f} s, detect {detect_times[0]:.2f} s")
        print_result(forward, whole, summary)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default="", help="folder of pictures; default: drawn ones")
    parser.add_argument("--count", type=int, default=32, help="how many of them")
    parser.add_argument("--model", default="yolov5s")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--letterbox", default="square", choices=["square", "minimal"])
    parser.add_argument("--precision", default="float32", choices=["auto", "float32", "bf16", "fp16"])
    parser.add_argument("--device", default="")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def print_protocol(options: argparse.Namespace, device: torch.device) -> None:
    """Versions, machine and settings."""
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, "
        f"opencv {cv2.__version__}; {os.cpu_count()} cores, {torch.get_num_threads()} threads, device {device}"
    )
    print(
        f"{options.model} at {options.size} px ({options.letterbox}), {options.precision}, batch {options.batch}, "
        f"{options.count} pictures, {options.rounds} rounds"
    )


def gather_pictures(given: Path | None, folder: Path, count: int) -> Path:
    """A folder of ``count`` pictures: copies of given ones, repeated if they are fewer, or drawn ones."""
    target = folder / "pictures"
    target.mkdir()
    files = [item.file for item in open_source(given).items] if given else []
    for number in range(count):
        if files:
            file = files[number % len(files)]
            (target / f"{number:05}{file.suffix}").write_bytes(file.read_bytes())
        else:
            rng = np.random.default_rng(number)
            # Smooth noise: as hard to decode as a photograph.
            noise = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            image = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(target / f"{number:05}.jpg"), image)
    return target


def lively(detector: Detector, frames: np.ndarray) -> Detector:
    """The detector with answers that differ from place to place and a clear opinion on classes, as a trained one's.

    As initialised, its signals fade to nothing from layer to layer and every cell says the same. The statistics of
    its normalisations are taken from ``frames``, and its scores are made to be its objectness.
    """
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        detector.train()(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    for convolution in detector.head.m:
        bias = convolution.bias.data.view(-1, detector.head.outputs)
        bias[:, 5:] = -10.0
        bias[:, 5] = 10.0
    return detector.eval()


def fitting_threshold(predictor: Predictor, pictures: Path) -> float:
    """The score that ``CANDIDATES`` predictions a picture are above, on average over some, before suppression."""
    best = []
    for item in open_source(pictures).items[:8]:
        (predictions,) = predictor.backend.infer(predictor.prepare(item.load()).frame[None])
        best.append((predictions[:, 4] * predictions[:, 5]).topk(CANDIDATES * 8).values)
    return float(torch.cat(best).topk(CANDIDATES * len(best)).values[-1])


def ready_batches(
    predictor: Predictor, pictures: Path, options: argparse.Namespace, device: torch.device
) -> list[torch.Tensor]:
    """The letterboxed pictures as the network takes them, grouped as ``detect`` groups them."""
    frames = [predictor.prepare(item.load()).frame for item in open_source(pictures).items]
    batches = []
    for start in range(0, len(frames), options.batch):
        groups: dict[tuple[int, ...], list[np.ndarray]] = {}
        for frame in frames[start : start + options.batch]:
            groups.setdefault(frame.shape, []).append(frame)
        for group in groups.values():
            images = torch.from_numpy(np.stack(group)).to(device).permute(0, 3, 1, 2)
            batches.append(images.to(select_dtype(options.precision, device)).div_(255))
    return batches


def run_forward(network: Detector, batches: list[torch.Tensor]) -> None:
    """The bare forward passes."""
    with torch.inference_mode():
        for images in batches:
            network(images)
    if batches[0].device.type == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], ResultT]) -> tuple[tuple[float, float], ResultT]:
    """Seconds of ``work`` by the clock and of CPU, and its result."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - started, time.process_time() - cpu_started), result


def print_result(
    forward: list[tuple[float, float]], whole: list[tuple[float, float]], summary: DetectSummary
) -> None:
    """Medians, ratios, and where the time of the last run went."""
    count = summary.pictures
    for position, kind in enumerate(("clock", "CPU")):
        bare = statistics.median(times[position] for times in forward)
        full = statistics.median(times[position] for times in whole)
        print(
            f"{kind}: forward {bare / count * 1e3:.1f} ms a picture, detect {full / count * 1e3:.1f} ms, "
            f"ratio of the medians {full / bare:.3f} (goal: at most 1.2)"
        )
    stages = ", ".join(
        f"{stage} {seconds / count * 1e3:.2f}"
        for stage, seconds in summary.seconds.items()
        if stage != "total"
    )
    print(f"ms a picture by stage, overlapping: {stages}; {summary.detections / count:.0f} boxes a picture")


if __name__ == "__main__":
    main()
