"""A network whose weights are set by hand, and a video for it: it finds blue and orange things on grey.

The first convolution says how much bluer or redder a pixel is, the second sums that up in a window around each cell,
and the head turns the sums into a score; boxes are as large as the window. So a flow test has a detector without
training one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.random import generator
from vedette.data.synthetic_shapes import CLASS_NAMES, draw_object
from vedette.evaluate.tracking import TrackBoxes
from vedette.model.detector import build_detector
from vedette.model.rows import parse_architecture

SIZE_HW = (192, 320)
RATE = 25.0
FRAMES = 60
OBJECT_PX = 40
NAMES = ("ball", "crate")
_WINDOW = 41
_MODEL = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "activation": "ReLU",
    "anchors": [[44, 44]],
    "backbone": [[-1, 1, "Conv", [8, 1, 1]], [-1, 1, "Conv", [8, _WINDOW, 8]]],
    "head": [[[1], 1, "Detect", ["nc", "anchors"]]],
}


def save_colour_network(path: Path) -> Path:
    """Write the checkpoint; returns ``path``."""
    detector = build_detector(parse_architecture(_MODEL, path))
    tensors: dict[str, Any] = dict(detector.named_parameters()) | dict(detector.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.startswith("model.") and "anchor" not in name and tensor.is_floating_point():
                tensor.fill_(1.0 if name.endswith(("bn.weight", "running_var")) else 0.0)
        first, second = tensors["model.0.conv.weight"], tensors["model.1.conv.weight"]
        for channel, sign in enumerate((-1.0, 1.0)):  # bluer than red, redder than blue
            first[channel, 0], first[channel, 2] = sign, -sign
            second[channel, channel] = 1.0 / _WINDOW**2
        head, bias = tensors["model.2.m.0.weight"], tensors["model.2.m.0.bias"]
        # A window stands on the corner of its cell: (2 sigmoid - 0.5) cells from there is 0.
        bias[:2] = -math.log(3.0)
        head[4, :2], bias[4] = 40.0, -6.0
        for class_id in range(2):
            head[5 + class_id, class_id], head[5 + class_id, 1 - class_id], bias[5 + class_id] = (
                100.0,
                -100.0,
                2.0,
            )
    save_detector(
        path, detector, class_names=NAMES, letterbox=LetterboxPolicy(size_hw=(192, 320)), metadata={}
    )
    return path


def scene(frame: int) -> list[tuple[int, int, float, float]]:
    """What is in a frame: (identity, class, centre x, centre y).

    A ball and a crate pass each other, the crate in front; another ball comes in later and stays alone.
    """
    found = [(0, 0, 30.0 + 4.3 * frame, 60.0), (1, 1, 290.0 - 4.3 * frame, 66.0)]
    if frame >= 15:
        found.append((2, 0, 24.0 + 3.0 * (frame - 15), 140.0))
    return found


def draw_frames() -> tuple[list[np.ndarray], TrackBoxes]:
    """RGB pictures and the true tracks, frames counted from 1; an object that is hidden is there all the same."""
    patches = [
        draw_object(CLASS_NAMES.index(name), OBJECT_PX, generator(seed, "flow"))
        for name, seed in (("ball", 3), ("crate", 2), ("ball", 5))
    ]
    pictures, rows = [], []
    for frame in range(FRAMES):
        canvas = np.full((*SIZE_HW, 3), 128, dtype=np.float32)
        for identity, _, x, y in scene(frame):
            patch = patches[identity]
            side = patch.alpha.shape[0]
            left, top = round(x - side / 2), round(y - side / 2)
            low_x, low_y = max(-left, 0), max(-top, 0)
            high_x, high_y = min(side, SIZE_HW[1] - left), min(side, SIZE_HW[0] - top)
            under = canvas[top + low_y : top + high_y, left + low_x : left + high_x]
            alpha = patch.alpha[low_y:high_y, low_x:high_x, None]
            under += alpha * (patch.colour[low_y:high_y, low_x:high_x] - under)
            half = OBJECT_PX / 2
            rows.append((frame + 1, identity, x - half, y - half, x + half, y + half))
        pictures.append(np.round(canvas).astype(np.uint8))
    values = np.array(rows)
    return pictures, TrackBoxes(values[:, 0].astype(int), values[:, 1].astype(int), values[:, 2:])


def write_video(path: Path, pictures: list[np.ndarray]) -> Path:
    """Motion JPEG, which OpenCV writes everywhere; returns ``path``."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (SIZE_HW[1], SIZE_HW[0]))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path
