import sys

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageShow

from vedette.errors import MissingExtraError, WriteError
from vedette.hub.results import Results, StageTimes


@pytest.fixture
def results():
    ims = [np.full((40, 80, 3), 100, np.uint8), np.full((50, 60, 3), 120, np.uint8)]
    pred = [
        torch.tensor([[8.0, 4, 40, 24, 0.9, 1], [0, 0, 80, 40, 0.5, 0], [1.5, 2.5, 9.5, 8.5, 0.25, 1]]),
        torch.zeros(0, 6),
    ]
    times = StageTimes(0.002, 0.004, 0.006)
    return Results(ims, pred, ["a.png", "image1.jpg"], times, {0: "cat", 1: "dog"}, (2, 3, 64, 96))


def test_four_forms_of_the_boxes(results):
    expected = {
        "xyxy": [8, 4, 40, 24],
        "xywh": [24, 14, 32, 20],
        "xyxyn": [0.1, 0.1, 0.5, 0.6],
        "xywhn": [0.3, 0.35, 0.4, 0.5],
    }
    for name, box in expected.items():
        first, second = getattr(results, name)
        np.testing.assert_allclose(first[0], [*box, 0.9, 1], rtol=1e-6)
        assert second.shape == (0, 6)
    assert results.pred is results.xyxy


def test_the_rest_of_the_surface(results):
    assert (results.n, len(results), results.names[1]) == (2, 2, "dog")
    assert results.files == ["a.jpg", "image1.jpg"]
    assert results.s == (2, 3, 64, 96)
    assert results.t == pytest.approx((1, 2, 3))
    assert results.times.inference == 0.004
    assert results.imgs is results.ims


def test_text(results, capsys):
    lines = str(results).splitlines()
    assert lines[0] == "image 1/2: 40x80 1 cat, 2 dogs"
    assert lines[1] == "image 2/2: 50x60 (no detections)"
    assert lines[2] == (
        "Speed: 1.0ms pre-process, 2.0ms inference, 3.0ms NMS per image at shape (2, 3, 64, 96)"
    )
    results.print()
    assert capsys.readouterr().out == f"{results}\n"


def test_one_picture_at_a_time_keeps_lists(results):
    first, second = results
    assert torch.equal(first.xywhn[0], results.xywhn[0])
    assert (len(first), first.s, first.t) == (1, (1, 3, 64, 96), pytest.approx((1, 2, 3)))
    assert str(first).startswith("image 1/1: 40x80 1 cat, 2 dogs\n")
    assert len(results[1].xyxy[0]) == len(second.xyxy[0]) == 0
    assert len(results[-1:]) == 1
    with pytest.raises(IndexError):
        results[2]


def test_tables(results):
    pandas = pytest.importorskip("pandas", reason="the extra 'pandas' is not installed")
    tables = results.pandas()
    first, second = tables.xyxy
    assert isinstance(first, pandas.DataFrame)
    assert (
        list(first.columns)
        == list(second.columns)
        == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    )
    assert first["name"].tolist() == ["dog", "cat", "dog"]
    assert first["class"].tolist() == [1, 0, 1]
    assert list(tables.xywhn[0].columns)[:4] == ["xcenter", "ycenter", "width", "height"]
    assert tables.xywhn[0].iloc[0]["xcenter"] == pytest.approx(0.3)
    assert len(second) == 0
    assert torch.is_tensor(results.xyxy[0])


def test_tables_without_pandas_name_the_extra(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vedette\[pandas\]'"):
        results.pandas()


def test_render_draws_into_the_results(results):
    before = results.ims[0].copy()
    drawn = results.render(labels=False)
    assert drawn is results.ims is results.imgs
    assert (drawn[0] != before).any()
    assert (drawn[1] == 120).all()


def test_save_writes_one_file_a_picture_and_leaves_the_results(results, tmp_path):
    results.files = ["a.jpg", "a.jpg"]
    folder = results.save(save_dir=tmp_path / "exp")
    assert folder == tmp_path / "exp"
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "a_2.jpg"]
    with Pillow.open(folder / "a.jpg") as written:
        assert written.size == (80, 40)
    assert (results.ims[0] == 100).all()
    assert results.save(save_dir=tmp_path / "exp") == tmp_path / "exp2"
    assert results.save(save_dir=tmp_path / "exp", exist_ok=True) == folder


def test_save_names_a_folder_that_cannot_be(results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be created"):
        results.save(save_dir=tmp_path / "file" / "exp")


def test_crops(results, tmp_path):
    crops = results.crop(save_dir=tmp_path / "exp")
    assert [crop["label"] for crop in crops] == ["dog 0.90", "cat 0.50", "dog 0.25"]
    assert [crop["im"].shape for crop in crops] == [(20, 32, 3), (40, 80, 3), (7, 9, 3)]
    assert crops[0]["box"].tolist() == [8, 4, 40, 24]
    assert (float(crops[0]["cls"]), round(float(crops[0]["conf"]), 2)) == (1.0, 0.9)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert written == ["exp/crops/cat/a.jpg", "exp/crops/dog/a.jpg", "exp/crops/dog/a_2.jpg"]


def test_crops_need_not_be_written_and_names_are_no_paths(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.names[1] = "../../dog"
    assert len(results.crop(save=False)) == 3
    assert list(tmp_path.iterdir()) == []
    results.crop()
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert written[0].startswith("runs/detect/exp/crops/")
    assert {path.split("/")[4] for path in written} == {"cat", "_.._dog"}


def test_show_hands_every_picture_to_the_systems_viewer(results, monkeypatch):
    shown = []

    class Viewer(ImageShow.Viewer):
        def show(self, image, **_options):
            shown.append(image.size)
            return 1

    monkeypatch.setattr(ImageShow, "_viewers", [Viewer()])
    results.show()
    assert shown == [(80, 40), (60, 50)]
    assert (results.ims[0] == 100).all()


def test_as_vedettes_own_values(results):
    first, second = results.detections()
    np.testing.assert_array_equal(first.boxes_xyxy_px, results.xyxy[0][:, :4])
    assert first.records()[0]["class_name"] == "dog"
    assert (first.size_hw, first.path, len(second)) == ((40, 80), "a.jpg", 0)


def test_pictures_of_grey_have_no_colour_to_lose(results):
    assert "cat" in repr(results)
