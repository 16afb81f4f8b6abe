from pathlib import Path

import pytest
import torch

from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.checkpoint.load import load
from vedette.checkpoint.shipped import DEFAULT, FOLDER, shipped_file, shipped_names
from vedette.errors import CheckpointError


def test_the_default_is_shipped_with_its_card() -> None:
    assert DEFAULT in shipped_names()
    for name in shipped_names():
        card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        for word in ("data", "recipe", "AP50", "limits", "Licence"):
            assert word.lower() in card.lower(), f"{name}.md says nothing about {word}"
        assert (FOLDER / f"{name}.safetensors").stat().st_size <= 4_000_000


def test_load_takes_a_name() -> None:
    loaded = load(Path(DEFAULT))
    assert len(loaded.class_names) == 20
    assert "person" in loaded.class_names
    assert {tensor.dtype for tensor in loaded.detector.parameters()} == {torch.float32}


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(DEFAULT).write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError):
        load(Path(DEFAULT))


def test_unknown_names() -> None:
    assert shipped_file("yolov5z") is None
    assert shipped_file("../weights/" + DEFAULT) is None


def test_half_precision_halves_the_file_and_keeps_the_statistics(tmp_path: Path) -> None:
    loaded = load(Path(DEFAULT))
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        save_detector(
            path,
            loaded.detector,
            class_names=loaded.class_names,
            letterbox=loaded.letterbox,
            metadata={},
            half=half,
        )
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.53 * sizes[0]
    again = load_detector(tmp_path / "True.safetensors").detector.state_dict()
    for name, tensor in loaded.detector.state_dict().items():
        stored = tensor.half().float() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        assert torch.equal(again[name], stored), name
