"""A backend without a network: the box of class k is the smallest one around the pixels of colour k.

Its answer for a frame can be seen in the frame, so a test of what lies around it (letterbox, batches, mapping
back, reading, writing) knows the right boxes to the pixel.
"""

import threading

import numpy as np

from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.infer.outputs import DecodedOutputs
from vedette.infer.predictor import Predictor

COLOURS = {0: (255, 0, 0), 1: (0, 0, 255)}
NAMES = ("red", "blue")


class ColourBackend:
    strides = (8, 16, 32)
    classes = 2
    device = "cpu"
    precision = "float32"
    frame_hw = batch_size = None

    def __init__(self):
        self.shapes = []
        self._lock = threading.Lock()

    def run(self, frames):
        frames = np.asarray(frames)
        with self._lock:
            self.shapes.append(frames.shape)
        return DecodedOutputs(np.array([self._rows(frame) for frame in frames], dtype=np.float32))

    def warm_up(self, frame_hw, batch_size=1):
        self.run(np.zeros((batch_size, *frame_hw, 3), dtype=np.uint8))

    def _rows(self, frame):
        rows = np.zeros((self.classes, 5 + self.classes), dtype=np.float32)
        for class_id, colour in COLOURS.items():
            # Half way to grey, where bilinear scaling puts the edge.
            mask = (np.abs(frame.astype(int) - colour) < 80).all(axis=2)
            ys, xs = np.nonzero(mask)
            if len(xs):
                x1, y1, x2, y2 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
                score = 0.9 - 0.1 * class_id
                rows[class_id, :5] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score)
                rows[class_id, 5 + class_id] = 1.0
        return rows


def colour_predictor(size_hw=(160, 160), shape="square", **nms):
    policy = LetterboxPolicy(size_hw=size_hw, shape=shape)
    return Predictor(ColourBackend(), policy, NAMES, NmsSettings(**nms))


def picture(size_hw, red=None, blue=None):
    """Grey RGB picture with filled boxes (x1, y1, x2, y2)."""
    image = np.full((*size_hw, 3), 128, dtype=np.uint8)
    for box, class_id in ((red, 0), (blue, 1)):
        if box is not None:
            image[box[1] : box[3], box[0] : box[2]] = COLOURS[class_id]
    return image
