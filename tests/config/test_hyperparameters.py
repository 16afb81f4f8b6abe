"""Published names and values, presets, and files as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.config.hyperparameters import (
    PRESETS,
    Hyperparameters,
    load_hyperparameters,
    read_hyperparameters,
)
from vedette.errors import ConfigError

PUBLISHED_KEYS = """
lr0 lrf momentum weight_decay warmup_epochs warmup_momentum warmup_bias_lr box cls cls_pw obj obj_pw iou_t anchor_t
anchors fl_gamma hsv_h hsv_s hsv_v degrees translate scale shear perspective flipud fliplr mosaic mixup copy_paste
label_smoothing
"""


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


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("data/hyp.scratch.yaml", "yolov5-v4"),
        ("hyp.finetune.yaml", "yolov5-v4-finetune"),
        ("data/hyps/hyp.scratch-low.yaml", "yolov5-v7-low"),
        ("hyp.scratch-med.yaml", "yolov5-v7-med"),
        ("hyp.scratch-high.yaml", "yolov5-v7-high"),
    ],
)
def test_published_file_names_stand_for_their_presets(
    name: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = read_hyperparameters(name)
    assert loaded.values == load_hyperparameters(preset)
    assert loaded.notes[0].startswith(f"there is no file {name}: the preset {preset} has the values")


def test_a_file_of_that_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "hyp.scratch.yaml"
    path.write_text("lr0: 0.5\n", encoding="utf-8")
    loaded = read_hyperparameters(str(path))
    assert (loaded.values.lr0, loaded.values.lrf, loaded.notes) == (0.5, 0.01, ())


def test_other_missing_files_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"--hyp hyp\.VOC\.yaml: is neither .*; give the path of a file, or"
    ):
        load_hyperparameters("hyp.VOC.yaml")


def test_later_presets_hold_the_published_values() -> None:
    """Specification training.md, section 14, column v7.0."""
    low, med = load_hyperparameters("yolov5-v7-low"), load_hyperparameters("yolov5-v7-med")
    assert (low.lr0, low.lrf, low.box, low.cls, low.obj, low.scale) == (0.01, 0.01, 0.05, 0.5, 1.0, 0.5)
    assert (low.warmup_min_iterations, low.gradient_clip, low.nominal_batch) == (100, 10, 64)
    assert (med.lrf, med.cls, med.obj, med.scale, med.mixup) == (0.1, 0.3, 0.7, 0.9, 0.1)


def test_every_published_key_is_read(tmp_path: Path) -> None:
    """Specification training.md, section 2, and the keys that section 14 adds."""
    path = tmp_path / "hyp.all.yaml"
    keys = PUBLISHED_KEYS.split()
    whole = {"anchor_t": 2.91, "anchors": 3.63, "perspective": 0.0005, "copy_paste": 0.0}
    path.write_text("".join(f"{key}: {whole.get(key, 0.25)}\n" for key in keys), encoding="utf-8")
    loaded = read_hyperparameters(str(path))
    assert not loaded.notes
    for key in set(keys) - {"iou_t", "copy_paste"}:
        assert getattr(loaded.values, key) == whole.get(key, 0.25), key


def test_copy_paste_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "hyp.yaml"
    path.write_text("copy_paste: 0.1\n", encoding="utf-8")
    loaded = read_hyperparameters(str(path))
    assert loaded.values == Hyperparameters()
    assert loaded.notes == (
        f"{path}: copy_paste 0.1 is left out: boxes are kept, not outlines, so there is nothing to cut out and paste",
    )
    assert "copy_paste" in read_hyperparameters("yolov5-v7-high").notes[0]
