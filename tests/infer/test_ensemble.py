from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.infer.colour_backend import COLOURS, NAMES, ColourBackend, picture
from tests.model.lively import lively_detector
from vedette.core.box_fusion import fuse_boxes
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings, suppress
from vedette.core.picture_format import PictureFormat
from vedette.errors import ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.ensemble import FUSED_ABOVE, EnsembleBackend, Member, class_order, shared_letterbox
from vedette.infer.outputs import DecodedOutputs, FinalOutputs
from vedette.infer.predictor import Predictor

POLICY = LetterboxPolicy(size_hw=(160, 160))


def member(backend=None, names=NAMES, name="a.pt", **options):
    return Member(name, backend or ColourBackend(), names, POLICY, **options)


class Swapped(ColourBackend):
    """Knows the same colours, blue first."""

    def _rows(self, frame):
        rows = super()._rows(frame)
        rows[:, 5:] = rows[:, :4:-1]
        return rows


class Beside(ColourBackend):
    """Finds every box a little to the right, with another score."""

    def __init__(self, shift=6, factor=0.5):
        super().__init__()
        self.shift, self.factor = shift, factor

    def run(self, frames):
        rows = super().run(frames).predictions
        rows[..., 0] += self.shift * (rows[..., 4] > 0)
        rows[..., 4] *= self.factor
        return DecodedOutputs(rows)


def ensemble(*members, rule="nms", weights=None, **nms):
    backend = EnsembleBackend(members, rule, weights)
    return Predictor(backend, shared_letterbox(members), members[0].class_names, NmsSettings(**nms))


IMAGE = picture((160, 160), red=(20, 20, 80, 100), blue=(90, 40, 150, 90))


def test_published_rule_is_one_suppression_of_all_predictions():
    detectors = [lively_detector("tiny"), lively_detector("tiny")]
    with np.errstate(all="ignore"):
        for convolution in detectors[1].output_convolutions:
            convolution.weight.data.mul_(0.7)
    backends = [TorchBackend(detector) for detector in detectors]
    members = [member(backend, ("a", "b", "c"), f"{number}.pt") for number, backend in enumerate(backends)]
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    settings = NmsSettings(conf_threshold=0.3)
    outputs = EnsembleBackend(members).run(frames)
    together = np.concatenate([backend.run(frames).decoded() for backend in backends], axis=1)
    np.testing.assert_array_equal(outputs.decoded(), together)
    for got, rows in zip(outputs.suppress(settings), together, strict=True):
        np.testing.assert_array_equal(got.detections, suppress(rows, settings).detections)
        assert len(got.detections)
    assert not np.array_equal(*np.split(together, 2, axis=1)), "the members differ"


def test_of_two_boxes_of_an_object_the_better_is_kept():
    (found,) = ensemble(member(), member(Beside(), name="b.pt")).predict([IMAGE])
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes_xyxy_px[0], (20, 20, 80, 100), atol=1)
    np.testing.assert_allclose(found.scores, (0.9, 0.8), atol=1e-6)


def test_classes_are_matched_by_name():
    other = member(Swapped(), NAMES[::-1], "b.pt")
    np.testing.assert_array_equal(class_order(member(), other), [1, 0])
    for rule in ("nms", "wbf"):
        (found,) = ensemble(member(), other, rule=rule).predict([IMAGE])
        assert found.class_ids.tolist() == [0, 1]
        assert found.class_names == NAMES
        np.testing.assert_allclose(found.scores, (0.9, 0.8), atol=1e-6)
        (found,) = ensemble(other, member(), rule=rule).predict([IMAGE])
        assert [found.class_names[number] for number in found.class_ids] == ["red", "blue"]


@pytest.mark.parametrize("rule", ["nms", "wbf"])
def test_chosen_classes_are_those_of_the_first(rule):
    members = member(), member(Swapped(), NAMES[::-1], "b.pt")
    (found,) = ensemble(*members, rule=rule, class_ids=(1,)).predict([IMAGE])
    assert found.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ("red", "green"),
            r"b\.pt: does not know the classes of a\.pt: it lacks 'blue' and has besides 'green'",
        ),
        (("red",), r"it lacks 'blue'; combine"),
        (("red", "blue", "green"), r"it has besides 'green'; combine"),
        (("blue", "red", "red"), r"b\.pt: has classes of one name"),
    ],
)
def test_other_classes_are_refused(names, text):
    with pytest.raises(UsageError, match=text):
        class_order(member(), member(names=names, name="b.pt"))


def test_classes_of_one_name_are_fine_where_the_order_is_the_same():
    twice = member(names=("red", "red"))
    assert class_order(twice, member(names=("red", "red"))).tolist() == [0, 1]


