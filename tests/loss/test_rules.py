import json
from pathlib import Path

import pytest

from vedette.config.hyperparameters import Hyperparameters, load_hyperparameters
from vedette.loss.rules import RULES, scaled_gains

GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "24-training-misc.json"
CASES = [case for case in json.loads(GOLDEN.read_text())["cases"] if case.get("title") == "hyp scaling"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_golden_gain_scaling(case):
    """tests/golden/training/24-training-misc.json, T24.4 to T24.6, with the published preset."""
    given, expected = case["input"], case["expected"]
    published = load_hyperparameters("yolov5-v4")
    size_hw = (given["imgsz"], given["imgsz"])
    gains = scaled_gains(published, classes=given["nc"], size_hw=size_hw, levels=given["nl"])
    assert gains.box == pytest.approx(expected["box"], rel=1e-12)
    assert gains.cls == pytest.approx(expected["cls"], rel=1e-12)
    assert gains.obj == pytest.approx(expected["obj"], rel=1e-12)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("v1.0", (0.05, 1.0, 0.5 * 20 / 80)),
        ("v3.1", (0.05, 1.0, 0.5 * 20 / 80)),
        ("v4.0", (0.05, 0.5 * 0.25 * 0.75, 0.5 * 20 / 80)),
        ("v7.0", (0.05 * 0.75, 0.5 * 0.25 * 0.75, 0.5 * 20 / 80 * 0.75)),
    ],
)
def test_gains_by_release_for_four_levels(release, expected):
    obj = 1.0 if release in ("v1.0", "v3.1") else 0.5
    gains = scaled_gains(
        Hyperparameters(obj=obj),
        classes=20,
        size_hw=(160, 640),
        levels=4,
        rules=RULES[release],
    )
    assert (gains.box, gains.obj, gains.cls) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("release", "three", "four"),
    [
        ("v1.0", (1, 1, 1), (1, 1, 1, 1)),
        ("v3.1", (4, 1, 0.4), (4, 1, 0.4, 0.1)),
        ("v4.0", (4, 1, 0.3), (4, 1, 0.3, 0.1)),
        ("v7.0", (4, 1, 0.4), (4, 1, 0.25, 0.06)),
    ],
)
def test_level_weights_by_release(release, three, four):
    assert RULES[release].weights(3) == three
    assert RULES[release].weights(4) == four
    assert RULES[release].weights(1) == three[:1]


def test_the_objectness_gain_of_small_frames_has_a_floor():
    floor = Hyperparameters(obj_min_scale=0.4)
    small = scaled_gains(floor, classes=80, size_hw=(160, 160), levels=3)
    large = scaled_gains(floor, classes=80, size_hw=(640, 1280), levels=3)
    assert (small.obj, large.obj) == (0.4, 2.0)


def test_the_class_gain_of_few_classes_has_a_floor():
    floor = Hyperparameters(cls_min_scale=0.25)
    few = scaled_gains(floor, classes=3, size_hw=(640, 640), levels=3)
    many = scaled_gains(floor, classes=40, size_hw=(640, 640), levels=3)
    assert (few.cls, many.cls) == (0.125, 0.25)
