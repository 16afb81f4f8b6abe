"""The demonstration, small: every stage runs and the report holds its pictures."""

from __future__ import annotations

import json
from pathlib import Path

from tests.flow.conftest import vedette
from vedette.train.folder.run_lock import run_lock


def test_the_whole_path_once(tmp_path: Path) -> None:
    result = vedette(
        "demo", "--model", "tiny", "--img", 96, "--epochs", 1, "--train-pictures", 16, "--val-pictures", 12,
        "--device", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "demo"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 12
    assert "cannot be shown" not in page
    metrics = json.loads((folder / "val" / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["ap50"] <= 1
    lines = (folder / "detect" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    assert all("detections" in json.loads(line) for line in lines)


def test_a_folder_in_which_somebody_trains_is_not_emptied(tmp_path: Path) -> None:
    train = tmp_path / "runs" / "demo" / "train"
    train.mkdir(parents=True)
    (train / "results.csv").write_text("theirs")
    with run_lock(train):
        result = vedette("demo", "--exist-ok", cwd=tmp_path)
    assert result.returncode == 2
    assert "is in use" in result.stderr
    assert (train / "results.csv").read_text() == "theirs"
