import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.infer.colour_backend import colour_predictor, picture
from tests.model.lively import lively_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.provenance import Provenance
from vedette.errors import ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.infer.provenance import decode_boxes, places, roi_means

NAMES = ("a", "b", "c")
# A vector that was computed in a batch, or with fused convolutions, is summed in another order.
TOLERANCE = {"atol": 2e-3, "rtol": 1e-3}


def predictor_of(name="tiny", shape="square", **nms):
    detector = lively_detector(name)
    policy = LetterboxPolicy(size_hw=(96, 128), shape=shape)
    settings_ = NmsSettings(conf_threshold=0.2, max_detections=40, **nms)
    return Predictor(TorchBackend(detector), policy, NAMES, settings_), detector


@pytest.fixture(scope="module")
def tiny():
    return predictor_of()


def pictures(*sizes_hw):
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for size_hw in sizes_hw]


@pytest.mark.parametrize("kind", ["cell", "roi"])
@pytest.mark.parametrize("shape", ["square", "minimal", "stretch"])
def test_the_logits_are_the_box(kind, shape):
    """Exactly: fused, in a batch of several frame sizes, letterboxed, after suppression."""
    predictor, _ = predictor_of(shape=shape)
    images = pictures((96, 128), (60, 128), (200, 97), (60, 128))
    results = predictor.predict(images, features=kind)
    plain = predictor.predict(images)
    for found, without in zip(results, plain, strict=True):
        provenance = found.provenance
        assert without.provenance is None
        assert len(found) == len(provenance) > 5
        np.testing.assert_array_equal(decode_boxes(provenance), found.boxes_xyxy_px)
        np.testing.assert_array_equal(found.boxes_xyxy_px, without.boxes_xyxy_px)
        some = np.arange(1, len(found), 3)  # whatever else is decoded with them
        np.testing.assert_array_equal(decode_boxes(provenance.chosen(some)), found.boxes_xyxy_px[some])
        certainty = torch.from_numpy(provenance.logits).sigmoid()
        scores = certainty[:, 5:] * certainty[:, 4:5]
        own = scores[torch.arange(len(found)), torch.from_numpy(found.class_ids)]
        np.testing.assert_allclose(own.numpy(), found.scores, rtol=1e-6)


def test_other_logits_are_another_box(tiny):
    """The negative control of the test above."""
    (found,) = tiny[0].predict(pictures((96, 128)), features="cell")
    turned = found.provenance.chosen(np.arange(len(found))[::-1].copy())
    assert (decode_boxes(turned) != found.boxes_xyxy_px).any()


