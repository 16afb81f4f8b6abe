"""What pictures are made of, and what becomes of a picture of another kind."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import ModelError, UsageError

FORMATS = st.builds(
    lambda channels, bits, low, width: PictureFormat(channels, bits, (low, min(low + width, 2**bits - 1))),
    st.integers(1, 256),
    st.sampled_from((8, 16)),
    st.integers(0, 200),
    st.integers(1, 65535),
)


def picture(*samples, dtype=np.uint8):
    """One row of pixels."""
    return np.array([samples], dtype=dtype)


def test_8_bit_rgb_is_the_default():
    assert PictureFormat() == RGB8 == PictureFormat(3, 8, (0, 255))
    assert (RGB8.dtype, RGB8.bytes_per_pixel, RGB8.largest) == (np.uint8, 3, 255)
    assert [RGB8.grey(level) for level in range(256)] == list(range(256))
    deep = PictureFormat(4, 16)
    assert (deep.dtype, deep.bytes_per_pixel, deep.value_range) == (np.uint16, 8, (0, 65535))
    assert deep.takes_all_values
    assert not PictureFormat(1, 16, (0, 4095)).takes_all_values


def test_grey_is_as_bright_as_that_of_8_bits():
    assert PictureFormat(1, 16).grey(114) == 29298  # 114 * 257
    assert PictureFormat(1, 16, (1000, 3550)).grey(114) == 1000 + 1140


@given(FORMATS)
def test_json_and_back(picture_format):
    values = json.loads(json.dumps(picture_format.to_dict()))
    assert PictureFormat.from_dict(values) == picture_format


@pytest.mark.parametrize(
    ("given_format", "words"),
    [
        (RGB8, "8-bit RGB"),
        (PictureFormat(1), "1 channel of 8 bits"),
        (PictureFormat(5, 16), "5 channels of 16 bits"),
        (PictureFormat(1, 16, (0, 4095)), "1 channel of 16 bits, values 0 to 4095"),
    ],
)
def test_words(given_format, words):
    assert str(given_format) == words


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"channels": 0}, ".channels"),
        ({"channels": 257}, ".channels"),
        ({"channels": 3.0}, ".channels"),
        ({"channels": True}, ".channels"),
        ({"bits": 12}, ".bits"),
        ({"bits": "8"}, ".bits"),
        ({"value_range": [0, 256]}, ".value_range"),
        ({"value_range": [0, 0]}, ".value_range"),
        ({"value_range": [4, 4]}, ".value_range"),
        ({"value_range": [0]}, ".value_range"),
        ({"value_range": [0, True]}, ".value_range"),
        ({"value_range": "ab"}, ".value_range"),
        ({"more": 1}, ""),
    ],
)
def test_strangers_values_are_refused(values, field):
    with pytest.raises(ModelError) as caught:
        PictureFormat.from_dict({**RGB8.to_dict(), **values})
    assert caught.value.where == f"picture_format{field}"
    with pytest.raises(ModelError):
        PictureFormat.from_dict([1])


@pytest.mark.parametrize(
    ("wanted", "channels", "transparency", "fits"),
    [
        (1, 1, False, True), (1, 3, False, True), (3, 1, False, True), (3, 3, False, True),
        (1, 2, True, True), (3, 2, True, True), (1, 4, True, True), (3, 4, True, True),
        (3, 4, False, False), (1, 4, False, False), (3, 2, False, False), (3, 5, False, False),
        (4, 4, True, True), (4, 4, False, True), (2, 2, True, True), (4, 3, False, False), (5, 3, False, False),
        (2, 1, False, False),
    ],
)  # fmt: skip
def test_what_fits(wanted, channels, transparency, fits):
    assert PictureFormat(wanted).fits(channels, transparency=transparency) == fits


def test_channels_by_the_rule():
    colours = picture((200, 100, 50), (0, 0, 0), (255, 255, 255))
    grey = PictureFormat(1).fitted(colours)
    np.testing.assert_array_equal(grey[0, :, 0], [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50), 0, 255])
    np.testing.assert_array_equal(RGB8.fitted(grey), np.repeat(grey, 3, axis=2))
    half_red = picture((200, 0, 0, 128))
    np.testing.assert_array_equal(RGB8.fitted(half_red, transparency=True), picture((227, 127, 127)))
    np.testing.assert_array_equal(PictureFormat(4).fitted(half_red, transparency=True), half_red)


def test_transparency_of_16_bits_does_not_overflow():
    for opacity, expected in ((65535, (65535, 0, 1)), (0, (65535, 65535, 65535))):
        rgba = picture((65535, 0, 1, opacity), dtype=np.uint16)
        found = PictureFormat(3, 16).fitted(rgba, transparency=True)
        np.testing.assert_array_equal(found, picture(expected, dtype=np.uint16))


def test_depth_by_the_rule():
    """The full scale of the file becomes the range of values."""
    grey = picture((0,), (51,), (255,))
    np.testing.assert_array_equal(PictureFormat(1, 16).fitted(grey)[0, :, 0], [0, 51 * 257, 65535])
    np.testing.assert_array_equal(
        PictureFormat(1, 16, (1000, 2000)).fitted(grey)[0, :, 0], [1000, 1200, 2000]
    )
    deep = picture((0,), (128,), (129,), (65535,), dtype=np.uint16)
    np.testing.assert_array_equal(PictureFormat(1).fitted(deep)[0, :, 0], [0, 0, 1, 255])


@given(st.integers(0, 255))
def test_8_bits_come_back_from_16(value):
    deep = PictureFormat(1, 16).fitted(picture((value,)))
    assert PictureFormat(1).fitted(deep)[0, 0, 0] == value


def test_nothing_is_copied_where_nothing_differs():
    own = np.zeros((2, 3, 5), np.uint16)
    assert PictureFormat(5, 16, (0, 4095)).fitted(own) is own
    assert PictureFormat(5, 16).holds(own)
    assert not PictureFormat(5).holds(own)
    assert not PictureFormat(5, 16).holds(own[0])


def test_precision_of_its_own_choice():
    """bf16 has 8 significant bits: 16-bit samples that lie close together would become one."""
    deep = PictureFormat(1, 16)
    assert [deep.precision(asked) for asked in ("auto", "bf16", "fp16", "float32")] == [
        "float32", "bf16", "fp16", "float32",
    ]  # fmt: skip
    assert RGB8.precision("auto") == "auto"


def test_what_takes_8_bit_rgb_only_says_so():
    RGB8.require_rgb8("export")
    with pytest.raises(UsageError) as caught:
        PictureFormat(1, 16).require_rgb8("export", where="a.safetensors")
    assert str(caught.value) == (
        "a.safetensors: export takes models of 8-bit RGB pictures; this one is for pictures of 1 channel of 16 bits; "
        "use the checkpoint itself"
    )
