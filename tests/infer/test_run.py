import hashlib
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tests.export.exported_files import pictures as clouds
from tests.infer.colour_backend import COLOURS, NAMES, ColourBackend, colour_predictor, picture
from tests.infer.video.clips import VARIABLE_MS, cut, noise, write_clip
from vedette.checkpoint.deployable import save_detector
from vedette.config.detect import DetectConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import DataError, UsageError, WriteError
from vedette.infer.configured import configured_predictor
from vedette.infer.predictor import Predictor
from vedette.infer.run import describe, detect
from vedette.model.detector import build_detector

SIZE_HW = (60, 80)
RED = (10, 10, 40, 50)


def config(source, tmp_path, **values):
    defaults = {"weights": "unused", "source": source, "project": str(tmp_path / "runs"), "batch_size": 4}
    return DetectConfig.parse({**defaults, **values})


def save(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(picture(SIZE_HW, red=RED)).save(path, **options)


def records(folder):
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return {Path(record["path"]).name: record for record in map(json.loads, lines)}


def contents(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "b.png", "c.png"):
        save(folder / name)
    return folder


def test_all_that_can_be_written(tmp_path, pictures):
    chosen = config(
        str(pictures), tmp_path, save_txt=True, save_conf=True, save_json=True, save_csv=True, save_coco=True
    )
    summary = detect(chosen, predictor=colour_predictor())
    assert summary.folder == tmp_path / "runs" / "exp"
    written = sorted(path.relative_to(summary.folder).as_posix() for path in summary.folder.rglob("*.*"))
    assert written == [
        "a.png", "b.png", "c.png", "detect.yaml", "labels/a.txt", "labels/b.txt", "labels/c.txt",
        "predictions.csv", "predictions.jsonl", "predictions_coco.json",
    ]  # fmt: skip
    assert (summary.pictures, summary.detections, summary.failed, summary.exit_code) == (3, 3, 0, 0)
    assert summary.class_counts == {"red": 3}
    assert set(summary.seconds) == {"total", "decode", "preprocess", "inference", "postprocess", "write"}
    assert set(summary.percentiles_ms) == set(summary.seconds) - {"total"}
    assert all(low <= middle <= high for low, middle, high in summary.percentiles_ms.values())
    # Every file tells of the same boxes.
    (box,) = records(summary.folder)["a.png"]["detections"]
    np.testing.assert_allclose(box["box_xyxy"], RED, atol=1.0)
    numbers = [float(part) for part in (summary.folder / "labels" / "a.txt").read_text().split()]
    x1, y1, x2, y2 = box["box_xyxy"]
    np.testing.assert_allclose(
        numbers,
        [0, (x1 + x2) / 160, (y1 + y2) / 120, (x2 - x1) / 80, (y2 - y1) / 60, box["score"]],
        rtol=1e-5,
    )
    coco = json.loads((summary.folder / "predictions_coco.json").read_text())
    assert [entry["image_id"] for entry in coco] == ["a", "b", "c"]
    assert DetectConfig.load(summary.folder / "detect.yaml") == chosen


def test_weights_from_a_file_give_what_the_predictor_gives(tmp_path, pictures):
    weights = tmp_path / "best.safetensors"
    letterbox = LetterboxPolicy(size_hw=(96, 96))
    detector = build_detector("tiny", classes=2, seed=3)
    save_detector(weights, detector, class_names=NAMES, letterbox=letterbox, metadata={})
    values = {"conf_threshold": 1e-4, "max_detections": 20, "save_json": True, "nosave": True}
    chosen = config(str(pictures), tmp_path, weights=str(weights), device="cpu", **values)
    summary = detect(chosen)
    found = records(summary.folder)
    nms = NmsSettings(conf_threshold=1e-4, max_detections=20)
    predictor = Predictor.from_file(weights, device="cpu", nms=nms)
    expected = predictor.predict([picture(SIZE_HW, red=RED)] * 3)
    assert summary.detections == sum(len(result) for result in expected) > 0
    for name, result in zip(("a.png", "b.png", "c.png"), expected, strict=True):
        assert found[name]["detections"] == result.records()


def test_pictures_alone_are_written_by_default(tmp_path, pictures):
    folder = detect(config(str(pictures), tmp_path), predictor=colour_predictor()).folder
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "c.png", "detect.yaml"]
    folder = detect(config(str(pictures), tmp_path, nosave=True), predictor=colour_predictor()).folder
    assert [path.name for path in folder.iterdir()] == ["detect.yaml"]
    assert folder.name == "exp2"


