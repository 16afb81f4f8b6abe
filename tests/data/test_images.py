"""Reading picture files: formats, sample layouts, orientation, and every kind of refusal."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vedette.data.headers import exif_orientation, jpeg_is_complete
from vedette.data.images import IMAGE_KINDS, ImageLimits, decode_image, probe_image, read_image
from vedette.data.pixels import orient
from vedette.errors import ImageError

EXIF_GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "25-exif.json"


def picture(height=40, width=60, seed=0):
    """A smooth picture with no two equal corners, so that every orientation differs."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, image_format, **options):
    stream = io.BytesIO()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    image.save(stream, image_format, **options)
    return stream.getvalue()


def kind_of(raw, **options):
    with pytest.raises(ImageError) as caught:
        decode_image(raw, where="a.jpg", **options)
    assert caught.value.kind in IMAGE_KINDS
    assert str(caught.value).startswith("a.jpg: ")
    return caught.value.kind


def picture_or_kind(raw):
    try:
        return decode_image(raw)
    except ImageError as error:
        return error.kind


def png_of_size(width, height, *, bit_depth=8, colour_type=2):
    """A PNG whose header promises a size; its data are a few bytes that unpack to very many zeros."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_the_pixels_that_were_stored(image_format, options):
    image = picture()
    decoded = decode_image(encoded(image, image_format, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(
    "options", [{"quality": 95}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_jpeg_is_read_in_rgb_order(options):
    image = picture()
    decoded = decode_image(encoded(image, "JPEG", **options))
    expected = np.asarray(Image.open(io.BytesIO(encoded(image, "JPEG", **options))))
    # Two decoders of the same library family; chroma upsampling may differ by rounding.
    assert np.abs(decoded.astype(int) - expected).max() <= 2


def test_suffix_does_not_matter(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(picture(), "PNG"))
    np.testing.assert_array_equal(read_image(path), picture())
    assert probe_image(path).format == "png"


def test_grey_palette_and_one_bit_become_rgb():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(grey, "PNG")), np.repeat(grey[..., None], 3, axis=2))
    jpeg = decode_image(encoded(grey, "JPEG", quality=100))
    assert jpeg.shape == (40, 60, 3)
    assert np.abs(jpeg[..., 0].astype(int) - grey).max() <= 3  # quality 100 still quantises
    palette = Image.fromarray(picture()).convert("P")
    np.testing.assert_array_equal(decode_image(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    one_bit = Image.fromarray(grey).convert("1")
    np.testing.assert_array_equal(decode_image(encoded(one_bit, "PNG"))[..., 1], np.asarray(one_bit) * 255)


@pytest.mark.parametrize("value", [0, 1, 128, 129, 257, 32767, 65407, 65535])
def test_16_bit_samples_are_scaled_not_cut(value):
    expected = round(value * 255 / 65535)
    grey = np.full((8, 9), value, np.uint16)
    assert (decode_image(encoded(grey, "PNG")) == expected).all()
    assert (decode_image(encoded(Image.fromarray(grey), "TIFF")) == expected).all()
    colour = np.zeros((8, 9, 3), np.uint16)
    colour[..., 0] = value  # OpenCV writes BGR: this is blue
    for suffix in (".png", ".tiff"):
        decoded = decode_image(cv2.imencode(suffix, colour)[1].tobytes())
        assert (decoded[..., 2] == expected).all(), suffix
        assert not decoded[..., :2].any(), suffix


def test_16_bit_alpha_is_composited():
    rgba = np.zeros((4, 4, 4), np.uint16)
    rgba[..., 3] = 65535
    rgba[:2, :, 3] = 0
    decoded = decode_image(cv2.imencode(".png", rgba)[1].tobytes())
    assert (decoded[:2] == 255).all()
    assert (decoded[2:] == 0).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_on_white(mode):
    rgba = np.zeros((6, 6, 4), np.uint8)
    rgba[:3, :, 3] = 255  # opaque black above, transparent black below
    image = Image.fromarray(rgba)
    if mode == "LA":
        image = image.convert("LA")
    options = {}
    if mode == "P":
        image = Image.fromarray(np.repeat(np.array([[0], [1]], np.uint8), 6, axis=1).repeat(3, axis=0), "L")
        image = image.convert("P")
        image.putpalette([0, 0, 0, 200, 10, 10])
        options = {"transparency": 1}
    decoded = decode_image(encoded(image, "PNG", **options))
    assert (decoded[:3] == 0).all()
    assert (decoded[3:] == 255).all()


def test_half_transparency_mixes():
    rgba = np.full((2, 2, 4), 128, np.uint8)
    rgba[..., :3] = 0
    assert (decode_image(encoded(rgba, "WEBP", lossless=True, exact=True)) == 127).all()


def test_cmyk_jpeg_keeps_its_colours():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [90, 60, 30]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 16, axis=0), 16, axis=1)
    decoded = decode_image(encoded(Image.fromarray(image).convert("CMYK"), "JPEG", quality=98))
    # The middles of the flat patches; JPEG at this quality leaves a few levels of ringing.
    assert np.abs(decoded[8, 8::16].astype(int) - colours).max() <= 4


@pytest.mark.parametrize("case", json.loads(EXIF_GOLDEN.read_text())["cases"], ids=lambda case: case["id"])
def test_exif_golden_sizes(case, tmp_path):
    """Golden 25-exif.json; its recorded size errs for orientations 5 and 7, ours is the decoded one."""
    width, height = case["input"]["stored_wh"]
    orientation = case["input"]["exif_orientation"]
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(height, width), "JPEG", exif=exif))
    expected_hw = tuple(case["expected"]["decoded_hw"])
    assert probe_image(path).size_hw == expected_hw
    assert read_image(path).shape[:2] == expected_hw
    if orientation not in (5, 7):
        assert expected_hw[::-1] == tuple(case["expected"]["dataset_shape_wh"])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("image_format", "tolerance"), [("JPEG", 12), ("PNG", 0), ("WEBP", 0), ("TIFF", 0)])
def test_all_orientations_show_the_same_picture(image_format, tolerance, orientation):
    upright = picture(32, 48)
    # Storing applies the inverse turn: 6 and 8 are each other's inverse, the others their own.
    stored = orient(upright, {6: 8, 8: 6}.get(orientation, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(image_format, {})
    raw = encoded(np.ascontiguousarray(stored), image_format, exif=exif, **options)
    decoded = decode_image(raw)
    assert decoded.shape == upright.shape
    # Tolerance: JPEG loses a few levels; a wrong turn differs by far more.
    assert np.abs(decoded.astype(int) - upright).max() <= tolerance


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_probe_reports_the_size_that_reading_gives(image_format, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a"
    path.write_bytes(encoded(picture(20, 30), image_format, exif=exif))
    assert probe_image(path).size_hw == read_image(path).shape[:2] == (30, 20)


def test_mpo_gives_its_first_picture():
    stream = io.BytesIO()
    Image.fromarray(picture()).save(
        stream, "MPO", save_all=True, append_images=[Image.fromarray(picture(seed=1))]
    )
    decoded = decode_image(stream.getvalue())
    assert np.abs(decoded.astype(int) - picture()).mean() < 6  # default JPEG quality


def test_reduced_decoding_halves_the_size_of_a_jpeg():
    raw = encoded(picture(201, 301), "JPEG")
    assert decode_image(raw, reduce=2).shape == (101, 151, 3)
    assert decode_image(raw, reduce=4).shape == (51, 76, 3)
    full = decode_image(raw)
    half = decode_image(raw, reduce=2)
    averaged = cv2.resize(full, (151, 101), interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(int) - averaged).mean() < 4  # the same picture, in the same colour order
    assert decode_image(encoded(picture(), "PNG"), reduce=2).shape == (40, 60, 3)


# Refusals


def test_empty_missing_text_and_folder(tmp_path):
    assert kind_of(b"") == "empty"
    assert kind_of(b"this is no picture at all, only text") == "not-an-image"
    assert kind_of(b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x04junk" * 9) == "not-an-image"
    for path, kind in ((tmp_path / "none.jpg", "missing"), (tmp_path, "unreadable")):
        for function in (read_image, probe_image):
            with pytest.raises(ImageError) as caught:
                function(path)
            assert caught.value.kind == kind
            assert caught.value.where == str(path)
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        probe_image(empty)


def test_formats_outside_the_list_are_named():
    gif = encoded(picture(), "GIF")
    assert kind_of(gif) == "unsupported-format"
    with pytest.raises(ImageError, match="unsupported format gif"):
        decode_image(gif)
    assert kind_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 3) == "unsupported-format"
    assert kind_of(encoded(picture(), "TIFF"), limits=ImageLimits(formats=("jpeg", "png"))) == (
        "unsupported-format"
    )
    floats = Image.fromarray(np.zeros((4, 4), np.float32))
    assert kind_of(encoded(floats, "TIFF")) == "unsupported-format"


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(image_format):
    stream = io.BytesIO()
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    frames[0].save(stream, image_format, save_all=True, append_images=frames[1:])
    assert kind_of(stream.getvalue()) == "multiple-pictures"


def test_size_limits(tmp_path):
    assert kind_of(png_of_size(10_000, 10_000)) == "too-large"
    assert kind_of(png_of_size(30_000, 100)) == "bad-aspect"
    assert kind_of(png_of_size(1, 201)) == "bad-aspect"
    assert kind_of(encoded(picture(), "PNG"), limits=ImageLimits(max_pixels=100)) == "too-large"
    assert kind_of(encoded(picture(), "PNG"), limits=ImageLimits(max_bytes=100)) == "too-large"
    path = tmp_path / "large.bmp"
    with path.open("wb") as stream:
        stream.truncate(65_000_000)
    for function in (read_image, probe_image):
        with pytest.raises(ImageError) as caught:
            function(path)
        assert caught.value.kind == "too-large"


def test_decompression_bombs_are_refused_by_their_header():
    """Limit of reliability.md B1: under 100 MB of memory; the pictures would take 0.5 to 5 GB."""
    webp_header = b"VP8X" + struct.pack("<I", 10) + b"\x00" * 4 + b"\xff\x3f\x00" * 2
    webp = b"RIFF" + struct.pack("<I", len(webp_header) + 4) + b"WEBP" + webp_header
    bmp = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 40_000, 40_000, 1, 24, *[0] * 6)
    )
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in (png_of_size(30_000, 30_000), png_of_size(13_500, 13_500), webp, bmp):
        assert kind_of(bomb) == "too-large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_file_cut_anywhere_never_gives_a_picture_that_differs(image_format, options):
    noisy = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    raw = encoded(noisy, image_format, **options)
    whole = decode_image(raw)
    for length in np.linspace(0, len(raw) - 1, 60).astype(int):
        decoded = picture_or_kind(raw[:length])
        if isinstance(decoded, str):
            assert decoded in ("empty", "truncated", "not-an-image", "unreadable")
        else:  # only what does not belong to the picture was cut off
            np.testing.assert_array_equal(decoded, whole)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_cut_jpeg_with_an_end_marker_put_on_is_refused(keep):
    """Tools that 'repair' a file append the marker; the decoder then fills the rest with grey."""
    raw = encoded(picture(200, 300), "JPEG", quality=95)
    assert kind_of(raw[: int(len(raw) * keep)] + b"\xff\xd9") == "truncated"


def test_a_picture_that_really_ends_in_grey_128_is_read():
    image = picture(64, 64)
    image[32:] = 128
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        decoded = decode_image(encoded(image, "JPEG", **options))
        assert (decoded[-8:] == 128).all()
    assert (decode_image(encoded(np.full((16, 16, 3), 128, np.uint8), "JPEG")) == 128).all()


def test_thumbnail_end_marker_does_not_count():
    raw = encoded(picture(), "JPEG")
    thumbnail = b"Exif\x00\x00" + b"\xff\xd8thumbnail\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with_thumbnail = raw[:2] + segment + raw[2:]
    assert jpeg_is_complete(with_thumbnail)
    assert not jpeg_is_complete(with_thumbnail[:-2])
    assert kind_of(with_thumbnail[:-20]) == "truncated"


@pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # Pillow warns about damaged TIFF tags; that is no error of ours
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_flipped_bytes_give_a_picture_or_a_named_error(image_format):
    raw = encoded(picture(), image_format)
    random = np.random.default_rng(2)
    for _ in range(60):
        damaged = bytearray(raw)
        for position in random.integers(0, len(raw), 3):
            damaged[position] = random.integers(256)
        decoded = picture_or_kind(bytes(damaged))
        if isinstance(decoded, str):
            assert decoded in IMAGE_KINDS
        else:
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 3
            assert decoded.shape[2] == 3


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_exif_parser_survives_anything(block):
    assert 1 <= exif_orientation(block) <= 8
    assert 1 <= exif_orientation(b"Exif\x00\x00II*\x00" + block) <= 8
    jpeg_is_complete(b"\xff\xd8" + block)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("value", "expected"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1), (65535, 1)])
def test_exif_orientation_in_both_byte_orders(order, value, expected):
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1)
    block += struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    assert exif_orientation(block) == expected
    assert exif_orientation(b"Exif\x00\x00" + block) == expected


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_reading_works_on_a_read_only_file_and_leaves_it_alone(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(), "JPEG")[:-2])  # the published system would rewrite this one
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    with pytest.raises(ImageError, match="end early"):
        read_image(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
