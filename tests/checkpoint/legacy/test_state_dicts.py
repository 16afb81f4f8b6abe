"""Tensors by name, without the network they belong to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from tests.checkpoint.legacy.archives import published_tensors, refusal
from tests.checkpoint.legacy.published import (
    assert_same_state,
    filled_detector,
    save,
    settings_of,
    small_architecture,
)
from vedette.checkpoint.legacy.read import read_legacy
from vedette.checkpoint.legacy.state_dicts import recognised
from vedette.errors import CheckpointError
from vedette.model.detector import build_detector
from vedette.model.releases import architecture


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("state_dict_yolov5s_v1.csv", "yolov5s@v1.0"),
        ("state_dict_yolov5s_v3.1.csv", "yolov5s@v3.1"),
        ("state_dict_yolov5s_v4.csv", "yolov5s@v4.0"),
        ("state_dict_yolov5m_v4.csv", "yolov5m@v4.0"),
        ("state_dict_yolov5s_v7.csv", "yolov5s@v7.0"),
    ],
)
def test_published_names(tmp_path: Path, file: str, name: str) -> None:
    """Names, shapes and types of golden state_dicts/*.csv, without any network; and with a prefix and counters."""
    rows = published_tensors(file)
    state = {
        key: torch.zeros(shape, dtype=torch.int64 if dtype == "int64" else torch.float16)
        for key, shape, dtype in rows
    }
    found = read_legacy(save(tmp_path / "sd.pt", state))
    assert list(found.tensors) == [key for key, _, _ in rows]
    assert found.architecture.release == name.partition("@")[2]
    assert found.architecture.rows == architecture(name).rows
    assert found.architecture.classes == 80
    assert found.class_names[79] == "class 79"


def test_values_come_back_from_behind_a_prefix(tmp_path: Path) -> None:
    detector = filled_detector(architecture("tiny", classes=4))
    state = {f"module.{name}": tensor for name, tensor in detector.state_dict().items()}
    state["module.total_ops"] = torch.zeros(1, dtype=torch.float64)
    found = read_legacy(save(tmp_path / "sd.pt", {"state_dict": state, "epoch": 3}, stream=True))
    assert_same_state(found.tensors, detector)
    assert (found.facts["epoch"], found.facts["weights"]) == (3, "state_dict")


def test_an_edited_table_needs_its_file(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    path = save(tmp_path / "sd.pt", detector.state_dict())
    assert "name the model file of its layers with --cfg" in refusal(path)
    model = tmp_path / "small.yaml"
    model.write_text(yaml.safe_dump(settings_of(detector.architecture)), encoding="utf-8")
    found = read_legacy(path, table=architecture(str(model)))
    assert_same_state(found.tensors, detector)


@pytest.mark.parametrize("name", ["yolov5s6@v5.0", "yolov5n6@v7.0", "yolov5n@v7.0"])
def test_models_of_other_releases_and_sizes(name: str) -> None:
    """By names and shapes alone; of two releases with the same tensors the later one counts."""
    with torch.device("meta"):
        state = build_detector(dataclasses.replace(architecture(name, classes=7))).state_dict()
    anchors = torch.ones(*state[next(key for key in state if key.endswith(".anchors"))].shape)
    state = {key: anchors if key.endswith(".anchors") else value for key, value in state.items()}
    found = recognised(state)
    assert (found.release, found.classes) == (name.partition("@")[2], 7)
    assert found.rows == architecture(name).rows


def test_biases_that_fit_no_number_of_classes_are_not_tried_for_ever() -> None:
    """Every number of classes that is tried costs a network; a stranger may offer thousands."""
    state = {f"model.{row}.bias": torch.zeros(3 * row + 18) for row in range(1, 3000)}
    state |= {
        "model.0.conv.conv.weight": torch.zeros(32, 12, 3, 3),
        "model.3000.anchors": torch.ones(3, 3, 2),
    }
    with pytest.raises(CheckpointError, match="do not fit any published model"):
        recognised(state)
