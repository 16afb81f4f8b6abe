from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.infer.colour_backend import colour_predictor, picture
from tests.infer.test_writers import BOX, event, failure, frame, result
from tests.model.lively import lively_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import ModelError, WriteError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.draw import DrawStyle
from vedette.infer.picture_writers import (
    crop_writer,
    cut_out,
    feature_sheet,
    feature_writer,
    folder_name,
    picture_writer,
)
from vedette.infer.predictor import Predictor

GREY = np.full((100, 200, 3), 128, dtype=np.uint8)


def test_pictures_keep_their_names_and_none_is_lost(tmp_path, caplog):
    with picture_writer(tmp_path, DrawStyle(labels=False)) as write:
        for path in ("x/a.png", "y/a.png", "x/b.JPG", "x/c.webp", "x/d.bmp", "x/e.tif", "x/f.dng", "x/g"):
            write(result(path, [BOX], image=GREY))
        write(failure("x/h.png"))
        write(frame(0, [BOX]))
        write(event("ended"))
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["a.png", "a_2.png", "b.JPG", "c.webp", "d.bmp", "e.tif", "f.dng.png", "g.png"]
    assert caplog.messages == ["the result of y/a.png is written as a_2.png: its name was taken"]
    for name in found:
        with Pillow.open(tmp_path / name) as opened:
            pixels = np.asarray(opened.convert("RGB")).astype(int)
        assert pixels.shape == (100, 200, 3)
        # Class 1 is blue; red and blue are not swapped.
        line = pixels[20:22, 12:48].mean(axis=(0, 1))
        assert line[2] > line[0] + 50


def test_a_picture_too_wide_for_its_format_is_still_written(tmp_path):
    image = np.full((2, 70_000, 3), 128, dtype=np.uint8)
    with picture_writer(tmp_path, DrawStyle()) as write:
        write(result("x/wide.jpg", [], (2, 70_000), image=image))
    with Pillow.open(tmp_path / "wide.jpg") as opened:
        assert (opened.format, opened.size) == ("PNG", (70_000, 2))


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"a\.png"), picture_writer(tmp_path / "gone", DrawStyle()) as write:
        write(result("x/a.png", image=GREY))


def test_what_is_inside_the_boxes(tmp_path):
    red, blue = (10, 10, 40, 50), (50, 10, 70, 31)
    image = picture((60, 80), red=red, blue=blue)
    names = ("a/b: c?", "..")
    rows = [(*red, 0.9, 0), (50.4, 10.2, 69.7, 30.9, 0.8, 1), (*red, 0.7, 0)]
    with crop_writer(tmp_path) as write:
        write(result("x/a.png", rows, (60, 80), image, names))
        write(result("y/a.png", rows[:1], (60, 80), image, names))
        write(failure("x/h.png"))
        write(event("opened"))
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.jpg")}
    assert sorted(found) == ["_/a_2.jpg", "a_b_ c_/a_1.jpg", "a_b_ c_/a_2_1.jpg", "a_b_ c_/a_3.jpg"]
    with Pillow.open(found["a_b_ c_/a_1.jpg"]) as opened:
        assert opened.size == (30, 40)
        assert np.asarray(opened).mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=3)
    with Pillow.open(found["_/a_2.jpg"]) as opened:
        assert opened.size == (20, 21), "widened to whole pixels"


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((0.2, 0.2, 0.3, 0.3), (1, 1)),
        ((200, 100, 200, 100), (1, 1)),
        ((0, 0, 200, 100), (100, 200)),
        ((3, 4, 3, 9), (5, 1)),
    ],
)
def test_every_box_has_a_pixel(box, shape):
    assert cut_out(GREY, np.array(box, dtype=np.float32)).shape[:2] == shape


def test_folders_of_classes():
    assert [folder_name(name) for name in ("cat", "a/../b", " . ", "x\n", "con|x")] == [
        "cat", "a_.._b", "_", "x_u000a", "con_x",
    ]  # fmt: skip


def test_maps_of_all_layers(tmp_path):
    predictor = Predictor(TorchBackend(lively_detector()), LetterboxPolicy(size_hw=(64, 96)), ("a", "b", "c"))
    with feature_writer(tmp_path, predictor) as write:
        write(result("x/a.png", [], (60, 80), picture((60, 80), red=(10, 10, 40, 50))))
        write(failure("x/b.png"))
        write(event("ended"))
    layers = max(predictor.backend.level_inputs) + 1
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == [
        f"layer_{number:02}.png" for number in range(layers)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    sizes = set()
    for path in (tmp_path / "a").iterdir():
        with Pillow.open(path) as opened:
            sizes.add(opened.size)
            assert np.asarray(opened).std() > 5, "something is to be seen"
    assert len(sizes) > 1


def test_a_sheet_shows_each_channel_by_its_own_range():
    maps = np.zeros((3, 8, 12), dtype=np.float32)
    maps[0, :, 6:] = 1000.0
    maps[1, 4:] = 0.001
    sheet = feature_sheet(maps)
    # Two columns of tiles, 96 pixels wide, with lines between them; the fourth place is empty.
    assert sheet.shape == (2 * 64 + 2, 2 * 96 + 2, 3)
    dark, bright = sheet[5, 5].astype(int), sheet[5, 90].astype(int)
    assert bright.sum() > dark.sum() + 200
    assert (sheet[60, 100] == bright).all()
    assert (sheet[70, 5] == dark).all(), "a channel that is everywhere the same is dark"
    assert (sheet[70:, 100:] == 255).all()


def test_a_network_that_shows_nothing_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"--visualize: .*shows its detections only"):
        feature_writer(Path(tmp_path), colour_predictor()).__enter__()
