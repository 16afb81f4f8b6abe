"""Exported files do what checkpoints do: any batch and size, `detect` without torch, hostile files refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.export.exported_files import ExportedFiles, pictures
from tests.flow.without_torch import BLOCK_TORCH
from vedette.cli.app import main
from vedette.core.boxes import xyxy_to_cxcywh
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.data.images import read_image
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.export.differences import FoundBoxes, Tolerance, compare
from vedette.infer.backends.files import open_file
from vedette.infer.predictor import Predictor

BATCHES = (1, 2, 7)
SIZES = ((640, 640), (640, 384))
FORMATS = ("torchscript", "openvino", "onnx")

STATIC = [(name, batch, size) for name in FORMATS for batch in BATCHES for size in SIZES]
QUICK = [case for case in STATIC if case[1:] == (7, (640, 384)) or case == ("openvino", 1, (640, 640))]
"""The dynamic files below see all shapes; the other static ones are for the long tests."""


def expected_and_found(path: Path, weights: Path, batch: int, size_hw: tuple[int, int]) -> tuple:
    """Decoded predictions of a checkpoint and of a file for the same frames."""
    random = np.random.default_rng(batch)
    clouds = [
        cv2.resize(random.integers(0, 256, (9, 9, 3), dtype=np.uint8), size_hw[::-1]) for _ in range(batch)
    ]
    frames = np.stack(clouds)
    expected = open_file(weights, device="cpu").backend.run(frames).decoded()
    return expected, open_file(path, device="cpu").backend.run(frames).decoded()


@pytest.mark.parametrize(
    ("name", "batch", "size_hw"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long) for case in STATIC],
)
def test_static_files_of_any_batch_and_size(name, batch, size_hw, exports: ExportedFiles) -> None:
    path = exports.path(name, batch_size=batch, image_size=size_hw)
    expected, found = expected_and_found(path, exports.weights, batch, size_hw)
    np.testing.assert_allclose(found, expected, atol=0.1, rtol=5e-3)  # pixels; the weights amplify sums
    backend = open_file(path, device="cpu").backend
    assert (backend.batch_size, backend.frame_hw) == (batch, size_hw)
    with pytest.raises(ModelError, match="frames, the file takes"):
        backend.run(np.zeros((batch + 1, *size_hw, 3), np.uint8))


@pytest.mark.parametrize("name", FORMATS)
def test_one_dynamic_file_for_every_batch_and_size(name, exports: ExportedFiles) -> None:
    path = exports.path(name, dynamic="all")
    for batch in BATCHES:
        for size_hw in SIZES:
            expected, found = expected_and_found(path, exports.weights, batch, size_hw)
            np.testing.assert_allclose(found, expected, atol=0.1, rtol=5e-3)


@pytest.mark.parametrize("name", ["torchscript", pytest.param("openvino", marks=pytest.mark.long)])
def test_a_file_may_leave_one_of_both_open(name, exports: ExportedFiles) -> None:
    batches = open_file(exports.path(name, dynamic="batch"), device="cpu").backend
    assert (batches.batch_size, batches.frame_hw) == (None, (96, 128))
    sizes = open_file(exports.path(name, dynamic="size", batch_size=2), device="cpu").backend
    assert (sizes.batch_size, sizes.frame_hw) == (2, None)
    assert len(sizes.run(np.zeros((2, 64, 160, 3), np.uint8)).decoded()) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_static_batch_takes_any_number_of_pictures(name, exports: ExportedFiles) -> None:
    """Batches are filled up; frames of another size are refused in words."""
    path = exports.path(name, batch_size=7, image_size=(640, 384))
    nms = NmsSettings(conf_threshold=0.4)
    found = Predictor.from_file(path, device="cpu", nms=nms)
    checkpoint = Predictor.from_file(exports.weights, device="cpu", nms=nms)
    expected = checkpoint.with_settings(letterbox=LetterboxPolicy(size_hw=(640, 384)))
    for one, other in zip(found.predict(pictures(4)), expected.predict(pictures(4)), strict=True):
        assert len(one) == len(other) > 0
    with pytest.raises(ModelError, match="takes frames of 640x384 only"):
        found.with_settings(letterbox=LetterboxPolicy(size_hw=(640, 640)))


@pytest.fixture(scope="module")
def data(exports: ExportedFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which every third thing that the detector finds is right."""
    from vedette.data.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("labelled")
    data = draw_dataset(folder, train=1, val=3, size_hw=(64, 96))
    text = data.read_text()
    data.write_text(text.partition("names:")[0] + "names: [red, green, blue]\n")
    predictor = Predictor.from_file(exports.weights, device="cpu", nms=NmsSettings(conf_threshold=0.3))
    for path in (folder / "images").rglob("*.*"):
        (found,) = predictor.predict([read_image(path)])
        boxes = xyxy_to_cxcywh(found.boxes_xyxy_px[::3] / np.float32([96, 64, 96, 64]))
        rows = [" ".join(map(str, row)) for row in zip(found.class_ids[::3], *boxes.T, strict=True)]
        labels = folder / "labels" / path.relative_to(folder / "images").with_suffix(".txt")
        labels.write_text("".join(f"{row}\n" for row in rows))
    return data


