"""TensorBoard's own reader finds the 13 scalars and the histogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.track.story import epoch_done, row, started, whole_story
from vedette.track.published import SCALAR_TAGS, scalars
from vedette.track.tensorboard import TensorBoardTracker, class_histogram

pytest.importorskip("tensorboard")


@pytest.fixture(autouse=True)
def _warnings_of_the_package() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="tensorboard|google")
        yield


def _read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def _write(folder: Path, *events: Any) -> None:
    tracker = TensorBoardTracker(folder)
    for event in events:
        tracker.handle(event)
    tracker.close()


def test_every_published_scalar_by_epoch(tmp_path: Path) -> None:
    _write(tmp_path, *whole_story(tmp_path))
    read = _read(tmp_path)
    assert set(read.Tags()["scalars"]) == set(SCALAR_TAGS)
    expected = [scalars(row(0)), scalars(row(1, None))]
    for tag in SCALAR_TAGS:
        points = [(point.step, point.value) for point in read.Scalars(tag)]
        assert points == [
            (epoch, pytest.approx(values[tag])) for epoch, values in enumerate(expected) if tag in values
        ]
    (histogram,) = read.Histograms("classes")
    assert histogram.step == 0
    assert histogram.histogram_value.num == 8
    assert list(histogram.histogram_value.bucket) == [5, 3]


def test_epochs_that_are_done_again_are_shown_once(tmp_path: Path) -> None:
    _write(tmp_path, started(tmp_path), epoch_done(0), epoch_done(1), epoch_done(2))
    _write(tmp_path, started(tmp_path, row(0)), epoch_done(1), epoch_done(2))
    read = _read(tmp_path)
    assert [point.step for point in read.Scalars("train/box_loss")] == [0, 1, 2]
    assert len(read.Histograms("classes")) == 1


def test_closing_without_a_run_writes_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_class_histogram_counts_every_class() -> None:
    histogram = class_histogram([0, 4, 2])
    assert histogram["bucket_limit"] == [0.5, 1.5, 2.5]
    assert (histogram["min"], histogram["max"], histogram["num"]) == (1, 2, 6)
    assert (histogram["sum"], histogram["sum_squares"]) == (8, 12)
