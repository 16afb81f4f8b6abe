"""Suppression: golden nms.json, loss_v1.0.json (merge), loss_v7.0.json (multi-label); plain twins; edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden, suppression_predictions
from vedette.core import nms_torch as subject
from vedette.core.iou import pairwise_iou
from vedette.core.nms import NmsSettings
from vedette.core.nms_torch import (
    greedy_nms,
    non_max_suppression,
    plain_greedy_nms,
    suppress,
)
from vedette.errors import ModelError

CASES = {case["name"]: case for case in read_golden("spec/nms.json")["cases"]}
OFFSETS = pytest.mark.parametrize("class_offset", [4096.0, None])
# Coordinates of nms.json were computed before its predictions were rounded to 7 digits.
PIXELS = 1e-4 + 1e-5
NAMES = {"conf_thres": "conf_threshold", "iou_thres": "iou_threshold", "agnostic": "agnostic"}


def settings_of(arguments, **more):
    values = {NAMES[name]: value for name, value in arguments.items() if name in NAMES}
    if "classes" in arguments:
        values["class_ids"] = tuple(arguments["classes"])
    return NmsSettings(**values, **more)


def prediction_of(case):
    return torch.tensor(case["prediction"], dtype=torch.float32).view(case["shape"])


def assert_detections(detections, expected, pixels=PIXELS):
    expected = torch.tensor(expected, dtype=torch.float32).view(-1, 6)
    assert detections.shape == expected.shape
    assert detections.dtype == torch.float32
    assert torch.equal(detections[:, 5], expected[:, 5])
    assert torch.allclose(detections[:, 4], expected[:, 4], rtol=0, atol=1e-6)
    assert torch.allclose(detections[:, :4], expected[:, :4], rtol=0, atol=pixels)


@OFFSETS
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "prediction" in case])
def test_golden(name, class_offset):
    """spec/nms.json; in frames of this size the offset and the comparison of class ids agree."""
    case = CASES[name]
    labels = None
    if "labels" in case["args"]:
        labels = [torch.tensor(rows).view(-1, 5) for rows in case["args"]["labels"]]
    prediction = prediction_of(case)
    before = prediction.clone()
    results = suppress(prediction, settings_of(case["args"], class_offset=class_offset), labels)
    assert [len(result.rows) for result in results] == case["out_n"]
    for result, expected in zip(results, case["out"], strict=True):
        assert_detections(result.detections, expected)
        assert result.complete
        assert result.non_finite_rows == 0
    assert torch.equal(prediction, before)


@OFFSETS
def test_golden_max_det(class_offset):
    """spec/nms.json "max_det 300": 300 rows, five first and two last listed."""
    case = CASES["max_det 300"]
    prediction = torch.from_numpy(suppression_predictions("nmsbig", 2000, 4, 4000))
    (detections,) = non_max_suppression(prediction, settings_of(case["args"], class_offset=class_offset))
    assert len(detections) == case["out_n"][0]
    # Boxes moved by up to 3 x 4096 are not needed for these coordinates: float32 of numbers up to 8192.
    assert_detections(detections[:5], case["first5"], pixels=1e-3)
    assert_detections(detections[-2:], case["last2"], pixels=1e-3)


@OFFSETS
def test_golden_merge(class_offset):
    """spec/loss_v1.0.json ``merge_nms`` on nms.json "default multi-label"; 1e-3 px for the weighted means."""
    case = read_golden("spec/loss_v1.0.json")["merge_nms"]
    values = NmsSettings(case["conf_thres"], case["iou_thres"], merge=True, class_offset=class_offset)
    (detections,) = non_max_suppression(prediction_of(CASES["default multi-label"]), values)
    assert_detections(detections, case["out"][0], pixels=1e-3)


@pytest.mark.parametrize("class_offset", [7680.0, None])
@pytest.mark.parametrize(
    "case", read_golden("spec/loss_v7.0.json")["nms"], ids=lambda case: str(case["multi_label"])
)
def test_golden_multi_label(case, class_offset):
    """spec/loss_v7.0.json ``nms`` on nms.json "default multi-label"; the file's predictions, exact to rounding."""
    values = NmsSettings(multi_label=case["multi_label"], class_offset=class_offset)
    (detections,) = non_max_suppression(prediction_of(CASES["default multi-label"]), values)
    assert_detections(detections, case["out"][0], pixels=3e-5)


