"""The command on a small checkpoint: figures, plot, and what could not be timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vedette.bench.run import bench
from vedette.bench.timing import STAGES
from vedette.cli.app import main
from vedette.config.bench import BenchConfig
from vedette.errors import CheckpointError, DataError


def test_every_runtime_gets_its_figures(
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vedette.bench.timing._THROUGHPUT_SECONDS", 0.05)
    what = [
        "--format",
        "pytorch",
        "onnx",
        "--precision",
        "float32",
        "bf16",
        "--rounds",
        "3",
        "--device",
        "cpu",
    ]
    where = ["--project", str(tmp_path), "--json", str(tmp_path / "copy.json")]
    code = main(["bench", "--weights", str(small_checkpoint), *what, *where])
    printed = capsys.readouterr().out
    assert code == 1, "onnx has no bf16"
    assert "not timed: onnx bf16: " in printed
    content = json.loads((tmp_path / "exp" / "bench.json").read_text(encoding="ascii"))
    assert content == json.loads((tmp_path / "copy.json").read_text(encoding="ascii"))
    assert content["protocol"]["frame_hw"] == [[64, 96]]
    timed = [row for row in content["rows"] if not row["problem"]]
    assert [(row["format"], row["precision"]) for row in timed] == [
        ("pytorch", "float32"),
        ("pytorch", "bf16"),
        ("onnx", "float32"),
    ]
    for row in timed:
        assert list(row["milliseconds"]) == list(STAGES)
        low, middle, high = (row["milliseconds"]["total"][name] for name in ("p5", "p50", "p95"))
        assert 0 < low <= middle <= high
        assert row["pictures_per_second"] > 0
        assert row["first_box_seconds"] > 0
        assert row["file_mb"] > 0
    assert (tmp_path / "exp" / "bench.png").stat().st_size > 10_000


def test_memory_is_that_of_the_process_alone(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime without torch holds far less than this process, which has both.

    The process that is timed takes no modules from the folder it is started in.
    """
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module of a stranger')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    from vedette.bench.child import peak_megabytes
    from vedette.bench.timing import cold_start
    from vedette.bench.variants import Variant, planned, written

    if peak_megabytes() is None:
        pytest.skip("this system does not tell the memory of a process")
    config = BenchConfig(
        weights=str(small_checkpoint), formats=("onnx",), precisions=("float32",), device="cpu"
    )
    (variant,) = written(planned(config), config, tmp_path, lambda _what: None)
    picture = Path(__file__).parents[2] / "docs" / "images" / "shipped_found.jpg"
    found = cold_start(variant, picture, tries=1)
    assert found is not None
    assert found.peak_mb is not None
    assert 20 < found.peak_mb < 0.8 * (peak_megabytes() or 0)
    assert cold_start(Variant("onnx", "float32", 1, tmp_path / "no.onnx"), picture, tries=1) is None


def test_bad_input_is_refused_before_anything_is_written(small_checkpoint: Path, tmp_path: Path) -> None:
    project = str(tmp_path / "runs")
    with pytest.raises(CheckpointError):
        bench(BenchConfig(weights=str(tmp_path / "no.safetensors"), formats=("pytorch",), project=project))
    assert not Path(project).exists()
    with pytest.raises(DataError, match="is no file"):
        bench(
            BenchConfig(
                weights=str(small_checkpoint),
                formats=("pytorch",),
                pictures=("nowhere.jpg",),
                project=project,
                device="cpu",
            )
        )
