"""Every row of docs/detect-flags.md: its example is run, and its effect looked for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.infer.video.clips import write_clip
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.cli.app import main
from vedette.core.letterbox import LetterboxPolicy

EXAMPLES = {
    match[1]: match[2]
    for match in re.finditer(
        r"^\| `(--\S+)` \|.*\| `([^`]*)` \|$",
        (REPOSITORY / "docs" / "detect-flags.md").read_text("utf-8"),
        re.M,
    )
}
NAMES = ("ant", "bee", "cat")


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (96, 128, 3), dtype=np.uint8)


@dataclass
class Run:
    """A finished run: its folder and what it said."""

    folder: Path
    said: str
    records: list[dict[str, Any]]

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = yaml.safe_load((self.folder / "detect.yaml").read_text(encoding="utf-8"))
        return settings

    @property
    def boxes(self) -> list[dict[str, Any]]:
        return [box for record in self.records for box in record.get("detections", ())]

    def files(self, pattern: str = "*") -> list[str]:
        found = (path for path in self.folder.rglob(pattern) if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def picture(self) -> np.ndarray:
        return np.asarray(cv2.imread(str(self.folder / "a.png")))

    def columns(self) -> int:
        """Of the first line of the labels of the first picture."""
        return len((self.folder / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()[0].split())

    def classes(self) -> set[int]:
        return {box["class_id"] for box in self.boxes}


def _looks_different(run: Run, usual: Run) -> bool:
    return run.boxes == usual.boxes and bool((run.picture() != usual.picture()).any())


def _fewer(run: Run, usual: Run) -> bool:
    return 0 < len(run.boxes) < len(usual.boxes)


CHECKS: dict[str, Callable[[Run, Run], bool]] = {
    "--weights": lambda run, _: run.boxes[0]["class_name"] in ("x", "y", "z"),
    "--source": lambda run, usual: run.files("*.webm") == ["clip.webm"] and len(run.records) == 2 + 7,
    "--output": lambda run, _: run.folder.name == "found" and run.folder.parent.name == "place",
    "--save-dir": lambda run, _: run.folder.name == "found" and run.folder.parent.name == "place",
    "--img-size": lambda run, usual: run.settings["image_size"] == [64, 64] and run.boxes != usual.boxes,
    "--img": lambda run, usual: run.settings["image_size"] == [64, 64] and run.boxes != usual.boxes,
    "--imgsz": lambda run, usual: run.settings["image_size"] == [64, 96] and run.boxes != usual.boxes,
    "--conf-thres": lambda run, usual: _fewer(run, usual) and min(box["score"] for box in run.boxes) > 0.9,
    "--iou-thres": _fewer,
    "--max-det": lambda run, usual: _fewer(run, usual) and all(len(r["detections"]) <= 5 for r in run.records),
    "--fourcc": lambda run, _: run.files("clip.*") == ["clip.mp4"],
    "--device": lambda run, _: run.settings["device"] == "cpu",
    "--save-txt": lambda run, _: run.files("*.txt") == ["labels/a.txt", "labels/b.txt"] and run.columns() == 5,
    "--save-conf": lambda run, _: run.columns() == 6,
    "--save-crop": lambda run, _: len(run.files("crops/*/*.jpg")) == len(run.boxes),
    "--nosave": lambda run, _: run.files() == ["detect.yaml", "predictions.jsonl"],
    "--classes": lambda run, usual: (run.classes(), usual.classes()) == ({0, 2}, {0, 1, 2}),
    "--agnostic-nms": _fewer,
    "--augment": lambda run, usual: len(run.boxes) > len(usual.boxes),
    "--visualize": lambda run, _: len(run.files("features/*/layer_*.png")) == 2 * 24,
    "--update": lambda run, usual: "vedette import old.pt" in run.said and run.boxes == usual.boxes,
    "--project": lambda run, _: run.folder.parent.name == "elsewhere",
    "--name": lambda run, _: run.folder.name == "mine",
    "--exist-ok": lambda run, _: run.folder.name == "exp",
    "--line-thickness": _looks_different,
    "--hide-labels": _looks_different,
    "--hide-conf": _looks_different,
    "--half": lambda run, usual: "a CPU has no fast float16" in run.said and run.boxes == usual.boxes,
    "--dnn": lambda run, usual: "OpenCV's network reader is not used" in run.said and run.boxes == usual.boxes,
    "--vid-stride": lambda run, _: [record["frame_index"] for record in run.records] == [0, 3, 6],
    "--data": lambda run, usual: run.boxes == usual.boxes,
}  # fmt: skip
"""Flag -> whether a run with its example, and the usual one without, show its effect."""

OF_VIDEOS = ("--fourcc", "--vid-stride")
DRAWN = ("--fourcc", "--hide-conf", "--hide-labels", "--line-thickness", "--nosave", "--source")
REFUSED = {
    "--view-img": "opencv-python-headless",
}
"""Flags that are refused here, and what is said."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flags") / "place"
    (folder / "pictures").mkdir(parents=True)
    for number, name in enumerate("ab"):
        cv2.imwrite(str(folder / "pictures" / f"{name}.png"), noise(number))
    write_clip(folder / "clip.mp4", [40 * number for number in range(7)], noise, "mpeg4")
    for name, class_names in (("best", NAMES), ("other", ("x", "y", "z"))):
        save_detector(
            folder / f"{name}.safetensors",
            lively_detector(),
            class_names=class_names,
            letterbox=LetterboxPolicy(size_hw=(96, 96)),
            metadata={},
        )
    names = ", ".join(NAMES)
    (folder / "data.yaml").write_text(f"train: pictures\nnames: [{names}]\n", encoding="utf-8")
    return folder


