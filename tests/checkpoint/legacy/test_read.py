"""Whole files: those of the releases are read, all others refused, and no mutation does anything else."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.hostile import Hostile, hostile_files, parts_are_fine
from tests.checkpoint.legacy.archives import published_tensors, refusal
from tests.checkpoint.legacy.bytewise import ERAS, Era, write_release
from tests.checkpoint.legacy.fuzz_program import KINDS
from tests.checkpoint.legacy.published import (
    assert_same_state,
    filled_detector,
    published_modules,
    save_release,
    small_architecture,
)
from tests.conftest import REPOSITORY
from vedette.checkpoint.deployable import save_detector
from vedette.checkpoint.legacy.read import read_legacy
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.detector import Detector, build_detector
from vedette.model.releases import RELEASES, architecture
from vedette.model.rows import Architecture, parse_architecture

RELEASE_NAMES = ("v1.0", "v3.1", "v4.0", "v7.0")
PUBLISHED = ("yolov5s@v1.0", "yolov5s@v3.1", "yolov5s@v4.0", "yolov5s6@v5.0", "yolov5s@v7.0")
NAMES = ("person", "bicycle", "Ampel 🚦")
TENSORS = {
    "yolov5s@v1.0": "state_dict_yolov5s_v1.csv",
    "yolov5s@v3.1": "state_dict_yolov5s_v3.1.csv",
    "yolov5s@v4.0": "state_dict_yolov5s_v4.csv",
    "yolov5m@v4.0": "state_dict_yolov5m_v4.csv",
    "yolov5s@v7.0": "state_dict_yolov5s_v7.csv",
}


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {release: filled_detector(small_architecture(release)) for release in RELEASE_NAMES}


@pytest.fixture(scope="module")
def narrow() -> dict[str, Detector]:
    """The published tables, row by row, with eight channels and few blocks."""
    return {name: filled_detector(narrowed(name)) for name in PUBLISHED}


def narrowed(name: str) -> Architecture:
    return dataclasses.replace(architecture(name, classes=3), width_multiple=0.01)


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("stripped", [False, True], ids=["training", "stripped"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layout(
    tmp_path: Path, narrow: dict[str, Detector], name: str, stripped: bool, stream: bool, half: bool
) -> None:
    """Specification checkpoint.md sections 1 to 5, written byte by byte: every tensor comes back equal."""
    detector, release = narrow[name], name.partition("@")[2]
    given: Any = dict(enumerate(NAMES)) if release == "v7.0" else list(NAMES)
    path = write_release(
        tmp_path / "best.pt", detector, stripped=stripped, stream=stream, half=half, names=given
    )
    found = read_legacy(path)
    assert_same_state(found.tensors, detector, half=half)
    assert found.class_names == NAMES
    assert found.architecture.rows == detector.architecture.rows
    if not half:
        kept = detector.architecture.name if release != "v1.0" else "best"  # only later ones store their name
        assert found.architecture == dataclasses.replace(detector.architecture, name=kept)
    facts = found.facts
    assert facts["release"] == release
    assert facts["precision"] == ("float16" if half else "float32")
    assert facts["epoch"] == (-1 if stripped else 11)
    assert facts["fitness"] == (None if stripped and release == "v7.0" else 0.4375)
    assert facts["weights"] == ("ema" if release == "v7.0" and not stripped else "model")
    assert facts["container"].startswith("stream" if stream else "zip")
    if release == "v7.0":
        assert (facts["date"], facts["image_size"]) == ("2023-01-02T03:04:05.000006", 416)
        assert {"opt", "git"} <= set(facts["ignored"])
    assert ("optimizer" in facts["ignored"]) == (not stripped)


@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_this_test_writes_is_what_torch_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: dict[str, Detector], name: str, stream: bool
) -> None:
    """The control of the writer: torch, with empty classes in place of the published, finds the same tensors."""
    path = write_release(tmp_path / "best.pt", narrow[name], stream=stream)
    # It compares the source text of every class with that of today, which takes seconds.
    monkeypatch.setattr(torch.serialization, "get_source_lines_and_file", None)
    with published_modules(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this failed
        loaded = torch.load(path, weights_only=False)
    network = loaded.get("ema") or loaded["model"]
    assert_same_state({key: value.detach() for key, value in network.state_dict().items()}, narrow[name])


def test_files_saved_on_windows(tmp_path: Path, narrow: dict[str, Detector]) -> None:
    """Its paths, the line ends of its source texts, and tensors that lay on a GPU."""
    detector = narrow["yolov5s@v7.0"]
    for stream in (False, True):
        era = Era(ERAS["v7.0"].torch, newline="\r\n", path_class="WindowsPath", location="cuda:0")
        path = write_release(tmp_path / "best.pt", detector, stream=stream, names=list(NAMES), era=era)
        assert_same_state(read_legacy(path).tensors, detector)
    assert not Path("canary").exists()


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_files_of_a_later_torch(tmp_path: Path, detectors: dict[str, Detector], release: str) -> None:
    """Files that today's torch wrote from modules of the published names, with the attributes it adds."""
    for stream in (False, True):
        found = read_legacy(save_release(tmp_path / "small.pt", detectors[release], stream=stream))
        assert_same_state(found.tensors, detectors[release], half=release == "v7.0")
        assert found.architecture.rows == detectors[release].architecture.rows


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("name", [*TENSORS, "yolov5s6@v5.0", "yolov5n6@v7.0"])
def test_full_size(tmp_path: Path, name: str, stream: bool) -> None:
    """80 classes, published widths; names, shapes, types and order are those of the published tables."""
    detector = filled_detector(architecture(name))
    for stripped in (False, True):
        path = write_release(tmp_path / "best.pt", detector, stripped=stripped, stream=stream, half=stripped)
        found = read_legacy(path)
        assert_same_state(found.tensors, detector, half=stripped)
        if name in TENSORS:
            rows = published_tensors(TENSORS[name])
            assert list(found.tensors) == [key for key, _, _ in rows]
            for key, shape, dtype in rows:
                assert tuple(found.tensors[key].shape) == shape
                assert found.tensors[key].dtype == getattr(torch, dtype)


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_raw_levels_are_those_of_the_model_it_was_made_from(
    tmp_path: Path, detectors: dict[str, Detector], release: str
) -> None:
    detector = copy.deepcopy(detectors[release])
    half = release == "v7.0"
    if half:
        detector.load_state_dict(
            {k: v.half().float() if v.is_floating_point() else v for k, v in detector.state_dict().items()}
        )
    found = read_legacy(save_release(tmp_path / "small.pt", detector))
    imported = Detector(found.architecture).eval()
    imported.load_state_dict(found.tensors)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, levels = detector(images), imported(images)
        assert all(torch.equal(a, b) for a, b in zip(expected, levels, strict=True))
        assert torch.equal(detector.head.decode(expected), imported.head.decode(levels))


