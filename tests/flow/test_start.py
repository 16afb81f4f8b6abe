"""A run on other classes, from the weights of another one, with a frozen backbone; stopped and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.flow.conftest import CLASSES, draw_rectangles, vedette
from vedette.checkpoint.deployable import LoadedDetector, load_detector, save_detector
from vedette.cli.app import main
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import AUTOMATIC, TrainConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.detector import build_detector
from vedette.train.run import train

BACKBONE = tuple(f"model.{number}." for number in range(10))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of red and blue boxes, and a detector of these classes whose weights came from nowhere."""
    folder = tmp_path_factory.mktemp("first")
    weights = folder / "first.safetensors"
    save_detector(
        weights,
        build_detector("tiny", classes=2, seed=3),
        class_names=CLASSES,
        letterbox=LetterboxPolicy(size_hw=(64, 64), stride=32, shape="minimal"),
        metadata={},
    )
    return draw_rectangles(folder / "data", train=16, val=4, size=64), weights


def _with_names(data: Path, names: str) -> Path:
    other = data.with_name("others.yaml")
    other.write_text(f"path: .\ntrain: images/train\nval: images/val\nnames: {names}\n", encoding="utf-8")
    return other


def _backbone(loaded: LoadedDetector) -> dict[str, torch.Tensor]:
    return {
        name: tensor for name, tensor in loaded.detector.state_dict().items() if name.startswith(BACKBONE)
    }


def test_other_classes_on_a_frozen_backbone(first: tuple[Path, Path], tmp_path: Path) -> None:
    data, weights = first
    result = vedette(
        "train", "--data", _with_names(data, "[blue, green, red]"), "--weights", weights, "--freeze", "backbone",
        "--img", 64, "--batch", 8, "--epochs", 2, "--optimizer", "AdamW", "--project", tmp_path, "--device", "cpu",
        "--precision", "float32", "--noval", "--noplots", "--workers", 0, "--hyp", "data/hyps/hyp.scratch-low.yaml",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert "(2 of 3 classes) from first.safetensors" in text
    assert "classes that start anew: green" in text
    assert "parameters frozen (backbone)" in text
    assert "the preset yolov5-v7-low has the values published under that name" in text
    assert "classes taken: 2\n  blue\n  red" in (tmp_path / "exp" / "transfer.txt").read_text("utf-8")
    before, after = load_detector(weights), load_detector(tmp_path / "exp" / "weights" / "last.safetensors")
    assert after.class_names == ("blue", "green", "red")
    expected, found = _backbone(before), _backbone(after)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    moved = after.detector.state_dict()["model.23.cv1.conv.weight"]
    assert not torch.equal(moved, before.detector.state_dict()["model.23.cv1.conv.weight"])


def test_a_resumed_run_keeps_anchors_and_frozen_layers(first: tuple[Path, Path], tmp_path: Path) -> None:
    """Longer than planned, and without the checkpoint it began with: the same anchors, the same backbone."""
    data, given = first
    weights = tmp_path / "begin.safetensors"
    weights.write_bytes(given.read_bytes())
    config = TrainConfig(
        data=str(data), weights=str(weights), image_size=(64, 64), batch_size=AUTOMATIC, epochs=1,
        freeze=("10",), project=str(tmp_path), device="cpu", precision="float32", noplots=True, workers=0, threads=1,
    )  # fmt: skip
    folder = train(config, Hyperparameters(anchors=2)).folder
    last = folder / "weights" / "last.safetensors"
    once, expected = load_detector(last).detector, _backbone(load_detector(weights))
    weights.unlink()
    again = train(TrainConfig(resume=str(folder), epochs=2), Hyperparameters())
    assert (again.folder, again.summary["epochs"]) == (folder, 2)
    after = load_detector(last)
    assert after.detector.head.anchors.shape == (3, 2, 2)
    assert torch.equal(after.detector.head.anchors, once.head.anchors)
    assert after.detector.architecture.anchors_px == once.architecture.anchors_px
    assert all(torch.equal(tensor, expected[name]) for name, tensor in _backbone(after).items())
    assert "batch_size: 16" in (folder / "config.yaml").read_text("utf-8")
    assert "fitted to" in (folder / "events.jsonl").read_text("utf-8")


def test_unknown_names_are_one_line(
    first: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(first[0]), "--cfg", "tiny", "--freeze", "backbon", "--project", str(tmp_path)]
    assert main(["train", *arguments, "--device", "cpu"]) == 2
    text = capsys.readouterr().err
    assert text.strip().endswith("did you mean 'backbone'?")
    assert len(text.strip().splitlines()) == 1
