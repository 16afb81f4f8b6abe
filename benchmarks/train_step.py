"""One training step, forward, loss, backward, optimizer and average, in two ways on the same batch, alternating.

``plain`` is float32 with channels first. ``ours`` is what a run uses on this machine: channels last, and bfloat16
where the processor multiplies it in hardware. Nothing else differs. ``--busy N`` keeps N others busy.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from vedette.config.hyperparameters import Hyperparameters
from vedette.core.device import cpu_has_bf16, select_dtype
from vedette.loss.detection_loss import DetectionLoss
from vedette.model.detector import Detector, build_detector
from vedette.train.ema import WeightAverage
from vedette.train.optimizer import build_optimizer


@dataclass
class Trainer:
    """A detector with what a step needs."""

    detector: Detector
    loss: DetectionLoss
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    dtype: torch.dtype
    images: torch.Tensor
    targets: torch.Tensor

    def step(self) -> float:
        """One step; returns its seconds."""
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
            levels = self.detector(self.images)
        total, _ = self.loss(levels, self.targets)
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.detector)
        return time.perf_counter() - started


def build(name: str, size: int, batch: int, layout: torch.memory_format, dtype: torch.dtype) -> Trainer:
    """The same model, batch and targets for both ways."""
    detector = build_detector(name, classes=3).train().to(memory_format=layout)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, size, size, generator=random).to(memory_format=layout)
    targets = torch.rand(batch * 12, 6, generator=random)
    targets[:, 0] = torch.arange(len(targets)) // 12
    targets[:, 1] = torch.randint(3, (len(targets),), generator=random)
    targets[:, 4:] = 0.05 + 0.25 * targets[:, 4:]
    hyperparameters = Hyperparameters()
    loss = DetectionLoss(hyperparameters, anchors=detector.head.anchors, classes=3, strides=detector.strides)
    optimizer = build_optimizer(detector, hyperparameters, "SGD", 5e-4)
    average = WeightAverage(detector, decay=0.999, ramp=100)
    return Trainer(detector, loss, optimizer, average, dtype, images, targets)


def main() -> None:
    """Print the protocol and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="yolov5n")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = select_dtype("auto", torch.device("cpu"))
    ways = {
        "plain (float32, channels first)": build(
            options.model, options.size, options.batch, torch.contiguous_format, torch.float32
        ),
        f"ours ({str(chosen).removeprefix('torch.')}, channels last)": build(
            options.model, options.size, options.batch, torch.channels_last, chosen
        ),
    }
    print(f"{options.model}, {options.size} px, batch {options.batch}, {options.threads} threads, ", end="")
    print(f"torch {torch.__version__}, {platform.machine()}, bf16 in hardware: {cpu_has_bf16()}")
    print(f"alternating, {options.repeats} steps each after 2 to warm up; medians")
    print(f"{options.busy} busy neighbours, GOMP_SPINCOUNT={os.environ.get('GOMP_SPINCOUNT', 'not set')}")
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.repeats + 2):
        for name, trainer in ways.items():
            seconds = trainer.step()
            if number >= 2:
                times[name].append(1000 * seconds / options.batch)
    for neighbour in neighbours:
        neighbour.kill()
        neighbour.wait()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(
            f"  {name:34} {medians[name]:6.1f} ms a picture  (min {min(values):.1f}, max {max(values):.1f})"
        )
    plain, ours = medians.values()
    print(f"  ours / plain: {ours / plain:.2f}")


if __name__ == "__main__":
    main()
