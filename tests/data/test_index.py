from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.data.small_sets import tree_hash, write_picture, write_text, write_yolo
from vedette.data.description import load_description
from vedette.data.index import PackedStrings, SplitIndex, load_index, read_index, single_class_names
from vedette.errors import DataError, LabelError

GOOD = "0 0.5 0.5 0.4 0.4\n1 0.25 0.25 0.1 0.2\n"


def _load(file: Path, **options: object) -> SplitIndex:
    return load_index(load_description(file), "train", cache_dir=file.parent.parent / "cache", **options)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def test_packed_arrays(root: Path) -> None:
    file = write_yolo(root, {"b": GOOD, "a": "2 0.5 0.5 1 1\n", "empty": "", "bare": None})
    index = _load(file)
    assert len(index) == 4
    assert list(index.paths) == ["images/a.png", "images/b.png", "images/bare.png", "images/empty.png"]
    assert index.image_path(1) == root / "images" / "b.png"
    assert index.sizes_hw.tolist() == [[30, 40]] * 4
    assert index.sizes_hw.dtype == np.int32
    assert index.offsets.tolist() == [0, 1, 3, 3, 3]
    np.testing.assert_allclose(
        index.boxes_xyxy_px, [[0, 0, 40, 30], [12, 9, 28, 21], [8, 4.5, 12, 10.5]], atol=1e-12
    )
    assert index.class_ids.tolist() == [2, 0, 1]
    assert not index.ignored.any()
    np.testing.assert_allclose(index.areas, [1200, 192, 24], atol=1e-9)
    assert index.image_ids.tolist() == [1, 2, 3, 4]
    assert index.class_counts().tolist() == [1, 1, 1]
    assert index.background_count == 2
    assert index.labels(1).class_ids.tolist() == [0, 1]
    assert [defect.kind for defect in index.defects] == ["no-label-file"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        index.split = "val"  # type: ignore[misc]


def test_workers_get_arrays_not_objects(root: Path) -> None:
    index = _load(write_yolo(root, {f"{number:03d}": GOOD for number in range(60)}))
    raw = pickle.dumps(index)
    copy = pickle.loads(raw)
    assert copy.content_hash == index.content_hash
    assert list(copy.paths) == list(index.paths)
    np.testing.assert_array_equal(copy.labels(59).boxes_xyxy_px, index.labels(59).boxes_xyxy_px)
    assert copy.defects == index.defects
    # 2 boxes of 49 bytes, 24 bytes of picture, 15 of path: far from what a Path and a list a picture would take.
    assert len(raw) < 60 * 200 + 3000


def test_bad_rows_are_left_out_and_listed(root: Path) -> None:
    labels: dict[str, str | bytes | None] = {f"{number}": GOOD for number in range(100)}
    labels["odd"] = "0 0.5 0.5 0.2 0.2\n0 1.5 0.5 0.2 0.2\n9 0.1 0.1 0.1 0.1\n"
    file = write_yolo(root, labels)
    index = _load(file)
    label = root / "labels" / "odd.txt"
    assert [(defect.path, defect.line, defect.kind) for defect in index.defects] == [
        (str(label), 2, "out-of-range"),
        (str(label), 3, "class-range"),
    ]
    assert (index.counts.rows_read, index.counts.rows_used, index.counts.rows_bad) == (203, 201, 2)
    assert len(index.labels(len(index) - 1).class_ids) == 1


def test_more_than_one_percent_is_refused(root: Path) -> None:
    labels: dict[str, str | bytes | None] = {f"{number}": GOOD for number in range(49)}
    labels["odd"] = "0 0.5 0.5 0.2 0.2\n0 1.5 0.5 0.2 0.2\n"
    file = write_yolo(root, labels)
    assert _load(file).counts.rows_bad == 1, "1 of 100 is not more than 1 %"
    write_text(root / "labels" / "odd.txt", "0 0.5 0.5 0.2 0.2\n0 1.5 0.5 0.2 0.2\nx\n")
    with pytest.raises(DataError) as caught:
        _load(file)
    text = str(caught.value)
    assert "2 of 101 label rows cannot be used, more than 1.00%" in text
    assert f"{root / 'labels' / 'odd.txt'}:2: out-of-range" in text
    assert f"list all with: vedette data check {file}" in text
    assert _load(file, max_bad_fraction=0.02).counts.rows_bad == 2


def test_pictures_left_out_count_alike(root: Path) -> None:
    file = write_yolo(root, {f"{number}": "" for number in range(50)})
    write_text(root / "images" / "text.jpg", "no picture")
    write_text(root / "labels" / "text.txt", GOOD)
    with pytest.raises(DataError, match="2 of 2 label rows"):
        _load(file)
    write_text(root / "labels" / "text.txt", "")
    with pytest.raises(DataError, match="1 of 51 pictures"):
        _load(file)
    assert len(_load(file, max_bad_fraction=0.02)) == 50


def test_repeated_rows_are_left_out_but_do_not_count_as_bad(root: Path) -> None:
    index = _load(write_yolo(root, {"a": GOOD + GOOD}))
    assert (index.counts.rows_used, index.counts.rows_repeated, index.counts.rows_bad) == (2, 2, 0)


@pytest.mark.parametrize(
    ("row", "kind"), [("cat 0.5 0.5 0.2 0.2", "class-text"), ("0 0.5 0.5 0.4 0.4", "duplicate")]
)
def test_error_refuses_the_first(root: Path, row: str, kind: str) -> None:
    file = write_yolo(root, {"a": GOOD, "b": GOOD + row, "c": GOOD + "x"})
    with pytest.raises(LabelError) as caught:
        _load(file, on_bad_label="error")
    assert caught.value.where == f"{root / 'labels' / 'b.txt'}:3"
    assert caught.value.what.startswith(kind)


def test_error_lets_doubtful_rows_pass(root: Path) -> None:
    file = write_yolo(root, {"a": GOOD + "0 0.9 0.5 0.4 0.4\n"})
    assert [defect.kind for defect in _load(file, on_bad_label="error").defects] == ["crosses-edge"]


def test_a_split_without_pictures_is_refused(root: Path) -> None:
    file = write_yolo(root, {"a": GOOD})
    (root / "images" / "a.png").unlink()
    with pytest.raises(DataError, match="no usable picture"):
        _load(file)


def test_read_only_data_and_no_cache(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_yolo(root, {"a": GOOD})
    before = tree_hash(root)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        blocked = write_text(tmp_path / "file", "")
        index = load_index(load_description(file), "train", cache_dir=blocked)
        assert len(index) == 1
        assert len(index.notes) == 1
        assert "is not cached" in index.notes[0]
        monkeypatch.setattr("vedette.data.index.cache_folder", lambda: None)
        index = load_index(load_description(file), "train")
        assert index.notes == ("there is no folder to cache the index in: it is built every time",)
        assert tree_hash(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)


def test_the_default_cache_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "mine"))
    load_index(load_description(write_yolo(root, {"a": GOOD})), "train")
    assert len(list((tmp_path / "mine" / "indexes").iterdir())) == 1


