"""Tiles, views and several files, as `vedette detect` and `vedette val` take them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.evaluate.coco_twin import evaluate_by_pycocotools
from tests.flow.colour_network import NAMES, save_colour_network
from vedette.checkpoint.deployable import load_detector, save_detector
from vedette.cli.app import main
from vedette.cli.flags import parse_arguments, validate
from vedette.config.detect import DetectConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.data.description import load_description
from vedette.data.index import load_index
from vedette.evaluate.coco import COCO_NUMBERS
from vedette.evaluate.packed import Predictions, offsets_of, truth_of

SIZE_HW = (192, 320)
OBJECT_PX = 20
_COLOURS = ((160, 128, 96), (96, 128, 160))  # BGR: bluer than red, redder than blue
_THRESHOLDS = ("--conf-thres", "0.01", "--iou-thres", "0.5")
_TILES = ("--tile", "96", "160", "--overlap", "0.3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of things of 40 pixels, and pictures with things half as large; some lie on the seams of tiles."""
    folder = tmp_path_factory.mktemp("assembly")
    for part in ("images", "labels"):
        (folder / "data" / part).mkdir(parents=True)
    random = np.random.default_rng(5)
    for number in range(5):
        picture = np.full((*SIZE_HW, 3), 128, dtype=np.uint8)
        rows = []
        for column in range(4):
            class_id = int(random.integers(2))
            # The network's window of 20 pixels around each cell holds one thing, and no border of the picture.
            left = 14 + 72 * column + int(random.integers(0, 20))
            top = int(random.integers(14, SIZE_HW[0] - 14 - OBJECT_PX))
            picture[top : top + OBJECT_PX, left : left + OBJECT_PX] = _COLOURS[class_id]
            centre = ((left + OBJECT_PX / 2) / SIZE_HW[1], (top + OBJECT_PX / 2) / SIZE_HW[0])
            rows.append(
                f"{class_id} {centre[0]} {centre[1]} {OBJECT_PX / SIZE_HW[1]} {OBJECT_PX / SIZE_HW[0]}"
            )
        cv2.imwrite(str(folder / "data" / "images" / f"{number}.png"), picture)
        (folder / "data" / "labels" / f"{number}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "data.yaml").write_text(
        f"path: data\ntrain: images\nval: images\nnames: [{', '.join(NAMES)}]\n", encoding="utf-8"
    )
    weights = save_colour_network(folder / "best.safetensors")
    loaded = load_detector(weights)
    swapped = loaded.detector
    head = swapped.output_convolutions[0]
    order = [0, 1, 2, 3, 4, 6, 5]
    head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
    save_detector(
        folder / "swapped.safetensors",
        swapped,
        class_names=NAMES[::-1],
        letterbox=loaded.letterbox,
        metadata={},
    )
    small = LetterboxPolicy(size_hw=(96, 160))
    save_detector(
        folder / "small.safetensors", swapped, class_names=NAMES[::-1], letterbox=small, metadata={}
    )
    save_detector(
        folder / "strange.safetensors",
        swapped,
        class_names=("ball", "box"),
        letterbox=loaded.letterbox,
        metadata={},
    )
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(place / "runs", ignore_errors=True)
    monkeypatch.chdir(place)


def run(command: str, *arguments: str) -> int:
    usual = ["--device", "cpu", "--threads", "1"]
    usual += ["--weights", "best.safetensors"] if "--weights" not in arguments else []
    usual += ["--data", "data.yaml"] if command == "val" else ["--source", "data/images", "--nosave"]
    usual += ["--no-plots"] if command == "val" else []
    return main([command, *usual, *arguments])


def val(*arguments: str) -> dict[str, Any]:
    assert run("val", "--json", "numbers.json", *arguments) == 0
    numbers: dict[str, Any] = json.loads(Path("numbers.json").read_text(encoding="utf-8"))
    return numbers


