"""Drawn sequences with known identities: boxes that move, cross, hide each other, are missed and made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vedette.core.types import Detections
from vedette.evaluate.tracking import TrackBoxes

SIZE_HW = (720, 1280)
NAMES = ("walker", "car")


@dataclass(frozen=True)
class Frame:
    """One frame: when, what is there, and what a detector says."""

    time_ms: float
    ids: np.ndarray
    boxes: np.ndarray
    detections: Detections


def frame_times(
    random: np.random.Generator, seconds: float, rate: float, *, variable: bool = False
) -> np.ndarray:
    """Times in ms; variable: intervals from half to three times the usual, and now and then half a second."""
    if not variable:
        return np.arange(0, seconds * 1000, 1000 / rate)
    steps = 1000 / rate * random.uniform(0.5, 3.0, int(seconds * rate))
    steps[random.random(len(steps)) < 0.03] = 500.0
    times = np.cumsum(steps)
    return times[times < seconds * 1000]


class Scene:
    """Objects on smooth paths at several depths; the lower edge says who hides whom."""

    def __init__(self, random: np.random.Generator, objects: int, seconds: float) -> None:
        height, width = SIZE_HW
        self.class_ids = random.integers(0, 2, objects)
        self.size = np.exp(random.uniform(np.log(50), np.log(160), objects))
        self.aspect = np.where(self.class_ids == 0, 0.45, 1.8) * random.uniform(0.85, 1.15, objects)
        # Through the middle region at a random moment, so that paths cross.
        self.middle_time = random.uniform(0.2, 0.8, objects) * seconds
        self.middle = np.stack(
            (random.uniform(0.25, 0.75, objects) * width, random.uniform(0.3, 0.75, objects) * height), 1
        )
        speed = np.where(self.class_ids == 0, 1.0, 2.0) * self.size * random.uniform(0.5, 1.3, objects)
        angle = random.choice([0.0, np.pi], objects) + random.normal(0, 0.2, objects)
        self.velocity = speed[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
        self.bend = random.uniform(-0.15, 0.15, (objects, 2)) * self.size[:, None]
        self.sway = random.uniform(0, 2 * np.pi, objects)

    def boxes(self, seconds: float) -> np.ndarray:
        """Corners [objects, 4] at a time; may lie outside the picture."""
        passed = (seconds - self.middle_time)[:, None]
        centre = self.middle + self.velocity * passed + self.bend * np.sin(1.5 * passed + self.sway[:, None])
        height = self.size * (1 + 0.1 * np.sin(0.7 * passed[:, 0] + self.sway))
        half = np.stack((height * self.aspect, height), 1) / 2
        return np.concatenate((centre - half, centre + half), 1)


def visible_share(boxes: np.ndarray) -> np.ndarray:
    """Part of each box inside the picture and not behind a box whose lower edge is lower, on an 8 x 8 grid."""
    height, width = SIZE_HW
    steps = (np.arange(8) + 0.5) / 8
    shares = np.zeros(len(boxes))
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        x, y = np.meshgrid(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1))
        seen = (x > 0) & (x < width) & (y > 0) & (y < height)
        for other in boxes[boxes[:, 3] > y2]:
            seen &= ~((x > other[0]) & (x < other[2]) & (y > other[1]) & (y < other[3]))
        shares[number] = seen.mean()
    return shares


@dataclass(frozen=True)
class Detector:
    """How good the imagined detector is."""

    jitter: float = 0.03
    miss: float = 0.03
    made_up: float = 0.5

    def see(
        self, random: np.random.Generator, boxes: np.ndarray, class_ids: np.ndarray, shares: np.ndarray
    ) -> Detections:
        """Detections; a hidden object has a low score, one that is hardly seen has none."""
        scores = np.clip(0.15 + 0.75 * (shares - 0.25) / 0.5 + random.normal(0, 0.05, len(boxes)), 0, 0.95)
        kept = (shares > 0.25) & (random.random(len(boxes)) >= self.miss) & (scores > 0.1)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        found = (boxes + random.normal(0, self.jitter, boxes.shape) * sides)[kept]
        extra = random.poisson(self.made_up)
        corner = random.uniform((0, 0), (SIZE_HW[1] - 100, SIZE_HW[0] - 100), (extra, 2))
        wrong = np.concatenate((corner, corner + random.uniform(30, 100, (extra, 2))), 1)
        found = np.concatenate((found, wrong))
        scores = np.concatenate((scores[kept], random.uniform(0.1, 0.45, extra)))
        ids = np.concatenate((class_ids[kept], random.integers(0, 2, extra)))
        order = np.argsort(-scores, kind="stable")
        found[:, 0::2] = found[:, 0::2].clip(0, SIZE_HW[1])
        found[:, 1::2] = found[:, 1::2].clip(0, SIZE_HW[0])
        return Detections(
            found[order].astype(np.float32), scores[order].astype(np.float32), ids[order], NAMES, SIZE_HW
        )


def sequence(
    seed: int,
    *,
    objects: int = 12,
    seconds: float = 8.0,
    rate: float = 25.0,
    variable: bool = False,
    detector: Detector | None = None,
) -> list[Frame]:
    """The frames of a drawn sequence; true are all objects of which a tenth can be seen."""
    random = np.random.default_rng(seed)
    scene, eye = Scene(random, objects, seconds), detector or Detector()
    frames = []
    for time_ms in frame_times(random, seconds, rate, variable=variable):
        boxes = scene.boxes(time_ms / 1000)
        shares = visible_share(boxes)
        there = shares >= 0.1
        found = eye.see(random, boxes, scene.class_ids, shares)
        frames.append(Frame(float(time_ms), np.flatnonzero(there), boxes[there], found))
    return frames


def truth_of(frames: list[Frame]) -> TrackBoxes:
    """The true tracks."""
    numbers = np.repeat(np.arange(len(frames)), [len(frame.ids) for frame in frames])
    return TrackBoxes(
        numbers,
        np.concatenate([frame.ids for frame in frames]),
        np.concatenate([frame.boxes for frame in frames]),
    )


def tracks_of(results: list[Detections]) -> TrackBoxes:
    """The boxes that have an id."""
    with_id = [result.chosen(result.track_ids >= 0) for result in results]
    numbers = np.repeat(np.arange(len(results)), [len(result) for result in with_id])
    return TrackBoxes(
        numbers,
        np.concatenate([result.track_ids for result in with_id]),
        np.concatenate([result.boxes_xyxy_px for result in with_id]).astype(np.float64),
    )


def follow(
    update: Callable[[Detections, float | None], Detections], frames: list[Frame], *, times: bool = True
) -> Iterator[Detections]:
    """What a tracker says to each frame."""
    for frame in frames:
        yield update(frame.detections, frame.time_ms if times else None)