def test_progress_in_order(tmp_path, pictures):
    seen = []
    detect(
        config(str(pictures), tmp_path, nosave=True),
        predictor=colour_predictor(),
        progress=lambda result, number, total: seen.append((describe(result), number, total)),
    )
    folder = pictures.as_posix()
    assert seen == [(f"{folder}/{name}.png: 60x80 1 red", n, 3) for n, name in enumerate("abc", start=1)]


def test_settings_reach_the_predictor(tmp_path, pictures):
    save(pictures / "two.png")
    Pillow.fromarray(picture(SIZE_HW, red=RED, blue=(50, 10, 70, 50))).save(pictures / "two.png")

    def classes_found(**values):
        chosen = config(str(pictures / "two.png"), tmp_path, nosave=True, **values)
        predictor = colour_predictor()
        found = detect(chosen, predictor=predictor).class_counts
        return found, predictor.backend.shapes[0][1:3]

    assert classes_found() == ({"red": 1, "blue": 1}, (160, 160))
    assert classes_found(classes=[1])[0] == {"blue": 1}
    assert classes_found(classes=[])[0] == {}
    assert classes_found(conf_threshold=0.85)[0] == {"red": 1}
    assert classes_found(max_detections=1)[0] == {"red": 1}
    assert classes_found(image_size=[64, 96])[1] == (64, 96)
    assert classes_found(image_size=50)[1] == (64, 64)
    assert classes_found(letterbox="minimal", image_size=96)[1] == (96, 96)
    assert classes_found(letterbox="minimal")[1] == (128, 160)


def test_a_class_that_does_not_exist_leaves_no_folder(tmp_path, pictures):
    with pytest.raises(UsageError, match="no class 7"):
        detect(config(str(pictures), tmp_path, classes=[7]), predictor=colour_predictor())
    with pytest.raises(DataError, match="does not exist"):
        detect(config(str(tmp_path / "nowhere"), tmp_path), predictor=colour_predictor())
    assert not (tmp_path / "runs").exists()


def test_hundred_files_of_which_three_are_bad(tmp_path):
    """Reliability B4."""
    for number in range(100):
        save(tmp_path / "in" / f"{number:03}.png")
    for number in (0, 50, 99):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    summary = detect(config(str(tmp_path / "in"), tmp_path, nosave=True), predictor=colour_predictor())
    assert (summary.pictures, summary.detections, summary.failed) == (100, 97, 3)
    assert [Path(path).name for path, _ in summary.failures] == ["000.png", "050.png", "099.png"]
    assert summary.exit_code == 1


