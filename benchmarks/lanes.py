"""How many more pictures a second pass with several lanes than with one?

Protocol: a folder of pictures (those of --pictures, else drawn ones of 1280 x 720 pixels, JPEG) goes through
``vedette.infer.stream`` as ``vedette detect`` sends it, from files to boxes, nothing written. Every runtime, in every
number format, is opened for one lane and for each other number of lanes, on the same threads; all ways go through the
folder in turn, round after round, so that whatever else the machine does meets all. Printed are the medians of the
pictures a second, and the median over the rounds of the ratio to one lane; the goal is 1.15. The boxes of all ways of a
runtime have to be the same: the greatest difference is printed.

    python benchmarks/lanes.py [--weights yolov5n-voc] [--size 640] [--format openvino] [--precision bf16] ...
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What the `vedette` command sets, before torch starts its threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch

from vedette.bench.run import open_variant, timed_pictures
from vedette.bench.variants import Variant, planned, written
from vedette.config.bench import BenchConfig
from vedette.core.device import cpu_threads, lane_threads, thread_count
from vedette.core.types import Detections
from vedette.infer.predictor import Predictor
from vedette.infer.sources import SourceItem
from vedette.infer.stream import StreamSettings, stream


@dataclass(frozen=True, slots=True)
class Way:
    """One runtime with so many lanes, and so many pictures a batch."""

    variant: Variant
    predictor: Predictor
    lanes: int
    batch_size: int

    @property
    def label(self) -> str:
        """Text of the line."""
        return f"{self.variant.name}, {self.lanes} x batch {self.batch_size}"


def main() -> None:
    """Measure and print."""
    options = parse_options()
    config = BenchConfig.parse(
        {
            "weights": options.weights,
            "formats": options.format,
            "precisions": options.precision,
            "image_size": options.size,
            "data": options.data,
            "threads": options.threads,
            "device": "cpu",
        }
    )
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{thread_count(options.threads)} threads; torch {torch.__version__}, Python {platform.python_version()}; "
        f"{options.weights or 'shipped weights'}, "
        f"{options.size} px, {options.count} pictures, {options.rounds} rounds in turn"
    )
    with tempfile.TemporaryDirectory(prefix="vedette-lanes-") as scratch:
        files = timed_pictures(options.pictures, Path(scratch))
        items = list(
            itertools.islice((SourceItem(f.as_posix(), f) for f in itertools.cycle(files)), options.count)
        )
        variants = written(planned(config), config, Path(scratch), print)
        for variant in variants:
            if variant.problem:
                print(f"left out: {variant.name}: {variant.problem}")
        ways = [
            Way(variant, open_variant(variant, config, lanes), lanes, batch)
            for variant in variants
            if variant.path is not None
            for lanes in (1, *options.lanes)
            for batch in options.batch
        ]
        measure(ways, items, options)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="")
    parser.add_argument("--format", nargs="+", default=["pytorch", "onnx", "openvino"])
    parser.add_argument("--precision", nargs="+", default=[])
    parser.add_argument("--data", default="", help="to calibrate int8 on")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--pictures", nargs="+", default=[], help="picture files")
    parser.add_argument("--count", type=int, default=24, help="pictures a round")
    parser.add_argument("--lanes", type=int, nargs="+", default=[thread_count()])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=8)
    return parser.parse_args()


def measure(ways: Sequence[Way], items: Sequence[SourceItem], options: argparse.Namespace) -> None:
    """Go through the pictures with every way in turn, and print what came out."""
    found = {way: go_through(way, items, options.threads)[1] for way in ways}  # warms up
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            seconds, _ = go_through(way, items, options.threads)
            rates[way].append(len(items) / seconds)
    print(f"{'':44}  pictures/s   best  ratio   boxes differ by")
    for way in ways:
        first = next(other for other in ways if other.variant == way.variant)
        ratio = statistics.median(a / b for a, b in zip(rates[way], rates[first], strict=True))
        print(
            f"{way.label:44}  {statistics.median(rates[way]):10.1f} {max(rates[way]):6.1f} {ratio:6.3f}   "
            f"{greatest_difference(found[way], found[first]):.4f} px"
        )


def go_through(way: Way, items: Sequence[SourceItem], threads: int) -> tuple[float, list[Detections]]:
    """Seconds, and what was found."""
    settings = StreamSettings(batch_size=way.batch_size, lanes=way.lanes, workers=way.lanes)
    with cpu_threads(lane_threads(threads, way.lanes)):
        started = time.perf_counter()
        results = [result.detections for result in stream(items, way.predictor, settings)]
        return time.perf_counter() - started, [result for result in results if result is not None]


def greatest_difference(found: Sequence[Detections], first: Sequence[Detections]) -> float:
    """Of boxes, in pixels; infinite if not the same ones were found."""
    greatest = 0.0
    for one, other in zip(found, first, strict=True):
        if not np.array_equal(one.class_ids, other.class_ids):
            return float("inf")
        if len(one):
            greatest = max(greatest, float(np.abs(one.boxes_xyxy_px - other.boxes_xyxy_px).max()))
    return greatest


if __name__ == "__main__":
    main()
