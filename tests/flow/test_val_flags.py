"""Every row of docs/val-flags.md: its example is run, and its effect looked for."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.flow.conftest import draw_rectangles
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.cli.app import main
from vedette.core.letterbox import LetterboxPolicy

EXAMPLES = {
    match[1]: match[2]
    for match in re.finditer(
        r"^\| `(--\S+)` \|.*\| `([^`]*)` \|$", (REPOSITORY / "docs" / "val-flags.md").read_text("utf-8"), re.M
    )
}
DEFAULTS = (
    "--weights best.safetensors", "--data data.yaml", "--img-size 96", "--device cpu", "--threads 1",
)  # fmt: skip
"""What a run gets where the examples do not say otherwise."""
SPELLINGS = {"--img": "--img-size", "--imgsz": "--img-size"}


@dataclass
class Run:
    """A finished run: its folder and what it said."""

    folder: Path
    said: str

    @property
    def numbers(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return found

    @property
    def protocol(self) -> dict[str, Any]:
        found: dict[str, Any] = self.numbers["protocol"]
        return found

    @property
    def boxes(self) -> int:
        """Predicted boxes, of the file that every run here writes."""
        return len(json.loads((self.folder / "predictions.json").read_text(encoding="utf-8")))

    def label_columns(self) -> set[int]:
        files = sorted((self.folder / "labels").glob("*.txt"))
        return {len(line.split()) for file in files for line in file.read_text("ascii").splitlines()}


def _same(run: Run, usual: Run) -> bool:
    return all(run.numbers[name] == usual.numbers[name] for name in ("ap", "ap50", "per_class", "confusion"))


def _size(*size_hw: int) -> Callable[[Run, Run], bool]:
    return lambda run, _: run.protocol["letterbox"]["size_hw"] == list(size_hw)


CHECKS: dict[str, Callable[[Run, Run], bool]] = {
    "--weights": lambda run, usual: (
        not _same(run, usual) and run.boxes == usual.boxes
    ),  # its classes change places
    "--data": _same,
    "--batch-size": _same,
    "--img-size": _size(64, 64),
    "--img": _size(64, 64),
    "--imgsz": _size(64, 96),
    "--conf-thres": lambda run, usual: 0 < run.boxes < usual.boxes,
    "--iou-thres": lambda run, usual: 0 < run.boxes < usual.boxes,
    "--max-det": lambda run, usual: 0 < run.boxes <= 5 * run.numbers["images"],
    "--task": lambda run, _: run.numbers["images"] == 3,
    "--device": _same,
    "--workers": _same,
    "--single-cls": lambda run, _: len(run.numbers["per_class"]) == 1,
    "--augment": lambda run, usual: (
        run.protocol["combines"] == "three views of a picture" and run.boxes != usual.boxes
    ),
    "--verbose": lambda run, _: all(name in run.said for name in ("red", "blue")),
    "--save-txt": lambda run, _: run.label_columns() == {5},
    "--save-conf": lambda run, _: run.label_columns() == {6},
    "--save-json": lambda run, _: run.boxes > 0,
    "--project": lambda run, _: run.folder.parent.name == "elsewhere",
    "--name": lambda run, _: run.folder.name == "mine",
    "--exist-ok": lambda run, _: run.folder.name == "exp",
    "--half": lambda run, usual: "a CPU has no fast float16" in run.said and _same(run, usual),
    "--dnn": lambda run, usual: "OpenCV's network reader is not used" in run.said and _same(run, usual),
}
"""Flag -> whether a run with its example, and the usual one without, show its effect."""

REFUSED = {"--save-hybrid": "raises every figure: use --save-txt", "--merge": "leave it out"}
"""Flags that are refused here, and what is said."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("val-flags") / "place"
    folder.mkdir()
    draw_rectangles(folder, train=3, val=4).rename(folder / "data.yaml")
    for name, class_names in (("best", ("red", "blue")), ("other", ("blue", "red"))):
        save_detector(
            folder / f"{name}.safetensors",
            lively_detector(classes=2),
            class_names=class_names,
            letterbox=LetterboxPolicy(size_hw=(96, 96)),
            metadata={},
        )
    return folder


def _val(place: Path, capsys: pytest.CaptureFixture[str], caplog: Any, *examples: str) -> tuple[int, str]:
    given = [word for example in examples for word in shlex.split(example)]
    names = {SPELLINGS.get(word, word) for word in given}
    wanted = [part for default in DEFAULTS if default.split()[0] not in names for part in default.split()]
    plots = [] if "--plots" in given else ["--no-plots"]
    code = main(["val", *given, *wanted, *plots])
    captured = capsys.readouterr()
    return code, captured.out + captured.err + caplog.text


@pytest.fixture(scope="module")
def usual(place: Path) -> Run:
    """The run without any of the examples."""
    before = Path.cwd()
    os.chdir(place)
    try:
        arguments = [part for default in DEFAULTS for part in default.split()]
        assert main(["val", *arguments, "--no-plots", "--save-json", "--project", "usual"]) == 0
    finally:
        os.chdir(before)
    return Run(place / "usual" / "exp", "")


def test_every_row_has_its_check() -> None:
    assert len(EXAMPLES) > 20
    assert set(EXAMPLES) == set(CHECKS) | set(REFUSED)


@pytest.mark.parametrize("flag", CHECKS)
def test_examples(
    place: Path,
    usual: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    flag: str,
) -> None:
    monkeypatch.chdir(place)
    code, said = _val(place, capsys, caplog, EXAMPLES[flag], "" if flag == "--save-json" else "--save-json")
    assert code == 0, said
    folder = max(place.rglob("metrics.json"), key=lambda path: path.stat().st_mtime_ns).parent
    assert CHECKS[flag](Run(folder, said), usual)


@pytest.mark.parametrize("flag", REFUSED)
def test_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    monkeypatch.chdir(place)
    assert main(["val", *shlex.split(EXAMPLES[flag])]) == 2
    assert REFUSED[flag] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "text"), [("study", "once for each --img-size"), ("speed", "times of a picture")]
)
def test_other_tasks(capsys: pytest.CaptureFixture[str], task: str, text: str) -> None:
    assert main(["val", "--task", task]) == 2
    assert text in capsys.readouterr().err