def detect(*arguments: str) -> list[dict[str, Any]]:
    """The records of all pictures, in their order."""
    assert run("detect", "--save-json", "--output", "found", *arguments) == 0
    lines = Path("found/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda record: str(record["path"]))


def measured_outside(records: list[dict[str, Any]]) -> dict[str, float]:
    """The twelve numbers by pycocotools, of what `vedette detect --save-json` wrote."""
    boxes = [box for record in records for box in record["detections"]]
    predictions = Predictions(
        offsets_of([len(record["detections"]) for record in records]),
        np.array([box["box_xyxy"] for box in boxes], dtype=np.float32).reshape(-1, 4),
        np.array([box["score"] for box in boxes], dtype=np.float32),
        np.array([box["class_id"] for box in boxes], dtype=np.int64),
    )
    index = load_index(load_description("data.yaml"), "val")
    stats = evaluate_by_pycocotools(predictions, truth_of(index), len(NAMES)).stats
    return dict(zip(COCO_NUMBERS, map(float, stats), strict=True))


def test_val_in_tiles_equals_detecting_in_tiles_and_measuring(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = val(*_TILES, *_THRESHOLDS, "--batch-size", "4")
    said = capsys.readouterr().out
    in_tiles = measured_outside(detect(*_TILES, *_THRESHOLDS, "--batch-size", "4"))
    plain = measured_outside(detect(*_THRESHOLDS, "--batch-size", "4"))
    for name in COCO_NUMBERS:
        # Two implementations of COCO's sums, in float64.
        assert numbers[name] == pytest.approx(in_tiles[name], abs=1e-12) or in_tiles[name] == -1
        assert numbers["without_tiles"][name] == pytest.approx(plain[name], abs=1e-12) or plain[name] == -1
    assert numbers["ap_small"] > 0.6
    assert numbers["without_tiles"]["ap_small"] < 0.1
    assert numbers["timing"]["inference"] > numbers["without_tiles"]["timing"]["inference"] > 0
    assert numbers["protocol"]["tiles"] == {"tile_hw": [96, 160], "overlap": 0.3, "whole": True}
    whole, tiled = (
        line.split() for line in said.splitlines() if line.startswith(("whole pictures", "in tiles"))
    )
    assert float(whole[2]) == pytest.approx(numbers["without_tiles"]["ap_small"], abs=1e-4)
    assert float(tiled[2]) == pytest.approx(numbers["ap_small"], abs=1e-4)
    assert "ap_small" in said
    assert "wall ms" in said


def test_every_object_is_found_once_where_tiles_meet() -> None:
    records = detect(*_TILES, "--conf-thres", "0.6", "--iou-thres", "0.2")
    for record in records:
        labels = Path("data/labels", Path(record["path"]).with_suffix(".txt").name).read_text(
            encoding="utf-8"
        )
        rows = [[float(part) for part in line.split()] for line in labels.splitlines()]
        true = sorted((int(row[0]), row[1] * SIZE_HW[1], row[2] * SIZE_HW[0]) for row in rows)
        found = sorted(
            (box["class_id"], sum(box["box_xyxy"][::2]) / 2, sum(box["box_xyxy"][1::2]) / 2)
            for box in record["detections"]
        )
        assert len(found) == len(true)
        # The network's cells are 4 picture pixels apart.
        np.testing.assert_allclose(found, true, atol=4)


def test_the_page_of_an_evaluation_in_tiles_compares() -> None:
    val(*_TILES, "--no-tile-whole", "--name", "page")
    page = Path("runs/val/page/report.html").read_text(encoding="utf-8")
    assert "In tiles and without" in page
    assert "whole: False" in page
    val("--name", "plain")
    assert "In tiles" not in Path("runs/val/plain/report.html").read_text(encoding="utf-8")


def test_three_views_in_both_commands() -> None:
    records, usual = detect("--augment", *_THRESHOLDS), detect(*_THRESHOLDS)
    assert [record["detections"] for record in records] != [record["detections"] for record in usual]
    numbers = val("--augment", *_THRESHOLDS)
    assert numbers["protocol"]["combines"] == "three views of a picture"
    assert numbers["ap"] == pytest.approx(measured_outside(records)["ap"], abs=1e-6)
    assert val("--augment", "--protocol", "yolov5")["yolov5"]["map50"] >= 0


def test_several_files_are_matched_by_class_name() -> None:
    both = ("--weights", "best.safetensors", "swapped.safetensors")
    usual = detect(*_TILES, "--conf-thres", "0.5")
    joined = detect(*both, *_TILES, "--conf-thres", "0.5")
    fused = detect(*both, *_TILES, "--conf-thres", "0.5", "--ensemble", "wbf", "--ensemble-weights", "2", "1")
    for records in (joined, fused):
        for record, other in zip(records, usual, strict=True):
            assert [box["class_name"] for box in record["detections"]] == [
                box["class_name"] for box in other["detections"]
            ]
    numbers = val(*both, "--ensemble", "wbf")
    assert numbers["protocol"]["combines"] == "2 detectors by wbf"
    assert (
        val(*both, "--augment")["protocol"]["combines"] == "2 detectors by nms, three views of a picture each"
    )


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("val", (*_TILES, "--protocol", "yolov5"), "--tile has no place in --protocol yolov5"),
        ("detect", ("--tile", "16"), "tile: a tile has at least 32 pixels a side"),
        (
            "detect",
            ("--tile", "64", "--overlap", "0.95"),
            "--overlap: Input should be less than or equal to 0.9",
        ),
        ("detect", ("--ensemble", "wbf"), "--ensemble: one file is no ensemble; give several --weights"),
        (
            "detect",
            ("--weights", "best.safetensors", "strange.safetensors"),
            "strange.safetensors: does not know the classes of best.safetensors: it lacks 'crate' and has besides",
        ),
        (
            "val",
            ("--weights", "best.safetensors", "small.safetensors"),
            "best.safetensors looks at frames of 192x320, small.safetensors at frames of 96x160; say with --img-size",
        ),
        ("val", ("--weights", "best.safetensors", "none.safetensors"), "none.safetensors"),
    ],
)
def test_what_does_not_go_together(
    capsys: pytest.CaptureFixture[str], command: str, arguments: tuple[str, ...], text: str
) -> None:
    assert run(command, "--project", "refused", *arguments) == 2
    assert text in capsys.readouterr().err
    assert not Path("refused").exists()


