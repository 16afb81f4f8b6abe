"""Flags that decide which pictures come when and in what shape: each runs, and keeps its bits.

Every flag is trained twice, without and with a worker process, and once more from a copy of the run folder as a
power cut inside the second epoch would have left it. All must end with the same weights.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import UsageError
from vedette.track.events import EpochDone, Event
from vedette.train.picture_plan import PicturePlan
from vedette.train.run import train

PICTURES = 8
EPOCHS = 3
SEED = 3


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide, square and tall pictures with a box of class 0 each, two also with one of class 1."""
    folder = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(0)
    for split, count in (("train", PICTURES), ("val", 4)):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(count):
            height, width = [(40, 64), (64, 64), (64, 36), (32, 64)][number % 4]
            picture = random.integers(90, 150, (height, width, 3), dtype=np.uint8)
            picture[: height // 2, : width // 2] = (220, 40, 40)
            rows = ["0 0.25 0.25 0.5 0.5"]
            if number in (1, 2):
                picture[height * 3 // 4 :, width // 2 :] = (40, 60, 220)
                rows.append("1 0.75 0.875 0.5 0.25")
            cv2.imwrite(str(folder / "images" / split / f"{number}.png"), picture)
            (folder / "labels" / split / f"{number}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    path = folder / "shapes.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8")
    return path


class PowerCut:
    """Copies the run folder at the end of its second epoch, before that is saved."""

    def __init__(self, source: Path, copy: Path) -> None:
        self.source, self.copy = source, copy

    def handle(self, event: Event) -> None:
        """See :class:`vedette.track.events.Tracker`."""
        if isinstance(event, EpochDone) and len(event.history) == 2:
            shutil.copytree(self.source, self.copy)

    def close(self) -> None:
        """Nothing is held."""


def _config(data: Path, project: Path, flags: dict[str, Any]) -> TrainConfig:
    settings: dict[str, Any] = {
        "data": str(data), "cfg": "tiny", "image_size": 64, "batch_size": 4, "epochs": EPOCHS, "device": "cpu",
        "precision": "float32", "project": str(project), "noplots": True, "noval": True, "threads": 1,
        "save_seconds": 0.001, "workers": 0, "cache": "ram", "noautoanchor": True, "seed": SEED,
    }  # fmt: skip
    return TrainConfig(**{**settings, **flags})


def _train(config: TrainConfig, *trackers: Any) -> dict[str, Any]:
    # One batch an optimizer step, so that a state is saved inside an epoch.
    hyperparameters = Hyperparameters(nominal_batch=4, lr0=0.02)
    return train(config, hyperparameters, trackers=trackers).summary


FLAGS: dict[str, dict[str, Any]] = {
    "rect": {"rect": True},
    "multi-scale": {"multi_scale": True},
    "quad": {"quad": True},
    "single-cls": {"single_cls": True},
    "image-weights": {"image_weights": True, "noval": False},
    "repeat-threshold": {"repeat_threshold": 0.9},
    "rect quad multi-scale": {"rect": True, "quad": True, "multi_scale": True, "batch_size": 3},
}


@pytest.fixture(scope="module")
def plain(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run without flags."""
    return str(_train(_config(shapes, tmp_path_factory.mktemp("plain"), {}))["weights_sha256"])


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_keeps_its_bits(shapes: Path, tmp_path: Path, plain: str, name: str) -> None:
    config = _config(shapes, tmp_path / "alone", FLAGS[name])
    copy = tmp_path / "copy"
    alone = _train(config)
    assert alone["images_seen"] == EPOCHS * PICTURES
    assert alone["weights_sha256"] != plain
    power_cut = PowerCut(tmp_path / "worker" / "exp", copy)
    worker = _train(_config(shapes, tmp_path / "worker", {**FLAGS[name], "workers": 1}), power_cut)
    assert worker["weights_sha256"] == alone["weights_sha256"]
    saved = StateFolder(copy / "state").load_latest()
    assert saved is not None
    steps = -(-PICTURES // config.batch_size)
    assert steps < saved.metadata["progress"]["step"] < 2 * steps  # inside the second epoch
    resumed = _train(TrainConfig(resume=str(copy), workers=0))
    assert resumed["weights_sha256"] == alone["weights_sha256"]


def test_one_class_has_one_name(shapes: Path, tmp_path: Path) -> None:
    summary = _train(_config(shapes, tmp_path, {"single_cls": True, "epochs": 1}))
    assert [one["name"] for one in summary["per_class"]] == ["item"]
    loaded = load_detector(tmp_path / "exp" / "weights" / "last.safetensors")
    assert loaded.class_names == ("item",)
    assert loaded.detector.classes == 1


def test_every_epoch_is_drawn_by_what_was_measured_last(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a worker, which would otherwise have prepared the next epoch by then."""
    drawn_by, history = [], []
    order = PicturePlan.order

    def watched(self: PicturePlan, class_ap: Any) -> Any:
        drawn_by.append(list(class_ap))
        return order(self, class_ap)

    class Results:
        def handle(self, event: Event) -> None:
            if isinstance(event, EpochDone):
                history.append(event.row["metrics/mAP_0.5:0.95"])

        def close(self) -> None:
            pass

    monkeypatch.setattr(PicturePlan, "order", watched)
    _train(_config(shapes, tmp_path, {"image_weights": True, "noval": False, "workers": 1}), Results())
    assert drawn_by[0] == []
    assert len(history) == len(drawn_by) == EPOCHS
    for class_ap, measured in zip(drawn_by[1:], history[:-1], strict=True):
        assert np.mean(class_ap) == pytest.approx(measured)


def test_what_was_measured_is_part_of_the_state(shapes: Path, tmp_path: Path) -> None:
    _train(_config(shapes, tmp_path, {"image_weights": True, "noval": False, "epochs": 1}))
    saved = StateFolder(tmp_path / "exp" / "state").load_latest()
    assert saved is not None
    summary = json.loads((tmp_path / "exp" / "summary.json").read_text(encoding="utf-8"))
    assert saved.metadata["progress"]["class_ap"] == [one["ap"] or 0.0 for one in summary["per_class"]]
    assert len(saved.metadata["progress"]["class_ap"]) == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"rect": True, "image_weights": True}, "--rect and --image-weights exclude each other"),
        ({"rect": True, "image_size": (64, 96)}, "give --img-size one number"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused(
    shapes: Path, tmp_path: Path, flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        _train(_config(shapes, tmp_path, flags))
