"""Caches hold pictures of every format as they were decoded, and count their bytes."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data import picture_cache
from vedette.data.picture_cache import PictureShapes, fits_easily
from vedette.data.pictures import PictureStore, resize
from vedette.errors import DataError

SIZES = np.array([(20, 30), (31, 17), (5, 9)], dtype=np.int64)
FORMATS = [RGB8, PictureFormat(1), PictureFormat(1, 16), PictureFormat(5, 16), PictureFormat(2)]


def folder_index(folder: Path, picture_format: PictureFormat) -> SimpleNamespace:
    """What a store needs of an index, over ``.npy`` files."""
    random = np.random.default_rng(0)
    for number, size in enumerate(SIZES.tolist()):
        shape = (*size, picture_format.channels)
        values = random.integers(0, picture_format.largest, shape).astype(picture_format.dtype)
        np.save(folder / f"{number}.npy", values)
    return SimpleNamespace(
        root=str(folder),
        split="train",
        content_hash=str(picture_format),
        sizes_hw=SIZES.astype(np.int32),
        image_path=_Paths(folder),
    )


class _Paths:
    """Picklable, as a store is handed to workers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, number: int) -> Path:
        return self._folder / f"{number}.npy"


@pytest.mark.parametrize("picture_format", FORMATS, ids=str)
@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_what_comes_out_is_what_was_decoded(tmp_path, picture_format, cache):
    index = folder_index(tmp_path, picture_format)
    store = PictureStore(
        index, (16, 16), cache=cache, cache_dir=tmp_path / "cache", picture_format=picture_format
    )
    if cache == "disk":
        store = pickle.loads(pickle.dumps(store))
    for number in (0, 1, 2, 0, 1, 2):
        found = store.picture(number)
        assert found.dtype == picture_format.dtype
        expected = resize(np.load(index.image_path(number)), store.resized_hw(number), "bilinear")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("picture_format", FORMATS, ids=str)
def test_bytes_are_counted(picture_format, monkeypatch):
    shapes = PictureShapes(SIZES, picture_format)
    needed = int((SIZES.prod(axis=1) * picture_format.channels).sum()) * (picture_format.bits // 8)
    assert shapes.offsets()[-1] == needed
    assert len(shapes) == 3
    monkeypatch.setattr(picture_cache, "available_shared_memory", lambda: None)
    for free, fits in ((4 * needed, True), (4 * needed - 1, False)):
        monkeypatch.setattr(picture_cache, "available_memory", lambda free=free: free)
        assert fits_easily(shapes) == fits
    with pytest.raises(DataError, match="--cache disk"):
        picture_cache.RamCache(shapes)
