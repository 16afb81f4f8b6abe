from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import GOLDEN
from tests.data.small_sets import write_picture, write_text
from vedette.data.sources import (
    collect_pictures,
    find_label_path,
    has_picture_suffix,
    label_path,
    relative_path,
    walk_pictures,
)
from vedette.errors import DataError

CASES = {
    case["id"]: case
    for case in json.loads((GOLDEN / "training" / "13-paths.json").read_text("utf-8"))["cases"]
}


@pytest.mark.parametrize(
    ("image", "label"), list(zip(CASES["T13.1"]["input"], CASES["T13.1"]["expected"], strict=True))
)
def test_golden_13_1_label_paths(image: str, label: str) -> None:
    """13-paths.json T13.1, the rule of v4.0; exact."""
    assert label_path(image) == label


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/images/x/images/a.jpg", "/images/x/labels/a.txt"),
        ("/d.jpg/images/a.jpg", "/d.jpg/labels/a.txt"),
        ("C:\\d\\images\\a.JPG", "C:\\d\\labels\\a.txt"),
        ("/d/pics/a.b.png", "/d/pics/a.b.txt"),
    ],
)
def test_label_paths_of_v7(image: str, label: str) -> None:
    assert label_path(image, "v7.0") == label


def test_where_the_releases_differ_the_file_that_exists_is_taken(tmp_path: Path) -> None:
    image = str(tmp_path / "images" / "set" / "images" / "a.jpg")
    early, late = (tmp_path / "labels/set/images/a.txt", tmp_path / "images/set/labels/a.txt")
    assert Path(find_label_path(image)) == early
    write_text(late, "")
    assert Path(find_label_path(image)) == late
    write_text(early, "")
    assert Path(find_label_path(image)) == early


def _golden_folder(root: Path) -> None:
    for name in ("a_ok.png", "b_empty.png", "sub/y_nested.png"):
        write_picture(root / "images" / name)
    write_text(root / "images" / "w_wrong_suffix.txt", "not considered")
    lines = [line.replace("<root>", str(root)) for line in CASES["T13.2"]["input"]["lines"]]
    write_text(root / "list.txt", "\n".join(lines))


@pytest.mark.parametrize("case", ["T13.2", "T13.3"])
def test_golden_13_2_and_13_3_sources(tmp_path: Path, case: str) -> None:
    """13-paths.json T13.2 and T13.3: list files and folders; exact once sorted."""
    _golden_folder(tmp_path)
    sources = ["<root>/list.txt"] if case == "T13.2" else CASES[case]["input"]
    pictures = collect_pictures([Path(source.replace("<root>", str(tmp_path))) for source in sources], [])
    expected = [os.path.normpath(path.replace("<root>", str(tmp_path))) for path in CASES[case]["expected"]]
    assert sorted(pictures.paths) == expected
    # The reference passes over the third entry in silence.
    assert [(defect.line, defect.kind) for defect in pictures.defects] == [(3, "not-a-picture")]
    assert pictures.entries == len(expected) + 1


def test_entries_are_looked_for_beside_the_list_and_below_the_roots(tmp_path: Path) -> None:
    beside = write_picture(tmp_path / "lists" / "a.png")
    below = write_picture(tmp_path / "root" / "deep" / "b.png")
    listing = write_text(
        tmp_path / "lists" / "train.txt", b"\xef\xbb\xbfa.png\r\n\r\n deep\\b.png \r\nc.png\n./b.png"
    )
    pictures = collect_pictures([listing], [tmp_path / "root"])
    assert pictures.paths == [
        str(beside),
        str(below),
        *(str(tmp_path / "lists" / name) for name in ("c.png", "b.png")),
    ]
    assert pictures.mentions[1] == (str(listing), 3)


def test_a_folder_named_twice_is_harmless_but_a_list_entry_is_told(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png")
    listing = write_text(tmp_path / "train.txt", "images/a.png\nimages/../images/a.png\n")
    pictures = collect_pictures([tmp_path / "images", tmp_path / "images", listing], [])
    assert len(pictures.paths) == 1
    assert [(defect.line, defect.kind) for defect in pictures.defects] == [
        (1, "picture-listed-twice"),
        (2, "picture-listed-twice"),
    ]
    assert pictures.entries == 3


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or list file"):
        collect_pictures([tmp_path / "gone"], [])
    with pytest.raises(DataError, match=r"UTF-8 text \(byte 5\)"):
        collect_pictures([write_text(tmp_path / "list.txt", b"a.png\xff")], [])


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png")
    write_picture(tmp_path / "elsewhere" / "b.png")
    try:
        (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (tmp_path / "images" / "circle").symlink_to(tmp_path / "images", target_is_directory=True)
    except OSError:
        pytest.skip("no links on this file system")
    assert [Path(path).name for path in sorted(walk_pictures(tmp_path / "images"))] == ["a.png", "b.png"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()

    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"images: the folder cannot be read \(Permission denied\)"):
        walk_pictures(tmp_path / "images")


def test_suffixes() -> None:
    assert has_picture_suffix("a.b.JPG")
    assert not has_picture_suffix("a.txt")
    assert not has_picture_suffix(".hidden/file")


def test_relative_paths() -> None:
    root = os.path.join(os.sep, "data", "set")  # noqa: PTH118
    assert relative_path(os.path.join(root, "a", "b.png"), root) == "a/b.png"  # noqa: PTH118
    assert relative_path(os.path.join(os.sep, "data", "other", "b.png"), root) == "../other/b.png"  # noqa: PTH118
