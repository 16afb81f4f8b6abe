"""The one door: which reader a file gets, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint.hostile import Hostile, hostile_files
from tests.checkpoint.legacy.published import assert_same_state, filled_detector, small_architecture
from vedette.checkpoint import load as module
from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.checkpoint.load import load
from vedette.checkpoint.shipped import DEFAULT
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import CheckpointError


def test_files_of_ours_by_any_name(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    for name in ("best.safetensors", "best", "best.weights"):
        save_detector(
            tmp_path / name, detector, class_names=["a", "b"], letterbox=LetterboxPolicy(), metadata={}
        )
        assert_same_state(dict(load(tmp_path / name).detector.state_dict()), detector)


@pytest.mark.parametrize("name", ["old.pt", "OLD.PT", "old.pth"])
def test_others_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(module, "load_converted", asked.append)
    (tmp_path / name).touch()
    load(tmp_path / name)
    assert asked == [tmp_path / name]


def test_shipped_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load(Path(DEFAULT)).class_names) == 20


@pytest.mark.parametrize("name", ["yolov5s.pt", "nowhere/best.safetensors", "yolov5s"])
def test_what_is_not_there_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{name}: no such file; .*downloads nothing.*{DEFAULT}"):
        load(Path(name))


@pytest.mark.parametrize(
    "file", [file for file in hostile_files() if file.suffix == ".safetensors"], ids=lambda file: file.name
)
def test_hostile_files_of_our_format_are_refused(tmp_path: Path, file: Hostile) -> None:
    file.write(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a.safetensors")
    assert file.says in str(caught.value)
    assert caught.value.fix


def test_the_parts_of_hostile_files_are_fine_by_themselves(tmp_path: Path) -> None:
    """The same builder with nothing changed comes as far as the tensors it lacks."""
    own = next(file for file in hostile_files() if file.name == "own-no-tensors")
    own.write(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="tensors do not fit its architecture: missing model"):
        load_detector(tmp_path / "a.safetensors")