def test_all_files_bad_is_a_refusal(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    summary = detect(config(str(tmp_path / "a.jpg"), tmp_path, save_json=True), predictor=colour_predictor())
    assert (summary.failed, summary.exit_code) == (1, 2)
    assert records(summary.folder)["a.jpg"]["error_kind"] == "empty"


def png_header(width, height):
    """A PNG that promises a huge picture and holds next to none of it (reliability B1)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write_hostile_folder(folder):
    """Good, odd and bad pictures.

    Returns:
        The names that must give the red box, and the error kinds by name of those that must fail.
    """
    folder.mkdir()
    image = Pillow.fromarray(picture(SIZE_HW, red=RED))
    for name in ("good.jpg", "good.png", "good.webp", "good.bmp", "good.tif"):
        options = {"quality": 95} if name.endswith(("jpg", "webp")) else {}
        image.save(folder / name, **options)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    image.convert("RGBA").save(folder / "alpha.png")
    palette = image.convert("P", palette=Pillow.Palette.ADAPTIVE)
    palette.save(folder / "palette.png", transparency=255)
    # Stored lying on its side; orientation 6 asks to turn it clockwise.
    exif = Pillow.Exif()
    exif[0x0112] = 6
    image.transpose(Pillow.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=95, exif=exif)
    with_box = [path.name for path in folder.iterdir()]

    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Pillow.fromarray(deep).save(folder / "deep.png")
    image.convert("L").save(folder / "grey.png")
    image.resize((1, 1)).save(folder / "one.png")

    jpeg = (folder / "good.jpg").read_bytes()
    failing = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], {"truncated"}),
        "empty.jpg": (b"", {"empty"}),
        "text.jpg": (b"this is a letter, not a picture\n" * 10, {"not-an-image"}),
        "bomb.png": (png_header(30_000, 30_000), {"too-large"}),
        "thin.png": (png_header(40_000, 10), {"bad-aspect"}),
        "page.gif.jpg": (b"GIF89a" + bytes(40), {"unsupported-format", "not-an-image"}),
        "clip.mp4": (b"", {None}),
    }
    for name, (data, _) in failing.items():
        (folder / name).write_bytes(data)
    (folder / "notes.pdf").write_bytes(b"")
    return with_box, {name: kinds for name, (_, kinds) in failing.items()}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_hostile_folder(tmp_path, batch_size):
    folder = tmp_path / "in"
    with_box, failing = write_hostile_folder(folder)
    before = contents(folder)
    chosen = config(str(folder), tmp_path, batch_size=batch_size, save_json=True, save_txt=True)
    summary = detect(chosen, predictor=colour_predictor())
    found = records(summary.folder)

    assert len(found) == len(with_box) + 3 + len(failing)
    for name in with_box:
        (entry,) = found[name]["detections"]
        assert entry["class_name"] == "red", name
        # JPEG's halved colour resolution blurs edges by up to two pixels.
        np.testing.assert_allclose(entry["box_xyxy"], RED, atol=3.0, err_msg=name)
        assert found[name]["size_hw"] == list(SIZE_HW), name
    for name in ("deep.png", "grey.png", "one.png"):
        assert found[name]["detections"] == [], name
    assert found["one.png"]["size_hw"] == [1, 1]
    for name, kinds in failing.items():
        assert found[name].get("error_kind") in kinds, name
        assert found[name]["error"], name

    assert summary.pictures == len(found)
    assert summary.failed == len(failing)
    assert {Path(path).name for path, _ in summary.failures} == set(failing)
    assert summary.detections == len(with_box)
    assert [Path(entry.path).name for entry in summary.skipped] == ["notes.pdf"]
    assert summary.exit_code == 1
    # A drawn picture for each that could be read; the input is as it was.
    assert len([path for path in summary.folder.iterdir() if path.is_file()]) == len(with_box) + 3 + 2
    assert contents(folder) == before


def test_turned_picture_gives_the_boxes_of_the_upright_one(tmp_path):
    image = Pillow.fromarray(picture(SIZE_HW, red=RED))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "upright.png")
    image.transpose(Pillow.Transpose.ROTATE_90).save(tmp_path / "in" / "turned.png", exif=exif)
    chosen = config(str(tmp_path / "in"), tmp_path, nosave=True, save_json=True)
    found = records(detect(chosen, predictor=colour_predictor()).folder)
    assert found["turned.png"]["detections"] == found["upright.png"]["detections"] != []
    assert found["turned.png"]["size_hw"] == list(SIZE_HW)


def test_results_never_land_among_the_pictures(tmp_path, pictures):
    save(pictures / "images" / "d.png")
    for source in (pictures, pictures / "images"):
        with pytest.raises(UsageError, match="holds pictures of the source"):
            detect(
                config(str(source), tmp_path, project=str(tmp_path), name="in", exist_ok=True),
                predictor=colour_predictor(),
            )
    assert not (pictures / "detect.yaml").exists()


def test_a_result_that_cannot_be_written_ends_the_run(tmp_path, pictures):
    (tmp_path / "runs" / "exp" / "b.png").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"b\.png") as caught:
        detect(config(str(pictures), tmp_path, exist_ok=True), predictor=colour_predictor())
    assert caught.value.exit_code == 3


def test_tiles_take_pictures_that_are_too_large_without(tmp_path):
    image = np.full((7080, 7080, 3), 128, dtype=np.uint8)
    image[6900:7000, 6000:6200] = COLOURS[0]
    Pillow.fromarray(image).save(tmp_path / "large.jpg")

    predictor = Predictor(ColourBackend(), LetterboxPolicy(size_hw=(160, 160)), NAMES)
    refused = detect(
        config(str(tmp_path / "large.jpg"), tmp_path, nosave=True, save_json=True), predictor=predictor
    )
    assert records(refused.folder)["large.jpg"]["error_kind"] == "too-large"
    tiled = config(
        str(tmp_path / "large.jpg"), tmp_path, nosave=True, save_json=True, tile=4096, batch_size=3
    )
    summary = detect(tiled, predictor=predictor)
    (box,) = records(summary.folder)["large.jpg"]["detections"]
    # A pixel of the frame is 26 of the tile.
    np.testing.assert_allclose(box["box_xyxy"], (6000, 6900, 6200, 7000), atol=26)
    assert {shape[0] for shape in predictor.backend.shapes} == {3, 2}
    assert DetectConfig.load(summary.folder / "detect.yaml") == tiled


def test_threads_are_as_before_afterwards(tmp_path, pictures):
    class Watching(ColourBackend):
        def run(self, frames):
            self.threads = torch.get_num_threads()
            return super().run(frames)

    predictor = Predictor(Watching(), LetterboxPolicy(size_hw=(160, 160)), NAMES)
    before = torch.get_num_threads()
    detect(config(str(pictures), tmp_path, nosave=True, threads=before + 1), predictor=predictor)
    assert predictor.backend.threads == before + 1
    assert torch.get_num_threads() == before


EVENT = 9
"""From this picture of the clip on there is something to see."""


def appearing(number):
    return picture(SIZE_HW, red=RED if number >= EVENT else None)


def lines(folder):
    return [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_the_time_of_an_event_in_a_clip_of_variable_rate(tmp_path, monkeypatch, decoder):
    """Also where the published rule, number of the picture over the rate of the clip, is far off."""
    monkeypatch.setattr("vedette.infer.video.reader.pyav_is_installed", lambda: decoder == "pyav")
    path = write_clip(tmp_path / "clip.mp4", VARIABLE_MS, appearing, "mpeg4")
    summary = detect(config(str(path), tmp_path, save_json=True, nosave=True), predictor=colour_predictor())
    first = next(line for line in lines(summary.folder) if line["detections"])
    before, after = VARIABLE_MS[EVENT - 1], VARIABLE_MS[EVENT + 1]
    assert before < first["time_ms"] < after
    assert first["time_ms"] == pytest.approx(VARIABLE_MS[EVENT], abs=1)
    assert first["frame_index"] == EVENT
    by_rate = EVENT * VARIABLE_MS[-1] / (len(VARIABLE_MS) - 1)
    assert not before <= by_rate <= after


def test_all_that_can_be_written_of_a_video(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_clip(tmp_path / "in" / "clip.mp4", VARIABLE_MS, appearing, "mpeg4")
    flags = dict.fromkeys(("save_txt", "save_conf", "save_json", "save_csv", "save_coco", "save_crop"), True)
    summary = detect(config(str(path), tmp_path, vid_stride=3, **flags), predictor=colour_predictor())
    written = sorted(path.relative_to(summary.folder).as_posix() for path in summary.folder.rglob("*.*"))
    assert written == [
        "clip.webm", "crops/red/clip_10_1.jpg", "crops/red/clip_13_1.jpg", "detect.yaml",
        "labels/clip_10.txt", "labels/clip_13.txt",
        "predictions.csv", "predictions.jsonl", "predictions_coco.json",
    ]  # fmt: skip
    assert (summary.pictures, summary.detections, summary.failed, summary.exit_code) == (5, 2, 0, 0)
    assert [line["frame_index"] for line in lines(summary.folder)] == [0, 3, 6, 9, 12]
    assert len((summary.folder / "predictions.csv").read_text().splitlines()) == 3


def test_a_damaged_video_is_a_failure_of_its_own(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_clip(tmp_path / "in" / "cut.webm", [100 * number for number in range(30)], noise)
    cut(path, 0.5)
    write_clip(tmp_path / "in" / "good.webm", VARIABLE_MS, appearing)
    summary = detect(config(str(tmp_path / "in"), tmp_path, save_json=True), predictor=colour_predictor())
    ((failed, reason),) = summary.failures
    assert (Path(failed).name, summary.exit_code) == ("cut.webm", 1)
    assert "the file is cut off or damaged; copy it again" in reason
    (record,) = [line for line in lines(summary.folder) if "event" in line]
    assert record["event"] == "ended"
    assert Path(record["path"]).name == "cut.webm"
    assert "cut off" in record["error"]
    summary = detect(config(str(path), tmp_path, nosave=True), predictor=colour_predictor())
    assert summary.exit_code == 1, "some pictures could be read"
    path.write_bytes(b"no video")
    summary = detect(config(str(path), tmp_path, nosave=True), predictor=colour_predictor())
    assert (summary.pictures, summary.failed, summary.exit_code) == (1, 1, 2)


def test_progress_tells_of_videos(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", VARIABLE_MS, appearing, "mpeg4")
    seen = []
    chosen = config(str(path), tmp_path, nosave=True, vid_stride=9)
    detect(
        chosen,
        predictor=colour_predictor(),
        progress=lambda result, number, total: seen.append((describe(result), total)),
    )
    name = path.as_posix()
    assert seen == [
        (f"{name}: opened", None),
        (f"{name} picture 0 at 0.000 s: 60x80 nothing found", None),
        (f"{name} picture 9 at 1.510 s: 60x80 1 red", None),
        (f"{name}: ended after 2 pictures", None),
    ]


def test_a_folder_may_be_named_outright(tmp_path, pictures):
    target = tmp_path / "somewhere" / "output"
    for _ in range(2):
        summary = detect(
            config(str(pictures), tmp_path, project="runs/detect", output=str(target)),
            predictor=colour_predictor(),
        )
        assert summary.folder == target
    assert (target / "a.png").exists()
    with pytest.raises(UsageError, match="holds pictures of the source"):
        detect(
            config(str(pictures), tmp_path, project="runs/detect", output=str(pictures)),
            predictor=colour_predictor(),
        )


def test_results_never_land_beside_a_video(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [0, 40], appearing, "mpeg4")
    with pytest.raises(UsageError, match="holds pictures of the source"):
        detect(
            config(str(path), tmp_path, project="runs/detect", output=str(tmp_path)),
            predictor=colour_predictor(),
        )


def test_old_flags_are_explained(tmp_path, pictures, caplog):
    detect(config(str(pictures), tmp_path, nosave=True, update=True, dnn=True), predictor=colour_predictor())
    assert "nothing is fetched or rewritten; `vedette import old.pt`" in caplog.messages[0]
    assert "the file of the weights says what runs it" in caplog.messages[1]


def test_a_window_where_there_is_none_is_refused_before_anything_is_done(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(UsageError, match="--view-img: the installed OpenCV is the headless one"):
        detect(config(str(pictures), tmp_path, view_img=True), predictor=colour_predictor())
    assert not (tmp_path / "runs").exists()


def test_q_in_the_window_ends_the_run_and_keeps_what_was_found(tmp_path, pictures, monkeypatch):
    shown, keys = [], iter([-1, ord("q")])
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:                           QT5\n")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("cv2.imshow", lambda title, image: shown.append((title, image.shape)))
    monkeypatch.setattr("cv2.waitKey", lambda _: next(keys))
    monkeypatch.setattr("cv2.destroyAllWindows", lambda: shown.append("closed"))
    chosen = config(str(pictures), tmp_path, view_img=True, batch_size=1)
    summary = detect(chosen, predictor=colour_predictor())
    assert shown == [("vedette", (60, 80, 3)), ("vedette", (60, 80, 3)), "closed"]
    assert (summary.pictures, summary.exit_code) == (2, 0)
    assert (summary.folder / "b.png").exists()


def test_passwords_of_addresses_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("vedette.infer.video.live.FIRST_PAUSE_S", 0.001)
    chosen = config("rtsp://admin:geheim@127.0.0.1:1/x", tmp_path, save_json=True, stream_retries=0)
    summary = detect(chosen, predictor=colour_predictor())
    assert summary.exit_code == 2
    written = b"".join(path.read_bytes() for path in summary.folder.rglob("*") if path.is_file())
    assert b"rtsp://***@127.0.0.1:1/x" in written
    assert b"geheim" not in written
    assert "geheim" not in str(summary)


def test_ctrl_c_ends_pictures_at_once_and_streams_in_order(tmp_path, pictures, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect(config(str(pictures), tmp_path), predictor=colour_predictor(), progress=interrupted)
    monkeypatch.setattr("vedette.infer.video.live.FIRST_PAUSE_S", 0.001)
    chosen = config("rtsp://127.0.0.1:1/x", tmp_path, save_coco=True, stream_retries=-1)
    summary = detect(chosen, predictor=colour_predictor(), progress=interrupted)
    assert (summary.interrupted, summary.exit_code) == (True, 130)
    assert json.loads((summary.folder / "predictions_coco.json").read_text()) == []


def test_detection_starts_without_torch():
    """The command is to run where another runtime is installed and PyTorch is not."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import vedette.infer.run, vedette.infer.stream, vedette.infer.sources, vedette.infer.viewer\n"
        "import vedette.infer.video.pyav, vedette.infer.video.opencv, vedette.infer.video.screen, vedette.cli.detect"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr


def without_times(folder, name="predictions.jsonl"):
    found = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    for record in found:
        record.pop("milliseconds", None)
    return found


@pytest.mark.parametrize("track", [False, True])
def test_lanes_change_no_result_and_no_order(tmp_path, track):
    """A folder with a damaged picture, and a video: all lines are the same, and so are the ids of tracks."""
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "clip.webm", [40 * n for n in range(20)], appearing)
    for number in range(9):
        box = (2 * number, 10, 2 * number + 30, 50)
        Pillow.fromarray(picture(SIZE_HW, red=box)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "4.png").write_bytes(b"no picture")
    written, seen = [], []
    for lanes in (1, 3):
        values = {"nosave": True, "save_json": True, "save_csv": True, "track": track, "batch_size": 1}
        chosen = config(str(tmp_path / "in"), tmp_path, lanes=lanes, threads=3, **values)
        told = []
        summary = detect(
            chosen,
            predictor=colour_predictor(),
            progress=lambda result, *_, told=told: told.append(describe(result)),
        )
        assert (summary.pictures, summary.failed) == (29, 1)
        written.append((without_times(summary.folder), (summary.folder / "predictions.csv").read_bytes()))
        seen.append(told)
    assert written[0] == written[1]
    assert seen[0] == seen[1]
    assert any("track_id" in box for record in written[0][0] for box in record.get("detections", ())) == track


