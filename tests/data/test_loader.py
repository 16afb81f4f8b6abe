"""Places of batches, picture store and worker processes."""

import hashlib
import json
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.random import permutation
from vedette.core.types import Sample
from vedette.data import picture_cache
from vedette.data.loader import BatchStream, LoaderSettings, RunSampler, start_method
from vedette.data.memory import available_memory
from vedette.data.order import SameOrder
from vedette.data.pictures import PictureStore, fitted_sizes, resize
from vedette.data.worker_marks import WorkerMarks
from vedette.errors import DataError, ImageError, UsageError, WriteError

ORDER_GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "26-loader-order.json"


@dataclass(frozen=True)
class FolderIndex:
    """The part of a split index that a store needs."""

    root: str
    names: tuple[str, ...]
    sizes_hw: np.ndarray
    split: str = "train"
    content_hash: str = "one"

    def __len__(self):
        return len(self.names)

    def image_path(self, number):
        return Path(self.root) / self.names[number]


@pytest.fixture
def index(tmp_path):
    sizes = [(48, 64), (64, 40), (30, 90), (64, 64), (20, 32)]
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes):
        cv2.imwrite(
            str(tmp_path / f"{number}.png"), random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        )
    names = tuple(f"{number}.png" for number in range(len(sizes)))
    return FolderIndex(str(tmp_path), names, np.array(sizes, dtype=np.int32))


def sample_of(image, boxes=(), class_ids=(), ignored=None, number=0):
    count = len(boxes)
    return Sample(
        image=image,
        boxes_xyxy_px=np.array(boxes, dtype=np.float32).reshape(count, 4),
        class_ids=np.array(class_ids, dtype=np.int64),
        ignored=np.zeros(count, dtype=np.bool_) if ignored is None else np.array(ignored),
        image_number=number,
    )


# Order


@pytest.mark.parametrize(
    "case", json.loads(ORDER_GOLDEN.read_text())["cases"][:2], ids=lambda case: case["id"]
)
def test_published_order_golden(case):
    """Golden 26-loader-order.json: without shuffling sequential every epoch, the last partial batch kept."""
    pictures = case["input"]["n_images"]
    sampler = RunSampler(pictures, case["input"]["batch_size"], 2, 0, order=SameOrder(pictures))
    names = [[f"{number:03d}.png" for _, _, number in batch] for batch in sampler]
    assert names == case["expected"]["batches_epoch0"] + case["expected"]["batches_epoch1"]
    assert sampler.steps_per_epoch == case["expected"]["length"]


def places(**options):
    defaults = {"pictures": 10, "batch_size": 4, "epochs": 3, "seed": 5}
    return list(RunSampler(**{**defaults, **options}))


def test_order_covers_every_picture_once_an_epoch():
    batches = places()
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        of_epoch = [place for batch in batches for place in batch if place[0] == epoch]
        assert [position for _, position, _ in of_epoch] == list(range(10))
        numbers = [number for _, _, number in of_epoch]
        assert numbers == permutation(5, "order", epoch, 10).tolist()
    assert places(order=SameOrder(10))[0] == [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3)]


