"""Which picture comes when: every order is a function of (seed, epoch), and shows pictures as often as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.core.golden import read_golden
from tests.data.small_sets import write_yolo
from vedette.augment.pipeline import Augmenter
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.random import permutation
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, read_index
from vedette.data.loader import RunSampler
from vedette.data.order import (
    RectangularOrder,
    RepeatedOrder,
    SameOrder,
    ShuffledOrder,
    WeightedOrder,
    by_aspect,
    class_weights,
    image_weights,
    rectangular_frames,
    repeat_factors,
)
from vedette.data.pictures import PictureStore, fitted_sizes
from vedette.errors import UsageError

WEIGHTS = read_golden("training/04-weights.json")["cases"]
RECTANGLES = [
    case for case in read_golden("training/14-rect-batches.json")["cases"] if not case["input"]["pad"]
]
NO_CHANGE = Hyperparameters(hsv_h=0, hsv_s=0, hsv_v=0, translate=0, scale=0, fliplr=0)


def index_of(folder: Path, classes_per_image: list[list[int]], classes: int) -> SplitIndex:
    """A real index whose pictures hold boxes of these classes."""
    labels = {
        f"{number:03d}": "".join(
            f"{name} 0.5 {0.1 + 0.05 * row:.2f} 0.2 0.1\n" for row, name in enumerate(held)
        )
        for number, held in enumerate(classes_per_image)
    }
    names = ", ".join(f"class{number}" for number in range(classes))
    yaml = write_yolo(folder, dict(labels), f"train: images\nval: images\nnames: [{names}]\n")
    return read_index(load_description(str(yaml)), "train")


# Weights


@pytest.mark.parametrize("case", WEIGHTS, ids=lambda case: case["id"])
def test_class_and_image_weights_golden(case: dict, tmp_path: Path) -> None:
    """Golden 04-weights.json, float64 but for the order of sums (1e-12)."""
    given, expected = case["input"], case["expected"]
    index = index_of(tmp_path, given["classes_per_image"], given["nc"])
    weights = class_weights(index.class_counts())
    np.testing.assert_allclose(weights, expected["class_weights"], rtol=1e-12)
    np.testing.assert_allclose(weights * given["nc"], expected["attached_class_weights"], rtol=1e-12)
    np.testing.assert_allclose(image_weights(index, given["maps"]), expected["image_weights"], rtol=1e-12)
    if not any(given["maps"]):
        assert (image_weights(index, []) == image_weights(index, given["maps"])).all()


def test_drawing_follows_the_weights() -> None:
    """10,000 draws: shares of 0.7, 0.3 and 0 within four standard deviations of 0.0046."""
    order = WeightedOrder(np.repeat([7.0, 0.0, 3.0], 3334), seed=2)
    shares = np.bincount(order.numbers(0) // 3334, minlength=3) / 10_002
    np.testing.assert_allclose(shares, [0.7, 0.0, 0.3], atol=0.0184)


def test_without_any_weight_all_pictures_count_the_same() -> None:
    numbers = WeightedOrder(np.zeros(1000), seed=0).numbers(3)
    assert len(numbers) == 1000
    assert len(np.unique(numbers)) > 580  # 1 - 1/e of 1000 is 632


def test_better_classes_are_shown_less(tmp_path: Path) -> None:
    index = index_of(tmp_path, [[0], [1]], 2)
    first, second = image_weights(index, [0.9, 0.5])
    assert second / first == pytest.approx(25)  # (1 - 0.5)² / (1 - 0.9)²


# Repeat factors


def test_repeat_factors_by_hand(tmp_path: Path) -> None:
    """Class 0 in 4 of 6 pictures, class 1 in 1, class 2 in 2: factors for t = 0.5 are 1, sqrt(3), sqrt(1.5)."""
    index = index_of(tmp_path, [[0], [0, 0, 2], [0, 1], [0], [2], []], 3)
    expected = [1, 1.5**0.5, 3**0.5, 1, 1.5**0.5, 1]
    np.testing.assert_allclose(repeat_factors(index, 0.5), expected, rtol=1e-12)
    assert (repeat_factors(index, 1e-9) == 1).all()


def test_repeated_pictures_come_as_often_as_their_factor_says() -> None:
    """Over 400 epochs the shares of factors 1, 1.5 and 4 (sum 6.5) within 1 %."""
    order = RepeatedOrder(np.tile([1.0, 1.5, 4.0], 20), seed=4)
    counts = sum(np.bincount(order.numbers(epoch) % 3, minlength=3) for epoch in range(400))
    np.testing.assert_allclose(counts / counts.sum(), np.array([1, 1.5, 4]) / 6.5, atol=0.01)


def test_without_rare_classes_nothing_changes() -> None:
    """Factors of 1 give the plain order, bit for bit."""
    for epoch in range(3):
        plain = ShuffledOrder(50, 7).numbers(epoch)
        np.testing.assert_array_equal(RepeatedOrder(np.ones(50), 7).numbers(epoch), plain)
        np.testing.assert_array_equal(plain, permutation(7, "order", epoch, 50))


# Rectangular batches


@pytest.mark.parametrize("case", RECTANGLES, ids=lambda case: case["id"])
def test_rectangular_training_batches_golden(case: dict, tmp_path: Path) -> None:
    """Golden 14-rect-batches.json without padding, which is training's: order, frames, and labels in the frame.

    Sides of labels to 1e-6 (the file holds float32); centres within half a pixel, as an odd pixel of padding goes
    to one side here and is split in the published labels.
    """
    given, expected = case["input"], case["expected"]
    names = list(given["images_wh"])
    sizes_hw = np.array([size[::-1] for size in given["images_wh"].values()], np.int32)
    size_hw = (given["img_size"], given["img_size"])
    order = by_aspect(sizes_hw)
    assert [names[number] for number in order] == expected["order"]
    frames = rectangular_frames(sizes_hw, given["batch_size"], size_hw, given["stride"])
    shapes = [expected["batch_shapes_hw"][batch] for batch in expected["batch_index"]]
    assert frames[order].tolist() == shapes
    augmenter = Augmenter(NO_CHANGE, size_hw, 0, frames_hw=frames)
    yaml = write_yolo(tmp_path, {name.removesuffix(".png"): given["label"] for name in names})
    for name, size in given["images_wh"].items():
        Image.new("RGB", tuple(size), (200, 200, 200)).save(tmp_path / "images" / name)
    index = read_index(load_description(str(yaml)), "train")
    store = PictureStore(index, size_hw)
    for number, item in zip(order.tolist(), expected["items"], strict=True):
        sample = augmenter.sample(store, index, 0, 0, number)
        assert [3, *sample.image.shape[:2]] == item["tensor_shape"]
        assert sample.image[0, 0].tolist() == item["first_pad_row_value"]
        height, width = sample.image.shape[:2]
        x1, y1, x2, y2 = sample.boxes_xyxy_px[0].tolist()
        _, _, centre_x, centre_y, label_w, label_h = item["label_out"][0]
        np.testing.assert_allclose([(x2 - x1) / width, (y2 - y1) / height], [label_w, label_h], rtol=1e-6)
        assert abs((x1 + x2) / 2 - centre_x * width) <= 0.5
        assert abs((y1 + y2) / 2 - centre_y * height) <= 0.5


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.tuples(st.integers(10, 900), st.integers(10, 900)), min_size=1, max_size=30),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 5),
)
def test_a_rectangular_batch_has_one_frame_that_holds_its_pictures(
    sizes: list, batch_size: int, epoch: int
) -> None:
    sizes_hw = np.array(sizes, np.int32)
    frames = rectangular_frames(sizes_hw, batch_size, (128, 128), 32)
    order = RectangularOrder(by_aspect(sizes_hw), batch_size, seed=1)
    numbers = order.numbers(epoch)
    assert sorted(numbers.tolist()) == list(range(len(sizes)))
    fitted = fitted_sizes(sizes_hw, (128, 128))
    for first in range(0, len(numbers), batch_size):
        batch = numbers[first : first + batch_size]
        assert len(np.unique(frames[batch], axis=0)) == 1
        assert (fitted[batch] <= frames[batch]).all()
        assert not (frames[batch] % 32).any()
    assert (frames <= 128).all()


def test_the_batches_of_rectangles_are_shuffled() -> None:
    order = RectangularOrder(np.arange(40), 4, seed=0)
    first, second = order.numbers(0), order.numbers(1)
    assert first.tolist() != second.tolist()
    assert {tuple(batch) for batch in first.reshape(-1, 4).tolist()} == {
        tuple(batch) for batch in second.reshape(-1, 4).tolist()
    }


def test_rectangles_need_a_square_to_start_from() -> None:
    with pytest.raises(UsageError, match="not from 64 x 96; give --img-size one number"):
        rectangular_frames(np.array([[10, 10]]), 1, (64, 96), 32)


# All of them

ORDERS = {
    "same": SameOrder(23),
    "shuffled": ShuffledOrder(23, 5),
    "weighted": WeightedOrder(np.arange(23.0), 5),
    "repeated": RepeatedOrder(1 + np.arange(23.0) / 10, 5),
    "rectangular": RectangularOrder(np.arange(23)[::-1].copy(), 4, 5),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("group", [1, 4])
def test_ranks_and_resuming_see_the_same_samples(name: str, group: int) -> None:
    order = ORDERS[name]
    whole = list(RunSampler(23, 4, 3, 5, order=order, group=group))
    assert len(whole) == 3 * 6
    assert [number for batch in whole[6:12] for _, _, number in batch] == order.numbers(1).tolist()
    assert list(RunSampler(23, 4, 3, 5, order=order, group=group, start_step=8)) == whole[8:]
    for world_size in (2, 3):
        parts = [
            list(RunSampler(23, 4, 3, 5, order=order, group=group, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        assert [[place for part in parts for place in part[step]] for step in range(18)] == whole
        if group == 4:  # never parted
            assert all(len(part[step]) in (0, len(whole[step])) for part in parts for step in range(18))


@pytest.mark.parametrize("name", [name for name in ORDERS if name != "same"])
def test_epochs_and_seeds_differ(name: str) -> None:
    order = ORDERS[name]
    assert order.numbers(0).tolist() == order.numbers(0).tolist()
    assert order.numbers(0).tolist() != order.numbers(1).tolist()
    other = type(order)(*[getattr(order, field) for field in order.__slots__ if field != "seed"], seed=6)
    assert order.numbers(0).tolist() != other.numbers(0).tolist()