def test_a_file_that_gains_by_lanes_is_opened_for_them(tmp_path, exports):
    (tmp_path / "in").mkdir()
    for number, image in enumerate(clouds(5)):
        Pillow.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    found = {}
    for lanes in (0, 1, 2):
        values = {"weights": str(exports.path("onnx")), "device": "cpu", "batch_size": 0}
        chosen = config(
            str(tmp_path / "in"), tmp_path, lanes=lanes, threads=2, nosave=True, save_json=True, **values
        )
        opened = []

        def open_and_tell(asked, loaded, lanes, opened=opened):
            opened.append(lanes)
            return configured_predictor(asked, loaded, lanes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vedette.infer.run.configured_predictor", open_and_tell)
            found[lanes] = (opened, without_times(detect(chosen).folder))
    assert [told for told, _ in found.values()] == [[2], [1], [2]]
    assert found[0][1] == found[2][1]
    for record, other in zip(found[1][1], found[2][1], strict=True):
        boxes, others = ([box["box_xyxy"] for box in one["detections"]] for one in (record, other))
        assert len(boxes)
        np.testing.assert_allclose(boxes, others, atol=0.1)  # pixels; the weights amplify sums


def test_lanes_that_make_no_sense_leave_no_folder(tmp_path, pictures):
    for values, reason in (
        ({"lanes": 3, "threads": 2}, "--lanes 3: there are 2 threads"),
        ({"lanes": 2, "threads": 2, "source": "rtsp://127.0.0.1:1/x"}, "pictures of a stream or camera"),
    ):
        with pytest.raises(UsageError, match=reason):
            detect(
                config(**{"source": str(pictures), "tmp_path": tmp_path, **values}),
                predictor=colour_predictor(),
            )
    assert not (tmp_path / "runs").exists()
