import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.infer.colour_backend import colour_predictor, picture
from tests.model.lively import lively_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.infer.provenance import _place, decode_boxes, roi_means

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
        np.testing.assert_allclose(found.boxes_xyxy_px, without.boxes_xyxy_px, atol=1e-4)
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
    levels = [torch.zeros((*shape, 6)) for shape in shapes]
    for number, level in enumerate(levels):
        level[..., 0] = number
        anchors, height, width = level.shape[:3]
        places = torch.meshgrid(
            torch.arange(anchors), torch.arange(height), torch.arange(width), indexing="ij"
        )
        level[..., 1:4] = torch.stack(places, -1)
    rows = torch.cat([level.flatten(0, 2) for level in levels])
    row = data.draw(st.integers(0, len(rows) - 1))
    sizes = [level.shape[0] * level.shape[1] * level.shape[2] for level in levels]
    assert _place(row, levels, sizes) == tuple(rows[row, :4].long().tolist())


def test_roi_mean_of_a_ramp_is_its_value_at_the_centre():
    ramp = torch.arange(16.0).expand(12, 16)[None] * 8 + 4  # value = x in frame pixels, stride 8
    boxes = torch.tensor([[20.0, 10, 60, 50], [8, 8, 120, 88], [30, 30, 31, 31]])
    means = roi_means(ramp, boxes, (96, 128))
    np.testing.assert_allclose(means[:, 0], [40, 64, 30.5], atol=1e-3)
    assert roi_means(ramp, boxes[:0], (96, 128)).shape == (0, 1)


def test_roi_mean_outside_counts_as_the_edge():
    ramp = torch.arange(16.0).expand(12, 16)[None]
    assert roi_means(ramp, torch.tensor([[-500.0, 0, -400, 50]]), (96, 128)).item() == 0.0
