"""A run's detector from its settings: checkpoint or name, anchors, frozen layers; and the same again on resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.flow.conftest import draw_rectangles
from tests.flow.small_runs import MODEL
from vedette.checkpoint.deployable import save_detector
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.errors import CheckpointError, UsageError
from vedette.model.detector import Detector, build_detector
from vedette.model.releases import architecture
from vedette.track.events import Event, Note
from vedette.train.ema import WeightAverage
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.start.start import Start, start_again, start_anew


class _Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, Note):
            self.texts.append(event.text)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SplitIndex:
    """Boxes of 16 to 47 pixels in pictures of 96, of the classes red and blue."""
    description = load_description(str(draw_rectangles(tmp_path_factory.mktemp("start"), train=24, val=1)))
    return load_index(description, "train", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the classes green, blue, white whose anchors are half of the published ones."""
    detector = build_detector("tiny", classes=3, seed=8)
    detector.head.anchors.div_(2)
    detector.head.get_buffer("anchor_grid").div_(2)
    path = tmp_path_factory.mktemp("weights") / "old.safetensors"
    letterbox = LetterboxPolicy(size_hw=(96, 96), stride=32, shape="minimal")
    save_detector(path, detector, class_names=("green", "blue", "white"), letterbox=letterbox, metadata={})
    return path


def _files(folder: Path, hyperparameters: dict[str, Any] | None = None, **settings: Any) -> RunFiles:
    config = TrainConfig(data="rectangles.yaml", image_size=(96, 96), **settings)
    return RunFiles(folder, config, Hyperparameters(**(hyperparameters or {})), resumed=False)


def _anchors(detector: Detector) -> list[Any]:
    return detector.head.anchors_px().tolist()


def _identity(start: Start) -> dict[str, Any]:
    return {"architecture": start.detector.architecture.to_dict(), "start": start.text}


def test_from_scratch_nothing_is_changed(index: SplitIndex, tmp_path: Path) -> None:
    notes = _Notes()
    start = start_anew(_files(tmp_path, cfg="tiny", seed=3), index, Emitter([notes]))
    plain = build_detector("tiny", classes=2, seed=3).state_dict()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in start.detector.state_dict().items())
    assert start.text.startswith("anchors: those of the model, recall 1.0000")
    assert not notes.texts
    assert not (tmp_path / "transfer.txt").exists()


def test_a_checkpoint_brings_model_anchors_and_classes(
    index: SplitIndex, weights: Path, tmp_path: Path
) -> None:
    notes = _Notes()
    start = start_anew(_files(tmp_path, weights=str(weights)), index, Emitter([notes]))
    assert start.detector.architecture.name == "tiny"
    assert _anchors(start.detector)[0][0] == [5.0, 6.5]
    assert start.detector.architecture.anchors_px[0][0] == (5.0, 6.5)  # type: ignore[index]
    assert notes.texts[0].endswith("6 by class name (1 of 2 classes) from old.safetensors")
    assert notes.texts[1] == "classes that start anew: red"
    report = (tmp_path / "transfer.txt").read_text(encoding="utf-8")
    assert "classes taken: 1\n  blue" in report
    assert "tensors that start anew: 0" in report


def test_a_named_model_keeps_its_own_anchors(index: SplitIndex, weights: Path, tmp_path: Path) -> None:
    start = start_anew(_files(tmp_path, weights=str(weights), cfg="tiny"), index, Emitter([]))
    assert _anchors(start.detector)[0][0] == [10.0, 13.0]
    report = (tmp_path / "transfer.txt").read_text(encoding="utf-8")
    assert "tensors that start anew: 2\n  model.24.anchors" in report


