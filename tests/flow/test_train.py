"""Training from end to end, in real processes: it learns, it can be killed, and nothing random depends on how."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.flow.conftest import command, vedette
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.track.files import read_results

KILLS = 2


def _arguments(data: Path, project: Path, *more: object) -> list[object]:
    return [
        "train", "--data", data, "--cfg", "tiny", "--img", "96", "--batch", "8", "--epochs", "4",
        "--project", project, "--device", "cpu", "--precision", "float32", "--noval", *more,
    ]  # fmt: skip


def _final(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The last state's tensors, and the run's summary."""
    saved = StateFolder(folder / "state").load_latest()
    assert saved is not None
    return saved.tensors, json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def _assert_same_bits(folder: Path, reference: Path) -> None:
    tensors, summary = _final(folder)
    expected, expected_summary = _final(reference)
    assert tensors.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(tensors[name], expected[name])]
    assert not different
    assert summary["weights_sha256"] == expected_summary["weights_sha256"]
    for name in ("ap", "images_seen", "optimizer_steps", "epochs"):
        assert summary[name] == expected_summary[name]


@pytest.fixture(scope="module")
def uninterrupted(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    project = tmp_path_factory.mktemp("runs")
    result = vedette(*_arguments(rectangles, project, "--workers", 0))
    assert result.returncode == 0, result.stderr
    return project / "exp"


def test_a_run_leaves_everything_behind(uninterrupted: Path) -> None:
    for name in ("config.yaml", "results.csv", "events.jsonl", "summary.json", "report.html"):
        assert (uninterrupted / name).stat().st_size > 0, name
    for name in (
        "results.png",
        "train_batch0.jpg",
        "confusion_matrix.svg",
        "labels.png",
        "val_batch0_pred.jpg",
    ):
        assert (uninterrupted / "plots" / name).stat().st_size > 0, name
    rows = read_results(uninterrupted / "results.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["metrics/mAP_0.5"] is None for row in rows] == [True, True, True, False]
    summary = json.loads((uninterrupted / "summary.json").read_text(encoding="utf-8"))
    assert summary["images_seen"] == 4 * 48
    assert {"ap", "ap50", "per_class", "epochs", "seconds", "weights_sha256"} <= summary.keys()
    loaded = load_detector(uninterrupted / "weights" / "best.safetensors")
    assert loaded.class_names == ("red", "blue")
    assert loaded.letterbox.size_hw == (96, 96)
    assert loaded.metadata["metrics"]["ap50"] == summary["ap50"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_result(
    rectangles: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    result = vedette(*_arguments(rectangles, tmp_path, "--workers", workers, "--noplots"))
    assert result.returncode == 0, result.stderr
    _assert_same_bits(tmp_path / "exp", uninterrupted)


def test_another_seed_gives_another_result(rectangles: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """Negative control of the comparisons above."""
    result = vedette(*_arguments(rectangles, tmp_path, "--workers", 0, "--seed", 1, "--noplots"))
    assert result.returncode == 0, result.stderr
    assert _final(tmp_path / "exp")[1]["weights_sha256"] != _final(uninterrupted)[1]["weights_sha256"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_random_moments_and_resumed(rectangles: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """Kill -9 of the plain command, with and without worker processes; test_kills.py does it many times more."""
    moments, kills, run = random.Random(11), 0, 0
    while kills < KILLS:
        run += 1
        folder = tmp_path / f"run{run}" / "exp"
        arguments = _arguments(
            rectangles, folder.parent, "--workers", run % 2, "--save-seconds", "0.001", "--noplots"
        )
        finished = False
        while not finished:
            started = any(folder.glob("state/state-*.safetensors"))
            again: list[object] = ["train", "--resume", folder, "--save-seconds", "0.001"]
            process = _start(again if started else [*arguments, "--exist-ok"])
            if kills < KILLS and _kill_while_training(process, folder, moments.uniform(0.0, 1.2)):
                kills += 1
                continue
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
            finished = True
        _assert_same_bits(folder, uninterrupted)
    assert kills == KILLS


def _start(arguments: list[object]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ.copy(),
    )


def _kill_while_training(process: subprocess.Popen[str], folder: Path, delay: float) -> bool:
    """SIGKILL ``delay`` seconds after the run's first sign of training; False if it ended before that."""
    log = folder / "events.jsonl"
    seen = log.stat().st_size if log.exists() else 0
    while process.poll() is None:
        if log.exists() and '"RunStarted"' in log.read_text(encoding="utf-8")[seen:]:
            break
        time.sleep(0.01)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals to another process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_is_followed_saved_and_explained(
    rectangles: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = _start(_arguments(rectangles, tmp_path, "--workers", 1))
    folder = tmp_path / "exp"
    while process.poll() is None:
        if (folder / "events.jsonl").exists() and "RunStarted" in (folder / "events.jsonl").read_text(
            "utf-8"
        ):
            break
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    assert f"vedette train --resume {folder.as_posix()}" in output
    result = vedette("train", "--resume", folder)
    assert result.returncode == 0, result.stderr
    _assert_same_bits(folder, uninterrupted)


def test_a_finished_run_is_not_resumed(uninterrupted: Path) -> None:
    result = vedette("train", "--resume", uninterrupted)
    assert result.returncode == 2
    assert "is finished, nothing to resume" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_state_falls_back_to_the_one_before(
    rectangles: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    result = vedette(
        *_arguments(rectangles, tmp_path, "--workers", 0, "--save-seconds", "0.001", "--noplots")
    )
    assert result.returncode == 0, result.stderr
    *_, newest = sorted((tmp_path / "exp" / "state").glob("state-*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    result = vedette("train", "--resume", tmp_path / "exp")
    assert result.returncode == 0, result.stderr
    assert "going on from an earlier state" in result.stdout
    _assert_same_bits(tmp_path / "exp", uninterrupted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "no data set is named"),
        (["train", "--data", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--data", "DATA", "--cfg", "yolov5q"], "did you mean"),
        (["train", "--data", "DATA", "--device", "cuda:9"], "available"),
        (["train", "--data", "DATA", "--hyp", "yolov5"], "yolov5-v4"),
        (["train", "--data", "DATA", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["train", "--resume", "nowhere"], "is not the folder of a run"),
        (["train", "--resume", "--epochs", "3", "--project", "."], "holds no run"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    rectangles: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    given = [str(rectangles) if part == "DATA" else part for part in arguments]
    result = vedette(*given, cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
