from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sets import write_picture, write_text
from vedette.data.description import load_description
from vedette.data.formats import coco, read_split
from vedette.data.index import load_index, read_index
from vedette.errors import DataError

YAML = "format: coco\nval: {images: images, annotations: boxes.json}\n"


def _document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 70, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 5, "file_name": "sub/a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "c.png"},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 90, "bbox": [1, 2, 10, 20.5], "area": 33.5, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 70,
                "category_id": 3,
                "bbox": [4, 4, 6, 6],
                "iscrowd": 1,
                "segmentation": {},
            },
            {"id": 3, "image_id": 5, "category_id": 3, "bbox": [0, 0, 3, 4]},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
    }


def _write(root: Path, document: object, yaml: str = YAML) -> Path:
    for name in ("b.png", "sub/a.png", "c.png"):
        write_picture(root / "images" / name)
    text = document if isinstance(document, str) else json.dumps(document)
    write_text(root / "boxes.json", text)
    return write_text(root / "data.yaml", yaml)


def test_categories_crowds_areas_and_ids(tmp_path: Path) -> None:
    description = load_description(_write(tmp_path, _document()))
    assert description.class_names == ("car", "toothbrush")
    assert description.category_ids == (3, 90)
    index = load_index(description, "val", cache_dir=tmp_path / "cache")
    assert list(index.paths) == ["images/b.png", "images/c.png", "images/sub/a.png"]
    assert index.image_ids.tolist() == [70, 9, 5]
    assert index.category_ids == (3, 90)
    assert index.class_ids.tolist() == [0, 1, 0]
    assert index.ignored.tolist() == [True, False, False]
    assert index.areas.tolist() == [36, 33.5, 12]
    np.testing.assert_array_equal(index.labels(2).boxes_xyxy_px, [[1, 2, 11, 22.5], [0, 0, 3, 4]])
    assert index.class_counts().tolist() == [1, 1]
    assert index.background_count == 1
    assert not index.defects


def test_own_names_and_backgrounds(tmp_path: Path) -> None:
    yaml = "format: coco\nval: {images: images, annotations: boxes.json, backgrounds: more}\nnames: [toothbrush, car]\n"
    file = _write(tmp_path, _document(), yaml)
    write_picture(tmp_path / "more" / "d.png")
    description = load_description(file)
    assert description.category_ids == (90, 3)
    index = read_index(description, "val")
    assert list(index.paths)[-1] == "more/d.png"
    assert index.image_ids.tolist() == [70, 9, 5, 71]
    assert index.counts.pictures_read == 4
    assert index.background_count == 2


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{"images": [],\n "annotations": [}', 2, "is not JSON"),
        ("[]", 1, "is not a JSON object"),
        ('{"images": [], "annotations": []}', 1, "'categories'"),
        ('{"images": [], "annotations": [], "categories": [{"id": "1", "name": "a"}]}', 1, "categories[0]"),
        ("[" * 100_000, 1, "is not readable JSON"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, line: int, what: str) -> None:
    file = _write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        load_description(file)
    assert what in str(caught.value)
    assert caught.value.where == f"{tmp_path / 'boxes.json'}:{line}"


def test_malformed_file_of_another_split_is_a_defect(tmp_path: Path) -> None:
    file = _write(tmp_path, _document(), YAML + "train: {images: images, annotations: bad.json}\n")
    write_text(tmp_path / "bad.json", b"{\n\xff}")
    description = load_description(file)
    raw = read_split(description, "train")
    assert [(defect.kind, defect.line) for defect in raw.defects] == [("json-malformed", 2)]
    with pytest.raises(DataError, match="json-malformed"):
        load_index(description, "train", cache_dir=tmp_path / "cache")


def test_missing_annotation_file(tmp_path: Path) -> None:
    file = _write(tmp_path, _document(), YAML + "train: {images: images, annotations: gone.json}\n")
    with pytest.raises(DataError, match=r"gone\.json: there is no such annotation file"):
        read_split(load_description(file), "train")
    with pytest.raises(DataError, match="no such annotation file"):
        load_description(_write(tmp_path, _document(), YAML.replace("boxes", "gone")))


def test_image_ids_that_are_words(tmp_path: Path) -> None:
    document = _document()
    document["images"][0]["id"] = "seventy"
    document["annotations"][1]["image_id"] = "seventy"
    index = read_index(load_description(_write(tmp_path, document)), "val")
    assert index.image_ids.tolist() == [1, 9, 5]
    assert len(index.labels(0).class_ids) == 1


@pytest.mark.parametrize("name", ["../../x.png", "/etc/passwd", "a\nb.png"])
def test_strange_file_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    document = _document()
    document["images"][2]["file_name"] = name
    index = read_index(load_description(_write(tmp_path, document)), "val")
    assert len(index) == 2
    assert len([defect for defect in index.defects if defect.effect == "picture"]) == 1
    assert all("\n" not in str(defect) for defect in index.defects)


def test_lines_are_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look-up reads the file again, so its number must not grow with that of the faults."""
    document = _document()
    document["annotations"] += [{"image_id": 5, "category_id": 3, "bbox": [2, 2, 9, 9]}] * 50
    document["annotations"] += [
        {"image_id": 5, "category_id": 3, "bbox": [2, 2, 9.01 + n / 100, 9]} for n in range(9)
    ]
    calls: list[str] = []
    original = coco.record_lines
    monkeypatch.setattr(coco, "record_lines", lambda *args: calls.append(args[1]) or original(*args))
    text = json.dumps(document, indent=1)
    index = read_index(load_description(_write(tmp_path, text)), "val")
    assert calls.count("annotations") <= 2
    lines = text.split("\n")
    faults = [defect for defect in index.defects if defect.kind in ("duplicate", "near-duplicate")]
    assert len(faults) == 49 + 9
    assert all(lines[defect.line - 1].strip() == "{" for defect in faults)
    assert len({defect.line for defect in faults}) == len(faults)
