"""The real package, offline, in its own process: everything is read back from the file it wrote."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from tests.track import wandb_file
from tests.track.story import epoch_done, row, started, weights_saved, whole_story
from vedette.track.child_process import ChildTracker, TrackerError
from vedette.track.events import Event, Note, RunFinished, WeightsSaved
from vedette.track.published import scalars
from vedette.track.weights_and_biases import (
    WandbSettings,
    artifact_aliases,
    artifact_name,
    box_record,
    in_one_size,
)

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs the extra 'wandb'")
RUN_ID = "abcd1234"


def _child(folder: Path) -> ChildTracker:
    place = folder / "tracking"
    settings = WandbSettings(
        place, "vedette", "exp", RUN_ID, entity="us", offline=True, artifacts=True, dataset=True
    )
    environment = {
        "WANDB_DATA_DIR": str(place / "data"),
        "WANDB_CACHE_DIR": str(place / "cache"),
        "WANDB_ERROR_REPORTING": "false",
    }
    return ChildTracker("wandb", settings, log=place / "wandb.log", environment=environment)


def _tell(folder: Path, *events: Event) -> list[str]:
    """Returns the notes."""
    child = _child(folder)
    for event in events:
        child.handle(event)
        if isinstance(event, WeightsSaved):
            event.path.unlink()  # the tracker has to have a copy by now
    child.close()
    return _texts(child.notes)


def _texts(notes: SimpleQueue[Note]) -> list[str]:
    return [notes.get().text for _ in range(notes.qsize())]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a run of two epochs, and what was said of it."""
    folder = tmp_path_factory.mktemp("run")
    return folder, _tell(folder, *whole_story(folder))


@pytest.fixture(scope="module")
def offline(story: tuple[Path, list[str]]) -> Path:
    (folder,) = (story[0] / "tracking" / "wandb").glob("offline-run-*")
    return folder


@pytest.fixture(scope="module")
def records(offline: Path) -> list[Any]:
    return wandb_file.records(offline)


@needs_wandb
def test_the_run_and_how_to_send_it(story: tuple[Path, list[str]], offline: Path, records: list[Any]) -> None:
    assert story[1] == [f"Weights & Biases writes offline; to send it: wandb sync {offline.as_posix()}"]
    run = wandb_file.of_kind(records, "run")[0]
    assert (run.run_id, run.project, run.display_name, run.entity) == (RUN_ID, "vedette", "exp", "us")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["hyp"] == {"lr0": 0.01, "box": 0.05}
    assert (config["epochs"], config["device"]) == (2, "cpu")
    (ending,) = wandb_file.of_kind(records, "exit")
    assert ending.exit_code == 0


@needs_wandb
def test_one_row_an_epoch_holds_everything_of_it(records: list[Any]) -> None:
    first, second, results = wandb_file.history(records)
    for epoch, (found, expected) in enumerate([(first, row(0)), (second, row(1, None))]):
        assert found["_step"] == found["epoch"] == epoch
        wanted = scalars(expected)
        assert {key: found[key] for key in wanted} == wanted
    assert "metrics/recall" not in second
    assert (first["Labels/captions"], first["Mosaics/captions"]) == (["labels.jpg"], ["train_batch0.jpg"])
    assert second["Images/captions"] == ["000.png"]
    assert results["Results/captions"] == ["results.png"]


@needs_wandb
def test_summary_of_the_best_epoch(records: list[Any]) -> None:
    summary: dict[str, Any] = {}
    for record in wandb_file.of_kind(records, "summary"):
        for item in record.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert summary["best/epoch"] == 0
    assert summary["best/mAP_0.5:0.95"] == 0.25
    assert summary["epoch"] == 1


@needs_wandb
def test_pictures_carry_boxes_with_scores(offline: Path, records: list[Any]) -> None:
    from PIL import Image

    shown = wandb_file.history(records)[1]
    with Image.open(offline / "files" / shown["Images/filenames"][0]) as picture:
        assert picture.size == (640, 320), "half the size of the file"
    groups = shown["Images/all_boxes"][0]
    boxes = {
        group: json.loads((offline / "files" / entry["path"]).read_text("utf-8"))
        for group, entry in groups.items()
    }
    first, second = boxes["predictions"]["box_data"]
    assert first["position"] == {"minX": 52, "minY": 48, "maxX": 152, "maxY": 100}
    assert (first["domain"], first["class_id"], first["box_caption"]) == ("pixel", 0, "red 0.900")
    assert (first["scores"], second["scores"]) == ({"class_score": 0.9}, {"class_score": 0.125})
    assert boxes["predictions"]["class_labels"] == {"0": "red", "1": "blue cell"}
    (true,) = boxes["ground_truth"]["box_data"]
    assert true["position"]["minX"] == 50
    assert true["box_caption"] == "red"


