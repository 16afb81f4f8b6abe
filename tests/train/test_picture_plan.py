"""What the flags of order and shape come to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.core.golden import read_golden
from tests.data.small_sets import write_yolo
from vedette.augment.pipeline import Augmenter, TrainingSamples
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.data.collate import collate_quad, collate_single
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, read_index
from vedette.data.loader import BatchStream, LoaderSettings, RunSampler
from vedette.data.order import RectangularOrder, RepeatedOrder, ShuffledOrder, WeightedOrder
from vedette.data.pictures import PictureStore
from vedette.errors import UsageError
from vedette.train.multi_scale import MultiScale
from vedette.train.picture_plan import PicturePlan


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SplitIndex:
    """Ten pictures of 30 x 40; one holds class 1, one nothing, the others class 0."""
    labels: dict[str, Any] = {f"{number}": "0 0.5 0.5 0.4 0.4\n" for number in range(10)}
    labels |= {"3": "1 0.5 0.5 0.4 0.4\n", "7": ""}
    yaml = write_yolo(tmp_path_factory.mktemp("set"), labels)
    return read_index(load_description(str(yaml)), "train")


def plan_of(index: SplitIndex, **flags: Any) -> PicturePlan:
    return PicturePlan(TrainConfig(batch_size=4, **flags), index, (64, 64), 16)


@pytest.mark.parametrize(
    ("flags", "kind", "follows_results"),
    [
        ({}, ShuffledOrder, False),
        ({"rect": True}, RectangularOrder, False),
        ({"image_weights": True}, WeightedOrder, True),
        ({"repeat_threshold": 0.5}, RepeatedOrder, False),
    ],
)
def test_flags_choose_the_order(
    index: SplitIndex, flags: dict[str, Any], kind: type, follows_results: bool
) -> None:
    plan = plan_of(index, **flags)
    order = plan.order([])
    assert type(order) is kind
    assert plan.follows_results is follows_results
    fitted = plan.fitted(Augmenter(Hyperparameters(), (64, 64), 0), order)
    assert (fitted.order is order) is (kind in (WeightedOrder, RepeatedOrder))
    assert (fitted.frames_hw is not None) is (kind is RectangularOrder)


def test_two_orders_are_refused(index: SplitIndex) -> None:
    with pytest.raises(UsageError, match="--rect and --repeat-threshold exclude each other") as caught:
        plan_of(index, rect=True, repeat_threshold=0.1)
    assert "give one of them" in str(caught.value)


def test_collation_and_scale_follow_their_flags(index: SplitIndex) -> None:
    plain, quad = plan_of(index), plan_of(index, quad=True, multi_scale=True, seed=5)
    assert (plain.pictures_per_frame, quad.pictures_per_frame) == (1, 4)
    assert getattr(plain.collate(), "func", None) is collate_single
    assert getattr(quad.collate(), "func", None) is collate_quad
    assert plain.multi_scale() is None
    assert quad.multi_scale() == MultiScale(5, 64, 16)


def test_published_quad_sizes_golden() -> None:
    """Golden 24-training-misc.json, case T24.8: frames of twice the size."""
    case = next(one for one in read_golden("training/24-training-misc.json")["cases"] if one["id"] == "T24.8")
    side = case["input"]["imgsz"]
    frames = collate_quad([], [], size_hw=(side, side), seed=0).images
    assert list(frames.shape[-2:]) == case["expected"]["sizes"]


def test_what_is_found_well_is_drawn_less(index: SplitIndex) -> None:
    plan = plan_of(index, image_weights=True)
    before, after = (np.bincount(plan.order(ap).numbers(0), minlength=10) for ap in ([], [0.0, 0.9, 0.0]))
    assert before[3] > after[3]
    assert before[7] == after[7] == 0  # a picture without boxes


@pytest.mark.parametrize(
    "flags", [{"rect": True}, {"quad": True}, {"image_weights": True}, {"rect": True, "quad": True}]
)
def test_batches_of_a_plan_do_not_depend_on_workers(index: SplitIndex, flags: dict[str, Any]) -> None:
    plan = plan_of(index, **flags)
    order = plan.order([])
    augmenter = plan.fitted(Augmenter(Hyperparameters(), (64, 64), 0), order)
    store = PictureStore(index, (64, 64))

    def batches(workers: int) -> list[Any]:
        sampler = RunSampler(10, 4, 2, 0, order=order, group=plan.pictures_per_frame)
        make_sample = TrainingSamples(augmenter, store, index)
        settings = LoaderSettings((64, 64), workers)
        with BatchStream(make_sample, sampler, settings, collate_samples=plan.collate()) as stream:
            return list(stream)

    alone, together = batches(0), batches(2)
    assert len(alone) == len(together) == 6
    for one, other in zip(alone, together, strict=True):
        assert one.images.equal(other.images)
        assert one.targets.equal(other.targets)
        assert one.image_numbers.equal(other.image_numbers)
    height, width = (128, 128) if plan.config.quad else (64, 64)
    shape = (height * 3 // 4, width) if plan.config.rect else (height, width)
    assert {tuple(batch.images.shape[2:]) for batch in alone} == {shape}
