"""A training that takes less than a second, to be stopped in every possible way, and its undisturbed twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.flow.conftest import draw_rectangles
from tests.flow.launcher import Launcher
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.checkpoint.tensors import read_tensors
from vedette.track.files import read_results

MODEL = """
nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [8,8, 12,20, 20,12]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C3, [16]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[3], 1, Detect, [nc, anchors]]
"""
SAVE_OFTEN = ("--save-seconds", "0.0001")


class SmallRuns:
    """Starts runs of one small training; each of them must end in the same bits.

    Attributes:
        launcher: starts them.
        reference: the folder of the run that nobody disturbed.
        calls: how often it called the system to write its files, by kind of call.
    """

    def __init__(self, folder: Path) -> None:
        self.data = draw_rectangles(folder / "data", train=6, val=2, size=32)
        self.model = folder / "small.yaml"
        self.model.write_text(MODEL, encoding="utf-8")
        self.launcher = Launcher(folder / "launcher")
        tally = folder / "tally.json"
        self.reference = folder / "reference" / "exp"
        code, output = self.launcher.run(
            self.arguments(self.reference), {"folder": str(self.reference.parent), "tally": str(tally)}
        )
        assert code == 0, output
        self.calls: dict[str, int] = json.loads(tally.read_text(encoding="utf-8"))

    def close(self) -> None:
        """End the launcher."""
        self.launcher.close()

    def arguments(
        self, folder: Path, *more: object, data: Path | None = None, epochs: int = 2
    ) -> list[object]:
        """The command that trains into ``folder``, whose name must be ``exp``; ``data`` is a copy of the data set."""
        return [
            "train", "--data", data or self.data, "--cfg", self.model, "--img", 32, "--batch", 2, "--nominal-batch", 2,
            "--epochs", epochs, "--device", "cpu", "--precision", "float32", "--noval", "--noplots", "--threads", 1,
            "--workers", 0, "--project", folder.parent, *SAVE_OFTEN, *more,
        ]  # fmt: skip

    def again(self, folder: Path) -> list[object]:
        """The command that takes the run up again; one that has not saved anything yet is started anew."""
        if any(folder.glob("state/state-*.safetensors")):
            return ["train", "--resume", folder, *SAVE_OFTEN]
        return self.arguments(folder, "--exist-ok")

    def finish(self, folder: Path, twin: Path | None = None) -> None:
        """Take the run up again, undisturbed, and compare what it ends in with the twin; default: the reference."""
        if not (folder / "summary.json").exists():
            code, output = self.launcher.run(self.again(folder))
            assert code == 0, output
        self.assert_same_bits(folder, twin)

    def assert_same_bits(self, folder: Path, twin: Path | None = None) -> None:
        """Weights, their average, the optimizer's memory, both checkpoints and all figures are those of the twin."""
        twin = twin or self.reference
        tensors, expected = _state(folder), _state(twin)
        assert tensors.keys() == expected.keys()
        assert [name for name in expected if not torch.equal(tensors[name], expected[name])] == []
        for name in ("last", "best"):
            saved, wanted = (_weights(path / "weights" / f"{name}.safetensors") for path in (folder, twin))
            assert all(torch.equal(saved[key], wanted[key]) for key in wanted), name
        assert _figures(folder) == _figures(twin)
        left = sorted(path.name for path in folder.rglob("*") if ".vedette-tmp" in path.name)
        assert left == []


def intact_files(folder: Path) -> list[str]:
    """Read every checkpoint of a run as it was left; returns their names. Raises CheckpointError for a damaged one."""
    names = []
    for path in sorted(folder.glob("*/*.safetensors")):
        read_tensors(path)
        names.append(path.name)
    for path in [folder / "manifest.json", folder / "summary.json"]:
        if path.exists():
            json.loads(path.read_text(encoding="utf-8"))
    return names


def _state(folder: Path) -> dict[str, torch.Tensor]:
    saved = StateFolder(folder / "state").load_latest()
    assert saved is not None
    return saved.tensors


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_detector(path).detector.state_dict()


def _figures(folder: Path) -> list[Any]:
    """What the run measured, without what depends on the clock."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    kept = (
        "ap",
        "ap50",
        "weights_sha256",
        "images_seen",
        "optimizer_steps",
        "skipped_steps",
        "epochs",
        "best",
    )
    clock = ("images_per_second", "data_wait", "seconds", "time")
    rows = [
        {name: value for name, value in row.items() if not any(word in name for word in clock)}
        for row in read_results(folder / "results.csv")
    ]
    return [{name: summary[name] for name in kept}, rows]