def test_fusion_is_that_of_the_members_own_detections():
    members = member(), member(Beside(), name="b.pt")
    (found,) = ensemble(*members, rule="wbf", conf_threshold=0.1).predict([IMAGE])
    rows = [
        np.column_stack([one.boxes_xyxy_px, one.scores, one.class_ids]).astype(np.float32)
        for one in (
            Predictor(item.backend, POLICY, NAMES, NmsSettings(conf_threshold=FUSED_ABOVE)).predict([IMAGE])[
                0
            ]
            for item in members
        )
    ]
    expected = fuse_boxes(rows)
    np.testing.assert_allclose(found.boxes_xyxy_px, expected[:, :4], atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[:, 4], atol=1e-6)
    np.testing.assert_allclose(found.scores, ((0.9 + 0.45) / 2, (0.8 + 0.4) / 2), atol=1e-6)
    assert 20 < found.boxes_xyxy_px[0, 0] < 26


def test_weights_of_members():
    members = member(), member(Beside(), name="b.pt")
    (found,) = ensemble(*members, rule="wbf", weights=[3, 1]).predict([IMAGE])
    np.testing.assert_allclose(found.scores, ((3 * 0.9 + 0.45) / 4, (3 * 0.8 + 0.4) / 4), atol=1e-6)


def test_a_threshold_changes_no_box_and_no_score():
    members = member(), member(Beside(), name="b.pt"), member(Beside(0, 0.2), name="c.pt")
    (low,) = ensemble(*members, rule="wbf", conf_threshold=0.001).predict([IMAGE])
    for threshold in (0.1, 0.3, 0.5):
        (high,) = ensemble(*members, rule="wbf", conf_threshold=threshold).predict([IMAGE])
        chosen = low.chosen(low.scores > threshold)
        np.testing.assert_array_equal(high.boxes_xyxy_px, chosen.boxes_xyxy_px)
        np.testing.assert_array_equal(high.scores, chosen.scores)
    assert 0 < len(high) < len(low) == 2


def test_a_member_has_one_voice_for_an_object():
    """Whatever the threshold: two boxes of one member around one object do not count as two members."""
    twice = np.zeros((1, 2, 7), dtype=np.float32)
    twice[0, :, :4] = (80, 80, 40, 40), (80, 88, 40, 40)  # IoU 0.67
    twice[0, :, 4] = (0.9, 0.8)
    twice[0, :, 5] = 1.0

    class Twice(ColourBackend):
        def run(self, frames):
            return DecodedOutputs(np.repeat(twice, len(frames), axis=0))

    grey = picture((160, 160))
    for iou_threshold in (0.3, 0.65, 0.9):
        members = member(Twice()), member(name="b.pt")
        (found,) = ensemble(*members, rule="wbf", iou_threshold=iou_threshold).predict([grey])
        np.testing.assert_allclose(found.scores, [0.45], atol=1e-6)


def test_fused_boxes_are_suppressed_across_classes_if_asked_for():
    both = np.zeros((1, 2, 7), dtype=np.float32)
    both[0, :, :4] = (80, 80, 40, 40)
    both[0, :, 4] = (0.9, 0.8)
    both[0, 0, 5] = both[0, 1, 6] = 1.0

    class Both(ColourBackend):
        def run(self, frames):
            return DecodedOutputs(np.repeat(both, len(frames), axis=0))

    members = member(Both()), member(Both(), name="b.pt")
    assert len(ensemble(*members, rule="wbf").predict([IMAGE])[0]) == 2
    (found,) = ensemble(*members, rule="wbf", agnostic=True).predict([IMAGE])
    assert found.class_ids.tolist() == [0]
    (found,) = ensemble(*members, rule="wbf", max_detections=1).predict([IMAGE])
    assert len(found) == 1


class Final(ColourBackend):
    """Its network ends in suppression."""

    built_in = NmsSettings(conf_threshold=0.3, iou_threshold=0.6)

    def run(self, frames):
        predictions = super().run(frames).predictions
        rows = np.zeros((len(predictions), 2, 6), dtype=np.float32)
        for number, picture_rows in enumerate(predictions):
            kept = suppress(picture_rows, self.built_in).detections
            rows[number, : len(kept)] = kept
        return FinalOutputs(rows, self.built_in)