@settings(deadline=None, max_examples=60)
@given(
    pictures=st.integers(1, 30),
    batch_size=st.integers(1, 12),
    epochs=st.integers(1, 3),
    world_size=st.integers(1, 5),
    start=st.integers(0, 40),
)
def test_ranks_and_resuming_see_the_same_samples(pictures, batch_size, epochs, world_size, start):
    whole = places(pictures=pictures, batch_size=batch_size, epochs=epochs)
    sampler = RunSampler(pictures, batch_size, epochs, 5, start_step=start)
    assert list(sampler) == whole[start:]
    assert len(sampler) == len(whole[start:])
    parts = [
        places(pictures=pictures, batch_size=batch_size, epochs=epochs, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(whole):
        assert [place for part in parts for place in part[step]] == batch
        sizes = [len(part[step]) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "options", [{"pictures": 0}, {"batch_size": 0}, {"rank": 1}, {"start_step": -1}, {"epochs": -1}]
)
def test_impossible_runs_are_refused(options):
    with pytest.raises(UsageError):
        places(**options)


# Pictures


@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    frame_h=st.integers(8, 1280),
    frame_w=st.integers(8, 1280),
)
def test_fitted_sizes(height, width, frame_h, frame_w):
    sizes = fitted_sizes(np.array([[height, width]], dtype=np.int32), (frame_h, frame_w))
    fitted_h, fitted_w = sizes[0].tolist()
    assert fitted_h == frame_h or fitted_w == frame_w
    assert 1 <= fitted_h <= frame_h
    assert 1 <= fitted_w <= frame_w
    ratio = min(frame_h / height, frame_w / width)
    assert abs(fitted_h - height * ratio) <= 1
    assert abs(fitted_w - width * ratio) <= 1


def test_square_frame_rule_of_the_specification():
    """data.md section 6: long side = s, the other one cut off to a whole number."""
    sizes = fitted_sizes(np.array([[480, 640], [333, 500], [500, 333], [20, 32]]), (320, 320))
    assert sizes.tolist() == [[240, 320], [213, 320], [320, 213], [200, 320]]


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("size_hw", [(32, 32), (96, 80)])
def test_cache_does_not_change_pictures(index, tmp_path, cache, size_hw):
    store = PictureStore(index, size_hw, cache=cache, cache_dir=tmp_path / "cache")
    for number in (*range(5), *range(5)):
        source = cv2.imread(str(index.image_path(number)), cv2.IMREAD_COLOR_RGB)
        expected = resize(source, store.resized_hw(number), "bilinear")
        np.testing.assert_array_equal(store.picture(number), expected)
    assert len(store) == 5


def test_area_shrinks_without_aliasing_and_grows_bilinearly(index):
    source = cv2.imread(str(index.image_path(3)), cv2.IMREAD_COLOR_RGB)
    small = PictureStore(index, (16, 16), interpolation="area").picture(3)
    np.testing.assert_array_equal(small, cv2.resize(source, (16, 16), interpolation=cv2.INTER_AREA))
    large = PictureStore(index, (128, 128), interpolation="area").picture(3)
    np.testing.assert_array_equal(large, cv2.resize(source, (128, 128), interpolation=cv2.INTER_LINEAR))


def test_reduced_decoding_applies_to_large_jpegs_only(tmp_path):
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8), (400, 300))
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth)
    index = FolderIndex(str(tmp_path), ("a.jpg",), np.array([[300, 400]], dtype=np.int32))
    full = PictureStore(index, (100, 100)).picture(0)
    reduced = PictureStore(index, (100, 100), reduced_decoding=True).picture(0)
    assert reduced.shape == full.shape
    assert not np.array_equal(reduced, full)
    assert np.abs(reduced.astype(int) - full).mean() < 3  # the same smooth picture
    same = PictureStore(index, (300, 300), reduced_decoding=True).picture(0)
    np.testing.assert_array_equal(same, PictureStore(index, (300, 300)).picture(0))


def test_disk_cache_is_used_again_and_notices_changes(index, tmp_path, monkeypatch):
    cache_dir = tmp_path / "cache"
    first = PictureStore(index, (64, 64), cache="disk", cache_dir=cache_dir)
    pictures = [first.picture(number).copy() for number in range(5)]

    def refuse(*_, **__):
        raise AssertionError("decoded although it is in the cache")

    monkeypatch.setattr("vedette.data.pictures.read_image", refuse)
    again = pickle.loads(pickle.dumps(PictureStore(index, (64, 64), cache="disk", cache_dir=cache_dir)))
    for number in range(5):
        np.testing.assert_array_equal(again.picture(number), pictures[number])
    monkeypatch.undo()

    # A changed file of the same size in bytes or not: its time tells.
    other = np.zeros((48, 64, 3), np.uint8)
    cv2.imwrite(str(index.image_path(0)), other)
    os.utime(index.image_path(0), ns=(1, 1))
    changed = PictureStore(index, (64, 64), cache="disk", cache_dir=cache_dir)
    assert not changed.picture(0).any()
    np.testing.assert_array_equal(changed.picture(1), pictures[1])

    # Damaged pixels, as a power cut may leave them.
    pixels = next((cache_dir / "pictures").glob("*.pixels"))
    pixels.write_bytes(bytes(pixels.stat().st_size))
    repaired = PictureStore(index, (64, 64), cache="disk", cache_dir=cache_dir)
    np.testing.assert_array_equal(repaired.picture(1), pictures[1])

    # Other content replaces the file of the same place.
    edited = FolderIndex(index.root, index.names, index.sizes_hw, content_hash="two")
    PictureStore(edited, (64, 64), cache="disk", cache_dir=cache_dir)
    assert len(list((cache_dir / "pictures").iterdir())) == 2


