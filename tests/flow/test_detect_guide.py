"""What docs/detect.md shows: commands are run, or at least understood; programs run; files and keys are as it says."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.conftest import REPOSITORY
from tests.infer.test_writers import LOST, event, frame
from tests.infer.video.clips import VARIABLE_MS, write_clip
from tests.infer.video.stream_server import numbered
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.cli.app import main
from vedette.cli.flags import parse_arguments, validate
from vedette.config.detect import DetectConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import DataError
from vedette.infer.sources import open_source
from vedette.infer.video.live import LONGEST_PAUSE_S, MOST_KEPT, RETRIES_WHEN_KNOWN, RETRIES_WHEN_NEW
from vedette.infer.writers import picture_record

GUIDE = (REPOSITORY / "docs" / "detect.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:\| .* \| `)?(vedette detect [^`\n]*?)(?:` \|)?$", GUIDE, re.M)
PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
RECORDS = [json.loads(line) for line in re.findall(r'^\{"path".*\}$', GUIDE, re.M)]
FILES = re.findall(
    r"^\| (.*) \| `(.*)` \| .* \|$", GUIDE.partition("## What is written")[2].partition("## ")[0], re.M
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands and programs of the guide find what they name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name in ("one.jpg", "two.jpg", "more/three.jpg"):
        Pillow.fromarray(numbered(5, 128, 96)).save(tmp_path / "pictures" / name)
    write_clip(tmp_path / "clip.mp4", VARIABLE_MS, lambda number: numbered(number, 128, 96), "mpeg4")
    (tmp_path / "list.txt").write_text("pictures/one.jpg\nclip.mp4\n", encoding="utf-8")
    (tmp_path / "cameras.streams").write_text(
        "rtsp://127.0.0.1:1/1\nrtsp://127.0.0.1:1/2\n", encoding="utf-8"
    )
    save_detector(
        tmp_path / "best.safetensors",
        lively_detector(),
        class_names=("ant", "bee", "cat"),
        letterbox=LetterboxPolicy(size_hw=(64, 64)),
        metadata={},
    )
    return tmp_path


def understood(command: str) -> tuple[DetectConfig, Any]:
    """The settings that a command stands for, and what it would read."""
    parsed = parse_arguments("vedette detect", "", [DetectConfig], shlex.split(command)[2:])
    assert parsed is not None
    config = validate("vedette detect", DetectConfig, parsed[DetectConfig])
    return config, open_source(config.source)


def test_the_guide_has_commands_programs_and_records() -> None:
    assert (len(COMMANDS), len(PROGRAMS), len(RECORDS), len(FILES)) == (13, 2, 5, 10)


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands(folder: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    command = COMMANDS[number]
    _, source = understood(command)
    if source.streams or "://" in command:  # nothing is reached from here
        found = [item.path for item in (*source.items, *source.videos, *source.streams)]
        assert found
        assert not any("password" in path for path in found)
        return
    arguments = shlex.split(command)[1:]
    assert main([*arguments, "--weights", "best.safetensors", "--device", "cpu", "--threads", "1"]) == 0
    output = capsys.readouterr().out
    pictures = len(source.items) + sum(15 if "--vid-stride" not in command else 5 for _ in source.videos)
    assert f"\n{pictures} pictures: " in output
    written = {path.name for path in (folder / "runs/detect/exp").iterdir()}
    assert {item.file.name for item in source.items} <= written
    assert ("clip.webm" in written) == bool(source.videos)


def test_every_file_is_written_as_the_table_says(folder: Path) -> None:
    flags = sorted({flag for flags, _ in FILES for flag in re.findall(r"--[a-z-]+", flags)} - {"--nosave"})
    assert len(flags) == 7
    arguments = [
        "detect",
        "pictures/one.jpg",
        "clip.mp4",
        "--weights",
        "best.safetensors",
        "--vid-stride",
        "9",
    ]
    assert main([*arguments, *flags, "--device", "cpu", "--conf-thres", "0.01", "--max-det", "40"]) == 0
    run = folder / "runs" / "detect" / "exp"
    for _, pattern in FILES:
        for name in ("one", "clip", "clip_1", "clip_10"):
            file = pattern.replace("NAME", name)
            if (".webm" in file and name != "clip") or (
                ".jpg" in file and "crops" not in file and name != "one"
            ):
                continue
            if name == "clip" and ".webm" not in file and "NAME" in pattern:
                continue
            assert list(run.glob(file.replace("CLASS", "*"))), file


def test_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for program in PROGRAMS:
        exec(compile(program, "docs/detect.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    first = [line for line in lines if line.endswith("(96, 128, 3)")]
    assert [float(line.split()[1]) for line in first[:15]] == pytest.approx(VARIABLE_MS, abs=1)
    assert [line.split()[0] for line in first[15:]] == ["0", "10"]


def test_records_have_these_keys() -> None:
    cut = DataError(
        "ends after 9.60 s of 31.20 s: the file is cut off or damaged", where="c", fix="copy it again"
    )
    moment = {"time_ms": 1.0, "utc": "2026-05-04T16:34:13.973Z", "live": True}
    one = frame(12)
    results = [
        replace(one, detections=replace(one.detections, size_hw=(480, 640))),
        event("ended", error=cut, frames=240),
        event("opened", **moment),
        event("lost", error=LOST, **moment),
        event("recovered", gap_ms=1.0, **moment),
    ]
    for shown, result in zip(RECORDS, results, strict=True):
        record = picture_record(result)
        assert list(shown) == list(record)
        assert shown.get("event") == record.get("event")
        assert shown.get("error") == record.get("error")


def test_figures_are_those_of_the_code() -> None:
    defaults = DetectConfig.model_fields
    assert f"`--stream-timeout` seconds ({defaults['stream_timeout'].default:g})" in GUIDE
    assert f"up to {MOST_KEPT} of a stream wait" in GUIDE
    assert f"After {RETRIES_WHEN_KNOWN} attempts in a row" in GUIDE
    assert f"after {RETRIES_WHEN_NEW} if it never answered" in GUIDE
    assert LONGEST_PAUSE_S == 3.0
    minutes = RETRIES_WHEN_KNOWN * LONGEST_PAUSE_S / 60
    assert minutes == pytest.approx(2.0, abs=0.1)