def boxes_on_a_grid(count):
    """Coordinates and scores of few values: many ties, equal and empty boxes, IoUs equal to thresholds."""
    small = st.integers(0, 6)
    row = st.tuples(small, small, small, small, st.integers(0, 4), st.integers(0, 2))
    return st.lists(row, max_size=count)


@settings(deadline=None, max_examples=150)
@given(
    boxes_on_a_grid(40),
    st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0]),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([1, 3, 256]),
    st.sampled_from([1, 4]),
)
def test_greedy_equals_the_plain_twin(rows, iou_threshold, grouped, max_kept, block, rounds):
    values = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    boxes = torch.cat((values[:, :2], values[:, :2] + values[:, 2:4]), dim=1)
    groups = values[:, 5].long() * 10**12 if grouped else None
    arguments = (boxes, values[:, 4], iou_threshold, groups, max_kept)
    expected = plain_greedy_nms(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "CPU_BLOCK", block)
        original = subject._resolve
        patch.setattr(subject, "_resolve", lambda iou, threshold, _rounds: original(iou, threshold, rounds))
        assert greedy_nms(*arguments).tolist() == expected.tolist()


@pytest.mark.parametrize("iou_threshold", [0.1, 0.45, 0.8])
@pytest.mark.parametrize("grouped", [False, True])
def test_greedy_equals_the_plain_twin_over_many_blocks(iou_threshold, grouped):
    random = np.random.default_rng(3)
    centre = random.uniform(0, 300, (1500, 2))
    size = random.uniform(1, 90, (1500, 2))
    boxes = torch.tensor(np.concatenate((centre - size / 2, centre + size / 2), 1), dtype=torch.float32)
    scores = torch.tensor(random.integers(0, 200, 1500) / 200, dtype=torch.float32)
    groups = torch.tensor(random.integers(0, 5, 1500)) if grouped else None
    expected = plain_greedy_nms(boxes, scores, iou_threshold, groups)
    assert torch.equal(greedy_nms(boxes, scores, iou_threshold, groups), expected)
    assert torch.equal(greedy_nms(boxes, scores, iou_threshold, groups, 20), expected[:20])


def test_long_chains_are_resolved():
    """Each box suppresses only the next: every other one stays, through several blocks."""
    start = torch.arange(700.0)
    boxes = torch.stack((start, torch.zeros(700), start + 2, torch.ones(700)), dim=1)
    kept = greedy_nms(boxes, 1 - start / 1000, 0.3)
    assert kept.tolist() == list(range(0, 700, 2))


def test_greedy_of_nothing():
    nothing = greedy_nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert nothing.shape == (0,)
    assert nothing.dtype == torch.int64
    assert plain_greedy_nms(torch.zeros(0, 4), torch.zeros(0), 0.5).dtype == torch.int64


def test_ties_keep_their_order():
    apart = torch.tensor([[10.0 * i, 0, 10 * i + 5, 5] for i in range(6)])
    scores = torch.tensor([0.5, 0.7, 0.5, 0.7, 0.5, 0.7])
    assert greedy_nms(apart, scores, 0.5).tolist() == [1, 3, 5, 0, 2, 4]