def test_v1_levels_are_those_of_the_layout_of_v3(tmp_path: Path) -> None:
    """Specification model.md section 8: the key map of v1.0 onto 25 rows gives the same levels, reversed."""
    detector = filled_detector(architecture("yolov5s@v1.0", classes=1))
    found = read_legacy(save_release(tmp_path / "old.pt", detector, stripped=False, names=None))
    old = Detector(found.architecture).eval()
    old.load_state_dict(found.tensors)
    rows = {19: 18, 20: 19, 21: 20, 23: 21, 24: 22, 25: 23, 18: "24.m.0", 22: "24.m.1", 26: "24.m.2", 27: 24}
    state = {}
    for name, value in found.tensors.items():
        _, row, rest = name.split(".", 2)
        reverse = rest in ("anchors", "anchor_grid")
        state[f"model.{rows.get(int(row), row)}.{rest}"] = value.flip(0) if reverse else value
    rules: dict[str, Any] = {"activation": "LeakyReLU(0.1)", "bn_eps": 1e-4}
    new = Detector(dataclasses.replace(architecture("yolov5s@v3.1", classes=1), **rules)).eval()
    new.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(old(images), reversed(new(images)), strict=True))
    assert found.class_names == ("class 0",)


@pytest.mark.parametrize("name", ["tiny", "yolov5n6@v7.0"])
def test_published_tables(tmp_path: Path, name: str) -> None:
    """Of all sizes the table alone differs; the levels of P6 are four."""
    detector = build_detector(name, classes=3)
    found = read_legacy(save_release(tmp_path / "m.pt", detector, names={0: "a", 1: "b", 2: "ä"}))
    assert found.class_names == ("a", "b", "ä")
    assert found.architecture.rows == detector.architecture.rows
    assert_same_state(found.tensors, detector, half=name.endswith("v7.0"))


