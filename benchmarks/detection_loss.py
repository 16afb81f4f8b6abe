"""Forward and backward of the detection loss: dense candidates with a mask against boolean indexing.

Both do the same work in one process, alternating, and are checked to give the same loss. Run it with
``python benchmarks/detection_loss.py [--threads 2] [--batch 16] [--size 320] [--classes 3]``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from vedette.config.hyperparameters import Hyperparameters
from vedette.core.iou import paired_iou
from vedette.loss.assign import Assignment, Grid, assign_targets, make_grid
from vedette.loss.detection_loss import DetectionLoss
from vedette.loss.rules import RULES

STRIDES = (8, 16, 32)
ANCHORS_PX = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def boolean_indexing_loss(levels: list[Tensor], targets: Tensor, grids: list[Grid], classes: int) -> Tensor:
    """The v4.0 loss level by level, keeping only the candidates that hold."""
    hyperparameters = Hyperparameters()
    box_loss = object_loss = class_loss = torch.zeros(())
    for level, grid, weight in zip(levels, grids, RULES["v4.0"].weights(3), strict=True):
        found = assign_targets(targets, grid, ratio_threshold=4.0)
        found, keep = Assignment(*(field[0] for field in found)), found.valid[0]
        image, anchor, row, column = (field[keep] for field in found[1:5])
        object_targets = torch.zeros(level.shape[:4])
        if len(image):
            answer = level[image, anchor, row, column]
            centres = answer[:, :2].sigmoid() * 2 - 0.5
            sides = (answer[:, 2:4].sigmoid() * 2) ** 2 * found.anchors_wh_cells[keep]
            overlap = paired_iou(torch.cat((centres, sides), 1), found.boxes_cxcywh_cells[keep], "ciou", 1e-7)
            box_loss = box_loss + (1 - overlap).mean()
            object_targets[image, anchor, row, column] = overlap.detach().clamp(min=0)
            truth = functional.one_hot(found.class_ids[keep], classes).float()
            class_loss = class_loss + functional.binary_cross_entropy_with_logits(answer[:, 5:], truth)
        object_loss = object_loss + weight * functional.binary_cross_entropy_with_logits(
            level[..., 4], object_targets
        )
    total = (
        box_loss * hyperparameters.box + object_loss * hyperparameters.obj + class_loss * hyperparameters.cls
    )
    return total * levels[0].shape[0]


def milliseconds(step: Callable[[], Tensor], outputs: list[Tensor]) -> float:
    """Time of one forward and backward pass."""
    for output in outputs:
        output.grad = None
    began = time.perf_counter()
    step().backward()
    return (time.perf_counter() - began) * 1000


def compare(batch: int, size: int, classes: int, targets_per_image: int, repeats: int) -> None:
    """Print the medians of both and their ratio for one setting."""
    generator = torch.Generator().manual_seed(0)
    # As the network gives them: a convolution's output in channels_last, looked at through a permuted view.
    outputs = [
        torch.randn(batch, 3 * (5 + classes), size // s, size // s, generator=generator)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
        for s in STRIDES
    ]

    def views() -> list[Tensor]:
        return [
            output.view(batch, 3, 5 + classes, *output.shape[2:]).permute(0, 1, 3, 4, 2) for output in outputs
        ]

    targets = torch.rand(batch * targets_per_image, 6, generator=generator)
    targets[:, 0] = torch.arange(len(targets)) % batch
    targets[:, 1] = (targets[:, 1] * classes).floor()
    targets[:, 4:] = targets[:, 4:] * 0.4 + 0.02
    anchors = torch.tensor(ANCHORS_PX) / torch.tensor(STRIDES)[:, None, None]
    grids = [make_grid(anchors[i : i + 1], [(size // s, size // s)]) for i, s in enumerate(STRIDES)]
    loss = DetectionLoss(Hyperparameters(), anchors=anchors, classes=classes, strides=STRIDES)

    def dense() -> Tensor:
        return loss(views(), targets)[0]

    def indexed() -> Tensor:
        return boolean_indexing_loss(views(), targets, grids, classes)

    torch.testing.assert_close(dense(), indexed(), rtol=1e-4, atol=1e-5)
    times: dict[str, list[float]] = {"dense": [], "indexed": []}
    for _ in range(repeats):
        times["dense"].append(milliseconds(dense, outputs))
        times["indexed"].append(milliseconds(indexed, outputs))
    medians = {name: statistics.median(values[3:]) for name, values in times.items()}
    print(
        f"{batch} images, {len(targets)} targets, {size} px, {classes} classes: dense {medians['dense']:.2f} ms, "
        f"boolean indexing {medians['indexed']:.2f} ms, ratio {medians['dense'] / medians['indexed']:.2f}"
    )


def main() -> None:
    """Read the arguments, print the protocol and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, "
        f"{arguments.threads} threads; medians of {arguments.repeats - 3} alternating runs"
    )
    for targets_per_image in (0, 2, 8, 25):
        compare(arguments.batch, arguments.size, arguments.classes, targets_per_image, arguments.repeats)


if __name__ == "__main__":
    main()
