"""Non-maximum suppression as standard ONNX operators behind a network that gives predictions.

NonMaxSuppression of the standard is greedy, class by class, with strict comparisons, as :mod:`vedette.core.nms`. It
lists what it kept picture by picture and class by class; the rest of the graph puts the best of each picture first and
fills up with zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.core.nms import NmsSettings

if TYPE_CHECKING:
    from onnx import ModelProto

DETECTIONS = "detections"
_BOX_VALUES = 5


def add_suppression(model: ModelProto, settings: NmsSettings, classes: int, batch_size: int | None) -> None:
    """Put suppression behind the output ``predictions`` [B, N, 5+C], in place.

    The new output is ``detections``, float32 [B, M, 6]: x1, y1, x2, y2, score, class; best first, zeros behind the
    last; M is ``max_detections``.

    Args:
        model: of :func:`vedette.export.onnx.convert_onnx`.
        settings: thresholds, ``agnostic`` and ``max_detections``; the others must be their defaults.
        classes: C.
        batch_size: B; None: any.
    """
    from onnx import TensorProto, helper

    build = _Nodes(model)
    predictions = model.graph.output[0].name
    scores, ids = _scores(build, predictions, classes, settings.agnostic)
    build.constant("suppression_limit", np.array([settings.max_detections], np.int64))
    build.constant("suppression_iou", np.array([settings.iou_threshold], np.float32))
    build.constant("suppression_conf", np.array([settings.conf_threshold], np.float32))
    boxes = build.slice(predictions, 0, 4)
    thresholds = ["suppression_limit", "suppression_iou", "suppression_conf"]
    chosen = build.node("NonMaxSuppression", [boxes, scores, *thresholds], center_point_box=1)
    _best_of_each_picture(build, chosen, boxes, scores, ids, settings.max_detections)
    del model.graph.output[:]
    shape = [batch_size or "batch", settings.max_detections, 6]
    model.graph.output.append(helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, shape))


class _Nodes:
    """Appends nodes to a graph; the names of their values are theirs alone."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._count = 0

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node of one output and return the name of that."""
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(self, operator: str, inputs: list[str], outputs: int, **attributes: Any) -> list[str]:
        """Append a node of several outputs and return their names."""
        self._count += 1
        names = [f"suppression_{self._count}_{number}" for number in range(outputs)]
        self.append(operator, inputs, names, **attributes)
        return names

    def append(self, operator: str, inputs: list[str], names: list[str], **attributes: Any) -> None:
        """Append a node with outputs of these names."""
        from onnx import helper

        self._graph.node.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def numbers(self, *values: int) -> str:
        """Add whole numbers as a constant [n]."""
        self._count += 1
        return self.constant(f"suppression_{self._count}", np.array(values, np.int64))

    def slice(self, values: str, start: int, stop: int, axis: int = -1) -> str:
        """Part of the values along an axis."""
        places = [self.numbers(number) for number in (start, stop, axis)]
        return self.node("Slice", [values, *places])

    def cast(self, values: str, kind: int) -> str:
        """Values as another type."""
        return self.node("Cast", [values], to=kind)


def _scores(build: _Nodes, predictions: str, classes: int, agnostic: bool) -> tuple[str, str]:
    """Scores [B, C or 1, N] and, if classes suppress each other, the best class of each box, int64 [B, 1, N]."""
    objectness = build.slice(predictions, _BOX_VALUES - 1, _BOX_VALUES)
    products = build.node("Mul", [build.slice(predictions, _BOX_VALUES, _BOX_VALUES + classes), objectness])
    scores = build.node("Transpose", [products], perm=[0, 2, 1])
    if not agnostic:
        return scores, ""
    ids = build.node("ArgMax", [scores], axis=1, keepdims=1)
    return build.node("ReduceMax", [scores, build.numbers(1)], keepdims=1), ids


def _best_of_each_picture(
    build: _Nodes, chosen: str, boxes: str, scores: str, ids: str, max_detections: int
) -> None:
    """From rows (picture, class, box) [K, 3] to ``detections`` [B, M, 6]."""
    from onnx import TensorProto

    found = build.node("GatherND", [scores, chosen])  # [K]
    count = build.node("Shape", [found])
    # All rows by falling score; equal ones in their order.
    ordered, order = build.nodes("TopK", [found, count], 2, axis=0, largest=1, sorted=1)
    rows = build.node("Gather", [chosen, order], axis=0)  # [K, 3]
    column = build.numbers(1)
    picture, class_id, box = (build.slice(rows, number, number + 1) for number in range(3))  # [K, 1] each
    if ids:
        places = build.node("Concat", [picture, class_id, box], axis=1)
        class_id = build.node("Unsqueeze", [build.node("GatherND", [ids, places]), column])
    kept_boxes = build.node("GatherND", [boxes, build.node("Concat", [picture, box], axis=1)])  # [K, 4]
    x1y1x2y2 = _corners(build, kept_boxes)
    score = build.node("Unsqueeze", [ordered, column])
    values = build.node(
        "Concat", [x1y1x2y2, score, build.cast(class_id, TensorProto.FLOAT)], axis=1
    )  # [K, 6]
    batch = build.slice(build.node("Shape", [boxes]), 0, 1, 0)  # [1]
    rank = _rank_in_picture(build, picture, batch)  # [K, 1]
    limit = build.numbers(max_detections)
    within = build.node("Squeeze", [build.node("Less", [rank, limit]), column])  # [K]
    target = build.node("Concat", [picture, rank], axis=1)  # [K, 2]
    kept_values = build.node("Compress", [values, within], axis=0)
    kept_target = build.node("Compress", [target, within], axis=0)
    shape = build.node("Concat", [batch, limit, build.numbers(6)], axis=0)
    nothing = build.node("Expand", [build.constant("suppression_zero", np.zeros(1, np.float32)), shape])
    build.append("ScatterND", [nothing, kept_target, kept_values], [DETECTIONS])


def _corners(build: _Nodes, boxes: str) -> str:
    """Centre and size [K, 4] to corners [K, 4]."""
    centre, size = build.slice(boxes, 0, 2), build.slice(boxes, 2, 4)
    half = build.node("Mul", [size, build.constant("suppression_half", np.array([0.5], np.float32))])
    return build.node(
        "Concat", [build.node("Sub", [centre, half]), build.node("Add", [centre, half])], axis=1
    )


def _rank_in_picture(build: _Nodes, picture: str, batch: str) -> str:
    """How many rows of the same picture come before each row: int64 [K, 1] of its picture [K, 1]."""
    from onnx import TensorProto

    zero = build.constant("suppression_first", np.array(0, np.int64))
    one = build.constant("suppression_step", np.array(1, np.int64))
    pictures = build.node("Range", [zero, build.node("Squeeze", [batch]), one])  # [B]
    same = build.cast(build.node("Equal", [picture, pictures]), TensorProto.INT64)  # [K, B]
    before = build.node("CumSum", [same, zero], exclusive=1)
    return build.node("GatherElements", [before, picture], axis=1)