def test_caches_that_cannot_be_made_are_refused(index, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no cache folder"):
        PictureStore(index, (64, 64), cache="disk")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(WriteError, match="--cache none"):
        PictureStore(index, (64, 64), cache="disk", cache_dir=blocked)
    monkeypatch.setattr(picture_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(WriteError, match="GiB are needed"):
        PictureStore(index, (64, 64), cache="disk", cache_dir=tmp_path / "full")
    monkeypatch.setattr(picture_cache, "available_memory", lambda: 1000)
    with pytest.raises(DataError, match="--cache disk"):
        PictureStore(index, (64, 64), cache="ram")


def test_available_memory_is_plausible():
    free = available_memory()
    assert free is None or 2**20 < free < 2**50


def test_a_bad_picture_is_named(index):
    index.image_path(2).write_bytes(b"not a picture")
    with pytest.raises(ImageError) as caught:
        PictureStore(index, (64, 64)).picture(2)
    assert caught.value.where == str(index.image_path(2))
    cv2.imwrite(str(index.image_path(1)), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ImageError, match="9 x 9 pixels, but was 40 x 64"):
        PictureStore(index, (64, 64)).picture(1)


# Workers


def random_sample(store, epoch, position, image_number):
    """Depends on the place, on the picture, and on nothing else."""
    image = resize(store.picture(image_number), (32, 32), "bilinear")
    return sample_of(
        image ^ np.uint8(epoch * 16 + position), [[0, 0, 9, 9 + position]], [epoch], number=image_number
    )


def deadly_sample(store, epoch, position, image_number):
    sample = random_sample(store, epoch, position, image_number)
    if image_number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return sample


def digest_of(batches):
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in (batch.images, batch.targets, batch.ignored, batch.image_numbers):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def stream(index, make_sample=random_sample, *, workers=0, cache="none", start="", **options):
    store = PictureStore(index, (32, 32), cache=cache)
    sampler = RunSampler(len(index), 2, 3, 0, **options)
    return BatchStream(
        partial(make_sample, store),
        sampler,
        LoaderSettings((32, 32), workers, start=start),
        marks=store.marks,
        picture_name=index.image_path,
    )


def test_batches_do_not_depend_on_workers_cache_or_resuming(index):
    with stream(index) as batches:
        alone = list(batches)
    assert len(alone) == 9
    with stream(index, workers=1, start="spawn") as batches:
        assert digest_of(batches) == digest_of(alone)
    with stream(index, workers=2, cache="ram") as batches:
        assert digest_of(batches) == digest_of(alone)
    with stream(index, start_step=4) as batches:
        assert digest_of(batches) == digest_of(alone[4:])


def test_closing_early_stops_the_workers(index):
    batches = stream(index, workers=2)
    next(batches)
    processes = batches._processes
    assert len(processes) == 2
    batches.close()
    assert not any(process.is_alive() for process in processes)
    assert list(batches) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_picture_stops_the_stream_by_name(index, workers):
    index.image_path(2).write_bytes(b"")
    with stream(index, workers=workers) as batches, pytest.raises(ImageError) as caught:
        list(batches)
    assert caught.value.kind == "empty"
    assert caught.value.where == str(index.image_path(2))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_dead_worker_is_reported_with_signal_and_picture(index):
    with stream(index, deadly_sample, workers=2) as batches, pytest.raises(DataError) as caught:
        list(batches)
    assert str(index.image_path(3)) in str(caught.value)
    assert "SIGKILL" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_worker_that_dies_while_its_batch_is_fetched_is_reported_too(index):
    """The connection breaks before the process is seen to be gone."""

    class Breaking:
        def __next__(self):
            os.kill(worker.pid, signal.SIGKILL)
            raise ConnectionResetError(104, "Connection reset by peer")

    with stream(index, workers=1) as batches:
        next(batches)
        (worker,) = batches._processes
        whole, batches._batches = batches._batches, Breaking()
        with pytest.raises(DataError, match="SIGKILL"):
            next(batches)
        del whole


def test_a_broken_connection_with_all_workers_alive_is_no_death(index, monkeypatch):
    monkeypatch.setattr("vedette.data.loader._DEATH_SECONDS", 0.1)

    class Breaking:
        def __next__(self):
            raise ConnectionResetError(104, "Connection reset by peer")

    with stream(index, workers=1) as batches:
        next(batches)
        whole, batches._batches = batches._batches, Breaking()
        with pytest.raises(ConnectionResetError):
            next(batches)
        batches._batches = whole


def test_loader_settings_are_checked(index, monkeypatch):
    with pytest.raises(UsageError, match="at most 256"):
        stream(index, workers=1000)
    monkeypatch.setattr("vedette.data.loader.available_shared_memory", lambda: 1000)
    with pytest.raises(DataError, match="--shm-size"):
        stream(index, workers=1)
    stream(index, workers=0).close()


def test_start_method():
    assert start_method("linux") == "forkserver"
    assert start_method("darwin") == start_method("win32") == "spawn"


def test_marks_in_the_main_process_note_nothing():
    marks = WorkerMarks()
    marks.mark(3)
    assert marks.pictures_of([]) == []