def plain_picture(picture, values, labels=()):
    """Section 3 of inference.md read aloud, one candidate at a time: rows of (box, score, class).

    Thresholds are compared as float32, like everywhere: an IoU of float32(0.1) is not above 0.1.
    """
    classes = picture.shape[1] - 5
    rows = [row for row in picture if row[4] > values.conf_threshold and torch.isfinite(row).all()]
    for label in labels:
        row = torch.zeros(5 + classes)
        row[:4], row[4], row[5 + int(label[0])] = label[1:], 1, 1
        rows.append(row)
    candidates = []
    for row in rows:
        scores = row[5:] * row[4]
        best = int(scores.argmax())
        for class_id in range(classes) if values.multi_label and classes > 1 else [best]:
            if scores[class_id] > values.conf_threshold and class_id in (values.class_ids or range(classes)):
                x, y, w, h = row[:4]
                box = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
                candidates.append((box, scores[class_id], class_id))
    candidates.sort(key=lambda candidate: -float(candidate[1]))
    kept = []
    for box, score, class_id in candidates[: values.max_candidates]:
        if len(kept) < values.max_detections and not any(
            (values.agnostic or other == class_id)
            and bool((pairwise_iou(box[None], better[None]) > values.iou_threshold).any())
            for better, _, other in kept
        ):
            kept.append((box, score, class_id))
    return [[*box.tolist(), float(score), class_id] for box, score, class_id in kept]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_suppress_equals_the_plain_twin(data):
    classes = data.draw(st.sampled_from([1, 2, 3]))
    tenths = st.integers(0, 10).map(lambda value: value / 10)
    row = st.tuples(*[st.integers(0, 8)] * 4, tenths, *[tenths] * classes)
    rows = data.draw(st.lists(row, max_size=12))
    labels = data.draw(st.lists(st.tuples(st.integers(0, classes - 1), *[st.integers(0, 8)] * 4), max_size=3))
    values = NmsSettings(
        conf_threshold=data.draw(st.sampled_from([0.0, 0.1, 0.3])),
        iou_threshold=data.draw(st.sampled_from([0.1, 0.5, 0.9])),
        class_ids=data.draw(st.sampled_from([None, (0,), tuple(range(classes))])),
        agnostic=data.draw(st.booleans()),
        multi_label=data.draw(st.booleans()),
        max_candidates=data.draw(st.sampled_from([1, 4, 30_000])),
        max_detections=data.draw(st.sampled_from([1, 3, 300])),
    )
    picture = torch.tensor(rows, dtype=torch.float32).view(-1, 5 + classes)
    label_rows = torch.tensor(labels, dtype=torch.float32).view(-1, 5)
    (detections,) = non_max_suppression(picture[None], values, [label_rows])
    expected = plain_picture(picture, values, label_rows)
    assert_detections(detections, expected, pixels=1e-6)


def test_rows_lead_back_to_the_prediction():
    prediction = prediction_of(CASES["batch of 2"])
    label = torch.tensor([[1.0, 900.0, 900.0, 30.0, 40.0]])
    for picture, result in zip(prediction, suppress(prediction, NmsSettings(), [label, None]), strict=True):
        for row, detection in zip(result.rows.tolist(), result.detections, strict=True):
            if row == -1:
                assert detection.tolist() == [885, 880, 915, 920, 1, 1]
            else:
                source = picture[row]
                assert (detection[:2] + detection[2:4]).tolist() == pytest.approx((source[:2] * 2).tolist())
                assert detection[4].item() == pytest.approx(
                    (source[4] * source[5 + int(detection[5])]).item()
                )
    assert (suppress(prediction, NmsSettings(), [label, None])[0].rows == -1).sum() == 1


def test_batch_equals_single_pictures():
    prediction = prediction_of(CASES["batch of 2"])
    together = non_max_suppression(prediction, NmsSettings())
    for index, detections in enumerate(together):
        assert torch.equal(detections, non_max_suppression(prediction[index : index + 1], NmsSettings())[0])


def all_ones(pictures, rows, classes):
    return torch.ones(pictures, rows, 5 + classes)


def test_all_ones_is_complete_or_says_so():
    """reliability B8: every picture of the batch has its boxes; cut candidates are reported."""
    for result in suppress(all_ones(2, 3000, 20), NmsSettings()):
        assert result.detections.tolist() == [[0.5, 0.5, 1.5, 1.5, 1.0, class_id] for class_id in range(20)]
        assert not result.complete
    for result in suppress(all_ones(2, 1000, 20), NmsSettings()):
        assert len(result.rows) == 20
        assert result.complete


def test_cut_candidates_do_not_matter_once_enough_are_kept():
    prediction = all_ones(1, 50, 2)
    prediction[0, :, 0] = torch.arange(50) * 10
    (result,) = suppress(prediction, NmsSettings(max_candidates=40, max_detections=40))
    assert len(result.rows) == 40
    assert result.complete
    (result,) = suppress(prediction, NmsSettings(max_candidates=40, max_detections=41))
    assert not result.complete


def test_max_candidates_takes_the_best_and_first():
    scores = torch.tensor([0.1, 0.5, 0.9, 0.5, 0.5, 0.7])
    assert subject._best_first(scores, 4).tolist() == [2, 5, 1, 3]
    assert subject._best_first(scores, 6).tolist() == [2, 5, 1, 3, 4, 0]