def test_val_measures_a_file_by_its_name(exports: ExportedFiles, data: Path, tmp_path: Path) -> None:
    numbers = {}
    for name, weights in (("file", exports.path("openvino")), ("checkpoint", exports.weights)):
        report = tmp_path / f"{name}.json"
        arguments = ["--weights", str(weights), "--data", str(data), "--json", str(report), "--no-plots"]
        assert main(["val", *arguments, "--device", "cpu", "--project", str(tmp_path / "val")]) == 0
        numbers[name] = json.loads(report.read_text())["ap"]
    assert numbers["checkpoint"] > 0.1
    # Boxes of almost the same score may change places.
    assert numbers["file"] == pytest.approx(numbers["checkpoint"], abs=0.01)


# ------------------------------------------------------------------------------------------------ without torch

WITHOUT_TORCH = (
    BLOCK_TORCH
    + """
from vedette.__main__ import main
code = main()
assert "torch" not in sys.modules
raise SystemExit(code)
"""
)


def detect(python: list[str], weights: Path, source: Path, project: Path) -> list[dict]:
    """What `vedette detect` writes for the pictures of a folder."""
    options = ["--source", str(source), "--project", str(project), "--save-json", "--nosave", "--conf", "0.4"]
    command = [*python, "detect", "--weights", str(weights), *options, "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = (project / "exp" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(pictures(3)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def expected(exports: ExportedFiles, source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What the checkpoint finds, with torch."""
    python = [sys.executable, "-m", "vedette"]
    return detect(python, exports.weights, source, tmp_path_factory.mktemp("expected"))


def assert_same_boxes(found: list[dict], expected: list[dict]) -> None:
    """Up to rounding; boxes of almost the same score may change places."""
    assert [line["path"] for line in found] == [line["path"] for line in expected]
    sides = [[boxes_of(line["detections"]) for line in lines] for lines in (expected, found)]
    strict = Tolerance(min_overlap=0.99, max_score=1e-3, max_differing=0.0, max_ap=0.0)
    differences = compare(*sides, conf_threshold=0.4, max_detections=300, tolerance=strict)
    assert differences.boxes > 50
    assert differences.problems(strict, "detect") == []


def boxes_of(records: list[dict]) -> FoundBoxes:
    return FoundBoxes(
        np.array([record["box_xyxy"] for record in records], np.float32),
        np.array([record["score"] for record in records], np.float32),
        tuple(record["class_name"] for record in records),
    )


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_detect_finds_the_same_boxes_without_torch(name, exports, source, expected, tmp_path) -> None:
    python = [sys.executable, "-c", WITHOUT_TORCH]
    found = detect(python, exports.path(name), source, tmp_path / "without")
    assert_same_boxes(found, expected)
    done = subprocess.run(
        [*python, "verify", str(exports.path(name))], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


VAL = ["--save-json", "--save-txt", "--save-conf", "--device", "cpu", "--threads", "1"]


def measured(folder: Path) -> dict[str, object]:
    """The figures and boxes that `vedette val` wrote, without the time it took."""
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert numbers.pop("timing")["inference"] > 0
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "labels").iterdir())}
    boxes = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    return {"numbers": numbers, "labels": texts, "boxes": boxes}


@pytest.mark.parametrize(
    ("name", "protocol", "plots"), [("onnx", "vedette", "--plots"), ("openvino", "yolov5", "--no-plots")]
)
def test_val_measures_the_same_without_torch(name, protocol, plots, exports, data, tmp_path) -> None:
    """Bit for bit: the runtime is the same, and so is all that comes after it."""
    path = exports.path(name, dynamic="all")
    arguments = ["val", "--weights", str(path), "--data", str(data), "--protocol", protocol, *VAL]
    assert main([*arguments, "--no-plots", "--project", str(tmp_path / "with")]) == 0
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments, plots, "--project", str(tmp_path / "without")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, expected = (measured(tmp_path / side / "exp") for side in ("without", "with"))
    assert len(expected["boxes"]) > 50
    assert expected["numbers"]["ap"] > (0.1 if protocol == "vedette" else 0.001)  # their frames differ
    assert len(expected["numbers"]["per_class"]) == 3
    assert found == expected
    assert (tmp_path / "without" / "exp" / "report.html").exists()
    assert (tmp_path / "without" / "exp" / "plots").exists() is (plots == "--plots")


