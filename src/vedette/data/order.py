"""Which picture comes when: the order of an epoch as a value.

An order is a function of its fields and the number of the epoch. Fields are the run's seed, facts of the data set
and, for :class:`WeightedOrder`, what was measured last; so nothing about an order has to be stored, and it does not
depend on workers, ranks or resuming. An epoch has as many places as there are pictures, in every order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vedette.core.letterbox import shared_frame_hw
from vedette.core.random import generator, permutation
from vedette.errors import UsageError

if TYPE_CHECKING:
    from vedette.core.types import IntArray, SizeHW
    from vedette.data.index import SplitIndex

Place = tuple[int, int, int]
"""(epoch, position in the epoch, image number)."""

Weights = NDArray[np.float64]


class PictureOrder(Protocol):
    """What :class:`vedette.data.loader.RunSampler` takes its pictures from."""

    def numbers(self, epoch: int) -> IntArray:
        """Picture number of every position of an epoch, int64 [n]."""


@dataclass(frozen=True, slots=True)
class SameOrder:
    """Every epoch in the order of the split."""

    pictures: int

    def numbers(self, epoch: int) -> IntArray:
        """See :class:`PictureOrder`."""
        del epoch  # the same each time
        return np.arange(self.pictures, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ShuffledOrder:
    """Every picture once an epoch, in random order."""

    pictures: int
    seed: int

    def numbers(self, epoch: int) -> IntArray:
        """See :class:`PictureOrder`."""
        return permutation(self.seed, "order", epoch, self.pictures)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedOrder:
    """Pictures drawn with replacement, each as often as its weight says (data.md, section 13).

    Attributes:
        weights: float64 [n], at least 0; if all are 0, all count the same.
        seed: the run's seed.
    """

    weights: Weights
    seed: int

    def numbers(self, epoch: int) -> IntArray:
        """See :class:`PictureOrder`."""
        drawable = np.flatnonzero(self.weights > 0)
        if not len(drawable):
            drawable = np.arange(len(self.weights))
        weights = self.weights[drawable]
        borders = np.cumsum(weights if weights.any() else np.ones(len(drawable)))
        points = generator(self.seed, "weighted order", epoch).random(len(self.weights)) * borders[-1]
        places = np.minimum(np.searchsorted(borders, points, side="right"), len(drawable) - 1)
        chosen: IntArray = drawable[places].astype(np.int64, copy=False)
        return chosen


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedOrder:
    """Pictures of rare classes several times an epoch: repeat-factor sampling (Gupta et al. 2019, LVIS).

    A picture with factor r is there floor(r) times, and once more with the probability of the rest, drawn anew each
    epoch. All copies are shuffled and the first n stay: an epoch keeps its length, so common pictures are left out
    of some epochs. The expected share of a picture is its factor over the sum of all.

    Attributes:
        factors: float64 [n], at least 1.
        seed: the run's seed.
    """

    factors: Weights
    seed: int

    def numbers(self, epoch: int) -> IntArray:
        """See :class:`PictureOrder`."""
        whole = np.floor(self.factors)
        chances = generator(self.seed, "repeat factor", epoch).random(len(self.factors))
        copies = whole.astype(np.int64) + (chances < self.factors - whole)
        repeated = np.repeat(np.arange(len(self.factors), dtype=np.int64), copies)
        shuffled = permutation(self.seed, "order", epoch, len(repeated))
        return repeated[shuffled[: len(self.factors)]]


@dataclass(frozen=True, slots=True, eq=False)
class RectangularOrder:
    """Pictures of similar shape share a batch; the order of the batches is random (data.md, section 12).

    Which pictures share a batch is the same in every epoch. If there are not enough for whole batches, the smaller
    one, of the tallest pictures, ends the epoch.

    Attributes:
        by_aspect: int64 [n], the pictures by rising height / width.
        batch_size: pictures of a batch.
        seed: the run's seed.
    """

    by_aspect: IntArray
    batch_size: int
    seed: int

    def numbers(self, epoch: int) -> IntArray:
        """See :class:`PictureOrder`."""
        whole = len(self.by_aspect) // self.batch_size
        batches = self.by_aspect[: whole * self.batch_size].reshape(whole, self.batch_size)
        shuffled = batches[permutation(self.seed, "order", epoch, whole)].reshape(-1)
        return np.concatenate([shuffled, self.by_aspect[whole * self.batch_size :]])


def by_aspect(sizes_hw: NDArray[Any]) -> IntArray:
    """The pictures [n, 2] by rising height / width; equal ones in the order of the split. int64 [n]."""
    return np.argsort(sizes_hw[:, 0] / sizes_hw[:, 1], kind="stable").astype(np.int64, copy=False)


def rectangular_frames(sizes_hw: NDArray[Any], batch_size: int, size_hw: SizeHW, stride: int) -> IntArray:
    """The frame of every picture in its batch of :class:`RectangularOrder`: int64 [n, 2].

    The smallest frame with sides of whole strides that holds all pictures of the batch, each with its longer side
    scaled to that of ``size_hw``. Equal to the published rule without padding, in whole numbers.

    Args:
        sizes_hw: of the pictures, [n, 2].
        batch_size: pictures of a batch.
        size_hw: the frame of a square picture; sides must be equal.
        stride: largest stride of the network.

    Raises:
        UsageError: the sides of ``size_hw`` differ.
    """
    if size_hw[0] != size_hw[1]:
        raise UsageError(
            f"rectangular batches start from square frames, not from {size_hw[0]} x {size_hw[1]}",
            where="--rect",
            fix="give --img-size one number",
        )
    frames = np.empty((len(sizes_hw), 2), dtype=np.int64)
    order = by_aspect(sizes_hw)
    for first in range(0, len(order), batch_size):
        numbers = order[first : first + batch_size]
        sizes = [(int(height), int(width)) for height, width in sizes_hw[numbers].tolist()]
        frames[numbers] = shared_frame_hw(sizes, size_hw[0], stride)
    return frames


def class_weights(class_counts: NDArray[Any]) -> Weights:
    """Share of every class by how rare it is: 1 / count, summing to 1 (training.md, section 9). float64 [C].

    Args:
        class_counts: boxes of each class, [C]; 0 counts as 1.
    """
    rarity = 1.0 / np.maximum(np.asarray(class_counts, dtype=np.float64), 1.0)
    shares: Weights = rarity / rarity.sum()
    return shares


def image_weights(index: SplitIndex, class_ap: Sequence[float]) -> Weights:
    """How often :class:`WeightedOrder` should draw each picture (data.md, section 13): float64 [n].

    The sum over its boxes of class weight times (1 - AP)². Background pictures get 0, ignored boxes count nothing.

    Args:
        index: the split.
        class_ap: AP of every class as measured last, 0..1; empty before the first measurement.
    """
    measured = np.asarray(class_ap, dtype=np.float64) if class_ap else np.zeros(len(index.class_names))
    per_class = class_weights(index.class_counts()) * (1.0 - measured) ** 2
    pictures, class_ids = _true_boxes(index)
    # bincount adds one after the other, so the sums are the same on every machine and number of threads.
    sums = np.bincount(pictures, weights=per_class[class_ids], minlength=len(index))
    return sums.astype(np.float64, copy=False)


def repeat_factors(index: SplitIndex, threshold: float) -> Weights:
    """How often :class:`RepeatedOrder` should show each picture an epoch: float64 [n], at least 1.

    The largest of the factors max(1, sqrt(threshold / f)) of its classes, f the part of all pictures that hold the
    class; 1 for a background picture. Ignored boxes count nothing.

    Args:
        index: the split.
        threshold: classes in a smaller part of all pictures are repeated; 0..1.
    """
    pictures, class_ids = _true_boxes(index)
    pairs = np.unique(np.stack([pictures, class_ids], axis=1), axis=0)
    holding = np.bincount(pairs[:, 1], minlength=len(index.class_names))
    per_class = np.maximum(1.0, np.sqrt(threshold * len(index) / np.maximum(holding, 1)))
    factors = np.ones(len(index))
    np.maximum.at(factors, pairs[:, 0], per_class[pairs[:, 1]])
    return factors


def _true_boxes(index: SplitIndex) -> tuple[IntArray, IntArray]:
    """Picture number and class of every box that is not ignored, int64 [M] each."""
    pictures = np.repeat(np.arange(len(index)), np.diff(index.offsets))
    return pictures[~index.ignored], index.class_ids[~index.ignored]
