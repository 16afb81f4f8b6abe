"""The line through measurements of memory, with measurements made up; the real ones need a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import UsageError
from vedette.loss.detection_loss import DetectionLoss
from vedette.model.detector import Detector, build_detector
from vedette.track.events import Event, Note
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.start.batch_fit import (
    LARGEST_BATCH_SIZE,
    MEMORY_FRACTION,
    PROBED_SIZES,
    choose_batch_size,
    cuda_batch_size,
    fitted_batch_size,
    largest_frame,
    settle_batch_size,
)

MIB = 2**20


def _memory(batch_size: int) -> int:
    """100 MiB, and 50 MiB a picture."""
    return (100 + 50 * batch_size) * MIB


@pytest.mark.parametrize(
    ("available_mib", "most", "expected"),
    [
        (8_000, 5000, 128),  # 0.85 * 8000 - 100 = 6700 MiB: 134 pictures
        (8_000, 100, 96),
        (8_000, 5, 5),
        (500, 5000, 6),  # 325 MiB: 6 pictures
        (150, 5000, 1),
        (80, 5000, 1),
        (10**6, 5000, LARGEST_BATCH_SIZE),
    ],
)
def test_the_fit(available_mib: int, most: int, expected: int) -> None:
    assert (
        fitted_batch_size((1, 2, 4), [_memory(n) for n in (1, 2, 4)], available_mib * MIB, most=most)
        == expected
    )


def test_noisy_measurements_stay_within_memory() -> None:
    memory = [_memory(size) + (-1) ** number * 3 * MIB for number, size in enumerate(PROBED_SIZES)]
    chosen = fitted_batch_size(PROBED_SIZES, memory, 8_000 * MIB, most=5000)
    assert chosen % 8 == 0
    assert 0.7 * 8_000 * MIB < _memory(chosen) < (MEMORY_FRACTION + 0.05) * 8_000 * MIB


def test_memory_that_does_not_grow_allows_the_most() -> None:
    assert fitted_batch_size((1, 2, 4), [5, 5, 5], 100, most=37) == 32


def _full_above(limit: int, seen: list[int]) -> Callable[[int], int]:
    def measure(batch_size: int) -> int:
        seen.append(batch_size)
        if batch_size > limit:
            raise torch.OutOfMemoryError("made up")
        return _memory(batch_size)

    return measure


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (2, 2), (4, 4), (8, 8), (16, 128)])
def test_a_batch_that_failed_is_not_exceeded(limit: int, expected: int) -> None:
    """The line may promise more than what was seen to fail, because other programs use the memory too."""
    seen: list[int] = []
    assert choose_batch_size(_full_above(limit, seen), 8_000 * MIB, most=5000) == expected
    assert seen == [size for size in PROBED_SIZES if size <= 2 * limit]


def test_not_even_one_picture() -> None:
    with pytest.raises(UsageError, match=r"--batch-size -1: not even one picture fits .*--img-size"):
        choose_batch_size(_full_above(0, []), 8_000 * MIB, most=5000)


@pytest.mark.parametrize(("multi_scale", "expected"), [(False, (320, 640)), (True, (480, 960))])
def test_the_largest_frame_is_measured(multi_scale: bool, expected: tuple[int, int]) -> None:
    assert largest_frame(TrainConfig(image_size=(310, 640), multi_scale=multi_scale), 32) == expected


class _Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, Note):
            self.texts.append(event.text)

    def close(self) -> None:
        pass


def _settle(folder: Path, batch_size: int) -> tuple[RunFiles, list[str]]:
    config = TrainConfig(data="bccd", batch_size=batch_size)
    files = RunFiles(folder, config, Hyperparameters(), resumed=False)
    detector, notes = build_detector("tiny", classes=2), _Notes()
    settled = settle_batch_size(
        files, detector, _loss(detector), torch.float32, pictures=100, emitter=Emitter([notes])
    )
    return settled, notes.texts


def _loss(detector: Detector) -> DetectionLoss:
    return DetectionLoss(
        Hyperparameters(), anchors=detector.head.anchors, classes=detector.classes, strides=detector.strides
    )


def test_without_a_gpu_it_is_16_and_the_run_remembers(tmp_path: Path) -> None:
    settled, notes = _settle(tmp_path, -1)
    assert settled.config.batch_size == 16
    assert notes == ["batch size: 16; only on a GPU of CUDA is it fitted to the memory"]
    written = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert written["train"]["batch_size"] == 16


def test_a_given_size_stays(tmp_path: Path) -> None:
    settled, notes = _settle(tmp_path, 4)
    assert (settled.config.batch_size, notes) == (4, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures the memory of a GPU")
def test_on_a_gpu_the_fitted_batch_fits_and_nothing_changes() -> None:
    detector = build_detector("tiny", classes=2).to("cuda")
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    chosen = cuda_batch_size(detector, _loss(detector), (64, 64), torch.float32, most=24)
    assert chosen == 24
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
