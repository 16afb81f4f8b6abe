import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tests.infer.colour_backend import NAMES, ColourBackend, colour_predictor, picture
from vedette.checkpoint.deployable import save_detector
from vedette.config.detect import DetectConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import DataError, UsageError, WriteError
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
    }
    for name, (data, _) in failing.items():
        (folder / name).write_bytes(data)
    (folder / "clip.mp4").write_bytes(b"")
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
        assert found[name]["error_kind"] in kinds, name
        assert found[name]["error"], name

    assert summary.pictures == len(found)
    assert summary.failed == len(failing)
    assert {Path(path).name for path, _ in summary.failures} == set(failing)
    assert summary.detections == len(with_box)
    assert [Path(entry.path).name for entry in summary.skipped] == ["clip.mp4"]
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