def test_content_hash_is_the_same_elsewhere_and_follows_the_content(tmp_path: Path) -> None:
    first = read_index(load_description(write_yolo(tmp_path / "one", {"a": GOOD, "b": ""})), "train")
    second = read_index(
        load_description(write_yolo(tmp_path / "two" / "deep", {"a": GOOD, "b": ""})), "train"
    )
    assert first.content_hash == second.content_hash
    changes = {
        "label": {"a": GOOD.replace("1 0.25", "2 0.25"), "b": ""},
        "name": {"a": GOOD, "c": ""},
    }
    hashes = {first.content_hash}
    for folder, labels in changes.items():
        hashes.add(
            read_index(load_description(write_yolo(tmp_path / folder, dict(labels))), "train").content_hash
        )
    file = write_yolo(tmp_path / "classes", {"a": GOOD, "b": ""}, "train: images\nnames: [cat, dog, cow]\n")
    hashes.add(read_index(load_description(file), "train").content_hash)
    assert len(hashes) == 4


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=8))
def test_packed_strings(strings: list[str]) -> None:
    packed = PackedStrings(strings)
    assert list(packed) == strings
    assert packed[1:] == strings[1:]
    assert list(pickle.loads(pickle.dumps(packed))) == strings
    if strings:
        assert packed[-1] == strings[-1]
    with pytest.raises(IndexError):
        packed[len(strings)]


def test_file_names_that_are_not_utf_8(root: Path) -> None:
    file = write_yolo(root, {"a": GOOD})
    try:
        write_picture(root / "images" / "b\udcff.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system has UTF-8 names only")
    for _ in range(2):
        index = _load(file)
        assert index.image_path(1).exists()
    assert "\\udcff" in str(index.defects[0])


def test_all_classes_as_one(root: Path) -> None:
    """Golden 26-loader-order.json, case T26.3: every class becomes class 0; names by data.md section 13."""
    case = next(one for one in read_golden("training/26-loader-order.json")["cases"] if one["id"] == "T26.3")
    rows = [
        f"{class_id} 0.5 {0.1 + 0.05 * row:.2f} 0.2 0.1"
        for row, class_id in enumerate(case["input"]["classes"])
    ]
    index = read_index(load_description(write_yolo(root, {"a": "\n".join(rows)})), "train")
    assert index.class_ids.tolist() == case["input"]["classes"]
    single = index.as_single_class()
    assert single.class_ids.tolist() == case["expected"]
    assert single.class_names == ("item",)
    assert single.category_ids == index.category_ids[:1]
    assert single.class_counts().tolist() == [len(rows)]
    assert single.content_hash == index.content_hash
    np.testing.assert_array_equal(single.boxes_xyxy_px, index.boxes_xyxy_px)


@pytest.mark.parametrize(("names", "single"), [(("cat", "dog"), ("item",)), (("dog",), ("dog",))])
def test_the_name_of_all_classes(names: tuple[str, ...], single: tuple[str, ...]) -> None:
    assert single_class_names(names) == single
