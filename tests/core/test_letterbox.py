"""Letterbox: golden letterbox.json, geometry.json, 15-letterbox.json; properties; the contract as data."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from vedette.core.letterbox import (
    LetterboxPolicy,
    rescale_boxes_yolov5,
    round_up_to_stride,
    shared_frame_hw,
)
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import ModelError

LETTERBOX = read_golden("spec/letterbox.json")
GEOMETRY = read_golden("spec/geometry.json")
TRAINING = read_golden("training/15-letterbox.json")["cases"]


def policy_of(case, **changes):
    size = case["new_shape"]
    shape = "minimal" if case["auto"] else "stretch" if case["scaleFill"] else "square"
    return LetterboxPolicy(
        size_hw=(size, size) if isinstance(size, int) else tuple(size),
        shape=shape,
        scale_up=case["scaleup"],
        **changes,
    )


@pytest.mark.parametrize("case", LETTERBOX["cases"], ids=lambda case: json.dumps(case)[:60])
def test_place_golden(case):
    """spec/letterbox.json: whole pixels exactly, ratios to the 9 digits of the file."""
    place = policy_of(case).place(tuple(case["hw"]))
    assert list(place.frame_hw) == case["out_hw"]
    assert [place.top, place.bottom, place.left, place.right] == [
        case[side] for side in ("top", "bottom", "left", "right")
    ]
    assert list(place.pad_wh) == case["pad_dw_dh"]
    assert place.ratio_wh == pytest.approx(case["ratio_wh"], rel=5e-9)


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case["id"])
def test_place_golden_training(case):
    """training/15-letterbox.json: geometry exactly, and the border value in the picture."""
    policy, expected = policy_of({**case["input"]}), case["expected"]
    source_hw = tuple(case["input"]["hw"])
    place = policy.place(source_hw)
    assert list(place.frame_hw) == expected["out_hw"]
    assert list(place.ratio_wh) == expected["ratio_wh"]
    assert list(place.pad_wh) == expected["pad_wh"]
    content = [place.top, place.left, place.top + place.resized_hw[0], place.left + place.resized_hw[1]]
    assert content == expected["content_top_left_bottom_right"]
    frame = place.apply(np.full((*source_hw, 3), 200, np.uint8))
    border = np.ones(place.frame_hw, bool)
    border[content[0] : content[2], content[1] : content[3]] = False
    assert (frame[~border] == 200).all()
    assert (frame[border] == (expected["border_value"] or [0, 0, 0])).all()
    assert border.any() == (expected["border_value"] is not None)


def test_pixels_golden():
    """spec/letterbox.json ``pixels``; +-1 as the file says (rounding of the resampler)."""
    case = LETTERBOX["pixels"]
    image = np.array(case["image"], np.uint8).reshape(6, 9, 3)
    frame = LetterboxPolicy(size_hw=(16, 16)).place((6, 9)).apply(image)
    expected = np.array(case["out"]).reshape(case["out_shape"])
    assert np.abs(frame.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("case", GEOMETRY["scale_coords"], ids=lambda case: str(case["img0_shape"]))
def test_rescale_golden(case):
    """spec/geometry.json ``scale_coords``; 1e-3 px as the golden README suggests."""
    frame_hw, source_hw = tuple(case["img1_shape"]), tuple(case["img0_shape"])
    boxes = torch.tensor(case["boxes"]).view(-1, 4)
    before = boxes.clone()
    for values in (
        rescale_boxes_yolov5(boxes, frame_hw, source_hw),
        rescale_boxes_yolov5(boxes.numpy(), frame_hw, source_hw),
    ):
        assert values.flatten().tolist() == pytest.approx(case["out"], abs=1e-3)
    assert torch.equal(boxes, before)


def test_exact_mapping_is_within_a_pixel_of_the_published_rule():
    place = LetterboxPolicy(shape="minimal").place((1081, 1921))
    boxes = np.array([[10.0, 20.0, 600.0, 300.0]])
    published = rescale_boxes_yolov5(boxes, place.frame_hw, place.source_hw)
    assert np.abs(place.boxes_to_source(boxes) - published).max() < 0.5 * 1921 / 640 + 1e-6


@pytest.mark.parametrize("case", GEOMETRY["check_img_size"], ids=lambda case: str(case["size"]))
def test_round_up_golden(case):
    """spec/geometry.json ``check_img_size``, exactly."""
    assert round_up_to_stride(case["size"], case["stride"]) == case["out"]


AUTOSHAPE = [case for case in GEOMETRY["autoshape"] if "image_hw" in case]


@pytest.mark.parametrize("case", AUTOSHAPE, ids=lambda case: str(case["image_hw"]))
def test_shared_frame_golden(case):
    """spec/geometry.json ``autoshape``: the frame of a batch, exactly."""
    sources = [tuple(size) for size in case["image_hw"]]
    assert list(shared_frame_hw(sources, case["size"], 32)) == case["model_input"][2:]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 5000), st.integers(1, 40))
def test_shared_frame_never_exceeds_a_fitting_size(longer, multiples):
    assert max(shared_frame_hw([(longer, 1)], multiples * 32, 32)) == multiples * 32


def test_shared_frame_errors():
    with pytest.raises(ModelError, match="no picture"):
        shared_frame_hw([], 640, 32)
    with pytest.raises(ModelError, match="0x5"):
        shared_frame_hw([(0, 5)], 640, 32)


sides = st.integers(1, 4096)
policies = st.builds(
    LetterboxPolicy,
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda hw: (hw[0] * 32, hw[1] * 32)),
    stride=st.just(32),
    shape=st.sampled_from(["square", "minimal", "stretch"]),
    scale_up=st.booleans(),
)
unit = st.floats(0, 1)


@settings(deadline=None, max_examples=300)
@given(policies, st.tuples(sides, sides))
def test_place_properties(policy, source_hw):
    place = policy.place(source_hw)
    assert place.frame_hw[0] % policy.stride == place.frame_hw[1] % policy.stride == 0
    assert place.frame_hw[0] <= policy.size_hw[0]
    assert place.frame_hw[1] <= policy.size_hw[1]
    assert place.frame_hw[0] == place.top + place.resized_hw[0] + place.bottom
    assert place.frame_hw[1] == place.left + place.resized_hw[1] + place.right
    assert min(place.resized_hw) >= 1
    assert place.bottom - place.top in (0, 1)
    assert place.right - place.left in (0, 1)
    if policy.shape != "minimal":
        assert place.frame_hw == policy.size_hw
    elif policy.scale_up:
        assert place.top < policy.stride
        assert place.left < policy.stride
    if not policy.scale_up and policy.shape != "stretch":
        assert place.resized_hw[0] <= source_hw[0]
        assert place.resized_hw[1] <= source_hw[1]


@settings(deadline=None, max_examples=200)
@given(policies, st.tuples(sides, sides), st.lists(st.tuples(unit, unit, unit, unit), max_size=5))
def test_boxes_round_trip(policy, source_hw, corners):
    height, width = source_hw
    boxes = np.array(corners).reshape(-1, 4) * [width, height, width, height]
    place = policy.place(source_hw)
    for convert in (np.asarray, torch.tensor):
        there = place.boxes_to_frame(convert(boxes))
        assert np.abs(np.asarray(place.boxes_to_source(there)) - boxes).max(initial=0) <= 1e-3
        assert (np.asarray(there) >= -1e-9).all()
        assert (np.asarray(there)[:, 0::2] <= place.frame_hw[1] + 1e-6).all()
        assert (np.asarray(there)[:, 1::2] <= place.frame_hw[0] + 1e-6).all()


def test_boxes_round_trip_in_float32():
    place = LetterboxPolicy().place((1081, 1921))
    boxes = torch.tensor([[0.0, 0, 1921, 1081], [3.25, 7.5, 1000.125, 900]])
    there = place.boxes_to_frame(boxes)
    assert there.dtype == torch.float32
    assert (place.boxes_to_source(there) - boxes).abs().max() <= 1e-3


def test_boxes_stay_on_their_pixels():
    """A white rectangle in the picture is where its box says in the frame, for every shape and rounding."""
    for source_hw, policy in (
        ((481, 641), LetterboxPolicy(size_hw=(320, 320))),
        ((100, 61), LetterboxPolicy(size_hw=(320, 320), shape="minimal")),
        ((333, 500), LetterboxPolicy(size_hw=(320, 256), shape="stretch")),
    ):
        box = np.array([source_hw[1] // 4, source_hw[0] // 3, source_hw[1] // 2, source_hw[0] - 10])
        image = np.zeros((*source_hw, 3), np.uint8)
        image[box[1] : box[3], box[0] : box[2]] = 255
        place = policy.place(source_hw)
        frame = place.apply(image)[..., 0] / 255
        frame[: place.top] = frame[place.top + place.resized_hw[0] :] = 0
        frame[:, : place.left] = frame[:, place.left + place.resized_hw[1] :] = 0
        rows, columns = frame.sum(1).max(), frame.sum(0).max()
        x1, y1, x2, y2 = place.boxes_to_frame(box.astype(np.float64))
        assert (x2 - x1) == pytest.approx(rows, abs=0.51)
        assert (y2 - y1) == pytest.approx(columns, abs=0.51)
        centre_x = (frame.sum(0) * (np.arange(frame.shape[1]) + 0.5)).sum() / frame.sum()
        assert centre_x == pytest.approx((x1 + x2) / 2, abs=0.3)


def test_whole_number_boxes_are_computed_as_floats():
    place = LetterboxPolicy(size_hw=(96, 96)).place((64, 64))
    assert place.boxes_to_frame(np.array([[1, 1, 3, 3]])).tolist() == [[1.5, 1.5, 4.5, 4.5]]
    assert place.boxes_to_frame(torch.tensor([[1, 1, 3, 3]])).tolist() == [[1.5, 1.5, 4.5, 4.5]]


def test_boxes_to_source_clips_unless_told_not_to():
    place = LetterboxPolicy(size_hw=(64, 64)).place((32, 64))
    beyond = np.array([[-4.0, 0.0, 70.0, 64.0]])
    assert place.boxes_to_source(beyond).tolist() == [[0, 0, 64, 32]]
    assert place.boxes_to_source(beyond, clip=False).tolist() == [[-4, -16, 70, 48]]


def plain_apply(place, image):
    """Two steps: resize, then copy a border around."""
    height, width = place.resized_hw
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    sides = (place.top, place.bottom, place.left, place.right)
    return cv2.copyMakeBorder(resized, *sides, cv2.BORDER_CONSTANT, value=(114, 114, 114))


@pytest.mark.parametrize("source_hw", [(64, 64), (37, 91), (91, 37), (1, 1), (1, 300), (128, 128), (33, 64)])
@pytest.mark.parametrize("shape", ["square", "minimal", "stretch"])
def test_apply_equals_the_plain_twin(source_hw, shape):
    image = np.random.default_rng(0).integers(0, 256, (*source_hw, 3), np.uint8)
    place = LetterboxPolicy(size_hw=(64, 64), shape=shape).place(source_hw)
    frame = place.apply(image)
    assert np.array_equal(frame, plain_apply(place, image))
    batch = np.full((2, *place.frame_hw, 3), 7, np.uint8)
    assert place.apply(image, out=batch[1]) is not None
    assert np.array_equal(batch[1], frame)
    assert (batch[0] == 7).all()


def test_apply_takes_views_with_gaps():
    wide = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    for view in (wide[:, ::-1], wide[::2], wide[3:30, 5:44]):
        place = LetterboxPolicy(size_hw=(64, 64)).place(view.shape[:2])
        assert np.array_equal(place.apply(view), place.apply(np.ascontiguousarray(view)))


def test_apply_refuses_other_arrays():
    place = LetterboxPolicy(size_hw=(64, 64)).place((32, 32))
    picture = np.zeros((32, 32, 3), np.uint8)
    for wrong in (picture[:31], picture[..., :1], picture.astype(np.float32)):
        with pytest.raises(ModelError, match=r"expected uint8 \[32, 32, 3\]"):
            place.apply(wrong)
    with pytest.raises(ModelError, match="frame to write into"):
        place.apply(picture, out=np.zeros((64, 65, 3), np.uint8))
    with pytest.raises(ModelError, match="contiguous"):
        place.apply(picture, out=np.zeros((64, 64, 6), np.uint8)[..., ::2])


def test_place_refuses_pictures_without_pixels():
    with pytest.raises(ModelError, match="0x7"):
        LetterboxPolicy().place((0, 7))


@settings(deadline=None, max_examples=50)
@given(policies)
def test_contract_round_trip(policy):
    assert LetterboxPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


def test_contract_is_pinned():
    """Files carry these names and values for ever."""
    assert LetterboxPolicy(size_hw=(384, 640)).to_dict() == {
        "size_hw": [384, 640],
        "stride": 32,
        "shape": "square",
        "scale_up": True,
        "pad_value": 114,
        "colour_order": "rgb",
        "scale": 1 / 255,
        "layout": "nchw",
        "interpolation": "bilinear",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size_hw", 640),
        ("size_hw", [640]),
        ("size_hw", [640, 640, 640]),
        ("size_hw", [640, 0]),
        ("size_hw", [640, 10**9]),
        ("size_hw", [640.0, 640]),
        ("size_hw", [True, 640]),
        ("size_hw", "640"),
        ("size_hw", None),
        ("size_hw", {"0": 640, "1": 640}),
        ("stride", 0),
        ("stride", "32"),
        ("stride", math.nan),
        ("shape", "round"),
        ("shape", ["square"]),
        ("shape", 3),
        ("scale_up", 1),
        ("scale_up", None),
        ("pad_value", 256),
        ("pad_value", -1),
        ("pad_value", 114.0),
        ("colour_order", "bgr"),
        ("scale", 1.0),
        ("scale", math.nan),
        ("scale", "0.00392"),
        ("layout", "nhwc"),
        ("interpolation", "nearest"),
    ],
)
def test_hostile_contract_values(key, value):
    values = {**LetterboxPolicy().to_dict(), key: value}
    with pytest.raises(ModelError, match=rf"^letterbox\.{key}: "):
        LetterboxPolicy.from_dict(values)


@pytest.mark.parametrize("values", [None, [], "x", 3])
def test_contract_must_be_a_mapping(values):
    with pytest.raises(ModelError, match="mapping"):
        LetterboxPolicy.from_dict(values)


def test_contract_keys_are_checked():
    values = LetterboxPolicy().to_dict()
    with pytest.raises(ModelError, match="did you mean 'stride'"):
        LetterboxPolicy.from_dict({**values, "strid": 32})
    with pytest.raises(ModelError, match="unknown key 7"):
        LetterboxPolicy.from_dict({**values, 7: 32})
    for key in values:
        with pytest.raises(ModelError, match=rf"letterbox\.{key}: is missing"):
            LetterboxPolicy.from_dict({name: value for name, value in values.items() if name != key})


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(sorted(LetterboxPolicy().to_dict())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
)
def test_any_contract_is_read_or_refused(changes):
    values = {**LetterboxPolicy().to_dict(), **changes}
    try:
        policy = LetterboxPolicy.from_dict(values)
    except ModelError:
        return
    assert policy.to_dict() == values


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 7),
    source_hw=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    shape=st.sampled_from(("square", "minimal", "stretch")),
    scale_up=st.booleans(),
)
def test_frames_of_other_pictures_equal_the_8_bit_twin(channels, source_hw, size_hw, shape, scale_up):
    """257 times an 8-bit picture, channel by channel, to one 8-bit level, by which the twin rounds."""
    rules = {"size_hw": size_hw, "stride": 8, "shape": shape, "scale_up": scale_up}
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*source_hw, channels), dtype=np.uint8)
    deep = LetterboxPolicy(**rules, picture_format=PictureFormat(channels, 16)).place(source_hw)
    frame = deep.apply(image.astype(np.uint16) * 257)
    assert frame.shape == (*deep.frame_hw, channels)
    for channel in range(channels):
        rgb = np.repeat(image[..., channel : channel + 1], 3, axis=2)
        twin = LetterboxPolicy(**rules).place(source_hw).apply(rgb)
        assert np.abs(frame[..., channel] / 257 - twin[..., 0]).max() <= 1


def test_padding_is_as_bright_in_every_range():
    policy = LetterboxPolicy((8, 8), 8, picture_format=PictureFormat(2, 16, (1000, 3550)))
    frame = policy.place((4, 8)).apply(np.full((4, 8, 2), 1000, np.uint16))
    assert (frame[:2] == 2140).all()
    assert (frame[2:6] == 1000).all()


def test_pictures_of_another_format_are_refused():
    placement = LetterboxPolicy((8, 8), 8, picture_format=PictureFormat(1, 16)).place((4, 8))
    with pytest.raises(ModelError, match=r"picture is uint8 \[4, 8, 3\], expected uint16 \[4, 8, 1\]"):
        placement.apply(np.zeros((4, 8, 3), np.uint8))


def test_the_contract_of_other_pictures():
    """That of 8-bit RGB is as it was before there were others, so that every version reads it."""
    assert "picture_format" not in LetterboxPolicy().to_dict()
    policy = LetterboxPolicy(picture_format=PictureFormat(4, 16, (0, 10000)))
    values = json.loads(json.dumps(policy.to_dict()))
    assert values["colour_order"] == "as-in-file"
    assert values["scale"] == 1 / 10000
    assert LetterboxPolicy.from_dict(values) == policy
    for changes in (
        {"scale": 1 / 255},
        {"colour_order": "rgb"},
        {"picture_format": {}},
        {"picture_format": None},
    ):
        with pytest.raises(ModelError):
            LetterboxPolicy.from_dict({**values, **changes})
    del values["picture_format"]
    with pytest.raises(ModelError):
        LetterboxPolicy.from_dict(values)
    explicit = {**LetterboxPolicy().to_dict(), "picture_format": RGB8.to_dict()}
    with pytest.raises(ModelError, match="unknown key 'picture_format'"):
        LetterboxPolicy.from_dict(explicit)