def test_a_member_that_ends_in_suppression_can_be_fused_but_not_joined():
    final = member(Final(), name="final.onnx", nms=Final.built_in)
    (found,) = ensemble(member(), final, rule="wbf").predict([IMAGE])
    np.testing.assert_allclose(found.scores, (0.9, 0.8), atol=1e-6)
    (found,) = ensemble(member(), final, rule="wbf", class_ids=(1,)).predict([IMAGE])
    assert found.class_ids.tolist() == [1]
    with pytest.raises(UsageError, match=r"final\.onnx: ends in a suppression of its own.*--ensemble wbf"):
        ensemble(member(), final)


def test_fused_boxes_are_no_predictions():
    outputs = EnsembleBackend([member(), member(name="b.pt")], "wbf").run(IMAGE[None])
    with pytest.raises(ModelError, match="detections, not predictions"):
        outputs.decoded()
    assert outputs.suppress(NmsSettings())[0].rows.tolist() == [-1, -1]


def test_a_member_that_answers_nan_is_an_error():
    class Broken(ColourBackend):
        def run(self, frames):
            return DecodedOutputs(np.full((len(frames), 4, 7), np.nan, dtype=np.float32))

    for rule in ("nms", "wbf"):
        with pytest.raises(ModelError, match="not a number"):
            ensemble(member(), member(Broken(), name="b.pt"), rule=rule).predict([IMAGE])


def test_frames_are_those_of_the_largest_stride():
    class Coarse(ColourBackend):
        strides = (8, 16, 32, 64)

    members = member(), replace(member(Coarse(), name="b.pt"), letterbox=replace(POLICY, stride=64))
    predictor = ensemble(*members)
    assert (predictor.letterbox.stride, predictor.backend.strides) == (64, (8, 16, 32, 64))
    assert predictor.letterbox.size_hw == (192, 192)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"size_hw": (320, 320)},
            r"a\.pt looks at frames of 160x160, b\.pt at frames of 320x320.*--img-size",
        ),
        ({"shape": "minimal"}, r"of the shape square, b\.pt at frames of the shape minimal.*--letterbox"),
        ({"pad_value": 0}, r"padded with 114, b\.pt at frames padded with 0; combine detectors of one"),
        ({"scale_up": False}, r"with scale_up True, b\.pt"),
        (
            {"picture_format": PictureFormat(bits=16)},
            r"made of 8-bit RGB, b\.pt at frames made of 3 channels of 16",
        ),
    ],
)
def test_other_frames_are_refused(change, text):
    members = [member(), replace(member(name="b.pt"), letterbox=replace(POLICY, **change))]
    with pytest.raises(UsageError, match=text):
        shared_letterbox(members)


def test_size_and_shape_settle_it():
    changed = replace(POLICY, size_hw=(320, 320), shape="minimal")
    members = [member(), replace(member(name="b.pt"), letterbox=changed)]
    assert shared_letterbox(members, (64, 96), "stretch") == replace(
        POLICY, size_hw=(64, 96), shape="stretch"
    )


def test_fixed_sizes_and_batches():
    class Static(ColourBackend):
        def __init__(self, frame_hw=None, batch_size=None):
            super().__init__()
            self.frame_hw, self.batch_size = frame_hw, batch_size

    two = Static((160, 160), 2)
    predictor = ensemble(member(), member(two, name="b.onnx"))
    assert (predictor.backend.frame_hw, predictor.backend.batch_size) == ((160, 160), 2)
    assert [len(found) for found in predictor.predict([IMAGE] * 3)] == [2, 2, 2]
    assert {shape[0] for shape in two.shapes} == {2}
    with pytest.raises(UsageError, match=r"b\.onnx takes batches of 2 only; c\.onnx takes batches of 1 only"):
        EnsembleBackend([member(two, name="b.onnx"), member(Static(None, 1), name="c.onnx")])


def test_what_it_says_of_itself():
    class Other(ColourBackend):
        device, precision = "cuda:0", "fp16"

    backend = EnsembleBackend([member(), member(Other(), name="b.pt"), member(name="c.pt")])
    assert (backend.device, backend.precision, backend.classes) == (
        "cpu+cuda:0",
        "float32+fp16",
        len(COLOURS),
    )
    backend.warm_up((64, 64), 2)
    predictor = Predictor(backend, POLICY, NAMES)
    with pytest.raises(
        ModelError, match="boxes come from 3 detectors by nms, not from one cell of one network"
    ):
        predictor.predict([IMAGE], features="cell")


def test_weights_that_make_no_sense():
    members = [member(), member(name="b.pt")]
    with pytest.raises(ModelError, match="3 weights for 2 detectors"):
        EnsembleBackend(members, "wbf", [1, 1, 1])
    with pytest.raises(UsageError, match="--ensemble-weights: suppression does not weigh members"):
        EnsembleBackend(members, "nms", [1, 1])
