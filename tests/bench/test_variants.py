"""What is timed, and what is told of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.bench.variants import PYTORCH, installed_formats, planned, weights_file, written
from vedette.config.bench import BenchConfig
from vedette.errors import UsageError


def test_pytorch_is_always_there() -> None:
    assert installed_formats()[:2] == (PYTORCH, "torchscript")


def test_what_nobody_named_and_a_runtime_lacks_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vedette.bench.variants.cpu_has_bf16", lambda: True)
    found = planned(BenchConfig(formats=("pytorch", "torchscript", "onnx"), device="cpu"))
    assert [(one.format, one.precision) for one in found] == [
        ("pytorch", "float32"),
        ("pytorch", "bf16"),
        ("torchscript", "float32"),
        ("torchscript", "bf16"),
        ("onnx", "float32"),
    ]
    assert not any(one.problem for one in found)


def test_what_was_named_and_cannot_be_is_told() -> None:
    config = BenchConfig(formats=("pytorch", "onnx"), precisions=("bf16", "fp16"), device="cpu")
    told = {one.name: one.problem for one in planned(config)}
    assert told["pytorch bf16"] == ""
    assert "needs a GPU" in told["pytorch fp16"]
    assert "bf16" in told["onnx bf16"]


def test_batches_are_variants_of_their_own() -> None:
    config = BenchConfig(formats=("pytorch",), precisions=("float32",), batch_sizes=(1, 4, 4), device="cpu")
    assert [one.name for one in planned(config)] == ["pytorch float32", "pytorch float32, batch 4"]


def test_compiled_is_timed_beside_eager() -> None:
    config = BenchConfig(formats=("pytorch", "onnx"), precisions=("float32",), compile=True, device="cpu")
    found = planned(config)
    assert [one.name for one in found] == ["pytorch float32", "pytorch float32, compiled", "onnx float32"]
    assert [one.compile for one in found] == [False, True, False]


def test_refusals() -> None:
    with pytest.raises(UsageError, match="onnx"):
        planned(BenchConfig(formats=("onxn",)))
    with pytest.raises(UsageError, match="--data"):
        planned(BenchConfig(formats=("pytorch",), precisions=("int8",)))


def test_an_export_that_fails_is_told_and_keeps_nothing(small_checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(small_checkpoint.read_bytes()[:5000])
    config = BenchConfig(weights=str(broken), formats=("torchscript",), precisions=("float32",), device="cpu")
    (variant,) = written(planned(config), config, tmp_path / "files", lambda _what: None)
    assert variant.path is None
    assert "broken.safetensors" in variant.problem


def test_weights_may_be_shipped_ones() -> None:
    assert weights_file("").name == "yolov5n-voc.safetensors"
    assert weights_file("yolov5n-voc").is_file()
    assert weights_file("nowhere.pt") == Path("nowhere.pt")
