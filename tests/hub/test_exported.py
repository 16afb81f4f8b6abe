import numpy as np
import pytest
import torch

from tests.export.exported_files import NAMES, pictures
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.export.differences import TOLERANCES, FoundBoxes, compare
from vedette.hub.autoshape import AutoShape
from vedette.hub.entry_points import custom, load
from vedette.hub.exported import ExportedModel


@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino"])
def test_custom_takes_exported_files(name, exports, capsys):
    path = exports.path(name, dynamic="all") if name != "onnx" else exports.path(name)
    model = custom(str(path), device="cpu")
    assert path.name in capsys.readouterr().out
    assert isinstance(model, AutoShape)
    assert (model.names, model.nc, model.stride.tolist()) == (dict(enumerate(NAMES)), 3, [8, 16, 32])
    model.conf = 0.3
    images = pictures(3)
    results = model(images, size=128)
    assert len(results.xyxy) == 3
    assert all(len(found) for found in results.xyxy)
    assert results.s == ((3, 3, 96, 128) if name == "onnx" else (3, 3, 128, 128))


def test_the_same_boxes_as_the_checkpoint(exports):
    exported = custom(exports.path("torchscript", dynamic="all"), device="cpu", verbose=False)
    checkpoint = custom(exports.weights, device="cpu", verbose=False)
    for image in pictures(3):
        (first,), (second,) = (model(image, size=128).detections() for model in (checkpoint, exported))
        # Boxes of almost the same score may change places.
        found = compare(
            [FoundBoxes.of(first)],
            [FoundBoxes.of(second)],
            conf_threshold=0.25,
            max_detections=1000,
            tolerance=TOLERANCES["float32"],
        )
        assert found.boxes > 50
        assert found.problems(TOLERANCES["float32"], "picture") == []


def test_a_tensor_gives_predictions(exports):
    model = load("custom", exports.path("torchscript", dynamic="all"), device="cpu", _verbose=False)
    bare = load(
        "custom", exports.path("torchscript", dynamic="all"), device="cpu", _verbose=False, autoshape=False
    )
    assert isinstance(bare, ExportedModel)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96))).float() / 255
    checkpoint = custom(exports.weights, device="cpu", verbose=False)
    expected, _ = checkpoint(frames)
    for asked in (model, bare):
        predictions, levels = asked(frames)
        assert levels is None
        torch.testing.assert_close(predictions, expected, atol=0.05, rtol=1e-3)


def test_what_needs_layers_is_refused(exports):
    model = custom(exports.path("torchscript"), device="cpu", verbose=False)
    for call in (
        lambda: model(pictures(1)[0], augment=True),
        lambda: model(pictures(1)[0], profile=True),
        lambda: model(torch.zeros(1, 3, 96, 128), augment=True),
    ):
        with pytest.raises(UsageError, match="has no layers to run again"):
            call()


def test_built_in_suppression_comes_first(exports):
    path = exports.path("onnx", nms=True, conf_threshold=0.4, max_detections=50)
    model = custom(path, device="cpu", verbose=False)
    model.conf, model.max_det = 0.3, 1000
    (found,) = model(pictures(1)[0]).xyxy
    assert 0 < len(found) <= 50
    assert found[:, 4].min() > 0.4
    with pytest.raises(ModelError, match="ends in suppression"):
        model(torch.zeros(1, 3, 96, 128))


def test_other_files_are_refused(tmp_path, exports):
    with pytest.raises(CheckpointError, match="cannot be read"):
        custom(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="is a checkpoint"):
        ExportedModel(exports.weights, "cpu")
