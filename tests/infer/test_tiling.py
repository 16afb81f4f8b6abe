from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.infer.colour_backend import COLOURS, NAMES, ColourBackend, colour_predictor, picture
from tests.model.lively import lively_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.seams import WHOLE_PICTURE, FoundInViews, merge_views
from vedette.core.tiles import tile_grid
from vedette.errors import ModelError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.ensemble import EnsembleBackend, Member
from vedette.infer.outputs import DecodedOutputs
from vedette.infer.predictor import Predictor
from vedette.infer.tiling import TiledPredictor
from vedette.infer.tta import AugmentedBackend

TILE = 160
POLICY = LetterboxPolicy(size_hw=(TILE, TILE))
MOST = 64


class Blobs(ColourBackend):
    """Finds every connected patch of a colour, not one box a colour; larger ones have higher scores."""

    def _rows(self, frame):
        rows = np.zeros((MOST, 5 + self.classes), dtype=np.float32)
        count = 0
        for class_id, colour in COLOURS.items():
            mask = (np.abs(frame.astype(int) - colour) < 80).all(axis=2).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            for x, y, width, height, area in stats[1:]:
                score = 0.5 + 0.4 * area / mask.size
                rows[count, :5] = x + width / 2, y + height / 2, width, height, score
                rows[count, 5 + class_id] = 1.0
                count += 1
        return rows


def blobs(*, whole=True, batch_size=4, overlap=0.25, policy=POLICY, **nms):
    inner = Predictor(Blobs(), policy, NAMES, NmsSettings(**nms))
    return TiledPredictor(inner, (TILE, TILE), overlap, whole=whole, batch_size=batch_size)


@st.composite
def scenes(draw):
    """A picture of up to 480 pixels a side and objects that keep their distance: class, x1, y1, x2, y2."""
    size_hw = draw(st.tuples(st.integers(100, 480), st.integers(100, 480)))
    objects = []
    for _ in range(draw(st.integers(1, 5))):
        height, width = (draw(st.integers(8, min(side - 1, 300))) for side in size_hw)
        top, left = draw(st.integers(0, size_hw[0] - height)), draw(st.integers(0, size_hw[1] - width))
        box = (draw(st.integers(0, 1)), left, top, left + width, top + height)
        gap = 14
        if all(
            box[3] + gap <= other[1]
            or other[3] + gap <= box[1]
            or box[4] + gap <= other[2]
            or other[4] + gap <= box[2]
            for other in objects
        ):
            objects.append(box)
    return size_hw, objects


def paint(size_hw, objects):
    image = np.full((*size_hw, 3), 128, dtype=np.uint8)
    for class_id, x1, y1, x2, y2 in objects:
        image[y1:y2, x1:x2] = COLOURS[class_id]
    return image


@settings(max_examples=50, deadline=None)
@given(scenes(), st.booleans())
def test_objects_at_random_places_are_found_once_each(scene, whole):
    size_hw, objects = scene
    (found,) = blobs(whole=whole).predict([paint(size_hw, objects)])
    assert len(found) == len(objects)
    # A pixel of the frame that the whole picture is shrunk to, and one for its bilinear edge.
    tolerance = 2 * max(*size_hw, TILE) / TILE if whole else 1.0
    for class_id, *box in objects:
        same = found.boxes_xyxy_px[found.class_ids == class_id]
        assert (np.abs(same - box).max(axis=1) <= tolerance).sum() == 1


def test_a_picture_no_larger_than_a_tile_is_looked_at_once_and_as_always():
    image = picture((150, 120), red=(10, 10, 90, 60))
    tiled = blobs()
    (found,), (plain,) = tiled.predict([image]), tiled.predictor.predict([image])
    np.testing.assert_array_equal(found.boxes_xyxy_px, plain.boxes_xyxy_px)
    assert tiled.backend.shapes == [(1, TILE, TILE, 3)] * 2
    assert len(blobs(whole=False).predict([image])[0]) == 1


def test_it_is_the_merged_answer_of_the_same_predictor_for_each_part():
    """With a network, and nothing but public calls."""
    image = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    policy = LetterboxPolicy(size_hw=(96, 128))
    nms = NmsSettings(conf_threshold=0.3, max_detections=40)
    inner = Predictor(TorchBackend(lively_detector()), policy, ("a", "b", "c"), nms)
    (found,) = TiledPredictor(inner, (96, 128), 0.25, batch_size=1).predict([image], ["name"])
    grid = tile_grid((200, 300), (96, 128), 0.25)
    parts = [(WHOLE_PICTURE, inner.predict([image])[0], (0, 0))]
    for number, (x1, y1, x2, y2) in enumerate(grid.corners().tolist()):
        parts.append((number, inner.predict([image[y1:y2, x1:x2]])[0], (x1, y1)))
    merged, _ = merge_views(
        FoundInViews(
            np.concatenate([part.boxes_xyxy_px + np.float32([*at, *at]) for _, part, at in parts]),
            np.concatenate([part.scores for _, part, _ in parts]),
            np.concatenate([part.class_ids for _, part, _ in parts]),
            np.concatenate([np.full(len(part), view) for view, part, _ in parts]),
        ),
        grid,
        nms,
    )
    np.testing.assert_array_equal(found.boxes_xyxy_px, merged.boxes_xyxy_px)
    np.testing.assert_array_equal(found.scores, merged.scores)
    assert len(found) == 40
    assert (found.path, found.size_hw, found.class_names) == ("name", (200, 300), ("a", "b", "c"))
    assert found.boxes_xyxy_px.dtype == np.float32


