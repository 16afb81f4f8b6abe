"""Which pictures come when, and in what shape: what the flags of order and shape come to for a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from vedette.augment.pipeline import Augmenter
from vedette.config.train import TrainConfig
from vedette.core.types import IntArray, SizeHW
from vedette.data.collate import QUAD, Collate, collate_quad, collate_single
from vedette.data.index import SplitIndex
from vedette.data.order import (
    PictureOrder,
    RectangularOrder,
    RepeatedOrder,
    ShuffledOrder,
    WeightedOrder,
    by_aspect,
    image_weights,
    rectangular_frames,
    repeat_factors,
)
from vedette.errors import UsageError
from vedette.train.multi_scale import MultiScale


@dataclass(frozen=True)
class PicturePlan:
    """The plan of a run.

    Attributes:
        config: the flags.
        index: the training split.
        size_hw: the run's frames.
        stride: largest stride of the network.

    Raises:
        UsageError: flags that exclude each other.
    """

    config: TrainConfig
    index: SplitIndex
    size_hw: SizeHW
    stride: int

    def __post_init__(self) -> None:
        orders = {
            "--rect": self.config.rect,
            "--image-weights": self.config.image_weights,
            "--repeat-threshold": self.config.repeat_threshold > 0,
        }
        chosen = [flag for flag, given in orders.items() if given]
        if len(chosen) > 1:
            raise UsageError(
                f"{' and '.join(chosen)} exclude each other: each is an order of the pictures",
                where="vedette train",
                fix="give one of them",
            )

    @property
    def follows_results(self) -> bool:
        """Whether the order of an epoch depends on what was measured before it."""
        return self.config.image_weights

    @property
    def pictures_per_frame(self) -> int:
        """Neighbours in the order that share a frame, and so a rank."""
        return QUAD if self.config.quad else 1

    def order(self, class_ap: Sequence[float]) -> PictureOrder:
        """The order of the epochs to come.

        Args:
            class_ap: AP of every class as measured last; empty before the first measurement.
        """
        config, seed = self.config, self.config.seed
        if config.rect:
            return RectangularOrder(by_aspect(self.index.sizes_hw), config.batch_size, seed)
        if config.image_weights:
            return WeightedOrder(image_weights(self.index, class_ap), seed)
        if config.repeat_threshold > 0:
            return RepeatedOrder(repeat_factors(self.index, config.repeat_threshold), seed)
        return ShuffledOrder(len(self.index), seed)

    def fitted(self, augmenter: Augmenter, order: PictureOrder) -> Augmenter:
        """The augmenter that makes the samples of an order."""
        if self.config.rect:
            return replace(augmenter, frames_hw=self._frames())
        uneven = isinstance(order, (WeightedOrder, RepeatedOrder))
        return replace(augmenter, order=order if uneven else None)

    def collate(self) -> Collate:
        """What makes batches of samples."""
        pictures = self.index.picture_format
        if self.config.quad:
            return partial(collate_quad, size_hw=self.size_hw, seed=self.config.seed, picture_format=pictures)
        return partial(collate_single, size_hw=self.size_hw, picture_format=pictures)

    def multi_scale(self) -> MultiScale | None:
        """What changes the size of the batches, if anything does."""
        if not self.config.multi_scale:
            return None
        return MultiScale(self.config.seed, max(self.size_hw), self.stride)

    def _frames(self) -> IntArray:
        return rectangular_frames(self.index.sizes_hw, self.config.batch_size, self.size_hw, self.stride)
