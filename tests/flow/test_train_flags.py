"""Every row of docs/train-flags.md: its example is run, and its effect looked for."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.flow.conftest import draw_rectangles
from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.cli import tune
from vedette.cli.app import main
from vedette.cli.flags import parse_arguments
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.detector import build_detector
from vedette.track.files import read_results

EXAMPLES = {
    match[1]: match[2]
    for match in re.finditer(
        r"^\| `(--\S+)` \|.*\| `([^`]*)` \|$",
        (REPOSITORY / "docs" / "train-flags.md").read_text("utf-8"),
        re.M,
    )
}
DEFAULTS = (
    "--data data.yaml", "--cfg tiny", "--img 64", "--batch-size 4", "--epochs 2", "--device cpu", "--workers 0",
    "--project runs", "--noplots", "--name exp", "--precision float32", "--threads 1",
)  # fmt: skip
"""What a run gets where the examples do not say otherwise."""


@dataclass
class Run:
    """A finished run: its folder and what it printed."""

    folder: Path
    output: str

    @property
    def settings(self) -> dict[str, Any]:
        document = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        return {**document["hyperparameters"], **document["train"]}

    @property
    def rows(self) -> list[dict[str, float | None]]:
        return read_results(self.folder / "results.csv")

    @property
    def summary(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return result

    def weights(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "weights").glob("*.safetensors"))


def _setting(name: str, value: object) -> Callable[[Run], bool]:
    return lambda run: bool(run.settings[name] == value)


def _linear_rate(run: Run, part: float) -> float:
    """What a straight line gives after this part of a run."""
    return float(run.settings["lr0"] * (1 - part * (1 - run.settings["lrf"])))


def _states(run: Run) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in (run.folder / "state").glob("state-*.safetensors"))


def _same_stem(run: Run) -> bool:
    """The first layer is that of the checkpoint the run started from."""
    before = load_detector(run.folder.parents[1] / "start.safetensors").detector.state_dict()
    after = load_detector(run.folder / "weights" / "last.safetensors").detector.state_dict()
    frozen = [name for name in before if name.startswith("model.0.") and "num_batches" not in name]
    moved = [name for name in before if not name.startswith(("model.0.", "model.1.", "model.2."))]
    return all(before[name].equal(after[name]) for name in frozen) and any(
        before[name].shape != after[name].shape or not before[name].equal(after[name]) for name in moved
    )


CHECKS: dict[str, tuple[str, Callable[[Run], bool]]] = {
    # first run
    "--data": ("first", lambda run: run.summary["images_seen"] == 2 * 12),
    "--cfg": ("first", lambda run: "tiny" in run.output),
    "--hyp": ("first", lambda run: run.settings["lrf"] == 0.2 and "hyp.scratch.yaml" in run.output),
    "--epochs": ("first", lambda run: len(run.rows) == 2),
    "--batch-size": ("first", _setting("batch_size", 16)),
    "--img-size": ("first", lambda run: {row["frame_width"] for row in run.rows} == {64.0}),
    "--notest": ("first", lambda run: [row["metrics/mAP_0.5"] is None for row in run.rows] == [True, False]),
    "--bucket": ("first", lambda run: "cp" in (run.folder.parents[1] / "calls").read_text("utf-8")),
    "--cache-images": ("first", _setting("cache", "ram")),
    "--device": ("first", lambda run: "cpu" in run.output),
    "--adam": ("first", lambda run: "Adam," in run.output),
    "--cos-lr": ("first", _setting("schedule", "cosine")),
    "--workers": ("first", lambda run: " 0 workers" in run.output),
    "--project": ("first", lambda run: run.folder.parent.name == "runs"),
    "--name": ("first", lambda run: run.folder.name == "mine"),
    "--label-smoothing": ("first", _setting("label_smoothing", 0.1)),
    "--save-period": ("first", lambda run: run.weights() == ["best", "epoch-1", "epoch-2", "last"]),
    "--local_rank": ("first", _setting("local_rank", -1)),
    # another one into its folder
    "--weights": ("second", lambda run: "start.safetensors" in run.output),
    "--exist-ok": ("second", lambda run: run.folder.name == "exp" and not (run.folder / "old").exists()),
    "--imgsz": ("second", lambda run: [row["frame_width"] for row in run.rows] != []),
    "--nosave": ("second", lambda run: len(_states(run)) == 1 and run.weights() == ["best", "last"]),
    "--noval": ("second", _setting("noval", True)),
    "--noautoanchor": ("second", _setting("noautoanchor", True)),
    "--noplots": ("second", lambda run: not [*run.folder.glob("plots/*.png"), *run.folder.glob("plots/*.jpg")]),
    "--cache": ("second", _setting("cache", "disk")),
    "--multi-scale": ("second", lambda run: {row["frame_width"] for row in run.rows} != {64.0}),
    "--seed": ("second", _setting("seed", 3)),
    "--single-cls": ("second", lambda run: len(run.summary["per_class"]) == 1),
    "--optimizer": ("second", lambda run: "AdamW," in run.output),
    "--sync-bn": ("second", _setting("sync_bn", True)),
    "--log-imgs": ("second", _setting("log_imgs", 4)),
    "--log-artifacts": ("second", _setting("log_artifacts", True)),
    "--entity": ("second", _setting("entity", "somebody")),
    "--upload_dataset": ("second", _setting("upload_dataset", True)),
    "--bbox_interval": ("second", _setting("bbox_interval", 1)),
    "--freeze": ("second", _same_stem),
    # flags that exclude others
    "--rect": ("rectangular", _setting("rect", True)),
    "--linear-lr": ("rectangular", lambda run: run.rows[0]["x/lr1"] == pytest.approx(_linear_rate(run, 2 / 6))),
    "--img": ("weighted", _setting("image_size", [64, 64])),
    "--image-weights": ("weighted", _setting("image_weights", True)),
    "--patience": ("weighted", lambda run: bool(run.settings["patience"] == 1 and run.summary["ended"])),
    "--quad": ("quad", lambda run: {row["frame_width"] for row in run.rows} <= {64.0, 128.0}),
}  # fmt: skip
"""Flag -> the run that its example is part of, and whether that run shows its effect."""

ELSEWHERE = {"--resume", "--evolve"}
"""Flags with a test of their own below."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a model to start from, and a gsutil that notes its arguments."""
    folder = tmp_path_factory.mktemp("flags")
    draw_rectangles(folder, train=12, val=4, size=64).rename(folder / "data.yaml")
    detector = build_detector("tiny", classes=3, seed=0)
    policy = LetterboxPolicy((64, 64), stride=max(detector.strides))
    names = ("red", "green", "blue")  # others than those of the data set
    save_detector(folder / "start.safetensors", detector, class_names=names, letterbox=policy, metadata={})
    (folder / "bin").mkdir()
    program = folder / "bin" / "gsutil"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder / "calls"}"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


