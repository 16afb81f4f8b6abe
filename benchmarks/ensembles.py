"""What test-time augmentation and ensembles change: AP, and what a picture costs.

Protocol: every way is measured on the same split by COCO's rules, through the same `evaluate` as `vedette val`, one
after the other; milliseconds are those of preprocessing, network and suppression on --threads CPU threads.

* each of the weights alone;
* the first alone, looking three times (--augment): with views as fractions, as published, and with views rounded to
  bytes, as runtimes other than PyTorch take them; and without the parts that v6.0 and v7.0 leave out;
* with several weights: all by one suppression, by weighted box fusion, and both looking three times.

Needs the pictures: VEDETTE_DATA_DIR names the folder that holds the data set.

    python benchmarks/ensembles.py [--data voc2007] [--weights yolov5n-voc ...] [--threads 1]
"""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import numpy as np
import torch

from vedette.config.evaluate import EvaluateConfig
from vedette.core.types import SizeHW
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.evaluate.run import evaluate
from vedette.infer.assemble import Assembly, assemble_whole
from vedette.infer.backends import Backend, Frames, Outputs
from vedette.infer.predictor import Predictor
from vedette.infer.tta import AugmentedBackend


class BytesOnly:
    """A backend that takes bytes alone, as those of exported files do."""

    frame_hw: SizeHW | None = None
    batch_size: int | None = None

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.strides, self.classes = backend.strides, backend.classes
        self.device, self.precision = backend.device, backend.precision

    def run(self, frames: Frames) -> Outputs:
        """Run the network on frames."""
        assert isinstance(frames, np.ndarray)
        return self._backend.run(frames)

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once."""
        self._backend.warm_up(frame_hw, batch_size)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    index = load_index(load_description(options.data), "val")
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, "
        f"{options.threads} threads; {options.data}, {len(index)} pictures, {len(index.class_ids)} boxes\n"
    )
    print(f"{'':36}{'AP':>9}{'AP50':>9}{'AP small':>10}{'AP large':>10}{'ms':>8}")
    for number in range(len(options.weights)):
        report(f"weights {number + 1}", put_together(options, slice(number, number + 1)), index)
    first = slice(1)
    one = put_together(options, first)
    for name, backend in (
        ("weights 1, three views", AugmentedBackend(one.backend)),
        ("the same, rounded to bytes", AugmentedBackend(BytesOnly(one.backend))),
        ("the same, parts left out", AugmentedBackend(one.backend, clip_tails=True)),
    ):
        report(name, Predictor(backend, one.letterbox, one.class_names), index)
    if len(options.weights) > 1:
        for augment in (False, True):
            for rule in ("nms", "wbf"):
                views = ", three views" if augment else ""
                wanted = put_together(options, slice(None), ensemble=rule, augment=augment)
                report(f"all by {rule}{views}", wanted, index)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="voc2007")
    parser.add_argument("--weights", nargs="+", default=["yolov5n-voc"])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def put_together(options: argparse.Namespace, chosen: slice, **wanted: Any) -> Predictor:
    """Some of the weights as one detector."""
    return assemble_whole(Assembly(tuple(options.weights[chosen]), device="cpu", **wanted))


def report(name: str, predictor: Predictor, index: SplitIndex) -> None:
    """Measure and print a line."""
    result = evaluate(predictor, index, EvaluateConfig(batch_size=4))
    figures = [result.numbers[number] for number in ("ap", "ap50", "ap_small", "ap_large")]
    milliseconds = sum(result.timing[stage] for stage in ("preprocess", "inference", "postprocess"))
    cells = "".join(
        f"{'-' if figure is None else format(figure, '.4f'):>{width}}"
        for figure, width in zip(figures, (9, 9, 10, 10), strict=True)
    )
    print(f"{name:36}{cells}{milliseconds:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
