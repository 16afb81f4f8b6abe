"""Pictures as people see them."""

import numpy as np
import pytest

from vedette.core.display import display


def test_8_bit_rgb_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert display(image) is image


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_8_bit_pictures_keep_their_values(channels):
    image = np.random.default_rng(0).integers(100, 120, (9, 7, channels), dtype=np.uint8)
    shown = display(image)
    assert shown.shape == (9, 7, 3)
    assert shown.flags.c_contiguous
    expected = image[..., :3] if channels > 3 else np.repeat(image[..., :1], 3, axis=2)
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_deep_pictures_are_stretched(channels):
    """A 12-bit picture that uses a part of its range is not all black; a few hot pixels do not darken the others."""
    image = np.random.default_rng(0).integers(2000, 3000, (200, 200, channels)).astype(np.uint16)
    image[0, :5] = 65535
    shown = display(image)
    assert shown.dtype == np.uint8
    assert shown[1:].min() == 0
    assert shown[1:].max() == 255
    assert abs(shown.mean() - 127) < 10


def test_channels_are_stretched_alike():
    image = np.zeros((10, 10, 3), np.uint16)
    image[..., 0], image[5:, :, 1] = 1000, 500
    shown = display(image)
    assert tuple(shown[0, 0]) == (255, 0, 0)
    assert tuple(shown[9, 0]) == (255, 128, 0)


def test_a_picture_of_one_value():
    assert (display(np.full((4, 4, 1), 32768, np.uint16)) == 128).all()
