from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import GOLDEN
from tests.data.faulty_sets import voc_file, voc_object
from tests.data.small_sets import write_picture, write_text, write_yolo
from vedette.core.picture_format import PictureFormat
from vedette.data.description import load_description
from vedette.data.images import read_image
from vedette.data.index import read_index
from vedette.data.index_build import stamp_files

CASES = json.loads((GOLDEN / "training" / "25-exif.json").read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_golden_25_the_recorded_size_is_that_of_the_decoded_picture(
    tmp_path: Path, case: dict[str, dict[str, object]]
) -> None:
    """25-exif.json: ``decoded_hw``, exact. The reference records another size for orientations 5 and 7: its defect."""
    path = write_picture(
        tmp_path / "images" / "a.jpg", width=30, height=20, orientation=case["input"]["exif_orientation"]
    )  # type: ignore[arg-type]
    write_text(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5")
    index = read_index(
        load_description(write_text(tmp_path / "data.yaml", "train: images\nnames: [a]\n")), "train"
    )
    assert index.sizes_hw[0].tolist() == case["expected"]["decoded_hw"] == list(read_image(path).shape[:2])
    width, height = index.sizes_hw[0, ::-1].tolist()
    np.testing.assert_allclose(
        index.boxes_xyxy_px, [[width / 4, height / 4, width * 0.75, height * 0.75]], rtol=1e-12
    )


def test_a_size_before_rotation_is_explained(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg", width=40, height=30, orientation=6)
    write_text(tmp_path / "xml" / "a.xml", voc_file(voc_object()))
    yaml = "format: voc\ntrain: {images: images, annotations: xml}\nnames: [cat]\n"
    index = read_index(load_description(write_text(tmp_path / "data.yaml", yaml)), "train")
    assert [(defect.kind, defect.line) for defect in index.defects] == [("size-mismatch", 2)]
    assert index.defects[0].text.endswith("has 30x40 once its EXIF orientation 6 is applied")


def test_sound_pictures_with_data_behind_them_stay(tmp_path: Path) -> None:
    """The cheap look at the last bytes only calls for decoding; it does not decide."""
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    for name in ("b.jpg", "c.png"):
        path = write_picture(tmp_path / "images" / name)
        path.write_bytes(path.read_bytes() + b"more from the camera")
        write_text(tmp_path / "labels" / f"{path.stem}.txt", "")
    write_picture(tmp_path / "images" / "d.webp")
    write_text(tmp_path / "labels" / "d.txt", "")
    index = read_index(load_description(file), "train")
    assert len(index) == 4
    assert not index.defects


def test_truncated_pictures_are_left_out(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    for name in ("b.jpg", "c.png"):
        path = write_picture(tmp_path / "images" / name, width=200, height=150)
        path.write_bytes(path.read_bytes()[:-40])
        write_text(tmp_path / "labels" / f"{path.stem}.txt", "0 .5 .5 .5 .5\n1 .5 .5 .2 .5")
    index = read_index(load_description(file), "train")
    assert [(Path(defect.path).name, defect.kind) for defect in index.defects] == [
        ("b.jpg", "picture-unreadable"),
        ("c.png", "picture-unreadable"),
    ]
    assert all(defect.text.startswith("truncated: ") for defect in index.defects)
    assert all(defect.text.endswith("; left out with 2 boxes") for defect in index.defects)
    assert index.counts.rows_of_pictures_left_out == 4


def test_stamps(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "123")
    stamps = stamp_files([str(path), str(tmp_path / "gone"), "nul\0"])
    assert stamps.tolist() == [[3, path.stat().st_mtime_ns], [-1, -1], [-1, -1]]


def _write_deep_set(tmp_path: Path, keys: str) -> Path:
    """A 16-bit grey PNG, an 8-bit colour PNG and two arrays, of one and of two channels."""
    write_yolo(tmp_path, {"colour": "0 .5 .5 .5 .5"})
    deep = np.full((30, 40), 3000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "images" / "deep.png")
    np.save(tmp_path / "images" / "array.npy", deep)
    np.save(tmp_path / "images" / "two.npy", np.zeros((30, 40, 2), np.uint16))
    for stem in ("deep", "array", "two"):
        write_text(tmp_path / "labels" / f"{stem}.txt", "1 .5 .5 .5 .5")
    return write_text(tmp_path / "data.yaml", f"train: images\nnames: [cat, dog, bird]\n{keys}")


def test_pictures_of_another_format(tmp_path: Path) -> None:
    """What is converted is noted, what cannot be is left out by name, and ``.npy`` files count."""
    file = _write_deep_set(tmp_path, "channels: 1\nbits: 12\n")
    index = read_index(load_description(file), "train")
    assert list(index.paths) == ["images/array.npy", "images/colour.png", "images/deep.png"]
    assert index.picture_format == PictureFormat(1, 16, (0, 4095))
    found = {Path(defect.path).name: (defect.kind, defect.text) for defect in index.defects}
    assert found == {
        "colour.png": ("picture-converted", "3 channels of 8 bits"),
        "two.npy": (
            "picture-unreadable",
            "wrong-channels: has 2 channels, which cannot become 1; left out with 1 boxes",
        ),
    }


def test_8_bit_rgb_passes_over_arrays(tmp_path: Path) -> None:
    index = read_index(load_description(_write_deep_set(tmp_path, "")), "train")
    assert list(index.paths) == ["images/colour.png", "images/deep.png"]
    assert {defect.kind for defect in index.defects} <= {"label-without-picture"}


def test_the_picture_format_is_part_of_the_content(tmp_path: Path) -> None:
    """A run that is resumed with another one is told; data sets of 8-bit RGB keep the hash they had."""
    write_yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    hashes = []
    for keys in ("", "channels: 3\nbits: 8\n", "channels: 1\n", "bits: 12\n", "bits: 16\n"):
        file = write_text(tmp_path / "data.yaml", f"train: images\nnames: [cat, dog, bird]\n{keys}")
        hashes.append(read_index(load_description(file), "train").content_hash)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4
