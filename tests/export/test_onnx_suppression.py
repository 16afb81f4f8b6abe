"""Suppression in the graph keeps what vedette's own suppression keeps."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vedette.core.nms import NmsSettings, suppress
from vedette.export.onnx_suppression import add_suppression

CLASSES = 4


def session(settings, batch_size=None):
    """A graph that gives its input out as predictions, and suppression behind it."""
    shape = ["batch", "rows", 5 + CLASSES]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("given", "predictions")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["given"], ["predictions"])], "g", ends[:1], ends[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    add_suppression(model, settings, CLASSES, batch_size)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def predictions(batch, rows, seed=0):
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 100, (batch, rows, 2))
    sizes = random.uniform(5, 60, (batch, rows, 2))
    scores = random.uniform(0, 1, (batch, rows, 1 + CLASSES))
    return np.concatenate((centres, sizes, scores), axis=2).astype(np.float32)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_same_boxes_as_ours(batch, agnostic):
    settings = NmsSettings(conf_threshold=0.3, iou_threshold=0.45, max_detections=40, agnostic=agnostic)
    given = predictions(batch, 200)
    (found,) = session(settings).run(None, {"given": given})
    assert (found.shape, found.dtype) == ((batch, 40, 6), np.float32)
    for picture, rows in zip(given, found, strict=True):
        expected = suppress(picture, settings).detections
        assert 10 < len(expected) <= 40
        # The same products in the same order; corners are rounded once or twice.
        np.testing.assert_allclose(rows[: len(expected)], expected, atol=1e-4)
        assert not rows[len(expected) :].any()


def test_the_best_are_kept_if_there_are_too_many():
    settings = NmsSettings(conf_threshold=0.1, iou_threshold=0.9, max_detections=5)
    given = predictions(2, 100)
    (found,) = session(settings, 2).run(None, {"given": given})
    for picture, rows in zip(given, found, strict=True):
        np.testing.assert_allclose(rows, suppress(picture, settings).detections, atol=1e-4)


def test_nothing_found():
    settings = NmsSettings(conf_threshold=0.5, max_detections=3)
    given = predictions(2, 10)
    given[..., 4] = 0.1
    (found,) = session(settings).run(None, {"given": given})
    assert not found.any()
    given[1, 0, 4:] = 1.0
    (found,) = session(settings).run(None, {"given": given})
    assert not found[0].any()
    assert (found[1, :, 4] == 1.0).all()
    assert not found[1, 3:].any()


def test_thresholds_are_strict():
    """A score equal to the threshold is not above it, and an overlap equal to the other does not suppress."""
    settings = NmsSettings(conf_threshold=0.5, iou_threshold=0.5, max_detections=5)
    given = np.zeros((1, 3, 5 + CLASSES), np.float32)
    given[0, :, :4] = [[10, 10, 8, 8], [10, 10, 8, 4], [50, 50, 8, 8]]
    given[0, :, 4] = 1.0
    given[0, :, 5] = [0.9, 0.8, 0.5]
    (found,) = session(settings).run(None, {"given": given})
    np.testing.assert_allclose(found[0, :, 4], [0.9, 0.8, 0, 0, 0])
    assert len(suppress(given[0], settings).detections) == 2
