"""What is read from a network's settings, and what from its modules and buffers instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoint.legacy import archives
from tests.checkpoint.legacy.archives import stored
from tests.checkpoint.legacy.published import (
    assert_same_state,
    filled_detector,
    published_network,
    save,
    save_release,
    small_architecture,
    training_entries,
)
from vedette.checkpoint.legacy.read import read_legacy
from vedette.model.detector import Detector
from vedette.model.fuse import fuse
from vedette.model.releases import RELEASES
from vedette.model.rows import parse_architecture


def test_settings_that_a_release_evaluated_in_place(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v1.0"))
    network = published_network(detector)
    for line in network.md["head"]:
        line[3] = [21 if argument == "na * (nc + 5)" else argument for argument in line[3]]
    network.md["head"][-1][3] = [2, [[30, 61, 62, 45], [10, 13, 16, 30]]]
    # 2 anchors a level: 14 outputs, whatever the table was written with
    for line in network.md["head"][1:3]:
        line[3][0] = 14
    found = read_legacy(save(tmp_path / "a.pt", training_entries(network, "v1.0")))
    assert_same_state(found.tensors, detector)


def test_anchors_come_from_the_buffers(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    with torch.no_grad():
        detector.head.anchors *= 1.5
        detector.head.get_buffer("anchor_grid").mul_(1.5)
    found = read_legacy(save_release(tmp_path / "a.pt", detector))
    assert_same_state(found.tensors, detector)
    assert torch.tensor(found.architecture.anchors_px).equal(detector.head.anchors_px())


def test_eps_and_activation_come_from_the_modules(tmp_path: Path) -> None:
    rules = {"bn_eps": 1e-5, "activation": "Mish"}
    detector = filled_detector(small_architecture("v4.0", **rules))
    found = read_legacy(save_release(tmp_path / "a.pt", detector))
    assert (found.architecture.bn_eps, found.architecture.activation) == (1e-5, "Mish")


def test_edited_tables(tmp_path: Path) -> None:
    """Other rows, other multiples, four image channels, depthwise convolutions, three anchors a level, one class."""
    values = {
        "nc": 1,
        "ch": 4,
        "depth_multiple": 0.5,
        "width_multiple": 2.0,
        "anchors": 3,
        "backbone": [[-1, 1, "Focus", [8, 3]], [-1, 1, "DWConv", [8, 3, 2]], [-1, 4, "Bottleneck", [8]]],
        "head": [
            [-1, 1, "SPP", [8, [3, 5]]],
            [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            [[-1, 2], 1, "Detect", ["nc", "anchors"]],
        ],
    }
    rules = {"name": "edited", "release": "v4.0", **RELEASES["v4.0"].rules}
    detector = filled_detector(parse_architecture(values, "edited", rules=rules))
    found = read_legacy(save_release(tmp_path / "a.pt", detector, names=["only"]))
    assert_same_state(found.tensors, detector)
    assert found.architecture.rows == detector.architecture.rows
    assert (found.architecture.channels, found.architecture.classes, found.class_names) == (4, 1, ("only",))


def test_paths_of_another_system_are_text(tmp_path: Path) -> None:
    network = published_network(filled_detector(small_architecture("v4.0")), names=["a", "b"])
    network.yaml_file = "C:\\models\\mine.yaml"
    entries = {**training_entries(network, "v4.0"), "opt": {"save_dir": Path("runs")}}
    for module in (b"PosixPath", b"WindowsPath"):
        path = save(tmp_path / "a.pt", entries)
        records = archives.records_of(path)
        records["data.pkl"] = records["data.pkl"].replace(b"PosixPath", module)
        path.write_bytes(stored(records))
        assert read_legacy(path).architecture.name == "mine"


@pytest.mark.parametrize("release", ["v3.1", "v4.0"])
def test_fused_networks_become_whole_again(tmp_path: Path, release: str) -> None:
    detector = filled_detector(small_architecture(release))
    fused = fuse(detector)
    network = training_entries(published_network(fused, names=["a", "b"]), release)
    found = read_legacy(save(tmp_path / "fused.pt", network))
    imported = Detector(found.architecture).eval()
    imported.load_state_dict(found.tensors)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for level, expected in zip(imported(images), fused(images), strict=True):
            torch.testing.assert_close(level, expected, rtol=1e-5, atol=1e-5)
