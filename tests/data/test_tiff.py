"""TIFF files of any channels against the arrays that they were written from, and damaged ones."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tiff_files import tiff_file
from vedette.data.tiff import read_pages, tiff_samples
from vedette.errors import ImageError


def samples(height, width, channels, dtype=np.uint16, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, np.iinfo(dtype).max, (height, width, channels), endpoint=True).astype(dtype)


def read(raw):
    return tiff_samples(raw, read_pages(io.BytesIO(raw), "a.tif"), "a.tif")


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 9),
    dtype=st.sampled_from((np.uint8, np.uint16)),
    planar=st.booleans(),
    tiles=st.sampled_from((0, 16, 32)),
    deflate=st.booleans(),
    differences=st.booleans(),
    big_endian=st.booleans(),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_every_layout_is_read_back(channels, dtype, size, **layout):
    written = samples(*size, channels, dtype)
    found = read(tiff_file([written], **layout))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, written)


def test_opencv_would_not_do():
    """Why there is a reader of our own: if this fails, OpenCV has learned it."""
    for channels, planar in ((2, False), (5, False), (3, True)):
        written = samples(20, 30, channels)
        raw = np.frombuffer(tiff_file([written], planar=planar), np.uint8)
        found = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
        assert found is None or found.shape != written.shape or not np.array_equal(found[..., ::-1], written)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_of_libtiff(compression, channels):
    """LZW and PackBits come from libtiff's own writer; OpenCV's files are blue first."""
    written = samples(70, 90, channels)
    done, raw = cv2.imencode(".tiff", written, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert done
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]
    np.testing.assert_array_equal(read(raw.tobytes()), written[..., order])


def test_pages_of_one_channel_are_channels_and_overviews_are_left_out():
    written = [samples(20, 30, 1, seed=number) for number in range(5)]
    np.testing.assert_array_equal(read(tiff_file(written)), np.concatenate(written, axis=2))
    small = tiff_file([written[0]], more_tags={254: 1})
    with pytest.raises(ImageError, match="damaged TIFF header"):
        read(small)  # nothing but an overview


def test_white_may_be_zero():
    written = samples(9, 9, 1)
    np.testing.assert_array_equal(read(tiff_file([written], more_tags={262: 0})), 65535 - written)


@pytest.mark.parametrize(("tag", "value", "plain"), [
    (339, 3, False), (259, 7, False), (262, 3, False), (317, 3, False), (258, 12, False), (277, 300, False),
    (266, 2, True), (266, 70, False), (262, 2, False),
])  # fmt: skip
def test_what_is_not_plain(tag, value, plain):
    """Numbers with a sign or a point, other compressions, palettes and other depths are for somebody else."""
    (page,) = read_pages(io.BytesIO(tiff_file([samples(9, 9, 1)], more_tags={tag: value})), "a.tif")
    assert page.plain == plain


def test_transparency_and_orientation():
    raw = tiff_file([samples(9, 9, 4)], more_tags={338: 2, 274: 6})
    (page,) = read_pages(io.BytesIO(raw), "a.tif")
    assert page.transparency
    assert page.orientation == 6
    (page,) = read_pages(io.BytesIO(tiff_file([samples(9, 9, 4)], more_tags={274: 99})), "a.tif")
    assert not page.transparency
    assert page.orientation == 1


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_or_read(data):
    """Any change of bytes gives a picture of the size that the file says, or an ImageError; never a crash."""
    channels, tiles = data.draw(st.sampled_from((1, 3, 5))), data.draw(st.sampled_from((0, 16)))
    raw = bytearray(tiff_file([samples(24, 20, channels)], planar=data.draw(st.booleans()), tiles=tiles))
    # The directory is what a reader can trip over; it is at the end.
    for _ in range(data.draw(st.integers(1, 4))):
        raw[-1 - data.draw(st.integers(0, min(len(raw) - 1, 400)))] = data.draw(st.integers(0, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    try:
        pages = read_pages(io.BytesIO(raw), "a.tif")
        if not all(page.plain for page in pages) or len({page.size_hw for page in pages}) > 1:
            return
        height, width = pages[0].size_hw
        if not 0 < height * width <= 10**6:
            return
        outcome = tiff_samples(raw, pages, "a.tif").shape[:2]
    except ImageError as error:
        outcome = error.kind
    allowed = ("not-an-image", "truncated", "unreadable", "too-large")
    assert outcome in allowed or outcome == (height, width)


def test_parts_that_lie_on_each_other_are_refused():
    """A file of kilobytes may not ask for gigabytes."""
    page = samples(600, 64, 1)
    raw = bytearray(tiff_file([page]))
    (directory,) = read_pages(io.BytesIO(bytes(raw)), "a.tif")
    sizes = np.array(directory.tags[279], dtype="<u4").tobytes()
    place = bytes(raw).rindex(sizes)
    raw[place : place + len(sizes)] = np.full(len(sizes) // 4, 60_000, dtype="<u4").tobytes()
    with pytest.raises(ImageError, match="damaged TIFF directory"):
        read(bytes(raw))


def test_a_ring_of_pages_ends():
    raw = bytearray(tiff_file([samples(9, 9, 1)]))
    raw[-4:] = raw[4:8]  # the next directory is the first
    assert len(read_pages(io.BytesIO(bytes(raw)), "a.tif")) == 1