def test_batches_are_full_and_cross_pictures():
    tiled = blobs(batch_size=4)
    images = [paint((300, 300), [(0, 10, 10, 60, 60)]), paint((150, 280), [(1, 200, 20, 260, 90)])]
    found = tiled.predict(images, ["a", "b"])
    # 9 tiles and the whole of one, 2 tiles and the whole of the other.
    assert tiled.backend.shapes == [(4, TILE, TILE, 3)] * 3 + [(1, TILE, TILE, 3)]
    assert [one.path for one in found] == ["a", "b"]
    assert [one.class_ids.tolist() for one in found] == [[0], [1]]


def test_times_are_sums_over_the_views():
    class Slow(Blobs):
        def run(self, frames):
            for _ in range(200_000):
                pass
            return super().run(frames)

    inner = Predictor(Slow(), POLICY, NAMES)
    image = paint((300, 300), [(0, 10, 10, 60, 60)])
    prepared = TiledPredictor(inner, (TILE, TILE)).prepare(image, decode_milliseconds=7.0)
    for whole in (True, False):
        tiled = TiledPredictor(inner, (TILE, TILE), whole=whole, batch_size=1)
        (found,) = tiled.detect([prepared])
        assert set(found.milliseconds) == {"decode", "preprocess", "inference", "postprocess"}
        assert found.milliseconds["decode"] == 7.0
        (plain,) = inner.detect([prepared])
        assert found.milliseconds["inference"] > 3 * plain.milliseconds["inference"]
        assert found.milliseconds["preprocess"] > prepared.milliseconds["preprocess"]


def test_memory_does_not_grow_with_the_picture():
    """20,000 x 20,000 pixels: 1,521 tiles of 1.2 MB pass through, and a few are there at a time."""

    class Nothing(ColourBackend):
        frames = largest = 0

        def run(self, frames):
            self.frames += len(frames)
            self.largest = max(self.largest, len(frames))
            return DecodedOutputs(np.zeros((len(frames), 1, 7), dtype=np.float32))

    backend = Nothing()
    inner = Predictor(backend, LetterboxPolicy(size_hw=(640, 640)), NAMES)
    tiled = TiledPredictor(inner, (640, 640), 0.2, batch_size=8)
    image = np.zeros(
        (20_000, 20_000, 3), dtype=np.uint8
    )  # never written to, so the system gives it no memory
    tracemalloc.start()
    (found,) = tiled.predict([image])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (backend.frames, backend.largest, len(found)) == (39 * 39 + 1, 8, 0)
    # A batch as single frames and once more stacked, the frame of the whole, and what is known of each tile.
    assert peak < 2 * 8 * 640 * 640 * 3 + 8e6


def test_limits_hold_for_the_merged_boxes():
    objects = [(0, x, y, x + 30, y + 30) for x in range(10, 300, 70) for y in range(10, 300, 70)]
    image = paint((310, 310), objects)
    assert len(blobs().predict([image])[0]) == len(objects) == 25
    (found,) = blobs(max_detections=5).predict([image])
    assert len(found) == 5


def test_settings_change_a_copy_that_keeps_its_tiles():
    tiled = blobs(whole=False)
    other = tiled.with_settings(nms=NmsSettings(class_ids=(1,)), letterbox=LetterboxPolicy(size_hw=(96, 96)))
    assert other.to_dict() == tiled.to_dict() == {"tile_hw": [TILE, TILE], "overlap": 0.25, "whole": False}
    assert (other.backend, other.batch_size) == (tiled.backend, tiled.batch_size)
    assert (other.letterbox.size_hw, other.nms.class_ids) == ((96, 96), (1,))
    assert (other.class_names, other.picture_format) == (NAMES, tiled.picture_format)
    image = paint((300, 300), [(0, 10, 10, 60, 60), (1, 200, 20, 260, 90)])
    assert other.predict([image])[0].class_ids.tolist() == [1]


def test_batches_are_fitted_to_the_device():
    class Faster(ColourBackend):
        device = "cuda:0"

    assert TiledPredictor(colour_predictor(), (64, 64)).batch_size == 4
    assert TiledPredictor(Predictor(Faster(), POLICY, NAMES), (64, 64)).batch_size == 16


def test_views_and_members_work_in_tiles():
    members = [Member(name, Blobs(), NAMES, POLICY) for name in ("a", "b")]
    image = paint((300, 420), [(0, 10, 10, 60, 60), (1, 200, 20, 260, 90), (0, 300, 100, 390, 290)])
    for backend in (AugmentedBackend(Blobs()), EnsembleBackend(members), EnsembleBackend(members, "wbf")):
        (found,) = TiledPredictor(Predictor(backend, POLICY, NAMES), (TILE, TILE)).predict([image])
        assert sorted(found.class_ids.tolist()) == [0, 0, 1]


@pytest.mark.parametrize(
    ("tile_hw", "overlap", "text"), [((16, 640), 0.2, "at least 32 pixels"), ((640, 640), 0.95, "0 and 0.9")]
)
def test_what_makes_no_sense_is_refused_at_once(tile_hw, overlap, text):
    with pytest.raises(ModelError, match=text):
        TiledPredictor(colour_predictor(), tile_hw, overlap)


def test_where_boxes_come_from_is_not_told():
    tiled = blobs()
    image = picture((300, 300))
    with pytest.raises(ModelError, match="boxes come from several tiles"):
        tiled.predict([image], features="cell")
    with pytest.raises(ModelError, match="boxes come from several tiles"):
        tiled.features([image], [3])


def test_a_picture_of_another_predictor_is_refused():
    tiled = blobs()
    with pytest.raises(ModelError, match="prepared by another predictor"):
        tiled.detect([tiled.predictor.prepare(picture((300, 300)))])
    assert tiled.predict([]) == []
