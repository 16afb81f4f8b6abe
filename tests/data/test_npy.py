"""Arrays in files: what is read, and that a header can do no harm."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.picture_format import PictureFormat
from vedette.data.images import ImageLimits, decode_image, probe_image
from vedette.data.npy import npy_samples, read_npy_header
from vedette.errors import ImageError


def saved(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header_and_data(text, data=b"\0" * 200, version=b"\x01\x00"):
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode("latin-1") + data


def read(raw):
    return npy_samples(raw, read_npy_header(io.BytesIO(raw), "a.npy"), "a.npy")


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9)),
    dtype=st.sampled_from(("u1", "<u2", ">u2")),
    order=st.sampled_from("CF"),
)
def test_what_numpy_saves_is_read_back(shape, dtype, order):
    height, width, channels = shape
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels or 1)).astype(dtype)
    written = np.asarray(values if channels else values[..., 0], order=order)
    found = read(saved(written))
    assert found.dtype == (np.uint8 if dtype == "u1" else np.uint16)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


def test_version_2_of_the_header():
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(12, dtype=np.uint16).reshape(3, 4), version=(2, 0))
    assert read(stream.getvalue()).shape == (3, 4, 1)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (saved(np.zeros((4, 4), np.float32)), "unsupported-format"),
        (saved(np.zeros((4, 4), np.int16)), "unsupported-format"),
        (saved(np.zeros((4, 4), np.dtype([("a", "u1")]))), "unsupported-format"),
        (saved(np.zeros(4, np.uint8)), "unsupported-format"),
        (saved(np.zeros((2, 2, 2, 2), np.uint8)), "unsupported-format"),
        (saved(np.zeros((3, 20, 300), np.uint8)), "unsupported-format"),  # channels first
        (saved(np.zeros((40, 40), np.uint8))[:-1], "truncated"),
        (saved(np.zeros((40, 40), np.uint8)) + b"\0", "unreadable"),
        (saved(np.zeros((40, 40), np.uint8))[:60], "not-an-image"),
        (b"\x93NUMPY\x03\x00" + bytes(100), "not-an-image"),
        (header_and_data("{" * 4000), "not-an-image"),
        (header_and_data("__import__('os').system('true')"), "not-an-image"),
        (
            header_and_data("{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 10**9)}"),
            "not-an-image",
        ),
        (header_and_data("{'descr': '|u1', 'fortran_order': 0, 'shape': (10, 20)}"), "not-an-image"),
        (header_and_data("{'descr': '|u1', 'fortran_order': False, 'shape': (-10, 20)}"), "not-an-image"),
        (
            header_and_data("{'descr': ['|u1'], 'fortran_order': False, 'shape': (10, 20)}"),
            "unsupported-format",
        ),
        (b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xff" + bytes(100), "not-an-image"),
    ],
)
def test_anything_else_is_refused(raw, kind):
    with pytest.raises(ImageError) as caught:
        decode_image(raw, where="a.npy", picture_format=PictureFormat(1))
    assert caught.value.kind == kind
    assert str(caught.value).startswith("a.npy: ")


def test_objects_are_never_unpickled():
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    raw = saved(np.array([Trap()], dtype=object), allow_pickle=True)
    assert pickle.dumps(Trap())[:2] in raw  # the trap is in the file
    with pytest.raises(ImageError, match=r"type '\|O'"):
        decode_image(raw, picture_format=PictureFormat(1))


def test_sizes_are_checked_before_anything_is_read(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(header_and_data("{'descr': '<u2', 'fortran_order': False, 'shape': (6000, 6000, 200)}"))
    for limits, kind in ((ImageLimits(), "too-large"), (ImageLimits(max_pixels=100), "too-large")):
        with pytest.raises(ImageError) as caught:
            probe_image(path, limits=limits, picture_format=PictureFormat(200, 16))
        assert caught.value.kind == kind


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_or_read(data):
    raw = bytearray(saved(np.arange(60, dtype=np.uint16).reshape(5, 4, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 100))] = data.draw(st.integers(0, 255))
    try:
        outcome = read(bytes(raw)).dtype.kind
    except ImageError as error:
        outcome = error.kind
    assert outcome in ("u", "not-an-image", "unsupported-format", "truncated", "unreadable")
