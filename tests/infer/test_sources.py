import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from vedette.core.picture_format import PictureFormat
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
        "another.MKV",
        "notes.pdf",
        "README",
        ".hidden.jpg",
        "sub/e.jpg",
    )
    source = open_source(tmp_path)
    assert names(source) == ["a.png", "b.JPG", "c.webp", "d.mpo"]
    reasons = {Path(entry.path).name: entry.reason for entry in source.skipped}
    assert reasons.keys() == {"notes.pdf", "README", ".hidden.jpg", "sub"}
    assert ".pdf" in reasons["notes.pdf"]
    assert [Path(video.path).name for video in source.videos] == ["another.MKV", "clip.mp4"]
    assert not any(video.live for video in source.videos)


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
    assert [Path(video.path).name for video in source.videos] == ["movie.avi"]


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
    ("text", "kind", "shown", "name"),
    [
        ("0", "camera", "0", "camera0"),
        ("rtsp://admin:pw@host:554/stream/1", "stream", "rtsp://***@host:554/stream/1", "host_554_stream_1"),
        ("RTMP://host/x", "stream", "RTMP://host/x", "host_x"),
        ("rtsps://h/a.sdp", "stream", "rtsps://h/a.sdp", "h_a_sdp"),
        ("screen 1", "screen", "screen 1", "screen_1"),
    ],
)
def test_streams(text, kind, shown, name):
    source = open_source(text)
    (item,) = source.streams
    assert (item.kind, item.path, item.file, item.address) == (kind, shown, Path(name), text)
    assert item.live
    assert not source.items
    assert not source.videos


def test_addresses_of_files_are_read_as_files():
    source = open_source(["https://host/a%20b.JPG?token=abc", "http://host/clip.mp4"])
    (picture,), (video,) = source.items, source.videos
    assert (picture.path, picture.file.name) == ("https://host/a%20b.JPG?token=***", "a_b.JPG")
    assert picture.address == "https://host/a%20b.JPG?token=abc"
    assert (video.path, video.file.name, video.kind) == ("http://host/clip.mp4", "clip.mp4", "video")


@pytest.mark.parametrize(
    ("media_type", "kinds"),
    [
        ("image/jpeg", (1, 0, 0)),
        ("video/mp4", (0, 1, 0)),
        ("multipart/x-mixed-replace", (0, 0, 1)),
        ("", (0, 0, 1)),
    ],
)
def test_a_server_says_what_is_behind_an_address_without_a_suffix(monkeypatch, media_type, kinds):
    asked = []
    monkeypatch.setattr(
        "vedette.infer.sources.media_type", lambda address: asked.append(address) or media_type
    )
    source = open_source("http://u:p@camera/now")
    assert (len(source.items), len(source.videos), len(source.streams)) == kinds
    assert asked == ["http://u:p@camera/now"]
    open_source("rtsp://camera/now")
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["ftp://host/a.jpg", "file:///etc/passwd", "concat://a", "data://x"])
def test_other_addresses_are_refused(text):
    with pytest.raises(UsageError, match=r"addresses that begin with \w+:// are not read; give a picture"):
        open_source(text)


def test_lists_hold_paths_addresses_and_cameras(tmp_path):
    touch(tmp_path, "a.jpg", "b.mp4", "7")
    text = "a.jpg\nrtsp://u:p@host/1\n\n7\n8\nb.mp4\nhttps://host/c.png\nscreen 0\n"
    for name in ("list.txt", "cams.streams"):
        (tmp_path / name).write_text(text)
        source = open_source(tmp_path / name)
        assert names(source) == ["a.jpg", "c.png"]
        assert [video.path for video in source.videos] == [(tmp_path / "b.mp4").as_posix()]
        assert [item.path for item in source.streams] == ["rtsp://***@host/1", "8", "screen 0"]
        assert [Path(entry.path).name for entry in source.skipped] == ["7"]


def test_lines_that_make_no_sense_are_refused_with_their_number(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\nftp://host/1\n")
    with pytest.raises(UsageError, match=r"list\.txt:2: addresses that begin with ftp://"):
        open_source(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("a.jpg\n\nb\0.jpg\n")
    with pytest.raises(UsageError, match=r"list\.txt:3: is no path"):
        open_source(tmp_path / "list.txt")


def test_two_streams_are_told_apart_though_they_look_alike():
    source = open_source(["rtsp://a:1@host/x", "rtsp://b:2@host/x", "rtsp://host/y"])
    assert [item.path for item in source.streams] == [
        "rtsp://***@host/x",
        "rtsp://***@host/x#2",
        "rtsp://host/y",
    ]


def test_no_message_shows_a_password(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_source("ftp://admin:geheim@host/?token=geheim")
    assert "geheim" not in str(caught.value)
    with pytest.raises(DataError) as missing:
        open_source([str(tmp_path / "*.jpg")])
    assert "there is no picture and no video" in str(missing.value)


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
    touch(tmp_path, "b.pdf", "c")
    with pytest.raises(DataError, match=r"no video among 2 entries .*b\.pdf: suffix \.pdf"):
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


def test_arrays_are_pictures_where_they_are_asked_for(tmp_path):
    """Beside 8-bit RGB they are mostly caches of other programs; a file that is named outright is tried by itself."""
    touch(tmp_path, "b.npy", "a.png", "c.npy")
    source = open_source(tmp_path)
    assert names(source) == ["a.png"]
    assert {entry.reason for entry in source.skipped} == {"suffix .npy is not that of a picture or video"}
    source = open_source(tmp_path, arrays=True)
    assert names(source) == ["a.png", "b.npy", "c.npy"]
    assert source.arrays == source.skipped == ()
    assert names(open_source(str(tmp_path / "*.npy"), arrays=True)) == ["b.npy", "c.npy"]
    assert names(open_source(tmp_path / "b.npy")) == ["b.npy"]
    with pytest.raises(DataError, match=r"suffix \.npy"):
        open_source(str(tmp_path / "*.npy"))


def test_a_picture_is_read_as_the_detector_takes_it(tmp_path):
    np.save(tmp_path / "a.npy", np.full((20, 30), 4000, np.uint16))
    (item,) = open_source(tmp_path / "a.npy").items
    assert item.load(None, PictureFormat(1, 16)).dtype == np.uint16
    assert item.load().shape == (20, 30, 3)