def test_level_cell_and_anchor_are_those_of_the_network(tiny):
    predictor, detector = tiny
    (image,) = pictures((96, 128))
    (found,) = predictor.predict([image], features="cell")
    with torch.no_grad():
        levels = detector.eval()(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    origin = found.provenance
    for row in range(len(found)):
        x, y = origin.cells_xy[row]
        logits = levels[origin.levels[row]][0, origin.anchors[row], y, x]
        np.testing.assert_allclose(origin.logits[row], logits.numpy(), **TOLERANCE)
        assert origin.strides[row] == detector.strides[origin.levels[row]]
        anchor = detector.head.anchors_px()[origin.levels[row], origin.anchors[row]]
        np.testing.assert_array_equal(origin.anchors_wh_px[row], anchor.numpy())


@pytest.mark.parametrize("name", ["tiny", "yolov5s@v1.0"])
def test_a_cell_vector_is_what_the_output_convolution_read(name):
    predictor, _ = predictor_of(name)
    (found,) = predictor.predict(pictures((77, 128)), features="cell")
    origin = found.provenance
    for row in range(len(found)):
        convolution = predictor.backend._detector.output_convolutions[origin.levels[row]]
        outputs = convolution.weight[:, :, 0, 0] @ torch.from_numpy(origin.features[row]) + convolution.bias
        np.testing.assert_allclose(
            outputs.view(3, 8)[origin.anchors[row]].detach().numpy(), origin.logits[row], **TOLERANCE
        )


def test_roi_vectors_have_one_length_and_a_layer_of_choice(tiny):
    predictor, detector = tiny
    image = pictures((60, 128))
    for layer, index in ((None, detector.feature_names["neck.p3"]), ("backbone.p4", 6), (2, 2)):
        (found,) = predictor.predict(image, features="roi", feature_layer=layer)
        (feature_map,) = predictor.features(image, [index])[index]
        assert {len(vector) for vector in found.provenance.features} == {feature_map.shape[0]}
    assert {found.provenance.kind} == {"roi"}


def test_batch_equals_single(tiny):
    predictor, _ = tiny
    images = pictures((96, 128), (50, 128), (128, 40))
    for kind in ("cell", "roi"):
        together = predictor.predict(images, features=kind)
        for image, batched in zip(images, together, strict=True):
            (single,) = predictor.predict([image], features=kind)
            np.testing.assert_array_equal(single.provenance.cells_xy, batched.provenance.cells_xy)
            for one, other in zip(single.provenance.features, batched.provenance.features, strict=True):
                np.testing.assert_allclose(one, other, **TOLERANCE)


def test_boxes_without_area_in_the_picture_leave_with_their_provenance():
    predictor, _ = predictor_of()
    (found,) = predictor.predict(pictures((20, 128)), features="cell")
    assert len(found) == len(found.provenance)
    np.testing.assert_array_equal(decode_boxes(found.provenance), found.boxes_xyxy_px)


def test_nothing_found_has_empty_provenance(tiny):
    predictor = tiny[0].with_settings(nms=NmsSettings(conf_threshold=1.0))
    for kind in ("cell", "roi"):
        (found,) = predictor.predict(pictures((96, 128)), features=kind)
        assert len(found.provenance) == 0
        assert found.provenance.cells_xy.shape == (0, 2)
        assert found.provenance.logits.shape == (0, 8)
        assert decode_boxes(found.provenance).shape == (0, 4)


def test_what_makes_no_sense_is_refused(tiny):
    predictor, _ = tiny
    images = pictures((96, 128))
    with pytest.raises(UsageError, match="did you mean 'cell'"):
        predictor.predict(images, features="cel")
    with pytest.raises(UsageError, match="use features='roi'"):
        predictor.predict(images, features="cell", feature_layer=3)
    with pytest.raises(ModelError, match=r"did you mean 'backbone\.p3'"):
        predictor.predict(images, features="roi", feature_layer="backbone.p33")
    merging = predictor.with_settings(nms=NmsSettings(conf_threshold=0.2, merge=True))
    with pytest.raises(UsageError, match="merged boxes"):
        merging.predict(images, features="cell")
    with pytest.raises(ModelError, match="load the checkpoint itself"):
        colour_predictor().predict([picture((50, 50))], features="cell")


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_row_has_its_place(shapes, data):
    everywhere = [(number, *cell) for number, shape in enumerate(shapes) for cell in np.ndindex(*shape)]
    rows = np.array(data.draw(st.lists(st.integers(0, len(everywhere) - 1), max_size=9)), dtype=np.int64)
    found = list(zip(*(part.tolist() for part in places(rows, shapes)), strict=True))
    assert found == [everywhere[row] for row in rows]


LOGITS = st.floats(-40, 40, width=32)


@given(st.lists(st.tuples(LOGITS, LOGITS, LOGITS, LOGITS), min_size=1, max_size=70), st.data())
@settings(max_examples=60, deadline=None)
def test_a_box_does_not_depend_on_its_neighbours(logits, data):
    """Bit for bit, wherever its logits lie: long arrays are computed by other instructions than short ones."""
    count = len(logits)
    origin = Provenance(
        kind="cell",
        levels=np.arange(count) % 2,
        strides=np.array([8, 16])[np.arange(count) % 2],
        cells_xy=np.stack((np.arange(count) % 12, np.arange(count) % 7), axis=1),
        anchors=np.zeros(count, np.int64),
        anchors_wh_px=np.full((count, 2), 31.5, np.float32),
        logits=np.array([[*row, 0.0, 0.0] for row in logits], np.float32),
        features=(np.zeros(1, np.float32),) * count,
        placement=LetterboxPolicy(size_hw=(96, 128)).place((70, 128)),
    )
    rows = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=20)), dtype=np.int64)
    np.testing.assert_array_equal(decode_boxes(origin.chosen(rows)), decode_boxes(origin)[rows])


RAMP = np.broadcast_to(np.arange(16, dtype=np.float32), (1, 12, 16))


def test_roi_mean_of_a_ramp_is_its_value_at_the_centre():
    ramp = RAMP * 8 + 4  # value = x in frame pixels, stride 8
    boxes = np.array([[20.0, 10, 60, 50], [8, 8, 120, 88], [30, 30, 31, 31]], np.float32)
    means = roi_means(ramp, boxes, (96, 128))
    np.testing.assert_allclose(means[:, 0], [40, 64, 30.5], atol=1e-3)
    assert roi_means(ramp, boxes[:0], (96, 128)).shape == (0, 1)


def test_roi_mean_outside_counts_as_the_edge():
    assert roi_means(RAMP, np.array([[-500.0, 0, -400, 50]], np.float32), (96, 128)).item() == 0.0


def test_roi_means_are_those_of_sampling_point_by_point():
    """The twin reads the map at every point of every box, with torch; float32 sums in another order."""
    random = np.random.default_rng(2)
    values = random.standard_normal((5, 12, 16), np.float32)
    corners = random.uniform(-20, 150, (200, 2, 2)).astype(np.float32)
    boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    low, side = (
        torch.from_numpy(boxes[:, :2, None]),
        torch.from_numpy(boxes[:, 2:, None] - boxes[:, :2, None]),
    )
    points = (low + side * (torch.arange(14) + 0.5) / 14) * torch.tensor([2 / 128, 2 / 96])[:, None] - 1
    x, y = points[:, 0, None, :].expand(-1, 14, -1), points[:, 1, :, None].expand(-1, -1, 14)
    sampled = functional.grid_sample(
        torch.from_numpy(values)[None].expand(len(boxes), -1, -1, -1),
        torch.stack((x, y), -1),
        padding_mode="border",
        align_corners=False,
    )
    expected = sampled.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(roi_means(values, boxes, (96, 128)), expected, atol=1e-5)
