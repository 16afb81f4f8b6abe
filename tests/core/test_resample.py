"""Scaling of pictures of any number of channels: every channel as if it were alone."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.resample import channel_groups, resize


@given(st.integers(1, 256))
def test_groups_cover_all_channels_in_sizes_that_opencv_treats_alike(channels):
    groups = channel_groups(channels)
    assert [number for group in groups for number in range(channels)[group]] == list(range(channels))
    assert {group.stop - group.start for group in groups} <= {1, 3, 4}
    if channels in (1, 3, 4):
        assert len(groups) == 1


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 10),
    sizes=st.tuples(*[st.integers(1, 30)] * 4),
    area=st.booleans(),
    seed=st.integers(0, 9),
    inside=st.booleans(),
)
def test_16_bits_and_many_channels_equal_the_8_bit_twin_channel_by_channel(
    channels, sizes, area, seed, inside
):
    """257 times an 8-bit picture is the same picture; results may differ by one 8-bit level, as the twin rounds."""
    source_hw, size_hw = sizes[:2], sizes[2:]
    eight = np.random.default_rng(seed).integers(0, 256, (*source_hw, channels), dtype=np.uint8)
    method = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    out = None
    if inside:  # part of a larger array
        out = np.zeros((size_hw[0] + 5, size_hw[1] + 4, channels), np.uint16)[2:-3, 1:-3]
    deep = resize(eight.astype(np.uint16) * 257, size_hw, method, out=out)
    assert deep.shape == (*size_hw, channels)
    assert deep.dtype == np.uint16
    assert out is None or deep is out
    for channel in range(channels):
        alone = np.ascontiguousarray(eight[..., channel])
        twin = cv2.resize(alone, size_hw[::-1], interpolation=method)
        assert np.abs(deep[..., channel] / 257 - twin).max() <= 1


def test_8_bit_rgb_is_opencvs_own():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = cv2.resize(image, (33, 21), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(image, (21, 33)), expected)
