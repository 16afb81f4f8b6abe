"""Whole samples: determinism, validity, and the two ways to the same sample."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.augment import pipeline
from vedette.augment.colour import plain_jitter_hsv
from vedette.augment.mosaic import Composed, plain_compose
from vedette.augment.pipeline import Augmenter, TrainingSamples, choose_sample
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.picture_format import PictureFormat
from vedette.core.random import generator
from vedette.data.index import PictureLabels
from vedette.data.order import WeightedOrder
from vedette.data.pictures import fitted_sizes

NO_CHANGE = Hyperparameters(
    mosaic=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, translate=0.0, scale=0.0, fliplr=0.0, flipud=0.0
)


class Pictures:
    """Index and store in one: smooth pictures of many sizes with a few boxes each, some ignored, some none."""

    def __init__(self, size_hw, count=9):
        random = np.random.default_rng(3)
        self.sizes_hw = random.integers(24, 160, (count, 2)).astype(np.int32)
        self._resized = fitted_sizes(self.sizes_hw, size_hw)
        self._images, self._labels = [], []
        for number in range(count):
            height, width = self._resized[number].tolist()
            noise = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            self._images.append(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
            boxes = int(random.integers(0, 5))
            corners = np.sort(random.random((boxes, 2, 2)), axis=1) * self.sizes_hw[number][::-1]
            self._labels.append(
                PictureLabels(
                    corners.reshape(boxes, 4).astype(np.float64),
                    random.integers(0, 5, boxes),
                    random.random(boxes) < 0.3,
                    np.zeros(boxes),
                )
            )

    def __len__(self):
        return len(self._images)

    def resized_hw(self, number):
        return tuple(self._resized[number].tolist())

    def picture(self, number):
        return self._images[number]

    def labels(self, number):
        return self._labels[number]


def make(hyperparameters, size_hw=(64, 64), *, epoch=0, position=0, image_number=0, seed=0):
    pictures = Pictures(size_hw)
    augmenter = Augmenter(hyperparameters, size_hw, seed)
    return augmenter.sample(pictures, pictures, epoch, position, image_number)


def same(first, second):
    return (
        np.array_equal(first.image, second.image)
        and np.array_equal(first.boxes_xyxy_px, second.boxes_xyxy_px)
        and np.array_equal(first.class_ids, second.class_ids)
        and np.array_equal(first.ignored, second.ignored)
    )


@settings(deadline=None, max_examples=80)
@given(
    size_hw=st.sampled_from([(64, 64), (64, 96), (96, 32)]),
    hyperparameters=st.builds(
        Hyperparameters,
        mosaic=st.sampled_from([0.0, 0.5, 1.0]),
        mixup=st.sampled_from([0.0, 1.0]),
        degrees=st.sampled_from([0.0, 45.0]),
        shear=st.sampled_from([0.0, 10.0]),
        perspective=st.sampled_from([0.0, 0.001]),
        scale=st.sampled_from([0.0, 0.5, 0.9]),
        flipud=st.just(0.5),
    ),
    epoch=st.integers(0, 3),
    position=st.integers(0, 10_000),
    number=st.integers(0, 8),
)
def test_samples_are_valid(size_hw, hyperparameters, epoch, position, number):
    sample = make(hyperparameters, size_hw, epoch=epoch, position=position, image_number=number)
    assert sample.image.shape == (*size_hw, 3)
    assert sample.image.dtype == np.uint8
    assert sample.image.flags.c_contiguous
    assert sample.image_number == number
    count = len(sample.class_ids)
    assert sample.boxes_xyxy_px.shape == (count, 4)
    assert sample.boxes_xyxy_px.dtype == np.float32
    assert sample.ignored.shape == (count,)
    height, width = size_hw
    assert (sample.boxes_xyxy_px >= 0).all()
    assert (sample.boxes_xyxy_px <= [width, height, width, height]).all()
    sides = sample.boxes_xyxy_px[:, 2:] - sample.boxes_xyxy_px[:, :2]
    assert (sides > 0).all()
    assert (sides[~sample.ignored] > 1.99).all()  # the rule is "over 2 px" before rounding to float32


def test_a_sample_depends_on_its_place_only():
    first = make(Hyperparameters(), epoch=1, position=5, image_number=2)
    make(Hyperparameters(), epoch=0, position=0)
    assert same(first, make(Hyperparameters(), epoch=1, position=5, image_number=2))
    for change in ({"epoch": 2}, {"position": 6}, {"seed": 1}):
        place = {"epoch": 1, "position": 5, "image_number": 2, **change}
        assert not same(first, make(Hyperparameters(), **place))


def test_probabilities_do_not_shift_other_draws():
    def choose(**options):
        return choose_sample(generator(0, "augment", 1, 2), Hyperparameters(**options), (64, 64), 9, 4)

    always, never = choose(mosaic=1.0, mixup=1.0), choose(mosaic=1.0, mixup=0.0)
    assert always.mixed_in is not None
    assert never.mixed_in is None
    assert replace(always, mixed_in=None) == never
    single = choose(mosaic=0.0, mixup=1.0)
    assert single.scene.mosaic is None
    assert single.mixed_in is None
    assert single.scene.affine == never.scene.affine
    assert single.hsv == never.hsv


def test_probabilities_are_met():
    choices = [
        choose_sample(
            generator(7, "augment", 0, position),
            Hyperparameters(mosaic=0.8, mixup=0.3, flipud=0.1, fliplr=0.5),
            (64, 64),
            9,
            0,
        )
        for position in range(3000)
    ]
    # Four standard errors of 3000 draws are at most 0.037.
    assert abs(np.mean([choice.scene.mosaic is not None for choice in choices]) - 0.8) < 0.037
    assert abs(np.mean([choice.mixed_in is not None for choice in choices]) - 0.8 * 0.3) < 0.037
    assert abs(np.mean([choice.flip_up_down for choice in choices]) - 0.1) < 0.037
    assert abs(np.mean([choice.flip_left_right for choice in choices]) - 0.5) < 0.037


@pytest.mark.parametrize("number", range(9))
def test_without_changes_a_sample_is_the_letterboxed_picture(number):
    pictures = Pictures((64, 64))
    sample = make(NO_CHANGE, image_number=number)
    image = pictures.picture(number)
    height, width = image.shape[:2]
    top, left = (64 - height) // 2, (64 - width) // 2
    np.testing.assert_array_equal(sample.image[top : top + height, left : left + width], image)
    assert (sample.image == 114).all(axis=2).sum() >= 64 * 64 - height * width
    source_h, source_w = pictures.sizes_hw[number]
    scale = np.array([width / source_w, height / source_h] * 2)
    boxes = pictures.labels(number).boxes_xyxy_px * scale + np.array([left, top, left, top])
    for box in sample.boxes_xyxy_px:
        assert np.abs(boxes - box).max(axis=1).min() < 1e-4  # float32


@pytest.mark.parametrize("flip", ["fliplr", "flipud"])
def test_flips_move_pixels_and_boxes_together(flip):
    plain = make(NO_CHANGE, image_number=1)
    flipped = make(NO_CHANGE.model_copy(update={flip: 1.0}), image_number=1)
    axis = 1 if flip == "fliplr" else 0
    np.testing.assert_array_equal(flipped.image, np.flip(plain.image, axis=axis))
    mirrored = plain.boxes_xyxy_px.copy()
    columns = [0, 2] if flip == "fliplr" else [1, 3]
    mirrored[:, columns] = 64 - plain.boxes_xyxy_px[:, columns[::-1]]
    np.testing.assert_allclose(flipped.boxes_xyxy_px, mirrored, atol=1e-4)


@pytest.mark.parametrize(
    "hyperparameters",
    [Hyperparameters(mixup=0.5), Hyperparameters(degrees=20.0, shear=5.0, perspective=0.0005, mosaic=0.5)],
    ids=["default", "turned"],
)
def test_fast_samples_equal_plain_ones(hyperparameters, monkeypatch):
    """Boxes exactly; pixels within 4 levels for 95 of 100.

    The colour step can widen the two levels that the warp may differ by, and pixels next to the edges of tiles
    differ by design; the tests of the two steps say by how much each.
    """
    fast = [make(hyperparameters, (96, 128), position=position) for position in range(12)]

    def plain(pictures, choice, canvas_hw, output_hw, *_, **__):
        image = plain_compose(pictures, choice, canvas_hw, output_hw)
        return Composed(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), [])

    monkeypatch.setattr(pipeline, "compose", plain)
    monkeypatch.setattr(pipeline, "jitter_hsv", lambda image, choice, **_: plain_jitter_hsv(image, choice))
    for position, sample in enumerate(fast):
        twin = make(hyperparameters, (96, 128), position=position)
        np.testing.assert_array_equal(sample.boxes_xyxy_px, twin.boxes_xyxy_px)
        np.testing.assert_array_equal(sample.class_ids, twin.class_ids)
        np.testing.assert_array_equal(sample.ignored, twin.ignored)
        difference = np.abs(sample.image.astype(int) - twin.image).max(axis=2)
        assert (difference <= 4).mean() > 0.95


def test_a_picture_of_one_colour_mixes_into_itself():
    """Mix-up of a grey scene with a grey scene is grey: no rounding drift."""
    pictures = Pictures((64, 64))
    for image in pictures._images:
        image[...] = 114
    hyperparameters = Hyperparameters(mixup=1.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
    sample = Augmenter(hyperparameters, (64, 64), 0).sample(pictures, pictures, 0, 0, 0)
    assert (sample.image == 114).all()


def test_training_samples_is_the_callable_for_a_loader():
    pictures = Pictures((64, 64))
    samples = TrainingSamples(Augmenter(Hyperparameters(), (64, 64), 0), pictures, pictures)
    assert same(samples(1, 2, 3), make(Hyperparameters(), epoch=1, position=2, image_number=3))


def test_a_finished_sample_is_not_touched_by_the_next():
    pictures = Pictures((64, 64))
    augmenter = Augmenter(Hyperparameters(mixup=1.0), (64, 64), 0)
    first = augmenter.sample(pictures, pictures, 0, 0, 0)
    kept = first.image.copy()
    for position in range(1, 4):
        augmenter.sample(pictures, pictures, 0, position, position)
    np.testing.assert_array_equal(first.image, kept)
    unchanged = Augmenter(NO_CHANGE, (64, 64), 0)
    first = unchanged.sample(pictures, pictures, 0, 0, 0)
    kept = first.image.copy()
    unchanged.sample(pictures, pictures, 0, 1, 1)
    np.testing.assert_array_equal(first.image, kept)


def test_an_augmenter_travels_without_its_buffers():
    augmenter = Augmenter(Hyperparameters(), (64, 64), 0)
    before = len(pickle.dumps(augmenter))
    pictures = Pictures((64, 64))
    augmenter.sample(pictures, pictures, 0, 0, 0)
    assert len(pickle.dumps(augmenter)) == before
    assert pickle.loads(pickle.dumps(augmenter)) == augmenter


class Painted:
    """Index and store in one: black pictures of one size, each with one white rectangle, which is an ignored box.

    Picture k has a box of class k too, and only class k is labelled in it. In every third picture the background is
    unknown; such a picture is white as a whole.
    """

    SIZE_HW = (48, 64)

    def __init__(self, count=9):
        self.sizes_hw = np.full((count, 2), self.SIZE_HW, np.int32)
        random = np.random.default_rng(5)
        left, top = random.integers(0, 24, count), random.integers(0, 20, count)
        self.corners = np.stack([left, top, left + 30, top + 20], axis=1)

    def __len__(self):
        return len(self.sizes_hw)

    def resized_hw(self, number):
        return self.SIZE_HW

    def picture(self, number):
        image = np.zeros((*self.SIZE_HW, 3), np.uint8)
        x1, y1, x2, y2 = self.corners[number]
        image[y1:y2, x1:x2] = 255
        return image | np.uint8(255 * self.labels(number).background_unknown)

    def labels(self, number):
        boxes = np.array([self.corners[number], [5, 5, 40, 40]], dtype=np.float64)
        return PictureLabels(
            boxes,
            np.array([number, number]),
            np.array([True, False]),
            np.zeros(2),
            np.arange(len(self)) == number,
            number % 3 == 0,
        )


CALM = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "flipud": 0.5}


@pytest.mark.parametrize("turned", [{}, {"degrees": 30.0, "shear": 5.0}, {"perspective": 0.0005}])
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_ignored_boxes_and_unknown_backgrounds_move_with_their_pixels(mosaic, turned):
    """What was ignored is white, so every white pixel must be covered, and nothing far from one."""
    pictures = Painted()
    augmenter = Augmenter(Hyperparameters(mosaic=mosaic, **CALM, **turned), (64, 64), 0)
    seen = 0
    for position in range(30):
        sample = augmenter.sample(pictures, pictures, 0, position, position % 9)
        white = sample.image[..., 0] > 200
        near = cv2.dilate(white.astype(np.uint8), np.ones((7, 7), np.uint8))
        covered = np.zeros((64, 64), np.bool_)
        for x1, y1, x2, y2 in sample.boxes_xyxy_px[sample.ignored]:
            # A pixel at the edge is partly covered, and interpolation blurs by one more.
            rows = slice(max(int(y1) - 1, 0), int(np.ceil(y2)) + 1)
            columns = slice(max(int(x1) - 1, 0), int(np.ceil(x2)) + 1)
            covered[rows, columns] = True
            # Upright boxes around turned ones cover more; of a sliver at the edge no whole pixel is seen.
            assert turned or min(x2 - x1, y2 - y1) < 1 or near[rows, columns].all()
        assert not (white & ~covered).any()
        seen += int(white.sum())
    assert seen > 0


@pytest.mark.parametrize("options", [{}, {"mixup": 1.0}, {"degrees": 30.0}, {"mosaic": 0.0}])
def test_labelled_classes_stay_with_the_boxes_of_their_picture(options):
    pictures = Painted()
    augmenter = Augmenter(Hyperparameters(**{**CALM, **options}), (64, 64), 0)
    mixed = 0
    for position in range(30):
        sample = augmenter.sample(pictures, pictures, 0, position, position % 9)
        assert sample.labelled.shape == (len(sample.class_ids), 9)
        assert sample.labelled.dtype == np.bool_
        targets = ~sample.ignored
        expected = np.arange(9) == sample.class_ids[targets, None]
        np.testing.assert_array_equal(sample.labelled[targets], expected)
        mixed += len(set(sample.class_ids[targets].tolist())) > 1
    assert mixed > 0 or options == {"mosaic": 0.0}


def test_a_split_with_all_classes_labelled_says_nothing():
    assert make(Hyperparameters(mixup=1.0)).labelled is None


def test_a_picture_is_augmented_in_the_frame_it_is_given():
    pictures = Pictures((64, 64))
    frames = np.array(
        [[-(-height // 16) * 16, -(-width // 16) * 16] for height, width in pictures._resized.tolist()]
    )
    for number in range(len(pictures)):
        augmenter = Augmenter(Hyperparameters(mixup=1.0, fliplr=1.0), (64, 64), 0, frames_hw=frames)
        sample = augmenter.sample(pictures, pictures, 0, number, number)
        height, width = frames[number].tolist()
        assert sample.image.shape == (height, width, 3)
        assert (sample.boxes_xyxy_px <= [width, height, width, height]).all()
        still = Augmenter(NO_CHANGE, (64, 64), 0, frames_hw=frames).sample(pictures, pictures, 0, 0, number)
        image = pictures.picture(number)  # as it is, with nothing of another picture
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        inside = still.image[top : top + image.shape[0], left : left + image.shape[1]]
        np.testing.assert_array_equal(inside, image)


def test_partners_come_from_the_order():
    """An order of one picture alone fills all tiles of a mosaic with it; without one, others come in."""

    def numbers_of(order):
        fetched = set()

        class Watched(Pictures):
            def picture(self, number):
                fetched.add(number)
                return super().picture(number)

        pictures = Watched((64, 64))
        augmenter = Augmenter(NO_CHANGE.model_copy(update={"mosaic": 1.0}), (64, 64), 0, order=order)
        for position in range(5):
            augmenter.sample(pictures, pictures, position % 2, position, 4)
        return fetched

    only_four = WeightedOrder(np.eye(9)[4], seed=0)
    assert numbers_of(only_four) == {4}
    assert len(numbers_of(None)) > 4


@pytest.mark.parametrize(
    "picture_format",
    [PictureFormat(1, 16, (0, 4095)), PictureFormat(3, 16), PictureFormat(5, 16), PictureFormat(2)],
    ids=str,
)
def test_samples_of_other_pictures(picture_format):
    """The same boxes as of 8-bit RGB, and pixels in the range; all steps on; two times the same bits."""
    everything = Hyperparameters(mixup=1.0, degrees=20.0, perspective=0.0005, flipud=0.5, fliplr=0.5)
    plain = Pictures((64, 64))
    other = Pictures((64, 64))
    channels = [number % 3 for number in range(picture_format.channels)]
    scale = picture_format.value_range[1] // 255
    other._images = [
        np.ascontiguousarray(image[..., channels].astype(picture_format.dtype) * scale)
        for image in other._images
    ]
    for position in range(6):
        twin = Augmenter(everything, (64, 64), 0).sample(plain, plain, 0, position, position)
        augmenter = Augmenter(everything, (64, 64), 0, picture_format=picture_format)
        sample, again = (augmenter.sample(other, other, 0, position, position) for _ in range(2))
        assert same(sample, again)
        np.testing.assert_array_equal(sample.boxes_xyxy_px, twin.boxes_xyxy_px)
        assert sample.image.shape == (64, 64, picture_format.channels)
        assert sample.image.dtype == picture_format.dtype
        assert sample.image.flags.c_contiguous
        assert sample.image.max() <= picture_format.value_range[1]


def test_flips_of_other_pictures_move_pixels_with_their_boxes():
    picture_format = PictureFormat(2, 16)
    pictures = Pictures((64, 64))
    pictures._images = [image[..., :2].astype(np.uint16) * 257 for image in pictures._images]
    choices = {name: NO_CHANGE.model_copy(update={name: 1.0}) for name in ("fliplr", "flipud")}
    still = Augmenter(NO_CHANGE, (64, 64), 0, picture_format=picture_format).sample(
        pictures, pictures, 0, 0, 3
    )
    for name, flip in (("fliplr", np.fliplr), ("flipud", np.flipud)):
        augmenter = Augmenter(choices[name], (64, 64), 0, picture_format=picture_format)
        flipped = augmenter.sample(pictures, pictures, 0, 0, 3)
        np.testing.assert_array_equal(flipped.image, flip(still.image))