@needs_wandb
def test_checkpoint_and_data_set_are_artifacts(story: tuple[Path, list[str]], records: list[Any]) -> None:
    folder = story[0]
    data, model = wandb_file.of_kind(records, "artifact")
    assert (model.type, model.name) == ("model", f"run_{RUN_ID}_model")
    assert set(model.aliases) == {"latest", "best", "epoch-1"}
    metadata = json.loads(model.metadata)
    assert (metadata["epochs_trained"], metadata["total_epochs"], metadata["fitness"]) == (1, 2, 0.5)
    (file,) = model.manifest.contents
    assert file.path == "model.safetensors"
    copy = Path(file.local_path)
    assert copy.read_bytes() == b"first"
    assert copy.is_relative_to(folder), "to be sent later, it has to lie in the run folder"
    assert (data.type, data.name) == ("dataset", "two_classes")
    entries = {entry.path: entry for entry in data.manifest.contents}
    assert "train/picture.png" not in entries
    stored = json.loads(Path(entries["dataset.json"].local_path).read_text("utf-8"))
    assert stored["splits"]["train"]["content_hash"] == "ab" * 32


@needs_wandb
def test_a_resumed_run_goes_on_and_tells_no_epoch_twice(tmp_path: Path) -> None:
    child = _child(tmp_path)
    child.handle(started(tmp_path, row(0)))
    child.handle(weights_saved(tmp_path, 1, ("last",), b"newest only"))
    child.handle(epoch_done(1, best=True))
    child.handle(RunFinished({}, ()))
    child.close()
    (folder,) = (tmp_path / "tracking" / "wandb").glob("offline-run-*")
    found = wandb_file.records(folder)
    assert wandb_file.of_kind(found, "run")[0].run_id == RUN_ID
    (only,) = wandb_file.history(found)
    assert only["_step"] == only["epoch"] == 1
    assert wandb_file.of_kind(found, "artifact") == [], "neither the data again nor every newest checkpoint"


@needs_wandb
def test_a_killed_run_keeps_its_rows_and_references_its_data(tmp_path: Path) -> None:
    beginning = started(tmp_path)
    (tmp_path / "data" / "train" / "a.png").write_bytes(b"a picture")
    child = _child(tmp_path)
    child.handle(beginning)
    child.handle(epoch_done(0))
    process = child._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as if the training process had been killed
    assert process.wait(60) == 1
    with pytest.raises(TrackerError, match="its process ended"):
        child.close()
    (folder,) = (tmp_path / "tracking" / "wandb").glob("offline-run-*")
    found = wandb_file.records(folder)
    (data,) = wandb_file.of_kind(found, "artifact")
    entry = next(entry for entry in data.manifest.contents if entry.path == "train/train/a.png")
    assert entry.ref == (tmp_path / "data" / "train" / "a.png").as_uri()
    assert not entry.local_path
    (ending,) = wandb_file.of_kind(found, "exit")
    assert ending.exit_code == 1
    assert [found_row["epoch"] for found_row in wandb_file.history(found)] == [0]


def test_box_record_scales() -> None:
    box = {"box_xyxy": [10, 20, 30, 40], "class_id": 1, "class_name": "blue", "score": 0.5}
    assert box_record(box, 0.5) == {
        "position": {"minX": 5.0, "minY": 10.0, "maxX": 15.0, "maxY": 20.0},
        "domain": "pixel",
        "class_id": 1,
        "box_caption": "blue 0.500",
        "scores": {"class_score": 0.5},
    }


def test_pictures_in_one_size_keep_their_place() -> None:
    small, wide = np.full((2, 3, 3), 7, np.uint8), np.full((1, 5, 3), 9, np.uint8)
    first, second = in_one_size([small, wide])
    assert first.shape == second.shape == (2, 5, 3)
    assert (first[:2, :3] == 7).all()
    assert (second[:1, :5] == 9).all()
    assert (first[:, 3:] == 114).all()
    assert in_one_size([]) == []


def test_names() -> None:
    saved = WeightsSaved(Path("last.safetensors"), 2, ("last", "best", "epoch-3"), {})
    assert artifact_aliases(saved) == ["latest", "epoch-3", "best"]
    assert artifact_name("blood cells/ä") == "blood_cells__"
