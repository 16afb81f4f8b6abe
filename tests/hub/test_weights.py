import pytest

from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import CheckpointError
from vedette.hub.weights import find_weights, read_weights
from vedette.model.detector import build_detector


def test_none_are_shipped_and_none_are_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"ships none .* downloads nothing; put yolov5s\.pt into"):
        find_weights("yolov5s")


def test_the_current_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolov5s.safetensors").touch()
    assert find_weights("yolov5s").name == "yolov5s.safetensors"
    (tmp_path / "yolov5s.pt").touch()
    assert find_weights("yolov5s").name == "yolov5s.pt"
    (tmp_path / "yolov5m.pt").mkdir()
    with pytest.raises(CheckpointError):
        find_weights("yolov5m")


def test_reading(tmp_path):
    path = tmp_path / "a.safetensors"
    detector = build_detector("tiny", classes=2)
    save_detector(path, detector, class_names=("a", "b"), letterbox=LetterboxPolicy(), metadata={})
    assert read_weights(str(path)).class_names == ("a", "b")
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        read_weights(tmp_path / "nowhere.pt")
