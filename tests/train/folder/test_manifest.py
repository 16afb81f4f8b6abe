"""The manifest says where a run comes from, gains an entry at each start, and is never in a run's way."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.train.events import Emitter
from vedette.train.folder.manifest import write_manifest
from vedette.train.folder.run_files import RunFiles


@dataclass
class _Notes:
    texts: list[str] = field(default_factory=list)

    def handle(self, event: object) -> None:
        self.texts.append(getattr(event, "text", ""))

    def close(self) -> None:
        pass


class _Index(SimpleNamespace):
    def __len__(self) -> int:
        return 7


def _setup(folder: Path, *, resumed: bool, step: int = 0) -> SimpleNamespace:
    """The part of a run's setup that the manifest reads."""
    config = TrainConfig(data="cells.yaml", seed=5, threads=2, name="größe")
    return SimpleNamespace(
        files=RunFiles(folder, config, Hyperparameters(lr0=0.02), resumed=resumed),
        config=config,
        precision="float32",
        facts={"model": "tiny"},
        train_index=_Index(content_hash="aa"),
        val_index=_Index(content_hash="bb"),
        state=SimpleNamespace(progress=SimpleNamespace(step=step)),
        rules=SimpleNamespace(device=torch.device("cpu")),
    )


def _written(folder: Path, *, resumed: bool, step: int = 0) -> tuple[dict, list[str]]:
    notes = _Notes()
    write_manifest(_setup(folder, resumed=resumed, step=step), Emitter([notes]))
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8")), notes.texts


def test_what_decides_a_run_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vedette", "train", "--data", "cells.yaml"])
    monkeypatch.setenv("SECRET_TOKEN", "swordfish")
    manifest, notes = _written(tmp_path, resumed=False)
    assert (manifest["schema"], manifest["seed"], manifest["precision"]) == (1, 5, "float32")
    assert manifest["config"]["name"] == "größe"
    assert manifest["hyperparameters"]["lr0"] == 0.02
    assert manifest["data"] == {
        "description": "cells.yaml",
        "train": {"sha256": "aa", "pictures": 7},
        "val": {"sha256": "bb", "pictures": 7},
    }
    (start,) = manifest["starts"]
    assert start["command"] == ["vedette", "train", "--data", "cells.yaml"]
    assert (start["step"], start["device"], start["threads"]) == (0, "cpu", 2)
    assert start["versions"].keys() == {"vedette", "python", "torch", "numpy", "opencv"}
    assert {"host", "system", "cpu", "gpus", "driver", "pid"} <= start["machine"].keys()
    assert notes == []
    assert "swordfish" not in (tmp_path / "manifest.json").read_text(encoding="utf-8")


def test_each_start_adds_an_entry(tmp_path: Path) -> None:
    _written(tmp_path, resumed=False)
    _written(tmp_path, resumed=True, step=10)
    manifest, _ = _written(tmp_path, resumed=True, step=30)
    assert [start["step"] for start in manifest["starts"]] == [0, 10, 30]


def test_a_new_run_in_an_old_folder_begins_a_new_manifest(tmp_path: Path) -> None:
    _written(tmp_path, resumed=False)
    manifest, _ = _written(tmp_path, resumed=False)
    assert len(manifest["starts"]) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"starts": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_manifest_is_begun_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(damage)
    manifest, notes = _written(tmp_path, resumed=True, step=3)
    assert [start["step"] for start in manifest["starts"]] == [3]
    assert "is damaged and was begun again" in notes[0]


def test_a_run_that_had_none_gets_one(tmp_path: Path) -> None:
    manifest, notes = _written(tmp_path, resumed=True, step=3)
    assert len(manifest["starts"]) == 1
    assert notes == []
