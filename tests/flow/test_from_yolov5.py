"""Every line of docs/from-yolov5.md is true."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow

import vedette
from tests.checkpoint.legacy.bytewise import write_release
from tests.checkpoint.legacy.published import settings_of
from tests.conftest import REPOSITORY
from tests.flow.conftest import draw_rectangles
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.cli.app import COMMANDS, main
from vedette.config.train import TrainConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.data.description import DatasetDescription, load_description
from vedette.errors import VedetteError
from vedette.hub.entry_points import load
from vedette.model.releases import architecture
from vedette.model.rows import Architecture

GUIDE = (REPOSITORY / "docs" / "from-yolov5.md").read_text(encoding="utf-8")
CLAIMS = re.findall(r"^\|(.*?)\|(.*?)\| `(.*)` \|$", GUIDE, re.MULTILINE)


def _fails(call: Any, text: str) -> bool:
    with pytest.raises(VedetteError) as caught:
        call()
    return text in str(caught.value)


def _says(*arguments: str) -> str:
    """What the command line says to something it refuses."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(list(arguments)) == 2
    return said.getvalue()


def _describe(*lines: str) -> DatasetDescription:
    Path("lines.yaml").write_text("\n".join(lines), encoding="utf-8")
    return load_description("lines.yaml")


def _table(**changes: Any) -> Architecture:
    chosen = settings_of(architecture("tiny"))
    Path("table.yaml").write_text(yaml.safe_dump({**chosen, **changes}), encoding="utf-8")
    return architecture("table.yaml")


def _trained(folder: Path) -> Path:
    """The folder of a finished training; its data set is in ``set``."""
    (folder / "set").mkdir()
    data = draw_rectangles(folder / "set", train=6, val=4, size=64)
    arguments = f"--data {data} --cfg tiny --epochs 2 --img 64 --batch 2 --workers 0 --device cpu --threads 1"
    assert main(["train", *arguments.split()]) == 0
    return folder / "runs" / "train" / "exp"


def _same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the expressions may say; the current folder is a new one with three pictures."""
    folder = tmp_path_factory.mktemp("guide")
    before = Path.cwd()
    os.chdir(folder)
    one = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Pillow.fromarray(one).save("one.png")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(one).save("turned.jpg", exif=exif)
    Pillow.fromarray(np.zeros((96, 128, 4), np.uint8)).save("see_through.png")
    weights = str(folder / "best.safetensors")
    names = ("person", "car", "dog")
    save_detector(
        Path(weights), lively_detector(), class_names=names, letterbox=LetterboxPolicy(), metadata={}
    )

    def hub(name: str, **options: Any) -> Any:
        return load(name, **{"device": "cpu", **options})

    old = write_release(folder / "old.pt", lively_detector(), names=list(names))
    (folder / "images").mkdir()
    (folder / "list.txt").write_text("one.png\n", encoding="utf-8")
    run = _trained(folder)
    model = hub("custom", path=weights)
    yield {
        "old": str(old),
        "run": run,
        "plots": {path.name for path in (run / "plots").iterdir()},
        "columns": (run / "results.csv").read_text("utf-8").splitlines()[0].split(","),
        "commands": COMMANDS,
        "train_settings": TrainConfig.model_fields,
        "says": _says,
        "describe": _describe,
        "table": _table,
        "inspect": inspect,
        "yaml": yaml,
        "hub": hub,
        "weights": weights,
        "model": model,
        "fresh": lambda: hub("custom", path=weights),
        "bare": lambda: hub("custom", path=weights, autoshape=False),
        "one": one,
        "bgr": one[..., ::-1].copy(),
        "pillow": Pillow.fromarray(one),
        "zeros": torch.zeros(1, 3, 64, 64),
        "results": model([one, one], size=128),
        "fails": _fails,
        "same_weights": _same_weights,
        "vedette": vedette,
        "np": np,
        "torch": torch,
        "Path": Path,
    }
    os.chdir(before)


def test_the_tables_are_read_whole() -> None:
    """A line that lost its last column would not be tested."""
    lines = [line for line in GUIDE.splitlines() if line.startswith("| ")]
    headings = GUIDE.count("| Published | Here | True here |")
    assert headings == 8
    assert len(CLAIMS) == len(lines) - headings > 90


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: re.sub(r"[^\w ]", "", claim[0])[:40])
def test_is_true(words: dict[str, Any], claim: tuple[str, str, str]) -> None:
    if ".pandas()" in claim[2]:
        pytest.importorskip("pandas", reason="the extra 'pandas' is not installed")
    assert eval(claim[2], dict(words)) is True  # noqa: S307 - the guide's own words


def test_a_false_claim_would_be_seen(words: dict[str, Any]) -> None:
    assert eval("model.nc == 4", dict(words)) is False  # noqa: S307 - the negative control