# ------------------------------------------------------------------------------------------------ hostile files


@pytest.mark.parametrize(
    "file", [file for file in hostile_files() if file.suffix == ".pt"], ids=lambda file: file.name
)
def test_hostile_files_are_refused_and_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Hostile
) -> None:
    monkeypatch.chdir(tmp_path)
    file.write(tmp_path / "a.pt")
    message = refusal(tmp_path / "a.pt")
    assert file.says in message or file.says == "no such file"  # the reader says what the system does
    assert message.isprintable()
    assert "; " in message
    assert not (tmp_path / "canary").exists()


def test_the_parts_of_attacks_are_fine_by_themselves(tmp_path: Path) -> None:
    """The same builders, without the attack, come as far as the anchors they lack."""
    assert "not those of a detector: the anchors" in refusal(tmp_path / "a.pt", parts_are_fine())


@pytest.mark.parametrize("stream", [False, True])
def test_truncation_and_appended_bytes(tmp_path: Path, stream: bool) -> None:
    path = save_release(tmp_path / "a.pt", filled_detector(small_architecture("v4.0")), stream=stream)
    data = path.read_bytes()
    for cut in (20, 100, 5000, len(data) - 1):
        assert "cut off" in refusal(path, data[:cut]) or "too early" in refusal(path, data[:cut])
    assert "appended" in refusal(path, data + b"x") or "follow" in refusal(path, data + b"x")


# ------------------------------------------------------------------------------------------------ fuzzing


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    values = {
        "nc": 2,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": [[10, 13]],
        "backbone": [[-1, 1, "Conv", [4, 3, 2]], [-1, 1, "Bottleneck", [4]]],
        "head": [[[-1], 1, "Detect", ["nc", "anchors"]]],
    }
    for release in ("v4.0", "v7.0"):
        rules = {"name": "x", "release": release, **RELEASES[release].rules}
        detector = filled_detector(parse_architecture(values, "x", rules=rules))
        for layout in ("zip", "stream"):
            path = folder / f"base-{release}-{layout}.pt"
            save_release(path, detector, stripped=True, stream=layout == "stream")
        path = folder / f"base-{release}.safetensors"
        save_detector(
            path, detector, class_names=["a", "b"], letterbox=LetterboxPolicy(), metadata={"epoch": 3}
        )
    return folder


def run_program(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.checkpoint.legacy.fuzz_program", str(folder), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_fuzz(found: Any, record_property: Any) -> None:
    assert found["escaped"] == []
    assert found["events"] == []
    assert not found["canary"]
    assert all(found["outcomes"][f"{kind} refused"] > 0 for kind in KINDS)
    # Seconds of the processor, not of the clock: one of these files takes hundredths of one.
    assert found["worst_seconds"] < 5
    assert found["more_memory"] < 2 * found["largest"] + 256 * 2**20
    for figure in ("outcomes", "worst_seconds", "more_memory"):
        record_property(figure, found[figure])


def test_mutants(fuzz_folder: Path, record_property: Any) -> None:
    """Seeded mutants: nothing but a refusal comes out, and the process does nothing it should not."""
    check_fuzz(run_program(fuzz_folder, "0", "1000"), record_property)
    record_property("mutants of checkpoints refused or read, none run", 1000)


@pytest.mark.long
def test_many_mutants(fuzz_folder: Path, record_property: Any) -> None:
    check_fuzz(run_program(fuzz_folder, "1", "10000"), record_property)
    record_property("mutants of checkpoints refused or read, none run", 10000)


@pytest.mark.skipif(sys.platform == "win32", reason="the injected call is of a POSIX shell")
def test_mutants_do_run_in_an_unsafe_reader(fuzz_folder: Path) -> None:
    """The negative control: the calls that were injected work where they are not refused."""
    assert run_program(fuzz_folder, "0", "20", "control") == {"fired": 20, "refused": 20}
