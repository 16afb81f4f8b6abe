"""Non-maximum suppression against its plain twin: python benchmarks/nms.py [runs].

Clustered boxes as a detector makes them (about 12 predictions an object, 10 classes), the same work for both,
alternating, median of the runs. The second table is a whole batch of predictions [8, 25200, 85].
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from vedette.core.nms import NmsSettings
from vedette.core.nms_torch import greedy_nms, plain_greedy_nms, suppress

BATCH = 8
MAX_KEPT = 300
IOU_THRESHOLD = 0.45


def clustered(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes [count, 4] in a 640 px frame, scores [count], classes [count]."""
    random = np.random.default_rng(seed)
    objects = max(count // 12, 1)
    centre = random.uniform(0, 640, (objects, 2))
    size = random.uniform(10, 150, (objects, 2))
    which = random.integers(0, objects, count)
    centre = centre[which] + random.normal(0, 0.08, (count, 2)) * size[which]
    size = size[which] * random.uniform(0.8, 1.25, (count, 2))
    boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1)
    groups = np.where(random.random(count) < 0.9, which % 10, random.integers(0, 10, count))
    scores = random.random(count)
    return (
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(groups),
    )


def predictions(seed: int) -> torch.Tensor:
    """Decoded predictions [8, 25200, 85]: mostly background, some hundred rows on objects."""
    random = np.random.default_rng(seed)
    values = random.beta(0.3, 30, (BATCH, 25_200, 85)).astype(np.float32)
    values[..., :2] = random.uniform(0, 640, (BATCH, 25_200, 2))
    values[..., 2:4] = random.uniform(8, 200, (BATCH, 25_200, 2))
    values[:, :400, 4] = random.uniform(0.3, 1, (BATCH, 400))
    values[:, :400, 5] = random.uniform(0.3, 1, (BATCH, 400))
    return torch.from_numpy(values)


def alternate(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median milliseconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if run:  # the first round warms up
                times[name].append((time.perf_counter() - begin) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print both tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}")
    print(f"threads {torch.get_num_threads()}, {runs} runs, medians, batch {BATCH}, at most {MAX_KEPT} kept")
    print(f"{'candidates':>10} {'plain ms':>10} {'ours ms':>10} {'ratio':>7}")
    for count in (300, 3_000, 30_000):
        batch = [clustered(count, seed) for seed in range(BATCH)]

        def run_all(
            function: Callable[..., torch.Tensor], batch: list[tuple[torch.Tensor, ...]] = batch
        ) -> None:
            for boxes, scores, groups in batch:
                function(boxes, scores, IOU_THRESHOLD, groups, MAX_KEPT)

        for boxes, scores, groups in batch:
            ours = greedy_nms(boxes, scores, IOU_THRESHOLD, groups, MAX_KEPT)
            assert torch.equal(ours, plain_greedy_nms(boxes, scores, IOU_THRESHOLD, groups, MAX_KEPT))
        medians = alternate(
            {
                "plain": lambda run_all=run_all: run_all(plain_greedy_nms),
                "ours": lambda run_all=run_all: run_all(greedy_nms),
            },
            runs,
        )
        ratio = medians["plain"] / medians["ours"]
        print(f"{count:>10} {medians['plain']:>10.2f} {medians['ours']:>10.2f} {ratio:>7.1f}")
    batch_predictions = predictions(0)
    print("whole batch [8, 25200, 85], suppress()")
    for conf, iou in ((0.25, 0.45), (0.001, 0.65)):
        settings = NmsSettings(conf_threshold=conf, iou_threshold=iou)
        medians = alternate({"ours": lambda settings=settings: suppress(batch_predictions, settings)}, runs)
        print(f"  confidence {conf}: {medians['ours']:.1f} ms")


if __name__ == "__main__":
    main()