LOAD = """
import numpy as np
import vedette
predictor = vedette.load(sys.argv[1], conf_threshold=0.4)
found = predictor.predict([vedette.read_image(path) for path in sys.argv[2:]])
assert "torch" not in sys.modules
print(vedette.__name__, *(len(boxes) for boxes in found))
"""


def test_load_takes_a_file_without_torch(exports, source, expected) -> None:
    files = sorted(str(path) for path in source.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_TORCH + LOAD, str(exports.path("onnx")), *files],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = [len(line["detections"]) for line in expected]
    assert done.stdout.split() == ["vedette", *map(str, counts)]


def test_a_command_that_needs_torch_says_so(exports, data) -> None:
    """Comparing with the checkpoint on a data set runs the checkpoint."""
    options = ["--weights", str(exports.weights), "--data", str(data)]
    command = [sys.executable, "-c", WITHOUT_TORCH, "verify", str(exports.path("onnx")), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "vedette verify with these arguments needs the package 'torch'; "
        "install it with: pip install 'vedette[cpu]'"
    )


def test_torch_is_named_where_it_is_needed(exports, source) -> None:
    """The control: without torch a checkpoint cannot be run."""
    command = [sys.executable, "-c", WITHOUT_TORCH, "detect", "--weights", str(exports.weights)]
    done = subprocess.run(
        [*command, "--source", str(source)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "running a checkpoint needs the package 'torch'" in done.stderr


@pytest.mark.long
def test_an_environment_that_has_no_torch(exports, source, expected, data, tmp_path) -> None:
    """docs/export.md, word by word; needs a package index or a folder of wheels."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    requirements = REPOSITORY / "docs" / "requirements-without-torch.txt"
    for arguments in (["--requirement", str(requirements)], ["--no-deps", str(REPOSITORY)]):
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        if done.returncode:
            pytest.skip(f"packages cannot be installed here: {done.stderr.strip()[-200:]}")
    absent = subprocess.run([str(python), "-c", "import torch"], capture_output=True, check=False)
    assert absent.returncode != 0
    for name in ("onnx", "openvino"):
        found = detect([str(python), "-m", "vedette"], exports.path(name), source, tmp_path / name)
        assert_same_boxes(found, expected)
        arguments = ["val", "--weights", str(exports.path(name)), "--data", str(data), *VAL]
        assert main([*arguments, "--no-plots", "--project", str(tmp_path / f"{name}-with")]) == 0
        command = [str(python), "-m", "vedette", *arguments, "--project", str(tmp_path / f"{name}-without")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert measured(tmp_path / f"{name}-with" / "exp") == measured(tmp_path / f"{name}-without" / "exp")


def test_unsupported_combinations_are_refused_at_export(exports, tmp_path, capsys) -> None:
    weights = ["--weights", str(exports.weights), "--output", str(tmp_path)]
    for options in (["--format", "onnx", "--precision", "bf16"], ["--format", "openvino", "--nms"]):
        assert main(["export", *weights, *options]) == 2
        assert "cannot be written with" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError):
        exports.export("torchscript", nms=True)


# ---------------------------------------------------------------------------------------------- hostile files


def test_code_that_writes_a_file_is_refused_and_would_have_written_it(exports, tmp_path, monkeypatch) -> None:
    """The control: torch itself opens the changed archive and runs the payload."""
    import io

    import torch

    from vedette.checkpoint.exported.torchscript import pack_archive, unpack_archive

    monkeypatch.chdir(tmp_path)
    parts = unpack_archive(exports.path("torchscript").read_bytes())
    (name,) = (name for name in parts if name.startswith("code/"))
    payload = b'    torch.save(frames, "canary")\n    x = torch.to'
    parts[name] = parts[name].replace(b"    x = torch.to", payload, 1)
    path = tmp_path / "best.torchscript"
    path.write_bytes(pack_archive(parts))
    with pytest.raises(CheckpointError, match=r"code that no detector needs \('save'\)"):
        open_file(path, device="cpu")
    assert main(["detect", "--weights", str(path), "--source", str(tmp_path)]) == 2
    assert not Path("canary").exists()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        loaded = torch.jit.load(io.BytesIO(path.read_bytes()))
    loaded(torch.zeros((1, 96, 128, 3), dtype=torch.uint8))
    assert Path("canary").exists()


def test_weights_in_another_file_are_refused_and_would_have_been_read(exports, tmp_path) -> None:
    """The control: ONNX Runtime itself reads the other file."""
    import onnx
    import onnxruntime

    path = exports.copy("onnx", tmp_path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="other.bin", size_threshold=1024)
    with pytest.raises(CheckpointError, match="takes weights from another file"):
        open_file(path, device="cpu")
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (tmp_path / "other.bin").unlink()
    with pytest.raises(Exception, match=r"other\.bin"):
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
