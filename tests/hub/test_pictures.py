import http.server
import io
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tests.hub.small_model import noise
from vedette.errors import ImageError, UsageError
from vedette.hub.pictures import read_pictures, rgb_image


@pytest.fixture(scope="module")
def image():
    return noise((20, 30, 3))[0]


@pytest.fixture
def folder(tmp_path, image):
    Pillow.fromarray(image).save(tmp_path / "a.png")
    return tmp_path


def only(given, **options):
    ((picture, name),) = read_pictures(given, **{"allow_urls": False, **options})
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert picture.flags.c_contiguous
    return picture, name


FORMS = {
    "array": lambda image: image,
    "tuple": lambda image: (image,),
    "channels first": lambda image: image.transpose(2, 0, 1),
    "with alpha": lambda image: np.dstack([image, image[..., 0]]),
    "alpha, channels first": lambda image: np.dstack([image, image[..., 0]]).transpose(2, 0, 1),
    "int64": lambda image: image.astype(np.int64),
    "float of 0..255": lambda image: image.astype(np.float32),
    "tensor in a list": lambda image: [torch.from_numpy(image).permute(2, 0, 1)],
    "pillow": Pillow.fromarray,
    "pillow with alpha": lambda image: Pillow.fromarray(np.dstack([image, image[..., 0]])),
    "reversed view": lambda image: image[:, :, ::-1].copy()[:, :, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_picture(image, form):
    picture, name = only(FORMS[form](image))
    np.testing.assert_array_equal(picture, image)
    assert name == "image0.jpg"


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (1, 20, 30)])
def test_grey_is_the_same_in_all_channels(shape):
    grey = noise((20, 30))[0]
    picture, _ = only(grey.reshape(shape))
    for channel in range(3):
        np.testing.assert_array_equal(picture[..., channel], grey)


@pytest.mark.parametrize("as_type", [str, lambda path: path, Pillow.open])
def test_files_keep_their_names(folder, image, as_type):
    picture, name = only(as_type(folder / "a.png"))
    np.testing.assert_array_equal(picture, image)
    assert name == "a.png"


def test_orientation_is_applied_to_files_and_pillow_pictures(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(noise((20, 30, 3))[0]).save(tmp_path / "turned.jpg", exif=exif)
    for given in (tmp_path / "turned.jpg", Pillow.open(tmp_path / "turned.jpg")):
        assert only(given)[0].shape == (30, 20, 3)


def test_palettes_are_colours_not_numbers(image):
    picture, _ = only(Pillow.fromarray(np.full((4, 6, 3), (200, 10, 30), np.uint8)).quantize(4))
    assert np.abs(picture.astype(int) - (200, 10, 30)).max() <= 2


def test_the_given_list_stays_as_it_is(folder):
    given = [str(folder / "a.png"), noise((5, 6, 3))[0]]
    before = list(given)
    assert [name for _, name in read_pictures(given, allow_urls=False)] == ["a.png", "image1.jpg"]
    assert all(one is other for one, other in zip(given, before, strict=True))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.zeros((2, 5, 6, 3), np.uint8), "shape"),
        (np.zeros((5, 6, 2), np.uint8), "shape"),
        (np.zeros((0, 6, 3), np.uint8), "shape"),
        (np.zeros(7, np.uint8), "shape"),
        (np.full((5, 6, 3), 0.5, np.float32), "multiply by 255"),
        (np.full((5, 6, 3), 4000, np.uint16), "scale them to 0..255"),
        (np.full((5, 6, 3), np.nan), "scale them to 0..255"),
        (np.zeros((5, 6, 3), bool), "give uint8 values"),
        (7, "a int is no picture"),
        ([None], "a NoneType is no picture"),
    ],
)
def test_what_is_no_picture_is_named(given, text):
    with pytest.raises(UsageError, match=text):
        read_pictures(given, allow_urls=False)


def test_black_floats_are_a_picture():
    assert not rgb_image(np.zeros((5, 6, 3), np.float32), "x").any()


@pytest.fixture
def address(folder):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.func.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_addresses_are_fetched_only_where_allowed(address, image):
    with pytest.raises(UsageError, match="allow_urls"):
        read_pictures(f"{address}/a.png", allow_urls=False)
    picture, name = only(f"{address}/a.png?x=1", allow_urls=True)
    np.testing.assert_array_equal(picture, image)
    assert name == "a.png"
    with pytest.raises(ImageError, match="cannot be fetched"):
        read_pictures(f"{address}/b.png", allow_urls=True)


def test_bytes_are_no_path():
    with pytest.raises(UsageError, match="is no picture"):
        read_pictures([io.BytesIO(b"")], allow_urls=False)
