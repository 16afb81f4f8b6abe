"""Picture files as samples of any depth and number of channels: reading, turning, converting, refusing."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.tiff_files import tiff_file
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.images import ImageLimits, decode_image, probe_image, read_image
from vedette.errors import ImageError

GREY_16, COLOUR_16 = PictureFormat(1, 16), PictureFormat(3, 16)


def samples(channels, dtype=np.uint16, size_hw=(12, 17), seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, np.iinfo(dtype).max, (*size_hw, channels), endpoint=True).astype(dtype)


def png(values):
    """A PNG of 1, 3 or 4 channels, as OpenCV writes it."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    return cv2.imencode(".png", np.ascontiguousarray(values[..., order]))[1].tobytes()


def saved(image, image_format, **options):
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def npy(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("write", [png, npy, lambda values: tiff_file([values])], ids=["png", "npy", "tiff"])
def test_samples_that_fit_come_as_they_are(channels, dtype, write, tmp_path):
    written = samples(channels, dtype)
    wanted = PictureFormat(channels, 8 * np.dtype(dtype).itemsize)
    path = tmp_path / "a"
    path.write_bytes(write(written))
    header = probe_image(path, picture_format=wanted)
    assert (header.size_hw, header.channels, header.bit_depth) == ((12, 17), channels, wanted.bits)
    found = read_image(path, picture_format=wanted)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, written)


@pytest.mark.parametrize("channels", [2, 5, 12])
def test_many_channels(channels):
    written = samples(channels)
    wanted = PictureFormat(channels, 16)
    for raw in (
        npy(written),
        tiff_file([written]),
        tiff_file([written[..., c : c + 1] for c in range(channels)]),
    ):
        np.testing.assert_array_equal(decode_image(raw, picture_format=wanted), written)


def test_what_is_converted():
    """Depth and channels at once; the same bytes as 8-bit RGB are what they always were."""
    grey, colour = samples(1, np.uint8), samples(3, np.uint8)
    found = decode_image(png(colour), picture_format=GREY_16)
    np.testing.assert_array_equal(found, GREY_16.fitted(colour))
    found = decode_image(png(grey), picture_format=COLOUR_16)
    np.testing.assert_array_equal(found, np.repeat(grey.astype(np.uint16) * 257, 3, axis=2))
    deep = samples(1)
    found = decode_image(png(deep), picture_format=PictureFormat(1))
    np.testing.assert_array_equal(np.repeat(found, 3, axis=2), decode_image(png(deep)))
    limited = PictureFormat(1, 16, (1000, 2000))
    np.testing.assert_array_equal(decode_image(png(deep), picture_format=limited), deep)  # raw, not cut off


@pytest.mark.parametrize(
    "wanted", [PictureFormat(1), GREY_16, COLOUR_16, PictureFormat(3, 8, (0, 200))], ids=str
)
@pytest.mark.parametrize(
    "raw",
    [
        saved(Image.fromarray(samples(3, np.uint8)), "JPEG", quality=100, subsampling=0),
        saved(Image.fromarray(samples(1, np.uint8)[..., 0]), "JPEG"),
        saved(Image.fromarray(samples(3, np.uint8)).convert("CMYK"), "TIFF"),
        saved(Image.fromarray(samples(3, np.uint8)).convert("P"), "PNG"),
        saved(Image.fromarray(samples(3, np.uint8)).convert("1"), "PNG"),
        saved(Image.fromarray(samples(1, np.uint8)[..., 0]).convert("LA"), "PNG"),
        saved(Image.fromarray(samples(4, np.uint8)), "PNG"),
        saved(Image.fromarray(samples(4, np.uint8)), "WEBP", lossless=True),
        saved(Image.fromarray(samples(3, np.uint8)), "BMP"),
        saved(Image.fromarray(samples(3, np.uint8)), "TIFF", compression="tiff_lzw"),
    ],
    ids=["jpeg", "grey-jpeg", "cmyk", "palette", "1-bit", "la", "rgba", "webp", "bmp", "tiff"],
)
def test_8_bit_files_become_what_their_rgb_becomes(raw, wanted):
    """One rule for all of them; grey may differ by a level, since transparency is rounded before or after."""
    found = decode_image(raw, picture_format=wanted).astype(int)
    expected = wanted.fitted(decode_image(raw)).astype(int)
    assert np.abs(found - expected).max() <= wanted.largest // 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_orientation_is_applied_once(kind, orientation):
    written = samples(1, size_hw=(6, 9))
    if kind == "tiff":
        raw = tiff_file([written], more_tags={274: orientation})
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        raw = saved(Image.fromarray(written[..., 0]), "PNG", exif=exif)
    upright = decode_image(raw, picture_format=GREY_16)
    turned = np.rot90(written, {6: -1, 8: 1, 5: 1, 7: 1, 3: 2, 4: 2}.get(orientation, 0))
    mirrored = {2: turned[:, ::-1], 4: turned[:, ::-1], 5: turned[::-1], 7: turned[:, ::-1]}
    np.testing.assert_array_equal(upright, mirrored.get(orientation, turned))


