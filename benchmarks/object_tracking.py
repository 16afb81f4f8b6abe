"""Object tracking: time a frame, and its filter against the textbook's: python benchmarks/object_tracking.py [frames].

Objects that drift over a picture of 1920 x 1080, a detector that jitters, misses three in a hundred and gives a tenth
of its boxes low scores. `update` is all that tracking adds to a frame. `filter` is predicting and correcting all
boxes once: `plain` does it box by box with 8 x 8 matrices, `ours` for all boxes at once without them.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time

import numpy as np

from vedette.core.types import Detections
from vedette.infer.tracking.kalman import corrected, predicted, started
from vedette.infer.tracking.tracker import ObjectTracker

SIZE_HW = (1080, 1920)
INTERVAL_MS = 40.0


def frames(objects: int, count: int, seed: int) -> list[Detections]:
    """Detections of ``count`` frames."""
    random = np.random.default_rng(seed)
    centre = random.uniform((0, 0), (SIZE_HW[1], SIZE_HW[0]), (objects, 2))
    velocity = random.normal(0, 3, (objects, 2))
    half = random.uniform(10, 40, (objects, 2))
    class_ids = random.integers(0, 3, objects)
    found = []
    for _ in range(count):
        centre = (centre + velocity) % (SIZE_HW[1], SIZE_HW[0])
        seen = random.random(objects) > 0.03
        boxes = np.concatenate((centre - half, centre + half), axis=1) + random.normal(0, 1, (objects, 4))
        scores = np.where(random.random(objects) < 0.1, 0.2, random.uniform(0.5, 0.9, objects))
        found.append(
            Detections(
                boxes[seen].astype(np.float32),
                scores[seen].astype(np.float32),
                class_ids[seen],
                ("a", "b", "c"),
                SIZE_HW,
            )
        )
    return found


class PlainFilter:
    """The same filter for one box, as textbooks write it."""

    def __init__(self, box: np.ndarray) -> None:
        size = np.sqrt(box[2] * box[3])
        self.state = np.concatenate((box, np.zeros(4)))
        self.variance = np.diag(np.repeat(((0.05 * size) ** 2, (3.0 * size) ** 2), 4))

    def step(self, seconds: float, measured: np.ndarray) -> None:
        """Predict, then correct."""
        size = np.sqrt(self.state[2] * self.state[3])
        drift, push = (0.15 * size) ** 2, size**2
        move, observe = np.eye(8) + seconds * np.eye(8, k=4), np.eye(4, 8)
        cross = push * seconds**2 / 2
        terms = [[drift * seconds + push * seconds**3 / 3, cross], [cross, push * seconds]]
        self.state = move @ self.state
        self.variance = move @ self.variance @ move.T + np.kron(terms, np.eye(4))
        spread = np.eye(4) * (0.05**2 * measured[2] * measured[3])
        gain = self.variance @ observe.T @ np.linalg.inv(observe @ self.variance @ observe.T + spread)
        self.state = self.state + gain @ (measured - observe @ self.state)
        self.variance = (np.eye(8) - gain @ observe) @ self.variance


def update_times(objects: int, count: int) -> list[float]:
    """Microseconds of each update, after ten that fill the tracker."""
    tracker = ObjectTracker()
    times = []
    for number, detections in enumerate(frames(objects, count + 10, seed=0)):
        begin = time.perf_counter()
        tracker.update(detections, number * INTERVAL_MS)
        times.append((time.perf_counter() - begin) * 1e6)
    return times[10:]


def filter_times(objects: int, runs: int) -> tuple[float, float]:
    """Median microseconds of a step of all boxes: plain, ours; checks that they agree."""
    random = np.random.default_rng(1)
    boxes = np.concatenate(
        (random.uniform(0, 1000, (objects, 2)), random.uniform(20, 80, (objects, 2))), axis=1
    )
    plain, ours = [PlainFilter(box) for box in boxes], started(boxes)
    rows = np.arange(objects)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        boxes = boxes + random.normal(0, 1, boxes.shape)
        begin = time.perf_counter()
        for one, box in zip(plain, boxes, strict=True):
            one.step(INTERVAL_MS / 1000, box)
        middle = time.perf_counter()
        ours = corrected(predicted(ours, INTERVAL_MS / 1000), rows, boxes)
        times[0].append((middle - begin) * 1e6)
        times[1].append((time.perf_counter() - middle) * 1e6)
    assert np.allclose(np.array([one.state[:4] for one in plain]), ours.position, rtol=1e-8)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, {count} frames")
    print(
        f"{'objects':>7} {'update us':>10} {'95 % us':>8} {'filter plain us':>16} {'ours us':>8} {'ratio':>6}"
    )
    for objects in (20, 100, 500):
        times = update_times(objects, count)
        plain, ours = filter_times(objects, 11)
        middle, high = np.percentile(times, (50, 95))
        print(f"{objects:>7} {middle:>10.0f} {high:>8.0f} {plain:>16.0f} {ours:>8.0f} {plain / ours:>6.1f}")


if __name__ == "__main__":
    main()
