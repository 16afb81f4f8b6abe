"""`vedette val`, and that detecting and measuring by hand gives the numbers of measuring at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.export.exported_files import ExportedFiles, pictures
from tests.flow.conftest import vedette
from vedette.checkpoint.deployable import save_detector
from vedette.config.evaluate import EvaluateConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.picture_format import PictureFormat
from vedette.errors import UsageError
from vedette.evaluate.checkpoint import evaluate_checkpoint
from vedette.evaluate.result import Evaluation
from vedette.model.detector import build_detector


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained detector: its numbers are poor, but they are numbers."""
    path = tmp_path / "untrained.safetensors"
    save_detector(
        path,
        build_detector("tiny", classes=2, seed=3),
        class_names=("red", "blue"),
        letterbox=LetterboxPolicy(size_hw=(96, 96), shape="minimal"),
        metadata={},
    )
    return path


@pytest.mark.parametrize("protocol", ["vedette", "yolov5"])
def test_the_numbers_by_name(rectangles: Path, weights: Path, tmp_path: Path, protocol: str) -> None:
    report = tmp_path / "numbers.json"
    result = vedette(
        "val", "--data", rectangles, "--weights", weights, "--json", report, "--protocol", protocol,
        "--project", tmp_path, "--device", "cpu", "--save-json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    numbers = json.loads(report.read_text(encoding="utf-8"))
    twelve = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    twelve += ("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
    assert set(twelve) <= numbers.keys()
    assert numbers["protocol"]["name"] == protocol
    assert [record["name"] for record in numbers["per_class"]] == ["red", "blue"]
    assert numbers["timing"]["inference"] > 0
    assert ("yolov5" in numbers) == (protocol == "yolov5")
    assert (tmp_path / "exp" / "predictions.json").stat().st_size > 0
    assert (tmp_path / "exp" / "plots" / "precision_recall_curve.png").exists()


def test_a_checkpoint_with_a_flipped_bit_is_refused(rectangles: Path, weights: Path, tmp_path: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-100] ^= 4
    weights.write_bytes(content)
    result = vedette("val", "--data", rectangles, "--weights", weights, "--project", tmp_path)
    assert result.returncode == 2
    assert "untrained.safetensors: is damaged" in result.stderr
    assert not (tmp_path / "exp").exists()


def test_other_pictures_than_the_detector_was_trained_on(
    rectangles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The detector decides on how they are read; the difference is told, as the numbers may suffer from it."""
    path = tmp_path / "grey.safetensors"
    save_detector(
        path,
        build_detector("tiny", classes=2, channels=1, seed=3),
        class_names=("red", "blue"),
        letterbox=LetterboxPolicy(size_hw=(96, 96), picture_format=PictureFormat(1, 16)),
        metadata={},
    )
    config = EvaluateConfig(
        weights=(str(path),), data=str(rectangles), device="cpu", project=str(tmp_path), plots=False
    )
    found = evaluate_checkpoint(config).evaluation
    assert found.picture_format == PictureFormat(1, 16)
    assert not found.failed
    assert "pictures are 8-bit RGB, the weights were trained on 1 channel of 16 bits" in caplog.text


def test_an_exported_file_is_measured_in_lanes(tmp_path: Path, exports: ExportedFiles) -> None:
    """As many as asked for, else one a thread; more than there are threads are refused."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for number, image in enumerate(pictures(4)):
        Pillow.fromarray(image).save(data / "images" / f"{number}.png")
        label = data / "labels" / f"{number}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("1 0.5 0.5 0.4 0.4\n", encoding="utf-8")
    (data / "data.yaml").write_text("val: images\nnames: [red, green, blue]\n", encoding="utf-8")

    def measured(lanes: int) -> Evaluation:
        config = EvaluateConfig(
            weights=(str(exports.path("openvino", dynamic="all")),), data=str(data / "data.yaml"), device="cpu",
            project=str(tmp_path), plots=False, threads=2, lanes=lanes, batch_size=1,
        )  # fmt: skip
        return evaluate_checkpoint(config).evaluation

    one, two, usual = (measured(lanes) for lanes in (1, 2, 0))
    assert len(one.predictions.scores) > 0
    for other in (two, usual):
        # The weights amplify sums, whose order depends on the number of threads.
        np.testing.assert_allclose(other.predictions.scores, one.predictions.scores, atol=1e-3)
        assert other.numbers["ap"] == pytest.approx(one.numbers["ap"], abs=1e-3)
    with pytest.raises(UsageError, match="--lanes 3: there are 2 threads"):
        measured(3)
