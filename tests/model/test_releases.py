from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vedette.errors import ConfigError, ModelError
from vedette.model.detector import build_detector, summary
from vedette.model.plan import plan
from vedette.model.releases import RELEASES, architecture, known_names
from vedette.model.rows import Architecture, Row


def published_yaml(chosen: Architecture, **extra: Any) -> str:
    """The architecture in the form people's model files have."""

    def line(row: Row) -> list[Any]:
        source = list(row.source) if len(row.source) > 1 else row.source[0]
        arguments = ["None" if a is None else list(a) if isinstance(a, tuple) else a for a in row.arguments]
        prefix = "nn." if row.module in ("Conv2d", "Upsample") else ""
        return [source, row.repeats, prefix + row.module, arguments]

    lines = [line(row) for row in chosen.rows]
    anchors = chosen.anchors_px
    assert not isinstance(anchors, int)
    document = {
        "nc": chosen.classes,
        "depth_multiple": chosen.depth_multiple,
        "width_multiple": chosen.width_multiple,
        "anchors": [[side for pair in level for side in pair] for level in anchors],
        "backbone": lines[: chosen.backbone_rows],
        "head": lines[chosen.backbone_rows :],
        **extra,
    }
    return yaml.safe_dump(document, sort_keys=False)


def test_names() -> None:
    names = known_names()
    assert len(names) == len(set(names))
    for name in (
        "yolov5n",
        "yolov5s",
        "yolov5x",
        "tiny",
        "yolov5s@v1.0",
        "yolov5x@v3.1",
        "yolov5n@v7.0",
        "yolov5x6@v6.0",
        "yolov5s6@v5.0",
    ):
        assert name in names
    for name in (
        "yolov5n@v1.0",
        "yolov5n@v3.1",
        "yolov5s6",
        "yolov5s6@v4.0",
        "yolov5s@v5.0",
        "yolov5n6@v5.0",
    ):
        assert name not in names
    assert architecture("yolov5s") == architecture("yolov5s@v4.0")


@pytest.mark.parametrize("name", known_names())
def test_every_name_can_be_planned(name: str) -> None:
    chosen = architecture(name, classes=1)
    layers = plan(chosen)
    assert len(layers) == len(chosen.rows)
    assert max(layer.stride for layer in layers) == (64 if "6@" in name else 32)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yolov5ss", "did you mean 'yolov5s'?"),
        ("yolo5m", "did you mean 'yolov5m'?"),
        ("yolov5s@v4", "did you mean 'yolov5s@v4.0'?"),
        ("resnet", "known: tiny, "),
        ("models/yolov5l.yaml", "did you mean 'yolov5l'?"),
    ],
)
def test_unknown_names_name_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        architecture(name)
    assert hint in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")


def test_release_rules() -> None:
    """Specification model.md sections 3, 4 and 8."""
    rules = [
        architecture(f"yolov5s{'' if release.sizes else '6'}@{name}") for name, release in RELEASES.items()
    ]
    assert [chosen.bn_eps for chosen in rules] == [1e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]
    assert [chosen.activation for chosen in rules] == ["LeakyReLU(0.1)", "Hardswish", *["SiLU"] * 4]
    assert [chosen.csp_activation for chosen in rules] == ["LeakyReLU(0.1)"] * 4 + ["SiLU"] * 2
    assert [chosen.anchor_grid for chosen in rules] == [True, True, True, True, False, False]
    assert [chosen.class_prior_offset for chosen in rules] == [0.99] * 4 + [0.99999] * 2


@pytest.mark.parametrize(
    ("size", "parameters", "fused"),
    [
        ("s", 12_667_836, 12_653_596),
        ("m", 35_917_020, 35_889_612),
        ("l", 77_263_228, 77_218_620),
        ("x", 141_821_340, 141_755_500),
    ],
)
def test_p6_models_of_v5(size: str, parameters: int, fused: int) -> None:
    """Specification model.md section 8, v5.0: the counts are what is known of these models."""
    counted = summary(architecture(f"yolov5{size}6@v5.0"))
    assert (counted.parameters, counted.parameters_fused) == (parameters, fused)


@pytest.mark.parametrize(
    "name", ["yolov5s@v1.0", "yolov5m@v3.1", "yolov5l@v4.0", "yolov5n@v7.0", "yolov5s6@v7.0"]
)
def test_a_file_in_the_published_form_is_the_release(tmp_path: Path, name: str) -> None:
    chosen = architecture(name)
    path = tmp_path / f"{chosen.name}.yaml"
    path.write_text(published_yaml(chosen, release=chosen.release), encoding="utf-8")
    assert architecture(str(path)) == chosen
    assert architecture(str(path), classes=5).classes == 5


def test_a_file_without_release_follows_v4(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(published_yaml(architecture("tiny", classes=4)), encoding="utf-8")
    chosen = architecture(str(path))
    assert (chosen.name, chosen.release, chosen.classes) == ("mine", "v4.0", 4)
    assert build_detector(str(path)).classes == 4


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(published_yaml(architecture("tiny"), release="v9"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"mine\.yaml: release: 'v9' is not known"):
        architecture(str(path))
    path.write_text("backbone: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        architecture(str(path))
