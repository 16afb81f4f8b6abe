"""Where boxes are going: a Kalman filter of constant velocity for many boxes at once, in continuous time.

Centre and size are filtered independently of each other, each with its velocity: the model of SORT (Bewley et al.,
2016) and DeepSORT (Wojke et al., 2017) without the terms that are zero there, so that no matrix is inverted. Noise
grows with the size of the box and with elapsed time; two steps predict what one step of their sum does, so that
frames may come at any times.

Legend: N boxes; every array is float64 [N, 4] for (cx, cy, w, h), pixels and pixels a second.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import BoolArray, IntArray

Float64Array = NDArray[np.float64]

# In sizes of the box, a size being the root of its area. The first two as in DeepSORT: a twentieth of the height, and
# a hundred-and-sixtieth a frame at 30 frames a second. The others were chosen on drawn sequences.
_MEASUREMENT = 0.05
_DRIFT = 0.15
"""Standard deviation of the position after a second beyond what the velocity explains."""
_ACCELERATION = 1.0
"""Standard deviation of the velocity after a second, in sizes a second."""
_FIRST_VELOCITY = 3.0
"""Standard deviation of the velocity of a box that was seen once, in sizes a second."""
_SMALLEST_PX = 1e-3


@dataclass(frozen=True, slots=True)
class Motion:
    """Estimates of N boxes.

    Attributes:
        position: centre and size.
        velocity: their change a second.
        position_variance: of ``position``.
        covariance: of position and velocity.
        velocity_variance: of ``velocity``.
    """

    position: Float64Array
    velocity: Float64Array
    position_variance: Float64Array
    covariance: Float64Array
    velocity_variance: Float64Array

    def __len__(self) -> int:
        return len(self.position)

    def chosen(self, rows: IntArray | BoolArray) -> Motion:
        """Those of some boxes, by number or by mask."""
        return Motion(*(getattr(self, field.name)[rows] for field in fields(self)))

    def joined(self, other: Motion) -> Motion:
        """These boxes and then the others."""
        return Motion(
            *(
                np.concatenate((getattr(self, field.name), getattr(other, field.name)))
                for field in fields(self)
            )
        )


def started(boxes_cxcywh: Float64Array) -> Motion:
    """Boxes seen once, at rest as far as one knows."""
    size = _size(boxes_cxcywh)
    return Motion(
        position=boxes_cxcywh,
        velocity=np.zeros_like(boxes_cxcywh),
        position_variance=np.broadcast_to((_MEASUREMENT * size) ** 2, boxes_cxcywh.shape),
        covariance=np.zeros_like(boxes_cxcywh),
        velocity_variance=np.broadcast_to((_FIRST_VELOCITY * size) ** 2, boxes_cxcywh.shape),
    )


def predicted(motion: Motion, seconds: float) -> Motion:
    """The boxes after ``seconds`` without a measurement; sizes stay above 0."""
    size = _size(motion.position)
    drift, acceleration = (_DRIFT * size) ** 2, (_ACCELERATION * size) ** 2
    position = motion.position + motion.velocity * seconds
    np.maximum(position[:, 2:], _SMALLEST_PX, out=position[:, 2:])
    # White noise on velocity and acceleration, integrated over the step.
    return Motion(
        position=position,
        velocity=motion.velocity,
        position_variance=motion.position_variance
        + seconds * (2 * motion.covariance + drift)
        + seconds**2 * motion.velocity_variance
        + seconds**3 / 3 * acceleration,
        covariance=motion.covariance + seconds * motion.velocity_variance + seconds**2 / 2 * acceleration,
        velocity_variance=motion.velocity_variance + seconds * acceleration,
    )


def corrected(motion: Motion, rows: IntArray, boxes_cxcywh: Float64Array) -> Motion:
    """The estimates after the boxes at ``rows``, each at most once, were measured at ``boxes_cxcywh`` [k, 4]."""
    prior = motion.chosen(rows)
    noise = (_MEASUREMENT * _size(boxes_cxcywh)) ** 2
    surprise = boxes_cxcywh - prior.position
    spread = prior.position_variance + noise
    gain, velocity_gain = prior.position_variance / spread, prior.covariance / spread
    posterior = Motion(
        position=prior.position + gain * surprise,
        velocity=prior.velocity + velocity_gain * surprise,
        position_variance=(1 - gain) * prior.position_variance,
        covariance=(1 - gain) * prior.covariance,
        velocity_variance=prior.velocity_variance - velocity_gain * prior.covariance,
    )
    after = {}
    for field in fields(motion):
        values = getattr(motion, field.name).copy()
        values[rows] = getattr(posterior, field.name)
        after[field.name] = values
    return Motion(**after)


def of_steady_size(motion: Motion, rows: BoolArray) -> Motion:
    """The estimates where the boxes at ``rows`` neither grow nor shrink any more: out of sight nothing says so."""
    velocity = motion.velocity.copy()
    velocity[rows, 2:] = 0
    return replace(motion, velocity=velocity)


def _size(boxes_cxcywh: Float64Array) -> Float64Array:
    """The root of the area, [N, 1], at least a pixel: the unit of all noise."""
    sides = np.maximum(boxes_cxcywh[:, 2:], 1.0)
    size: Float64Array = np.sqrt(sides.prod(axis=1, keepdims=True))
    return size
