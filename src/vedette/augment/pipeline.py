"""The augmentation of one training sample, from numbered pictures to a frame. Order of steps: data.md, section 7.

All random choices of a sample come from ``generator(seed, "augment", epoch, position)``. They are drawn before
anything is done and always all of them, so a sample does not depend on which other samples were made, where, or
on the probability of a change that is not applied to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.augment.buffers import Buffers
from vedette.augment.colour import HSV_DRAWS, HsvChoice, choose_hsv, jitter_hsv, jitter_samples
from vedette.augment.geometric import (
    AFFINE_DRAWS,
    AffineChoice,
    Labels,
    affine_matrix,
    choose_affine,
    flip_boxes,
    warp_labels,
)
from vedette.augment.mosaic import (
    BACKGROUND,
    MIXUP_DRAWS,
    MOSAIC_DRAWS,
    Composed,
    MosaicChoice,
    PlacedPicture,
    Tile,
    canvas_hw_of,
    choose_mixup_ratio,
    choose_mosaic,
    compose,
    pick,
    place_tiles,
)
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.random import generator
from vedette.core.types import Image, RgbImage, Sample

if TYPE_CHECKING:
    from vedette.config.hyperparameters import Hyperparameters
    from vedette.core.types import IntArray, SizeHW
    from vedette.data.index import SplitIndex
    from vedette.data.order import PictureOrder
    from vedette.data.pictures import PictureStore


@dataclass(frozen=True, slots=True)
class SceneChoice:
    """One composed picture: ``mosaic`` is None for a single picture that is only moved."""

    image_number: int
    mosaic: MosaicChoice | None
    affine: AffineChoice

    def with_partners_of(self, numbers: IntArray) -> SceneChoice:
        """The same with the pictures that the partners stand for as positions of ``numbers``, int64 [n]."""
        if self.mosaic is None:
            return self
        partners = tuple(int(numbers[position]) for position in self.mosaic.partners)
        return replace(self, mosaic=replace(self.mosaic, partners=partners))


@dataclass(frozen=True, slots=True)
class SampleChoice:
    """Everything random about a sample. ``mixed_in`` is None unless a second scene is blended in."""

    scene: SceneChoice
    mixed_in: SceneChoice | None
    mixup_ratio: float
    hsv: HsvChoice
    flip_up_down: bool
    flip_left_right: bool

    def with_partners_of(self, numbers: IntArray) -> SampleChoice:
        """See :meth:`SceneChoice.with_partners_of`; the picture that is mixed in stays, as published."""
        mixed_in = None if self.mixed_in is None else self.mixed_in.with_partners_of(numbers)
        return replace(self, scene=self.scene.with_partners_of(numbers), mixed_in=mixed_in)


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Makes training samples of exactly ``size_hw``, or of the frame that each picture is given.

    Attributes:
        hyperparameters: probabilities and ranges.
        size_hw: size of every sample.
        seed: the run's seed.
        mosaic_epochs: epochs with mosaics, from the first; None: all.
        frames_hw: for rectangular batches: size of the sample of every picture, int64 [n, 2], each holding the
            picture fitted to ``size_hw``. There are no mosaics then.
        order: the pictures beside the first of a mosaic are drawn from those of the epoch in this order, so that it
            shows in all tiles; None: from all pictures alike.
        picture_format: of pictures and samples.

    Samples may be made by one thread at a time (they share scratch memory); use one augmenter a thread.
    """

    hyperparameters: Hyperparameters
    size_hw: SizeHW
    seed: int
    mosaic_epochs: int | None = None
    frames_hw: IntArray | None = field(default=None, compare=False)
    order: PictureOrder | None = None
    picture_format: PictureFormat = RGB8
    _buffers: Buffers = field(default_factory=Buffers, init=False, repr=False, compare=False)
    _epochs: dict[int, IntArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def sample(
        self, store: PictureStore, index: SplitIndex, epoch: int, position: int, image_number: int
    ) -> Sample:
        """The sample at one place of a run.

        Args:
            store: decoded pictures, made for ``size_hw``.
            index: the split that ``store`` holds.
            epoch: 0-based.
            position: place in the order of the epoch, 0-based.
            image_number: the picture that the order has put there; mosaics add others.

        Returns:
            A picture of the sample's size and the boxes left in it, cut to it; there may be none.

        Raises:
            ImageError: a picture that is needed cannot be read; names it.
        """
        random = generator(self.seed, "augment", epoch, position)
        mosaics = self.frames_hw is None and (self.mosaic_epochs is None or epoch < self.mosaic_epochs)
        choice = choose_sample(
            random, self.hyperparameters, self.size_hw, len(index), image_number, mosaics=mosaics
        )
        if self.order is not None:
            choice = choice.with_partners_of(self._numbers(self.order, epoch))
        image, labels = self._scene(store, index, choice.scene, "scene")
        if choice.mixed_in is not None:
            other_image, other_labels = self._scene(store, index, choice.mixed_in, "mixed in")
            image = image.mixed_with(other_image, choice.mixup_ratio)
            labels = Labels.joined([labels, other_labels])
        return self._finish(image, labels, choice)

    def _numbers(self, order: PictureOrder, epoch: int) -> IntArray:
        """The pictures of an epoch; of the last one only, as epochs come one after the other."""
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = order.numbers(epoch)
        return self._epochs[epoch]

    def frame_hw(self, image_number: int) -> SizeHW:
        """Size of the sample of a picture."""
        if self.frames_hw is None:
            return self.size_hw
        height, width = self.frames_hw[image_number].tolist()
        return height, width

    def _scene(
        self, store: PictureStore, index: SplitIndex, choice: SceneChoice, name: str
    ) -> tuple[Composed, Labels]:
        """One mosaic or single picture, moved, and its labels."""
        output_hw = self.frame_hw(choice.image_number)
        if choice.mosaic is not None:
            numbers = (choice.image_number, *choice.mosaic.partners)
            canvas_hw = canvas_hw_of(output_hw)
            sizes_hw = [store.resized_hw(number) for number in numbers]
            tiles = place_tiles(choice.mosaic.centre_yx, sizes_hw, canvas_hw)
        else:
            numbers, canvas_hw = (choice.image_number,), output_hw
            tiles = [_centred(store.resized_hw(choice.image_number), output_hw)]
        labels = [
            picture_labels(store, index, number, tile) for number, tile in zip(numbers, tiles, strict=True)
        ]
        pictures = [
            PlacedPicture(tile, partial(store.picture, number))
            for number, tile in zip(numbers, tiles, strict=True)
        ]
        image = compose(
            pictures,
            choice.affine,
            canvas_hw,
            output_hw,
            self._buffers,
            name,
            picture_format=self.picture_format,
        )
        on_canvas = Labels.joined(labels)
        if choice.mosaic is not None:
            on_canvas = on_canvas.clipped(canvas_hw)
        matrix = affine_matrix(choice.affine, canvas_hw, output_hw)
        return image, warp_labels(on_canvas, matrix, choice.affine, output_hw)

    def _finish(self, scene: Composed, labels: Labels, choice: SampleChoice) -> Sample:
        """Colour and flips."""
        image = self._coloured(scene, choice.hsv)
        if choice.flip_up_down or choice.flip_left_right:
            image = _flipped(image, left_right=choice.flip_left_right, up_down=choice.flip_up_down)
        boxes = flip_boxes(
            labels.boxes_xyxy_px,
            self.frame_hw(choice.scene.image_number),
            left_right=choice.flip_left_right,
            up_down=choice.flip_up_down,
        )
        return Sample(
            image=image,
            boxes_xyxy_px=boxes.astype(np.float32),
            class_ids=labels.class_ids,
            ignored=labels.ignored,
            image_number=choice.scene.image_number,
            labelled=labels.labelled,
        )

    def _coloured(self, scene: Composed, hsv: HsvChoice) -> Image:
        """The colour jitter; RGBX becomes RGB."""
        if self.picture_format != RGB8:
            return jitter_samples(scene.image, hsv, self.picture_format)
        rgbx: RgbImage = scene.image  # type: ignore[assignment]  # 8-bit RGB
        if hsv.changes_nothing:
            return np.asarray(cv2.cvtColor(rgbx, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
        return jitter_hsv(rgbx, hsv, windows=scene.windows, background=BACKGROUND, buffers=self._buffers)


@dataclass(frozen=True, slots=True)
class TrainingSamples:
    """What a loader calls to make a sample: augmenter, pictures and labels in one picklable value."""

    augmenter: Augmenter
    store: PictureStore
    index: SplitIndex

    def __call__(self, epoch: int, position: int, image_number: int) -> Sample:
        """See :meth:`Augmenter.sample`."""
        return self.augmenter.sample(self.store, self.index, epoch, position, image_number)


def choose_sample(
    random: np.random.Generator,
    hyperparameters: Hyperparameters,
    size_hw: SizeHW,
    pictures: int,
    image_number: int,
    *,
    mosaics: bool = True,
) -> SampleChoice:
    """Draw everything random about a sample, always the same count of numbers in the same order."""
    mosaic, mixup, up_down, left_right, other = (float(draw) for draw in random.random(5))
    hsv = choose_hsv(random.random(HSV_DRAWS), hyperparameters)
    scenes = []
    is_mosaic = mosaics and mosaic < hyperparameters.mosaic
    for number in (image_number, pick(other, pictures)):
        tiles = choose_mosaic(random.random(MOSAIC_DRAWS), size_hw, pictures)
        affine = choose_affine(random.random(AFFINE_DRAWS), hyperparameters)
        scenes.append(SceneChoice(number, tiles if is_mosaic else None, affine))
    ratio = choose_mixup_ratio(random.random(MIXUP_DRAWS))
    return SampleChoice(
        scene=scenes[0],
        mixed_in=scenes[1] if is_mosaic and mixup < hyperparameters.mixup else None,
        mixup_ratio=ratio,
        hsv=hsv,
        flip_up_down=up_down < hyperparameters.flipud,
        flip_left_right=left_right < hyperparameters.fliplr,
    )


def _flipped(image: Image, *, left_right: bool, up_down: bool) -> Image:
    """Mirror a picture, in place where OpenCV can."""
    if image.shape[2] == 3:
        cv2.flip(image, -1 if left_right and up_down else int(left_right), dst=image)
        return image
    return np.ascontiguousarray(image[:: -1 if up_down else 1, :: -1 if left_right else 1])


def _centred(resized_hw: SizeHW, frame_hw: SizeHW) -> Tile:
    """A picture in the middle of the frame; the store has already fitted its size."""
    letterbox = LetterboxPolicy(frame_hw).place(resized_hw)
    height, width = resized_hw
    left, top = letterbox.left, letterbox.top
    return Tile((left, top, left + width, top + height), (0, 0, width, height))


def picture_labels(store: PictureStore, index: SplitIndex, image_number: int, tile: Tile) -> Labels:
    """Labels of a picture in canvas coordinates, not cut.

    Where nothing is known about the background of a picture, an ignored box covers it as a whole.
    """
    found = index.labels(image_number)
    height, width = (int(side) for side in index.sizes_hw[image_number])
    resized_h, resized_w = store.resized_hw(image_number)
    labels = Labels(found.boxes_xyxy_px, found.class_ids, found.ignored)
    if found.background_unknown:
        whole = np.array([[0.0, 0.0, width, height]])
        labels = Labels.joined([labels, Labels(whole, np.zeros(1, np.int64), np.ones(1, np.bool_))])
    if found.labelled is not None:
        rows = (len(labels.class_ids), len(found.labelled))
        labels = replace(labels, labelled=np.broadcast_to(found.labelled, rows))
    return labels.moved((resized_w / width, resized_h / height), tile.shift_xy)
