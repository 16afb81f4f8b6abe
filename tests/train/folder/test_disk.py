"""Room for a run is checked before it starts, and a write that fails has a name and a way on."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vedette.checkpoint.state_folder import StateFolder
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import DataError, WriteError
from vedette.train.ema import WeightAverage
from vedette.train.events import Emitter
from vedette.train.folder import disk
from vedette.train.folder.disk import check_disk_space, named_write_errors, state_bytes
from vedette.train.folder.run_files import RunFiles
from vedette.train.state import TrainState


@dataclass
class _Notes:
    texts: list[str] = field(default_factory=list)

    def handle(self, event: object) -> None:
        self.texts.append(getattr(event, "text", ""))

    def close(self) -> None:
        pass


def _state(kind: type[torch.optim.Optimizer] = torch.optim.SGD, **settings: float) -> TrainState:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Conv2d(64, 400, 3))
    optimizer = kind(model.parameters(), lr=0.01, **settings)  # type: ignore[call-arg]
    return TrainState(
        model, WeightAverage(model, decay=0.9, ramp=1.0), optimizer, torch.amp.GradScaler("cpu")
    )


def _check(
    folder: Path, free: int | None, monkeypatch: pytest.MonkeyPatch, *, save_period: int = -1
) -> list[str]:
    config, notes = TrainConfig(data="x.yaml", epochs=100, save_period=save_period), _Notes()
    files = RunFiles(folder, config, Hyperparameters(), resumed=False)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: free)
    check_disk_space(SimpleNamespace(files=files, config=config, state=_state()), Emitter([notes]))
    return notes.texts


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {}), (torch.optim.AdamW, {})],
)
def test_the_size_of_a_state_is_known_before_its_first_step(
    tmp_path: Path, kind: type[torch.optim.Optimizer], settings: dict[str, float]
) -> None:
    state = _state(kind, **settings)
    expected = state_bytes(state)
    state.model(torch.zeros(1, 3, 8, 8)).sum().backward()
    state.optimizer.step()
    path = StateFolder(tmp_path).save(1, state.tensors(), {})
    assert path.stat().st_size == pytest.approx(expected, rel=0.05)


def test_a_run_without_room_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = r"too little room for the checkpoints of this run: 11\.\d MB needed, 2\.0 MB free; make room"
    with pytest.raises(WriteError, match=words) as caught:
        _check(tmp_path, 2_000_000, monkeypatch)
    assert caught.value.where == str(tmp_path)
    assert caught.value.exit_code == 3


def test_what_an_earlier_part_of_the_run_wrote_is_not_needed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    for step in (1, 2):
        (tmp_path / "state" / f"state-{step:012d}.safetensors").write_bytes(bytes(2_800_000))
    assert "the disk may become full" in _check(tmp_path, 7_000_000, monkeypatch)[0]
    with pytest.raises(WriteError, match=r"5\.\d MB needed, 2\.0 MB free"):
        _check(tmp_path, 2_000_000, monkeypatch)


def test_a_disk_that_may_become_full_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = _check(tmp_path, 50_000_000, monkeypatch, save_period=1)
    assert note.endswith("the run can need 124 MB, 50 MB are free")


@pytest.mark.parametrize("free", [None, 10**12])
def test_enough_room_and_unknown_room_need_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None
) -> None:
    assert _check(tmp_path, free, monkeypatch, save_period=1) == []


def _raised(folder: Path, error: Exception) -> None:
    with named_write_errors(folder):
        raise error


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "cannot be written"),
        (errno.EIO, "cannot be written"),
        (errno.ENOSPC, "disk full: .* MB free"),
    ],
)
def test_a_failed_write_gets_a_name(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "plots" / "curves.png"
    path.parent.mkdir()
    with pytest.raises(WriteError, match=words) as caught:
        _raised(tmp_path, OSError(number, os.strerror(number), str(path)))
    assert caught.value.where == str(path)
    with pytest.raises(WriteError) as caught:
        _raised(tmp_path, OSError(number, os.strerror(number)))
    assert caught.value.where == str(tmp_path)


def test_with_a_state_the_way_on_is_said(tmp_path: Path) -> None:
    command = f"vedette train --resume {tmp_path.as_posix()}"
    with pytest.raises(WriteError) as caught:
        _raised(tmp_path, WriteError("disk full", where="x", fix="make room"))
    assert caught.value.fix == "make room"
    StateFolder(tmp_path / "state").save(1, {}, {})
    with pytest.raises(WriteError) as caught:
        _raised(tmp_path, WriteError("disk full", where="x", fix="make room"))
    assert caught.value.fix == f"make room; then go on with: {command}"


@pytest.mark.parametrize(
    "error",
    [
        DataError("no pictures"),
        PermissionError(errno.EACCES, "not yours", "/elsewhere/picture.jpg"),
        BrokenPipeError(errno.EPIPE, "nobody reads"),
    ],
)
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        _raised(tmp_path, error)
    assert caught.value is error
