"""The embedded data set: determinism, exact labels, variety, and what is on disk."""

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.data import synthetic_scenes
from vedette.data.description import load_description
from vedette.data.images import read_image
from vedette.data.index import load_index
from vedette.data.synthetic import draw_dataset, draw_picture
from vedette.data.synthetic_scenes import MIN_SIZE, draw_scene
from vedette.data.synthetic_shapes import CLASS_NAMES, covered, draw_object
from vedette.errors import UsageError, WriteError


def digest_of(folder):
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        draw_dataset(tmp_path / name, seed=seed, train=4, val=2, size_hw=(96, 128))
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "other")


def test_splits_are_unrelated():
    train, val = (draw_picture(split, 0, seed=0, size_hw=(96, 96)).image for split in ("train", "val"))
    assert not np.array_equal(train, val)


def test_description_and_labels_are_readable(tmp_path):
    file = draw_dataset(tmp_path / "drawn", train=12, val=5, test=3, size_hw=(128, 160))
    description = load_description(str(file))
    assert description.class_names == CLASS_NAMES
    for split, count in (("train", 12), ("val", 5), ("test", 3)):
        index = load_index(description, split, on_bad_label="error")
        assert len(index) == count
        assert not index.defects
        for number in range(count):
            scene = draw_picture(split, number, seed=0, size_hw=(128, 160))
            labels = index.labels(number)
            # Eight decimals give the pixels back to a millionth.
            np.testing.assert_allclose(labels.boxes_xyxy_px, scene.boxes_xyxy_px, atol=1e-4)
            assert labels.class_ids.tolist() == scene.class_ids.tolist()
            picture = read_image(index.image_path(number))
            assert picture.shape == (128, 160, 3)
            assert np.abs(picture.astype(int) - scene.image).mean() < 6  # JPEG of quality 94


def test_drawing_again_does_nothing_and_other_arguments_draw_anew(tmp_path):
    file = draw_dataset(tmp_path, train=5, val=2, size_hw=(64, 64))
    picture = tmp_path / "images" / "train" / "drawn_00004.jpg"
    before = picture.stat().st_mtime_ns
    draw_dataset(tmp_path, train=5, val=2, size_hw=(64, 64))
    assert picture.stat().st_mtime_ns == before
    file.unlink()  # an interrupted run leaves no description
    draw_dataset(tmp_path, train=5, val=2, size_hw=(64, 64))
    assert picture.stat().st_mtime_ns != before
    draw_dataset(tmp_path, train=3, val=2, size_hw=(64, 64))
    assert not picture.exists()
    assert len(list((tmp_path / "labels" / "train").iterdir())) == 3


@pytest.mark.parametrize("options", [{"train": 0}, {"val": 0}, {"test": -1}, {"size_hw": (32, 320)}])
def test_impossible_sets_are_refused(tmp_path, options):
    with pytest.raises(UsageError, match="cannot draw"):
        draw_dataset(tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(WriteError, match="file"):
        draw_dataset(blocked, train=1, val=1, size_hw=(64, 64))


def test_scenes_are_varied():
    scenes = [draw_picture("train", number, seed=0, size_hw=(160, 160)) for number in range(150)]
    counts = np.array([len(scene.class_ids) for scene in scenes])
    assert 0.02 < (counts == 0).mean() < 0.16  # 8 %, four standard errors of 150 pictures
    assert counts.max() >= 5
    per_class = np.bincount(np.concatenate([scene.class_ids for scene in scenes]), minlength=len(CLASS_NAMES))
    assert per_class.min() > 0.6 * per_class.mean()
    boxes = np.concatenate([scene.boxes_xyxy_px for scene in scenes])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert sides.min() < 1.3 * MIN_SIZE * 160
    assert sides.max() > 0.5 * 160
    assert sum(_overlaps(scene.boxes_xyxy_px) for scene in scenes) > 20


def _overlaps(boxes):
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high > low).all(axis=2)
    return bool(np.triu(shared, 1).any())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([(64, 64), (96, 128), (160, 90)]))
def test_boxes_lie_inside_the_picture(seed, size_hw):
    scene = draw_scene(np.random.default_rng(seed), size_hw)
    assert scene.image.shape == (*size_hw, 3)
    assert scene.image.dtype == np.uint8
    boxes = scene.boxes_xyxy_px
    assert len(boxes) == len(scene.class_ids)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [size_hw[1], size_hw[0]]).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 4).all()


def test_labels_are_the_extents_of_what_is_drawn(monkeypatch):
    """On a black ground without shadows, clutter and grain only the objects are not black."""
    monkeypatch.setattr(
        synthetic_scenes, "_background", lambda _, size_hw: np.zeros((*size_hw, 3), dtype=np.float32)
    )
    for name in ("_shadow", "_add_clutter", "_finish"):
        monkeypatch.setattr(synthetic_scenes, name, lambda *_: None)
    monkeypatch.setattr(synthetic_scenes, "MAX_OBJECTS", 1)
    checked = 0
    for seed in range(60):
        scene = draw_scene(np.random.default_rng(seed), (120, 120))
        if not len(scene.class_ids):
            assert not scene.image.any()
            continue
        rows, columns = np.nonzero(scene.image.any(axis=2))
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # Pixels that an object covers by a quarter or less do not count: two at a sharp tip.
        assert np.abs(found - scene.boxes_xyxy_px[0]).max() <= 2
        checked += 1
    assert checked > 40


def test_hidden_objects_are_not_placed():
    """What is labelled can be seen: at least two fifths of every object, by the areas kept while drawing."""
    areas = synthetic_scenes._Areas()
    owner = np.zeros((60, 60), dtype=np.int32)
    drawn = draw_object(0, 30, np.random.default_rng(0))
    side = drawn.alpha.shape[0]
    mask = covered(drawn.alpha)
    window = owner[:side, :side]
    assert areas.add_if_visible(drawn, mask, window)
    assert not areas.add_if_visible(drawn, mask, window)  # would hide the first
    assert (window[mask] == 1).all()
    part = mask.copy()
    part[:, : side // 2 + 4] = False
    assert not areas.add_if_visible(drawn, part, owner[-side:, -side:])  # too much of it over the edge


@pytest.mark.parametrize("class_id", range(len(CLASS_NAMES)))
@pytest.mark.parametrize("size", [16, 60, 200])
def test_objects_have_the_size_asked_for(class_id, size):
    for seed in range(4):
        drawn = draw_object(class_id, size, np.random.default_rng(seed))
        assert drawn.colour.shape == (*drawn.alpha.shape, 3)
        assert drawn.colour.min() >= 0
        assert drawn.colour.max() <= 255
        rows, columns = np.nonzero(covered(drawn.alpha))
        longest = max(rows.max() - rows.min(), columns.max() - columns.min()) + 1
        assert 0.7 * size <= longest <= 1.5 * size + 2
        assert rows.min() > 0
        assert rows.max() < drawn.alpha.shape[0] - 1  # nothing is cut off by its patch


def test_a_ring_shows_the_ground_through_its_hole():
    drawn = draw_object(CLASS_NAMES.index("ring"), 80, np.random.default_rng(0))
    middle = drawn.alpha.shape[0] // 2
    assert drawn.alpha[middle, middle] == 0
    holes = cv2.connectedComponents((drawn.alpha == 0).astype(np.uint8))[0] - 1
    assert holes == 2  # outside, and the hole
