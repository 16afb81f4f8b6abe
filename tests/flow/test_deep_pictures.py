"""Pictures of more than 8 bits, and of one or many channels, from the files to the boxes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.flow.deep_sets import SIZE, draw_channels, draw_hidden_classes
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.cli.app import main
from vedette.core.picture_format import PictureFormat
from vedette.data.images import read_image
from vedette.train import run as training

MODEL = """
nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [16,16, 24,30, 30,24]
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C3, [32]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, C3, [32]]
head:
  - [[4], 1, Detect, [nc, anchors]]
"""


def _arguments(description: Path, project: Path, batch: int, *more: object) -> list[str]:
    model = project / "small.yaml"
    project.mkdir(parents=True, exist_ok=True)
    model.write_text(MODEL, encoding="utf-8")
    fixed = [
        "train", "--data", description, "--cfg", model, "--img", SIZE, "--batch", batch, "--nominal-batch", batch,
        "--device", "cpu", "--threads", 1, "--workers", 0, "--project", project, "--noval", "--noautoanchor",
    ]  # fmt: skip
    return [str(argument) for argument in (*fixed, *more)]


def _ap50_after_training(description: Path, project: Path) -> tuple[float, float]:
    """After a short training: AP50 with the classes, and with all objects taken for one class."""
    quick = ("--optimizer", "Adam", "--lr0", 0.005, "--epochs", 20, "--noplots")
    plain = ("--mosaic", 0, "--scale", 0.2, "--hsv-v", 0)
    assert main(_arguments(description, project, 8, *quick, *plain)) == 0
    values = []
    for more in ([], ["--single-cls"]):
        report = project / "metrics.json"
        assert main(_val_arguments(description, project, "--json", str(report), *more)) == 0
        values.append(json.loads(report.read_text(encoding="utf-8"))["ap50"])
    return values[0], values[1]


def _val_arguments(description: Path, project: Path, *more: str) -> list[str]:
    weights = project / "exp" / "weights" / "last.safetensors"
    fixed = ["val", "--weights", weights, "--data", description, "--project", project / "val", "--no-plots"]
    return [*map(str, fixed), "--device", "cpu", "--threads", "1", *more]


def test_a_class_that_is_coded_in_the_low_byte_is_learned(tmp_path: Path) -> None:
    """And without the low byte it is not, although the objects are found as well."""
    deep = draw_hidden_classes(tmp_path / "12", bits=12, train=96, val=40)
    with_classes, without = _ap50_after_training(deep, tmp_path / "deep")
    assert with_classes > 0.85
    assert without > 0.85
    flat = draw_hidden_classes(tmp_path / "8", bits=8, train=96, val=40)
    with_classes, without = _ap50_after_training(flat, tmp_path / "flat")
    assert with_classes < 0.7  # two classes that look the same: half of the boxes are right, more or less
    assert without > 0.85
    picture = deep.parent / "images" / "val" / "000.png"
    reduced = read_image(picture, picture_format=PictureFormat(1))
    # What 8 bits keep of the deep pictures is what the flat ones hold.
    assert np.array_equal(16 * reduced, read_image(flat.parent / "images" / "val" / "000.png")[..., :1])


FORMATS = {
    "four-channels": (".tif", "channels: 4\nbits: 16\n", PictureFormat(4, 16), ("--multi-scale",)),
    "grey-arrays": (
        ".npy",
        "ch: 1\nbits: 16\nvalue_range: [1000, 40000]\n",
        PictureFormat(1, 16, (1000, 40000)),
        ("--quad", "--cache", "disk"),
    ),
    "two-of-8-bits": (".npy", "channels: 2\n", PictureFormat(2), ("--rect",)),
}


@pytest.mark.parametrize("name", list(FORMATS))
def test_from_check_to_detect(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check, train with everything that augmentation has, measure, detect; and a run that was stopped ends alike."""
    suffix, keys, picture_format, flags = FORMATS[name]
    description = draw_channels(tmp_path / "data", picture_format.channels, suffix, keys)
    assert main(["data", "check", str(description)]) == 0
    assert f"pictures are read as {picture_format}" in capsys.readouterr().out
    everything = ("--degrees", 10, "--mixup", 0.5, "--flipud", 0.5, "--epochs", 2, "--save-seconds", 0.0001)
    arguments = _arguments(description, tmp_path / "run", 2, *everything, *flags)
    drawn = name == "four-channels"  # once is enough
    assert main([*arguments, *([] if drawn else ["--noplots"])]) == 0
    plots = tmp_path / "run" / "exp" / "plots"
    assert not drawn or (
        (plots / "train_batch2.jpg").is_file() and (plots / "val_batch0_labels.jpg").is_file()
    )
    weights = tmp_path / "run" / "exp" / "weights" / "last.safetensors"
    loaded = load_detector(weights)
    assert loaded.detector.architecture.channels == picture_format.channels
    assert loaded.letterbox.picture_format == picture_format
    assert main(_val_arguments(description, tmp_path / "run")) == 0
    if drawn:
        _assert_other_commands_know(description, weights, capsys)
    _assert_detects(description, weights, tmp_path / "found", suffix)
    _assert_resumes_to_the_same_bits(arguments, tmp_path)


def _assert_other_commands_know(description: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference's protocol takes the pictures, `info` shows what they are, `export` refuses them."""
    folder = weights.parents[2]
    assert main(_val_arguments(description, folder, "--protocol", "yolov5")) == 0
    capsys.readouterr()
    assert main(["info", str(weights)]) == 0
    assert "pictures: 4 channels of 16 bits" in capsys.readouterr().out
    assert main(["info", str(weights), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture_format"]["channels"] == 4
    assert main(["export", "--weights", str(weights), "--format", "torchscript"]) == 2
    assert "8-bit RGB" in capsys.readouterr().err


def _assert_detects(description: Path, weights: Path, folder: Path, suffix: str) -> None:
    """Every picture of the folder gets a line, and a picture that people can look at."""
    source = description.parent / "images" / "val"
    arguments = ["detect", "--weights", weights, "--source", source, "--output", folder, "--save-json"]
    assert main([str(argument) for argument in (*arguments, "--device", "cpu", "--conf", 0.0001)]) == 0
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(list(source.iterdir()))
    assert all("error" not in json.loads(line) for line in lines)
    drawn = sorted(folder.glob("*.png" if suffix == ".npy" else f"*{suffix}"))
    assert len(drawn) == len(lines)
    shown = cv2.imread(str(drawn[0]), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.dtype == np.uint8
    assert shown.shape == (SIZE, SIZE, 3)
    assert shown.max() - shown.min() > 200  # stretched


def _assert_resumes_to_the_same_bits(arguments: list[str], folder: Path) -> None:
    """Stop the same run behind its first epoch as a crash would, and take it up again."""
    again = [argument.replace(str(folder / "run"), str(folder / "again")) for argument in arguments]
    again.append("--noplots")
    (folder / "again").mkdir()
    (folder / "again" / "small.yaml").write_text(MODEL, encoding="utf-8")

    def crash(*_: object) -> None:
        raise RuntimeError("crash")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_end_of_epoch", crash)
        with pytest.raises(RuntimeError, match="crash"):
            main(again)
    assert main(["train", "--resume", str(folder / "again" / "exp")]) == 0
    ends = [StateFolder(folder / name / "exp" / "state").load_latest() for name in ("run", "again")]
    assert ends[0] is not None
    assert ends[1] is not None
    expected, found = ends[0].tensors, ends[1].tensors
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
