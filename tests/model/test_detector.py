from __future__ import annotations

import copy
import csv
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import GOLDEN
from tests.model.filling import SPEC, assert_summary, fill_weights, golden_image, read_golden
from vedette.errors import ModelError
from vedette.model.blocks import Conv
from vedette.model.detector import _BLOCKS, Detector, build_detector, summary
from vedette.model.fuse import fuse
from vedette.model.releases import architecture
from vedette.model.rows import MODULES
from vedette.model.summary import count_parameters

STATE_DICTS = {
    "yolov5s@v1.0": "state_dict_yolov5s_v1.csv",
    "yolov5s@v3.1": "state_dict_yolov5s_v3.1.csv",
    "yolov5s@v4.0": "state_dict_yolov5s_v4.csv",
    "yolov5m@v4.0": "state_dict_yolov5m_v4.csv",
    "yolov5s@v7.0": "state_dict_yolov5s_v7.csv",
}

# Specification model.md section 6: parameters, parameters fused, modules, modules fused, parameter tensors,
# parameter tensors fused, state-dict entries, GFLOPs (to the digits given).
SIZES: dict[str, tuple[int, int, int, int, int, int, int, float | None]] = {
    "yolov5s@v4.0": (7276605, 7266973, 283, 224, 183, 124, 362, 17.011),
    "yolov5m@v4.0": (21375645, 21356877, 391, 308, 255, 172, 506, 51.332),
    "yolov5l@v4.0": (47056765, 47025981, 499, 392, 327, 220, 650, 115.446),
    "yolov5x@v4.0": (87775965, 87730285, 607, 476, 399, 268, 794, 218.793),
    "yolov5s@v3.1": (7468157, 7459581, 283, 232, 191, 140, 370, None),
    "yolov5m@v3.1": (21805053, 21787869, 391, 316, 263, 188, 514, None),
    "yolov5l@v3.1": (47818749, 47790077, 499, 400, 335, 236, 658, None),
    "yolov5x@v3.1": (88965245, 88922205, 607, 484, 407, 284, 802, None),
    "yolov5s@v1.0": (7468157, 7459581, 282, 231, 191, 140, 370, None),
    "yolov5m@v1.0": (21805053, 21787869, 390, 315, 263, 188, 514, None),
    "yolov5l@v1.0": (47818749, 47790077, 498, 399, 335, 236, 658, None),
    "yolov5x@v1.0": (88965245, 88922205, 606, 483, 407, 284, 802, None),
    "yolov5n@v7.0": (1872157, 1867405, 214, 157, 177, 120, 349, 4.496),
    "yolov5s@v7.0": (7235389, 7225885, 214, 157, 177, 120, 349, 16.485),
    "yolov5m@v7.0": (21190557, 21172173, 291, 212, 243, 164, 481, 48.967),
    "yolov5l@v7.0": (46563709, 46533693, 368, 267, 309, 208, 613, 109.145),
    "yolov5x@v7.0": (86749405, 86705005, 445, 322, 375, 252, 745, 205.669),
    "yolov5n6@v7.0": (3246940, 3239884, 281, 206, 233, 158, 459, 4.587),
    "yolov5s6@v7.0": (12626620, 12612508, 281, 206, 233, 158, 459, 16.8495),
    "yolov5m6@v7.0": (35731932, 35704908, 379, 276, 317, 214, 627, 50.008),
    "yolov5l6@v7.0": (76770172, 76726332, 477, 346, 401, 270, 795, 111.389),
    "yolov5x6@v7.0": (140794780, 140730220, 575, 416, 485, 326, 963, 209.789),
}


def on_meta(name: str, classes: int | None = None) -> Detector:
    with torch.device("meta"):
        return Detector(architecture(name, classes))


@pytest.fixture(scope="module")
def tiny() -> Detector:
    return build_detector("tiny", classes=2).eval()


@pytest.mark.parametrize("name", STATE_DICTS)
def test_state_dict_is_the_published_one(name: str) -> None:
    """golden state_dicts/*.csv: names, order, shapes, types, and which entries are parameters."""
    with (GOLDEN / "state_dicts" / STATE_DICTS[name]).open(encoding="utf-8", newline="") as file:
        expected = [(row["key"], row["shape"], row["dtype"], row["kind"]) for row in csv.DictReader(file)]
    detector = on_meta(name)
    parameters = {key for key, _ in detector.named_parameters()}
    actual = [
        (
            key,
            "x".join(str(side) for side in tensor.shape) or "scalar",
            str(tensor.dtype).removeprefix("torch."),
            "parameter" if key in parameters else "buffer",
        )
        for key, tensor in detector.state_dict().items()
    ]
    assert actual == expected


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    parameters, parameters_fused, modules, modules_fused, tensors, tensors_fused, entries, gflops = SIZES[name]
    detector = on_meta(name)
    assert count_parameters(detector) == parameters
    assert len(list(detector.modules())) == modules
    assert len(list(detector.parameters())) == tensors
    assert len(detector.state_dict()) == entries
    fused = fuse(detector)
    assert count_parameters(fused) == parameters_fused
    assert len(list(fused.modules())) == modules_fused
    assert len(list(fused.parameters())) == tensors_fused
    described = summary(detector.architecture)
    assert (described.parameters, described.parameters_fused) == (parameters, parameters_fused)
    if gflops is not None:  # the specification gives none for v1.0 and v3.1
        assert described.gflops == pytest.approx(gflops, abs=5.01e-4)


def test_v6_is_v7_by_another_name() -> None:
    for size in "nsmlx":
        assert architecture(f"yolov5{size}@v6.0").rows == architecture(f"yolov5{size}@v7.0").rows


def test_parameters_by_classes() -> None:
    """golden bias_init.json: parameter counts of v4.0 s for other numbers of classes."""
    for case in read_golden("bias_init.json")["cases"]:
        assert count_parameters(on_meta("yolov5s", case["nc"])) == case["params"]


def golden_detector(golden: dict[str, Any]) -> Detector:
    chosen = architecture(f"{golden['model']}@{golden['release']}")
    with torch.device("meta"):  # saves an initialisation that is overwritten
        detector = Detector(chosen)
    anchors = build_detector("tiny", classes=1).head if chosen.release != "v1.0" else None
    del anchors
    detector.to_empty(device="cpu")
    fill_weights(detector, golden["bn_k"])
    return detector.eval()