def test_16_bit_channels_in_planes_become_8_bit_rgb_too():
    written = samples(3)
    side_by_side, planes = (decode_image(tiff_file([written], planar=planar)) for planar in (False, True))
    np.testing.assert_array_equal(side_by_side, planes)


def test_grey_with_transparency_of_16_bits():
    header = b"\x89PNG\r\n\x1a\n"
    values = samples(2, size_hw=(3, 4))

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    raw = header + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, 4, 0, 0, 0))
    raw += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_image(raw, picture_format=PictureFormat(2, 16)), values)


@pytest.mark.parametrize(
    ("raw", "wanted", "kind", "text"),
    [
        (png(samples(3)), PictureFormat(5, 16), "wrong-channels", "has 3 channels, which cannot become 5"),
        (npy(samples(4)), COLOUR_16, "wrong-channels", "has 4 channels, which cannot become 3"),
        (npy(samples(2)), RGB8, "wrong-channels", "has 2 channels"),
        (tiff_file([samples(5)]), GREY_16, "wrong-channels", "correct 'channels'"),
        (tiff_file([samples(3), samples(3)]), COLOUR_16, "multiple-pictures", "only pages of one channel"),
        (tiff_file([samples(1), samples(1, size_hw=(5, 5))]), PictureFormat(2, 16), "multiple-pictures", "2"),
        (
            tiff_file([samples(5)], more_tags={339: 3}),
            PictureFormat(5, 16),
            "unsupported-format",
            "5 channels",
        ),
        (
            tiff_file([samples(3)], more_tags={259: 50000}),
            COLOUR_16,
            "unsupported-format",
            "3 channels of 16 bits",
        ),
        (b"II+\0" + bytes(40), GREY_16, "unsupported-format", "unsupported format bigtiff"),
        (tiff_file([samples(2)])[:-200], PictureFormat(2, 16), "not-an-image", "damaged TIFF"),
        (png(samples(1))[:-30], GREY_16, "unreadable", "cannot be decoded"),
        (
            saved(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"),
            GREY_16,
            "unsupported-format",
            "32 bits",
        ),
        (b"nothing of the kind", GREY_16, "not-an-image", "is not a picture"),
        (b"", GREY_16, "empty", "empty"),
    ],
)
def test_what_is_refused(raw, wanted, kind, text):
    with pytest.raises(ImageError) as caught:
        decode_image(raw, where="a.tif", picture_format=wanted)
    assert (caught.value.kind in (kind, "truncated"), text in str(caught.value)) == (True, True), caught.value


def test_limits_are_those_of_memory(tmp_path):
    """Uncompressed files of many channels are large; what they may take is counted in bytes, not pixels alone."""
    path = tmp_path / "a.npy"
    written = samples(8, size_hw=(40, 50))
    path.write_bytes(npy(written))
    wanted = PictureFormat(8, 16)
    small = ImageLimits(max_bytes=1000, max_decoded_bytes=written.nbytes + 200)
    np.testing.assert_array_equal(read_image(path, limits=small, picture_format=wanted), written)
    for limits in (
        ImageLimits(max_bytes=1000, max_decoded_bytes=written.nbytes - 1),
        ImageLimits(max_bytes=10**6, max_decoded_bytes=written.nbytes - 1),
        ImageLimits(max_pixels=1999),
    ):
        for read in (read_image, probe_image):
            with pytest.raises(ImageError) as caught:
                read(path, limits=limits, picture_format=wanted)
            assert caught.value.kind == "too-large"
    with pytest.raises(ImageError, match="unsupported format npy"):
        read_image(path, limits=ImageLimits(formats=("png",)), picture_format=wanted)
