from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.checkpoint.legacy.published import (
    filled_detector,
    save,
    save_release,
    settings_of,
    small_architecture,
)
from vedette.cli.app import main


def test_import_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_release(tmp_path / "old.pt", filled_detector(small_architecture("v7.0")))
    assert main(["import", str(path)]) == 0
    output = capsys.readouterr().out
    for text in ("rules of v7.0", "ema, float16", "2: cat, dog", "2023-01-02", "optimizer", "epoch:      11"):
        assert text in output
    assert (tmp_path / "old.safetensors").is_file()
    assert main(["import", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "old.safetensors")]) == 0
    assert "small (v7.0)" in capsys.readouterr().out


def test_tensors_alone_with_the_file_of_their_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    path = save(tmp_path / "sd.pt", detector.state_dict())
    model = tmp_path / "mine.yaml"
    model.write_text(yaml.safe_dump(settings_of(detector.architecture)), encoding="utf-8")
    assert main(["import", str(path), "--cfg", str(model)]) == 0
    assert "mine (rules of v4.0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "name a checkpoint"),
        (["none.pt"], "no such file"),
        (["none.pt", "--output", "x.pt"], "must end in .safetensors"),
    ],
)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", *arguments]) == 2
    assert expected in capsys.readouterr().err