@pytest.mark.parametrize("column", [0, 3, 4, 6])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_rows_are_left_out_and_counted(column, value):
    prediction = all_ones(1, 3, 2)
    prediction[0, :, 0] = torch.tensor([0.0, 50.0, 100.0])
    prediction[0, 1, column] = value
    (result,) = suppress(prediction, NmsSettings())
    assert sorted(set(result.rows.tolist())) == [0, 2]
    assert result.detections.isfinite().all()
    # An objectness of minus infinity is below every threshold: the row is background, not damage.
    assert result.non_finite_rows == (0 if (column, value) == (4, -float("inf")) else 1)


def test_huge_finite_numbers_are_not_taken_for_infinite():
    prediction = all_ones(1, 1, 2)
    prediction[0, 0, :2] = 3e38
    (result,) = suppress(prediction, NmsSettings())
    assert result.non_finite_rows == 0
    assert len(result.rows) == 2


def test_high_classes_and_wide_pictures_are_told_apart():
    """What the published offset gets wrong and class ids get right."""
    prediction = torch.zeros(1, 2, 5 + 3)
    prediction[0, 0] = torch.tensor([5000.0, 50, 40, 40, 1, 1, 0, 0])
    prediction[0, 1] = torch.tensor([5000.0 - 4096, 50, 40, 40, 1, 0, 1, 0])
    assert len(non_max_suppression(prediction, NmsSettings())[0]) == 2
    prediction[0, 1, 1] = 50 - 4096
    assert len(non_max_suppression(prediction, NmsSettings())[0]) == 2
    assert len(non_max_suppression(prediction, NmsSettings(class_offset=4096.0))[0]) == 1


def test_merge_leaves_finite_boxes():
    prediction = all_ones(1, 4, 2)
    prediction[0, :2, 2:4] = 0
    (detections,) = non_max_suppression(prediction, NmsSettings(merge=True))
    assert detections.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(dtype):
    prediction = prediction_of(CASES["batch of 2"]).to(dtype)
    # An objectness just above the threshold, which float16 and bfloat16 would round to the same number.
    objectness = torch.tensor(0.001).to(torch.float16).item()
    prediction[..., 4] = objectness
    for threshold in (0.25, objectness - 1e-8):
        values = NmsSettings(conf_threshold=threshold)
        for got, expected in zip(
            non_max_suppression(prediction, values),
            non_max_suppression(prediction.float(), values),
            strict=True,
        ):
            assert torch.equal(got, expected)


def test_nothing_in_nothing_out():
    assert non_max_suppression(torch.zeros(0, 10, 7), NmsSettings()) == []
    for rows in (0, 5):
        (detections,) = non_max_suppression(torch.zeros(1, rows, 7), NmsSettings())
        assert detections.shape == (0, 6)
    (detections,) = non_max_suppression(torch.zeros(1, 0, 7), NmsSettings(multi_label=False, merge=True))
    assert detections.shape == (0, 6)


def test_empty_class_ids_keep_nothing():
    assert len(non_max_suppression(all_ones(1, 4, 3), NmsSettings(class_ids=()))[0]) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conf_threshold", -0.1),
        ("conf_threshold", float("nan")),
        ("iou_threshold", 1.5),
        ("max_candidates", 0),
        ("max_detections", 0),
        ("class_ids", (0, -1)),
    ],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ModelError, match=rf"nms\.{name}"):
        NmsSettings(**{name: value})


def test_inputs_are_checked():
    with pytest.raises(ModelError, match=r"\[1, 5\]"):
        non_max_suppression(torch.zeros(1, 5), NmsSettings())
    with pytest.raises(ModelError, match=r"5 \+ classes"):
        non_max_suppression(torch.zeros(1, 3, 5), NmsSettings())
    with pytest.raises(ModelError, match="2 classes"):
        non_max_suppression(torch.zeros(1, 3, 7), NmsSettings(class_ids=(2,)))
    with pytest.raises(ModelError, match="labels for 2 pictures"):
        non_max_suppression(torch.zeros(1, 3, 7), NmsSettings(), [None, None])
    with pytest.raises(ModelError, match=r"labels have shape \[1, 4\]"):
        non_max_suppression(torch.zeros(1, 3, 7), NmsSettings(), [torch.zeros(1, 4)])
    with pytest.raises(ModelError, match="class outside 0 to 1"):
        non_max_suppression(torch.zeros(1, 3, 7), NmsSettings(), [torch.tensor([[2.0, 1, 1, 1, 1]])])
