"""A file that was changed in any way that changes its boxes does not pass."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from vedette.checkpoint.contract import ExportContract, InputFormat
from vedette.config.export import VerifyConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import CheckpointError, UsageError
from vedette.export.verify import verify


def check(path, **options):
    return verify(VerifyConfig(file=str(path), **options))


def change_contract(path, change, *, fingerprint=True):
    """Write a changed contract into an ONNX file; with the fingerprint that a careful forger would give it."""
    model = onnx.load(path)
    contract = change(ExportContract.from_json(model.metadata_props[0].value))
    if fingerprint:
        golden = replace(contract.golden, contract_sha256=contract.fingerprint())
        contract = replace(contract, golden=golden)
    model.metadata_props[0].value = contract.to_json()
    onnx.save(model, path)


def letterbox(**changes):
    return lambda contract: replace(contract, letterbox=replace(contract.letterbox, **changes))


def other_golden_placement(contract):
    """Also tell the golden pictures that the changed letterbox is right."""
    from vedette.checkpoint.golden import ExpectedPlacement
    from vedette.data.images import decode_image

    pictures = []
    for picture in contract.golden.pictures:
        image = decode_image(picture.png)
        placed = contract.letterbox.place(image.shape[:2])
        pictures.append(replace(picture, placement=ExpectedPlacement.of(placed)))
    return replace(contract, golden=replace(contract.golden, pictures=tuple(pictures)))


def anchors(contract):
    first, *rest = contract.anchors_px
    return replace(contract, anchors_px=(tuple((width * 1.1, height) for width, height in first), *rest))


MUTATIONS = {
    "pad value": letterbox(pad_value=0),
    "square to stretch": letterbox(shape="stretch"),
    "no enlarging": letterbox(scale_up=False),
    "order of colours": lambda contract: replace(contract, input=InputFormat(colour_order="bgr")),
    "order of classes": lambda contract: replace(contract, class_names=contract.class_names[::-1]),
    "anchors": anchors,
    "order of levels": lambda contract: replace(contract, anchors_px=contract.anchors_px[::-1]),
    "strides": lambda contract: replace(contract, strides=(4, 16, 32)),
}


def test_the_file_as_it_was_written_passes(exports):
    result = check(exports.path("onnx"))
    assert result.passed
    assert result.golden.boxes > 10
    assert result.golden.pictures == 3
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_contract_fails_by_its_boxes(name, exports, tmp_path):
    """Even if the golden pictures say that the new letterbox is right, and the fingerprint fits."""
    path = exports.copy("onnx", tmp_path)
    change_contract(path, lambda contract: other_golden_placement(MUTATIONS[name](contract)))
    problems = check(path).problems
    assert problems
    assert problems[0].startswith("golden pictures: ")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_contract_fails_by_its_fingerprint(name, exports, tmp_path):
    path = exports.copy("onnx", tmp_path)
    change_contract(path, MUTATIONS[name], fingerprint=False)
    assert "contract: it was changed after the golden detections were made" in check(path).problems


@pytest.mark.parametrize("changes", [{"pad_value": 115}, {"shape": "stretch"}, {"scale_up": False}])
def test_a_changed_letterbox_fails_by_where_pictures_lie(changes, exports, tmp_path):
    """Whatever the boxes say: a pad value that is off by one moves none of them far."""
    path = exports.copy("onnx", tmp_path)
    change_contract(path, letterbox(**changes))
    assert any("lies in its frame" in problem for problem in check(path).problems)


def test_another_frame_size_fails(exports, tmp_path):
    path = exports.copy("onnx", tmp_path, dynamic="all")
    policy = LetterboxPolicy(size_hw=(64, 128))
    change_contract(path, lambda contract: replace(contract, letterbox=policy))
    problems = check(path).problems
    assert any("lies in its frame" in problem for problem in problems)
    assert any(problem.startswith("golden pictures: ") for problem in problems)


def test_a_contract_that_scales_is_refused(exports, tmp_path):
    path = exports.copy("onnx", tmp_path)
    change_contract(path, lambda contract: replace(contract, input=InputFormat(scale=0.5)))
    with pytest.raises(CheckpointError, match=r"input\.scale: contradicts other values"):
        check(path)


@pytest.mark.parametrize("what", ["scale", "order of colours", "one weight"])
def test_a_changed_graph_fails(what, exports, tmp_path):
    path = exports.copy("onnx", tmp_path)
    model = onnx.load(path)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    values = numpy_helper.to_array(weight).copy()
    if what == "scale":
        values *= 1.02
    elif what == "order of colours":  # two columns at once: the channels are r g b r g b
        values = values.reshape(len(values), 2, 3, *values.shape[2:])[:, :, ::-1].reshape(values.shape)
    else:
        values.flat[np.abs(values).argmax()] *= -1
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), weight.name))
    onnx.save(model, path)
    problems = check(path).problems
    assert problems
    assert problems[0].startswith("golden pictures: ")


def test_tolerances_can_be_widened_and_narrowed(exports, tmp_path):
    path = exports.copy("onnx", tmp_path)
    change_contract(path, lambda contract: other_golden_placement(MUTATIONS["pad value"](contract)))
    assert not check(path).passed
    assert check(path, max_differing=1.0).passed
    strict = check(exports.path("onnx"), min_overlap=1.0, max_score_difference=0.0)
    assert not strict.passed
    assert strict.tolerance.min_overlap == 1.0


def test_the_checkpoint_knows_better(exports, tmp_path):
    path = exports.copy("onnx", tmp_path)

    def change(contract):
        changed = MUTATIONS["order of classes"](MUTATIONS["pad value"](contract))
        return replace(changed, golden=replace(contract.golden, contract_sha256=changed.fingerprint()))

    change_contract(path, change)
    problems = check(path, weights=str(exports.weights)).problems
    assert "contract: its class names are not those of the checkpoint" in problems
    assert "contract: its pad value is not that of the checkpoint" in problems
    assert check(exports.path("onnx"), weights=str(exports.weights)).passed


def test_a_file_without_golden_pictures_proves_nothing(exports, tmp_path):
    path = exports.copy("onnx", tmp_path)
    model = onnx.load(path)
    contract = ExportContract.from_json(model.metadata_props[0].value)
    model.metadata_props[0].value = replace(contract, golden=None).to_json()
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="carries no golden pictures"):
        check(path)
    with pytest.raises(CheckpointError, match="carries no golden pictures"):
        check(exports.weights)


def test_a_golden_picture_that_is_none_is_refused(exports, tmp_path):
    path = exports.copy("onnx", tmp_path)

    def change(contract):
        broken = tuple(replace(picture, png=b"\x89PNG broken") for picture in contract.golden.pictures)
        return replace(contract, golden=replace(contract.golden, pictures=broken))

    change_contract(path, change)
    with pytest.raises(CheckpointError, match="golden picture 0"):
        check(path)


def test_data_needs_the_checkpoint(exports):
    with pytest.raises(UsageError, match="needs the checkpoint; give --weights"):
        check(exports.path("onnx"), data="any.yaml")
