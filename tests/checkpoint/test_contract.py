import json
from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.contract import ExportContract, InputFormat
from vedette.checkpoint.feature_maps import ExpectedMap, FeatureMap, FeatureMaps
from vedette.core.nms import NmsSettings
from vedette.errors import CheckpointError

SHOWN = FeatureMaps((17, 20), (FeatureMap(4, ("backbone.p3",), 6, 8), FeatureMap(17, (), 5, 16)))


def with_maps(**changes):
    """A contract of a file that shows layers."""
    golden = small_contract().golden
    kept = tuple(ExpectedMap(shown.layer, (0.5,) * shown.channels, (1.0, -2.5)) for shown in SHOWN.maps)
    pictures = tuple(replace(picture, features=kept) for picture in golden.pictures)
    return small_contract(**{"features": SHOWN, "golden": replace(golden, pictures=pictures), **changes})


VALUES = json.loads(small_contract().to_json())
PATHS = [
    (key, *((inner,) if inner else ()))
    for key, value in VALUES.items()
    for inner in (sorted(value) if isinstance(value, dict) else [None])
]


@pytest.mark.parametrize(
    "contract",
    [
        small_contract(),
        small_contract(frame_hw=None, batch_size=None, golden=None),
        small_contract(precision="int8", calibration_sha256="b" * 64),
        small_contract(output="detections", nms=NmsSettings(class_ids=(0, 1), class_offset=4096.0)),
        small_contract(input=InputFormat("nchw", "float32", "bgr", 1 / 255)),
        small_contract(features=SHOWN, golden=None),
        with_maps(),
    ],
)
def test_what_is_written_is_read_back_equal(contract):
    text = contract.to_json()
    assert text.isascii()
    assert ExportContract.from_json(text) == contract


def test_nothing_of_this_machine_is_in_it():
    assert "/" not in json.dumps({**VALUES, "golden": None})


def changed(path, value):
    values = deepcopy(VALUES)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return values


@pytest.mark.parametrize("path", PATHS, ids="-".join)
def test_every_key_must_be_there_and_of_its_type(path):
    values = deepcopy(VALUES)
    place = values
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    with pytest.raises(CheckpointError):
        ExportContract.from_dict(values)
    for wrong in ({"a": 1}, [[]], True, -1, "x\0", 1e300):
        if path == ("letterbox", "scale_up") and wrong is True:
            continue
        with pytest.raises(CheckpointError, match=r"^contract"):
            ExportContract.from_dict(changed(path, wrong))


@pytest.mark.parametrize("path", [(), ("letterbox",), ("input",), ("thresholds",), ("source",), ("golden",)])
def test_unknown_keys_are_refused(path):
    with pytest.raises(CheckpointError, match=r"batch_sizes: unknown key|unknown key 'batch_sizes'"):
        ExportContract.from_dict(changed((*path, "batch_sizes"), 1))


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("frame_hw",), [64, 90], "frame_hw"),
        (("frame_hw",), [128, 96], "frame_hw"),
        (("letterbox", "shape"), "minimal", "frame_hw"),
        (("output",), "detections", "nms"),
        (("precision",), "int8", "calibration_sha256"),
        (("calibration_sha256",), "c" * 64, "calibration_sha256"),
        (("input", "scale"), 0.5, "input.scale"),
        (("class_names",), ["green", "blue"], "class_names"),
        (("strides",), [8, 16, 32], "strides"),
        (("class_names",), ["a", "b\nc"], "class name 1"),
        (("anchors_px",), [[[4, 5]], [[1, 2], [3, 4]]], "anchors_px"),
        (("anchors_px",), [[[4, 0]], [[1, 2]]], "anchor"),
        (("source", "sha256"), "g" * 64, "sha256"),
        (("schema_version",), 2, "contract"),
        (("kind",), "__import__('os')", "contract"),
    ],
)
def test_contradictions_are_refused(path, value, place):
    with pytest.raises(CheckpointError) as caught:
        ExportContract.from_dict(changed(path, value))
    assert place in caught.value.where


def test_files_without_maps_are_as_they_were():
    """Nothing is said of what is not there, so that their fingerprints stay."""
    assert "features" not in VALUES
    assert "features" not in VALUES["golden"]["pictures"][0]
    assert with_maps(golden=None).fingerprint() != small_contract().fingerprint()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda v: v.update(output="predictions"), "features"),
        (lambda v: v["features"].update(level_inputs=[17]), "features"),
        (lambda v: v["features"]["maps"][0].update(stride=12), "features"),
        (lambda v: v["features"]["maps"][0].update(channels=7), "golden"),
        (lambda v: v["features"]["maps"].pop(), "golden"),
        (lambda v: v.pop("features"), "golden"),
        (lambda v: v["golden"]["pictures"][0].pop("features"), "golden"),
        (lambda v: v["golden"]["pictures"][0]["features"].pop(), "golden"),
        (lambda v: v["golden"]["pictures"][0]["features"][0].update(layer=5), "golden"),
        (lambda v: v["golden"]["pictures"][0].update(features=None), "golden"),
        (lambda v: v.update(features=None), "features"),
    ],
)
def test_maps_that_contradict_the_rest_are_refused(change, place):
    values = json.loads(with_maps().to_json())
    change(values)
    with pytest.raises(CheckpointError) as caught:
        ExportContract.from_dict(values)
    assert place in caught.value.where


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "{}",
        '{"kind": "vedette-export", "kind": "vedette-export"}',
        '{"kind": NaN}',
        b"\xff\xfe",
        "1" * 5000,
        " " * (16 * 1024 * 1024 + 1),
    ],
    ids=["empty", "deep", "foreign", "twice", "nan", "bytes", "digits", "huge"],
)
def test_hostile_text_is_refused(text):
    with pytest.raises(CheckpointError, match=r"^best\.onnx"):
        ExportContract.from_json(text, "best.onnx")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from(PATHS), value=JSON)
def test_any_value_is_read_or_refused(path, value):
    values = changed(path, value)
    try:
        read = ExportContract.from_dict(values)
    except CheckpointError:
        return
    assert ExportContract.from_json(read.to_json()) == read


def test_fingerprint_sees_what_detections_depend_on():
    contract = small_contract()
    same = [
        replace(contract, golden=None),
        replace(contract, vedette_version="9"),
        replace(contract, thresholds=replace(contract.thresholds, conf_threshold=0.5)),
    ]
    other = [
        replace(contract, class_names=("blue", "red")),
        replace(contract, letterbox=replace(contract.letterbox, pad_value=0)),
        replace(contract, strides=(16, 8)),
        replace(contract, anchors_px=contract.anchors_px[::-1]),
        replace(contract, input=InputFormat(colour_order="bgr")),
        replace(contract, output="planes"),
    ]
    assert {part.fingerprint() for part in same} == {contract.fingerprint()}
    assert len({part.fingerprint() for part in other} | {contract.fingerprint()}) == len(other) + 1