def test_fitted_anchors_are_everywhere(index: SplitIndex, weights: Path, tmp_path: Path) -> None:
    """In the head's buffers, in the architecture that goes into checkpoints, and in the average from the start."""
    notes = _Notes()
    files = _files(tmp_path, {"anchors": 2.6}, cfg="tiny")
    start = start_anew(files, index, Emitter([notes]))
    fitted = start.detector.architecture.anchors_px
    assert not isinstance(fitted, int)
    assert fitted != architecture("tiny").anchors_px
    published = torch.tensor(fitted)
    torch.testing.assert_close(start.detector.head.anchors_px(), published)
    torch.testing.assert_close(start.detector.head.get_buffer("anchor_grid").flatten(), published.flatten())
    average = WeightAverage(start.detector, decay=0.99, ramp=0)
    average.update(start.detector)
    assert torch.equal(average.tensors["model.24.anchors"], start.detector.head.anchors)
    assert notes.texts[0].startswith("anchors: fitted to ")
    again = start_again(files, _identity(start), ("red", "blue"))
    assert torch.equal(again.detector.head.anchors, start.detector.head.anchors)
    assert again.text == start.text


def test_fitted_anchors_do_not_change_with_anything_but_the_seed(index: SplitIndex, tmp_path: Path) -> None:
    found = [
        _anchors(
            start_anew(_files(tmp_path, {"anchors": 3}, cfg="tiny", seed=seed), index, Emitter([])).detector
        )
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_resuming_needs_no_checkpoint_and_keeps_what_is_frozen(
    index: SplitIndex, weights: Path, tmp_path: Path
) -> None:
    files = _files(tmp_path, weights=str(weights), freeze=("backbone",))
    start = start_anew(files, index, Emitter([]))
    gone = _files(tmp_path, weights="gone.safetensors", freeze=("backbone",))
    again = start_again(gone, _identity(start), index.class_names)
    assert again.detector.architecture == start.detector.architecture
    frozen, frozen_again = (
        [name for name, parameter in detector.named_parameters() if not parameter.requires_grad]
        for detector in (start.detector, again.detector)
    )
    assert frozen == frozen_again
    assert frozen
    assert "parameters frozen (backbone)" in again.text


def test_what_cannot_be_resumed(index: SplitIndex, tmp_path: Path) -> None:
    files = _files(tmp_path, cfg="tiny")
    identity = _identity(start_anew(files, index, Emitter([])))
    with pytest.raises(UsageError, match=r"--resume: the data set has 3 classes, .* it had 2"):
        start_again(files, identity, ("a", "b", "c"))
    with pytest.raises(CheckpointError, match="lacks its architecture"):
        start_again(files, {}, ("a", "b"))


@pytest.mark.parametrize("given", [10, (10,), ["10"], "10"])
def test_layers_to_freeze_may_be_numbers(given: Any, index: SplitIndex, tmp_path: Path) -> None:
    files = _files(tmp_path, cfg="tiny", freeze=given)
    assert files.config.freeze == ("10",)
    assert "parameters frozen (10)" in start_anew(files, index, Emitter([])).text


def test_the_data_set_decides_on_the_channels(index: SplitIndex, weights: Path, tmp_path: Path) -> None:
    """Of a named model and of a checkpoint, whose first convolution is fitted; a file that says others is refused."""
    grey = replace(index, picture_format=PictureFormat(1, 16))
    assert start_anew(_files(tmp_path, cfg="tiny"), grey, Emitter([])).detector.architecture.channels == 1
    notes = _Notes()
    start = start_anew(_files(tmp_path, weights=str(weights)), grey, Emitter([notes]))
    assert start.detector.architecture.channels == 1
    assert "1 fitted from 3 to 1 channels" in notes.texts[0]
    model = tmp_path / "four.yaml"
    model.write_text(f"ch: 4\n{MODEL}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"four\.yaml: ch: is for pictures of 4 channels, .* have 1"):
        start_anew(_files(tmp_path, cfg=str(model)), grey, Emitter([]))


def test_a_run_goes_on_with_the_pictures_it_began_with(index: SplitIndex, tmp_path: Path) -> None:
    """A run of before there were picture formats had 8-bit RGB."""
    files = _files(tmp_path, cfg="tiny")
    identity = _identity(start_anew(files, index, Emitter([])))
    names, deep = index.class_names, PictureFormat(3, 16)
    start_again(files, identity, names, RGB8)
    start_again(files, {**identity, "picture_format": deep.to_dict()}, names, deep)
    with pytest.raises(
        UsageError, match="pictures of 3 channels of 16 bits, at the start of the run it had pictures of 8"
    ):
        start_again(files, identity, names, deep)
