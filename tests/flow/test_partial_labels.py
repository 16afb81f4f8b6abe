"""Two halves of one data set, each with one of the two classes labelled: what is learned, and how it is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.flow.conftest import draw_rectangles
from tests.flow.small_runs import MODEL
from tests.loss.plain_loss import plain_assignment
from vedette.augment.pipeline import Augmenter, TrainingSamples
from vedette.cli.app import main
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.types import Batch
from vedette.data.collate import collate
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.data.pictures import PictureStore
from vedette.loss.detection_loss import DetectionLoss

CLASSES = ("red", "blue")
STRIDES = (8, 16, 32)
ANCHORS = torch.tensor([[[1.5, 1.5], [3.0, 3.0], [5.0, 4.0]]]).repeat(3, 1, 1)


def _halve(folder: Path, split: str) -> None:
    """Part the pictures of a split: of the even ones only red keeps its rows, of the odd ones only blue."""
    for path in sorted((folder / "images" / split).iterdir()):
        half = int(path.stem) % 2
        label = folder / "labels" / split / f"{path.stem}.txt"
        rows = [row for row in label.read_text("utf-8").splitlines() if row.startswith(str(half))]
        for old, kind, text in ((path, "images", None), (label, "labels", "\n".join(rows))):
            new = folder / kind / split / CLASSES[half] / old.name
            new.parent.mkdir(exist_ok=True)
            old.rename(new)
            if text is not None:
                new.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of the two halves."""
    folder = tmp_path_factory.mktemp("halves") / "data"
    draw_rectangles(folder, train=16, val=8, size=64)
    lines = ["path: .", "names: [red, blue]"]
    for split in ("train", "val"):
        _halve(folder, split)
        known = ", ".join(f"images/{split}/{name}: [{name}]" for name in CLASSES)
        lines.append(f"{split}: {{images: images/{split}, labelled: {{{known}}}}}")
    description = folder / "halves.yaml"
    description.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "small.yaml").write_text(MODEL, encoding="utf-8")
    return description


def _batch(index: SplitIndex, hyperparameters: Hyperparameters) -> Batch:
    store = PictureStore(index, (64, 64))
    make = TrainingSamples(Augmenter(hyperparameters, (64, 64), 0), store, index)
    return collate([make(0, position, position) for position in range(len(index))])


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_no_gradient_reaches_a_class_that_is_not_labelled(
    halves: Path, tmp_path: Path, mosaic: float
) -> None:
    """From the files to the gradient: mosaics join pictures of both halves, and each box keeps its own."""
    index = load_index(load_description(halves), "train", cache_dir=tmp_path / "cache")
    batch = _batch(index, Hyperparameters(mosaic=mosaic, mixup=mosaic))
    assert batch.labelled is not None
    assert torch.equal(batch.labelled, torch.eye(2, dtype=torch.bool)[batch.targets[:, 1].long()])
    assert len(set(batch.targets[:, 1].tolist())) == 2
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(index), 3, 64 // stride, 64 // stride, 7) for stride in STRIDES]
    levels = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    loss = DetectionLoss(Hyperparameters(), anchors=ANCHORS, classes=2, strides=STRIDES)
    total, _ = loss(levels, batch.targets, batch.ignored, batch.labelled)
    total.backward()
    silent = 0
    for level, anchors in zip(levels, ANCHORS, strict=True):
        learns = torch.zeros(*level.shape[:4], 2, dtype=torch.bool)
        found = plain_assignment(batch.targets, anchors, tuple(level.shape[2:4]), Hyperparameters().anchor_t)
        for image, anchor, row, column, _, _, target in found:
            learns[image, anchor, row, column] |= batch.labelled[target]
        assert (level.grad[..., 5:][~learns] == 0).all()
        assert (level.grad[..., 5:][learns] != 0).all()
        silent += int((learns.any(dim=-1) & ~learns.all(dim=-1)).sum())
    assert silent > 0


def test_a_naive_merge_would_teach_that_the_other_class_is_absent(halves: Path, tmp_path: Path) -> None:
    """Negative control: without the word `labelled` the same entries do get a gradient."""
    index = load_index(load_description(halves), "train", cache_dir=tmp_path / "cache")
    batch = _batch(index, Hyperparameters(mosaic=0.0))
    levels = [torch.zeros(len(index), 3, 64 // s, 64 // s, 7, requires_grad=True) for s in STRIDES]
    loss = DetectionLoss(Hyperparameters(), anchors=ANCHORS, classes=2, strides=STRIDES)
    total, _ = loss(levels, batch.targets, batch.ignored)
    total.backward()
    for level in levels:
        answers = (level.grad[..., :4] != 0).any(dim=-1)
        assert (level.grad[..., 5:][answers] != 0).all()


def test_training_and_measuring_count_what_is_labelled(
    halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train", "--data", halves, "--cfg", halves.parent / "small.yaml", "--img", 64, "--batch", 4,
        "--epochs", 1, "--device", "cpu", "--precision", "float32", "--noplots", "--workers", 0,
        "--threads", 1, "--project", tmp_path,
    ]  # fmt: skip
    assert main([str(part) for part in arguments]) == 0
    summary = json.loads((tmp_path / "exp" / "summary.json").read_text(encoding="utf-8"))
    for figures, name in zip(summary["per_class"], CLASSES, strict=True):
        labels = (halves.parent / "labels" / "val" / name).iterdir()
        assert figures["instances"] == sum(len(path.read_text("utf-8").splitlines()) for path in labels)
    capsys.readouterr()
    assert main(["data", "check", str(halves)]) == 0
    out = capsys.readouterr().out
    assert "train: 16 pictures have only some classes labelled" in out
    assert "red 8, blue 8" in out


@pytest.mark.parametrize("objectness", ["background", "unknown"])
def test_the_background_is_learned_unless_it_is_unknown(
    halves: Path, tmp_path: Path, objectness: str
) -> None:
    """Of the pictures of one half, cells that answer for no box have a gradient, or exactly none."""
    text = halves.read_text(encoding="utf-8").replace("blue: [blue]}}", "blue: [blue]}, objectness: OBJ}")
    halves.with_name("objectness.yaml").write_text(text.replace("OBJ", objectness), encoding="utf-8")
    index = load_index(
        load_description(halves.with_name("objectness.yaml")), "train", cache_dir=tmp_path / "cache"
    )
    batch = _batch(index, Hyperparameters(mosaic=0.0, translate=0.0, scale=0.0))
    levels = [torch.zeros(len(index), 3, 64 // s, 64 // s, 7, requires_grad=True) for s in STRIDES]
    loss = DetectionLoss(Hyperparameters(), anchors=ANCHORS, classes=2, strides=STRIDES)
    total, _ = loss(levels, batch.targets, batch.ignored, batch.labelled)
    total.backward()
    for level in levels:
        answers = (level.grad[..., :4] != 0).any(dim=-1)
        assert (level.grad[..., 4][answers] != 0).all()
        silent = level.grad[..., 4][~answers] == 0
        assert silent.all() if objectness == "unknown" else not silent.any()
