"""``vedette data anchors`` says how anchors fit, and prints fitted ones as a model file takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.flow.conftest import draw_rectangles
from vedette.cli.app import main
from vedette.cli.data_anchors import anchors_yaml
from vedette.model.anchors import DEFAULT_ANCHORS_P5, read_anchors


def test_fit_of_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = draw_rectangles(tmp_path / "data", train=8, val=1)
    assert main(["data", "anchors", str(data), "--model", "tiny", "--img", "96", "--anchors", "2"]) == 0
    used, fitted, *file = capsys.readouterr().out.splitlines()
    assert used.startswith("training would use anchors those of the model, recall 1.0000")
    assert fitted.startswith("anchors fitted to ")
    anchors = read_anchors(yaml.safe_load("\n".join(file))["anchors"], "printed")
    assert not isinstance(anchors, int)
    assert [len(level) for level in anchors] == [2, 2, 2]


def test_printed_anchors_can_be_read_again() -> None:
    assert (
        read_anchors(yaml.safe_load(anchors_yaml(DEFAULT_ANCHORS_P5))["anchors"], "a") == DEFAULT_ANCHORS_P5
    )


def test_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "anchors"]) == 2
    assert "name a data set; vedette data anchors bccd" in capsys.readouterr().err
