import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from vedette.errors import DataError, ImageError, UsageError
from vedette.infer.sources import SourceItem, iterate, open_source

GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "13-paths.json"


def golden(case_id):
    return next(case for case in json.loads(GOLDEN.read_text())["cases"] if case["id"] == case_id)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(source):
    return [Path(item.path).name for item in source.items]


@pytest.fixture
def golden_root(tmp_path):
    """The folder that golden 13 was recorded in, as far as its cases show it."""
    touch(
        tmp_path,
        "images/a_ok.png",
        "images/b_empty.png",
        "images/w_wrong_suffix.txt",
        "images/sub/y_nested.png",
    )
    lines = [line.replace("<root>", tmp_path.as_posix()) for line in golden("T13.2")["input"]["lines"]]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_golden_13_list_entries_are_relative_to_the_list(golden_root):
    expected = [path.replace("<root>", golden_root.as_posix()) for path in golden("T13.2")["expected"]]
    source = open_source(golden_root / "list.txt")
    assert [item.path for item in source.items] == expected
    assert [Path(entry.path).name for entry in source.skipped] == ["w_wrong_suffix.txt"]


def test_golden_13_several_sources(golden_root):
    case = golden("T13.3")
    parts = [part.replace("<root>", golden_root.as_posix()) for part in case["input"]]
    expected = [path.replace("<root>", golden_root.as_posix()) for path in case["expected"]]
    assert [item.path for item in iterate(parts)] == expected


def test_folder_is_sorted_not_entered_and_nothing_is_dropped_unlisted(tmp_path):
    touch(
        tmp_path,
        "b.JPG",
        "a.png",
        "c.webp",
        "d.mpo",
        "clip.mp4",
        "notes.pdf",
        "README",
        ".hidden.jpg",
        "sub/e.jpg",
    )
    source = open_source(tmp_path)
    assert names(source) == ["a.png", "b.JPG", "c.webp", "d.mpo"]
    reasons = {Path(entry.path).name: entry.reason for entry in source.skipped}
    assert reasons.keys() == {"clip.mp4", "notes.pdf", "README", ".hidden.jpg", "sub"}
    assert "video" in reasons["clip.mp4"]
    assert ".pdf" in reasons["notes.pdf"]


def test_paths_are_kept_as_given_with_forward_slashes(tmp_path, monkeypatch):
    touch(tmp_path, "shots/day one/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [item.path for item in iterate(Path("shots") / "day one")] == ["shots/day one/a.jpg"]
    assert [item.path for item in iterate("shots/**/*.jpg")] == ["shots/day one/a.jpg"]
    assert [item.path for item in iterate(str(Path("shots") / "day one" / "a.jpg"))] == [
        "shots/day one/a.jpg"
    ]


def test_glob_is_recursive_and_sorted(tmp_path):
    touch(tmp_path, "x/b.jpg", "x/y/a.jpg", "c.jpg", "x/movie.avi")
    source = open_source(str(tmp_path / "**" / "*.*"))
    assert [item.path for item in source.items] == sorted(item.path for item in source.items)
    assert sorted(names(source)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert [Path(entry.path).name for entry in source.skipped] == ["movie.avi"]


def test_existing_names_come_before_patterns_and_camera_numbers(tmp_path, monkeypatch):
    touch(tmp_path, "a[1].jpg", "2024/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert [item.path for item in iterate("a[1].jpg")] == ["a[1].jpg"]
    assert [item.path for item in iterate("2024")] == ["2024/b.jpg"]


def test_list_file_rules(tmp_path, monkeypatch):
    touch(tmp_path, "lists/here.jpg", "work/there.jpg", "work/both.jpg", "lists/both.jpg", "lists/sub/w.jpg")
    monkeypatch.chdir(tmp_path / "work")
    text = "\ufeffhere.jpg\r\n\r\n  there.jpg  \r\nboth.jpg\r\nmissing.jpg\r\nsub\\w.jpg\r\n"
    (tmp_path / "lists" / "list.TXT").write_bytes(text.encode("utf-8"))
    items = open_source(tmp_path / "lists" / "list.TXT").items
    folder = (tmp_path / "lists").as_posix()
    assert [item.path for item in items] == [
        f"{folder}/here.jpg",
        "there.jpg",
        f"{folder}/both.jpg",
        f"{folder}/missing.jpg",
        f"{folder}/sub/w.jpg",
    ]
    with pytest.raises(ImageError) as caught:
        items[3].load()
    assert caught.value.kind == "missing"


@pytest.mark.parametrize(
    "text", ["0", "rtsp://host/stream", "RTMP://host/x", "https://host/a.jpg", "http://h/v"]
)
def test_cameras_and_streams_are_refused_with_what_is_read(text):
    with pytest.raises(UsageError, match="not read yet; give a picture, a folder, a glob"):
        open_source(text)


def test_video_named_outright_is_refused(tmp_path):
    touch(tmp_path, "clip.MP4")
    with pytest.raises(UsageError, match="videos are not read yet"):
        open_source(tmp_path / "clip.MP4")


def test_streams_in_a_list_are_refused_with_the_line(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\nrtsp://host/1\n")
    with pytest.raises(UsageError, match=r"list\.txt:2: streams"):
        open_source(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("content", "what"), [(b"\xff\xfe\x00", "not UTF-8"), (b"", "no picture"), (b"\n\n", "no picture")]
)
def test_lists_without_paths_are_refused(tmp_path, content, what):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=what):
        open_source(tmp_path / "list.txt")


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there is no picture"):
        open_source(str(tmp_path / "*.jpg"))
    with pytest.raises(UsageError, match="is empty"):
        open_source("")
    with pytest.raises(DataError, match="there is no picture"):
        open_source([])
    touch(tmp_path, "only.mp4", "b.pdf")
    with pytest.raises(DataError, match=r"no picture among 2 entries .*b\.pdf: suffix \.pdf"):
        open_source(tmp_path)


def test_unknown_suffix_named_outright_is_tried_by_content(tmp_path):
    pixels = np.full((4, 6, 3), 200, dtype=np.uint8)
    path = tmp_path / "shot.dat"
    Pillow.fromarray(pixels).save(path, format="PNG")
    (item,) = open_source(path).items
    np.testing.assert_array_equal(item.load(), pixels)


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    touch(tmp_path, "a.jpg")
    source = open_source(tmp_path)
    assert names(source) == ["a.jpg"]
    assert source.skipped[0].reason == "no regular file"
    with pytest.raises(ImageError, match="no regular file"):
        SourceItem("pipe.jpg", tmp_path / "pipe.jpg").load()
