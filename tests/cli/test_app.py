"""The command: help at once without torch, one-line errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vedette.cli.app import COMMANDS, main
from vedette.errors import InterruptedRunError


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["detect", "--help"], ["--version"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom vedette.cli.app import main\ncode = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules\nsys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert "130/143" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "did you mean 'train'"),
        (["data"], "vedette data check"),
        (["data", "chek"], "sub-command"),
        (["info"], "for example"),
        (["info", "yolov5q"], "did you mean"),
        (["info", "yolov5s", "stray"], "unexpected argument 'stray'"),
        (["val"], "--weights"),
        (["detect", "--weights", "x.safetensors"], "--source"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_an_error_with_line_breaks_is_still_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> int:
        raise InterruptedRunError("stopped\non request", signal_number=15)

    monkeypatch.setattr("vedette.cli.info.run", stop)
    assert main(["info"]) == 143
    assert capsys.readouterr().err == "vedette: error: stopped on request\n"


def test_info_prints_the_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "yolov5s", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["release"], facts["parameters"], facts["parameters_fused"]) == ("v4.0", 7276605, 7266973)
    assert facts["gflops"] == pytest.approx(17.011, abs=5e-4)
    assert facts["strides"] == [8, 16, 32]
    assert set(facts["layers"][0]) == {
        "index", "source", "module", "arguments", "output_channels", "stride", "parameters",
    }  # fmt: skip
    assert main(["info", "yolov5s6@v7.0"]) == 0
    assert "12,626,620" in capsys.readouterr().out


def test_info_of_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "own.yaml"
    table.write_text(
        "nc: 4\ndepth_multiple: 1.0\nwidth_multiple: 1.0\nanchors: [[10, 13, 16, 30]]\n"
        "backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [32, 3, 2]]]\n"
        "head: [[[2], 1, Detect, [nc, anchors]]]\n",
        encoding="utf-8",
    )
    assert main(["info", str(table), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["classes"], facts["strides"]) == (4, [8])
