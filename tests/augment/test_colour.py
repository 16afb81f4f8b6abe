"""Hue, saturation and brightness."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.augment.colour import (
    GAIN_STEPS,
    HsvChoice,
    choose_hsv,
    hsv_tables,
    jitter_hsv,
    jitter_samples,
    plain_jitter_hsv,
)
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.picture_format import PictureFormat

HSV_CASES = json.loads((Path(__file__).parents[1] / "golden" / "training" / "20-hsv.json").read_text())[
    "cases"
]


@pytest.mark.parametrize("case", HSV_CASES, ids=lambda case: case["id"])
def test_hsv_golden(case):
    """Golden 20-hsv.json (BGR there). Tables exact; pixels within one level, as OpenCV versions round."""
    choice = HsvChoice(*case["input"]["r"])
    tables = hsv_tables(choice)
    for row, name in enumerate(("lut_hue", "lut_sat", "lut_val")):
        assert tables[row].tolist() == case["expected"][name], name
    image = np.ascontiguousarray(np.array(case["input"]["image_bgr"], dtype=np.uint8)[..., ::-1])
    expected = np.array(case["expected"]["image_bgr"])[..., ::-1]
    assert np.abs(plain_jitter_hsv(image, choice).astype(int) - expected).max() <= 1


def test_choice_from_draws():
    hyperparameters = Hyperparameters(hsv_h=0.015, hsv_s=0.7, hsv_v=0.4)
    low = choose_hsv(np.zeros(3), hyperparameters)
    for factor, gain in zip((low.hue, low.saturation, low.value), (0.015, 0.7, 0.4), strict=True):
        assert abs(factor - (1 - gain)) <= 0.5 / GAIN_STEPS
        assert factor * GAIN_STEPS == round(factor * GAIN_STEPS)
    nothing = choose_hsv(np.array([0.1, 0.9, 0.3]), Hyperparameters(hsv_h=0.0, hsv_s=0.0, hsv_v=0.0))
    assert nothing.changes_nothing


def test_the_multiplication_equals_the_table_for_every_factor_and_value():
    values = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for step in range(2 * GAIN_STEPS + 1):
        factor = step / GAIN_STEPS
        expected = np.minimum(np.arange(256) * step // GAIN_STEPS, 255)
        row = np.zeros((3, 4))
        row[:, :3] = np.eye(3) * factor
        row[:, 3] = -0.5 + 0.5 / GAIN_STEPS
        product = cv2.transform(values, row)
        np.testing.assert_array_equal(product[0, :, 1], expected)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.tuples(st.integers(0, 2048), st.integers(0, 2048), st.integers(0, 2048)),
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([3, 4]),
)
def test_fast_jitter_equals_the_plain_one(steps, seed, channels):
    """One level: only where a hue of 180 or more is taken as an angle instead of modulo 180."""
    choice = HsvChoice(*(step / GAIN_STEPS for step in steps))
    image = np.random.default_rng(seed).integers(0, 256, (17, 23, channels), dtype=np.uint8)
    fast, plain = jitter_hsv(image, choice), plain_jitter_hsv(image, choice)
    assert fast.shape == plain.shape == (17, 23, 3)
    assert np.abs(fast.astype(int) - plain).max() <= 1
    if choice.hue <= 1:
        np.testing.assert_array_equal(fast, plain)


def test_factors_off_the_grid_take_the_plain_way():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    choice = HsvChoice(1.00001, 0.7, 1.1)
    np.testing.assert_array_equal(jitter_hsv(image, choice), plain_jitter_hsv(image, choice))


@pytest.mark.parametrize("value", [0.6, 1.0, 1.39])
def test_windows_leave_out_the_background_only(value):
    choice = HsvChoice(1015 / GAIN_STEPS, 1400 / GAIN_STEPS, round(value * GAIN_STEPS) / GAIN_STEPS)
    image = np.full((40, 50, 4), 114, np.uint8)
    windows = [(0, 0, 20, 30), (25, 10, 50, 40)]
    random = np.random.default_rng(0)
    for x1, y1, x2, y2 in windows:
        image[y1:y2, x1:x2] = random.integers(0, 256, (y2 - y1, x2 - x1, 4), dtype=np.uint8)
    parts = jitter_hsv(image, choice, windows=windows, background=114)
    whole = jitter_hsv(image, choice)
    # One level: OpenCV rounds the pixels at the end of a row, which do not fill a vector, another way.
    assert np.abs(parts.astype(int) - whole).max() <= 1
    np.testing.assert_array_equal(parts[35:, :20], whole[35:, :20])


def random_picture(picture_format, size_hw=(40, 50)):
    low, high = picture_format.value_range
    shape = (*size_hw, picture_format.channels)
    return np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(picture_format.dtype)


@pytest.mark.parametrize("channels", [1, 2, 4, 9])
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_without_colours_get_the_factor_of_brightness(channels, bits):
    picture_format = PictureFormat(channels, bits, (50, 250))
    image = random_picture(picture_format)
    found = jitter_samples(image, HsvChoice(1.3, 0.2, 0.75), picture_format)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, ((image.astype(int) - 50) * 0.75 + 50).astype(int))
    brighter = jitter_samples(image, HsvChoice(value=3.0), picture_format)
    assert brighter.max() == 250
    assert brighter.min() >= 50


def test_deep_colours_are_jittered_as_8_bit_ones_are():
    """Against the published tables, which round to 8 bits three times: a level on average, more where hue is vague."""
    eight = cv2.resize(np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8), (50, 40))
    for choice in (HsvChoice(1.01, 1.5, 0.8), HsvChoice(0.99, 0.4, 1.3)):
        deep = jitter_samples(eight.astype(np.uint16) * 257, choice, PictureFormat(3, 16))
        difference = np.abs(deep / 257 - plain_jitter_hsv(eight, choice))
        assert difference.mean() < 1.5
        assert difference.max() < 12


@pytest.mark.parametrize(
    "picture_format", [PictureFormat(3, 16), PictureFormat(3, 16, (100, 4000)), PictureFormat(1, 16)]
)
def test_no_choice_changes_no_bit(picture_format):
    image = random_picture(picture_format)
    found = jitter_samples(image, HsvChoice(), picture_format)
    np.testing.assert_array_equal(found, image)
    assert not np.shares_memory(found, image)


def test_low_bits_survive_the_colour_step():
    """float32 holds 16-bit colours: a factor that changes nothing but hue by a full turn keeps all bits."""
    picture_format = PictureFormat(3, 16)
    image = random_picture(picture_format)
    found = jitter_samples(image, HsvChoice(1.0, 1.0, 1.0 + 1e-7), picture_format)
    assert np.abs(found.astype(int) - image).max() <= 1