def test_a_size_that_is_given_settles_it() -> None:
    both = ("--weights", "best.safetensors", "small.safetensors")
    assert val(*both, "--img-size", "192", "320")["protocol"]["size_hw"] == [192, 320]


def test_an_exported_file_of_one_size_has_no_views(exports: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("detect", "--weights", str(exports.path("torchscript")), "--augment", "--project", "refused") == 2
    )
    said = capsys.readouterr().err.strip()
    assert "--augment: the network takes frames of 96x128 only" in said
    assert len(said.splitlines()) == 1
    assert not Path("refused").exists()


GUIDES = [(REPOSITORY / "docs" / name).read_text("utf-8") for name in ("tiling.md", "ensembles.md")]
COMMANDS = [line for guide in GUIDES for line in re.findall(r"^vedette .*$", guide, re.MULTILINE)]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_guides_are_understood(line: str) -> None:
    _, command, *arguments = shlex.split(line)
    cls = {"detect": DetectConfig, "val": EvaluateConfig}[command]
    given = parse_arguments(command, "", [cls], arguments)
    assert given is not None
    settings: Any = validate(command, cls, given[cls])
    assert settings.augment or settings.tile or len(settings.weights) > 1


def test_programs_of_the_guides_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "best.safetensors", "best.safetensors")
    shutil.copy(place / "data" / "images" / "0.png", "street.jpg")
    programs = [code for guide in GUIDES for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)]
    assert len(programs) == 1
    for program in programs:
        exec(program, {})


def test_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("detect", "val"):
        main([command, "--help"])
        said = capsys.readouterr().out
        for flag in ("--augment", "--ensemble-weights", "--tile", "--overlap", "--no-tile-whole"):
            assert flag in said
