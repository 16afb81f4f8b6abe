"""`vedette detect --track` on a drawn video whose identities are known."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from tests.conftest import REPOSITORY
from tests.flow import colour_network
from tests.flow.conftest import vedette
from vedette.config.detect import DetectConfig
from vedette.evaluate.track_files import read_tracks
from vedette.evaluate.tracking import TrackBoxes, measure_tracks
from vedette.infer.configured import detection_threshold, tracking_settings
from vedette.infer.run import detect
from vedette.infer.tracking.tracker import TrackingSettings

FLAGS = ("--iou-thres", 0.05, "--device", "cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, TrackBoxes]:
    """The weights, the video and its true tracks."""
    folder = tmp_path_factory.mktemp("tracking")
    weights = colour_network.save_colour_network(folder / "colours.safetensors")
    pictures, truth = colour_network.draw_frames()
    return weights, colour_network.write_video(folder / "clip.avi", pictures), truth


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_ids_of_a_video_are_in_every_output(
    clip: tuple[Path, Path, TrackBoxes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, video, truth = clip
    done = vedette(
        "detect", video, "--weights", weights, "--track", *FLAGS, "--save-json", "--save-csv", "--save-coco",
        "--save-txt", "--save-crop", "--project", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "objects tracked: 2 ball, 1 crate" in done.stdout
    folder = tmp_path / "exp"

    result = measure_tracks(truth, read_tracks(folder / "tracks" / "clip.txt"))
    with capsys.disabled():
        sys.stdout.write(f"\nvideo: HOTA {result.hota:.3f}, IDF1 {result.idf1:.3f}\n")
    # The ball that passes behind the crate is the same ball afterwards.
    assert (result.id_switches, result.spurious <= 8) == (0, True)
    assert result.idf1 is not None
    assert result.idf1 > 0.9

    boxes = [(line["frame_index"] + 1, found) for line in _lines(folder) for found in line["detections"]]
    with_id = [(frame, found["track_id"], found["class_id"]) for frame, found in boxes if found["track_id"]]
    rows = [line.split(",") for line in (folder / "tracks" / "clip.txt").read_text().splitlines()]
    assert [(int(row[0]), int(row[1]), int(row[7])) for row in rows] == with_id
    assert {number for _, number, _ in with_id} == {1, 2, 3}
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["track_id"] for row in table] == [str(found["track_id"] or "") for _, found in boxes]
    coco = json.loads((folder / "predictions_coco.json").read_text(encoding="utf-8"))
    assert [record.get("track_id") for record in coco] == [found["track_id"] for _, found in boxes]
    assert len(list((folder / "labels").iterdir())) == colour_network.FRAMES

    drawn = cv2.VideoCapture(str(folder / "clip.webm"))
    assert sum(1 for _ in iter(lambda: drawn.read()[0], False)) == colour_network.FRAMES


def _run(weights: Path, source: Path, project: Path, **values: Any) -> Any:
    fixed = {"weights": str(weights), "source": str(source), "project": str(project), "device": "cpu"}
    return detect(DetectConfig.parse({**fixed, "iou_threshold": 0.05, "save_json": True, **values}))


def test_boxes_above_the_threshold_are_the_same_with_and_without(
    clip: tuple[Path, Path, TrackBoxes], tmp_path: Path
) -> None:
    weights, video, _ = clip
    plain = _run(weights, video, tmp_path, nosave=True)
    tracked = _run(weights, video, tmp_path, nosave=True, track=True)
    assert not plain.track_counts
    assert not (plain.folder / "tracks").exists()
    weak = 0
    for without, with_ids in zip(_lines(plain.folder), _lines(tracked.folder), strict=True):
        assert not any("track_id" in found for found in without["detections"])
        strong = [found for found in with_ids["detections"] if found["score"] > 0.25]
        assert [found["box_xyxy"] for found in strong] == [
            found["box_xyxy"] for found in without["detections"]
        ]
        hidden = [found for found in with_ids["detections"] if found["score"] <= 0.25]
        assert all(found["track_id"] for found in hidden)
        weak += len(hidden)
    assert weak == tracked.detections - plain.detections


def test_pictures_of_a_folder_are_followed_like_a_video(
    clip: tuple[Path, Path, TrackBoxes], tmp_path: Path
) -> None:
    """Named frames in a folder, one of them damaged: time goes on over it."""
    weights, _, truth = clip
    pictures, _ = colour_network.draw_frames()
    for name in ("walk", "walk2"):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            Pillow.fromarray(picture).save(tmp_path / name / f"{number:04}.png")
    (tmp_path / "walk" / "0040.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    settings = {"track": True, "track_frame_rate": colour_network.RATE, "nosave": True}
    summary = _run(weights, tmp_path / "walk*" / "*.png", tmp_path / "runs", **settings)
    assert (summary.failed, summary.track_counts) == (1, {"ball": 4, "crate": 2})
    found = {path.stem: read_tracks(path) for path in (summary.folder / "tracks").iterdir()}
    assert sorted(found) == ["walk", "walk2"]
    assert 41 not in found["walk"].frames
    kept = truth.frames != 41
    seen = TrackBoxes(truth.frames[kept], truth.ids[kept], truth.boxes_xyxy_px[kept])
    for name, expected in (("walk", seen), ("walk2", truth)):
        result = measure_tracks(expected, found[name])
        assert result.id_switches == 0
        assert result.idf1 is not None
        assert result.idf1 > 0.9


def test_ids_start_again_with_each_video(clip: tuple[Path, Path, TrackBoxes], tmp_path: Path) -> None:
    weights, video, _ = clip
    shutil.copy(video, tmp_path / "again.avi")
    summary = _run(weights, video, tmp_path / "runs", track=True, nosave=True)
    both = _run(weights, tmp_path, tmp_path / "runs", track=True, nosave=True)
    alone = read_tracks(summary.folder / "tracks" / "clip.txt")
    again = read_tracks(both.folder / "tracks" / "again.txt")
    np.testing.assert_array_equal(alone.ids, again.ids)
    np.testing.assert_array_equal(alone.boxes_xyxy_px, again.boxes_xyxy_px)


def test_flags_reach_the_tracker() -> None:
    def chosen(**values: Any) -> tuple[float, TrackingSettings]:
        config = DetectConfig.parse({"source": "s", "track": True, **values})
        return detection_threshold(config), tracking_settings(config)

    assert chosen() == (0.1, TrackingSettings(high_threshold=0.25, low_threshold=0.1))
    assert chosen(conf_threshold=0.4) == (0.1, TrackingSettings(high_threshold=0.4))
    assert chosen(conf_threshold=0.05) == (
        0.05,
        TrackingSettings(high_threshold=0.05, low_threshold=0.05),
    )
    changed = chosen(
        track_high=0.6, track_low=0.2, track_lost_seconds=3, track_any_class=True, track_frame_rate=5
    )
    assert changed == (0.2, TrackingSettings(0.6, 0.2, 3.0, class_aware=False, frame_rate=5.0))
    plain = DetectConfig.parse({"source": "s"})
    assert detection_threshold(plain) == 0.25


def test_programs_of_the_guide_run(
    clip: tuple[Path, Path, TrackBoxes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of docs/tracking-objects.md, as they stand there; the truth is what was found, which is perfect."""
    weights, video, _ = clip
    shutil.copy(weights, tmp_path / "best.safetensors")
    shutil.copy(video, tmp_path / "walk.avi")
    _run(weights, tmp_path / "walk.avi", tmp_path / "runs" / "detect", track=True, nosave=True)
    shutil.copy(tmp_path / "runs/detect/exp/tracks/walk.txt", tmp_path / "truth.txt")
    monkeypatch.chdir(tmp_path)
    guide = (REPOSITORY / "docs" / "tracking-objects.md").read_text(encoding="utf-8")
    for program in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(compile(program, "tracking-objects.md", "exec"), {})
    *lines, measured = capsys.readouterr().out.splitlines()
    assert "200 ms: crate 1" in lines
    assert measured == "HOTA 1.000, IDF1 1.000, MOTA 1.000"


def test_flags_of_the_guide_are_those_of_the_command() -> None:
    guide = (REPOSITORY / "docs" / "tracking-objects.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `--(track-[a-z-]+)` \| ([^|]+) \|", guide, re.MULTILINE))
    fields = {
        name.replace("_", "-"): field.default
        for name, field in DetectConfig.model_fields.items()
        if name.startswith("track_")
    }
    assert told.keys() == fields.keys()
    for name, default in fields.items():
        words = {None: "as `--conf-thres`", False: "off"}
        assert told[name] == words.get(default) or float(told[name]) == default
