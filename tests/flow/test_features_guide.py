"""The programs of docs/features.md run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.conftest import REPOSITORY
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.data.images import read_image

GUIDE = (REPOSITORY / "docs" / "features.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def _write(folder: Path, pictures: list[np.ndarray]) -> None:
    (folder / "pictures").mkdir()
    for number, picture in enumerate(pictures):
        Pillow.fromarray(picture).save(folder / "pictures" / f"{number or 'one'}.jpg")
    save_detector(
        folder / "best.safetensors",
        lively_detector(),
        class_names=("RBC", "WBC", "Platelets"),
        letterbox=LetterboxPolicy(size_hw=(160, 160)),
        metadata={},
    )


def test_programs_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    _write(tmp_path, [random.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(3)])
    _run_all(tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("(")
    assert re.match(r"1\.000 (RBC|WBC|Platelets) ", lines[-4])


def test_programs_run_on_real_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((data_dir / "bccd" / "BCCD" / "JPEGImages").glob("*.jpg"))[:4]
    if not files:
        pytest.skip("the data set bccd is not in VEDETTE_DATA_DIR")
    _write(tmp_path, [read_image(file) for file in files])
    _run_all(tmp_path, monkeypatch)
    question, *alike = capsys.readouterr().out.splitlines()[-4:]
    assert question.startswith("1.000 ")
    assert len(alike) == 3
    assert not any(line.split()[2] == question.split()[2] for line in alike)


def _run_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert len(PROGRAMS) == 4
    names: dict[str, object] = {}
    for program in PROGRAMS:
        exec(program.replace('"best.safetensors"', '"best.safetensors", device="cpu"'), names)