def _detect(place: Path, example: str, defaults: tuple[str, ...]) -> int:
    given = example.split()
    wanted = [part for default in defaults if default.split()[0] not in given for part in default.split()]
    return main(["detect", *shlex.split(example), *wanted, "--save-json"])


def _defaults(flag: str) -> tuple[str, ...]:
    source = "--source clip.mp4" if flag in OF_VIDEOS else "--source pictures"
    # In a crowd labels have no scores.
    drawn = ("--max-det 3",) if flag in DRAWN else ("--nosave", "--max-det 3000")
    return (source, *drawn, "--weights best.safetensors", "--device cpu", "--threads 1")


@pytest.fixture(scope="module")
def usual_runs() -> dict[tuple[str, ...], Run]:
    """Runs without the flag in question, by what they were given instead."""
    return {}


@pytest.fixture
def run(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Callable[[str, tuple[str, ...]], Run]:
    monkeypatch.chdir(place)

    def start(example: str, defaults: tuple[str, ...]) -> Run:
        before = {path.parent: path.stat().st_mtime_ns for path in place.rglob("detect.yaml")}
        caplog.clear()
        code = _detect(place, example, defaults)
        captured = capsys.readouterr()
        assert code == 0, captured.err
        (folder,) = [
            path.parent
            for path in place.rglob("detect.yaml")
            if before.get(path.parent) != path.stat().st_mtime_ns
        ]
        lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        said = "\n".join([captured.out, captured.err, *caplog.messages])
        return Run(folder, said, [json.loads(line) for line in lines])

    return start


def test_every_row_has_its_check() -> None:
    assert len(EXAMPLES) == 32
    assert set(EXAMPLES) == set(CHECKS) | set(REFUSED)
    assert not set(CHECKS) & set(REFUSED)


@pytest.mark.parametrize("flag", sorted(CHECKS))
def test_example(
    place: Path,
    run: Callable[[str, tuple[str, ...]], Run],
    usual_runs: dict[tuple[str, ...], Run],
    flag: str,
) -> None:
    shutil.rmtree(place / "found", ignore_errors=True)
    defaults = _defaults(flag)
    if defaults not in usual_runs:
        name = f"usual{len(usual_runs)}" if usual_runs else "exp"
        usual_runs[defaults] = run(f"--name {name}", defaults)
    usual = usual_runs[defaults]
    seen = run(EXAMPLES[flag], defaults)
    assert CHECKS[flag](seen, usual), seen.said


@pytest.mark.parametrize("flag", sorted(REFUSED))
def test_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "GUI: NONE\n")
    assert _detect(place, EXAMPLES[flag], ("--project refused", *_defaults(flag))) == 2
    assert REFUSED[flag] in capsys.readouterr().err
    assert not (place / "refused").exists()