def _given(arguments: Sequence[str]) -> set[str]:
    parsed = parse_arguments("vedette train", "", [TrainConfig, Hyperparameters], arguments)
    assert parsed is not None
    return {name for values in parsed.values() for name in values}


def _arguments(*examples: str) -> list[str]:
    arguments = [word for example in examples for word in shlex.split(example)]
    given = _given(arguments)
    for default in DEFAULTS:
        if not _given(shlex.split(default)) & given:
            arguments += shlex.split(default)
    return arguments


def _train(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *examples: str
) -> Run:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", str(place / "bin"), prepend=":")
    arguments = _arguments(*examples)
    code = main(["train", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    newest = max((place / "runs").glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
    return Run(newest.parent, captured.out)


def test_every_row_has_its_check() -> None:
    assert len(EXAMPLES) > 40
    assert set(EXAMPLES) == set(CHECKS) | ELSEWHERE
    assert not set(CHECKS) & ELSEWHERE


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for gsutil is a shell script")
@pytest.mark.parametrize("group", ["first", "second", "rectangular", "weighted", "quad"])
def test_examples(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], group: str
) -> None:
    if group == "second":
        (place / "runs" / "exp" / "weights").mkdir(parents=True)
        (place / "runs" / "exp" / "weights" / "epoch-9.safetensors").touch()
    rows = [flag for flag, (member, _) in CHECKS.items() if member == group]
    run = _train(place, monkeypatch, capsys, *(EXAMPLES[flag] for flag in rows))
    without_effect = [flag for flag in rows if not CHECKS[flag][1](run)]
    assert without_effect == []


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for gsutil is a shell script")
def test_resume(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = _train(place, monkeypatch, capsys, "--name resumed")
    before = len(run.rows)
    assert main(["train", *shlex.split(EXAMPLES["--resume"]), "--project", "runs"]) == 2
    assert "is finished, nothing to resume" in capsys.readouterr().err
    longer = ["--project", "runs", "--epochs", str(before + 1)]
    assert main(["train", *shlex.split(EXAMPLES["--resume"]), *longer]) == 0
    assert len(run.rows) == before + 1


def test_evolve(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The search itself is tested in test_tune.py."""
    asked: list[list[str]] = []

    def note(arguments: Sequence[str]) -> int:
        asked.append(list(arguments))
        return 0

    monkeypatch.setattr(tune, "run", note)
    for example, generations in ((EXAMPLES["--evolve"], "1"), ("--evolve", "300"), ("--evo=7", "7")):
        assert main(["train", "--data", "data.yaml", *shlex.split(example), "--epochs", "3"]) == 0
        expected = ["--trials", generations, "--sampler", "genetic", "--pruner", "none"]
        expected += ["--data", "data.yaml", "--epochs", "3"]
        assert asked.pop() == expected
        assert f"vedette tune {' '.join(expected)}" in " ".join(capsys.readouterr().out.split())
    assert main(["train", "--data", "data.yaml", "--evolve", "many"]) == 2
    assert "'many' is no number of generations" in capsys.readouterr().err
