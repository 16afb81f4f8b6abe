"""Published names and values, presets, and files as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.config.hyperparameters import PRESETS, Hyperparameters, load_hyperparameters
from vedette.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    assert isinstance(load_hyperparameters(name), Hyperparameters)


def test_published_preset_holds_the_published_values() -> None:
    """Specification training.md, section 2, column hyp.scratch, and sections 3, 6, 8."""
    published = load_hyperparameters("yolov5-v4")
    assert (published.lr0, published.lrf, published.momentum) == (0.01, 0.2, 0.937)
    assert (published.box, published.cls, published.obj, published.anchor_t) == (0.05, 0.5, 1.0, 4.0)
    assert (published.warmup_min_iterations, published.nominal_batch) == (1000, 64)
    assert (published.ema_decay, published.ema_ramp) == (0.9999, 2000)


def test_an_old_file_works_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "hyp.old.yaml"
    path.write_text("lr0: 0.02\ngiou: 0.07\niou_t: 0.2\nmixup: 0.1\n", encoding="utf-8")
    values = load_hyperparameters(str(path))
    assert (values.lr0, values.box, values.mixup) == (0.02, 0.07, 0.1)


def test_unknown_preset_and_key_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'yolov5-v4'"):
        load_hyperparameters("yolov5v4")
    path = tmp_path / "hyp.yaml"
    path.write_text("lr: 0.1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"hyp\.yaml: lr: unknown key"):
        load_hyperparameters(str(path))
    path.write_text("mosaic: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mosaic: .*less than or equal to 1"):
        load_hyperparameters(str(path))
