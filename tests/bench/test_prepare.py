"""Preparing a faster runtime once, and detecting with it from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.bench.prepare import prepare
from vedette.cli.app import main

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "shipped_found.jpg"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def only_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """One format, so that the test is quick; and a clock by which it wins."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("vedette.bench.prepare._FORMATS", ("pytorch", "onnx"))

    def latencies(predictors: dict[object, object], *_: object) -> dict[object, object]:
        return {
            one: {"total": (1.0, 1.0 if one.format == "onnx" else 2.5, 3.0)}  # type: ignore[attr-defined]
            for one in predictors
        }

    monkeypatch.setattr("vedette.bench.prepare.latencies_in_turn", latencies)


@pytest.mark.usefixtures("only_onnx")
def test_detect_prepares_once_and_says_what_it_uses(
    small_checkpoint: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        "detect",
        str(PICTURE),
        "--weights",
        str(small_checkpoint),
        "--conf",
        "0.0",
        "--save-txt",
        "--nosave",
    ]
    common += ["--save-conf", "--project", str(tmp_path / "runs")]
    assert main([*common, "--name", "before"]) == 0
    assert "runs on" not in capsys.readouterr().out, "nothing is exported unless it is asked for"
    assert not cache.joinpath("runtimes").exists()
    assert main([*common, "--name", "prepared", "--runtime", "fastest"]) == 0
    assert "runs on onnx in float32, 2.5 x as fast" in capsys.readouterr().out
    made = list(cache.glob("runtimes/*/small.onnx"))
    assert len(made) == 1
    stamp = made[0].stat().st_mtime_ns
    assert main([*common, "--name", "auto"]) == 0
    assert "runs on onnx" in capsys.readouterr().out
    assert main([*common, "--name", "again", "--runtime", "fastest"]) == 0
    assert made[0].stat().st_mtime_ns == stamp
    capsys.readouterr()
    assert main([*common, "--name", "pytorch", "--runtime", "pytorch"]) == 0
    assert "runs on" not in capsys.readouterr().out
    texts = [
        (tmp_path / "runs" / name / "labels" / "shipped_found.txt").read_text().split()
        for name in ("before", "auto")
    ]
    assert [float(word) for word in texts[1]] == pytest.approx([float(word) for word in texts[0]], abs=2e-4)


def test_pytorch_may_be_the_fastest(
    small_checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vedette.bench.prepare._FORMATS", ("pytorch",))
    made = prepare(small_checkpoint, None)
    assert made is not None
    assert made.sentence() == "runs on PyTorch in float32, the fastest here"
    arguments = [
        "detect",
        str(PICTURE),
        "--weights",
        str(small_checkpoint),
        "--nosave",
        "--project",
        str(tmp_path),
    ]
    assert main(arguments) == 0
