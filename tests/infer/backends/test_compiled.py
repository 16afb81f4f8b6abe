from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.model.small_table import small_detector
from vedette.bench.run import opened
from vedette.bench.variants import Variant
from vedette.checkpoint.deployable import save_detector
from vedette.cli.app import main
from vedette.config.bench import BenchConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import ModelError, UsageError
from vedette.infer.assemble import assemble, assembly_of
from vedette.infer.backends.compiled import CompiledNetwork
from vedette.infer.backends.files import open_file
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.load import load
from vedette.model.detector import Detector, build_detector


def compiler_is_here() -> bool:
    try:
        CompiledNetwork(small_detector(), torch.device("cpu"))
    except UsageError:
        return False
    return True


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that torch compiled before is found again."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    # For a single small file their headers are faster read than compiled beforehand, which torch 2.6 cannot do yet.
    settings = torch._inductor.config
    ahead = hasattr(settings, "cpp_cache_precompile_headers")
    with settings.patch({"cpp_cache_precompile_headers": False}) if ahead else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CXX", "no-such-compiler")  # asked on Windows
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        yield


def frames_of(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.mark.skipif(not compiler_is_here(), reason="needs a C++ compiler and the headers of Python")
@pytest.mark.usefixtures("own_cache")
def test_the_same_predictions_from_several_threads() -> None:
    eager, compiled = TorchBackend(small_detector()), TorchBackend(small_detector(), compile=True)
    frames = frames_of(1, 32, 48)
    expected = eager.infer(frames)
    with ThreadPoolExecutor(3) as threads:
        for predictions in threads.map(compiled.infer, [frames] * 6):
            # Fused operations round once where eager ones round twice.
            torch.testing.assert_close(predictions, expected, rtol=1e-5, atol=1e-5)


def test_without_a_compiler_it_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        no_compiler(monkeypatch),
        pytest.raises(UsageError, match=r"^--compile: there is no C\+\+ compiler here; install"),
    ):
        TorchBackend(small_detector(), compile=True)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    letterbox = LetterboxPolicy((64, 64))
    detector = build_detector("tiny", classes=2)
    save_detector(path, detector, class_names=("a", "b"), letterbox=letterbox, metadata={})
    return path


def test_whoever_opens_a_checkpoint_can_ask_for_it(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a compiler, as what does not ask for it goes through there."""
    picture = str(REPOSITORY / "docs" / "images" / "shipped_found.jpg")
    arguments = ["--weights", str(weights), "--project", str(weights.parent), "--device", "cpu"]
    variants = [Variant("pytorch", "float32", 1, weights, compile=compile) for compile in (False, True)]
    with no_compiler(monkeypatch):
        assert main(["detect", picture, *arguments, "--compile"]) == 2
        assert "--compile: there is no C++ compiler here" in " ".join(capsys.readouterr().err.split())
        assert main(["detect", picture, *arguments]) == 0
        with pytest.raises(UsageError, match="--compile"):
            load(weights, device="cpu", compile=True)
        config = EvaluateConfig(weights=(str(weights),), device="cpu", compile=True)
        with pytest.raises(UsageError, match="--compile"):
            assemble(assembly_of(config, "float32"))
        predictors, told = opened(variants, BenchConfig(device="cpu"))
    assert list(predictors) == variants[:1]
    assert "--compile: there is no C++ compiler" in told[1].problem


def test_an_exported_file_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"best.onnx: its network is run by onnx.*give the checkpoint"):
        open_file(tmp_path / "best.onnx", compile=True)


@pytest.mark.skipif(not compiler_is_here(), reason="needs a C++ compiler and the headers of Python")
@pytest.mark.usefixtures("own_cache")
def test_a_compiler_that_is_gone_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TorchBackend(small_detector(), compile=True)
    with (
        no_compiler(monkeypatch),
        pytest.raises(ModelError, match=r"^--compile: torch cannot compile .*leave --compile out"),
    ):
        backend.infer(frames_of(1, 32, 32))


def test_more_sizes_than_are_compiled_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that counts, as the real one takes seconds for each size."""
    compiled_for = []

    def count(detector: Detector, **_options: object) -> Callable[[torch.Tensor], list[torch.Tensor]]:
        def run(images: torch.Tensor) -> list[torch.Tensor]:
            compiled_for.append(tuple(images.shape))
            return detector(images)

        return run

    monkeypatch.setattr(torch, "compile", count)
    detector = small_detector()
    network = CompiledNetwork(detector, torch.device("meta"))
    with torch.inference_mode():
        for width in (*range(32, 352, 32), 32):
            images = torch.rand(1, 3, 32, width)
            for actual, expected in zip(network(images), detector(images), strict=True):
                torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert compiled_for == [(1, 3, 32, width) for width in (*range(32, 288, 32), 32)]
